/*
 * queue_wake.c
 *	  From a commit that filled the queue to a worker that empties it.
 *
 * Nothing polls.  A worker that runs is woken by its latch, when the rows can be
 * seen; else one is started.  No wake-up is lost, since a worker that finds
 * nothing to do ends only while nobody is between looking for it and having
 * committed: that is what the two locks are for (queue.h).
 *
 * What must not fail, once the transaction is committed, does not allocate.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"

#include "pg/queue.h"

/* Advisory locks of users have other kinds. */
#define LOCK_FIELD_QUEUE 0x71756575 /* "queu" */
#define LOCK_KIND 3

/* Seconds until a worker that crashed is started again. */
#define RESTART_SECONDS 5

#if PG_VERSION_NUM >= 180000
#define IS_BACKGROUND_WORKER(proc) (!(proc)->isRegularBackend)
#else
#define IS_BACKGROUND_WORKER(proc) ((proc)->isBackgroundWorker)
#endif

static bool wake_pending;
static bool worker_runs;

void
queue_lock_tag(LOCKTAG *tag, QueueLock lock)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, lock, LOCK_FIELD_QUEUE, LOCK_KIND);
}

/* Latches of other workers of the database are set too, which does no harm. */
static void
set_latches(void)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];

		if (proc->pid != 0 && proc->databaseId == MyDatabaseId && IS_BACKGROUND_WORKER(proc))
			SetLatch(&proc->procLatch);
	}
}

/* A worker of ours: "instemb NAME", which runs instemb_NAME_main() */
static BackgroundWorker
describe_worker(const char *name)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = RESTART_SECONDS,
		.bgw_library_name = "instemb"
	};

	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "instemb %s", name);
	snprintf(worker.bgw_type, sizeof(worker.bgw_type), "instemb %s", name);
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "instemb_%s_main", name);
	return worker;
}

bool
queue_start_worker(Oid database, Oid tablespace)
{
	BackgroundWorker worker = describe_worker("worker");
	const WorkerPlace place = {database, tablespace};

	memcpy(worker.bgw_extra, &place, sizeof(place));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

void
queue_register_launcher(void)
{
	BackgroundWorker worker = describe_worker("launcher");

	RegisterBackgroundWorker(&worker);
}

/* From here to the end of the transaction no worker ends. */
static void
look_for_worker(void)
{
	LOCKTAG		tag;

	queue_lock_tag(&tag, QUEUE_LOCK_FILLING);
	(void) LockAcquire(&tag, ShareLock, false, false);
	queue_lock_tag(&tag, QUEUE_LOCK_WORKER);
	worker_runs = LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL;
	if (!worker_runs)
		LockRelease(&tag, ShareLock, false);
}

static void
wake(void)
{
	if (worker_runs)
		set_latches();
	else if (!queue_start_worker(MyDatabaseId, MyDatabaseTableSpace))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start the worker for rows that wait for their embeddings"),
				 errhint("Increase \"max_worker_processes\".")));
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (!wake_pending)
		return;
	if (event == XACT_EVENT_PRE_COMMIT)
		look_for_worker();
	else if (event == XACT_EVENT_COMMIT)
	{
		wake_pending = false;
		wake();
	}
	else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_pending = false;
}

void
queue_wake_at_commit(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(at_transaction_end, NULL);
	registered = true;
	wake_pending = true;
}

PG_FUNCTION_INFO_V1(instemb_wake);
Datum
instemb_wake(PG_FUNCTION_ARGS)
{
	queue_wake_at_commit();
	PG_RETURN_VOID();
}
