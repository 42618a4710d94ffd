/*
 * test_train.c
 *	  Steps of a trainer: the same bits again, resumed, and whatever the memory
 *	  limit; cancelling; the adapter it writes; generation alone; failing
 *	  allocations.
 */
#include "train_fixture.h"
#include "model_builder.h"
#include "scratch.h"

#define STEPS 4

static ie_train_progress
step(ie_trainer *trainer)
{
	ie_train_progress progress = {0};
	ie_error	err = {0};

	CHECK_INT(ie_trainer_step(trainer, &progress, &err), IE_OK);
	CHECK_STR(err.message, "");
	return progress;
}

static bool
same_params(const ie_trainer *a, const ie_trainer *b)
{
	return memcmp(a->params, b->params, a->shape.n_params * sizeof(real)) == 0;
}

/* All losses, dropout, several steps, fewer rows in a batch than there are */
static ie_train_config
usual_config(void)
{
	ie_train_config c = train_config();

	c.batch_size = 6;
	c.dropout = 0.1;
	c.weight_view = 0.1;
	c.weight_decay = 0.01;
	c.n_threads = 2;
	return c;
}

static void
test_learns(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_model   *model = train_model(&host);
	ie_train_config config = train_config();
	ie_trainer *trainer;
	ie_train_progress first;
	ie_train_progress last = {0};
	ie_error	err = {0};

	config.n_steps = 30;
	trainer = train_open(&host, model, &config);
	first = step(trainer);
	CHECK_INT(first.step, 1);
	CHECK_INT(first.n_steps, 30);
	CHECK_INT(first.n_rows, N_TRAIN_ROWS);
	CHECK_NEAR(first.loss, config.weight_answer * first.answer + config.weight_back * first.back +
			   config.weight_group * first.group + config.weight_teacher * first.teacher +
			   config.weight_mse * first.mse + config.weight_kl * first.kl +
			   config.weight_ce * first.ce + config.weight_generation * first.generation, 1e-9);
	CHECK_INT(ie_trainer_add(trainer, &(ie_triple) {{"a", 1}, {"b", 1}, {"c", 1}}, 1, NULL, &err),
			  IE_INVALID);
	for (int i = 1; i < 30; i++)
		last = step(trainer);
	CHECK(last.answer < first.answer / 2);
	CHECK(last.kl < first.kl);
	CHECK(last.ce < first.ce);
	CHECK(last.generation < first.generation);
	CHECK(last.accuracy > 0.9);
	CHECK_NEAR(last.learning_rate, 0.02 * config.learning_rate, 0.02 * config.learning_rate);
	CHECK_INT(ie_trainer_step(trainer, &last, &err), IE_INVALID);
	CHECK_STR(err.message, "training is complete");
	ie_trainer_free(trainer);
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

/* A second moment below 0, under a hash that is right */
static void
spoil_moments(char *bytes, size_t size)
{
	const size_t end = size - (IE_SHA256_HEX_SIZE - 1);
	const real	below = -1;
	char		hex[IE_SHA256_HEX_SIZE];
	ie_sha256	hash;

	memcpy(bytes + end - sizeof(below), &below, sizeof(below));
	ie_sha256_init(&hash);
	ie_sha256_update(&hash, bytes, end);
	ie_sha256_final_hex(&hash, hex);
	memcpy(bytes + end, hex, size - end);
}

static void
test_resume(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_model   *model = train_model(&host);
	const ie_train_config config = usual_config();
	ie_train_config other = config;
	ie_trainer *whole = train_open(&host, model, &config);
	ie_trainer *first = train_open(&host, model, &config);
	ie_trainer *second = train_open(&host, model, &config);
	ie_trainer *stranger;
	ie_error	err = {0};
	scratch		files;
	const char *path;
	const char *damaged;

	scratch_open(&files);
	path = scratch_path(&files, "checkpoint");
	damaged = scratch_path(&files, "damaged");
	for (int i = 0; i < STEPS; i++)
		step(whole);
	step(first);
	CHECK(!same_params(whole, first));
	CHECK_INT(ie_trainer_save(first, path, &err), IE_OK);
	CHECK_INT(ie_trainer_save(first, path, &err), IE_IO);
	CHECK_INT(ie_trainer_load(second, path, &err), IE_OK);
	CHECK(same_params(first, second));
	for (int i = 1; i < STEPS; i++)
		CHECK_INT(step(second).step, i + 1);
	CHECK(same_params(whole, second));
	CHECK(memcmp(whole->moment2, second->moment2, whole->shape.n_params * sizeof(real)) == 0);
	CHECK_INT(ie_trainer_load(second, path, &err), IE_INVALID);

	other.learning_rate *= 2;
	stranger = train_open(&host, model, &other);
	CHECK_INT(ie_trainer_load(stranger, path, &err), IE_INVALID);
	CHECK(strstr(err.message, "training checkpoint was made with other settings") != NULL);
	ie_trainer_free(stranger);
	stranger = train_open(&host, model, &config);
	CHECK_INT(ie_trainer_add(stranger, &(ie_triple) {{"a", 1}, {"b", 1}, {"c", 1}}, 1, NULL,
							 &err), IE_OK);
	CHECK_INT(ie_trainer_load(stranger, path, &err), IE_INVALID);
	CHECK(strstr(err.message, "training checkpoint was made with other rows") != NULL);
	ie_trainer_free(stranger);

	stranger = train_open(&host, model, &config);
	for (int spoil = 0; spoil < 4; spoil++)
	{
		const long	size = file_bytes(path);
		char	   *bytes = malloc((size_t) size);
		FILE	   *f = fopen(path, "rb");

		CHECK_INT(fread(bytes, 1, (size_t) size, f), size);
		fclose(f);
		if (spoil == 3)
			spoil_moments(bytes, (size_t) size);
		else
			bytes[spoil == 0 ? 0 : size / 2] ^= 1;
		f = fopen(damaged, "wb");
		fwrite(bytes, 1, (size_t) (spoil == 2 ? size - 1 : size), f);
		fclose(f);
		free(bytes);
		CHECK_INT(ie_trainer_load(stranger, damaged, &err), IE_FORMAT);
	}
	CHECK_INT(stranger->step, 0);
	ie_trainer_free(stranger);
	ie_trainer_free(second);
	ie_trainer_free(first);
	ie_trainer_free(whole);
	ie_model_close(model);
	scratch_close(&files);
	CHECK_INT(state.n_live, 0);
}

/* Cancel at every poll of a step: parameters stay, and the step can be done then. */
static void
test_cancel(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_model   *model = train_model(&host);
	const ie_train_config config = usual_config();
	ie_trainer *whole = train_open(&host, model, &config);
	ie_trainer *trainer = train_open(&host, model, &config);
	const size_t n = trainer->shape.n_params;
	real	   *before = malloc(n * sizeof(real));
	ie_train_progress progress = {0};
	ie_error	err = {0};
	ie_code		code = IE_CANCELED;

	step(whole);
	step(whole);
	step(trainer);
	memcpy(before, trainer->params, n * sizeof(real));
	for (long at = 1; code == IE_CANCELED && at < 1000; at++)
	{
		state.n_polls = 0;
		state.stop_after = at;
		code = ie_trainer_step(trainer, &progress, &err);
		if (code == IE_CANCELED)
		{
			CHECK_INT(trainer->step, 1);
			CHECK(memcmp(before, trainer->params, n * sizeof(real)) == 0);
		}
	}
	CHECK_INT(code, IE_OK);
	CHECK(state.n_polls > 3 * 3);	/* 3 blocks, in 3 kinds of passes */
	CHECK(same_params(whole, trainer));
	state.stop_after = 0;
	free(before);
	ie_trainer_free(trainer);
	ie_trainer_free(whole);
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

/* A trainer with a limit does one step; returns the most bytes it held, 0 if it is refused. */
static size_t
step_within(const ie_host *host, const ie_model *model, size_t max_bytes, double *loss,
			double *norm)
{
	ie_train_config config = train_config();
	ie_train_progress progress = {0};
	ie_trainer *trainer = NULL;
	ie_error	err = {0};
	size_t		peak = 0;

	config.max_bytes = max_bytes;
	if (ie_trainer_create(host, model, &config, &trainer, &err) == IE_OK)
	{
		train_add_rows(trainer);
		if (ie_trainer_step(trainer, &progress, &err) == IE_OK)
			ie_trainer_bytes(trainer, &peak);
	}
	if (peak == 0)
	{
		CHECK_INT(err.code, IE_LIMIT);
		CHECK(strstr(err.message, "training needs more memory than its limit of") != NULL);
	}
	*loss = progress.loss;
	*norm = progress.gradient_norm;
	ie_trainer_free(trainer);
	return peak;
}

/* The less memory, the fewer tapes are kept; losses and gradients are the same. */
static void
test_budget(void)
{
	const size_t reserved = (size_t) 64 << 20;	/* for OpenBLAS */
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_model   *model = train_model(&host);
	double		loss;
	double		norm;
	const size_t most = step_within(&host, model, (size_t) 1 << 30, &loss, &norm);
	size_t		least = most;

	CHECK(most > 0);
	for (size_t limit = most - most / 8; limit > most / 16; limit -= most / 16)
	{
		double		loss_within;
		double		norm_within;
		const size_t peak = step_within(&host, model, limit + reserved, &loss_within,
										&norm_within);

		CHECK(peak <= limit);
		if (peak == 0)
			break;
		CHECK_NEAR(loss_within, loss, 1e-5 * loss);
		CHECK_NEAR(norm_within, norm, 1e-4 * norm);
		least = peak;
	}
	CHECK(least < most - most / 4);
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

/* What it writes is an adapter: it installs, and a trainer can begin with it. */
static void
test_adapter(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_model   *model = train_model(&host);
	ie_model   *merged = NULL;
	ie_model_info info;
	ie_train_config config = train_config();
	ie_trainer *trainer = train_open(&host, model, &config);
	ie_trainer *other = train_open(&host, model, &config);
	ie_error	err = {0};
	scratch		files;
	const char *path;
	ie_install_request install = {.base_path = train_model_path};

	scratch_open(&files);
	path = scratch_path(&files, "adapter.gguf");
	install.adapter_path = path;
	install.out_path = scratch_path(&files, "merged.gguf");
	step(trainer);
	step(trainer);
	CHECK_INT(ie_trainer_write_adapter(trainer, path, &err), IE_OK);
	CHECK_INT(ie_trainer_write_adapter(trainer, path, &err), IE_IO);
	CHECK_INT(ie_trainer_read_adapter(trainer, path, &err), IE_INVALID);

	CHECK_INT(ie_trainer_read_adapter(other, path, &err), IE_OK);
	for (size_t i = 0; i < other->shape.n_params; i++)
		if (fabs((double) (other->params[i] - trainer->params[i])) >
			1e-3 * fabs((double) trainer->params[i]) + 1e-7)
		{
			CHECK_INT(i, -1);
			break;
		}
	ie_trainer_free(other);
	config.rank = 5;
	other = train_open(&host, model, &config);
	CHECK_INT(ie_trainer_read_adapter(other, path, &err), IE_INVALID);
	CHECK(strstr(err.message, "adapter differs from the training settings") != NULL);

	CHECK_INT(ie_install(&host, &install, &err), IE_OK);
	CHECK_INT(ie_model_open(&host, install.out_path, &merged, &err), IE_OK);
	ie_model_get_info(merged, &info);
	CHECK_STR(info.pooling, "daap");
	CHECK_INT(info.lookahead_count, 3);
	ie_trainer_free(other);
	other = NULL;
	CHECK_INT(ie_trainer_create(&host, merged, &config, &other, &err), IE_INVALID);
	CHECK_STR(err.message, "model has an adapter merged into it");

	ie_model_close(merged);
	trainer->params[5] = 1e30f;
	unlink(path);
	CHECK_INT(ie_trainer_write_adapter(trainer, path, &err), IE_NUMERIC);
	CHECK_INT(file_bytes(path), -1);
	ie_trainer_free(trainer);
	ie_model_close(model);
	scratch_close(&files);
	CHECK_INT(state.n_live, 0);
}

/* Generation alone: no look-ahead vectors, no embeddings; resumed to the same bits. */
static void
test_generation(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_model   *model = train_model(&host);
	ie_model   *merged = NULL;
	ie_model_info info;
	ie_train_config config = train_config_generation();
	ie_trainer *whole;
	ie_trainer *second;
	ie_train_progress first;
	ie_train_progress last = {0};
	ie_error	err = {0};
	scratch		files;
	const char *path;
	ie_install_request install = {.base_path = train_model_path};

	scratch_open(&files);
	path = scratch_path(&files, "checkpoint");
	install.adapter_path = scratch_path(&files, "adapter.gguf");
	install.out_path = scratch_path(&files, "merged.gguf");
	config.n_steps = 20;
	config.dropout = 0.1;
	config.n_threads = 2;
	whole = train_open(&host, model, &config);
	second = train_open(&host, model, &config);
	CHECK_INT(whole->shape.n_params, whole->shape.lookahead);
	first = step(whole);
	CHECK_NEAR(first.loss, first.generation, 1e-9);
	CHECK_INT(first.answer == 0 && first.ce == 0, 1);
	CHECK_INT(ie_trainer_save(whole, path, &err), IE_OK);
	CHECK_INT(ie_trainer_load(second, path, &err), IE_OK);
	for (int i = 1; i < 20; i++)
	{
		last = step(whole);
		step(second);
	}
	CHECK(last.generation < first.generation / 2);
	CHECK(last.accuracy > first.accuracy + 0.3);
	CHECK(same_params(whole, second));

	CHECK_INT(ie_trainer_write_adapter(whole, install.adapter_path, &err), IE_OK);
	CHECK_INT(ie_install(&host, &install, &err), IE_OK);
	CHECK_INT(ie_model_open(&host, install.out_path, &merged, &err), IE_OK);
	ie_model_get_info(merged, &info);
	CHECK_STR(info.pooling, "generate");
	CHECK_INT(info.lookahead_count, 0);
	ie_model_close(merged);
	ie_trainer_free(second);
	ie_trainer_free(whole);
	ie_model_close(model);
	scratch_close(&files);
	CHECK_INT(state.n_live, 0);
}

/* Tokens come from the vocabulary head, which need not be the embedding table. */
static void
test_head(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	const model_spec spec = model_spec_default();
	ie_train_config config = train_config_generation();
	double		loss[2];
	ie_error	err = {0};

	config.max_row_tokens = 250;
	for (int tied = 0; tied < 2; tied++)
	{
		ie_model   *model = mb_open(&host, &spec, &err);
		ie_trainer *trainer;

		CHECK(model->weights.output.data != model->weights.token_embd.data);
		if (tied)
			model->weights.output = model->weights.token_embd;
		trainer = train_open(&host, model, &config);
		loss[tied] = step(trainer).loss;
		ie_trainer_free(trainer);
		ie_model_close(model);
	}
	CHECK(fabs(loss[0] - loss[1]) > 0.01);
	CHECK_INT(state.n_live, 0);
}

static void
test_refusals(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_model   *model = train_model(&host);
	const ie_train_config config = train_config();
	ie_train_progress progress;
	ie_trainer *trainer = NULL;
	ie_error	err = {0};
	ie_code		code = IE_NOMEM;

	CHECK_INT(ie_trainer_create(&host, model, &config, &trainer, &err), IE_OK);
	CHECK_INT(ie_trainer_step(trainer, &progress, &err), IE_INVALID);
	CHECK_STR(err.message, "training needs at least 2 rows");
	train_add_rows(trainer);
	for (long n = 1; code == IE_NOMEM && n < 100; n++)
	{
		state.fail_at = state.n_allocs + n;
		code = ie_trainer_step(trainer, &progress, &err);
	}
	CHECK_INT(code, IE_OK);
	CHECK_INT(trainer->step, 1);
	trainer->params[0] = NAN;
	CHECK_INT(ie_trainer_step(trainer, &progress, &err), IE_NUMERIC);
	CHECK_INT(trainer->step, 1);
	ie_trainer_free(trainer);
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

int
main(void)
{
	test_learns();
	test_resume();
	test_cancel();
	test_budget();
	test_adapter();
	test_generation();
	test_head();
	test_refusals();
	return test_end("train");
}
