/*
 * kernels_avx512.c
 *	  Norm, activation, attention for AVX-512, and the tables of this level
 *	  and of AMX, which differ in products alone.
 *	  Quantising, rotation and packing are AVX2's: they move more than they
 *	  compute, and gain nothing here.
 */
#include "math/simd_avx512.h"

#if defined(__x86_64__)

#include "base/bytes.h"

#include <math.h>

#define N_LANES 16

/* The 16-lane tree of kernels.h */
AVX512_INLINE float
sum_lanes(__m512 l)
{
	__m256		l8 = _mm256_add_ps(_mm512_castps512_ps256(l), _mm512_extractf32x8_ps(l, 1));
	__m128		l4 = _mm_add_ps(_mm256_castps256_ps128(l8), _mm256_extractf128_ps(l8, 1));
	__m128		l2 = _mm_add_ps(l4, _mm_movehl_ps(l4, l4));

	return _mm_cvtss_f32(_mm_add_ss(l2, _mm_movehdup_ps(l2)));
}

/* ie_expf() of 16 values */
AVX512_INLINE __m512
exp16(__m512 x)
{
	const __m512 magic = _mm512_set1_ps(IE_EXP_MAGIC);
	const __m512 one = _mm512_set1_ps(1.0f);
	const __mmask16 tiny = _mm512_cmp_ps_mask(x, _mm512_set1_ps(IE_EXP_MIN), _CMP_LT_OQ);
	__m512		z,
				n,
				r,
				p;
	__m512i		scale;

	x = _mm512_min_ps(_mm512_set1_ps(IE_EXP_MAX), x);	/* this order lets NaN through */
	z = _mm512_fmadd_ps(x, _mm512_set1_ps(IE_LOG2E), magic);
	n = _mm512_sub_ps(z, magic);
	r = _mm512_fmadd_ps(n, _mm512_set1_ps(-IE_LN2_HIGH), x);
	r = _mm512_fmadd_ps(n, _mm512_set1_ps(-IE_LN2_LOW), r);
	p = _mm512_set1_ps(IE_EXP_C6);
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(IE_EXP_C5));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(IE_EXP_C4));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(IE_EXP_C3));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(IE_EXP_C2));
	p = _mm512_fmadd_ps(_mm512_fmadd_ps(p, r, one), r, one);
	scale = _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(z), 23),
							 _mm512_set1_epi32(0x3f800000));
	p = _mm512_mul_ps(p, _mm512_castsi512_ps(scale));
	return _mm512_mask_mov_ps(p, tiny, _mm512_setzero_ps());
}

/* -------------------------------------------------------------- element-wise */

AVX512 static float
avx512_dot(const float *a, const float *b, size_t n)
{
	__m512		sum = _mm512_setzero_ps();
	size_t		i;

	for (i = 0; i + N_LANES <= n; i += N_LANES)
		sum = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), sum);
	if (i < n)
	{
		const __mmask16 mask = lanes_below(n - i);

		sum = _mm512_mask3_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i),
									_mm512_maskz_loadu_ps(mask, b + i), sum, mask);
	}
	return sum_lanes(sum);
}

AVX512 static void
avx512_rms_norm(const float *x, const float *weight, float eps, size_t n, float *y)
{
	const float mean = avx512_dot(x, x, n) / (float) n;
	const __m512 r = _mm512_set1_ps(1.0f / sqrtf(mean + eps));

	for (size_t i = 0; i < n; i += N_LANES)
	{
		const __mmask16 mask = lanes_below(n - i);
		__m512		v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), r);

		_mm512_mask_storeu_ps(y + i, mask,
							  _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, weight + i)));
	}
}

AVX512 static void
avx512_silu_mul(float *gate, const float *up, size_t n)
{
	for (size_t i = 0; i < n; i += N_LANES)
	{
		const __mmask16 mask = lanes_below(n - i);
		__m512		g = _mm512_maskz_loadu_ps(mask, gate + i);
		__m512		e = exp16(_mm512_xor_ps(g, _mm512_set1_ps(-0.0f)));

		g = _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
		_mm512_mask_storeu_ps(gate + i, mask,
							  _mm512_mul_ps(g, _mm512_maskz_loadu_ps(mask, up + i)));
	}
}

/* ---------------------------------------------------------------- attention */

#define MAX_HEADS 4				/* heads side by side */
#define MAX_VECS 4				/* registers of each */

/* Scores of n_vecs * 16 positions from column j on, for n_h heads; q: [n_h, D] */
AVX512_INLINE void
score_vecs(const int n_h, const int n_vecs, const ie_attend_args *a, const ie_kv_span *span,
		   const float *q, size_t j, float *scores)
{
	__m512		sum[MAX_HEADS][MAX_VECS];

	UNROLL(4)
	for (int h = 0; h < n_h; h++)
		UNROLL(4)
		for (int v = 0; v < n_vecs; v++)
			sum[h][v] = _mm512_setzero_ps();
	for (size_t d = 0; d < a->head_dim; d++)
	{
		const float *k = span->kt + d * span->ld_k + j;

		UNROLL(4)
		for (int v = 0; v < n_vecs; v++)
		{
			__m512		k16 = _mm512_load_ps(k + N_LANES * v);

			UNROLL(4)
			for (int h = 0; h < n_h; h++)
				sum[h][v] = _mm512_fmadd_ps(_mm512_set1_ps(q[(size_t) h * a->head_dim + d]), k16,
											sum[h][v]);
		}
	}
	UNROLL(4)
	for (int h = 0; h < n_h; h++)
		UNROLL(4)
		for (int v = 0; v < n_vecs; v++)
			_mm512_storeu_ps(scores + (size_t) h * a->ld_scores + N_LANES * v,
							 _mm512_mul_ps(sum[h][v], _mm512_set1_ps(a->scale)));
}

/* Weighted sum of the values, n_h heads: n_vecs * 16 columns, the last as masked */
AVX512_INLINE void
mix_vecs(const int n_h, const int n_vecs, const ie_attend_args *a, const float *p,
		 const float *inverse, __mmask16 last, const size_t d, float *out)
{
	__m512		sum[MAX_HEADS][MAX_VECS];

	UNROLL(4)
	for (int h = 0; h < n_h; h++)
		UNROLL(4)
		for (int v = 0; v < n_vecs; v++)
			sum[h][v] = _mm512_setzero_ps();
	for (int s = 0; s < 2; s++)
	{
		const ie_kv_span *span = &a->span[s];
		const float *value = span->v + d;

		for (size_t j = 0; j < span->n; j++, p++, value += span->ld_v)
			UNROLL(4)
			for (int v = 0; v < n_vecs; v++)
			{
				const float *from = value + N_LANES * v;
				__m512		v16 = v == n_vecs - 1 ? _mm512_maskz_loadu_ps(last, from) :
					_mm512_loadu_ps(from);

				UNROLL(4)
				for (int h = 0; h < n_h; h++)
					sum[h][v] = _mm512_fmadd_ps(_mm512_set1_ps(p[(size_t) h * a->ld_scores]), v16,
												sum[h][v]);
			}
	}
	UNROLL(4)
	for (int h = 0; h < n_h; h++)
		UNROLL(4)
		for (int v = 0; v < n_vecs; v++)
			_mm512_mask_storeu_ps(out + (size_t) h * a->head_dim + d + N_LANES * v,
								  v == n_vecs - 1 ? last : (__mmask16) 0xffff,
								  _mm512_mul_ps(sum[h][v], _mm512_set1_ps(inverse[h])));
}

/* Scores become exp(score - max); returns 1 / their sum.  p: [round_up(n, 16)], aligned */
AVX512_INLINE float
softmax_weights(float *p, size_t n)
{
	const size_t n_padded = ie_round_up(n, N_LANES);
	__m512		max = _mm512_set1_ps(-INFINITY);
	__m512		total = _mm512_setzero_ps();

	for (size_t j = n; j < n_padded; j++)
		p[j] = -INFINITY;		/* adds exp(-infinity) = 0 */
	for (size_t j = 0; j < n_padded; j += N_LANES)
		max = _mm512_max_ps(_mm512_load_ps(p + j), max);
	max = _mm512_set1_ps(_mm512_reduce_max_ps(max));
	for (size_t j = 0; j < n_padded; j += N_LANES)
	{
		__m512		v = exp16(_mm512_sub_ps(_mm512_load_ps(p + j), max));

		_mm512_store_ps(p + j, v);
		total = _mm512_add_ps(total, v);
	}
	return 1.0f / sum_lanes(total);
}

/* n_h heads from h on, four registers of positions or columns at a time */
AVX512_INLINE void
attend_heads(const int n_h, const ie_attend_args *a, size_t h)
{
	const size_t step = N_LANES * MAX_VECS;
	const float *q = a->q + h * a->head_dim;
	float	   *scores = a->scores + h * a->ld_scores;
	float	   *out = a->out + h * a->head_dim;
	float		inverse[MAX_HEADS];
	size_t		n0 = a->span[0].n;
	size_t		d = 0;

	for (int s = 0; s < 2; s++)
	{
		const ie_kv_span *span = &a->span[s];
		float	   *p = scores + (s == 0 ? 0 : n0);
		size_t		n = ie_round_up(span->n, N_LANES);
		size_t		j = 0;

		for (; j + step <= n; j += step)
			score_vecs(n_h, MAX_VECS, a, span, q, j, p + j);
		for (; j < n; j += N_LANES)
			score_vecs(n_h, 1, a, span, q, j, p + j);
	}
	UNROLL(4)
	for (int i = 0; i < n_h; i++)
		inverse[i] = softmax_weights(scores + (size_t) i * a->ld_scores, n0 + a->span[1].n);
	for (; d + step <= a->head_dim; d += step)
		mix_vecs(n_h, MAX_VECS, a, scores, inverse, 0xffff, d, out);
	for (; d < a->head_dim; d += N_LANES)
		mix_vecs(n_h, 1, a, scores, inverse, lanes_below(a->head_dim - d), d, out);
}

AVX512 static void
avx512_attend(const ie_attend_args *a)
{
	size_t		h = 0;

	for (; h + 4 <= a->n_q; h += 4)
		attend_heads(4, a, h);
	switch (a->n_q - h)
	{
		case 3:
			attend_heads(3, a, h);
			break;
		case 2:
			attend_heads(2, a, h);
			break;
		case 1:
			attend_heads(1, a, h);
			break;
		default:
			break;
	}
}

const ie_kernels ie_kernels_avx512 = {
	.level = IE_CPU_AVX512VNNI,
	.quantize_rows = ie_avx2_quantize_rows,
	.panel_u8 = ie_avx512_panel_u8,
	.panel_s8 = ie_avx512_panel_s8,
	.panel_f32 = ie_avx512_panel_f32,
	.rms_norm = avx512_rms_norm,
	.silu_mul = avx512_silu_mul,
	.rope = ie_avx2_rope,
	.attend = avx512_attend,
	.dot = avx512_dot,
	.pack_for = ie_pack_for_avx2
};

const ie_kernels ie_kernels_amx = {
	.level = IE_CPU_AMX,
	.quantize_rows = ie_avx2_quantize_rows,
	.panel_u8 = ie_amx_panel_u8,
	.panel_s8 = ie_amx_panel_s8,
	.panel_f32 = ie_avx512_panel_f32,
	.rms_norm = avx512_rms_norm,
	.silu_mul = avx512_silu_mul,
	.rope = ie_avx2_rope,
	.attend = avx512_attend,
	.dot = avx512_dot,
	.pack_for = ie_pack_for_avx2
};

#endif							/* __x86_64__ */
