/*
 * quant.c
 *	  Element types of GGUF files: traits table, conversions.
 *
 * The formulas are ggml's; each is written once here, plainly, and the packing
 * of panels is tested against it.
 */
#include "math/quant.h"

#include "base/status.h"

#include <math.h>
#include <string.h>

static inline float
f32_from_bits(uint32_t bits)
{
	float		f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static inline uint32_t
f32_to_bits(float f)
{
	uint32_t	bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits;
}

/* ---------------------------------------------------------------- binary16 */

float
ie_f16_to_f32(uint16_t h)
{
	uint32_t	sign = (uint32_t) (h & 0x8000) << 16;
	uint32_t	exponent = h >> 10 & 31;
	uint32_t	fraction = h & 0x3ff;

	if (exponent == 0)			/* zero or subnormal: fraction * 2^-24, exact */
		return f32_from_bits(sign | f32_to_bits((float) fraction * 0x1p-24f));
	if (exponent == 31)			/* infinity; a NaN becomes quiet, as in hardware */
		return f32_from_bits(sign | 0x7f800000 | fraction << 13 | (fraction != 0 ? 0x400000 : 0));
	return f32_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t
ie_f32_to_f16(float f)
{
	uint32_t	bits = f32_to_bits(f);
	uint16_t	sign = (uint16_t) (bits >> 16 & 0x8000);
	uint32_t	magnitude = bits & 0x7fffffff;

	if (magnitude > 0x7f800000)
		return (uint16_t) (sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
	if (magnitude >= 0x477ff000)	/* 65520 and above round to infinity */
		return sign | 0x7c00;
	if (magnitude < 0x38800000) /* below 2^-14: the sum's unit is 2^-24, so it rounds */
		return (uint16_t) (sign | (f32_to_bits(f32_from_bits(magnitude) + 0.5f) - 0x3f000000));
	/* rebias by -112, round half to even at bit 13; a carry goes into the exponent */
	magnitude += 0xfff + (magnitude >> 13 & 1);
	return (uint16_t) (sign | ((magnitude >> 13) - (112 << 10)));
}

static inline bool
f16_is_finite(uint16_t h)
{
	return (h & 0x7c00) != 0x7c00;
}

/* ------------------------------------------------------------- dequantising */

static void
dequantize_f32(const void *src, size_t n, float *x)
{
	memcpy(x, src, n * sizeof(float));
}

static void
dequantize_f16(const void *src, size_t n, float *x)
{
	for (size_t i = 0; i < n; i++)
	{
		uint16_t	h;

		memcpy(&h, (const uint8_t *) src + 2 * i, sizeof(h));
		x[i] = ie_f16_to_f32(h);
	}
}

static void
dequantize_bf16(const void *src, size_t n, float *x)
{
	for (size_t i = 0; i < n; i++)
	{
		uint16_t	h;

		memcpy(&h, (const uint8_t *) src + 2 * i, sizeof(h));
		x[i] = f32_from_bits((uint32_t) h << 16);
	}
}

static void
dequantize_i8(const void *src, size_t n, float *x)
{
	for (size_t i = 0; i < n; i++)
		x[i] = ((const int8_t *) src)[i];
}

static void
dequantize_i32(const void *src, size_t n, float *x)
{
	for (size_t i = 0; i < n; i++)
	{
		int32_t		v;

		memcpy(&v, (const uint8_t *) src + 4 * i, sizeof(v));
		x[i] = (float) v;
	}
}

static void
dequantize_panels(const void *src, size_t n, float *x)
{
	(void) src;
	for (size_t i = 0; i < n; i++)
		x[i] = NAN;
}

/* The block at index i, copied out of storage of any alignment */
#define LOAD_BLOCK(block, src, i) \
	memcpy(&(block), (const uint8_t *) (src) + (i) * sizeof(block), sizeof(block))

static void
dequantize_q4_0(const void *src, size_t n, float *x)
{
	for (size_t i = 0; i < n / IE_QK; i++, x += IE_QK)
	{
		ie_block_q4_0 block;
		float		d;

		LOAD_BLOCK(block, src, i);
		d = ie_f16_to_f32(block.d);
		for (int j = 0; j < 16; j++)
		{
			x[j] = d * (float) ((block.qs[j] & 15) - 8);
			x[j + 16] = d * (float) ((block.qs[j] >> 4) - 8);
		}
	}
}

static void
dequantize_q4_1(const void *src, size_t n, float *x)
{
	for (size_t i = 0; i < n / IE_QK; i++, x += IE_QK)
	{
		ie_block_q4_1 block;
		float		d,
					m;

		LOAD_BLOCK(block, src, i);
		d = ie_f16_to_f32(block.d);
		m = ie_f16_to_f32(block.m);
		for (int j = 0; j < 16; j++)
		{
			x[j] = d * (float) (block.qs[j] & 15) + m;
			x[j + 16] = d * (float) (block.qs[j] >> 4) + m;
		}
	}
}

/* The 32 fifth bits of a Q5 block */
static inline uint32_t
fifth_bits(const uint8_t *qh)
{
	return (uint32_t) qh[0] | (uint32_t) qh[1] << 8 | (uint32_t) qh[2] << 16 |
		(uint32_t) qh[3] << 24;
}

static void
dequantize_q5_0(const void *src, size_t n, float *x)
{
	for (size_t i = 0; i < n / IE_QK; i++, x += IE_QK)
	{
		ie_block_q5_0 block;
		uint32_t	qh;
		float		d;

		LOAD_BLOCK(block, src, i);
		d = ie_f16_to_f32(block.d);
		qh = fifth_bits(block.qh);
		for (int j = 0; j < 16; j++)
		{
			x[j] = d * (float) (((block.qs[j] & 15) | (int) (qh >> j & 1) << 4) - 16);
			x[j + 16] = d * (float) ((block.qs[j] >> 4 | (int) (qh >> (j + 16) & 1) << 4) - 16);
		}
	}
}

static void
dequantize_q5_1(const void *src, size_t n, float *x)
{
	for (size_t i = 0; i < n / IE_QK; i++, x += IE_QK)
	{
		ie_block_q5_1 block;
		uint32_t	qh;
		float		d,
					m;

		LOAD_BLOCK(block, src, i);
		d = ie_f16_to_f32(block.d);
		m = ie_f16_to_f32(block.m);
		qh = fifth_bits(block.qh);
		for (int j = 0; j < 16; j++)
		{
			x[j] = d * (float) ((block.qs[j] & 15) | (int) (qh >> j & 1) << 4) + m;
			x[j + 16] = d * (float) (block.qs[j] >> 4 | (int) (qh >> (j + 16) & 1) << 4) + m;
		}
	}
}

static void
dequantize_q8_0(const void *src, size_t n, float *x)
{
	for (size_t i = 0; i < n / IE_QK; i++, x += IE_QK)
	{
		ie_block_q8_0 block;
		float		d;

		LOAD_BLOCK(block, src, i);
		d = ie_f16_to_f32(block.d);
		for (int j = 0; j < IE_QK; j++)
			x[j] = d * (float) block.qs[j];
	}
}

/* ---------------------------------------------------------------- is finite */

/* Element i of an array of u16 at any alignment */
static inline uint16_t
load_u16(const uint8_t *p, size_t i)
{
	return (uint16_t) (p[2 * i] | p[2 * i + 1] << 8);
}

static bool
is_finite_f32(const void *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		uint32_t	bits;

		memcpy(&bits, (const uint8_t *) src + 4 * i, sizeof(bits));
		if ((bits & 0x7f800000) == 0x7f800000)
			return false;
	}
	return true;
}

static bool
is_finite_f16(const void *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!f16_is_finite(load_u16(src, i)))
			return false;
	return true;
}

static bool
is_finite_bf16(const void *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((load_u16(src, i) & 0x7f80) == 0x7f80)
			return false;
	return true;
}

static bool
is_finite_integers(const void *src, size_t n)
{
	(void) src;
	(void) n;
	return true;
}

/* Blocks that begin with n_scales binary16 values */
static bool
are_scales_finite(const uint8_t *blocks, size_t n_blocks, size_t block_bytes, size_t n_scales)
{
	for (size_t i = 0; i < n_blocks; i++)
		for (size_t j = 0; j < n_scales; j++)
			if (!f16_is_finite(load_u16(blocks + i * block_bytes, j)))
				return false;
	return true;
}

static bool
is_finite_q4_0(const void *src, size_t n)
{
	return are_scales_finite(src, n / IE_QK, sizeof(ie_block_q4_0), 1);
}

static bool
is_finite_q4_1(const void *src, size_t n)
{
	return are_scales_finite(src, n / IE_QK, sizeof(ie_block_q4_1), 2);
}

static bool
is_finite_q5_0(const void *src, size_t n)
{
	return are_scales_finite(src, n / IE_QK, sizeof(ie_block_q5_0), 1);
}

static bool
is_finite_q5_1(const void *src, size_t n)
{
	return are_scales_finite(src, n / IE_QK, sizeof(ie_block_q5_1), 2);
}

static bool
is_finite_q8_0(const void *src, size_t n)
{
	return are_scales_finite(src, n / IE_QK, sizeof(ie_block_q8_0), 1);
}

/* ------------------------------------------------------------------- tables */

static const ie_type_traits traits[] = {
	{IE_TYPE_F32, "F32", 1, 4, false, dequantize_f32, is_finite_f32},
	{IE_TYPE_F16, "F16", 1, 2, false, dequantize_f16, is_finite_f16},
	{IE_TYPE_BF16, "BF16", 1, 2, false, dequantize_bf16, is_finite_bf16},
	{IE_TYPE_Q4_0, "Q4_0", IE_QK, sizeof(ie_block_q4_0), true, dequantize_q4_0, is_finite_q4_0},
	{IE_TYPE_Q4_1, "Q4_1", IE_QK, sizeof(ie_block_q4_1), true, dequantize_q4_1, is_finite_q4_1},
	{IE_TYPE_Q5_0, "Q5_0", IE_QK, sizeof(ie_block_q5_0), true, dequantize_q5_0, is_finite_q5_0},
	{IE_TYPE_Q5_1, "Q5_1", IE_QK, sizeof(ie_block_q5_1), true, dequantize_q5_1, is_finite_q5_1},
	{IE_TYPE_Q8_0, "Q8_0", IE_QK, sizeof(ie_block_q8_0), true, dequantize_q8_0, is_finite_q8_0},
	{IE_TYPE_I8, "I8", 1, 1, false, dequantize_i8, is_finite_integers},
	{IE_TYPE_I32, "I32", 1, 4, false, dequantize_i32, is_finite_integers},
};

/* Its scales are fp32.  is_finite is never asked: in a file these are bytes, with a checksum. */
const ie_type_traits ie_type_panels_s8 = {
	IE_TYPE_PANELS_S8, "Q8_0 packed", IE_QK, IE_QK + sizeof(float), true, dequantize_panels,
	is_finite_integers
};

/* ggml's numbering; numbers that ggml has retired have no name */
static const char *const type_names[] = {
	[0] = "F32", [1] = "F16", [2] = "Q4_0", [3] = "Q4_1", [6] = "Q5_0", [7] = "Q5_1",
	[8] = "Q8_0", [9] = "Q8_1", [10] = "Q2_K", [11] = "Q3_K", [12] = "Q4_K", [13] = "Q5_K",
	[14] = "Q6_K", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
	[19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S", [23] = "IQ4_XS",
	[24] = "I8", [25] = "I16", [26] = "I32", [27] = "I64", [28] = "F64", [29] = "IQ1_M",
	[30] = "BF16", [34] = "TQ1_0", [35] = "TQ2_0", [39] = "MXFP4",
};

const ie_type_traits *
ie_type_find(uint32_t ggml_type)
{
	for (size_t i = 0; i < IE_LENGTH(traits); i++)
		if ((uint32_t) traits[i].type == ggml_type)
			return &traits[i];
	return NULL;
}

const char *
ie_type_name(uint32_t ggml_type)
{
	if (ggml_type < IE_LENGTH(type_names) && type_names[ggml_type] != NULL)
		return type_names[ggml_type];
	return "?";
}

const char *
ie_type_list(void)
{
	return "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0";
}

bool
ie_type_is_table(const ie_type_traits *type)
{
	return type->type == IE_TYPE_I8 || type->type == IE_TYPE_I32;
}

/* --------------------------------------------------------------- quantising */

void
ie_quantize_q8_0(const float *x, size_t n, void *blocks)
{
	uint8_t    *out = blocks;

	for (size_t i = 0; i < n / IE_QK; i++, x += IE_QK, out += sizeof(ie_block_q8_0))
	{
		ie_block_q8_0 block = {0};
		uint32_t	max = 0;
		float		d;

		/* ordered as integers, magnitudes go up to infinity and then NaN */
		for (int j = 0; j < IE_QK; j++)
		{
			uint32_t	magnitude = f32_to_bits(x[j]) & 0x7fffffff;

			max = magnitude > max ? magnitude : max;
		}
		block.d = ie_f32_to_f16(f32_from_bits(max) / 127.0f);
		d = ie_f16_to_f32(block.d);
		if (d > 0.0f && d <= 65504.0f)
			for (int j = 0; j < IE_QK; j++)
			{
				/* d may have been rounded down, by as much as half where it is subnormal */
				float		q = nearbyintf(x[j] / d);

				block.qs[j] = (int8_t) (q > 127.0f ? 127.0f : q < -127.0f ? -127.0f : q);
			}
		memcpy(out, &block, sizeof(block));
	}
}
