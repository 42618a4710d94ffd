/*
 * loss.h
 *	  The losses of a batch and their gradients with respect to final states
 *	  (InstEmb; DESIGN.md 1, instemb.h).
 *
 * A sequence has S = 1 + K states: at its last input token and at the look-ahead
 * vectors.  Gradients of the weighted sum are added to what is there.
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
	const ie_matrix *token_embd;	/* [V, C], also the vocabulary head */
} ie_loss_input;

/* Scratch of both parts */
typedef struct ie_loss_scratch
{
	real	   *e;				/* [N + M + N, C] pooled states */
	real	   *de;				/* of them */
	real	   *sim;			/* [N, max(N, M)] similarities; before and after them [4, C] */
	real	   *dsim;			/* [N, max(N, M)] gradients of them */

	/* of a chunk of look-ahead states, and of a chunk of the vocabulary */
	real	   *h;				/* [IE_LOGIT_ROWS, C] */
	real	   *t;				/* [IE_LOGIT_ROWS, C] the teacher's */
	real	   *logits;			/* [IE_LOGIT_ROWS, V] */
	real	   *logits_t;		/* [IE_LOGIT_ROWS, V] */
	real	   *dh;				/* [n_threads, IE_LOGIT_ROWS, C] */
	real	   *embd;			/* [n_threads, IE_LOGIT_TOKENS, C] */
	uint32_t   *slots;			/* [N K] look-ahead states that have a gold token: row K + k */
} ie_loss_scratch;

#define IE_LOGIT_ROWS 256
#define IE_LOGIT_TOKENS 1024

void		ie_loss_layout(const ie_loss_input *in, ie_arena *arena, ie_loss_scratch *scratch);

/* Fill the losses and accuracy of *progress, the weighted sum included.  Errors: IE_CANCELED. */
ie_code		ie_loss(const ie_loss_input *in, const ie_loss_scratch *scratch,
					ie_train_progress *progress, ie_error *err);

/* The two parts of it */
void		ie_loss_contrast(const ie_loss_input *in, const ie_loss_scratch *scratch,
							 ie_train_progress *progress);
ie_code		ie_loss_ahead(const ie_loss_input *in, const ie_loss_scratch *scratch,
						  ie_train_progress *progress, ie_error *err);

#endif							/* IE_LOSS_H */
