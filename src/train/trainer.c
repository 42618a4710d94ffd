/*
 * trainer.c
 *	  Settings, and the life of a trainer.
 */
#include "train/trainer.h"
#include "base/bytes.h"
#include "base/parallel.h"
#include "model/packed.h"
#include "train/optimizer.h"
#include "train/plan.h"

#include <math.h>
#include <stdio.h>

/* OpenBLAS's own buffers, which no budget sees */
#define BLAS_BYTES ((size_t) 64 << 20)

/* ---------------------------------------------------------------- settings */

void
ie_train_config_default(ie_train_config *config)
{
	*config = (ie_train_config)
	{
		.n_steps = 500, .batch_size = 32, .rank = 32, .alpha = 32, .lookahead_count = 8,
		.pooling = "daap", .contrast = IE_CONTRAST_DAAP,
		.learning_rate = 4e-4, .warmup = 0.05, .clip_norm = 1.0, .temperature = 0.05,
		.weight_answer = 1.0, .weight_back = 0.5, .weight_group = 1.0, .weight_ce = 0.1,
		.max_row_tokens = 512, .max_answer_tokens = 40,
		.seed = 1, .max_bytes = (size_t) 2000 << 20, .n_threads = 1
	};
}

/* A setting and the range it must lie in */
typedef struct setting
{
	const char *name;
	double		value;
	double		min;
	double		max;
} setting;

static ie_code
check_ranges(const ie_train_config *c, uint32_t n_ctx, ie_error *err)
{
	const setting settings[] = {
		{"steps", c->n_steps, 1, 1e9},
		{"batch_size", c->batch_size, 2, 65536},
		{"rank", c->rank, 1, 256},
		{"alpha", c->alpha, 1e-3, 1e5},
		{"lookahead_count", c->lookahead_count, 0, 64},
		{"learning_rate", c->learning_rate, 0, 1},
		{"warmup", c->warmup, 0, 1},
		{"weight_decay", c->weight_decay, 0, 1},
		{"clip_norm", c->clip_norm, 0, 1e9},
		{"temperature", c->temperature, 1e-3, 100},
		{"dropout", c->dropout, 0, 0.9},
		{"weight_answer", c->weight_answer, 0, 1e6},
		{"weight_back", c->weight_back, 0, 1e6},
		{"weight_group", c->weight_group, 0, 1e6},
		{"weight_view", c->weight_view, 0, 1e6},
		{"weight_teacher", c->weight_teacher, 0, 1e6},
		{"weight_mse", c->weight_mse, 0, 1e6},
		{"weight_kl", c->weight_kl, 0, 1e6},
		{"weight_ce", c->weight_ce, 0, 1e6},
		{"weight_generation", c->weight_generation, 0, 1e6},
		{"max_row_tokens", c->max_row_tokens, 0, n_ctx},
		{"max_answer_tokens", c->max_answer_tokens, 1, n_ctx},
		{"threads", c->n_threads, 1, IE_MAX_THREADS},
	};

	for (size_t i = 0; i < IE_LENGTH(settings); i++)
		if (!(settings[i].value >= settings[i].min && settings[i].value <= settings[i].max))
		{
			ie_fail(err, IE_INVALID, "training setting \"%s\" is out of range", settings[i].name);
			return ie_detail(err, "It is %g, allowed is %g to %g.", settings[i].value,
							 settings[i].min, settings[i].max);
		}
	return IE_OK;
}

/* Settings that only make sense together */
static ie_code
check_combination(const ie_train_config *c, ie_pooling pooling, ie_error *err)
{
	const double contrasts = c->weight_answer + c->weight_back + c->weight_group + c->weight_view;
	const double aheads = c->weight_mse + c->weight_kl + c->weight_ce;

	if (!ie_loss_embeds(c) && c->weight_generation <= 0)
		return ie_fail(err, IE_INVALID, "all losses are switched off");
	if (!ie_loss_embeds(c) && c->lookahead_count > 0)
	{
		ie_fail(err, IE_INVALID, "loss \"generation\" alone trains no look-ahead vectors");
		ie_detail(err, "Their number is %u.", c->lookahead_count);
		return ie_hint(err, "Set it to 0, or add a loss that uses them.");
	}
	if (contrasts > 0 && (c->contrast == 0 || c->contrast >= 2 * IE_CONTRAST_DAAP))
		return ie_fail(err, IE_INVALID, "no pooling is chosen for the contrastive losses");
	if (c->weight_view > 0 && c->dropout == 0)
	{
		ie_fail(err, IE_INVALID, "loss \"view\" needs dropout");
		return ie_detail(err, "Without it both views are the same.");
	}
	if (c->lookahead_count == 0 &&
		(aheads > 0 || pooling == IE_POOL_LOOKAHEAD || pooling == IE_POOL_DAAP ||
		 (ie_loss_embeds(c) && c->contrast != IE_CONTRAST_LAST)))
	{
		ie_fail(err, IE_INVALID, "look-ahead vectors are asked for, but their number is 0");
		return ie_detail(err, "Pooling and contrast by \"lookahead\" and \"daap\" and the losses "
						 "\"mse\", \"kl\" and \"ce\" need them.");
	}
	return IE_OK;
}

static ie_code
find_pooling(const char *name, ie_pooling *pooling, ie_error *err)
{
	for (int i = IE_POOL_LAST; i <= IE_POOL_GENERATE_MEAN; i++)
		if (strcmp(name, ie_pooling_name((ie_pooling) i)) == 0)
		{
			*pooling = (ie_pooling) i;
			return IE_OK;
		}
	return ie_fail(err, IE_INVALID, "pooling \"%s\" does not exist", name);
}

static ie_code
check_model(const ie_model *model, ie_error *err)
{
	if (model->config.arch != &ie_arch_llama)
	{
		ie_fail(err, IE_UNSUPPORTED, "models of architecture \"%s\" cannot be trained",
				model->config.arch->name);
		return ie_detail(err, "The supported architecture is \"%s\".", ie_arch_llama.name);
	}
	if (model->info.adapter_sha256[0] != '\0' || model->definition.lookahead_count > 0)
	{
		ie_fail(err, IE_INVALID, "model has an adapter merged into it");
		return ie_hint(err, "Train on its base model; an adapter can be gone on from.");
	}
	if (ie_is_packed(&model->file))
	{
		ie_fail(err, IE_INVALID, "model is packed");
		return ie_hint(err, "Train on the file that it was installed from.");
	}
	return IE_OK;
}

static ie_code
check(const ie_model *model, ie_train_config *config, ie_pooling *pooling, ie_error *err)
{
	IE_TRY(check_model(model, err));
	IE_TRY(check_ranges(config, model->config.n_ctx, err));
	IE_TRY(find_pooling(config->pooling, pooling, err));
	IE_TRY(check_combination(config, *pooling, err));
	if (config->max_row_tokens == 0)
		config->max_row_tokens = model->config.n_ctx;
	return IE_OK;
}

/* -------------------------------------------------------------- parameters */

/* A: uniform, variance 1 / (3 n_in).  B stays 0, so that training begins at the base. */
static void
init_blocks(const ie_train_shape *s, ie_random *random, real *params)
{
	for (size_t l = 0; l < s->L; l++)
		for (size_t i = 0; i < IE_N_LINEAR; i++)
		{
			const ie_linear *linear = &s->linear[i];
			const double bound = 1.0 / sqrt((double) linear->n_in);
			real	   *a = params + l * s->block_params + linear->a;

			for (size_t j = 0; j < linear->n_parts * s->r * linear->n_in; j++)
				a[j] = (real) ((2.0 * ie_random_unit(random) - 1.0) * bound);
		}
}

/* Look-ahead vectors: normal, with the mean and variance of the token embeddings */
static ie_code
init_lookahead(const ie_trainer *t, ie_random *random, ie_error *err)
{
	const size_t C = t->shape.C;
	const ie_matrix *embd = &t->model->weights.token_embd;
	real	   *ahead = t->params + t->shape.lookahead;
	real	   *row = t->moment1;	/* scratch: [C], then sums [2, C] behind it */
	real	   *sum = row + C;
	real	   *square = sum + C;

	if (t->shape.K == 0)
		return IE_OK;
	for (size_t v = 0; v < t->shape.V; v++)
	{
		ie_base_row(embd, v, row);
		for (size_t c = 0; c < C; c++)
		{
			sum[c] += row[c];
			square[c] += row[c] * row[c];
		}
		if (v % 4096 == 0)
			IE_TRY(ie_poll(&t->budget.host, err));
	}
	for (size_t c = 0; c < C; c++)
	{
		const double mean = (double) sum[c] / (double) t->shape.V;
		const double variance = (double) square[c] / (double) t->shape.V - mean * mean;

		for (size_t k = 0; k < t->shape.K; k++)
			ahead[k * C + c] = (real) (mean + sqrt(variance > 0 ? variance : 0) *
									   ie_random_normal(random));
	}
	memset(t->moment1, 0, 3 * C * sizeof(real));
	return IE_OK;
}

/* Parameters, gradients and moments in one piece */
static ie_code
create_params(ie_trainer *t, ie_error *err)
{
	const size_t n = t->shape.n_params;
	const size_t copies = 3 + t->config.n_threads;
	const size_t n_squares = ie_optimizer_squares(n);
	ie_random	random = {ie_random_key(t->config.seed, IE_RANDOM_PARAMS), 0};
	void	   *memory;

	IE_TRY(ie_budget_take(&t->budget, "parameters", n_squares * sizeof(double), &memory, err));
	t->squares = memory;
	IE_TRY(ie_budget_take(&t->budget, "parameters", copies * n * sizeof(real), &memory, err));
	memset(memory, 0, copies * n * sizeof(real));
	t->params = memory;
	t->moment1 = t->params + n;
	t->moment2 = t->moment1 + n;
	t->gradients = t->moment2 + n;
	init_blocks(&t->shape, &random, t->params);
	return init_lookahead(t, &random, err);
}

/* -------------------------------------------------------------------- life */

static ie_code
create(ie_trainer *t, ie_error *err)
{
	const ie_train_config *c = &t->config;
	const ie_rows_limits limits = {
		.max_row_tokens = c->max_row_tokens, .max_answer_tokens = c->max_answer_tokens,
		.lookahead_count = c->lookahead_count, .truncate = c->truncate
	};

	IE_TRY(ie_blas_open(&t->blas, err));
	IE_TRY(ie_model_verify(t->model, t->base_sha256, err));
	ie_shape_init(&t->model->config, c->rank, c->lookahead_count, c->alpha, &t->shape);
	IE_TRY(ie_base_init(&t->base, t->model, &t->shape, &t->budget, (int) c->n_threads, err));
	IE_TRY(create_params(t, err));
	return ie_rows_init(&t->rows, t->model, &t->budget, &limits, err);
}

ie_code
ie_trainer_create(const ie_host *host, const ie_model *model, const ie_train_config *config,
				  ie_trainer **trainer, ie_error *err)
{
	ie_train_config checked = *config;
	ie_pooling	pooling = IE_POOL_LAST;
	ie_trainer *t;
	ie_code		code;

	IE_TRY(check(model, &checked, &pooling, err));
	if (checked.max_bytes <= BLAS_BYTES)
		return ie_fail(err, IE_LIMIT, "training needs more memory than its limit of %zu bytes",
					   checked.max_bytes);
	t = ie_alloc0(host, sizeof(*t));
	if (t == NULL)
		return ie_nomem(err, sizeof(*t));
	t->outer = host;
	t->model = model;
	t->config = checked;
	t->config.pooling = ie_pooling_name(pooling);
	t->pooling = pooling;
	ie_budget_init(&t->budget, host, checked.max_bytes - BLAS_BYTES);
	code = create(t, err);
	if (code != IE_OK)
	{
		ie_trainer_free(t);
		return code;
	}
	*trainer = t;
	return IE_OK;
}

void
ie_trainer_free(ie_trainer *trainer)
{
	if (trainer == NULL)
		return;
	ie_rows_deinit(&trainer->rows);
	ie_release(&trainer->budget.host, trainer->base.blocks);
	ie_release(&trainer->budget.host, trainer->squares);
	ie_release(&trainer->budget.host, trainer->params);
	ie_release(&trainer->budget.host, trainer->batches.memory);
	ie_release(&trainer->budget.host, trainer->batch);
	ie_release(&trainer->budget.host, trainer->rope);
	ie_release(&trainer->budget.host, trainer->tapes);
	ie_plan_release(trainer);
	ie_release(trainer->outer, trainer);
}

uint32_t
ie_trainer_steps_done(const ie_trainer *trainer)
{
	return trainer->step;
}

size_t
ie_trainer_bytes(const ie_trainer *trainer, size_t *peak)
{
	if (peak != NULL)
		*peak = trainer->budget.peak;
	return trainer->budget.used;
}

ie_code
ie_trainer_add(ie_trainer *trainer, const ie_triple *rows, size_t n, size_t *n_added,
			   ie_error *err)
{
	size_t		unwanted;

	if (n_added == NULL)
		n_added = &unwanted;
	*n_added = 0;
	if (trainer->batches.memory != NULL)
		return ie_fail(err, IE_INVALID, "rows cannot be added once training has begun");
	for (; *n_added < n; ++*n_added)
	{
		if (*n_added % 64 == 0)
			IE_TRY(ie_poll(&trainer->budget.host, err));
		IE_TRY(ie_rows_add(&trainer->rows, &rows[*n_added], err));
	}
	return IE_OK;
}
