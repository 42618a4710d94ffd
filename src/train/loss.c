/*
 * loss.c
 *	  Storage and sum of the losses: see loss.h.
 */
#include "train/loss.h"

void
ie_loss_layout(const ie_loss_input *in, ie_arena *arena, ie_loss_scratch *scratch)
{
	const ie_train_config *c = in->config;
	const ie_train_shape *s = in->shape;
	const size_t N = in->rows.n;
	const size_t M = in->answers.n;
	const size_t n_sim = N * (N > M ? N : M) + 4 * s->C;	/* pooling uses the latter */
	const size_t n_slots = N * s->K > in->forced.n ? N * s->K : in->forced.n;
	const bool	logits = c->weight_kl > 0 || c->weight_ce > 0 || in->forced.n > 0;
	const size_t n_logits = logits ? IE_LOGIT_ROWS : 0;

	*scratch = (ie_loss_scratch)
	{
		.e = IE_TAKE(arena, (2 * N + M) * s->C, real),
		.de = IE_TAKE(arena, (2 * N + M) * s->C, real),
		.sim = IE_TAKE(arena, n_sim, real),
		.dsim = IE_TAKE(arena, n_sim, real),
		.slots = IE_TAKE(arena, n_slots, uint32_t),
		.golds = IE_TAKE(arena, N * s->K, int32_t),
		.h = IE_TAKE(arena, n_logits * s->C, real),
		.t = IE_TAKE(arena, n_logits * s->C, real),
		.logits = IE_TAKE(arena, n_logits * s->V, real),
		.logits_t = IE_TAKE(arena, (c->weight_kl > 0 ? n_logits : 0) * s->V, real),
		.dh = IE_TAKE(arena, c->n_threads * n_logits * s->C, real),
		.head = IE_TAKE(arena, c->n_threads * (logits ? IE_LOGIT_TOKENS : 0) * s->C, real)
	};
}

ie_code
ie_loss(const ie_loss_input *in, const ie_loss_scratch *scratch, ie_train_progress *progress,
		ie_error *err)
{
	const ie_train_config *c = in->config;

	if (in->rows.n > 0)
	{
		ie_loss_contrast(in, scratch, progress);
		IE_TRY(ie_loss_ahead(in, scratch, progress, err));
	}
	if (in->forced.n > 0)
		IE_TRY(ie_loss_generation(in, scratch, progress, err));
	progress->loss = c->weight_answer * progress->answer + c->weight_back * progress->back +
		c->weight_group * progress->group + c->weight_view * progress->view +
		c->weight_teacher * progress->teacher + c->weight_mse * progress->mse +
		c->weight_kl * progress->kl + c->weight_ce * progress->ce +
		c->weight_generation * progress->generation;
	return IE_OK;
}
