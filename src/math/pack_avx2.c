/*
 * pack_avx2.c
 *	  Packing of full panels for AVX2; same panels as pack.c.
 *
 * Everything is one movement: 4 consecutive bytes of each of 8 rows come to lie
 * side by side in a register (columns4).  For nibbles it is done on the packed
 * bytes, once for the low and the high half; for floats on one number a row.
 * Panels that are not full, and odd lengths, are left to pack.c.
 */
#include "math/simd_avx2.h"

#if defined(__x86_64__)

#define HALF 8					/* rows that a register holds */

/* out[c] = bytes 4 c .. 4 c + 3 of 8 rows; each row has 16 bytes at src + r * stride */
AVX2_INLINE void
columns4(const uint8_t *src, size_t stride, __m256i *out)
{
	__m256i		v[4];
	__m256i		t[4];

	UNROLL(4)
	for (size_t i = 0; i < 4; i++)
	{
		__m128i		low = _mm_loadu_si128((const __m128i *) (src + i * stride));
		__m128i		high = _mm_loadu_si128((const __m128i *) (src + (i + 4) * stride));

		v[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
	}
	t[0] = _mm256_unpacklo_epi32(v[0], v[1]);
	t[1] = _mm256_unpacklo_epi32(v[2], v[3]);
	t[2] = _mm256_unpackhi_epi32(v[0], v[1]);
	t[3] = _mm256_unpackhi_epi32(v[2], v[3]);
	out[0] = _mm256_unpacklo_epi64(t[0], t[1]);
	out[1] = _mm256_unpackhi_epi64(t[0], t[1]);
	out[2] = _mm256_unpacklo_epi64(t[2], t[3]);
	out[3] = _mm256_unpackhi_epi64(t[2], t[3]);
}

/* The 4 bytes at src of each of 8 rows */
AVX2_INLINE __m256i
column(const uint8_t *src, size_t stride)
{
	__m128i		v[8];

	UNROLL(8)
	for (size_t i = 0; i < 8; i++)
		v[i] = _mm_loadu_si32(src + i * stride);
	UNROLL(4)
	for (int i = 0; i < 4; i++)
		v[i] = _mm_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
	return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi64(v[0], v[1])),
								   _mm_unpacklo_epi64(v[2], v[3]), 1);
}

/* Two binary16 values of each of 8 rows, as floats */
AVX2_INLINE void
halves(__m256i pairs, __m256 *first, __m256 *second)
{
	const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
										   0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
	__m256i		v = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(pairs, order), 0xd8);

	*first = _mm256_cvtph_ps(_mm256_castsi256_si128(v));
	*second = _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1));
}

AVX2_INLINE void
store_q(ie_panel_block *panel, size_t group, size_t r0, __m256i q)
{
	_mm256_store_si256((__m256i *) panel->q[group][r0], q);
}

/*
 * 0x10 in every byte whose fifth bit is set: byte i of a row takes bit
 * 4 group + i of the row's 32 bits.
 */
AVX2_INLINE __m256i
fifth_bits(__m256i bits, int group)
{
	const __m256i bit_of = _mm256_set1_epi32(group % 2 == 0 ? 0x08040201 : (int) 0x80402010);
	const __m256i byte_of = _mm256_add_epi8(_mm256_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8,
															 12, 12, 12, 12, 0, 0, 0, 0, 4, 4, 4, 4,
															 8, 8, 8, 8, 12, 12, 12, 12),
											_mm256_set1_epi8((char) (group / 2)));
	__m256i		v = _mm256_and_si256(_mm256_shuffle_epi8(bits, byte_of), bit_of);

	return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit_of), _mm256_set1_epi8(0x10));
}

/* Which fields a block of nibbles has, and where */
typedef struct nibble_layout
{
	size_t		block_bytes;
	size_t		qs;				/* offset of the nibbles */
	size_t		qh;				/* offset of the fifth bits, 0 = none */
	float		m_factor;		/* m = m_factor * d, 0 = m follows d */
} nibble_layout;

AVX2_INLINE void
pack_nibbles(const nibble_layout layout, const ie_matrix *w, size_t row0, void *panel)
{
	const __m256i low4 = _mm256_set1_epi8(15);
	const uint8_t *src = w->data + row0 * w->row_bytes;
	ie_panel_block *out = panel;

	for (size_t b = 0; b < w->n_in / IE_QK; b++, src += layout.block_bytes, out++)
		UNROLL(2)
		for (size_t r0 = 0; r0 < IE_PANEL_ROWS; r0 += HALF)
		{
			const uint8_t *rows = src + r0 * w->row_bytes;
			__m256i		q[4];
			__m256i		bits = _mm256_setzero_si256();
			__m256		d,
						m;

			columns4(rows + layout.qs, w->row_bytes, q);
			if (layout.qh != 0)
				bits = column(rows + layout.qh, w->row_bytes);
			UNROLL(4)
			for (int c = 0; c < 4; c++)
			{
				__m256i		low = _mm256_and_si256(q[c], low4);
				__m256i		high = _mm256_and_si256(_mm256_srli_epi16(q[c], 4), low4);

				if (layout.qh != 0)
				{
					low = _mm256_or_si256(low, fifth_bits(bits, c));
					high = _mm256_or_si256(high, fifth_bits(bits, c + 4));
				}
				store_q(out, (size_t) c, r0, low);
				store_q(out, (size_t) c + 4, r0, high);
			}
			halves(column(rows, w->row_bytes), &d, &m);
			if (layout.m_factor != 0.0f)
				m = _mm256_mul_ps(_mm256_set1_ps(layout.m_factor), d);
			_mm256_store_ps(out->d + r0, d);
			_mm256_store_ps(out->m + r0, m);
		}
}

AVX2 static void
pack_q4_0(const ie_matrix *w, size_t row0, void *panel)
{
	pack_nibbles((nibble_layout) {sizeof(ie_block_q4_0), offsetof(ie_block_q4_0, qs), 0, -8.0f},
				 w, row0, panel);
}

AVX2 static void
pack_q4_1(const ie_matrix *w, size_t row0, void *panel)
{
	pack_nibbles((nibble_layout) {sizeof(ie_block_q4_1), offsetof(ie_block_q4_1, qs), 0, 0.0f},
				 w, row0, panel);
}

AVX2 static void
pack_q5_0(const ie_matrix *w, size_t row0, void *panel)
{
	pack_nibbles((nibble_layout) {sizeof(ie_block_q5_0), offsetof(ie_block_q5_0, qs),
								  offsetof(ie_block_q5_0, qh), -16.0f},
				 w, row0, panel);
}

AVX2 static void
pack_q5_1(const ie_matrix *w, size_t row0, void *panel)
{
	pack_nibbles((nibble_layout) {sizeof(ie_block_q5_1), offsetof(ie_block_q5_1, qs),
								  offsetof(ie_block_q5_1, qh), 0.0f},
				 w, row0, panel);
}

AVX2 static void
pack_q8_0(const ie_matrix *w, size_t row0, void *panel)
{
	const __m256i lowest = _mm256_set1_epi8(-127);
	const uint8_t *src = w->data + row0 * w->row_bytes;
	uint8_t    *to = panel;

	for (size_t b = 0; b < w->n_in / IE_QK; b++, src += sizeof(ie_block_q8_0),
		 to += IE_PANEL_S8_BYTES)
		for (size_t r0 = 0; r0 < IE_PANEL_ROWS; r0 += HALF)
		{
			const uint8_t *rows = src + r0 * w->row_bytes;
			ie_panel_block *out = (ie_panel_block *) to;
			__m256		d,
						unused;

			UNROLL(2)
			for (size_t part = 0; part < 2; part++)
			{
				__m256i		q[4];

				columns4(rows + offsetof(ie_block_q8_0, qs) + 16 * part, w->row_bytes, q);
				UNROLL(4)
				for (size_t c = 0; c < 4; c++)
					store_q(out, 4 * part + c, r0, _mm256_max_epi8(q[c], lowest));
			}
			halves(column(rows, w->row_bytes), &d, &unused);
			_mm256_store_ps(out->d + r0, d);
		}
}

/* ------------------------------------------------------------- float panels */

/* Make x[r]: [IE_QK] f32 from a row's 32 elements at src */
AVX2_INLINE void
row_to_f32(const ie_type_traits *type, const uint8_t *src, float *x)
{
	switch (type->type)
	{
		case IE_TYPE_F16:
			for (int i = 0; i < IE_QK; i += 8)
				_mm256_store_ps(x + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) (src + 2 * i))));
			break;
		case IE_TYPE_BF16:
			for (int i = 0; i < IE_QK; i += 8)
			{
				__m256i		v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *) (src + 2 * i)));

				_mm256_store_si256((__m256i *) (x + i), _mm256_slli_epi32(v, 16));
			}
			break;
		default:
			type->dequantize(src, IE_QK, x);
			break;
	}
}

AVX2 static void
pack_f32(const ie_matrix *w, size_t row0, void *panel)
{
	const size_t step = IE_QK / w->type->block_len * w->type->block_bytes;
	const uint8_t *src = w->data + row0 * w->row_bytes;
	float	   *out = panel;
	float		x[IE_PANEL_ROWS][IE_QK] __attribute__((aligned(64)));

	for (size_t k = 0; k < w->n_in; k += IE_QK, src += step, out += IE_QK * IE_PANEL_ROWS)
	{
		for (size_t r = 0; r < IE_PANEL_ROWS; r++)
			row_to_f32(w->type, src + r * w->row_bytes, x[r]);
		for (size_t r0 = 0; r0 < IE_PANEL_ROWS; r0 += HALF)
			for (size_t i = 0; i < IE_QK; i += 4)
			{
				__m256i		v[4];

				columns4((const uint8_t *) &x[r0][i], sizeof(x[0]), v);
				UNROLL(4)
				for (size_t c = 0; c < 4; c++)
					_mm256_store_ps(out + (i + c) * IE_PANEL_ROWS + r0, _mm256_castsi256_ps(v[c]));
			}
	}
}

/* ------------------------------------------------------------------- choice */

/* A fast function for full panels of whole blocks, the plain one for the rest */
#define FULL_PANELS(name, f32) \
	static void \
	name##_any(const ie_matrix *w, size_t row0, void *panel) \
	{ \
		if (ie_panel_rows(w, row0) == IE_PANEL_ROWS && w->n_in % IE_QK == 0) \
			name(w, row0, panel); \
		else \
			ie_pack_for_ref(w->type, f32).pack(w, row0, panel); \
	}

FULL_PANELS(pack_q4_0, false)
FULL_PANELS(pack_q4_1, false)
FULL_PANELS(pack_q5_0, false)
FULL_PANELS(pack_q5_1, false)
FULL_PANELS(pack_q8_0, false)
FULL_PANELS(pack_f32, true)

ie_pack
ie_pack_for_avx2(const ie_type_traits *type, bool f32)
{
	ie_pack		result = ie_pack_for_ref(type, f32);

	if (type->type == IE_TYPE_PANELS_S8)
		return result;
	if (result.kind == IE_PANEL_F32)
		result.pack = pack_f32_any;
	else if (type->type == IE_TYPE_Q4_0)
		result.pack = pack_q4_0_any;
	else if (type->type == IE_TYPE_Q4_1)
		result.pack = pack_q4_1_any;
	else if (type->type == IE_TYPE_Q5_0)
		result.pack = pack_q5_0_any;
	else if (type->type == IE_TYPE_Q5_1)
		result.pack = pack_q5_1_any;
	else if (type->type == IE_TYPE_Q8_0)
		result.pack = pack_q8_0_any;
	return result;
}

#endif							/* __x86_64__ */
