/*
 * kernels_avx2.c
 *	  Norm, activation, rotation and attention for AVX2 + FMA, and the table of
 *	  this level.
 */
#include "math/simd_avx2.h"

#if defined(__x86_64__)

#include "base/bytes.h"

#include <math.h>

#define N_LANES 16

/* The 16-lane tree of kernels.h */
AVX2_INLINE float
sum_lanes(__m256 low, __m256 high)
{
	__m256		l8 = _mm256_add_ps(low, high);
	__m128		l4 = _mm_add_ps(_mm256_castps256_ps128(l8), _mm256_extractf128_ps(l8, 1));
	__m128		l2 = _mm_add_ps(l4, _mm_movehl_ps(l4, l4));

	return _mm_cvtss_f32(_mm_add_ss(l2, _mm_movehdup_ps(l2)));
}

/* ie_expf() of 8 values */
AVX2_INLINE __m256
exp8(__m256 x)
{
	const __m256 magic = _mm256_set1_ps(IE_EXP_MAGIC);
	const __m256 one = _mm256_set1_ps(1.0f);
	__m256		tiny = _mm256_cmp_ps(x, _mm256_set1_ps(IE_EXP_MIN), _CMP_LT_OQ);
	__m256		z,
				n,
				r,
				p;
	__m256i		scale;

	x = _mm256_min_ps(_mm256_set1_ps(IE_EXP_MAX), x);	/* this order lets NaN through */
	z = _mm256_fmadd_ps(x, _mm256_set1_ps(IE_LOG2E), magic);
	n = _mm256_sub_ps(z, magic);
	r = _mm256_fmadd_ps(n, _mm256_set1_ps(-IE_LN2_HIGH), x);
	r = _mm256_fmadd_ps(n, _mm256_set1_ps(-IE_LN2_LOW), r);
	p = _mm256_set1_ps(IE_EXP_C6);
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(IE_EXP_C5));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(IE_EXP_C4));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(IE_EXP_C3));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(IE_EXP_C2));
	p = _mm256_fmadd_ps(_mm256_fmadd_ps(p, r, one), r, one);
	scale = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(z), 23),
							 _mm256_set1_epi32(0x3f800000));
	return _mm256_andnot_ps(tiny, _mm256_mul_ps(p, _mm256_castsi256_ps(scale)));
}

/* -------------------------------------------------------------- element-wise */

AVX2 float
ie_avx2_dot(const float *a, const float *b, size_t n)
{
	__m256		low = _mm256_setzero_ps();
	__m256		high = _mm256_setzero_ps();
	float		l[N_LANES];
	size_t		i;

	for (i = 0; i + N_LANES <= n; i += N_LANES)
	{
		low = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), low);
		high = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), high);
	}
	if (i == n)
		return sum_lanes(low, high);
	_mm256_storeu_ps(l, low);
	_mm256_storeu_ps(l + 8, high);
	for (; i < n; i++)
		l[i % N_LANES] = fmaf(a[i], b[i], l[i % N_LANES]);
	return sum_lanes(_mm256_loadu_ps(l), _mm256_loadu_ps(l + 8));
}

AVX2 void
ie_avx2_rms_norm(const float *x, const float *weight, float eps, size_t n, float *y)
{
	float		mean = ie_avx2_dot(x, x, n) / (float) n;
	float		r = 1.0f / sqrtf(mean + eps);
	size_t		i;

	for (i = 0; i + 8 <= n; i += 8)
		_mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(r)),
											  _mm256_loadu_ps(weight + i)));
	for (; i < n; i++)
		y[i] = (x[i] * r) * weight[i];
}

AVX2_INLINE __m256
silu_mul8(__m256 gate, __m256 up)
{
	const __m256 sign = _mm256_set1_ps(-0.0f);
	__m256		e = exp8(_mm256_xor_ps(gate, sign));

	return _mm256_mul_ps(_mm256_div_ps(gate, _mm256_add_ps(_mm256_set1_ps(1.0f), e)), up);
}

AVX2 void
ie_avx2_silu_mul(float *gate, const float *up, size_t n)
{
	size_t		i;

	for (i = 0; i + 8 <= n; i += 8)
		_mm256_storeu_ps(gate + i, silu_mul8(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
	if (i < n)
	{
		__m256i		mask = lanes_below(n - i);

		_mm256_maskstore_ps(gate + i, mask, silu_mul8(_mm256_maskload_ps(gate + i, mask),
													  _mm256_maskload_ps(up + i, mask)));
	}
}

AVX2 void
ie_avx2_rope(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin)
{
	for (size_t i = 0; i < head_dim; i += 8)
	{
		__m128		c = _mm_loadu_ps(cos + i / 2);
		__m128		s = _mm_loadu_ps(sin + i / 2);
		__m256		cs = _mm256_set_m128(_mm_unpackhi_ps(c, s), _mm_unpacklo_ps(c, s));
		__m256		sc = _mm256_permute_ps(cs, 0xb1);

		for (size_t h = 0; h < n_heads; h++)
		{
			float	   *p = x + h * head_dim + i;
			__m256		v = _mm256_loadu_ps(p);

			/* even lanes x0 c - (x1 s), odd lanes x0 s + (x1 c) */
			_mm256_storeu_ps(p, _mm256_fmaddsub_ps(_mm256_moveldup_ps(v), cs,
												   _mm256_mul_ps(_mm256_movehdup_ps(v), sc)));
		}
	}
}

/* ---------------------------------------------------------------- attention */

#define MAX_HEADS 4				/* heads side by side */

/*
 * Scores of n_vecs * 8 positions from column j on, for n_h heads.
 * q: [n_h, D]; scores points at column j of the first head.
 */
AVX2_INLINE void
score_vecs(const int n_h, const int n_vecs, const ie_attend_args *a, const ie_kv_span *span,
		   const float *q, size_t j, float *scores)
{
	__m256		sum[MAX_HEADS][8];

	UNROLL(4)
	for (int h = 0; h < n_h; h++)
		UNROLL(8)
		for (int v = 0; v < n_vecs; v++)
			sum[h][v] = _mm256_setzero_ps();
	for (size_t d = 0; d < a->head_dim; d++)
	{
		const float *k = span->kt + d * span->ld_k + j;

		UNROLL(8)
		for (int v = 0; v < n_vecs; v++)
		{
			__m256		k8 = _mm256_load_ps(k + 8 * v);

			UNROLL(4)
			for (int h = 0; h < n_h; h++)
				sum[h][v] = _mm256_fmadd_ps(_mm256_set1_ps(q[(size_t) h * a->head_dim + d]), k8,
											sum[h][v]);
		}
	}
	UNROLL(4)
	for (int h = 0; h < n_h; h++)
		UNROLL(8)
		for (int v = 0; v < n_vecs; v++)
			_mm256_storeu_ps(scores + (size_t) h * a->ld_scores + 8 * v,
							 _mm256_mul_ps(sum[h][v], _mm256_set1_ps(a->scale)));
}

/* Weighted sum of the values: columns d .. d + 8 n_vecs - 1 of n_h heads */
AVX2_INLINE void
mix_vecs(const int n_h, const int n_vecs, const ie_attend_args *a, const float *p,
		 const float *inverse, size_t d, float *out)
{
	__m256		sum[MAX_HEADS][8];

	UNROLL(4)
	for (int h = 0; h < n_h; h++)
		UNROLL(8)
		for (int v = 0; v < n_vecs; v++)
			sum[h][v] = _mm256_setzero_ps();
	for (int s = 0; s < 2; s++)
	{
		const ie_kv_span *span = &a->span[s];

		for (size_t j = 0; j < span->n; j++, p++)
		{
			const float *value = span->v + j * span->ld_v + d;

			UNROLL(8)
			for (int v = 0; v < n_vecs; v++)
			{
				__m256		v8 = _mm256_loadu_ps(value + 8 * v);

				UNROLL(4)
				for (int h = 0; h < n_h; h++)
					sum[h][v] = _mm256_fmadd_ps(_mm256_set1_ps(p[(size_t) h * a->ld_scores]), v8,
												sum[h][v]);
			}
		}
	}
	UNROLL(4)
	for (int h = 0; h < n_h; h++)
		UNROLL(8)
		for (int v = 0; v < n_vecs; v++)
			_mm256_storeu_ps(out + (size_t) h * a->head_dim + d + 8 * v,
							 _mm256_mul_ps(sum[h][v], _mm256_set1_ps(inverse[h])));
}

/* Scores become exp(score - max); returns 1 / their sum.  p: [round_up(n, 16)], aligned */
AVX2_INLINE float
softmax_weights(float *p, size_t n)
{
	size_t		n_padded = ie_round_up(n, N_LANES);
	__m256		max8 = _mm256_set1_ps(-INFINITY);
	__m256		low = _mm256_setzero_ps();
	__m256		high = _mm256_setzero_ps();
	__m128		max4;

	for (size_t j = n; j < n_padded; j++)
		p[j] = -INFINITY;		/* adds exp(-infinity) = 0 */
	for (size_t j = 0; j < n_padded; j += 8)
		max8 = _mm256_max_ps(_mm256_load_ps(p + j), max8);
	max4 = _mm_max_ps(_mm256_castps256_ps128(max8), _mm256_extractf128_ps(max8, 1));
	max4 = _mm_max_ps(max4, _mm_movehl_ps(max4, max4));
	max4 = _mm_max_ss(max4, _mm_movehdup_ps(max4));
	max8 = _mm256_broadcastss_ps(max4);
	for (size_t j = 0; j < n_padded; j += N_LANES)
	{
		__m256		p0 = exp8(_mm256_sub_ps(_mm256_load_ps(p + j), max8));
		__m256		p1 = exp8(_mm256_sub_ps(_mm256_load_ps(p + j + 8), max8));

		_mm256_store_ps(p + j, p0);
		_mm256_store_ps(p + j + 8, p1);
		low = _mm256_add_ps(low, p0);
		high = _mm256_add_ps(high, p1);
	}
	return 1.0f / sum_lanes(low, high);
}

/*
 * n_h heads from h on.  n_vecs registers a head are as many as fit, and enough
 * to hide the latency of the sums; what is left over goes in steps of 16
 * positions (the keys' padding) or 8 columns.
 */
AVX2_INLINE void
attend_heads(const int n_h, const int n_vecs, const ie_attend_args *a, size_t h)
{
	const float *q = a->q + h * a->head_dim;
	float	   *scores = a->scores + h * a->ld_scores;
	float		inverse[MAX_HEADS];
	size_t		n0 = a->span[0].n;
	size_t		d = 0;

	for (int s = 0; s < 2; s++)
	{
		const ie_kv_span *span = &a->span[s];
		float	   *p = scores + (s == 0 ? 0 : n0);
		size_t		n = ie_round_up(span->n, N_LANES);
		size_t		j = 0;

		for (; j + 8 * (size_t) n_vecs <= n; j += 8 * (size_t) n_vecs)
			score_vecs(n_h, n_vecs, a, span, q, j, p + j);
		for (; j < n; j += N_LANES)
			score_vecs(n_h, 2, a, span, q, j, p + j);
	}
	UNROLL(4)
	for (int i = 0; i < n_h; i++)
		inverse[i] = softmax_weights(scores + (size_t) i * a->ld_scores, n0 + a->span[1].n);
	for (; d + 8 * (size_t) n_vecs <= a->head_dim; d += 8 * (size_t) n_vecs)
		mix_vecs(n_h, n_vecs, a, scores, inverse, d, a->out + h * a->head_dim);
	for (; d < a->head_dim; d += 8)
		mix_vecs(n_h, 1, a, scores, inverse, d, a->out + h * a->head_dim);
}

AVX2 void
ie_avx2_attend(const ie_attend_args *a)
{
	size_t		h = 0;

	for (; h + 4 <= a->n_q; h += 4)
		attend_heads(4, 2, a, h);
	switch (a->n_q - h)
	{
		case 3:
			attend_heads(3, 4, a, h);
			break;
		case 2:
			attend_heads(2, 4, a, h);
			break;
		case 1:
			attend_heads(1, 8, a, h);
			break;
		default:
			break;
	}
}

const ie_kernels ie_kernels_avx2 = {
	.level = IE_CPU_AVX2,
	.quantize_rows = ie_avx2_quantize_rows,
	.panel_u8 = ie_avx2_panel_u8,
	.panel_s8 = ie_avx2_panel_s8,
	.panel_f32 = ie_avx2_panel_f32,
	.rms_norm = ie_avx2_rms_norm,
	.silu_mul = ie_avx2_silu_mul,
	.rope = ie_avx2_rope,
	.attend = ie_avx2_attend,
	.dot = ie_avx2_dot,
	.pack_for = ie_pack_for_avx2
};

#endif							/* __x86_64__ */
