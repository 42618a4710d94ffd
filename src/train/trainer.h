/*
 * trainer.h
 *	  What a trainer is made of.
 */
#ifndef IE_TRAINER_H
#define IE_TRAINER_H

#include "base/sha256.h"
#include "train/base.h"
#include "train/batch.h"
#include "train/pass.h"

struct ie_trainer
{
	const ie_host *outer;		/* the caller's */
	const ie_model *model;
	ie_budget	budget;			/* all memory below is its */
	ie_train_config config;		/* pooling is replaced by the following */
	ie_pooling	pooling;
	ie_blas		blas;
	ie_train_shape shape;
	char		base_sha256[IE_SHA256_HEX_SIZE];
	ie_base		base;
	ie_rows_store rows;
	uint32_t	step;			/* steps done */

	/* parameters and what AdamW knows of each, [n_params] */
	real	   *params;
	real	   *moment1;		/* running mean of the gradient */
	real	   *moment2;		/* of its square */
	real	   *gradients;		/* [n_threads, n_params]: each lane's own */
	double	   *squares;		/* scratch of the optimiser */

	/* from the first step on */
	ie_batches	batches;
	size_t		n_batch;		/* rows of a step */
	uint32_t   *batch;			/* [4 + K, n_batch]: arrays of ie_plan */
	real	   *rope;			/* [positions, D]: cos, sin of each */
	ie_tape    *tapes;			/* [L + 1] */
	void	   *work;			/* all storage of a step, kept from step to step */
	size_t		work_bytes;
};

#endif							/* IE_TRAINER_H */
