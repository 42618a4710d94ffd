/*
 * panel_amx.c
 *	  Products with panels of quantised weights for AMX (int8 tiles).
 *
 * A block of a panel, [column / 4][output][column % 4], is the second factor of
 * a tile product as it lies; 8 rows of activations are the first, so TDPB..D
 * gives 8 x 16 sums over 32 columns.  Sums leave the tiles through memory and
 * meet their scales in vectors, while the tiles are at the next block's
 * products.  Rows beyond the last eight go to the AVX-512 kernel.
 * (Intel SDM, volume 1, chapter 18; volume 2, TDPBSSD)
 */
#include "math/panel_avx512.h"

#if defined(__x86_64__)

#define AMX \
	__attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni," \
						  "avx2,fma,f16c")))
#define AMX_INLINE AMX static inline __attribute__((always_inline))

#define MAX_GROUPS 2			/* times 8 rows of activations side by side */

/*
 * Tiles: 0 and 1 are the two groups' sums of even blocks, 2 and 3 of odd ones;
 * 4 and 5 the groups' activations, 6 and 7 the weights of even and odd blocks.
 */
typedef struct tile_config
{
	uint8_t		palette;
	uint8_t		start_row;
	uint8_t		reserved[14];
	uint16_t	row_bytes[16];
	uint8_t		n_rows[16];
} tile_config;

static const tile_config config = {
	.palette = 1,
	.row_bytes = {64, 64, 64, 64, IE_QK, IE_QK, 64, 64},
	.n_rows = {8, 8, 8, 8, IE_TILE_ROWS, IE_TILE_ROWS, IE_QK / 4, IE_QK / 4}
};

typedef int32_t group_sums[IE_TILE_ROWS][IE_PANEL_ROWS];

/* sums[g] of tile sum, += group g's activations times the block */
#define PRODUCT(kind, g, sum, weights, activations, tile, sums) \
	do { \
		_tile_zero(sum); \
		_tile_loadd(activations, (tile)->q, IE_QK); \
		if ((kind) == IE_PANEL_U8) \
			_tile_dpbsud(sum, activations, weights); \
		else \
			_tile_dpbssd(sum, activations, weights); \
		_tile_stored(sum, (sums)[g], 64); \
	} while (0)

/* A block's products of n groups, whose tiles are `stride` apart */
AMX_INLINE void
products_of_block(const ie_panel_kind kind, const int n, const ie_panel_block *block, bool odd,
				  const ie_qtile *tile, size_t stride, group_sums *sums)
{
	if (odd)
	{
		_tile_loadd(7, block->q, 64);
		PRODUCT(kind, 0, 2, 7, 4, tile, sums);
		if (n == 2)
			PRODUCT(kind, 1, 3, 7, 5, tile + stride, sums);
	}
	else
	{
		_tile_loadd(6, block->q, 64);
		PRODUCT(kind, 0, 0, 6, 4, tile, sums);
		if (n == 2)
			PRODUCT(kind, 1, 1, 6, 5, tile + stride, sums);
	}
}

/* n groups of 8 rows from row t on, t % 8 == 0 */
AMX_INLINE void
multiply_groups(const ie_panel_kind kind, const int n, const ie_panel_block *panel,
				const ie_qrows *x, size_t t, const ie_panel_args *args, ie_ahead *ahead)
{
	const size_t n_blocks = x->n_cols / IE_QK;
	const size_t first = t / IE_TILE_ROWS;
	const ie_qtile *tile = x->tiles + first * n_blocks;
	_Alignas(64) group_sums sums[2][MAX_GROUPS];
	__m512		acc[MAX_GROUPS][IE_TILE_ROWS];

	UNROLL(2)
	for (int g = 0; g < n; g++)
		UNROLL(8)
		for (int i = 0; i < IE_TILE_ROWS; i++)
			acc[g][i] = _mm512_setzero_ps();
	products_of_block(kind, n, panel, false, tile, n_blocks, sums[0]);
	for (size_t b = 0; b < n_blocks; b++)
	{
		const ie_panel_block *block = ie_panel_at(kind, panel, b);
		const __m512 d = _mm512_load_ps(block->d);

		ie_ahead_step(ahead, AHEAD_LINES);
		if (b + 1 < n_blocks)
			products_of_block(kind, n, ie_panel_at(kind, panel, b + 1), (b + 1) % 2 == 1,
							  tile + b + 1, n_blocks, sums[(b + 1) % 2]);
		UNROLL(2)
		for (int g = 0; g < n; g++)
		{
			const ie_qtile *at = tile + b + (size_t) g * n_blocks;

			UNROLL(8)
			for (int i = 0; i < IE_TILE_ROWS; i++)
			{
				const __m512i isum = _mm512_load_si512(sums[b % 2][g][i]);

				acc[g][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum),
											_mm512_mul_ps(d, _mm512_set1_ps(at->d[i])), acc[g][i]);
				if (kind == IE_PANEL_U8)
					acc[g][i] = _mm512_fmadd_ps(_mm512_load_ps(block->m),
												_mm512_set1_ps(at->s[i]), acc[g][i]);
			}
		}
	}
	UNROLL(2)
	for (int g = 0; g < n; g++)
	{
		const ie_outliers *outliers = x->outliers +
			(first + (size_t) g) * ie_max_outliers(x->n_cols);

		for (uint32_t o = 0; o < x->n_outliers[first + (size_t) g]; o++)
			UNROLL(8)
			for (int i = 0; i < IE_TILE_ROWS; i++)
				acc[g][i] = add_outlier(kind, panel, outliers[o].column[i], outliers[o].x[i],
										acc[g][i]);
		UNROLL(8)
		for (int i = 0; i < IE_TILE_ROWS; i++)
			store16(args, t + (size_t) g * IE_TILE_ROWS + (size_t) i, acc[g][i]);
	}
}

/*
 * The whole groups of T rows; returns how many rows those are.  Tiles are set
 * up and given back here: a thread that keeps them pays at every switch.
 */
AMX_INLINE size_t
multiply(const ie_panel_kind kind, const ie_panel_block *panel, const ie_qrows *x, size_t T,
		 const ie_panel_args *args)
{
	ie_ahead	ahead = ie_ahead_begin(args);
	size_t		t = 0;

	if (T < IE_TILE_ROWS)
		return 0;
	_tile_loadconfig(&config);
	for (; t + MAX_GROUPS * IE_TILE_ROWS <= T; t += MAX_GROUPS * IE_TILE_ROWS)
		multiply_groups(kind, 2, panel, x, t, args, &ahead);
	if (t + IE_TILE_ROWS <= T)
	{
		multiply_groups(kind, 1, panel, x, t, args, &ahead);
		t += IE_TILE_ROWS;
	}
	_tile_release();
	ie_ahead_finish(&ahead);
	return t;
}

/* All T rows: what is left after the groups, from row t on, is AVX-512's */
AMX_INLINE void
multiply_all(const ie_panel_kind kind, const ie_panel_block *panel, const ie_qrows *x, size_t T,
			 const ie_panel_args *args)
{
	const size_t t = multiply(kind, panel, x, T, args);
	ie_qrows	rest = *x;
	ie_panel_args rest_args = *args;

	if (t == T)
		return;
	rest.tiles += t / IE_TILE_ROWS * (x->n_cols / IE_QK);
	rest.n_outliers += t / IE_TILE_ROWS;
	rest.outliers += t / IE_TILE_ROWS * ie_max_outliers(x->n_cols);
	rest_args.y += t * args->ldy;
	if (t > 0)
		rest_args.next_bytes = 0;	/* they have been asked for */
	if (kind == IE_PANEL_U8)
		ie_avx512_panel_u8(panel, &rest, T - t, &rest_args);
	else
		ie_avx512_panel_s8(panel, &rest, T - t, &rest_args);
}

AMX void
ie_amx_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	multiply_all(IE_PANEL_U8, panel, x, T, args);
}

AMX void
ie_amx_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	multiply_all(IE_PANEL_S8, panel, x, T, args);
}

#endif							/* __x86_64__ */
