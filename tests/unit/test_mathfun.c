/*
 * test_mathfun.c
 *	  exp and the rotary table against the C library; exp the same bits on
 *	  every level, seen through silu_mul.
 */
#include "math_test.h"

#include <string.h>

static uint64_t seed;
static double worst;			/* largest relative error of exp so far */

static float
f32_of(uint32_t bits)
{
	float		f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static void
check_exp(float x)
{
	double		expected = exp((double) x);
	double		error = fabs(ie_expf(x) - expected) / expected;

	worst = fmax(worst, error);
	if (!(error < 2e-7))
		CHECK_NEAR(ie_expf(x), expected, expected * 2e-7);
}

static void
test_exp(void)
{
	/* a prime stride through all floats of the range, both signs */
	for (uint32_t bits = 0; bits <= 0x42aeac00; bits += 1009)
	{
		float		x = f32_of(bits);

		if (x <= 88.3762f)
			check_exp(x);
		if (x <= 87.3365f)
			check_exp(-x);
	}
	CHECK(worst < 2e-7);
	printf("# exp: largest relative error %.3g\n", worst);
	CHECK(ie_expf(0.0f) == 1.0f);
	CHECK(ie_expf(-0.0f) == 1.0f);
	CHECK(ie_expf(-87.34f) == 0.0f);
	CHECK(ie_expf(-1e30f) == 0.0f);
	CHECK(ie_expf(-INFINITY) == 0.0f);
	CHECK(ie_expf(-87.3365f) >= 0x1p-126f);
	/* above its range it stays at the largest result */
	CHECK(ie_expf(89.0f) == ie_expf(88.3763f));
	CHECK(ie_expf(1e30f) == ie_expf(INFINITY));
	CHECK(isfinite(ie_expf(INFINITY)));
	CHECK(isnan(ie_expf(NAN)));
}

/* exp must not fall where x grows: softmax relies on exp(x - max) <= 1 */
static void
test_exp_bounds(void)
{
	for (uint32_t bits = 1; bits < 0x42ae0000; bits += 997)
		if (ie_expf(-f32_of(bits)) > 1.0f)
		{
			CHECK(ie_expf(-f32_of(bits)) <= 1.0f);
			break;
		}
	CHECK(ie_expf(-1e-30f) == 1.0f);
}

/*
 * With up = 1, silu_mul() is gate / (1 + exp(-gate)): where -gate is below -17,
 * the sum is 1 and nothing of exp is seen; otherwise its last bits are, for
 * small results.  Values over the whole range, special ones included.
 */
static void
fast_exp(const ie_kernels *k)
{
	const ie_kernels *ref = ie_kernels_get(IE_CPU_REF);
	float		actual[64];
	float		expected[64];
	float		ones[64];

	for (int round = 0; round < 20000; round++)
	{
		for (int i = 0; i < 64; i++)
		{
			actual[i] = f32_of((uint32_t) (test_random(&seed) >> 32));
			if (i % 2 == 0)
				actual[i] = test_random_f32(&seed) * 100.0f;
			if (isnan(actual[i]))
				actual[i] = i % 4 == 1 ? INFINITY : -INFINITY;
			expected[i] = actual[i];
			ones[i] = 1.0f;
		}
		ref->silu_mul(expected, ones, 64);
		k->silu_mul(actual, ones, 64);
		for (int i = 0; i < 64; i++)
			if (isnan(expected[i]) ? !isnan(actual[i]) :
				!same_bits("silu_mul", &actual[i], &expected[i], 1))
			{
				CHECK(!"same bits");
				return;
			}
	}
	CHECK(true);
}

/* --------------------------------------------------------------------- rotary */

static void
test_rope_table(void)
{
	static const uint32_t positions[] = {
		0, 1, 2, 3, 7, 100, 511, 2047, 8191, 32767, 100003, 131071, 131072
	};
	static const float thetas[] = {10000.0f, 100000.0f, 500000.0f, 1000000.0f};
	static const size_t dims[] = {8, 16, 32, 64, 80, 96, 128, 256};
	double		error = 0.0;

	for (size_t p = 0; p < sizeof(positions) / sizeof(positions[0]); p++)
		for (size_t t = 0; t < sizeof(thetas) / sizeof(thetas[0]); t++)
			for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
			{
				float		c[128];
				float		s[128];

				ie_rope_table(positions[p], thetas[t], dims[d], c, s);
				for (size_t i = 0; i < dims[d] / 2; i++)
				{
					double		angle = positions[p] *
						pow((double) thetas[t], -2.0 * (double) i / (double) dims[d]);

					error = fmax(error, fabs(c[i] - cos(angle)));
					error = fmax(error, fabs(s[i] - sin(angle)));
				}
			}
	CHECK(error < 1e-7);
	printf("# rotary table: largest error %.3g\n", error);
}

/* Angles near multiples of pi/2, where reduction loses most */
static void
test_rope_quadrants(void)
{
	/* 710/226 ... convergents of pi: position * 1 with head_dim 2 is the angle itself */
	static const uint32_t near[] = {11, 22, 33, 44, 355, 710, 1065, 1420, 103993, 104348};

	for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++)
	{
		float		c,
					s;

		ie_rope_table(near[i], 10000.0f, 2, &c, &s);
		CHECK_NEAR(c, cos((double) near[i]), 6e-8);
		CHECK_NEAR(s, sin((double) near[i]), 6e-8);
		/* small results are right relatively too */
		CHECK_NEAR(s / sin((double) near[i]), 1.0, 1e-7);
	}
}

int
main(void)
{
	seed = test_seed("mathfun");
	test_exp();
	test_exp_bounds();
	for_each_fast_level(fast_exp);
	test_rope_table();
	test_rope_quadrants();
	return test_end("mathfun");
}
