/*
 * bench_train.c
 *	  What a step of training costs, engine alone:
 *
 *		bench_train MODEL [THREADS [ROWS [TOKENS [STEPS [MAX_MB]]]]]
 *
 * Each row is a sequence of TOKENS positions, template and look-ahead included;
 * answers are short and all different.  Prints seconds and CPU seconds of every
 * step, private memory, and how long a cancel would have had to wait at most.
 * bench_train.py does the same with the torch twin.
 */
#include "instemb.h"
#include "tools/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_BYTES 65536

static double
seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* How far apart polls are */
typedef struct poll_gap
{
	double		last;
	double		longest;
} poll_gap;

static bool
host_should_stop(void *arg)
{
	poll_gap   *gap = arg;
	const double now = seconds(CLOCK_MONOTONIC);

	if (now - gap->last > gap->longest)
		gap->longest = now - gap->last;
	gap->last = now;
	return false;
}

static void
check(ie_code code, const ie_error *err)
{
	if (code == IE_OK)
		return;
	fprintf(stderr, "bench_train: %s\n%s\n", err->message, err->detail);
	exit(1);
}

static size_t
count_tokens(const ie_model *model, const char *text, size_t len)
{
	int32_t    *ids;
	size_t		n;
	ie_error	err;

	check(ie_tokenize(model, (ie_text) {text, len}, &ids, &n, &err), &err);
	if (n > 0)
		heap_free(NULL, ids);
	return n;
}

/* Random words that have n_tokens tokens; returns the length. */
static size_t
fill_text(const ie_model *model, char *text, size_t n_tokens)
{
	static const char *const words[] = {
		" house", " water", " garden", " red", " blue", " car", " good", " paper", " time", " day"
	};
	size_t		len = 0;

	for (size_t n = 0; n < n_tokens && len < TEXT_BYTES - 16;)
	{
		len += (size_t) sprintf(text + len, "%s", words[rand() % 10]);
		n = count_tokens(model, text, len);
	}
	return len;
}

static void
add_rows(const ie_model *model, ie_trainer *trainer, size_t n_rows, size_t n_tokens,
		 size_t n_ahead)
{
	static const char instruction[] = "What is this about?";
	static char text[TEXT_BYTES];
	char		frame[1024];
	size_t		n_frame;
	ie_error	err;

	/* ChatML: 3 control tokens, around these runs of text */
	snprintf(frame, sizeof(frame), "user\n%s\n\n", instruction);
	n_frame = count_tokens(model, frame, strlen(frame)) + count_tokens(model, "\n", 1) +
		count_tokens(model, "assistant\n", 10) + 3 + n_ahead;
	for (size_t i = 0; i < n_rows; i++)
	{
		char		answer[64];
		const size_t len = fill_text(model, text, n_tokens > n_frame ? n_tokens - n_frame : 1);
		const ie_triple row = {
			{instruction, sizeof(instruction) - 1}, {text, len},
			{answer, (size_t) snprintf(answer, sizeof(answer), "answer %zu", i)}
		};

		check(ie_trainer_add(trainer, &row, 1, NULL, &err), &err);
	}
}

static void
print_memory(void)
{
	char		line[256];
	FILE	   *f = fopen("/proc/self/status", "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "RssAnon", 7) == 0)
			fputs(line, stdout);
	if (f != NULL)
		fclose(f);
}

int
main(int argc, char **argv)
{
	poll_gap	gap = {0};
	const ie_host host = {&gap, heap_alloc, heap_free, host_should_stop};
	ie_train_config config;
	ie_train_progress p;
	ie_model   *model;
	ie_trainer *trainer;
	ie_error	err;
	double		best = 1e9;
	size_t		peak;

	if (argc < 2)
	{
		fprintf(stderr, "usage: bench_train MODEL [THREADS [ROWS [TOKENS [STEPS [MAX_MB]]]]]\n");
		return 1;
	}
	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	ie_train_config_default(&config);
	config.n_threads = argc > 2 ? (uint32_t) atoi(argv[2]) : 2;
	config.batch_size = argc > 3 ? (uint32_t) atoi(argv[3]) : 32;
	config.n_steps = argc > 5 ? (uint32_t) atoi(argv[5]) : 5;
	if (argc > 6)
		config.max_bytes = (size_t) atoi(argv[6]) << 20;
	check(ie_model_open(&host, argv[1], &model, &err), &err);
	check(ie_trainer_create(&host, model, &config, &trainer, &err), &err);
	add_rows(model, trainer, config.batch_size, argc > 4 ? (size_t) atoi(argv[4]) : 100,
			 config.lookahead_count);
	for (uint32_t i = 0; i < config.n_steps; i++)
	{
		const double wall = seconds(CLOCK_MONOTONIC);
		const double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
		double		spent;

		gap = (poll_gap) {wall, 0};
		check(ie_trainer_step(trainer, &p, &err), &err);
		spent = seconds(CLOCK_MONOTONIC) - wall;
		best = spent < best ? spent : best;
		printf("step %u: %llu positions, loss %.4f, %.2f s, CPU %.2f s, longest poll %.0f ms\n",
			   p.step, (unsigned long long) p.n_tokens, p.loss, spent,
			   seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, gap.longest * 1e3);
		fflush(stdout);
	}
	ie_trainer_bytes(trainer, &peak);
	printf("best %.2f s; the trainer's memory was at most %zu MB, its limit %zu MB\n", best,
		   peak >> 20, config.max_bytes >> 20);
	print_memory();
	ie_trainer_free(trainer);
	ie_model_close(model);
	return 0;
}
