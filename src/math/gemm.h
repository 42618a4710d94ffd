/*
 * gemm.h
 *	  y = x W^T over quantised or float weights, split over threads by panels.
 *
 * Every output element is computed by one thread, in the order kernels.h
 * defines, whatever the number of rows and threads: same bits for one row or
 * many.
 */
#ifndef IE_GEMM_H
#define IE_GEMM_H

#include "base/arena.h"
#include "math/kernels.h"

/* How to multiply: constant during a pass */
typedef struct ie_gemm
{
	const ie_kernels *kernels;
	int			n_threads;
	bool		f32;			/* IE_COMPUTE_F32 */
	uint8_t    *panel;			/* scratch: [n_threads, panel_bytes], 64-byte aligned */
	size_t		panel_bytes;	/* ie_gemm_panel_bytes(largest n_in) */
} ie_gemm;

/* Activation rows: x always; q only where the integer path will be used */
typedef struct ie_rows
{
	size_t		T;
	const float *x;				/* [T, n_in], row stride ldx */
	size_t		ldx;
	ie_qrows	q;				/* filled by ie_quantize() */
} ie_rows;

/* A product of ie_matmul_many() */
typedef struct ie_product
{
	const ie_matrix *w;
	float	   *y;				/* [T, n_out], row stride ldy */
	size_t		ldy;
	bool		add;			/* y + x W^T instead of x W^T */
} ie_product;

size_t		ie_gemm_panel_bytes(size_t n_in);

/* Take storage for T rows of n_cols columns; n_cols % IE_QK == 0. */
ie_qrows	ie_qrows_take(ie_arena *arena, size_t T, size_t n_cols);

/* Does w use the integer path under this gemm? */
bool		ie_gemm_is_integer(const ie_gemm *gemm, const ie_matrix *w);

/*
 * Fill rows->q from rows->x, split over threads.  The caller has set rows->q to
 * storage for at least as many rows and columns, and rows->q.n_cols to n_in.
 */
void		ie_quantize(const ie_gemm *gemm, const ie_rows *rows);

/*
 * y[t][o] = (add ? y[t][o] : 0) + sum over i of x[t][i] w[o][i]
 * y: [T, n_out] with row stride ldy.
 */
void		ie_matmul(const ie_gemm *gemm, const ie_matrix *w, const ie_rows *x,
					  float *y, size_t ldy, bool add);

/*
 * The same for n matrices with equal n_in, in one parallel region: queries,
 * keys and values, or gate and up.  The y must not overlap.
 */
void		ie_matmul_many(const ie_gemm *gemm, const ie_rows *x, const ie_product *products,
						   size_t n);

#endif							/* IE_GEMM_H */
