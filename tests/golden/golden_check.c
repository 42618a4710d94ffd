/*
 * golden_check.c
 *	  Hold the engine against a golden file.
 *
 *	  golden_check MODEL GOLDEN			both compute paths
 *	  golden_check MODEL GOLDEN COPY	also: does the comparison notice a spoiled
 *										model?  It is written to COPY and removed.
 *
 * Exit status 0 if all bounds hold.
 */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct
{
	ie_compute	compute;
	const golden_bounds *bounds;
	const char *title;
}			paths[] =
{
	{IE_COMPUTE_F32, &golden_bounds_f32, "fp32 path"},
	{IE_COMPUTE_AUTO, &golden_bounds_quantized, "integer path"},
};

static const char *const damages[GOLDEN_N_DAMAGES] = {"another rotary base", "two layers swapped"};

static bool
check_hash(const golden_file *golden, const char *model_path)
{
	char		hex[65];
	ie_error	err;

	if (ie_file_sha256(&golden_host, model_path, hex, &err) != IE_OK)
	{
		printf("%s\n", err.message);
		return false;
	}
	if (strcmp(hex, golden->sha256) != 0)
	{
		printf("%s is not the model that the golden file was made from (SHA-256 %.16s..)\n",
			   model_path, golden->sha256);
		return false;
	}
	return true;
}

/* Each damage must be noticed on both paths, and named by the first state it touches. */
static bool
check_sensitivity(const golden_file *golden, const char *model_path, const char *copy_path)
{
	bool		ok = true;

	for (int d = 0; ok && d < GOLDEN_N_DAMAGES; d++)
	{
		char		first_wrong[32];

		ok = golden_spoil(model_path, (golden_damage) d, copy_path, first_wrong);
		for (size_t p = 0; ok && p < sizeof(paths) / sizeof(paths[0]); p++)
		{
			const golden_run run = {
				.model_path = copy_path,
				.compute = paths[p].compute,
				.n_threads = 2,
				.max_texts = 40,
			};
			golden_result result;
			bool		noticed;

			if (!golden_compare(golden, &run, paths[p].bounds, &result))
				return false;
			noticed = !golden_judge(golden, &run, paths[p].bounds, &result, NULL) &&
				result.scores[0].cos_min < paths[p].bounds->cos_min &&
				strcmp(result.state_wrong, first_wrong) == 0;
			printf("%s, model spoiled by %s: smallest cosine %.7f, first wrong state %s: %s\n",
				   paths[p].title, damages[d], result.scores[0].cos_min, result.state_wrong,
				   noticed ? "noticed, ok" : "FAILED");
			ok = ok && noticed;
		}
	}
	unlink(copy_path);
	return ok;
}

int
main(int argc, char **argv)
{
	golden_file golden;
	bool		ok;

	if (argc < 3 || argc > 4)
	{
		fprintf(stderr, "usage: golden_check MODEL GOLDEN [COPY]\n");
		return 2;
	}
	if (!golden_open(argv[2], &golden))
		return 1;
	ok = check_hash(&golden, argv[1]);
	printf("%s, kernels %s\n", argv[1], ie_cpu_level());
	for (size_t p = 0; ok && p < sizeof(paths) / sizeof(paths[0]); p++)
	{
		const golden_run run = {
			.model_path = argv[1],
			.compute = paths[p].compute,
			.n_threads = 2,
		};
		golden_result result;

		if (!golden_compare(&golden, &run, paths[p].bounds, &result) ||
			!golden_judge(&golden, &run, paths[p].bounds, &result, paths[p].title))
			ok = false;
		fflush(stdout);
	}
	if (ok && argc == 4)
		ok = check_sensitivity(&golden, argv[1], argv[3]);
	printf("golden: %s\n", ok ? "ok" : "FAILED");
	golden_close(&golden);
	return ok ? 0 : 1;
}
