/*
 * loss.h
 *	  The losses of a batch and their gradients with respect to final states
 *	  (InstEmb; DESIGN.md 1, instemb.h).
 *
 * A sequence has S = 1 + K states: at its last input token and at the look-ahead
 * vectors.  Those of a row that its answer follows, "forced", are at the tokens
 * from which the answer's come.  Gradients of the weighted sum are added to what
 * is there.
 */
#ifndef IE_LOSS_H
#define IE_LOSS_H

#include "base/arena.h"
#include "train/base.h"

/* States of a group of sequences, and where their gradients go */
typedef struct ie_states
{
	size_t		n;
	const real *h;				/* [n, S, C] */
	real	   *dh;				/* [n, S, C] */
} ie_states;

typedef struct ie_loss_input
{
	const ie_train_config *config;
	const ie_train_shape *shape;
	const ie_blas *blas;
	const ie_host *host;
	ie_states	rows;			/* N */
	ie_states	answers;		/* M, the distinct ones */
	ie_states	views;			/* N, or n = 0: the rows under another dropout mask */
	const real *teacher;		/* [N, S, C]: at the last input token, then the answer's */
	const uint32_t *target;		/* [N] the row's answer, below M; the same for equal ones */
	const uint32_t *cluster;	/* [N] equal for equal instructions */
	const int32_t *gold;		/* [N, K] the answer's tokens, -1 where it has ended */
	ie_states	forced;			/* what an answer's tokens come from when it follows its row: [n, C] */
	const int32_t *forced_gold; /* [forced.n] those tokens */
	const ie_matrix *output;	/* [V, C] the vocabulary head */
} ie_loss_input;

/* Scratch of both parts */
typedef struct ie_loss_scratch
{
	real	   *e;				/* [N + M + N, C] pooled states */
	real	   *de;				/* of them */
	real	   *sim;			/* [N, max(N, M)] similarities; before and after them [4, C] */
	real	   *dsim;			/* [N, max(N, M)] gradients of them */

	/* of states whose tokens are looked at, of a chunk of them, and of a chunk of the vocabulary */
	uint32_t   *slots;			/* [max(N K, forced.n)] their numbers */
	int32_t    *golds;			/* [N K] tokens wanted of look-ahead states */
	real	   *h;				/* [IE_LOGIT_ROWS, C] */
	real	   *t;				/* [IE_LOGIT_ROWS, C] the teacher's */
	real	   *logits;			/* [IE_LOGIT_ROWS, V] */
	real	   *logits_t;		/* [IE_LOGIT_ROWS, V] */
	real	   *dh;				/* [n_threads, IE_LOGIT_ROWS, C] */
	real	   *head;			/* [n_threads, IE_LOGIT_TOKENS, C] */
} ie_loss_scratch;

#define IE_LOGIT_ROWS 256
#define IE_LOGIT_TOKENS 1024

/* Is there a loss that looks at embeddings or look-ahead, not at forced rows alone? */
static inline bool
ie_loss_embeds(const ie_train_config *c)
{
	return c->weight_answer + c->weight_back + c->weight_group + c->weight_view +
		c->weight_teacher + c->weight_mse + c->weight_kl + c->weight_ce > 0;
}

void		ie_loss_layout(const ie_loss_input *in, ie_arena *arena, ie_loss_scratch *scratch);

/* Fill the losses and accuracy of *progress, the weighted sum included.  Errors: IE_CANCELED. */
ie_code		ie_loss(const ie_loss_input *in, const ie_loss_scratch *scratch,
					ie_train_progress *progress, ie_error *err);

/* The three parts of it */
void		ie_loss_contrast(const ie_loss_input *in, const ie_loss_scratch *scratch,
							 ie_train_progress *progress);
ie_code		ie_loss_ahead(const ie_loss_input *in, const ie_loss_scratch *scratch,
						  ie_train_progress *progress, ie_error *err);
ie_code		ie_loss_generation(const ie_loss_input *in, const ie_loss_scratch *scratch,
							   ie_train_progress *progress, ie_error *err);

/* States against what tokens are wanted of them */
typedef struct ie_token_loss
{
	const real *h;				/* [.., C] */
	const real *t;				/* [.., C] the frozen base's, for kl */
	real	   *dh;				/* [.., C] gradients of h */
	const uint32_t *slots;		/* [n] which of h, t and dh */
	const int32_t *gold;		/* [n] the tokens */
	size_t		n;
	double		weight_ce;
	double		weight_kl;

	/* set: means over the n states */
	double		ce;				/* cross-entropy of the token */
	double		kl;				/* divergence from the distribution by t; 0 without a weight */
	double		accuracy;		/* share of tokens that were the likeliest */
} ie_token_loss;

/* Errors: IE_CANCELED. */
ie_code		ie_loss_tokens(const ie_loss_input *in, const ie_loss_scratch *scratch,
						   ie_token_loss *loss, ie_error *err);

#endif							/* IE_LOSS_H */
