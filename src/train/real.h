/*
 * real.h
 *	  The number type of training, and matrix products over it.
 *
 * Training runs in fp32.  The unit tests build src/train a second time with
 * IE_TRAIN_DOUBLE, where gradients can be told from finite differences.
 */
#ifndef IE_REAL_H
#define IE_REAL_H

#include "math/blas.h"

#include <stddef.h>

#ifdef IE_TRAIN_DOUBLE
typedef double real;
#else
typedef float real;
#endif

/* A view of a row-major matrix: element (i, j) is at[i * ld + j] */
typedef struct ie_mat
{
	real	   *at;
	size_t		rows;
	size_t		cols;
	size_t		ld;
} ie_mat;

static inline ie_mat
ie_mat_of(real *at, size_t rows, size_t cols)
{
	return (ie_mat) {at, rows, cols, cols};
}

/* n columns from column first on */
static inline ie_mat
ie_mat_columns(ie_mat m, size_t first, size_t n)
{
	return (ie_mat) {m.at + first, m.rows, n, m.ld};
}

/* n rows from row first on */
static inline ie_mat
ie_mat_rows(ie_mat m, size_t first, size_t n)
{
	return (ie_mat) {m.at + first * m.ld, n, m.cols, m.ld};
}

static inline void
ie_gemm_real(const ie_blas *blas, int trans_a, int trans_b, size_t k, real alpha, ie_mat a,
			 ie_mat b, real beta, ie_mat c)
{
	if (c.rows == 0 || c.cols == 0)
		return;
#ifdef IE_TRAIN_DOUBLE
	blas->dgemm
#else
	blas->sgemm
#endif
		(IE_BLAS_ROW_MAJOR, trans_a, trans_b, (int) c.rows, (int) c.cols, (int) k, alpha,
		 a.at, (int) a.ld, b.at, (int) b.ld, beta, c.at, (int) c.ld);
}

/* c = alpha a b + beta c;  a: [m, k], b: [k, n] */
static inline void
ie_mul(const ie_blas *blas, real alpha, ie_mat a, ie_mat b, real beta, ie_mat c)
{
	ie_gemm_real(blas, IE_BLAS_NO_TRANS, IE_BLAS_NO_TRANS, a.cols, alpha, a, b, beta, c);
}

/* c = alpha a b^T + beta c;  a: [m, k], b: [n, k] */
static inline void
ie_mul_bt(const ie_blas *blas, real alpha, ie_mat a, ie_mat b, real beta, ie_mat c)
{
	ie_gemm_real(blas, IE_BLAS_NO_TRANS, IE_BLAS_TRANS, a.cols, alpha, a, b, beta, c);
}

/* c = alpha a^T b + beta c;  a: [k, m], b: [k, n] */
static inline void
ie_mul_at(const ie_blas *blas, real alpha, ie_mat a, ie_mat b, real beta, ie_mat c)
{
	ie_gemm_real(blas, IE_BLAS_TRANS, IE_BLAS_NO_TRANS, a.rows, alpha, a, b, beta, c);
}

#endif							/* IE_REAL_H */
