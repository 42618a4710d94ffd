/*
 * step.c
 *	  One step of training: see plan.h for its memory, loss.h for what it is after.
 */
#include "math/kernels.h"
#include "train/optimizer.h"
#include "train/plan.h"

#include <math.h>

/* -------------------------------------------------------------------- passes */

static ie_train_pass
new_pass(const ie_plan *plan, const ie_seq_list *list, const ie_micro *micro)
{
	ie_trainer *t = plan->trainer;
	const bool	is_student = list == &plan->students;
	ie_train_pass pass = {
		.host = &t->budget.host, .blas = &t->blas, .shape = &t->shape, .base = &t->base,
		.params = is_student ? t->params : NULL, .gradients = t->gradients, .rope = t->rope,
		.dropout = is_student ? (real) t->config.dropout : 0,
		.seqs = list->seqs + micro->first, .n_seqs = micro->n, .n_lanes = t->config.n_threads,
		.tapes = t->tapes
	};

	ie_pass_arrange(&pass);
	return pass;
}

/* Give a pass its scratch, and a tape at the beginning of area + offset. */
static void
place_pass(const ie_plan *plan, ie_train_pass *pass, const ie_arena *area, size_t offset,
		   bool whole)
{
	const ie_train_shape *s = pass->shape;
	ie_arena	scratch = {plan->scratch.base, plan->scratch.size, 0, false};
	ie_arena	tape = {area->base + offset, area->size - offset, 0, false};

	ie_scratch_layout(s, pass->n_rows, pass->max_T, pass->n_lanes, &scratch, &pass->scratch);
	ie_tape_layout(s, pass->n_rows, whole, &tape, pass->tapes);
}

/* All states; tapes are kept where the plan says so. */
static ie_code
forward(const ie_plan *plan, const ie_seq_list *list, ie_error *err)
{
	for (size_t i = 0; i < list->n_micros; i++)
	{
		const ie_micro *micro = &list->micros[i];
		ie_train_pass pass = new_pass(plan, list, micro);

		if (micro->kept)
			place_pass(plan, &pass, &plan->tapes, micro->tape, true);
		else
			place_pass(plan, &pass, &plan->shared, 0, false);
		IE_TRY(ie_pass_forward(&pass, err));
	}
	return IE_OK;
}

/* Gradients: first from the tapes kept, then, in their place, from tapes made again */
static ie_code
backward(const ie_plan *plan, ie_error *err)
{
	const ie_seq_list *list = &plan->students;

	for (size_t i = 0; i < list->n_micros; i++)
	{
		const ie_micro *micro = &list->micros[i];
		ie_train_pass pass = new_pass(plan, list, micro);

		place_pass(plan, &pass, &plan->tapes, micro->kept ? micro->tape : 0, true);
		if (!micro->kept)
			IE_TRY(ie_pass_forward(&pass, err));
		IE_TRY(ie_pass_backward(&pass, err));
	}
	return IE_OK;
}

/* --------------------------------------------------------------- preparation */

/* cos and sin of every position that can occur */
static ie_code
prepare_rope(ie_trainer *t, ie_error *err)
{
	const ie_config *c = &t->model->config;
	const size_t D = c->head_dim;
	const size_t n_answer = ie_pool_len(&t->rows.pool, t->rows.empty_prefix) +
		ie_pool_len(&t->rows.pool, t->rows.empty_suffix) + t->config.max_answer_tokens + t->shape.K;
	const size_t n = n_answer > t->config.max_row_tokens ? n_answer : t->config.max_row_tokens;
	float		angles[IE_MAX_HEAD_DIM];
	void	   *memory;

	IE_TRY(ie_budget_take(&t->budget, "positions", n * D * sizeof(real), &memory, err));
	t->rope = memory;
	for (size_t i = 0; i < n; i++)
	{
		ie_rope_table((uint32_t) i, c->rope_theta, D, angles, angles + D / 2);
		for (size_t d = 0; d < D; d++)
			t->rope[i * D + d] = (real) angles[d];
	}
	return IE_OK;
}

/* What is known when all rows have been added */
static ie_code
prepare(ie_trainer *t, ie_error *err)
{
	const size_t N = t->rows.n < t->config.batch_size ? t->rows.n : t->config.batch_size;
	void	   *memory;

	if (t->rows.n < 2)
		return ie_fail(err, IE_INVALID, "training needs at least 2 rows");
	if (t->tapes == NULL)
	{
		IE_TRY(ie_budget_take(&t->budget, "tapes", (t->shape.L + 1) * sizeof(ie_tape), &memory,
							  err));
		t->tapes = memory;
	}
	if (t->rope == NULL)
		IE_TRY(prepare_rope(t, err));
	if (t->batch == NULL)
	{
		IE_TRY(ie_budget_take(&t->budget, "a batch", (4 + t->shape.K) * N * sizeof(uint32_t),
							  &memory, err));
		t->batch = memory;
		t->n_batch = N;
	}
	if (t->batches.memory == NULL)
		IE_TRY(ie_batches_init(&t->batches, &t->rows, &t->budget, err));
	return IE_OK;
}

/* ---------------------------------------------------------------------- step */

/* Losses and gradients of the next step's batch; parameters stay as they are. */
static ie_code
compute(ie_trainer *t, ie_plan *plan, ie_train_progress *progress, ie_error *err)
{
	const ie_train_shape *s = &t->shape;

	IE_TRY(ie_plan_make(t, plan, err));
	memset(t->gradients, 0, t->config.n_threads * s->n_params * sizeof(real));
	memset(plan->dstates, 0, plan->n_states * s->C * sizeof(real));
	IE_TRY(forward(plan, &plan->teachers, err));
	IE_TRY(forward(plan, &plan->students, err));
	IE_TRY(ie_loss(&plan->loss, &plan->loss_scratch, progress, err));
	return backward(plan, err);
}

ie_code
ie_trainer_step(ie_trainer *trainer, ie_train_progress *progress, ie_error *err)
{
	const ie_train_config *c = &trainer->config;
	ie_train_progress p = {.n_steps = c->n_steps};
	ie_plan		plan = {0};
	double		factor = 1;

	if (trainer->step >= c->n_steps)
		return ie_fail(err, IE_INVALID, "training is complete");
	IE_TRY(prepare(trainer, err));
	IE_TRY(compute(trainer, &plan, &p, err));
	p.gradient_norm = ie_gradient_norm(trainer);
	p.learning_rate = ie_learning_rate(c, trainer->step);
	if (!isfinite(p.loss) || !isfinite(p.gradient_norm))
	{
		ie_fail(err, IE_NUMERIC, "loss or gradient of training step %u is not finite",
				trainer->step + 1);
		return ie_hint(err, "Use a lower learning rate.");
	}
	if (c->clip_norm > 0 && p.gradient_norm > c->clip_norm)
		factor = c->clip_norm / (p.gradient_norm + 1e-6);
	ie_adamw(trainer, factor, p.learning_rate);
	p.step = ++trainer->step;
	p.n_rows = plan.N;
	p.n_tokens = plan.n_rows;
	*progress = p;
	return IE_OK;
}
