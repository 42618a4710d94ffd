/*
 * vector.c
 *	  Loops over one row, written so that the compiler vectorises them: see
 *	  vector.h.
 *
 * Sums run over 16 lanes.  On x86-64 each function exists for every instruction
 * set and the loader picks one.
 */
#include "train/vector.h"
#include "math/exp_terms.h"
#include "math/kernels.h"
#include "train/random.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define FAST __attribute__((optimize("O3"), target_clones("avx512f", "avx2", "default")))
#else
#define FAST					/* gcc 12 for ARM fails in its vectoriser */
#endif

#define LANES 16

/* The same as ie_expf(), without a branch that would keep loops from vectors */
static inline __attribute__((always_inline)) real
exp_of(real x)
{
#ifdef IE_TRAIN_DOUBLE
	return exp(x);
#else
	const float bounded = x < IE_EXP_MIN ? IE_EXP_MIN : x > IE_EXP_MAX ? IE_EXP_MAX : x;
	const float z = bounded * IE_LOG2E + IE_EXP_MAGIC;
	const float n = z - IE_EXP_MAGIC;
	const float r = (bounded - n * IE_LN2_HIGH) - n * IE_LN2_LOW;
	float		p = IE_EXP_C6;
	uint32_t	bits;
	float		scale;

	p = p * r + IE_EXP_C5;
	p = p * r + IE_EXP_C4;
	p = p * r + IE_EXP_C3;
	p = p * r + IE_EXP_C2;
	p = (p * r + 1.0f) * r + 1.0f;
	memcpy(&bits, &z, sizeof(bits));
	bits = (bits << 23) + 0x3f800000;
	memcpy(&scale, &bits, sizeof(scale));
	return x < IE_EXP_MIN ? 0.0f : p * scale;
#endif
}

static inline __attribute__((always_inline)) real
sum_lanes(const real *lane)
{
	real		sum = 0;

	for (size_t j = 0; j < LANES; j++)
		sum += lane[j];
	return sum;
}

FAST real
ie_vec_dot(const real *a, const real *b, size_t n)
{
	real		lane[LANES] = {0};
	size_t		i = 0;

	for (; i + LANES <= n; i += LANES)
		for (size_t j = 0; j < LANES; j++)
			lane[j] += a[i + j] * b[i + j];
	for (size_t j = 0; i < n; i++, j++)
		lane[j] += a[i] * b[i];
	return sum_lanes(lane);
}

FAST void
ie_vec_rms_norm(const real *x, const float *weight, real eps, size_t n, real *y)
{
	const real	r = 1 / (real) sqrt((double) (ie_vec_dot(x, x, n) / (real) n + eps));

	for (size_t i = 0; i < n; i++)
		y[i] = x[i] * r * (real) weight[i];
}

/*
 * With u = dy weight and r = 1 / sqrt(mean(x^2) + eps):
 * dx = r (u - x r^2 mean(u x))
 */
FAST void
ie_vec_rms_norm_back(const real *x, const float *weight, real eps, size_t n, const real *dy,
					 real *dx)
{
	const real	r = 1 / (real) sqrt((double) (ie_vec_dot(x, x, n) / (real) n + eps));
	real		lane[LANES] = {0};
	size_t		i = 0;
	real		along;

	for (; i + LANES <= n; i += LANES)
		for (size_t j = 0; j < LANES; j++)
			lane[j] += dy[i + j] * (real) weight[i + j] * x[i + j];
	for (size_t j = 0; i < n; i++, j++)
		lane[j] += dy[i] * (real) weight[i] * x[i];
	along = sum_lanes(lane) * r * r / (real) n;
	for (i = 0; i < n; i++)
		dx[i] += r * (dy[i] * (real) weight[i] - x[i] * along);
}

FAST void
ie_vec_swiglu(const real *restrict gate, const real *restrict up, size_t n, real *restrict y)
{
	for (size_t i = 0; i < n; i++)
		y[i] = gate[i] / (1 + exp_of(-gate[i])) * up[i];
}

/* With s = 1 / (1 + exp(-g)): silu'(g) = s (1 + g (1 - s)) */
FAST void
ie_vec_swiglu_back(const real *restrict gate, const real *restrict up, size_t n,
				   const real *restrict dy, real *restrict dgate, real *restrict dup)
{
	for (size_t i = 0; i < n; i++)
	{
		const real	s = 1 / (1 + exp_of(-gate[i]));

		dup[i] = dy[i] * gate[i] * s;
		dgate[i] = dy[i] * up[i] * s * (1 + gate[i] * (1 - s));
	}
}

FAST void
ie_vec_rotate(real *x, size_t n_heads, size_t D, const real *cos, const real *sin, bool back)
{
	const real	sign = back ? -1 : 1;

	for (size_t h = 0; h < n_heads; h++, x += D)
		for (size_t i = 0; i < D / 2; i++)
		{
			const real	a = x[2 * i];
			const real	b = x[2 * i + 1];

			x[2 * i] = a * cos[i] - b * sin[i] * sign;
			x[2 * i + 1] = a * sin[i] * sign + b * cos[i];
		}
}

static inline __attribute__((always_inline)) real
max_of(const real *x, size_t n)
{
	real		lane[LANES];
	real		max;
	size_t		i = 0;

	for (size_t j = 0; j < LANES; j++)
		lane[j] = x[0];
	for (; i + LANES <= n; i += LANES)
		for (size_t j = 0; j < LANES; j++)
			lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
	for (size_t j = 0; i < n; i++, j++)
		lane[j] = x[i] > lane[j] ? x[i] : lane[j];
	max = lane[0];
	for (size_t j = 1; j < LANES; j++)
		max = lane[j] > max ? lane[j] : max;
	return max;
}

FAST void
ie_vec_softmax(real *x, size_t n)
{
	const real	max = max_of(x, n);
	real		lane[LANES] = {0};
	size_t		i = 0;
	real		factor;

	for (; i + LANES <= n; i += LANES)
		for (size_t j = 0; j < LANES; j++)
		{
			x[i + j] = exp_of(x[i + j] - max);
			lane[j] += x[i + j];
		}
	for (size_t j = 0; i < n; i++, j++)
	{
		x[i] = exp_of(x[i] - max);
		lane[j] += x[i];
	}
	factor = 1 / sum_lanes(lane);
	for (i = 0; i < n; i++)
		x[i] *= factor;
}

FAST real
ie_vec_log_sum(const real *x, size_t n)
{
	const real	max = max_of(x, n);
	real		lane[LANES] = {0};
	size_t		i = 0;

	for (; i + LANES <= n; i += LANES)
		for (size_t j = 0; j < LANES; j++)
			lane[j] += exp_of(x[i + j] - max);
	for (size_t j = 0; i < n; i++, j++)
		lane[j] += exp_of(x[i] - max);
	return max + (real) ie_log((double) sum_lanes(lane));
}

FAST void
ie_vec_exp(real *x, size_t n, real shift, real factor)
{
	for (size_t i = 0; i < n; i++)
		x[i] = exp_of(x[i] - shift) * factor;
}

FAST real
ie_vec_divergence(real *p, real log_p, const real *q, real log_q, size_t n)
{
	real		lane[LANES] = {0};
	size_t		i = 0;

	for (; i + LANES <= n; i += LANES)
		for (size_t j = 0; j < LANES; j++)
		{
			const real	log_ratio = (p[i + j] - log_p) - (q[i + j] - log_q);

			p[i + j] = exp_of(p[i + j] - log_p);
			lane[j] += p[i + j] * log_ratio;
		}
	for (size_t j = 0; i < n; i++, j++)
	{
		const real	log_ratio = (p[i] - log_p) - (q[i] - log_q);

		p[i] = exp_of(p[i] - log_p);
		lane[j] += p[i] * log_ratio;
	}
	return sum_lanes(lane);
}

FAST void
ie_vec_softmax_back(const real *y, const real *dy, size_t n, real scale, real *dx)
{
	const real	mean = ie_vec_dot(y, dy, n);

	for (size_t i = 0; i < n; i++)
		dx[i] = y[i] * (dy[i] - mean) * scale;
}

FAST void
ie_vec_add(real *restrict x, const real *restrict y, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] += y[i];
}

FAST void
ie_vec_add_scaled(real *restrict x, const real *restrict y, real factor, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] += y[i] * factor;
}

/* 16 random bits decide on a number */
void
ie_vec_dropout(real *x, size_t n, real p, uint64_t key)
{
	const uint32_t threshold = (uint32_t) (p * 65536);
	const real	kept = 1 / (1 - (real) threshold / 65536);
	uint64_t	bits = 0;

	for (size_t i = 0; i < n; i++)
	{
		if (i % 4 == 0)
			bits = ie_random_at(key, i / 4);
		x[i] *= (bits & 0xffff) < threshold ? 0 : kept;
		bits >>= 16;
	}
}
