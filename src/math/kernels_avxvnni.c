/*
 * kernels_avxvnni.c
 *	  AVX-VNNI: AVX2 whose products of bytes are one instruction instead of
 *	  three, on processors with and without AVX-512.
 *
 * VPDPBUSD multiplies unsigned by signed bytes and adds four products to an
 * int32 without saturation.  16 outputs are two registers, beside 4 rows of
 * activations.  All else is AVX2's.
 */
#include "math/panel_avx2.h"

#if defined(__x86_64__)

#define AVXVNNI __attribute__((target("avx2,fma,f16c,avxvnni")))
#define AVXVNNI_INLINE AVXVNNI static inline __attribute__((always_inline))

#define MAX_ROWS 4				/* rows of activations side by side */
#define AHEAD_LINES 4			/* a block of 4 rows takes as long as these take to come */
#define HALF 8					/* outputs of a register */

/*
 * isum of both halves, n rows of a tile from row on.  Signed weights go in as
 * w + 128, and 128 * sum(x) is taken off: integers, so nothing is rounded.
 */
AVXVNNI_INLINE void
dot_block(const ie_panel_kind kind, const int n, const ie_panel_block *block, const ie_qtile *tile,
		  size_t row, __m256i (*isum)[2])
{
	UNROLL(4)
	for (int i = 0; i < n; i++)
		isum[i][0] = isum[i][1] = kind == IE_PANEL_U8 ? _mm256_setzero_si256() :
			_mm256_set1_epi32(-128 * tile->sum[row + (size_t) i]);
	UNROLL(8)
	for (int g = 0; g < IE_QK / 4; g++)
	{
		__m256i		w[2];

		UNROLL(2)
		for (int h = 0; h < 2; h++)
		{
			w[h] = _mm256_load_si256((const __m256i *) block->q[g][HALF * h]);
			if (kind == IE_PANEL_S8)
				w[h] = _mm256_xor_si256(w[h], _mm256_set1_epi8((char) 0x80));
		}
		UNROLL(4)
		for (int i = 0; i < n; i++)
		{
			const __m256i x4 = broadcast4(tile->q[row + (size_t) i] + 4 * g);

			UNROLL(2)
			for (int h = 0; h < 2; h++)
				isum[i][h] = _mm256_dpbusd_avx_epi32(isum[i][h], w[h], x4);
		}
	}
}

/* n rows from row t on, which lie in one tile */
AVXVNNI_INLINE void
multiply_rows(const ie_panel_kind kind, const int n, const ie_panel_block *panel,
			  const ie_qrows *x, size_t t, const ie_panel_args *args, ie_ahead *ahead)
{
	const size_t n_blocks = x->n_cols / IE_QK;
	const ie_qtile *tile = x->tiles + t / IE_TILE_ROWS * n_blocks;
	const ie_outliers *outliers = x->outliers + t / IE_TILE_ROWS * ie_max_outliers(x->n_cols);
	const uint32_t n_outliers = x->n_outliers[t / IE_TILE_ROWS];
	const size_t row = t % IE_TILE_ROWS;
	__m256		acc[MAX_ROWS][2];

	UNROLL(4)
	for (int i = 0; i < n; i++)
		acc[i][0] = acc[i][1] = _mm256_setzero_ps();
	for (size_t b = 0; b < n_blocks; b++, tile++)
	{
		const ie_panel_block *block = ie_panel_at(kind, panel, b);
		__m256i		isum[MAX_ROWS][2];

		ie_ahead_step(ahead, AHEAD_LINES);
		dot_block(kind, n, block, tile, row, isum);
		UNROLL(4)
		for (int i = 0; i < n; i++)
			UNROLL(2)
			for (int h = 0; h < 2; h++)
			{
				__m256		d = _mm256_mul_ps(_mm256_load_ps(block->d + HALF * h),
											  _mm256_set1_ps(tile->d[row + (size_t) i]));

				acc[i][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum[i][h]), d, acc[i][h]);
				if (kind == IE_PANEL_U8)
					acc[i][h] = _mm256_fmadd_ps(_mm256_load_ps(block->m + HALF * h),
												_mm256_set1_ps(tile->s[row + (size_t) i]),
												acc[i][h]);
			}
	}
	UNROLL(2)
	for (size_t h = 0; h < 2; h++)
	{
		for (uint32_t o = 0; o < n_outliers; o++)
			UNROLL(4)
			for (size_t i = 0; i < (size_t) n; i++)
				acc[i][h] = add_outlier(kind, panel, HALF * h, outliers[o].column[row + i],
										outliers[o].x[row + i], acc[i][h]);
		UNROLL(4)
		for (size_t i = 0; i < (size_t) n; i++)
			store8(args, t + i, HALF * h, acc[i][h]);
	}
}

AVXVNNI_INLINE void
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

AVXVNNI static void
avxvnni_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
				 const ie_panel_args *args)
{
	multiply(IE_PANEL_U8, panel, x, T, args);
}

AVXVNNI static void
avxvnni_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
				 const ie_panel_args *args)
{
	multiply(IE_PANEL_S8, panel, x, T, args);
}

const ie_kernels ie_kernels_avxvnni = {
	.level = IE_CPU_AVXVNNI,
	.quantize_rows = ie_avx2_quantize_rows,
	.panel_u8 = avxvnni_panel_u8,
	.panel_s8 = avxvnni_panel_s8,
	.panel_f32 = ie_avx2_panel_f32,
	.rms_norm = ie_avx2_rms_norm,
	.silu_mul = ie_avx2_silu_mul,
	.rope = ie_avx2_rope,
	.attend = ie_avx2_attend,
	.dot = ie_avx2_dot,
	.pack_for = ie_pack_for_avx2
};

#endif							/* __x86_64__ */
