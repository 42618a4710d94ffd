/*
 * distance.c
 *	  Inner product, cosine, normalisation: see instemb.h.
 *
 * The three sums a cosine needs are made in one pass.  The portable loop is the
 * definition; the vector ones keep its 16 lanes and its tree, so the bits agree.
 * Where squares leave the range of fp32, the sums are made again in double, by
 * one loop for every instruction set.
 */
#include "instemb.h"

#include "base/cpu.h"

#include <float.h>
#include <math.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define N_LANES 16

typedef struct sums
{
	float		ab;
	float		aa;
	float		bb;
} sums;

/* Lanes of the three sums: where a vector loop leaves off */
typedef struct lanes
{
	float		ab[N_LANES];
	float		aa[N_LANES];
	float		bb[N_LANES];
} lanes;

/* The tree: l[i] += l[i + 8], then + 4, + 2, + 1 */
static float
sum_lanes(float *l)
{
	for (int half = N_LANES / 2; half >= 1; half /= 2)
		for (int i = 0; i < half; i++)
			l[i] = l[i] + l[i + half];
	return l[0];
}

/* Elements i .. n - 1, i % 16 == 0, and the tree */
static inline __attribute__((always_inline)) sums
finish(lanes *l, const float *a, const float *b, size_t i, size_t n)
{
	sums		result;

	for (; i < n; i++)
	{
		size_t		lane = i % N_LANES;

		l->ab[lane] = fmaf(a[i], b[i], l->ab[lane]);
		l->aa[lane] = fmaf(a[i], a[i], l->aa[lane]);
		l->bb[lane] = fmaf(b[i], b[i], l->bb[lane]);
	}
	result.ab = sum_lanes(l->ab);
	result.aa = sum_lanes(l->aa);
	result.bb = sum_lanes(l->bb);
	return result;
}

static sums
sums_ref(const float *a, const float *b, size_t n)
{
	lanes		l = {0};

	return finish(&l, a, b, 0, n);
}

#if defined(__x86_64__)

__attribute__((target("avx2,fma")))
static sums
sums_avx2(const float *a, const float *b, size_t n)
{
	__m256		ab[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
	__m256		aa[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
	__m256		bb[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
	lanes		l;
	size_t		i;

	for (i = 0; i + N_LANES <= n; i += N_LANES)
		for (int h = 0; h < 2; h++)
		{
			__m256		x = _mm256_loadu_ps(a + i + 8 * h);
			__m256		y = _mm256_loadu_ps(b + i + 8 * h);

			ab[h] = _mm256_fmadd_ps(x, y, ab[h]);
			aa[h] = _mm256_fmadd_ps(x, x, aa[h]);
			bb[h] = _mm256_fmadd_ps(y, y, bb[h]);
		}
	for (int h = 0; h < 2; h++)
	{
		_mm256_storeu_ps(l.ab + 8 * h, ab[h]);
		_mm256_storeu_ps(l.aa + 8 * h, aa[h]);
		_mm256_storeu_ps(l.bb + 8 * h, bb[h]);
	}
	return finish(&l, a, b, i, n);
}

__attribute__((target("avx512f,avx2,fma")))
static sums
sums_avx512(const float *a, const float *b, size_t n)
{
	__m512		ab = _mm512_setzero_ps();
	__m512		aa = _mm512_setzero_ps();
	__m512		bb = _mm512_setzero_ps();
	lanes		l;
	size_t		i;

	for (i = 0; i + N_LANES <= n; i += N_LANES)
	{
		__m512		x = _mm512_loadu_ps(a + i);
		__m512		y = _mm512_loadu_ps(b + i);

		ab = _mm512_fmadd_ps(x, y, ab);
		aa = _mm512_fmadd_ps(x, x, aa);
		bb = _mm512_fmadd_ps(y, y, bb);
	}
	_mm512_storeu_ps(l.ab, ab);
	_mm512_storeu_ps(l.aa, aa);
	_mm512_storeu_ps(l.bb, bb);
	return finish(&l, a, b, i, n);
}

#endif							/* __x86_64__ */

/* ---------------------------------------------------------------- dispatch */

typedef sums (*sums_fn) (const float *a, const float *b, size_t n);

static sums sums_first(const float *a, const float *b, size_t n);

/*
 * Chosen at the first call and never changed again.  Two threads that make the
 * first call at once both store the same pointer.
 */
static sums_fn chosen = sums_first;

static sums
sums_first(const float *a, const float *b, size_t n)
{
	sums_fn		fn = sums_ref;

#if defined(__x86_64__)
	switch (ie_cpu_detect())
	{
		case IE_CPU_AMX:
		case IE_CPU_AVX512VNNI:
			fn = sums_avx512;
			break;
		case IE_CPU_AVXVNNI:
		case IE_CPU_AVX2:
			fn = sums_avx2;
			break;
		default:
			break;
	}
#endif
	__atomic_store_n(&chosen, fn, __ATOMIC_RELAXED);
	return fn(a, b, n);
}

static sums
sums_of(const float *a, const float *b, size_t n)
{
	return __atomic_load_n(&chosen, __ATOMIC_RELAXED) (a, b, n);
}

/* ------------------------------------------------------------------ results */

/* Can a sum of squares be trusted: neither overflow nor loss to underflow? */
static bool
in_range(float square_sum)
{
	return square_sum >= 1e-20f && square_sum <= FLT_MAX;
}

static double
cosine(const float *a, const float *b, size_t n)
{
	sums		s = sums_of(a, b, n);
	double		ab = s.ab;
	double		aa = s.aa;
	double		bb = s.bb;
	double		cos;

	if (!in_range(s.aa) || !in_range(s.bb))
	{
		ab = aa = bb = 0.0;
		for (size_t i = 0; i < n; i++)
		{
			ab = ab + (double) a[i] * b[i];
			aa = aa + (double) a[i] * a[i];
			bb = bb + (double) b[i] * b[i];
		}
	}
	/* 0 / 0 and infinity / infinity are NaN */
	cos = ab / (sqrt(aa) * sqrt(bb));
	return cos > 1.0 ? 1.0 : cos < -1.0 ? -1.0 : cos;
}

double
ie_inner_product(const float *a, const float *b, size_t n)
{
	return sums_of(a, b, n).ab;
}

double
ie_cosine_similarity(const float *a, const float *b, size_t n)
{
	return cosine(a, b, n);
}

double
ie_cosine_distance(const float *a, const float *b, size_t n)
{
	return 1.0 - cosine(a, b, n);
}

bool
ie_normalize(float *x, size_t n)
{
	double		square_sum = sums_of(x, x, n).aa;
	double		norm;

	if (!in_range((float) square_sum))
	{
		square_sum = 0.0;
		for (size_t i = 0; i < n; i++)
			square_sum = square_sum + (double) x[i] * x[i];
	}
	norm = sqrt(square_sum);
	if (!(norm > 0.0 && norm < INFINITY))
		return false;
	for (size_t i = 0; i < n; i++)
		x[i] = (float) (x[i] / norm);
	return true;
}
