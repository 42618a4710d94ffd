/*
 * test_distance.c
 *	  Distances against plain formulas in double, at the ends of their range,
 *	  and the same bits on every level.  A process chooses its level once, so
 *	  each level runs in a child of its own.
 */
#include "math_test.h"

#include <sys/wait.h>

static uint64_t seed;

/* -------------------------------------------------------------- same bits */

#define MAX_N 700
#define N_RESULTS 3

typedef struct results
{
	double		value[MAX_N + 1][N_FILLS][N_RESULTS];
	float		normalized[MAX_N + 1][N_FILLS];
} results;

/* All lengths; vectors end at a guard page, so that their addresses have every alignment */
static void
compute(results *r)
{
	guard		ga = guard_f32(MAX_N);
	guard		gb = guard_f32(MAX_N);
	uint64_t	state = 4711;

	for (int how = 0; how < N_FILLS; how++)
		for (size_t n = 0; n <= MAX_N; n++)
		{
			float	   *a = (float *) ga.data + (MAX_N - n);
			float	   *b = (float *) gb.data + (MAX_N - n);

			fill_f32(a, n, how, &state);
			fill_f32(b, n, how, &state);
			r->value[n][how][0] = ie_inner_product(a, b, n);
			r->value[n][how][1] = ie_cosine_similarity(a, b, n);
			r->value[n][how][2] = ie_cosine_distance(a, b, n);
			r->normalized[n][how] = ie_normalize(a, n) ? a[n / 2] : -7.0f;
		}
	guard_free(&ga);
	guard_free(&gb);
}

/* The results of a process that runs at a level, in memory both share */
static results *
compute_at(const char *level)
{
	results    *r = mmap(NULL, sizeof(results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
						 -1, 0);
	int			status;
	pid_t		pid = fork();

	if (pid == 0)
	{
		setenv("INSTEMB_CPU", level, 1);
		compute(r);
		_exit(strcmp(ie_cpu_level_name(ie_cpu_detect()), level) == 0 ? 0 : 2);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	return r;
}

static void
test_levels(void)
{
	results    *ref = compute_at("ref");

	for (int level = IE_CPU_REF + 1; level < IE_CPU_N_LEVELS; level++)
	{
		const char *name = ie_cpu_level_name((ie_cpu_level_id) level);
		results    *r;

		if (!ie_cpu_has((ie_cpu_level_id) level))
		{
			printf("# skipped: this machine has no %s\n", name);
			continue;
		}
		r = compute_at(name);
		CHECK(memcmp(r, ref, sizeof(*r)) == 0);
		munmap(r, sizeof(*r));
	}
	munmap(ref, sizeof(*ref));
}

/* ------------------------------------------------------------------- values */

static void
test_values(void)
{
	for (size_t n = 1; n <= 200; n++)
	{
		float		a[200];
		float		b[200];
		double		ab = 0.0;
		double		aa = 0.0;
		double		bb = 0.0;
		double		cos;

		fill_f32(a, n, FILL_RANDOM, &seed);
		fill_f32(b, n, FILL_RANDOM, &seed);
		for (size_t i = 0; i < n; i++)
		{
			ab += (double) a[i] * b[i];
			aa += (double) a[i] * a[i];
			bb += (double) b[i] * b[i];
		}
		cos = ab / sqrt(aa * bb);
		CHECK_NEAR(ie_inner_product(a, b, n), ab, 1e-6 * sqrt(aa * bb));
		CHECK_NEAR(ie_cosine_similarity(a, b, n), cos, 1e-6);
		CHECK_NEAR(ie_cosine_distance(a, b, n), 1.0 - cos, 1e-6);
		CHECK(ie_normalize(a, n));
		aa = 0.0;
		for (size_t i = 0; i < n; i++)
			aa += (double) a[i] * a[i];
		CHECK_NEAR(aa, 1.0, 1e-6);
	}
}

/* The lane order of instemb.h, seen in a sum where order matters */
static void
test_order(void)
{
	float		a[17] = {1e8f};
	float		ones[17];

	for (int i = 0; i < 17; i++)
		ones[i] = 1.0f;
	/* 1e8 and -1e8 share lane 0; the 1 of lane 8 is added to their sum, 0 */
	a[16] = -1e8f;
	a[8] = 1.0f;
	CHECK(ie_inner_product(a, ones, 17) == 1.0);
	/* lane 1 meets lane 0 in the tree's last step, when 1e8 has swallowed lane 8's 1 */
	a[16] = 0.0f;
	a[1] = -1e8f;
	CHECK(ie_inner_product(a, ones, 17) == 0.0);
}

static void
test_ends(void)
{
	static const float sizes[] = {1e-44f, 1e-38f, 1e-30f, 1e-20f, 1e-10f, 1.0f, 1e15f, 1e25f, 3e38f};
	const float zero[4] = {0};
	const float one[4] = {0.5f, 0.5f, 0.5f, 0.5f};
	const float nan[4] = {0.5f, NAN, 0.5f, 0.5f};
	const float infinite[4] = {0.5f, INFINITY, 0.5f, 0.5f};
	float		x[4];

	/* no size of the elements matters to an angle */
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		float		a[2] = {sizes[i], 0.0f};
		float		b[2] = {sizes[i], sizes[i]};

		CHECK_NEAR(ie_cosine_similarity(a, b, 2), sqrt(0.5), 1e-7);
		CHECK_NEAR(ie_cosine_distance(a, a, 2), 0.0, 1e-15);
		CHECK(ie_normalize(b, 2));
		CHECK_NEAR(b[0], sqrt(0.5), 1e-7);
		CHECK_NEAR(ie_cosine_distance(a, b, 2), 1.0 - sqrt(0.5), 1e-7);
		a[0] = -sizes[i];
		a[1] = -sizes[i];
		CHECK_NEAR(ie_cosine_distance(a, b, 2), 2.0, 1e-7);
	}
	CHECK(isnan(ie_cosine_distance(zero, one, 4)));
	CHECK(isnan(ie_cosine_similarity(one, zero, 4)));
	CHECK(isnan(ie_cosine_distance(nan, one, 4)));
	CHECK(isnan(ie_cosine_distance(infinite, one, 4)));
	CHECK(isnan(ie_cosine_distance(one, one, 0)));
	CHECK(ie_inner_product(one, one, 0) == 0.0);
	memcpy(x, zero, sizeof(x));
	CHECK(!ie_normalize(x, 4) && memcmp(x, zero, sizeof(x)) == 0);
	memcpy(x, nan, sizeof(x));
	CHECK(!ie_normalize(x, 4) && memcmp(x, nan, sizeof(x)) == 0);
	memcpy(x, infinite, sizeof(x));
	CHECK(!ie_normalize(x, 4) && memcmp(x, infinite, sizeof(x)) == 0);
	CHECK(!ie_normalize(x, 0));
}

/* Rounding must not carry a distance outside [0, 2] */
static void
test_range(void)
{
	for (int round = 0; round < 20000; round++)
	{
		size_t		n = 1 + (size_t) round % 40;
		float		a[40];
		float		b[40];
		double		d;

		fill_f32(a, n, FILL_RANDOM, &seed);
		for (size_t i = 0; i < n; i++)
			b[i] = a[i] * (round % 2 == 0 ? 3.0f : -0.1f);
		d = ie_cosine_distance(a, b, n);
		if (!(d >= 0.0 && d <= 2.0))
			CHECK_NEAR(d, 1.0, 1.0);
		CHECK_NEAR(d, round % 2 == 0 ? 0.0 : 2.0, 1e-6);
	}
}

int
main(void)
{
	seed = test_seed("distance");
	test_levels();				/* first: no level may be chosen before it forks */
	test_values();
	test_order();
	test_ends();
	test_range();
	return test_end("distance");
}
