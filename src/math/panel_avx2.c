/*
 * panel_avx2.c
 *	  Quantising of activations and products with panels, for AVX2 + FMA.
 *
 * 16 outputs are two registers, each done in its own pass over the panel, with
 * up to 4 rows of activations beside each other.
 */
#include "math/simd_avx2.h"

#if defined(__x86_64__)

#include <math.h>
#include <string.h>

/* --------------------------------------------------------------- activations */

AVX2_INLINE uint32_t
max_epi32(__m256i v)
{
	__m128i		m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
	return (uint32_t) _mm_cvtsi128_si32(m);
}

AVX2_INLINE int32_t
sum_epi32(__m256i v)
{
	__m128i		s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
	return _mm_cvtsi128_si32(s);
}

/* One row of one tile; x: [IE_QK] */
AVX2_INLINE void
quantize_block(const float *x, ie_qtile *tile, size_t row)
{
	const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
	__m256		v[4];
	__m256i		max4 = _mm256_setzero_si256();
	__m256i		q[4];
	uint32_t	max_bits;
	float		max;
	__m256		inverse;
	int32_t		sum;

	for (int i = 0; i < 4; i++)
	{
		v[i] = _mm256_loadu_ps(x + 8 * i);
		max4 = _mm256_max_epi32(max4, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
	}
	max_bits = max_epi32(max4);
	memcpy(&max, &max_bits, sizeof(max));
	if (!(max >= IE_QUANT_MIN && max < INFINITY))
	{
		ie_quantize_special(max, tile, row);
		return;
	}
	inverse = _mm256_set1_ps(127.0f / max);
	for (int i = 0; i < 4; i++)
		q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
	sum = sum_epi32(_mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3])));
	/* packing works within 128-bit lanes: put the groups of 4 back in order */
	q[0] = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
	q[0] = _mm256_permutevar8x32_epi32(q[0], _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
	_mm256_storeu_si256((__m256i *) tile->q[row], q[0]);
	tile->d[row] = max / 127.0f;
	tile->s[row] = tile->d[row] * (float) sum;
	tile->sum[row] = sum;
}

AVX2 void
ie_avx2_quantize_rows(const float *x, size_t ldx, size_t T, const ie_qrows *out)
{
	size_t		n_blocks = out->n_cols / IE_QK;

	for (size_t t = 0; t < T; t++)
		for (size_t b = 0; b < n_blocks; b++)
			quantize_block(x + t * ldx + b * IE_QK,
						   &out->tiles[t / IE_TILE_ROWS * n_blocks + b], t % IE_TILE_ROWS);
}

/* --------------------------------------------------------- quantised products */

/* Outputs r0 .. r0 + 7 of a panel's row t */
AVX2_INLINE void
store8(const ie_panel_out *out, size_t t, size_t r0, __m256 sum)
{
	float	   *y = out->y + t * out->ldy + r0;

	if (out->n_rows >= r0 + 8)
		_mm256_storeu_ps(y, out->add ? _mm256_add_ps(_mm256_loadu_ps(y), sum) : sum);
	else if (out->n_rows > r0)
	{
		__m256i		mask = lanes_below(out->n_rows - r0);

		_mm256_maskstore_ps(y, mask, out->add ?
							_mm256_add_ps(_mm256_maskload_ps(y, mask), sum) : sum);
	}
}

#define MAX_ROWS 4				/* rows of activations side by side */

/* Four activations, in every group of four bytes */
AVX2_INLINE __m256i
broadcast4(const int8_t *q)
{
	int32_t		four;

	memcpy(&four, q, sizeof(four));
	return _mm256_set1_epi32(four);
}

/*
 * isum[t] of 8 outputs, weights 0..31.  Sums of 4 column groups stay below
 * 4 * 2 * 31 * 127 = 31496 and so within int16.
 */
AVX2_INLINE void
dot_u8(const uint8_t *w, const int8_t *x, const int n, __m256i *isum)
{
	const __m256i ones = _mm256_set1_epi16(1);

	UNROLL(2)
	for (int part = 0; part < 2; part++)
	{
		__m256i		sum16[MAX_ROWS];

		UNROLL(4)
		for (int g = 4 * part; g < 4 * part + 4; g++)
		{
			__m256i		w4 = _mm256_load_si256((const __m256i *) (w + 4 * IE_PANEL_ROWS * g));

			UNROLL(4)
			for (int t = 0; t < n; t++)
			{
				__m256i		v = _mm256_maddubs_epi16(w4, broadcast4(x + IE_QK * t + 4 * g));

				sum16[t] = g == 4 * part ? v : _mm256_add_epi16(sum16[t], v);
			}
		}
		UNROLL(4)
		for (int t = 0; t < n; t++)
		{
			__m256i		v = _mm256_madd_epi16(sum16[t], ones);

			isum[t] = part == 0 ? v : _mm256_add_epi32(isum[t], v);
		}
	}
}

/*
 * isum[t] of 8 outputs, weights -127..127: |w| times x with w's sign.  A pair's
 * sum is at most 2 * 127 * 127 = 32258.
 */
AVX2_INLINE void
dot_s8(const uint8_t *w, const int8_t *x, const int n, __m256i *isum)
{
	const __m256i ones = _mm256_set1_epi16(1);

	UNROLL(8)
	for (int g = 0; g < 8; g++)
	{
		__m256i		w4 = _mm256_load_si256((const __m256i *) (w + 4 * IE_PANEL_ROWS * g));
		__m256i		abs_w = _mm256_abs_epi8(w4);

		UNROLL(4)
		for (int t = 0; t < n; t++)
		{
			__m256i		v = _mm256_maddubs_epi16(abs_w, _mm256_sign_epi8(broadcast4(x + IE_QK * t + 4 * g), w4));

			v = _mm256_madd_epi16(v, ones);
			isum[t] = g == 0 ? v : _mm256_add_epi32(isum[t], v);
		}
	}
}

/* n rows, from row t on, of the activations x of one tile: all 16 outputs */
AVX2_INLINE void
multiply_rows(const ie_panel_kind kind, const int n, const ie_panel_block *panel, const ie_qtile *x,
			  size_t n_blocks, size_t t, const ie_panel_out *out)
{
	const size_t row = t % IE_TILE_ROWS;

	for (size_t r0 = 0; r0 < IE_PANEL_ROWS; r0 += 8)
	{
		__m256		acc[MAX_ROWS];

		UNROLL(4)
		for (int i = 0; i < n; i++)
			acc[i] = _mm256_setzero_ps();
		for (size_t b = 0; b < n_blocks; b++)
		{
			const uint8_t *w = &panel[b].q[0][r0][0];
			__m256		d = _mm256_load_ps(panel[b].d + r0);
			__m256i		isum[MAX_ROWS];

			if (kind == IE_PANEL_U8)
				dot_u8(w, x[b].q[row], n, isum);
			else
				dot_s8(w, x[b].q[row], n, isum);
			UNROLL(4)
			for (int i = 0; i < n; i++)
			{
				acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum[i]),
										 _mm256_mul_ps(d, _mm256_set1_ps(x[b].d[row + (size_t) i])),
										 acc[i]);
				if (kind == IE_PANEL_U8)
					acc[i] = _mm256_fmadd_ps(_mm256_load_ps(panel[b].m + r0),
											 _mm256_set1_ps(x[b].s[row + (size_t) i]), acc[i]);
			}
		}
		UNROLL(4)
		for (int i = 0; i < n; i++)
			store8(out, t + (size_t) i, r0, acc[i]);
	}
}

AVX2_INLINE void
multiply(const ie_panel_kind kind, const ie_panel_block *panel, const ie_qrows *x, size_t T,
		 const ie_panel_out *out)
{
	const size_t n_blocks = x->n_cols / IE_QK;

	for (size_t t = 0; t < T; t += MAX_ROWS)
	{
		const ie_qtile *tile = x->tiles + t / IE_TILE_ROWS * n_blocks;

		switch (T - t)
		{
			case 1:
				multiply_rows(kind, 1, panel, tile, n_blocks, t, out);
				break;
			case 2:
				multiply_rows(kind, 2, panel, tile, n_blocks, t, out);
				break;
			case 3:
				multiply_rows(kind, 3, panel, tile, n_blocks, t, out);
				break;
			default:
				multiply_rows(kind, 4, panel, tile, n_blocks, t, out);
				break;
		}
	}
}

AVX2 void
ie_avx2_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_out *out)
{
	multiply(IE_PANEL_U8, panel, x, T, out);
}

AVX2 void
ie_avx2_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_out *out)
{
	multiply(IE_PANEL_S8, panel, x, T, out);
}

/* ------------------------------------------------------------ float products */

#define MAX_ROWS_F32 6

AVX2_INLINE void
multiply_rows_f32(const int n, const float *w, size_t n_in, const float *x, size_t ldx, size_t t,
				  const ie_panel_out *out)
{
	__m256		acc[MAX_ROWS_F32][2];

	UNROLL(6)
	for (int i = 0; i < n; i++)
		acc[i][0] = acc[i][1] = _mm256_setzero_ps();
	for (size_t k = 0; k < n_in; k++, w += IE_PANEL_ROWS)
	{
		__m256		w0 = _mm256_load_ps(w);
		__m256		w1 = _mm256_load_ps(w + 8);

		UNROLL(6)
		for (int i = 0; i < n; i++)
		{
			__m256		v = _mm256_set1_ps(x[(size_t) i * ldx + k]);

			acc[i][0] = _mm256_fmadd_ps(v, w0, acc[i][0]);
			acc[i][1] = _mm256_fmadd_ps(v, w1, acc[i][1]);
		}
	}
	UNROLL(6)
	for (int i = 0; i < n; i++)
	{
		store8(out, t + (size_t) i, 0, acc[i][0]);
		store8(out, t + (size_t) i, 8, acc[i][1]);
	}
}

AVX2 void
ie_avx2_panel_f32(const float *w, size_t n_in, const float *x, size_t ldx, size_t T,
			   const ie_panel_out *out)
{
	size_t		t = 0;

	for (; t + MAX_ROWS_F32 <= T; t += MAX_ROWS_F32)
		multiply_rows_f32(MAX_ROWS_F32, w, n_in, x + t * ldx, ldx, t, out);
	for (; t + 2 <= T; t += 2)
		multiply_rows_f32(2, w, n_in, x + t * ldx, ldx, t, out);
	if (t < T)
		multiply_rows_f32(1, w, n_in, x + t * ldx, ldx, t, out);
}

#endif							/* __x86_64__ */
