/*
 * bench_embed.c
 *	  What embedding costs, engine alone:
 *	  bench_embed MODEL [THREADS [auto|f32 [WORDS]]]
 *
 * Prints opening time, the first call's extra, private memory, then for texts
 * of several lengths (or of WORDS words alone), one per call and in batches,
 * milliseconds per text and tokens per second (positions computed; the
 * instruction is reused), and how long a cancel would have had to wait at most.
 * CPU columns count the time of all threads, and hardly depend on what else the
 * machine does; best of some rounds each.
 */
#include "instemb.h"
#include "tools/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_WORDS 300
#define BATCH 32

static double
now_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double) t.tv_sec * 1e3 + (double) t.tv_nsec / 1e6;
}

/* How far apart polls are, in CPU time of the calling thread: a cancel waits as long */
typedef struct poll_gap
{
	double		last_ms;
	double		longest_ms;
} poll_gap;

static bool
host_should_stop(void *arg)
{
	poll_gap   *gap = arg;
	const double now = now_ms(CLOCK_THREAD_CPUTIME_ID);

	if (now - gap->last_ms > gap->longest_ms)
		gap->longest_ms = now - gap->last_ms;
	gap->last_ms = now;
	return false;
}

/* Private_Dirty of this process in kB */
static long
private_kb(void)
{
	FILE	   *f = fopen("/proc/self/smaps_rollup", "r");
	char		line[256];
	long		kb = -1;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		sscanf(line, "Private_Dirty: %ld", &kb);
	if (f != NULL)
		fclose(f);
	return kb;
}

static void
check(ie_code code, const ie_error *err)
{
	if (code == IE_OK)
		return;
	fprintf(stderr, "%s: %s %s\n", ie_code_name(code), err->message, err->detail);
	exit(1);
}

/* Words in an order that differs from text to text */
static size_t
make_text(char *text, size_t n_words, unsigned seed)
{
	static const char *const words[] = {
		"tent", "light", "waterproof", "garden", "chair", "of", "solid", "wood", "with", "the",
		"printer", "and", "colour", "warranty", "for", "two", "years", "battery", "screen", "a",
		"stainless", "steel", "keyboard", "wireless", "in", "black", "is", "suitable", "outdoor"
	};
	size_t		len = 0;

	for (size_t i = 0; i < n_words; i++)
	{
		seed = seed * 1103515245u + 12345u;
		len += (size_t) sprintf(text + len, "%s%s", i > 0 ? " " : "",
								words[(seed >> 16) % (sizeof(words) / sizeof(words[0]))]);
	}
	return len;
}

typedef struct bench
{
	ie_session *session;
	float	   *vectors;
	char		buffer[BATCH][MAX_WORDS * 12];
	ie_text		texts[BATCH];
} bench;

/* One round: calls of n texts each until all BATCH are embedded */
static ie_embed_stats
run_round(bench *b, size_t n)
{
	ie_embed_stats total = {0};

	for (size_t i = 0; i < BATCH; i += n)
	{
		const ie_embed_request request = {
			{"Is this product suitable for outdoor use?", 41}, b->texts + i, n, false
		};
		ie_embed_stats stats;
		ie_error	err;

		check(ie_embed(b->session, &request, b->vectors, &stats, &err), &err);
		total.n_tokens += stats.n_tokens;
	}
	return total;
}

static void
measure(bench *b, size_t n_words, size_t n)
{
	double		wall = 1e30;
	double		cpu = 1e30;
	ie_embed_stats stats = {0};
	const int	n_rounds = n_words >= 100 ? 3 : 6;

	for (size_t i = 0; i < BATCH; i++)
		b->texts[i] = (ie_text) {b->buffer[i], make_text(b->buffer[i], n_words, (unsigned) i)};
	for (int round = 0; round < n_rounds; round++)
	{
		const double wall0 = now_ms(CLOCK_MONOTONIC);
		const double cpu0 = now_ms(CLOCK_PROCESS_CPUTIME_ID);
		double		spent;

		stats = run_round(b, n);
		spent = now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu0;
		cpu = spent < cpu ? spent : cpu;
		spent = now_ms(CLOCK_MONOTONIC) - wall0;
		wall = spent < wall ? spent : wall;
	}
	printf("%6zu %6zu %8.1f %10.2f %10.2f %10.0f %10.0f\n", n_words, n,
		   (double) stats.n_tokens / BATCH, wall / BATCH, cpu / BATCH,
		   (double) stats.n_tokens / wall * 1e3, (double) stats.n_tokens / cpu * 1e3);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	static const size_t lengths[] = {10, 40, 100, 300};
	static bench b;
	poll_gap	gap = {0};
	const ie_host host = {&gap, heap_alloc, heap_free, host_should_stop};
	ie_session_config config = {.n_threads = 1, .prefix_cache_bytes = 16u << 20};
	const long	kb0 = private_kb();
	ie_model   *model = NULL;
	ie_model_info info;
	ie_error	err;
	double		t0;
	double		t1;

	if (argc < 2)
	{
		fprintf(stderr, "usage: bench_embed MODEL [THREADS [auto|f32 [WORDS]]]\n");
		return 2;
	}
	if (argc > 2)
		config.n_threads = (uint32_t) atoi(argv[2]);
	if (argc > 3 && strcmp(argv[3], "f32") == 0)
		config.compute = IE_COMPUTE_F32;

	t0 = now_ms(CLOCK_MONOTONIC);
	t1 = now_ms(CLOCK_PROCESS_CPUTIME_ID);
	check(ie_model_open(&host, argv[1], &model, &err), &err);
	t0 = now_ms(CLOCK_MONOTONIC) - t0;
	t1 = now_ms(CLOCK_PROCESS_CPUTIME_ID) - t1;
	ie_model_get_info(model, &info);
	printf("kernels %s, %u threads, %s, %s\n", ie_cpu_level(), config.n_threads,
		   info.quantization, config.compute == IE_COMPUTE_F32 ? "f32" : "auto");
	printf("open: %.2f ms, %.2f cpu ms, %ld kB private\n", t0, t1, private_kb() - kb0);

	check(ie_session_create(model, &config, &b.session, &err), &err);
	b.vectors = malloc(BATCH * info.n_embd * sizeof(float));
	for (int i = 0; i < 3; i++)
	{
		b.texts[0] = (ie_text) {b.buffer[0], make_text(b.buffer[0], 10, (unsigned) i)};
		t0 = now_ms(CLOCK_MONOTONIC);
		t1 = now_ms(CLOCK_PROCESS_CPUTIME_ID);
		check(ie_embed(b.session, &(ie_embed_request) {{NULL, 0}, b.texts, 1, false}, b.vectors,
					   NULL, &err), &err);
		printf("call %d of 10 words: %.2f ms, %.2f cpu ms\n", i + 1,
			   now_ms(CLOCK_MONOTONIC) - t0, now_ms(CLOCK_PROCESS_CPUTIME_ID) - t1);
	}
	b.texts[0] = (ie_text) {b.buffer[0], make_text(b.buffer[0], 240, 1)};
	check(ie_embed(b.session, &(ie_embed_request) {{NULL, 0}, b.texts, 1, false}, b.vectors,
				   NULL, &err), &err);
	printf("after 240 words: %ld kB private, of which session %zu kB\n", private_kb() - kb0,
		   ie_session_bytes(b.session) / 1024);

	gap.longest_ms = 0;
	printf("%6s %6s %8s %10s %10s %10s %10s\n", "words", "batch", "tokens", "ms", "cpu ms",
		   "tokens/s", "per cpu s");
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
	{
		if (argc > 4 && (size_t) atoi(argv[4]) != lengths[i])
			continue;
		measure(&b, lengths[i], 1);
		measure(&b, lengths[i], BATCH);
	}
	printf("longest time between two polls: %.2f cpu ms\n", gap.longest_ms);
	free(b.vectors);
	ie_session_free(b.session);
	ie_model_close(model);
	return 0;
}
