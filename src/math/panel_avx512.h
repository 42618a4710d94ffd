/*
 * panel_avx512.h
 *	  What the products of AVX-512 and of AMX share.
 */
#ifndef IE_PANEL_AVX512_H
#define IE_PANEL_AVX512_H

#include "math/simd_avx512.h"

#if defined(__x86_64__)

#define AHEAD_LINES 4			/* a block of 8 rows takes as long as these take to come */

/* The 16 outputs of row t */
AVX512_INLINE void
store16(const ie_panel_args *args, size_t t, __m512 sum)
{
	const __mmask16 mask = lanes_below(args->n_rows);
	float	   *y = args->y + t * args->ldy;

	if (args->add)
		sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y), sum);
	_mm512_mask_storeu_ps(y, mask, sum);
}

/* acc, and x times the weights of a column */
AVX512_INLINE __m512
add_outlier(const ie_panel_kind kind, const ie_panel_block *panel, uint32_t column, float x,
			__m512 acc)
{
	/* 1 times the column's byte and 0 times the three beside it */
	static const uint32_t select[4] = {0x1, 0x100, 0x10000, 0x1000000};
	const ie_panel_block *block = ie_panel_at(kind, panel, column / IE_QK);
	__m512i		q = _mm512_dpbusd_epi32(_mm512_setzero_si512(),
										_mm512_set1_epi32((int) select[column % 4]),
										_mm512_load_si512(block->q[column % IE_QK / 4]));
	__m512		d = _mm512_load_ps(block->d);
	__m512		w;

	if (kind == IE_PANEL_U8)
		w = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(q), _mm512_load_ps(block->m));
	else
		w = _mm512_mul_ps(d, _mm512_cvtepi32_ps(q));
	return _mm512_fmadd_ps(_mm512_set1_ps(x), w, acc);
}

#endif							/* __x86_64__ */
#endif							/* IE_PANEL_AVX512_H */
