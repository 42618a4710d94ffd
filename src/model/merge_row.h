/*
 * merge_row.h
 *	  Rows of a base's matrix with an adapter's delta, in fp32: the row of
 *	  W + (alpha / r) B A.  W and the factors are dequantised; the product is
 *	  summed over ascending rank, then scaled, then added.
 */
#ifndef IE_MERGE_ROW_H
#define IE_MERGE_ROW_H

#include "base/arena.h"
#include "model/adapter.h"

/* Scratch that serves all matrices: largest A, rank, and row */
typedef struct ie_merge_extent
{
	size_t		a;				/* elements of A */
	size_t		rank;
	size_t		n_in;
} ie_merge_extent;

typedef struct ie_merge_rows
{
	const ie_host *host;
	ie_error   *err;
	const gguf_tensor *w;
	const ie_delta *delta;		/* NULL: W itself */
	float		scale;			/* alpha / r */
	float	   *a;				/* [r, n_in]: all of A */
	float	   *b;				/* [r]: one row of B */
	float	   *product;		/* [n_in]: one row of B A */
	size_t		n_products;		/* multiply-adds since the last poll */
} ie_merge_rows;

/* Take the scratch, once. */
void		ie_merge_rows_take(ie_merge_rows *rows, ie_arena *arena, const ie_merge_extent *extent);

/* Begin a matrix.  Errors: IE_CANCELED. */
ie_code		ie_merge_rows_begin(ie_merge_rows *rows, const gguf_tensor *w, const ie_delta *delta,
								float alpha);

/* x: [n_in] row o.  Errors: IE_CANCELED. */
ie_code		ie_merge_row(ie_merge_rows *rows, size_t o, float *x);

#endif							/* IE_MERGE_ROW_H */
