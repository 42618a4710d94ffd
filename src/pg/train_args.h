/*
 * train_args.h
 *	  Arguments of instemb_train() and instemb_train_start().
 */
#ifndef INSTEMB_TRAIN_ARGS_H
#define INSTEMB_TRAIN_ARGS_H

#include "fmgr.h"

#include "pg/train.h"

/* Returns the query; ERROR for what cannot be. */
extern char *train_args(FunctionCallInfo fcinfo, TrainSettings *settings);

#endif							/* INSTEMB_TRAIN_ARGS_H */
