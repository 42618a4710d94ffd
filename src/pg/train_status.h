/*
 * train_status.h
 *	  How a training goes, for other sessions: the view instemb_train_progress.
 *
 * A file NAME.train beside the model, replaced by rename.  It can be read while
 * the trainer's transaction is open, from every database, needs no
 * shared_preload_libraries, and outlives the trainer: the last state and
 * message of one that ended, was canceled or was killed stay to be read.
 */
#ifndef INSTEMB_TRAIN_STATUS_H
#define INSTEMB_TRAIN_STATUS_H

#include "datatype/timestamp.h"

#include "pg/model_file.h"

typedef enum TrainState
{
	TRAIN_READING,
	TRAIN_TRAINING,
	TRAIN_INSTALLING,
	TRAIN_DONE,
	TRAIN_CANCELED,
	TRAIN_FAILED
} TrainState;

typedef struct TrainStatus
{
	uint32		magic;			/* TRAIN_STATUS_MAGIC */
	uint32		size;			/* of this struct */
	char		model[MODEL_NAME_SIZE];
	int			pid;
	Oid			role;
	TrainState	state;
	ie_train_progress progress;
	int64		rows;			/* read by the query */
	double		rows_per_second;	/* trained, since this run began; 0 = not known yet */
	double		tokens_per_second;
	double		seconds_left;	/* -1 = not known */
	TimestampTz started;
	TimestampTz updated;
	char		message[256];	/* in the encoding of the trainer's database */
} TrainStatus;

#define TRAIN_STATUS_MAGIC 0x696e7472

/* Path of the file NAME.SUFFIX in instemb.data_model_dir; path: [MAXPGPATH] */
extern void train_path(const char *name, const char *suffix, char *path);

/* Set updated and write the file; trouble is a WARNING, once. */
extern void train_status_write(TrainStatus *status);

#endif							/* INSTEMB_TRAIN_STATUS_H */
