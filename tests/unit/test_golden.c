/*
 * test_golden.c
 *	  The tiny model, with and without its adapter, against the reference.
 *
 * The same comparison with the default model is "make golden".
 */
#include "test.h"
#include "golden.h"
#include "scratch.h"

#define TINY "tests/golden/tiny.gguf"
#define TINY_ADAPTER "tests/golden/tiny-adapter.gguf"
#define TINY_GOLDEN "tests/golden/tiny.golden"
#define TINY_ADAPTER_GOLDEN "tests/golden/tiny-adapter.golden"

/*
 * Integer path.  A random network 64 wide with sharp attention amplifies the
 * rounding of activations far more than a trained one; the embeddings of two
 * texts have a cosine of 0.3 here.  "make golden" holds the default model to
 * closer bounds.
 */
static const golden_bounds bounds_tiny = {0.996, 0.999, 0.995, 0.94, 0.15};
static const golden_bounds bounds_tiny_adapter = {0.9, 0.994, 0.85, 0.9, 0.4};

static void
check(const golden_file *golden, const char *path, ie_compute compute, const golden_bounds *bounds)
{
	const golden_run run = {.model_path = path, .compute = compute, .n_threads = 2};
	golden_result result = {0};

	CHECK(golden_compare(golden, &run, bounds, &result));
	for (uint32_t i = 0; i < golden->n_instructions; i++)
	{
		CHECK(result.scores[i].cos_min >= bounds->cos_min);
		CHECK(result.scores[i].cos_mean >= bounds->cos_mean);
		CHECK(result.scores[i].centred_min >= bounds->centred_min);
		CHECK(result.scores[i].neighbours >= bounds->neighbours);
	}
	CHECK_STR(result.state_wrong, "");
}

static void
check_model(void)
{
	golden_file golden;
	char		hex[65];
	ie_error	err;
	const bool	opened = golden_open(TINY_GOLDEN, &golden);

	CHECK(opened);
	if (!opened)
		return;
	CHECK_INT(ie_file_sha256(&golden_host, TINY, hex, &err), IE_OK);
	CHECK_STR(hex, golden.sha256);
	check(&golden, TINY, IE_COMPUTE_F32, &golden_bounds_f32);
	check(&golden, TINY, IE_COMPUTE_AUTO, &bounds_tiny);
	golden_close(&golden);
}

/* Merged by ie_install(); the reference merges in fp32 and rounds to Q8_0 as well. */
static void
check_adapter(void)
{
	scratch		files;
	const char *merged;
	ie_install_request request = {.base_path = TINY, .adapter_path = TINY_ADAPTER};
	golden_file golden;
	ie_error	err = {0};
	const bool	opened = golden_open(TINY_ADAPTER_GOLDEN, &golden);

	CHECK(opened);
	if (!opened)
		return;
	scratch_open(&files);
	merged = scratch_path(&files, "merged.gguf");
	request.out_path = merged;
	CHECK_INT(ie_install(&golden_host, &request, &err), IE_OK);
	CHECK_STR(err.message, "");
	check(&golden, merged, IE_COMPUTE_F32, &golden_bounds_f32);
	check(&golden, merged, IE_COMPUTE_AUTO, &bounds_tiny_adapter);
	golden_close(&golden);
	scratch_close(&files);
}

static void
check_noticed(const golden_file *golden, const char *path, ie_compute compute,
			  const golden_bounds *bounds, const char *first_wrong)
{
	const golden_run run = {.model_path = path, .compute = compute, .n_threads = 1};
	golden_result result = {0};

	CHECK(golden_compare(golden, &run, bounds, &result));
	CHECK(result.scores[0].cos_min < bounds->cos_min);
	CHECK_STR(result.state_wrong, first_wrong);
}

/* A spoiled model must be noticed, and the first state that differs named. */
static void
check_sensitivity(void)
{
	scratch		files;
	const char *spoiled;
	golden_file golden;
	const bool	opened = golden_open(TINY_GOLDEN, &golden);

	CHECK(opened);
	if (!opened)
		return;
	scratch_open(&files);
	spoiled = scratch_path(&files, "spoiled.gguf");
	for (int damage = 0; damage < GOLDEN_N_DAMAGES; damage++)
	{
		char		first_wrong[32] = "";

		CHECK(golden_spoil(TINY, (golden_damage) damage, spoiled, first_wrong));
		check_noticed(&golden, spoiled, IE_COMPUTE_F32, &golden_bounds_f32, first_wrong);
		check_noticed(&golden, spoiled, IE_COMPUTE_AUTO, &bounds_tiny, first_wrong);
	}
	golden_close(&golden);
	scratch_close(&files);
}

int
main(void)
{
	check_model();
	check_adapter();
	check_sensitivity();
	return test_end("test_golden");
}
