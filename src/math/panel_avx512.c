/*
 * panel_avx512.c
 *	  Products with panels for AVX-512 with VNNI.
 *
 * 16 outputs are one register; up to 8 rows of activations lie beside each
 * other.  VPDPBUSD multiplies unsigned by signed bytes and adds four products
 * to an int32 without saturation.  Activations come as broadcast operands.
 */
#include "math/panel_avx512.h"

#if defined(__x86_64__)

#define MAX_ROWS IE_TILE_ROWS	/* rows of activations side by side */

/* Four activations, in every group of four bytes */
AVX512_INLINE __m512i
broadcast4(const int8_t *q)
{
	int32_t		four;

	memcpy(&four, q, sizeof(four));
	return _mm512_set1_epi32(four);
}

/* --------------------------------------------------------- quantised products */

/*
 * n rows from row t on, t % 8 == 0.  Signed weights go in as w + 128, and
 * 128 * sum(x) is taken off: integers, so nothing is rounded.
 */
AVX512_INLINE void
multiply_rows(const ie_panel_kind kind, const int n, const ie_panel_block *panel,
			  const ie_qrows *x, size_t t, const ie_panel_args *args, ie_ahead *ahead)
{
	const size_t n_blocks = x->n_cols / IE_QK;
	const ie_qtile *tile = x->tiles + t / IE_TILE_ROWS * n_blocks;
	const ie_outliers *outliers = x->outliers + t / IE_TILE_ROWS * ie_max_outliers(x->n_cols);
	const uint32_t n_outliers = x->n_outliers[t / IE_TILE_ROWS];
	__m512		acc[MAX_ROWS];

	UNROLL(8)
	for (int i = 0; i < n; i++)
		acc[i] = _mm512_setzero_ps();
	for (size_t b = 0; b < n_blocks; b++, tile++)
	{
		const ie_panel_block *block = ie_panel_at(kind, panel, b);
		const __m512 d = _mm512_load_ps(block->d);
		__m512i		isum[MAX_ROWS];

		ie_ahead_step(ahead, AHEAD_LINES);
		UNROLL(8)
		for (int i = 0; i < n; i++)
			isum[i] = kind == IE_PANEL_U8 ? _mm512_setzero_si512() :
				_mm512_set1_epi32(-128 * tile->sum[i]);
		UNROLL(8)
		for (int g = 0; g < IE_QK / 4; g++)
		{
			__m512i		w = _mm512_load_si512(block->q[g]);

			if (kind == IE_PANEL_S8)
				w = _mm512_xor_si512(w, _mm512_set1_epi8((char) 0x80));
			UNROLL(8)
			for (int i = 0; i < n; i++)
				isum[i] = _mm512_dpbusd_epi32(isum[i], w, broadcast4(tile->q[i] + 4 * g));
		}
		UNROLL(8)
		for (int i = 0; i < n; i++)
		{
			__m512		dd = _mm512_mul_ps(d, _mm512_set1_ps(tile->d[i]));

			acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[i]), dd, acc[i]);
			if (kind == IE_PANEL_U8)
				acc[i] = _mm512_fmadd_ps(_mm512_load_ps(block->m), _mm512_set1_ps(tile->s[i]),
										 acc[i]);
		}
	}
	for (uint32_t o = 0; o < n_outliers; o++)
		UNROLL(8)
		for (int i = 0; i < n; i++)
			acc[i] = add_outlier(kind, panel, outliers[o].column[i], outliers[o].x[i], acc[i]);
	UNROLL(8)
	for (int i = 0; i < n; i++)
		store16(args, t + (size_t) i, acc[i]);
}

AVX512_INLINE void
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
			case 4:
				multiply_rows(kind, 4, panel, x, t, args, &ahead);
				break;
			case 5:
				multiply_rows(kind, 5, panel, x, t, args, &ahead);
				break;
			case 6:
				multiply_rows(kind, 6, panel, x, t, args, &ahead);
				break;
			case 7:
				multiply_rows(kind, 7, panel, x, t, args, &ahead);
				break;
			default:
				multiply_rows(kind, 8, panel, x, t, args, &ahead);
				break;
		}
	ie_ahead_finish(&ahead);
}

AVX512 void
ie_avx512_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
				   const ie_panel_args *args)
{
	multiply(IE_PANEL_U8, panel, x, T, args);
}

AVX512 void
ie_avx512_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
				   const ie_panel_args *args)
{
	multiply(IE_PANEL_S8, panel, x, T, args);
}

/* ------------------------------------------------------------ float products */

#define MAX_ROWS_F32 12

AVX512_INLINE void
multiply_rows_f32(const int n, const float *w, size_t n_in, const float *x, size_t ldx, size_t t,
				  const ie_panel_args *args, ie_ahead *ahead)
{
	__m512		acc[MAX_ROWS_F32];

	UNROLL(12)
	for (int i = 0; i < n; i++)
		acc[i] = _mm512_setzero_ps();
	for (size_t k = 0; k < n_in; k++, w += IE_PANEL_ROWS)
	{
		__m512		w16 = _mm512_load_ps(w);

		ie_ahead_step(ahead, 1);
		UNROLL(12)
		for (int i = 0; i < n; i++)
			acc[i] = _mm512_fmadd_ps(_mm512_set1_ps(x[(size_t) i * ldx + k]), w16, acc[i]);
	}
	UNROLL(12)
	for (int i = 0; i < n; i++)
		store16(args, t + (size_t) i, acc[i]);
}

AVX512 void
ie_avx512_panel_f32(const float *w, size_t n_in, const float *x, size_t ldx, size_t T,
					const ie_panel_args *args)
{
	ie_ahead	ahead = ie_ahead_begin(args);
	size_t		t = 0;

	for (; t + MAX_ROWS_F32 <= T; t += MAX_ROWS_F32)
		multiply_rows_f32(MAX_ROWS_F32, w, n_in, x + t * ldx, ldx, t, args, &ahead);
	for (; t + 4 <= T; t += 4)
		multiply_rows_f32(4, w, n_in, x + t * ldx, ldx, t, args, &ahead);
	for (; t < T; t++)
		multiply_rows_f32(1, w, n_in, x + t * ldx, ldx, t, args, &ahead);
	ie_ahead_finish(&ahead);
}

#endif							/* __x86_64__ */
