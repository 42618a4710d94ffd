/*
 * pass.h
 *	  Sequences through the model, forward and backward.
 *
 * The rows of a pass are the positions of its sequences, without padding.  Each
 * sequence belongs to a lane, a thread's share: its rows are contiguous and are
 * taken through a block by that thread alone, with gradients of its own.  So
 * results depend on the number of lanes, not on timing.
 *
 * Use:
 *		fill the caller's part; ie_pass_arrange();
 *		ie_tape_layout(), ie_scratch_layout() into an arena;
 *		ie_pass_forward();					-- writes each sequence's states
 *		fill each sequence's dstates;
 *		ie_pass_backward();					-- adds to the gradients; needs a whole tape
 */
#ifndef IE_PASS_H
#define IE_PASS_H

#include "base/arena.h"
#include "base/parallel.h"
#include "train/base.h"

/* Rows of queries that attention takes at a time */
#define IE_QUERY_ROWS 64

/* A sequence: n_tokens tokens, then n_ahead look-ahead vectors */
typedef struct ie_train_seq
{
	const int32_t *ids;			/* [n_tokens] */
	uint32_t	n_tokens;
	uint32_t	n_ahead;		/* 0 or K */
	uint32_t	need;			/* first row whose state is wanted */
	uint32_t	n_need;			/* how many are */
	uint64_t	dropout;		/* key of its masks */
	real	   *states;			/* [n_need, C] after the output norm, written */
	const real *dstates;		/* [n_need, C] gradients of the loss */

	/* set by ie_pass_arrange() */
	uint32_t	lane;
	uint32_t	row0;			/* its first row in the pass */
} ie_train_seq;

static inline size_t
ie_train_seq_rows(const ie_train_seq *seq)
{
	return (size_t) seq->n_tokens + seq->n_ahead;
}

/* What a block's backward pass needs, [n_rows, ...] */
typedef struct ie_tape
{
	real	   *x;				/* [C] residual stream at the block's input */
	real	   *qkv;			/* [(H + 2 G) D] queries and keys rotated, values */
	real	   *att;			/* [H D] attention's output */
	real	   *mid;			/* [C] residual stream after attention */
	real	   *gate_up;		/* [2 F] */
	real	   *z;				/* [n_z] x A^T of each linear layer */
} ie_tape;

/* Scratch of a block, [n_rows, ...] */
typedef struct ie_scratch
{
	real	   *h;				/* [C] normed rows; backward: gradients of them */
	real	   *y;				/* [ie_scratch_y()] a projection's output */
	real	   *act;			/* [F] */
	real	   *dact;			/* [F] */
	real	   *wide;			/* [ie_scratch_wide()] gradients of gate_up, of qkv */
	real	   *dz;				/* [IE_MAX_PARTS r] */
	real	   *dx;				/* [C] gradient of the residual stream */
	real	   *scores;			/* [n_lanes, 2, IE_QUERY_ROWS, max_T] */
} ie_scratch;

/* Columns of y and wide, which hold rows of several widths in turn */
static inline size_t
ie_scratch_y(const ie_train_shape *s)
{
	return s->C > s->H * s->D ? s->C : s->H * s->D;
}

static inline size_t
ie_scratch_wide(const ie_train_shape *s)
{
	return 2 * s->F > ie_shape_qkv(s) ? 2 * s->F : ie_shape_qkv(s);
}

typedef struct ie_train_pass
{
	/* set by the caller */
	const ie_host *host;
	const ie_blas *blas;
	const ie_train_shape *shape;
	ie_base    *base;
	real	   *params;			/* [n_params], NULL = the frozen base alone */
	real	   *gradients;		/* [n_lanes, n_params], added to by the backward pass */
	const real *rope;			/* [positions, D]: cos [D / 2], sin [D / 2] */
	real		dropout;		/* p */
	ie_train_seq *seqs;			/* [n_seqs] */
	size_t		n_seqs;
	size_t		n_lanes;

	/* set by ie_pass_arrange() */
	size_t		n_rows;
	size_t		max_T;
	size_t		lane_row0[IE_MAX_THREADS + 1];	/* first row of each lane */

	/* storage, set by the caller */
	ie_tape    *tapes;			/* [L + 1]; of the last only x */
	ie_scratch	scratch;
} ie_train_pass;

/* Distribute the sequences over lanes: the longest first, each to the least loaded lane. */
void		ie_pass_arrange(ie_train_pass *pass);

/*
 * Storage for n_rows rows.  A whole tape has one of everything for each block;
 * else all blocks share, which is enough for a forward pass alone.
 */
void		ie_tape_layout(const ie_train_shape *shape, size_t n_rows, bool whole,
						   ie_arena *arena, ie_tape *tapes);
void		ie_scratch_layout(const ie_train_shape *shape, size_t n_rows, size_t max_T,
							  size_t n_lanes, ie_arena *arena, ie_scratch *scratch);

/* Errors: IE_CANCELED. */
ie_code		ie_pass_forward(ie_train_pass *pass, ie_error *err);
ie_code		ie_pass_backward(ie_train_pass *pass, ie_error *err);

/* --------------------------------------------- a block, for the rows of a lane */

typedef struct ie_block_args
{
	const ie_train_pass *pass;
	size_t		l;
	size_t		lane;
	real	   *w;				/* [block_weights] */
	real	   *params;			/* [block_params] or NULL */
	real	   *gradients;		/* [block_params] of the lane */
} ie_block_args;

/* tapes[l].x to tapes[l + 1].x, the rest of tapes[l] on the way */
void		ie_block_forward(const ie_block_args *args);

/* scratch.dx from the gradient of tapes[l + 1].x to that of tapes[l].x */
void		ie_block_backward(const ie_block_args *args);

/*
 * Causal attention of a sequence: from qkv to att, or from datt to dqkv.  Each
 * holds the rows of the lane.
 */
void		ie_attention_forward(const ie_block_args *args, const ie_train_seq *seq, ie_mat qkv,
								 ie_mat att);
void		ie_attention_backward(const ie_block_args *args, const ie_train_seq *seq, ie_mat qkv,
								  ie_mat datt, ie_mat dqkv);

#endif							/* IE_PASS_H */
