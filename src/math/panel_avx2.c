/*
 * panel_avx2.c
 *	  Quantising of activations and products with panels, for AVX2 + FMA.
 *
 * 16 outputs are two registers, each done in its own pass over the panel, with
 * up to 4 rows of activations beside each other.
 */
#include "math/panel_avx2.h"

#if defined(__x86_64__)

#include <math.h>
#include <string.h>

/* --------------------------------------------------------------- activations */

AVX2_INLINE __m256i
combine(const bool is_max, __m256i a, __m256i b)
{
	return is_max ? _mm256_max_epi32(a, b) : _mm256_add_epi32(a, b);
}

/* Lane i of the result is the largest, or the sum, of the 8 lanes of v[i] */
AVX2_INLINE __m256i
reduce_rows(const bool is_max, const __m256i *v)
{
	__m256i		a[4];
	__m256i		b[2];

	UNROLL(4)
	for (int i = 0; i < 4; i++)
		a[i] = combine(is_max, _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
					   _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
	UNROLL(2)
	for (int i = 0; i < 2; i++)
		b[i] = combine(is_max, _mm256_unpacklo_epi64(a[2 * i], a[2 * i + 1]),
					   _mm256_unpackhi_epi64(a[2 * i], a[2 * i + 1]));
	return combine(is_max, _mm256_permute2x128_si256(b[0], b[1], 0x20),
				   _mm256_permute2x128_si256(b[0], b[1], 0x31));
}

/* The largest magnitude of 32 floats, in 8 lanes; as integers NaN is the largest of all */
AVX2_INLINE __m256i
magnitudes(const float *x)
{
	const __m256i mask = _mm256_set1_epi32(0x7fffffff);
	__m256i		max = _mm256_setzero_si256();

	UNROLL(4)
	for (int i = 0; i < 4; i++)
		max = _mm256_max_epi32(max, _mm256_and_si256(mask, _mm256_loadu_si256((const __m256i *) (x + 8 * i))));
	return max;
}

/* 32 floats times inverse as bytes at q; returns their sum in 8 lanes */
AVX2_INLINE __m256i
quantize_32(const float *x, __m256 inverse, int8_t *q)
{
	__m256i		v[4];
	__m256i		bytes;

	UNROLL(4)
	for (int i = 0; i < 4; i++)
		v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
	/* packing works within 128-bit lanes: put the groups of 4 back in order */
	bytes = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
	bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
	_mm256_storeu_si256((__m256i *) q, bytes);
	return _mm256_add_epi32(_mm256_add_epi32(v[0], v[1]), _mm256_add_epi32(v[2], v[3]));
}

/* Move a row's outliers among 32 floats, from column on, to its list; rest: the others */
AVX2_INLINE uint32_t
split_outliers(const float *x, uint32_t column, float limit, float *rest, ie_outliers *outliers,
			   size_t row, uint32_t n)
{
	const __m256 sign = _mm256_set1_ps(-0.0f);

	for (uint32_t i = 0; i < IE_QK; i += 8)
	{
		__m256		v = _mm256_loadu_ps(x + i);
		__m256		is_outlier = _mm256_cmp_ps(_mm256_andnot_ps(sign, v), _mm256_set1_ps(limit),
											   _CMP_GT_OQ);
		unsigned	mask = (unsigned) _mm256_movemask_ps(is_outlier);

		_mm256_storeu_ps(rest + i, _mm256_andnot_ps(is_outlier, v));
		for (; mask != 0; mask &= mask - 1, n++)
		{
			uint32_t	at = i + (uint32_t) __builtin_ctz(mask);

			outliers[n].column[row] = column + at;
			outliers[n].x[row] = x[at];
		}
	}
	return n;
}

/* Fill 8 lists with zeros up to the longest; returns its length */
static uint32_t
pad_outliers(ie_outliers *outliers, const uint32_t *n)
{
	uint32_t	max = 0;

	for (size_t r = 0; r < IE_TILE_ROWS; r++)
		max = n[r] > max ? n[r] : max;
	for (size_t r = 0; r < IE_TILE_ROWS; r++)
		for (uint32_t i = n[r]; i < max; i++)
		{
			outliers[i].column[r] = 0;
			outliers[i].x[r] = 0.0f;
		}
	return max;
}

/* 8 rows of one tile, their scales side by side; x[r]: [IE_QK], max: max|x[r]| */
AVX2_INLINE void
quantize_tile(const float *const *x, __m256 max, ie_qtile *tile)
{
	const __m256 v127 = _mm256_set1_ps(127.0f);
	__m256i		v[IE_TILE_ROWS];
	float		maxima[IE_TILE_ROWS];
	float		inverse[IE_TILE_ROWS];
	__m256		d;
	__m256i		sum;
	int			normal;

	_mm256_storeu_ps(inverse, _mm256_div_ps(v127, max));
	UNROLL(8)
	for (size_t r = 0; r < IE_TILE_ROWS; r++)
		v[r] = quantize_32(x[r], _mm256_broadcast_ss(&inverse[r]), tile->q[r]);
	sum = reduce_rows(false, v);
	d = _mm256_div_ps(max, v127);
	_mm256_storeu_ps(tile->d, d);
	_mm256_storeu_ps(tile->s, _mm256_mul_ps(d, _mm256_cvtepi32_ps(sum)));
	_mm256_storeu_si256((__m256i *) tile->sum, sum);
	normal = _mm256_movemask_ps(
		_mm256_and_ps(_mm256_cmp_ps(max, _mm256_set1_ps(IE_QUANT_MIN), _CMP_GE_OQ),
					  _mm256_cmp_ps(max, _mm256_set1_ps(INFINITY), _CMP_LT_OQ)));
	_mm256_storeu_ps(maxima, max);
	for (size_t r = 0; normal != 0xff && r < IE_TILE_ROWS; r++)
		if ((normal >> r & 1) == 0)
			ie_quantize_special(maxima[r], tile, r);
}

/* The tiles of 8 rows; returns the number of outliers of the row that has most */
AVX2_INLINE uint32_t
quantize_8_rows(const float *const *rows, size_t n_cols, ie_qtile *tile, ie_outliers *outliers)
{
	float		limits[IE_TILE_ROWS];
	uint32_t	n_outliers[IE_TILE_ROWS];

	for (size_t r = 0; r < IE_TILE_ROWS; r++)
	{
		limits[r] = ie_outlier_limit(ie_avx2_dot(rows[r], rows[r], n_cols), n_cols);
		n_outliers[r] = 0;
	}
	for (size_t column = 0; column < n_cols; column += IE_QK, tile++)
	{
		const float *x[IE_TILE_ROWS];
		float		rest[IE_TILE_ROWS][IE_QK];
		__m256i		v[IE_TILE_ROWS];
		__m256		max;
		int			larger;

		UNROLL(8)
		for (size_t r = 0; r < IE_TILE_ROWS; r++)
		{
			x[r] = rows[r] + column;
			v[r] = magnitudes(x[r]);
		}
		max = _mm256_castsi256_ps(reduce_rows(true, v));
		larger = _mm256_movemask_ps(_mm256_cmp_ps(max, _mm256_loadu_ps(limits), _CMP_GT_OQ));
		if (larger != 0)
		{
			for (size_t r = 0; r < IE_TILE_ROWS; r++)
			{
				if ((larger >> r & 1) != 0)
				{
					n_outliers[r] = split_outliers(x[r], (uint32_t) column, limits[r], rest[r],
												   outliers, r, n_outliers[r]);
					x[r] = rest[r];
				}
				v[r] = magnitudes(x[r]);
			}
			max = _mm256_castsi256_ps(reduce_rows(true, v));
		}
		quantize_tile(x, max, tile);
	}
	return pad_outliers(outliers, n_outliers);
}

AVX2 void
ie_avx2_quantize_rows(const float *x, size_t ldx, size_t T, const ie_qrows *out)
{
	ie_qtile   *tiles = out->tiles;
	uint32_t   *n_outliers = out->n_outliers;
	ie_outliers *outliers = out->outliers;

	for (size_t t = 0; t < T; t += IE_TILE_ROWS)
	{
		const float *rows[IE_TILE_ROWS];

		/* where rows end within a tile, the last one is done again */
		for (size_t r = 0; r < IE_TILE_ROWS; r++)
			rows[r] = x + (t + r < T ? t + r : T - 1) * ldx;
		*n_outliers++ = quantize_8_rows(rows, out->n_cols, tiles, outliers);
		tiles += out->n_cols / IE_QK;
		outliers += ie_max_outliers(out->n_cols);
	}
}

/* --------------------------------------------------------- quantised products */

#define MAX_ROWS 4				/* rows of activations side by side */
#define AHEAD_LINES 2			/* half a block of 4 rows takes as long as these take to come */

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
				KEEP_ORDER(sum16[t]);
			}
		}
		UNROLL(4)
		for (int t = 0; t < n; t++)
		{
			__m256i		v = _mm256_madd_epi16(sum16[t], ones);

			isum[t] = part == 0 ? v : _mm256_add_epi32(isum[t], v);
			KEEP_ORDER(isum[t]);
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
			KEEP_ORDER(isum[t]);
		}
	}
}

/* n rows, from row t on: all 16 outputs */
AVX2_INLINE void
multiply_rows(const ie_panel_kind kind, const int n, const ie_panel_block *panel,
			  const ie_qrows *x, size_t t, const ie_panel_args *args, ie_ahead *ahead)
{
	const size_t n_blocks = x->n_cols / IE_QK;
	const ie_qtile *tiles = x->tiles + t / IE_TILE_ROWS * n_blocks;
	const ie_outliers *outliers = x->outliers + t / IE_TILE_ROWS * ie_max_outliers(x->n_cols);
	const uint32_t n_outliers = x->n_outliers[t / IE_TILE_ROWS];
	const size_t row = t % IE_TILE_ROWS;

	for (size_t r0 = 0; r0 < IE_PANEL_ROWS; r0 += 8)
	{
		__m256		acc[MAX_ROWS];

		UNROLL(4)
		for (int i = 0; i < n; i++)
			acc[i] = _mm256_setzero_ps();
		for (size_t b = 0; b < n_blocks; b++)
		{
			const ie_panel_block *block = ie_panel_at(kind, panel, b);
			const uint8_t *w = &block->q[0][r0][0];
			const __m256 d = _mm256_load_ps(block->d + r0);
			const ie_qtile *tile = tiles + b;
			__m256i		isum[MAX_ROWS];

			ie_ahead_step(ahead, AHEAD_LINES);
			if (kind == IE_PANEL_U8)
				dot_u8(w, tile->q[row], n, isum);
			else
				dot_s8(w, tile->q[row], n, isum);
			UNROLL(4)
			for (int i = 0; i < n; i++)
			{
				__m256		dd = _mm256_mul_ps(d, _mm256_set1_ps(tile->d[row + (size_t) i]));

				acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum[i]), dd, acc[i]);
				if (kind == IE_PANEL_U8)
					acc[i] = _mm256_fmadd_ps(_mm256_load_ps(block->m + r0),
											 _mm256_set1_ps(tile->s[row + (size_t) i]), acc[i]);
			}
		}
		for (uint32_t o = 0; o < n_outliers; o++)
			UNROLL(4)
			for (size_t i = 0; i < (size_t) n; i++)
				acc[i] = add_outlier(kind, panel, r0, outliers[o].column[row + i],
									 outliers[o].x[row + i], acc[i]);
		UNROLL(4)
		for (size_t i = 0; i < (size_t) n; i++)
			store8(args, t + i, r0, acc[i]);
	}
}

AVX2_INLINE void
multiply(const ie_panel_kind kind, const ie_panel_block *panel, const ie_qrows *x, size_t T,
		 const ie_panel_args *args)
{
	ie_ahead	ahead = ie_ahead_begin(args);

	for (size_t t = 0; t < T; t += MAX_ROWS)
		switch (T - t)
		{
			case 1:
				multiply_rows(kind, 1, panel, x, t, args, &ahead);
				break;
			case 2:
				multiply_rows(kind, 2, panel, x, t, args, &ahead);
				break;
			case 3:
				multiply_rows(kind, 3, panel, x, t, args, &ahead);
				break;
			default:
				multiply_rows(kind, 4, panel, x, t, args, &ahead);
				break;
		}
	ie_ahead_finish(&ahead);
}

AVX2 void
ie_avx2_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	multiply(IE_PANEL_U8, panel, x, T, args);
}

AVX2 void
ie_avx2_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	multiply(IE_PANEL_S8, panel, x, T, args);
}

/* ------------------------------------------------------------ float products */

#define MAX_ROWS_F32 6

AVX2_INLINE void
multiply_rows_f32(const int n, const float *w, size_t n_in, const float *x, size_t ldx, size_t t,
				  const ie_panel_args *args, ie_ahead *ahead)
{
	__m256		acc[MAX_ROWS_F32][2];

	UNROLL(6)
	for (int i = 0; i < n; i++)
		acc[i][0] = acc[i][1] = _mm256_setzero_ps();
	for (size_t k = 0; k < n_in; k++, w += IE_PANEL_ROWS)
	{
		__m256		w0 = _mm256_load_ps(w);
		__m256		w1 = _mm256_load_ps(w + 8);

		ie_ahead_step(ahead, 1);
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
		store8(args, t + (size_t) i, 0, acc[i][0]);
		store8(args, t + (size_t) i, 8, acc[i][1]);
	}
}

AVX2 void
ie_avx2_panel_f32(const float *w, size_t n_in, const float *x, size_t ldx, size_t T,
			   const ie_panel_args *args)
{
	ie_ahead	ahead = ie_ahead_begin(args);
	size_t		t = 0;

	for (; t + MAX_ROWS_F32 <= T; t += MAX_ROWS_F32)
		multiply_rows_f32(MAX_ROWS_F32, w, n_in, x + t * ldx, ldx, t, args, &ahead);
	for (; t + 2 <= T; t += 2)
		multiply_rows_f32(2, w, n_in, x + t * ldx, ldx, t, args, &ahead);
	if (t < T)
		multiply_rows_f32(1, w, n_in, x + t * ldx, ldx, t, args, &ahead);
	ie_ahead_finish(&ahead);
}

#endif							/* __x86_64__ */
