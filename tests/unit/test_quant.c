/*
 * test_quant.c
 *	  Element types: binary16 against the compiler's _Float16 over all values,
 *	  block formats against their formulas, element by element.
 */
#include "math/quant.h"
#include "base/status.h"
#include "test.h"

static uint64_t seed;

static uint32_t
bits_of(float f)
{
	uint32_t	bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits;
}

static float
f32_of(uint32_t bits)
{
	float		f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

#if defined(__FLT16_MAX__)
static float
native_f16_to_f32(uint16_t h)
{
	_Float16	f;

	memcpy(&f, &h, sizeof(f));
	return (float) f;
}

static uint16_t
native_f32_to_f16(float f)
{
	_Float16	h = (_Float16) f;
	uint16_t	bits;

	memcpy(&bits, &h, sizeof(bits));
	return bits;
}

static void
check_narrowing(float f)
{
	uint16_t	actual = ie_f32_to_f16(f);

	if (isnan(f))
		CHECK((actual & 0x7c00) == 0x7c00 && (actual & 0x3ff) != 0);
	else
		CHECK_INT(actual, native_f32_to_f16(f));
}

static void
test_f16_native(void)
{
	for (uint32_t h = 0; h <= 0xffff; h++)
	{
		float		f = ie_f16_to_f32((uint16_t) h);
		float		native = native_f16_to_f32((uint16_t) h);

		if (isnan(native))
			CHECK(isnan(f));
		else
			CHECK_INT(bits_of(f), bits_of(native));

		/* the value itself, its neighbours, and around the midpoint to the next one */
		for (int step = -1; step <= 1 && !isnan(native); step++)
		{
			check_narrowing(f32_of(bits_of(f) + (uint32_t) step));
			if ((h & 0x7fff) < 0x7bff)
			{
				float		middle = 0.5f * (f + native_f16_to_f32((uint16_t) (h + 1)));

				check_narrowing(f32_of(bits_of(middle) + (uint32_t) step));
			}
		}
	}
	for (int i = 0; i < 1000000; i++)
		check_narrowing(f32_of((uint32_t) (test_random(&seed) >> 32)));
}
#endif

/* Without the compiler's help: known values and the way there and back */
static void
test_f16_known(void)
{
	static const struct
	{
		uint16_t	h;
		float		f;
	}			known[] = {
		{0x0000, 0.0f}, {0x8000, -0.0f}, {0x3c00, 1.0f}, {0xc000, -2.0f}, {0x7bff, 65504.0f},
		{0x0400, 0x1p-14f}, {0x0001, 0x1p-24f}, {0x03ff, 0x1.ff8p-15f}, {0x7c00, INFINITY},
		{0xfc00, -INFINITY}, {0x3555, 0x1.554p-2f}
	};

	for (size_t i = 0; i < IE_LENGTH(known); i++)
	{
		CHECK_INT(bits_of(ie_f16_to_f32(known[i].h)), bits_of(known[i].f));
		CHECK_INT(ie_f32_to_f16(known[i].f), known[i].h);
	}
	CHECK_INT(ie_f32_to_f16(65519.0f), 0x7bff);
	CHECK_INT(ie_f32_to_f16(65520.0f), 0x7c00);
	CHECK_INT(ie_f32_to_f16(0x1p-25f), 0x0000);
	CHECK_INT(ie_f32_to_f16(0x1.8p-25f), 0x0001);
	CHECK(isnan(ie_f16_to_f32(0x7e00)));
	CHECK(isnan(ie_f16_to_f32(0x7c01)));
	for (uint32_t h = 0; h <= 0xffff; h++)
		if ((h & 0x7c00) != 0x7c00)
			CHECK_INT(ie_f32_to_f16(ie_f16_to_f32((uint16_t) h)), h);
}

static void
test_float_types(void)
{
	const ie_type_traits *f32 = ie_type_find(IE_TYPE_F32);
	const ie_type_traits *f16 = ie_type_find(IE_TYPE_F16);
	const ie_type_traits *bf16 = ie_type_find(IE_TYPE_BF16);

	for (uint32_t h = 0; h <= 0xffff; h++)
	{
		uint8_t		at_odd_address[3] = {0, (uint8_t) h, (uint8_t) (h >> 8)};
		float		x;

		bf16->dequantize(at_odd_address + 1, 1, &x);
		CHECK_INT(bits_of(x), h << 16);
		CHECK(bf16->is_finite(at_odd_address + 1, 1) == !!isfinite(x));
		f16->dequantize(at_odd_address + 1, 1, &x);
		CHECK_INT(bits_of(x), bits_of(ie_f16_to_f32((uint16_t) h)));
		CHECK(f16->is_finite(at_odd_address + 1, 1) == !!isfinite(x));
	}
	for (int i = 0; i < 1000; i++)
	{
		float		x[7];
		float		y[7];

		for (int j = 0; j < 7; j++)
			x[j] = f32_of((uint32_t) (test_random(&seed) >> 32) & 0xbfffffff);
		f32->dequantize(x, 7, y);
		CHECK(memcmp(x, y, sizeof(x)) == 0);
		CHECK(f32->is_finite(x, 7));
		x[i % 7] = i % 3 == 0 ? INFINITY : i % 3 == 1 ? -INFINITY : NAN;
		CHECK(!f32->is_finite(x, 7));
	}
}

/* ------------------------------------------------------------- block formats */

/* Number i of a block as the format's comment in quant.h defines it, in double */
static double
element(ie_type type, const uint8_t *block, int i)
{
	double		d = ie_f16_to_f32((uint16_t) (block[0] | block[1] << 8));
	double		m = ie_f16_to_f32((uint16_t) (block[2] | block[3] << 8));
	size_t		qs = type == IE_TYPE_Q4_0 || type == IE_TYPE_Q8_0 ? 2 :
		type == IE_TYPE_Q4_1 ? 4 : type == IE_TYPE_Q5_0 ? 6 : 8;
	const uint8_t *qh = block + (type == IE_TYPE_Q5_0 ? 2 : 4);
	int			nibble = i < 16 ? block[qs + (size_t) i] % 16 : block[qs + (size_t) i - 16] / 16;
	int			fifth = qh[i / 8] >> (i % 8) & 1;

	switch (type)
	{
		case IE_TYPE_Q4_0:
			return d * (nibble - 8);
		case IE_TYPE_Q4_1:
			return d * nibble + m;
		case IE_TYPE_Q5_0:
			return d * (nibble + 16 * fifth - 16);
		case IE_TYPE_Q5_1:
			return d * (nibble + 16 * fifth) + m;
		default:
			return d * (int8_t) block[qs + (size_t) i];
	}
}

static void
test_blocks(ie_type type, size_t n_scales)
{
	const ie_type_traits *traits = ie_type_find(type);

	CHECK_INT(traits->block_len, IE_QK);
	CHECK(traits->quantized);
	for (int round = 0; round < 500; round++)
	{
		uint8_t		blocks[3 * 34 + 1];
		uint8_t    *src = blocks + round % 2;
		float		x[3 * IE_QK];

		for (size_t i = 0; i < sizeof(blocks); i++)
			blocks[i] = (uint8_t) (test_random(&seed) >> 56);
		for (size_t b = 0; b < 3; b++)
			for (size_t s = 0; s < n_scales; s++)
				src[b * traits->block_bytes + 2 * s + 1] &= 0xbf;
		CHECK(traits->is_finite(src, 3 * IE_QK));
		traits->dequantize(src, 3 * IE_QK, x);
		for (int i = 0; i < 3 * IE_QK; i++)
		{
			const uint8_t *block = src + (size_t) (i / IE_QK) * traits->block_bytes;
			double		expected = element(type, block, i % IE_QK);
			double		size = fabs(expected) + 4.0 * (n_scales > 1);

			CHECK_NEAR(x[i], expected, size * 1e-7);
		}
		/* any scale that is infinite or NaN is found */
		for (size_t b = 0; b < 3; b++)
			for (size_t s = 0; s < n_scales; s++)
			{
				uint8_t    *high = &src[b * traits->block_bytes + 2 * s + 1];
				uint8_t		saved = *high;

				*high |= 0x7c;
				CHECK(!traits->is_finite(src, 3 * IE_QK));
				*high = saved;
			}
	}
}

/* One Q4_1 block by hand: d 0.5, m -1, nibbles 0, 1, ... */
static void
test_q4_1_by_hand(void)
{
	uint8_t		block[20] = {0x00, 0x38, 0x00, 0xbc};
	float		x[IE_QK];

	for (int j = 0; j < 16; j++)
		block[4 + j] = (uint8_t) (j | (15 - j) << 4);
	ie_type_find(IE_TYPE_Q4_1)->dequantize(block, IE_QK, x);
	for (int j = 0; j < 16; j++)
	{
		CHECK(x[j] == 0.5f * (float) j - 1.0f);
		CHECK(x[16 + j] == 0.5f * (float) (15 - j) - 1.0f);
	}
}

/* ---------------------------------------------------------- quantize to Q8_0 */

static void
test_quantize_q8_0(void)
{
	const ie_type_traits *q8_0 = ie_type_find(IE_TYPE_Q8_0);

	for (int round = 0; round < 2000; round++)
	{
		float		x[2 * IE_QK];
		float		y[2 * IE_QK];
		uint8_t		blocks[2 * 34 + 1];
		uint8_t    *out = blocks + round % 2;
		/* steps down to where d is a subnormal binary16, and to where it is 0 */
		float		scale = ldexpf(1.0f, 10 - round % 40);

		for (int i = 0; i < 2 * IE_QK; i++)
			x[i] = test_random_f32(&seed) * scale;
		ie_quantize_q8_0(x, 2 * IE_QK, out);
		CHECK(q8_0->is_finite(out, 2 * IE_QK));
		q8_0->dequantize(out, 2 * IE_QK, y);
		for (int b = 0; b < 2; b++)
		{
			double		max = 0.0;
			double		d = ie_f16_to_f32((uint16_t) (out[34 * b] | out[34 * b + 1] << 8));

			for (int i = 0; i < IE_QK; i++)
				max = fmax(max, fabsf(x[IE_QK * b + i]));
			CHECK_NEAR(d, max / 127.0, fmax(max / 127.0 / 2048.0, 0x1p-25) * 1.0001);
			for (int i = 0; i < IE_QK; i++)
			{
				double		v = x[IE_QK * b + i];
				int			q = (int8_t) out[34 * b + 2 + i];

				CHECK(q >= -127);
				/* half a step, or what is beyond 127 steps where d was rounded down */
				CHECK_NEAR(y[IE_QK * b + i], v, fmax(d * 0.5001, fabs(v) - 127.0 * d));
			}
		}
	}
}

static void
test_quantize_q8_0_special(void)
{
	const ie_type_traits *q8_0 = ie_type_find(IE_TYPE_Q8_0);
	float		x[IE_QK] = {0};
	uint8_t		block[34];
	uint8_t		zero[34] = {0};

	memset(block, 0x55, sizeof(block));
	ie_quantize_q8_0(x, IE_QK, block);
	CHECK(memcmp(block, zero, sizeof(block)) == 0);
	/* what cannot be represented is not hidden */
	x[3] = NAN;
	ie_quantize_q8_0(x, IE_QK, block);
	CHECK(!q8_0->is_finite(block, IE_QK));
	x[3] = -INFINITY;
	ie_quantize_q8_0(x, IE_QK, block);
	CHECK(!q8_0->is_finite(block, IE_QK));
	x[3] = 1e30f;
	ie_quantize_q8_0(x, IE_QK, block);
	CHECK(!q8_0->is_finite(block, IE_QK));
	/* ties go to the even number */
	for (int i = 0; i < IE_QK; i++)
		x[i] = (float) i + 0.5f;
	x[31] = 127.0f;
	ie_quantize_q8_0(x, IE_QK, block);
	for (int i = 0; i < 31; i++)
		CHECK_INT((int8_t) block[2 + i], i % 2 == 0 ? i : i + 1);
}

/* -------------------------------------------------------------------- tables */

/* Integers of tables, and what rows of panels are read as */
static void
test_integers(void)
{
	const int8_t i8[] = {-128, 0, 127};
	const uint8_t i32[] = {0, 0, 0, 0, 0x80, 0xff, 0xff, 0xff, 0x7f};
	float		x[4];

	ie_type_find(IE_TYPE_I8)->dequantize(i8, 3, x);
	CHECK(x[0] == -128.0f && x[1] == 0.0f && x[2] == 127.0f);
	ie_type_find(IE_TYPE_I32)->dequantize(i32 + 1, 2, x);
	CHECK(x[0] == -2147483648.0f && x[1] == 2147483648.0f);
	CHECK(ie_type_find(IE_TYPE_I32)->is_finite(i32, 2));
	ie_type_panels_s8.dequantize(NULL, 4, x);
	for (int i = 0; i < 4; i++)
		CHECK(isnan(x[i]));
}

static void
test_tables(void)
{
	char		list[256] = "";

	for (uint32_t t = 0; t < 256; t++)
	{
		const ie_type_traits *traits = ie_type_find(t);

		if (traits == NULL)
			continue;
		CHECK_INT(traits->type, t);
		CHECK_STR(traits->name, ie_type_name(t));
		CHECK(ie_type_is_table(traits) != (strstr(ie_type_list(), traits->name) != NULL));
		strcat(list, traits->name);
	}
	/* every type, in the order of the numbers */
	CHECK_STR(list, "F32" "F16" "Q4_0" "Q4_1" "Q5_0" "Q5_1" "Q8_0" "I8" "I32" "BF16");
	CHECK(ie_type_find(12) == NULL);
	CHECK_STR(ie_type_name(12), "Q4_K");
	CHECK_STR(ie_type_name(39), "MXFP4");
	CHECK_STR(ie_type_name(4), "?");
	CHECK_STR(ie_type_name(40), "?");
	CHECK_STR(ie_type_name(UINT32_MAX), "?");
}

int
main(void)
{
	seed = test_seed("quant");
#if defined(__FLT16_MAX__)
	test_f16_native();
#else
	printf("# skipped: this compiler has no _Float16\n");
#endif
	test_f16_known();
	test_float_types();
	test_blocks(IE_TYPE_Q4_0, 1);
	test_blocks(IE_TYPE_Q4_1, 2);
	test_blocks(IE_TYPE_Q5_0, 1);
	test_blocks(IE_TYPE_Q5_1, 2);
	test_blocks(IE_TYPE_Q8_0, 1);
	test_q4_1_by_hand();
	test_quantize_q8_0();
	test_quantize_q8_0_special();
	test_integers();
	test_tables();
	return test_end("quant");
}
