/*
 * bench_parts.c
 *	  Where the time of an embedding goes, by kernel, as one line of JSON.
 *
 *		bench_parts MODEL WORDS
 *		bench_parts --levels			names of the levels that this machine has
 *
 * Embeds texts in one thread, as users do, and again with a clock around every
 * kernel.  The second way is a little slower and gives the shares.  macs counts
 * the multiply-adds of the products only.
 */
#include "model/session.h"
#include "base/cpu.h"
#include "tools/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_TEXTS 4
#define N_ROUNDS 5
#define MAX_WORDS 1000

/* ------------------------------------------------------------ timed kernels */

typedef enum part_id
{
	PART_PRODUCTS, PART_PACK, PART_QUANTIZE, PART_ATTEND, PART_SILU, PART_NORM, PART_ROPE, N_PARTS
} part_id;

static const char *const part_names[N_PARTS] = {
	"products", "packing", "quantising", "attention", "SiLU", "norm", "rotation"
};

static const ie_kernels *real;
static double spent[N_PARTS];	/* seconds */

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

#define TIMED(part, call) \
	do { \
		const double begun_ = now(); \
		call; \
		spent[part] += now() - begun_; \
	} while (0)

static void
timed_quantize_rows(const float *x, size_t ldx, size_t T, const ie_qrows *out)
{
	TIMED(PART_QUANTIZE, real->quantize_rows(x, ldx, T, out));
}

static void
timed_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	TIMED(PART_PRODUCTS, real->panel_u8(panel, x, T, args));
}

static void
timed_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	TIMED(PART_PRODUCTS, real->panel_s8(panel, x, T, args));
}

static void
timed_panel_f32(const float *w, size_t n_in, const float *x, size_t ldx, size_t T,
				const ie_panel_args *args)
{
	TIMED(PART_PRODUCTS, real->panel_f32(w, n_in, x, ldx, T, args));
}

static void
timed_rms_norm(const float *x, const float *weight, float eps, size_t n, float *y)
{
	TIMED(PART_NORM, real->rms_norm(x, weight, eps, n, y));
}

static void
timed_silu_mul(float *gate, const float *up, size_t n)
{
	TIMED(PART_SILU, real->silu_mul(gate, up, n));
}

static void
timed_rope(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin)
{
	TIMED(PART_ROPE, real->rope(x, n_heads, head_dim, cos, sin));
}

static void
timed_attend(const ie_attend_args *args)
{
	TIMED(PART_ATTEND, real->attend(args));
}

static void
timed_pack(const ie_matrix *w, size_t row0, void *panel)
{
	TIMED(PART_PACK, real->pack_for(w->type, false).pack(w, row0, panel));
}

static ie_pack
timed_pack_for(const ie_type_traits *type, bool f32)
{
	ie_pack		pack = real->pack_for(type, f32);

	if (pack.pack != NULL)
		pack.pack = timed_pack;
	return pack;
}

/* -------------------------------------------------------------------- texts */

static void
check(ie_code code, const ie_error *err)
{
	if (code == IE_OK)
		return;
	fprintf(stderr, "%s: %s %s\n", ie_code_name(code), err->message, err->detail);
	exit(1);
}

static ie_text
make_text(char *text, size_t n_words, unsigned seed)
{
	static const char *const words[] = {"tent", "light", "garden", "chair", "of", "wood", "with"};
	size_t		len = 0;

	for (size_t i = 0; i < n_words; i++)
	{
		seed = seed * 1103515245u + 12345u;
		len += (size_t) sprintf(text + len, " %s", words[(seed >> 16) % 7]);
	}
	return (ie_text) {text, len};
}

typedef struct timing
{
	double		best;			/* seconds of the fastest round */
	double		total;			/* of all rounds */
	size_t		n_tokens;		/* positions computed in a round */
} timing;

/* Embed all texts one by one, some times */
static timing
run(ie_session *session, const ie_text *texts, float *vectors)
{
	timing		result = {.best = 1e30};

	for (int round = 0; round < N_ROUNDS; round++)
	{
		const double begun = now();
		double		seconds;

		result.n_tokens = 0;
		for (size_t i = 0; i < N_TEXTS; i++)
		{
			const ie_embed_request request = {{"What is it?", 11}, texts + i, 1, false};
			ie_embed_stats stats;
			ie_error	err;

			check(ie_embed(session, &request, vectors, &stats, &err), &err);
			result.n_tokens += stats.n_tokens;
		}
		seconds = now() - begun;
		result.best = seconds < result.best ? seconds : result.best;
		result.total += seconds;
	}
	return result;
}

/* Multiply-adds of a position in matrix products */
static double
macs_of(const ie_model_info *info)
{
	const double C = info->n_embd;
	const double HD = (double) info->n_head * info->head_dim;
	const double GD = (double) info->n_head_kv * info->head_dim;

	return info->n_layer * (C * (HD + 2 * GD) + HD * C + 3 * C * info->n_ff);
}

static void
print_levels(void)
{
	for (int level = IE_CPU_REF + 1; level < IE_CPU_N_LEVELS; level++)
		if (ie_cpu_has((ie_cpu_level_id) level))
			printf("%s\n", ie_cpu_level_name((ie_cpu_level_id) level));
}

int
main(int argc, char **argv)
{
	const ie_host host = {NULL, heap_alloc, heap_free, NULL};
	static char buffer[N_TEXTS][MAX_WORDS * 8];
	const ie_session_config config = {.n_threads = 1, .prefix_cache_bytes = 16u << 20};
	ie_text		texts[N_TEXTS];
	ie_session *session;
	ie_model   *model;
	ie_model_info info;
	ie_error	err;
	ie_kernels	timed;
	float	   *vectors;
	timing		plain;
	timing		clocked;
	double		rest = 1.0;

	if (argc == 2 && strcmp(argv[1], "--levels") == 0)
	{
		print_levels();
		return 0;
	}
	if (argc != 3 || atoi(argv[2]) < 1 || atoi(argv[2]) > MAX_WORDS)
	{
		fprintf(stderr, "usage: bench_parts MODEL WORDS\n");
		return 2;
	}
	for (size_t i = 0; i < N_TEXTS; i++)
		texts[i] = make_text(buffer[i], (size_t) atoi(argv[2]), (unsigned) i);
	check(ie_model_open(&host, argv[1], &model, &err), &err);
	ie_model_get_info(model, &info);
	check(ie_session_create(model, &config, &session, &err), &err);
	vectors = malloc(info.n_embd * sizeof(float));
	run(session, texts, vectors);
	plain = run(session, texts, vectors);

	real = session->kernels;
	timed = *real;
	timed.quantize_rows = timed_quantize_rows;
	timed.panel_u8 = timed_panel_u8;
	timed.panel_s8 = timed_panel_s8;
	timed.panel_f32 = timed_panel_f32;
	timed.rms_norm = timed_rms_norm;
	timed.silu_mul = timed_silu_mul;
	timed.rope = timed_rope;
	timed.attend = timed_attend;
	timed.pack_for = timed_pack_for;
	session->kernels = &timed;
	clocked = run(session, texts, vectors);

	printf("{\"tokens\": %zu, \"seconds\": %.6f, \"macs\": %.0f, \"parts\": {", plain.n_tokens,
		   plain.best, (double) plain.n_tokens * macs_of(&info));
	for (int i = 0; i < N_PARTS; i++)
	{
		printf("\"%s\": %.4f, ", part_names[i], spent[i] / clocked.total);
		rest -= spent[i] / clocked.total;
	}
	printf("\"all else\": %.4f}}\n", rest);
	free(vectors);
	ie_session_free(session);
	ie_model_close(model);
	return 0;
}
