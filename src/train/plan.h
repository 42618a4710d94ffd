/*
 * plan.h
 *	  A step's sequences and where everything lies in memory.
 *
 * Embeddings of the whole batch must be known before any gradient is, so a batch
 * is computed in micro-batches of which as many keep their tape as the memory
 * limit allows; the others are computed a second time when their gradients are
 * known (gradient caching; Gao et al. 2021).
 */
#ifndef IE_PLAN_H
#define IE_PLAN_H

#include "train/loss.h"
#include "train/trainer.h"

/* Sequences that are computed together: seqs[first .. first + n) */
typedef struct ie_micro
{
	size_t		first;
	size_t		n;
	size_t		n_rows;
	size_t		tape;			/* offset of its tape in the area for tapes */
	bool		kept;
} ie_micro;

/* Sequences, the longest first, and their micro-batches */
typedef struct ie_seq_list
{
	ie_train_seq *seqs;			/* [n] */
	size_t		n;
	ie_micro   *micros;			/* [n_micros] */
	size_t		n_micros;
} ie_seq_list;

typedef struct ie_plan
{
	ie_trainer *trainer;
	size_t		N;				/* rows */
	size_t		n_embedded;		/* N, or 0: no loss looks at embeddings or look-ahead */
	size_t		M;				/* distinct answers of these */
	size_t		n_views;		/* N or 0 */
	size_t		n_forced;		/* N or 0: rows that their answers follow, for generation */
	size_t		n_targets;		/* tokens of their answers */
	size_t		n_states;		/* of all students */
	bool		has_teacher;
	size_t		n_rows;			/* positions of all students */
	size_t		n_ids;			/* tokens: a row's input and answer, an answer alone */
	size_t		max_T;			/* of the longest sequence, of students and teachers */

	uint32_t   *rows;			/* [N] */
	uint32_t   *target;			/* [N] */
	uint32_t   *cluster;		/* [N] */
	uint32_t   *answer_row;		/* [N] a row that has answer j */
	int32_t    *gold;			/* [N, K] */
	int32_t    *ids;			/* of all sequences */
	ie_seq_list students;		/* rows, answers, views, forced rows */
	ie_seq_list teachers;		/* rows with their answers, through the frozen base */
	real	   *states;			/* [n_embedded + M + n_views, 1 + K, C], then [n_targets, C] */
	real	   *dstates;
	int32_t    *forced_gold;	/* [n_targets] */
	real	   *teacher_states; /* [N, 1 + K, C] */
	ie_loss_input loss;
	ie_loss_scratch loss_scratch;

	size_t		cap;			/* most rows of a micro-batch */
	ie_arena	scratch;		/* of a pass */
	ie_arena	shared;			/* tape of passes that keep none */
	ie_arena	tapes;			/* area for whole tapes */
} ie_plan;

/*
 * Draw the batch of the trainer's next step, describe its sequences, and place
 * everything in trainer->work, which is made larger where it must be.
 * Errors: IE_LIMIT, IE_NOMEM.
 */
ie_code		ie_plan_make(ie_trainer *trainer, ie_plan *plan, ie_error *err);

/* Give trainer->work back. */
void		ie_plan_release(ie_trainer *trainer);

#endif							/* IE_PLAN_H */
