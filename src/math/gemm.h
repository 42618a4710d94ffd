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

#include "math/kernels.h"

/* A weight matrix inside the mapping: n_out rows of n_in elements */
typedef struct ie_matrix
{
	const ie_type_traits *type;
	const uint8_t *data;
	size_t		row_bytes;
	size_t		n_in;
	size_t		n_out;
} ie_matrix;

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

size_t		ie_gemm_panel_bytes(size_t n_in);

/* Does w use the integer path under this gemm? */
bool		ie_gemm_is_integer(const ie_gemm *gemm, const ie_matrix *w);

/* Fill rows->q (storage set by the caller) from rows->x, split over threads. */
void		ie_quantize(const ie_gemm *gemm, ie_rows *rows);

/*
 * y[t][o] = (add ? y[t][o] : 0) + sum over i of x[t][i] w[o][i]
 * y: [T, n_out] with row stride ldy.
 */
void		ie_matmul(const ie_gemm *gemm, const ie_matrix *w, const ie_rows *x,
					  float *y, size_t ldy, bool add);

#endif							/* IE_GEMM_H */
