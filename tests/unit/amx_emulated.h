/*
 * amx_emulated.h
 *	  panel_amx.c with tiles in memory instead of AMX's, so that its arithmetic
 *	  is tested where the processor has AVX-512 alone.  Each operation is the
 *	  pseudo-code of Intel's SDM, volume 2.
 */
#ifndef IE_AMX_EMULATED_H
#define IE_AMX_EMULATED_H

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct emulated_tile
{
	int			n_rows;			/* 0: not configured, and using it is an error */
	int			row_bytes;
	uint8_t		bytes[16][64];
} emulated_tile;

static emulated_tile emulated_tiles[8];

static emulated_tile *
tile_in_use(int i)
{
	if (emulated_tiles[i].n_rows == 0)
		abort();
	return &emulated_tiles[i];
}

static void
emulated_loadconfig(const void *config)
{
	const uint8_t *bytes = config;

	if (bytes[0] != 1)
		abort();
	for (int i = 0; i < 8; i++)
		emulated_tiles[i] = (emulated_tile) {
			.n_rows = bytes[48 + i], .row_bytes = bytes[16 + 2 * i] | bytes[17 + 2 * i] << 8
		};
}

static void
emulated_release(void)
{
	memset(emulated_tiles, 0, sizeof(emulated_tiles));
}

static void
emulated_zero(int i)
{
	memset(tile_in_use(i)->bytes, 0, sizeof(emulated_tiles[i].bytes));
}

static void
emulated_loadd(int i, const void *base, size_t stride)
{
	emulated_tile *tile = tile_in_use(i);

	emulated_zero(i);
	for (int r = 0; r < tile->n_rows; r++)
		memcpy(tile->bytes[r], (const uint8_t *) base + (size_t) r * stride,
			   (size_t) tile->row_bytes);
}

static void
emulated_stored(int i, void *base, size_t stride)
{
	const emulated_tile *tile = tile_in_use(i);

	for (int r = 0; r < tile->n_rows; r++)
		memcpy((uint8_t *) base + (size_t) r * stride, tile->bytes[r], (size_t) tile->row_bytes);
}

/* c += a b: bytes of a are signed, those of b as said; shapes must fit */
static void
emulated_product(int c_no, int a_no, int b_no, bool b_signed)
{
	emulated_tile *c = tile_in_use(c_no);
	const emulated_tile *a = tile_in_use(a_no);
	const emulated_tile *b = tile_in_use(b_no);

	if (c->n_rows != a->n_rows || c->row_bytes != b->row_bytes || a->row_bytes / 4 != b->n_rows)
		abort();
	for (int m = 0; m < c->n_rows; m++)
		for (int k = 0; k < a->row_bytes / 4; k++)
			for (int n = 0; n < b->row_bytes / 4; n++)
			{
				int32_t		sum;

				memcpy(&sum, &c->bytes[m][4 * n], 4);
				for (int i = 0; i < 4; i++)
				{
					const uint8_t w = b->bytes[k][4 * n + i];

					sum += (int8_t) a->bytes[m][4 * k + i] * (b_signed ? (int8_t) w : w);
				}
				memcpy(&c->bytes[m][4 * n], &sum, 4);
			}
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#undef _tile_dpbsud
#define _tile_loadconfig(config) emulated_loadconfig(config)
#define _tile_release() emulated_release()
#define _tile_zero(i) emulated_zero(i)
#define _tile_loadd(i, base, stride) emulated_loadd(i, base, stride)
#define _tile_stored(i, base, stride) emulated_stored(i, base, stride)
#define _tile_dpbssd(c, a, b) emulated_product(c, a, b, true)
#define _tile_dpbsud(c, a, b) emulated_product(c, a, b, false)
#define ie_amx_panel_u8 emulated_panel_u8
#define ie_amx_panel_s8 emulated_panel_s8

#define multiply amx_multiply	/* a name that the test has too */
#include "math/panel_amx.c"
#undef multiply

#endif							/* IE_AMX_EMULATED_H */
