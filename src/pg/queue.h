/*
 * queue.h
 *	  Rows that wait for their embeddings, and the worker that sees to them.
 */
#ifndef INSTEMB_QUEUE_H
#define INSTEMB_QUEUE_H

#include "storage/lock.h"

/* Wake the database's worker, or start it, when this transaction commits. */
extern void queue_wake_at_commit(void);

/* Register a worker for a database; false if there is no free slot. */
extern bool queue_start_worker(Oid database, Oid tablespace);

/* Register the launcher; only while shared_preload_libraries are loaded. */
extern void queue_register_launcher(void);

/*
 * Locks of a database.  QUEUE_LOCK_WORKER is held by its worker, in exclusive
 * mode.  QUEUE_LOCK_FILLING is held in share mode by transactions that put rows
 * into the queue while they commit; a worker ends only if it gets it exclusively.
 */
typedef enum QueueLock
{
	QUEUE_LOCK_WORKER,
	QUEUE_LOCK_FILLING
} QueueLock;

extern void queue_lock_tag(LOCKTAG *tag, QueueLock lock);

/* What a worker is told, in bgw_extra. */
typedef struct WorkerPlace
{
	Oid			database;
	Oid			tablespace;
} WorkerPlace;

#endif							/* INSTEMB_QUEUE_H */
