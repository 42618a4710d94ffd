/*
 * vector.h
 *	  What happens to a row of numbers between two matrix products, forward and
 *	  backward.  d... is the gradient of the loss with respect to ...
 */
#ifndef IE_VECTOR_H
#define IE_VECTOR_H

#include "train/real.h"

#include <stdint.h>

/* sum of a[i] b[i] */
real		ie_vec_dot(const real *a, const real *b, size_t n);

/* y = x / sqrt(mean(x^2) + eps) * weight	(Zhang & Sennrich 2019) */
void		ie_vec_rms_norm(const real *x, const float *weight, real eps, size_t n, real *y);

/* dx += what the above makes of dy */
void		ie_vec_rms_norm_back(const real *x, const float *weight, real eps, size_t n,
								 const real *dy, real *dx);

/* y = silu(gate) up, silu(g) = g / (1 + exp(-g))	(Shazeer 2020) */
void		ie_vec_swiglu(const real *gate, const real *up, size_t n, real *y);
void		ie_vec_swiglu_back(const real *gate, const real *up, size_t n, const real *dy,
							   real *dgate, real *dup);

/*
 * Rotate adjacent pairs (x[2i], x[2i+1]) of n_heads heads of one position in
 * place by the angle whose cos and sin are given ([D / 2] each), or back.
 */
void		ie_vec_rotate(real *x, size_t n_heads, size_t D, const real *cos, const real *sin,
						  bool back);

/* x[0 .. n) = softmax(x) */
void		ie_vec_softmax(real *x, size_t n);

/* log(sum of exp(x)) */
real		ie_vec_log_sum(const real *x, size_t n);

/* x = exp(x - shift) factor */
void		ie_vec_exp(real *x, size_t n, real shift, real factor);

/*
 * KL(P || Q) = sum of P log(P / Q) of P = exp(p - log_p) and Q = exp(q - log_q);
 * p becomes P.
 */
real		ie_vec_divergence(real *p, real log_p, const real *q, real log_q, size_t n);

/* dx = y (dy - sum(y dy)) scale, y = softmax(x); dx may be dy */
void		ie_vec_softmax_back(const real *y, const real *dy, size_t n, real scale, real *dx);

/* x += y;  x += factor y */
void		ie_vec_add(real *x, const real *y, size_t n);
void		ie_vec_add_scaled(real *x, const real *y, real factor, size_t n);

/*
 * Dropout of a row: each number becomes 0 with probability p, or else is divided
 * by 1 - p; which, depends on the key alone.
 */
void		ie_vec_dropout(real *x, size_t n, real p, uint64_t key);

#endif							/* IE_VECTOR_H */
