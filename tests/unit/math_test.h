/*
 * math_test.h
 *	  What the tests of src/math share: inputs, comparison bit for bit, and
 *	  buffers that end at a page no one may touch, so that reading or writing
 *	  one byte too far is a crash and not luck.
 */
#ifndef MATH_TEST_H
#define MATH_TEST_H

#include "base/cpu.h"
#include "math/kernels.h"
#include "test.h"

#include <sys/mman.h>
#include <unistd.h>

typedef struct guard
{
	void	   *map;
	size_t		map_size;
	void	   *data;			/* [size], its end is the end of the readable pages */
} guard;

static inline guard
guard_new(size_t size)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	size_t		body = (size + page - 1) / page * page;
	guard		g = {NULL, body + page, NULL};

	g.map = mmap(NULL, g.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g.map == MAP_FAILED || mprotect((char *) g.map + body, page, PROT_NONE) != 0)
	{
		perror("guard_new");
		exit(1);
	}
	g.data = (char *) g.map + body - size;
	return g;
}

static inline void
guard_free(guard *g)
{
	munmap(g->map, g->map_size);
	g->data = NULL;
}

static inline guard
guard_f32(size_t n)
{
	return guard_new(n * sizeof(float));
}

/* Storage for T quantised rows, each part before a guard page of its own */
typedef struct guarded_qrows
{
	guard		tiles;
	guard		n_outliers;
	guard		outliers;
	ie_qrows	q;
} guarded_qrows;

static inline guarded_qrows
guarded_qrows_new(size_t T, size_t n_cols)
{
	const size_t n = (T + IE_TILE_ROWS - 1) / IE_TILE_ROWS;
	guarded_qrows g = {
		.tiles = guard_new(n * (n_cols / IE_QK) * sizeof(ie_qtile)),
		.n_outliers = guard_new(n * sizeof(uint32_t)),
		.outliers = guard_new(n * ie_max_outliers(n_cols) * sizeof(ie_outliers))
	};

	g.q = (ie_qrows) {n_cols, g.tiles.data, g.n_outliers.data, g.outliers.data};
	return g;
}

static inline void
guarded_qrows_free(guarded_qrows *g)
{
	guard_free(&g->tiles);
	guard_free(&g->n_outliers);
	guard_free(&g->outliers);
}

/* The lengths at which vector loops go wrong */
static const size_t odd_lengths[] = {
	1, 2, 3, 5, 7, 8, 9, 11, 13, 15, 16, 17, 23, 31, 32, 33, 47, 63, 64, 65, 95, 96, 97, 128, 131
};

#define N_ODD_LENGTHS (sizeof(odd_lengths) / sizeof(odd_lengths[0]))

typedef enum fill
{
	FILL_RANDOM,
	FILL_EXTREME,				/* the largest magnitude everywhere */
	FILL_SPARSE,				/* mostly zeros, some denormals, few large values */
	N_FILLS
} fill;

static inline void
fill_f32(float *x, size_t n, fill how, uint64_t *seed)
{
	for (size_t i = 0; i < n; i++)
	{
		uint64_t	r = test_random(seed) >> 32;

		if (how == FILL_EXTREME)
			x[i] = (r & 1) != 0 ? 3.5f : -3.5f;
		else if (how == FILL_SPARSE)
			x[i] = r % 8 != 0 ? 0.0f : test_random_f32(seed) * ((r & 8) != 0 ? 1e-40f : 1e3f);
		else
			x[i] = test_random_f32(seed) * 4.0f;
	}
}

/* Are n floats the same bits?  Prints the first that differs. */
static inline bool
same_bits(const char *what, const float *actual, const float *expected, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(&actual[i], &expected[i], sizeof(float)) != 0)
		{
			printf("# %s: element %zu of %zu is %a, expected %a\n", what, i, n, (double) actual[i],
				   (double) expected[i]);
			return false;
		}
	return true;
}

/* Run fn with every table above the reference; says which levels the machine lacks. */
static inline void
for_each_fast_level(void (*fn) (const ie_kernels *k))
{
	for (int level = IE_CPU_REF + 1; level < IE_CPU_N_LEVELS; level++)
	{
		const ie_kernels *k = ie_kernels_get((ie_cpu_level_id) level);

		if (k == NULL)
		{
			printf("# skipped: this machine has no %s\n", ie_cpu_level_name((ie_cpu_level_id) level));
			continue;
		}
		CHECK_INT(k->level, level);
		fn(k);
	}
}

#endif							/* MATH_TEST_H */
