/*
 * base.h
 *	  The frozen base model as training reads it: dequantised.
 *
 * All blocks are kept so where they take at most half of the budget; else one
 * block at a time is dequantised when a pass comes to it.
 */
#ifndef IE_BASE_H
#define IE_BASE_H

#include "train/budget.h"
#include "train/shape.h"

typedef struct ie_base
{
	const ie_model *model;
	const ie_train_shape *shape;
	int			n_threads;
	bool		kept;			/* all blocks, else only the current one */
	real	   *blocks;			/* [L or 1, block_weights] */
	size_t		current;		/* the block in the buffer, L = none */
} ie_base;

/* Errors: IE_LIMIT, IE_NOMEM, IE_CANCELED. */
ie_code		ie_base_init(ie_base *base, const ie_model *model, const ie_train_shape *shape,
						 ie_budget *budget, int n_threads, ie_error *err);

/* The weights of block l: valid until the next call.  Never from a worker. */
real	   *ie_base_block(ie_base *base, size_t l);

/* y[0 .. n) = row of a matrix, from column 0 */
void		ie_base_row(const ie_matrix *w, size_t row, real *y);

#endif							/* IE_BASE_H */
