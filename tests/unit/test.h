/*
 * test.h
 *	  All a unit test needs: checks that print both values, a host whose
 *	  allocator can be made to fail, a seeded random generator.
 *
 * A test file is a program: functions of checks, called from main(), which
 * ends with "return test_end(NAME)".  Output is one line per program,
 * "ok NAME (N checks)" or the failed checks and "FAILED NAME".
 */
#ifndef TEST_H
#define TEST_H

#include "instemb.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long test_checks;
static long test_failures;

#define CHECK(cond) \
	do { \
		test_checks++; \
		if (!(cond)) \
		{ \
			test_failures++; \
			printf("%s:%d: %s is false\n", __FILE__, __LINE__, #cond); \
		} \
	} while (0)

#define CHECK_INT(actual, expected) \
	do { \
		long long	a_ = (long long) (actual); \
		long long	e_ = (long long) (expected); \
		test_checks++; \
		if (a_ != e_) \
		{ \
			test_failures++; \
			printf("%s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__, #actual, a_, e_); \
		} \
	} while (0)

#define CHECK_STR(actual, expected) \
	do { \
		const char *a_ = (actual); \
		const char *e_ = (expected); \
		test_checks++; \
		if (strcmp(a_, e_) != 0) \
		{ \
			test_failures++; \
			printf("%s:%d: %s is \"%s\", expected \"%s\"\n", __FILE__, __LINE__, #actual, a_, e_); \
		} \
	} while (0)

/* |actual - expected| <= tolerance, false for NaN */
#define CHECK_NEAR(actual, expected, tolerance) \
	do { \
		double		a_ = (actual); \
		double		e_ = (expected); \
		test_checks++; \
		if (!(fabs(a_ - e_) <= (tolerance))) \
		{ \
			test_failures++; \
			printf("%s:%d: %s is %.9g, expected %.9g +- %g\n", \
				   __FILE__, __LINE__, #actual, a_, e_, (double) (tolerance)); \
		} \
	} while (0)

static inline int
test_end(const char *name)
{
	if (test_failures == 0)
		printf("ok %s (%ld checks)\n", name, test_checks);
	else
		printf("FAILED %s (%ld of %ld checks)\n", name, test_failures, test_checks);
	return test_failures == 0 ? 0 : 1;
}

/*
 * A host over malloc: counts live blocks, and fails allocation number fail_at
 * (1 = the next one; 0 = never).  stop_after > 0: should_stop() answers true
 * from that poll on.
 */
typedef struct test_host_state
{
	long		n_live;
	long		n_allocs;
	long		fail_at;
	long		n_polls;
	long		stop_after;
} test_host_state;

static inline void *
test_alloc(void *arg, size_t size)
{
	test_host_state *state = arg;
	void	   *p;

	state->n_allocs++;
	if (state->fail_at > 0 && state->n_allocs == state->fail_at)
		return NULL;
	p = malloc(size);
	if (p != NULL)
	{
		memset(p, 0xa5, size);
		state->n_live++;
	}
	return p;
}

static inline void
test_free(void *arg, void *p)
{
	((test_host_state *) arg)->n_live--;
	free(p);
}

static inline bool
test_should_stop(void *arg)
{
	test_host_state *state = arg;

	state->n_polls++;
	return state->stop_after > 0 && state->n_polls >= state->stop_after;
}

static inline ie_host
test_host(test_host_state *state)
{
	ie_host		host = {state, test_alloc, test_free, test_should_stop};

	memset(state, 0, sizeof(*state));
	return host;
}

/* xorshift64*; the seed is printed so that a red run can be repeated: TEST_SEED=n */
static inline uint64_t
test_seed(const char *name)
{
	const char *s = getenv("TEST_SEED");
	uint64_t	seed = s != NULL ? strtoull(s, NULL, 10) : 20261121;

	printf("# %s TEST_SEED=%" PRIu64 "\n", name, seed);
	return seed * 2685821657736338717ULL + 1;
}

static inline uint64_t
test_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ULL;
}

/* uniform in [-1, 1) */
static inline float
test_random_f32(uint64_t *state)
{
	return (float) ((double) (test_random(state) >> 11) / 4503599627370496.0 - 1.0);
}

#endif							/* TEST_H */
