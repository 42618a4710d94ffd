/*
 * loss_ahead.c
 *	  Look-ahead distillation: h_1 .. h_K against the gold answer, by its states
 *	  in the frozen base (mse), by next-token distributions (kl), or by its tokens
 *	  (ce).
 *
 * Logits are computed for IE_LOGIT_ROWS states at a time, in chunks of the
 * vocabulary whose rows are dequantised on the way, once for the logits and once
 * for their gradient.
 */
#include "base/parallel.h"
#include "train/loss.h"
#include "train/vector.h"

/* Offset of look-ahead state k (from 0) of row i, in elements; slot = i K + k */
static size_t
state_at(const ie_loss_input *in, size_t slot)
{
	const size_t K = in->shape->K;

	return (slot / K * (1 + K) + 1 + slot % K) * in->shape->C;
}

/* |h - t|^2 / |t|^2, mean over the states that have a gold token */
static double
mse(const ie_loss_input *in, const uint32_t *slots, size_t n)
{
	const size_t C = in->shape->C;
	double		total = 0;

	for (size_t i = 0; i < n; i++)
	{
		const size_t at = state_at(in, slots[i]);
		const real *h = in->rows.h + at;
		const real *t = in->teacher + at;
		real	   *dh = in->rows.dh + at;
		const double square = (double) ie_vec_dot(t, t, C) / (double) C;
		const double scale = 1 / ((square > 1e-6 ? square : 1e-6) * (double) (C * n));
		const real	factor = (real) (2 * in->config->weight_mse * scale);
		double		sum = 0;

		for (size_t c = 0; c < C; c++)
		{
			const real	d = h[c] - t[c];

			sum += (double) (d * d);
			dh[c] += factor * d;
		}
		total += sum * scale;
	}
	return total;
}

/* ------------------------------------------------------------------ logits */

/* Some states, and what is known of them */
typedef struct logits
{
	const ie_loss_input *in;
	const ie_loss_scratch *scratch;
	const uint32_t *slots;		/* [n] */
	size_t		n;
	size_t		n_all;			/* states of the batch: what means are over */
	double		ce;				/* sums */
	double		kl;
	real		ce_of[IE_LOGIT_ROWS];
	real		kl_of[IE_LOGIT_ROWS];
} logits;

/* Rows first .. of the vocabulary head, dequantised into the thread's buffer */
static ie_mat
vocabulary(const logits *task, size_t chunk, int thread)
{
	const ie_train_shape *s = task->in->shape;
	const size_t first = chunk * IE_LOGIT_TOKENS;
	const size_t n = s->V - first < IE_LOGIT_TOKENS ? s->V - first : IE_LOGIT_TOKENS;
	const ie_mat embd = ie_mat_of(task->scratch->embd + (size_t) thread * IE_LOGIT_TOKENS * s->C,
								  n, s->C);

	for (size_t i = 0; i < n; i++)
		ie_base_row(task->in->token_embd, first + i, embd.at + i * s->C);
	return embd;
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
		const ie_mat embd = vocabulary(task, i, thread);
		const size_t first = i * IE_LOGIT_TOKENS;

		ie_mul_bt(task->in->blas, 1, ie_mat_of(scratch->h, task->n, s->C), embd, 0,
				  ie_mat_columns(out, first, embd.rows));
		if (task->in->config->weight_kl > 0)
			ie_mul_bt(task->in->blas, 1, ie_mat_of(scratch->t, task->n, s->C), embd, 0,
					  ie_mat_columns(out_t, first, embd.rows));
	}
}

/* Losses of states, and logits to their gradients: (w_ce (P - gold) + w_kl (P - P_t)) / n */
static void
losses_of_rows(void *arg, size_t begin, size_t end, int thread)
{
	logits	   *task = arg;
	const ie_train_config *c = task->in->config;
	const size_t V = task->in->shape->V;
	const real	w_ce = (real) (c->weight_ce / (double) task->n_all);
	const real	w_kl = (real) (c->weight_kl / (double) task->n_all);

	(void) thread;
	for (size_t i = begin; i < end; i++)
	{
		real	   *x = task->scratch->logits + i * V;
		real	   *t = task->scratch->logits_t + i * V;
		const real	log_x = ie_vec_log_sum(x, V);
		const int32_t gold = task->in->gold[task->slots[i]];

		task->ce_of[i] = log_x - x[gold];
		task->kl_of[i] = c->weight_kl > 0 ?
			ie_vec_divergence(t, ie_vec_log_sum(t, V), x, log_x, V) : 0;
		ie_vec_exp(x, V, log_x, w_ce + w_kl);
		x[gold] -= w_ce;
		if (c->weight_kl > 0)
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
		const ie_mat embd = vocabulary(task, i, thread);

		ie_mul(task->in->blas, 1, ie_mat_columns(dlogits, i * IE_LOGIT_TOKENS, embd.rows), embd,
			   1, dh);
	}
}

static ie_code
logits_of_some(logits *task, ie_error *err)
{
	const ie_loss_input *in = task->in;
	const size_t C = in->shape->C;
	const size_t n_threads = in->config->n_threads;
	const size_t n_chunks = (in->shape->V + IE_LOGIT_TOKENS - 1) / IE_LOGIT_TOKENS;
	real	   *dh = task->scratch->dh;

	for (size_t i = 0; i < task->n; i++)
	{
		const size_t at = state_at(in, task->slots[i]);

		memcpy(task->scratch->h + i * C, in->rows.h + at, C * sizeof(real));
		if (in->config->weight_kl > 0)
			memcpy(task->scratch->t + i * C, in->teacher + at, C * sizeof(real));
	}
	memset(dh, 0, n_threads * IE_LOGIT_ROWS * C * sizeof(real));
	ie_parallel_for((int) n_threads, n_chunks, logits_of_chunks, task);
	IE_TRY(ie_poll(in->host, err));
	ie_parallel_for((int) n_threads, task->n, losses_of_rows, task);
	IE_TRY(ie_poll(in->host, err));
	ie_parallel_for((int) n_threads, n_chunks, gradients_of_chunks, task);
	for (size_t i = 0; i < task->n; i++)
	{
		task->ce += (double) task->ce_of[i];
		task->kl += (double) task->kl_of[i];
		for (size_t thread = 0; thread < n_threads; thread++)
			ie_vec_add(in->rows.dh + state_at(in, task->slots[i]),
					   dh + (thread * IE_LOGIT_ROWS + i) * C, C);
	}
	return ie_poll(in->host, err);
}

ie_code
ie_loss_ahead(const ie_loss_input *in, const ie_loss_scratch *scratch,
			  ie_train_progress *progress, ie_error *err)
{
	const ie_train_config *c = in->config;
	logits		task = {.in = in, .scratch = scratch};
	size_t		n = 0;

	for (size_t slot = 0; slot < in->rows.n * in->shape->K; slot++)
		if (in->gold[slot] >= 0)
			scratch->slots[n++] = (uint32_t) slot;
	if (n == 0)
		return IE_OK;
	if (c->weight_mse > 0)
		progress->mse = mse(in, scratch->slots, n);
	if (c->weight_kl <= 0 && c->weight_ce <= 0)
		return IE_OK;
	task.n_all = n;
	for (size_t i = 0; i < n; i += IE_LOGIT_ROWS)
	{
		task.slots = scratch->slots + i;
		task.n = n - i < IE_LOGIT_ROWS ? n - i : IE_LOGIT_ROWS;
		IE_TRY(logits_of_some(&task, err));
	}
	if (c->weight_kl > 0)
		progress->kl = task.kl / (double) n;
	if (c->weight_ce > 0)
		progress->ce = task.ce / (double) n;
	return IE_OK;
}
