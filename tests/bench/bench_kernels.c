/*
 * bench_kernels.c
 *	  How fast are matrix products, packing and attention at each level?
 *
 * Works through the products of one pass of SmolLM2-135M (30 layers; 576 to
 * 576, 192, 192; 576 to 576; 576 to 1536 twice; 1536 to 576) over T rows.
 * Weights are random and of the model's full size, so that they come from
 * where a model's would come from.  "micro" is the micro-kernel alone on a
 * panel that stays in the nearest cache; peak.c has what the instructions could do.
 *
 *		bench_kernels [TYPE [THREADS]]		default: Q4_1, 1 and 2 threads
 */
#include "base/bytes.h"
#include "math/gemm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_LAYERS 30
#define MAX_T 256

static double
read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static double
now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* Of all threads; what a busy machine's clock on the wall cannot tell */
static double
cpu_now(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static void *
take(size_t size)
{
	void	   *p = aligned_alloc(64, ie_round_up(size, 64));

	if (p == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	memset(p, 0, size);
	return p;
}

static void
print_machine(void)
{
	char		line[4096];
	FILE	   *f = fopen("/proc/cpuinfo", "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "model name", 10) == 0)
		{
			printf("machine   %s", strchr(line, ':') + 2);
			break;
		}
	if (f != NULL)
		fclose(f);
	printf("compiler  %s\n", __VERSION__);
}

/* ------------------------------------------------------------- a whole pass */

typedef struct layer
{
	ie_matrix	q, k, v, o, gate, up, down;
} layer;

typedef struct pass
{
	layer		layers[N_LAYERS];
	double		macs;			/* multiply-adds of one row */
	float	   *x;				/* [MAX_T, 1536] */
	float	   *y;				/* [3, MAX_T, 1536] */
	ie_qrows	q;
} pass;

static ie_matrix
random_weights(const ie_type_traits *type, size_t n_in, size_t n_out)
{
	size_t		row_bytes = n_in / type->block_len * type->block_bytes;
	uint8_t    *p = take(row_bytes * n_out);
	uint32_t	state = 12345;

	for (size_t i = 0; i < row_bytes * n_out; i++)
	{
		state = state * 1664525 + 1013904223;
		p[i] = (uint8_t) (state >> 24);
	}
	/* small finite scales: clear the top bits of each */
	for (size_t i = 0; i < row_bytes * n_out; i += type->block_bytes)
	{
		p[i + (type->type == IE_TYPE_F32 ? 3 : 1)] &= 0x3f;
		if (type->type == IE_TYPE_Q4_1 || type->type == IE_TYPE_Q5_1)
			p[i + 3] &= 0x3f;
	}
	return (ie_matrix) {type, p, row_bytes, n_in, n_out};
}

static pass *
make_pass(const ie_type_traits *type)
{
	pass	   *p = take(sizeof(pass));
	ie_arena	arena = {0};
	uint32_t	state = 99;

	for (int i = 0; i < N_LAYERS; i++)
	{
		layer	   *l = &p->layers[i];

		l->q = random_weights(type, 576, 576);
		l->k = random_weights(type, 576, 192);
		l->v = random_weights(type, 576, 192);
		l->o = random_weights(type, 576, 576);
		l->gate = random_weights(type, 576, 1536);
		l->up = random_weights(type, 576, 1536);
		l->down = random_weights(type, 1536, 576);
	}
	p->macs = N_LAYERS * 576.0 * (576 + 192 + 192 + 576 + 3 * 1536);
	p->x = take(MAX_T * 1536 * sizeof(float));
	p->y = take(3 * MAX_T * 1536 * sizeof(float));
	for (size_t i = 0; i < MAX_T * 1536; i++)
	{
		state = state * 1664525 + 1013904223;
		p->x[i] = (float) ((double) state / 2147483648.0 - 1.0);
		/* an outlier in every fifth block, about as often as in a model */
		if (i % 1536 % 160 == 7)
			p->x[i] *= 20.0f;
	}
	ie_qrows_take(&arena, MAX_T, 1536);
	arena = (ie_arena) {take(arena.used), arena.used, 0, false};
	p->q = ie_qrows_take(&arena, MAX_T, 1536);
	return p;
}

/* Quantise T rows of n_in columns and multiply them by n matrices */
static void
multiply(const pass *p, const ie_gemm *gemm, size_t T, const ie_matrix *const *w, size_t n)
{
	ie_rows		rows = {T, p->x, 1536, p->q};
	ie_product	products[3];

	rows.q.n_cols = w[0]->n_in;
	for (size_t i = 0; i < n; i++)
		products[i] = (ie_product) {w[i], p->y + i * MAX_T * 1536, 1536, false};
	if (ie_gemm_is_integer(gemm, w[0]))
		ie_quantize(gemm, &rows);
	ie_matmul_many(gemm, &rows, products, n);
}

static void
run_pass(const pass *p, const ie_gemm *gemm, size_t T)
{
	for (int i = 0; i < N_LAYERS; i++)
	{
		const layer *l = &p->layers[i];

		multiply(p, gemm, T, (const ie_matrix *[]) {&l->q, &l->k, &l->v}, 3);
		multiply(p, gemm, T, (const ie_matrix *[]) {&l->o}, 1);
		multiply(p, gemm, T, (const ie_matrix *[]) {&l->gate, &l->up}, 2);
		multiply(p, gemm, T, (const ie_matrix *[]) {&l->down}, 1);
	}
}

typedef struct timing
{
	double		wall;			/* seconds */
	double		cpu;			/* seconds of processor, all threads */
} timing;

/* The best of some runs */
static timing
time_pass(const pass *p, const ie_gemm *gemm, size_t T, double budget)
{
	timing		best = {INFINITY, INFINITY};
	double		end = now() + budget;

	do
	{
		double		wall = now();
		double		cpu = cpu_now();

		run_pass(p, gemm, T);
		best.wall = fmin(best.wall, now() - wall);
		best.cpu = fmin(best.cpu, cpu_now() - cpu);
	} while (now() < end);
	return best;
}

/* ------------------------------------------------------------- single kernels */

/* The micro-kernel on a panel of 576 columns and 64 rows, in multiply-adds a second */
static double
micro(const pass *p, const ie_kernels *k, const ie_matrix *w, bool f32)
{
	const size_t T = 64;
	const ie_pack pack = k->pack_for(w->type, f32);
	const ie_panel_args args = {.y = p->y, .ldy = 16, .n_rows = 16, .next = w->data};
	ie_qrows	q = p->q;
	void	   *panel = take(ie_gemm_panel_bytes(w->n_in));
	double		best = INFINITY;
	double		end = now() + 0.2;

	q.n_cols = w->n_in;
	k->quantize_rows(p->x, 1536, T, &q);
	pack.pack(w, 0, panel);
	do
	{
		double		start = cpu_now();

		for (int i = 0; i < 20; i++)
			switch (pack.kind)
			{
				case IE_PANEL_U8:
					k->panel_u8(panel, &q, T, &args);
					break;
				case IE_PANEL_S8:
					k->panel_s8(panel, &q, T, &args);
					break;
				case IE_PANEL_F32:
					k->panel_f32(panel, w->n_in, p->x, 1536, T, &args);
					break;
			}
		best = fmin(best, (cpu_now() - start) / 20);
	} while (now() < end);
	free(panel);
	return (double) T * (double) w->n_in * 16.0 / best;
}

/* Packing of all panels of a matrix, in weights a second */
static double
pack_speed(const ie_kernels *k, const ie_matrix *w, bool f32)
{
	const ie_pack pack = k->pack_for(w->type, f32);
	void	   *panel = take(ie_gemm_panel_bytes(w->n_in));
	double		best = INFINITY;
	double		end = now() + 0.2;

	do
	{
		double		start = cpu_now();

		for (size_t row = 0; row < w->n_out; row += IE_PANEL_ROWS)
			pack.pack(w, row, panel);
		best = fmin(best, cpu_now() - start);
	} while (now() < end);
	free(panel);
	return (double) w->n_in * (double) w->n_out / best;
}

/* Attention of all positions, heads and layers of a sequence of T, in seconds */
static double
attention(const ie_kernels *k, size_t T)
{
	const size_t D = 64;
	float	   *kt = take(D * T * sizeof(float));
	float	   *v = take(T * D * sizeof(float));
	float	   *scores = take(3 * T * sizeof(float));
	float		q[3 * 64] = {0.25f};
	float		out[3 * 64];
	double		best = INFINITY;
	double		end = now() + 0.3;

	do
	{
		double		start = cpu_now();

		for (size_t t = 0; t < T; t++)
		{
			const ie_attend_args args = {
				.q = q, .n_q = 3, .head_dim = D, .scale = 0.125f,
				.span = {{kt, T, v, D, 0}, {kt, T, v, D, t + 1}},
				.scores = scores, .ld_scores = T, .out = out
			};

			k->attend(&args);
		}
		best = fmin(best, cpu_now() - start);
	} while (now() < end);
	free(kt);
	free(v);
	free(scores);
	return best * 3 * N_LAYERS;
}

/* ---------------------------------------------------------------------- main */

static void
bench_level(const pass *p, const ie_kernels *k, int min_threads, int max_threads)
{
	static const size_t sizes[] = {1, 4, 16, 64, 128, 256};
	const ie_matrix *w = &p->layers[0].gate;
	double		top = micro(p, k, w, false);

	printf("\n%s\n", ie_cpu_level_name(k->level));
	printf("  micro %.1f GMAC/s, packing %.2f G weights/s (%.1f rows' worth), "
		   "attention of 256 positions %.2f ms\n",
		   top * 1e-9, pack_speed(k, w, false) * 1e-9, top / pack_speed(k, w, false) / 1.0,
		   attention(k, 256) * 1e3);
	for (int n_threads = min_threads; n_threads <= max_threads; n_threads++)
	{
		const ie_gemm gemm = {
			k, n_threads, false, take((size_t) n_threads * ie_gemm_panel_bytes(1536)),
			ie_gemm_panel_bytes(1536)
		};

		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		{
			const timing t = time_pass(p, &gemm, sizes[i], k->level == IE_CPU_REF ? 0.0 : 1.0);
			const double T = (double) sizes[i];

			printf("  threads %d  T %3zu  %8.2f ms  %7.0f tokens/s  %6.1f GMAC/s  |  processor %8.2f ms"
				   "  %6.1f GMAC/s  %3.0f %% of micro\n",
				   n_threads, sizes[i], t.wall * 1e3, T / t.wall, T * p->macs / t.wall * 1e-9,
				   t.cpu * 1e3, T * p->macs / t.cpu * 1e-9, 100.0 * T * p->macs / t.cpu / top);
			fflush(stdout);
		}
		free(gemm.panel);
	}
}

static const ie_type_traits *
find_type(const char *name)
{
	for (uint32_t t = 0; t < 64; t++)
		if (ie_type_find(t) != NULL && strcmp(ie_type_find(t)->name, name) == 0)
			return ie_type_find(t);
	fprintf(stderr, "no such type: %s (%s)\n", name, ie_type_list());
	exit(1);
}

int
main(int argc, char **argv)
{
	const ie_type_traits *type = find_type(argc > 1 ? argv[1] : "Q4_1");
	int			threads = argc > 2 ? atoi(argv[2]) : 0;
	const int	lowest = argc > 3 ? IE_CPU_REF : IE_CPU_REF + 1;
	const pass *p = make_pass(type);

	print_machine();
	printf("weights   %s, %.1f million\n", type->name, p->macs * 1e-6);
	for (int level = ie_cpu_detect(); level >= lowest; level--)
		if (ie_cpu_has((ie_cpu_level_id) level))
			bench_level(p, ie_kernels_get((ie_cpu_level_id) level), threads > 0 ? threads : 1,
						threads > 0 ? threads : level == IE_CPU_REF ? 1 : 2);
	return 0;
}
