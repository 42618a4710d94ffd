/*
 * panel_avx2.h
 *	  What products with panels on 256-bit registers share.
 */
#ifndef IE_PANEL_AVX2_H
#define IE_PANEL_AVX2_H

#include "math/simd_avx2.h"

#if defined(__x86_64__)

#include <string.h>

/* Outputs r0 .. r0 + 7 of a panel's row t */
AVX2_INLINE void
store8(const ie_panel_args *args, size_t t, size_t r0, __m256 sum)
{
	float	   *y = args->y + t * args->ldy + r0;

	if (args->n_rows >= r0 + 8)
		_mm256_storeu_ps(y, args->add ? _mm256_add_ps(_mm256_loadu_ps(y), sum) : sum);
	else if (args->n_rows > r0)
	{
		__m256i		mask = lanes_below(args->n_rows - r0);

		_mm256_maskstore_ps(y, mask, args->add ?
							_mm256_add_ps(_mm256_maskload_ps(y, mask), sum) : sum);
	}
}

/* Four activations, in every group of four bytes */
AVX2_INLINE __m256i
broadcast4(const int8_t *q)
{
	int32_t		four;

	memcpy(&four, q, sizeof(four));
	return _mm256_set1_epi32(four);
}

/* acc of outputs r0 .. r0 + 7, and x times their weights of a column */
AVX2_INLINE __m256
add_outlier(const ie_panel_kind kind, const ie_panel_block *panel, size_t r0, uint32_t column,
			float x, __m256 acc)
{
	/* 1 times the column's byte and 0 times the three beside it */
	static const uint32_t select[4] = {0x1, 0x100, 0x10000, 0x1000000};
	const ie_panel_block *block = ie_panel_at(kind, panel, column / IE_QK);
	__m256i		q = _mm256_load_si256((const __m256i *) block->q[column % IE_QK / 4][r0]);
	__m256		d = _mm256_load_ps(block->d + r0);
	__m256		w;

	q = _mm256_maddubs_epi16(_mm256_set1_epi32((int) select[column % 4]), q);
	w = _mm256_cvtepi32_ps(_mm256_madd_epi16(q, _mm256_set1_epi16(1)));
	if (kind == IE_PANEL_U8)
		w = _mm256_fmadd_ps(d, w, _mm256_load_ps(block->m + r0));
	else
		w = _mm256_mul_ps(d, w);
	return _mm256_fmadd_ps(_mm256_set1_ps(x), w, acc);
}

#endif							/* __x86_64__ */
#endif							/* IE_PANEL_AVX2_H */
