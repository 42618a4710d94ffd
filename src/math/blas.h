/*
 * blas.h
 *	  OpenBLAS's matrix product, opened when it is first needed.
 *
 * Only training uses it: embeddings are computed by kernels whose bits do not
 * depend on the shape of a batch (gemm.h).  Therefore the engine is not linked
 * to it, and a session that does not train does not pay for loading it.
 *
 * A product runs on the thread that calls it, and threads may call at once:
 * work is split above it.
 */
#ifndef IE_BLAS_H
#define IE_BLAS_H

#include "base/status.h"

/* Values of CBLAS's enumerations */
enum
{
	IE_BLAS_ROW_MAJOR = 101, IE_BLAS_NO_TRANS = 111, IE_BLAS_TRANS = 112
};

/* c [m, n] = alpha op(a) op(b) + beta c, op(a): [m, k], op(b): [k, n]; CBLAS's cblas_?gemm() */
typedef struct ie_blas
{
	void		(*sgemm) (int order, int trans_a, int trans_b, int m, int n, int k,
						  float alpha, const float *a, int lda, const float *b, int ldb,
						  float beta, float *c, int ldc);
	void		(*dgemm) (int order, int trans_a, int trans_b, int m, int n, int k,
						  double alpha, const double *a, int lda, const double *b, int ldb,
						  double beta, double *c, int ldc);
} ie_blas;

/*
 * Load the library, once in a process and for its rest, and set it to one thread.
 * Errors: IE_UNSUPPORTED (not installed, or lacks a function).
 */
ie_code		ie_blas_open(ie_blas *blas, ie_error *err);

#endif							/* IE_BLAS_H */
