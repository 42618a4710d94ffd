/*
 * pack.c
 *	  Rows of a weight matrix re-laid as panels, in plain C.
 *
 * The integer panels take a block apart into 32 numbers, a scale and a min; the
 * float panel dequantises 32 columns of 16 rows and transposes them.
 */
#include "math/kernel_tables.h"

static inline void
put(ie_panel_block *panel, size_t r, size_t column, int q)
{
	panel->q[column / 4][r][column % 4] = (uint8_t) q;
}

static inline uint32_t
fifth_bits(const uint8_t *qh)
{
	return (uint32_t) qh[0] | (uint32_t) qh[1] << 8 | (uint32_t) qh[2] << 16 |
		(uint32_t) qh[3] << 24;
}

static void
put_nibbles(ie_panel_block *panel, size_t r, const uint8_t *qs, uint32_t fifth)
{
	for (size_t j = 0; j < 16; j++)
	{
		put(panel, r, j, (qs[j] & 15) | (int) (fifth >> j & 1) << 4);
		put(panel, r, j + 16, qs[j] >> 4 | (int) (fifth >> (j + 16) & 1) << 4);
	}
}

/* --------------------------------------------- one block into row r of a panel */

static void
put_q4_0(ie_panel_block *panel, size_t r, const uint8_t *src)
{
	ie_block_q4_0 block;

	memcpy(&block, src, sizeof(block));
	put_nibbles(panel, r, block.qs, 0);
	panel->d[r] = ie_f16_to_f32(block.d);
	panel->m[r] = -8.0f * panel->d[r];
}

static void
put_q4_1(ie_panel_block *panel, size_t r, const uint8_t *src)
{
	ie_block_q4_1 block;

	memcpy(&block, src, sizeof(block));
	put_nibbles(panel, r, block.qs, 0);
	panel->d[r] = ie_f16_to_f32(block.d);
	panel->m[r] = ie_f16_to_f32(block.m);
}

static void
put_q5_0(ie_panel_block *panel, size_t r, const uint8_t *src)
{
	ie_block_q5_0 block;

	memcpy(&block, src, sizeof(block));
	put_nibbles(panel, r, block.qs, fifth_bits(block.qh));
	panel->d[r] = ie_f16_to_f32(block.d);
	panel->m[r] = -16.0f * panel->d[r];
}

static void
put_q5_1(ie_panel_block *panel, size_t r, const uint8_t *src)
{
	ie_block_q5_1 block;

	memcpy(&block, src, sizeof(block));
	put_nibbles(panel, r, block.qs, fifth_bits(block.qh));
	panel->d[r] = ie_f16_to_f32(block.d);
	panel->m[r] = ie_f16_to_f32(block.m);
}

static void
put_q8_0(ie_panel_block *panel, size_t r, const uint8_t *src)
{
	ie_block_q8_0 block;

	memcpy(&block, src, sizeof(block));
	for (size_t j = 0; j < IE_QK; j++)
		put(panel, r, j, block.qs[j] < -127 ? -127 : block.qs[j]);
	panel->d[r] = ie_f16_to_f32(block.d);
}

/* ------------------------------------------------------------- whole panels */

typedef void (*put_fn) (ie_panel_block *panel, size_t r, const uint8_t *src);

static inline void
pack_blocks(const ie_matrix *w, size_t row0, void *panel, size_t block_bytes, put_fn put_block)
{
	const size_t n_blocks = w->n_in / IE_QK;
	const size_t n_rows = ie_panel_rows(w, row0);

	if (n_rows < IE_PANEL_ROWS)
		memset(panel, 0, n_blocks * block_bytes);
	for (size_t r = 0; r < n_rows; r++)
		for (size_t b = 0; b < n_blocks; b++)
			put_block((ie_panel_block *) ((uint8_t *) panel + b * block_bytes), r,
					  w->data + (row0 + r) * w->row_bytes + b * w->type->block_bytes);
}

static void
pack_q4_0(const ie_matrix *w, size_t row0, void *panel)
{
	pack_blocks(w, row0, panel, sizeof(ie_panel_block), put_q4_0);
}

static void
pack_q4_1(const ie_matrix *w, size_t row0, void *panel)
{
	pack_blocks(w, row0, panel, sizeof(ie_panel_block), put_q4_1);
}

static void
pack_q5_0(const ie_matrix *w, size_t row0, void *panel)
{
	pack_blocks(w, row0, panel, sizeof(ie_panel_block), put_q5_0);
}

static void
pack_q5_1(const ie_matrix *w, size_t row0, void *panel)
{
	pack_blocks(w, row0, panel, sizeof(ie_panel_block), put_q5_1);
}

static void
pack_q8_0(const ie_matrix *w, size_t row0, void *panel)
{
	pack_blocks(w, row0, panel, IE_PANEL_S8_BYTES, put_q8_0);
}

static void
pack_f32(const ie_matrix *w, size_t row0, void *panel)
{
	float	   *out = panel;
	size_t		n_rows = ie_panel_rows(w, row0);
	size_t		n;

	for (size_t k = 0; k < w->n_in; k += n, out += n * IE_PANEL_ROWS)
	{
		float		x[IE_QK];
		size_t		offset = (w->type->block_len == 1 ? k : k / IE_QK) * w->type->block_bytes;

		n = w->n_in - k < IE_QK ? w->n_in - k : IE_QK;
		if (n_rows < IE_PANEL_ROWS)
			memset(out, 0, n * IE_PANEL_ROWS * sizeof(*out));
		for (size_t r = 0; r < n_rows; r++)
		{
			w->type->dequantize(w->data + (row0 + r) * w->row_bytes + offset, n, x);
			for (size_t i = 0; i < n; i++)
				out[i * IE_PANEL_ROWS + r] = x[i];
		}
	}
}

/* From a panel of signed blocks */
static void
unpack_panel(const ie_matrix *w, size_t row0, void *panel)
{
	const void *from = w->data + row0 * w->row_bytes;
	float	   *out = panel;

	for (size_t k = 0; k < w->n_in; k++)
	{
		const ie_panel_block *block = ie_panel_at(IE_PANEL_S8, from, k / IE_QK);

		for (size_t r = 0; r < IE_PANEL_ROWS; r++)
			*out++ = block->d[r] * (float) (int8_t) block->q[k % IE_QK / 4][r][k % 4];
	}
}

ie_pack
ie_pack_for_ref(const ie_type_traits *type, bool f32)
{
	static const struct
	{
		ie_type		type;
		ie_pack		pack;
	}			packs[] = {
		{IE_TYPE_Q4_0, {IE_PANEL_U8, pack_q4_0}},
		{IE_TYPE_Q4_1, {IE_PANEL_U8, pack_q4_1}},
		{IE_TYPE_Q5_0, {IE_PANEL_U8, pack_q5_0}},
		{IE_TYPE_Q5_1, {IE_PANEL_U8, pack_q5_1}},
		{IE_TYPE_Q8_0, {IE_PANEL_S8, pack_q8_0}},
		{IE_TYPE_PANELS_S8, {IE_PANEL_S8, NULL}},
	};
	ie_pack		result = {IE_PANEL_F32, type->type == IE_TYPE_PANELS_S8 ? unpack_panel : pack_f32};

	for (size_t i = 0; !f32 && i < sizeof(packs) / sizeof(packs[0]); i++)
		if (packs[i].type == type->type)
			result = packs[i].pack;
	return result;
}
