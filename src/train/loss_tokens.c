/*
 * loss_tokens.c
 *	  States against tokens, by way of next-token distributions; and the loss that
 *	  is nothing else, generation.
 *
 * Logits are computed for IE_LOGIT_ROWS states at a time, in chunks of the
 * vocabulary whose rows are dequantised on the way, once for the logits and once
 * for their gradient.
 */
#include "base/parallel.h"
#include "train/loss.h"
#include "train/vector.h"

/* Some of a loss's states, and what is known of them */
typedef struct logits
{
	const ie_loss_input *in;
	const ie_loss_scratch *scratch;
	const ie_token_loss *loss;
	size_t		first;			/* of the loss's slots */
	size_t		n;
	real		ce[IE_LOGIT_ROWS];
	real		kl[IE_LOGIT_ROWS];
	bool		hit[IE_LOGIT_ROWS];
} logits;

/* Where state number i of them lies in the loss's h, t and dh */
static size_t
state_at(const logits *task, size_t i)
{
	return task->loss->slots[task->first + i] * task->in->shape->C;
}

/* Rows first .. of the vocabulary head, dequantised into the thread's buffer */
static ie_mat
vocabulary(const logits *task, size_t chunk, int thread)
{
	const ie_train_shape *s = task->in->shape;
	const size_t first = chunk * IE_LOGIT_TOKENS;
	const size_t n = s->V - first < IE_LOGIT_TOKENS ? s->V - first : IE_LOGIT_TOKENS;
	const ie_mat head = ie_mat_of(task->scratch->head + (size_t) thread * IE_LOGIT_TOKENS * s->C,
								  n, s->C);

	for (size_t i = 0; i < n; i++)
		ie_base_row(task->in->output, first + i, head.at + i * s->C);
	return head;
}

static void
logits_of_chunks(void *arg, size_t begin, size_t end, int thread)
{
	const logits *task = arg;
	const ie_train_shape *s = task->in->shape;
	const ie_loss_scratch *scratch = task->scratch;
	const ie_mat out = ie_mat_of(scratch->logits, task->n, s->V);
	const ie_mat out_t = ie_mat_of(scratch->logits_t, task->n, s->V);

	for (size_t i = begin; i < end; i++)
	{
		const ie_mat head = vocabulary(task, i, thread);
		const size_t first = i * IE_LOGIT_TOKENS;

		ie_mul_bt(task->in->blas, 1, ie_mat_of(scratch->h, task->n, s->C), head, 0,
				  ie_mat_columns(out, first, head.rows));
		if (task->loss->weight_kl > 0)
			ie_mul_bt(task->in->blas, 1, ie_mat_of(scratch->t, task->n, s->C), head, 0,
					  ie_mat_columns(out_t, first, head.rows));
	}
}

static bool
is_highest(const real *x, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++)
		if (x[i] > x[at])
			return false;
	return true;
}

/* Losses of states, and logits to their gradients: (w_ce (P - gold) + w_kl (P - P_t)) / n */
static void
losses_of_rows(void *arg, size_t begin, size_t end, int thread)
{
	logits	   *task = arg;
	const ie_token_loss *loss = task->loss;
	const size_t V = task->in->shape->V;
	const real	w_ce = (real) (loss->weight_ce / (double) loss->n);
	const real	w_kl = (real) (loss->weight_kl / (double) loss->n);

	(void) thread;
	for (size_t i = begin; i < end; i++)
	{
		real	   *x = task->scratch->logits + i * V;
		real	   *t = task->scratch->logits_t + i * V;
		const real	log_x = ie_vec_log_sum(x, V);
		const size_t gold = (size_t) loss->gold[task->first + i];

		task->hit[i] = is_highest(x, V, gold);
		task->ce[i] = log_x - x[gold];
		task->kl[i] = loss->weight_kl > 0 ?
			ie_vec_divergence(t, ie_vec_log_sum(t, V), x, log_x, V) : 0;
		ie_vec_exp(x, V, log_x, w_ce + w_kl);
		x[gold] -= w_ce;
		if (loss->weight_kl > 0)
			ie_vec_add_scaled(x, t, -w_kl, V);
	}
}

static void
gradients_of_chunks(void *arg, size_t begin, size_t end, int thread)
{
	const logits *task = arg;
	const ie_train_shape *s = task->in->shape;
	const ie_mat dlogits = ie_mat_of(task->scratch->logits, task->n, s->V);
	const ie_mat dh = ie_mat_of(task->scratch->dh + (size_t) thread * IE_LOGIT_ROWS * s->C,
								task->n, s->C);

	for (size_t i = begin; i < end; i++)
	{
		const ie_mat head = vocabulary(task, i, thread);

		ie_mul(task->in->blas, 1, ie_mat_columns(dlogits, i * IE_LOGIT_TOKENS, head.rows), head,
			   1, dh);
	}
}

static ie_code
logits_of_some(logits *task, ie_error *err)
{
	const ie_loss_input *in = task->in;
	const ie_token_loss *loss = task->loss;
	const size_t C = in->shape->C;
	const size_t n_threads = in->config->n_threads;
	const size_t n_chunks = (in->shape->V + IE_LOGIT_TOKENS - 1) / IE_LOGIT_TOKENS;
	real	   *dh = task->scratch->dh;

	for (size_t i = 0; i < task->n; i++)
	{
		memcpy(task->scratch->h + i * C, loss->h + state_at(task, i), C * sizeof(real));
		if (loss->weight_kl > 0)
			memcpy(task->scratch->t + i * C, loss->t + state_at(task, i), C * sizeof(real));
	}
	memset(dh, 0, n_threads * IE_LOGIT_ROWS * C * sizeof(real));
	ie_parallel_for((int) n_threads, n_chunks, logits_of_chunks, task);
	IE_TRY(ie_poll(in->host, err));
	ie_parallel_for((int) n_threads, task->n, losses_of_rows, task);
	IE_TRY(ie_poll(in->host, err));
	ie_parallel_for((int) n_threads, n_chunks, gradients_of_chunks, task);
	for (size_t i = 0; i < task->n; i++)
		for (size_t thread = 0; thread < n_threads; thread++)
			ie_vec_add(loss->dh + state_at(task, i), dh + (thread * IE_LOGIT_ROWS + i) * C, C);
	return ie_poll(in->host, err);
}

ie_code
ie_loss_tokens(const ie_loss_input *in, const ie_loss_scratch *scratch, ie_token_loss *loss,
			   ie_error *err)
{
	logits		task = {.in = in, .scratch = scratch, .loss = loss};
	double		ce = 0;
	double		kl = 0;
	size_t		hits = 0;

	for (; task.first < loss->n; task.first += IE_LOGIT_ROWS)
	{
		const size_t left = loss->n - task.first;

		task.n = left < IE_LOGIT_ROWS ? left : IE_LOGIT_ROWS;
		IE_TRY(logits_of_some(&task, err));
		for (size_t i = 0; i < task.n; i++)
		{
			ce += (double) task.ce[i];
			kl += (double) task.kl[i];
			hits += task.hit[i];
		}
	}
	loss->ce = ce / (double) loss->n;
	loss->kl = kl / (double) loss->n;
	loss->accuracy = (double) hits / (double) loss->n;
	return IE_OK;
}

ie_code
ie_loss_generation(const ie_loss_input *in, const ie_loss_scratch *scratch,
				   ie_train_progress *progress, ie_error *err)
{
	ie_token_loss tokens = {
		.h = in->forced.h, .dh = in->forced.dh, .slots = scratch->slots,
		.gold = in->forced_gold, .n = in->forced.n,
		.weight_ce = in->config->weight_generation
	};

	for (size_t i = 0; i < tokens.n; i++)
		scratch->slots[i] = (uint32_t) i;
	IE_TRY(ie_loss_tokens(in, scratch, &tokens, err));
	progress->generation = tokens.ce;
	if (in->rows.n == 0)
		progress->accuracy = tokens.accuracy;
	return IE_OK;
}
