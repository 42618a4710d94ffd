/*
 * loss_ahead.c
 *	  Look-ahead distillation: h_1 .. h_K against the gold answer, by its states
 *	  in the frozen base (mse), by next-token distributions (kl), or by its tokens
 *	  (ce).
 */
#include "train/loss.h"
#include "train/vector.h"

/* |h - t|^2 / |t|^2, mean over the states that have a gold token */
static double
mse(const ie_loss_input *in, const uint32_t *slots, size_t n)
{
	const size_t C = in->shape->C;
	double		total = 0;

	for (size_t i = 0; i < n; i++)
	{
		const size_t at = slots[i] * C;
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

/* The look-ahead states that have a gold token; returns how many. */
static size_t
find_slots(const ie_loss_input *in, const ie_loss_scratch *scratch)
{
	const size_t K = in->shape->K;
	size_t		n = 0;

	for (size_t i = 0; i < in->rows.n; i++)
		for (size_t k = 0; k < K; k++)
		{
			const int32_t gold = in->gold[i * K + k];

			if (gold < 0)
				continue;
			scratch->slots[n] = (uint32_t) (i * (1 + K) + 1 + k);
			scratch->golds[n++] = gold;
		}
	return n;
}

ie_code
ie_loss_ahead(const ie_loss_input *in, const ie_loss_scratch *scratch,
			  ie_train_progress *progress, ie_error *err)
{
	const ie_train_config *c = in->config;
	ie_token_loss tokens = {
		.h = in->rows.h, .t = in->teacher, .dh = in->rows.dh,
		.slots = scratch->slots, .gold = scratch->golds, .n = find_slots(in, scratch),
		.weight_ce = c->weight_ce, .weight_kl = c->weight_kl
	};

	if (tokens.n == 0)
		return IE_OK;
	if (c->weight_mse > 0)
		progress->mse = mse(in, scratch->slots, tokens.n);
	if (c->weight_kl <= 0 && c->weight_ce <= 0)
		return IE_OK;
	IE_TRY(ie_loss_tokens(in, scratch, &tokens, err));
	progress->kl = tokens.kl;
	if (c->weight_ce > 0)
		progress->ce = tokens.ce;
	return IE_OK;
}
