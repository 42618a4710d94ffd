/*
 * train.h
 *	  A training from query to model.
 */
#ifndef INSTEMB_TRAIN_H
#define INSTEMB_TRAIN_H

#include "pg/model_file.h"

/* What instemb_train() was asked for; flat, so that it can go through shared memory. */
typedef struct TrainSettings
{
	char		name[MODEL_NAME_SIZE];
	char		base[MODEL_NAME_SIZE];
	char		start[MODEL_NAME_SIZE]; /* adapter to go on from, "" = none */
	char		pooling[16];
	ie_train_config config;		/* its pooling is the one above */
	bool		resume;
	bool		replace;
} TrainSettings;

/* ERROR if a training of that name could not begin: names, a checkpoint in the way. */
extern void train_check(const TrainSettings *settings);

/*
 * Run query with the current user's rights, train on its rows, and install the
 * adapter NAME-adapter and the model NAME.  sha256: [65], of the model's file.
 *
 * worker_role: InvalidOid, or the role to run the query as, when called outside a
 * transaction: the query and the installation then get one each, and none is
 * open while the model trains.
 */
extern void train_run(const TrainSettings *settings, const char *query, Oid worker_role,
					  char *sha256);

#endif							/* INSTEMB_TRAIN_H */
