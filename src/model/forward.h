/*
 * forward.h
 *	  One pass of the transformer over B packed sequences.
 *
 * Rows are positions: those of sequence 0 (its tokens, then its look-ahead
 * vectors), then those of sequence 1, and so on, without padding.  A pass runs
 * layer by layer, inside a layer tile by tile of at most IE_PASS_TILE_ROWS rows in
 * ascending order; keys and values live for one layer only.  A row's result
 * depends on nothing but its own sequence and prefix.
 *
 * Use:
 *		fill the first part of ie_pass; ie_pass_layout(&pass, &counting_arena);
 *		allocate; ie_pass_layout(&pass, &arena); ie_forward(&pass, err);
 *		read pass.states.
 */
#ifndef IE_FORWARD_H
#define IE_FORWARD_H

#include "base/arena.h"
#include "model/weights.h"

/* Rows of a tile: activations of one stay in the second-level cache */
#define IE_PASS_TILE_ROWS 128

/* Keys and values of n consecutive positions, in L layers, with room for ld */
typedef struct ie_kv
{
	size_t		n;
	size_t		ld;				/* a multiple of 16 */
	float	   *kt;				/* [L, G, D, ld], 64-byte aligned */
	float	   *v;				/* [L, ld, G, D] */
} ie_kv;

/* A sequence of a pass: T = n_tokens + n_lookahead rows, at least 1 */
typedef struct ie_seq
{
	const int32_t *ids;			/* [n_tokens], each below n_vocab */
	size_t		n_tokens;
	size_t		n_lookahead;	/* 0 or K */
	size_t		need_begin;		/* rows of the sequence whose final states are wanted, */
	size_t		need_end;		/* need_begin <= t < need_end <= T */
} ie_seq;

/*
 * A look into a pass, for tests: called for each tile, in order, on the calling
 * thread.  point is "embd", "attn_out" (residual after attention), "out"
 * (residual after the feed-forward part) or "norm" (final states of the needed
 * rows); layer is -1 for the first and the last.  With a trace every row of the
 * last layer is computed, so "attn_out" and "out" show all rows of all layers.
 */
typedef struct ie_trace_event
{
	const char *point;
	int			layer;
	bool		is_prefix;		/* the pass computes a prefix for the cache */
	size_t		first_row;		/* of the pass; of the needed rows for "norm" */
	size_t		n_rows;
	size_t		n_cols;			/* C */
	const float *data;			/* [n_rows, n_cols] */
} ie_trace_event;

typedef struct ie_trace
{
	void	   *arg;
	void		(*fn) (void *arg, const ie_trace_event *event);
} ie_trace;

/* Where a row belongs */
typedef struct ie_row
{
	uint32_t	seq;
	uint32_t	t;				/* row within its sequence; its position is prefix n + t */
} ie_row;

/* Where a sequence's rows, keys and values lie */
typedef struct ie_seq_place
{
	size_t		row0;			/* its first row in the pass */
	size_t		kt;				/* offset of its keys in pass->kt */
	size_t		ld;				/* columns of its keys */
} ie_seq_place;

typedef struct ie_pass
{
	/* set by the caller */
	const ie_host *host;
	const ie_config *config;
	const ie_weights *weights;
	ie_gemm		gemm;			/* kernels, n_threads, f32; the panel is set by the layout */
	const ie_trace *trace;		/* NULL = none */
	const ie_seq *seqs;			/* [B] */
	size_t		B;
	const ie_kv *prefix;		/* what all sequences begin with, NULL = nothing */
	ie_kv	   *store;			/* receives the rows' keys and values of all layers: B == 1,
								 * laid out for that many rows; NULL = not kept */

	/* sizes, set by the layout */
	size_t		n_rows;
	size_t		n_needed;
	size_t		tile_rows;
	size_t		max_T;			/* rows of the longest sequence */
	size_t		ld_scores;

	/* the result */
	float	   *states;			/* [n_needed, C] after the output norm */

	/* of the pass */
	float	   *x;				/* [n_rows, C] residual stream */
	ie_row	   *rows;			/* [n_rows] */
	ie_row	   *needed;			/* [n_needed] */
	ie_seq_place *places;		/* [B] */
	float	   *rope;			/* [max_T, D]: cos [D / 2], sin [D / 2] of position prefix n + t */

	/* of the current layer */
	float	   *kt;				/* each sequence's keys [G, D, ld], one after another */
	float	   *v;				/* [n_rows, G, D] */
	float	   *kt_scratch;		/* what the two point to unless there is a store */
	float	   *v_scratch;
	size_t		n_selected;		/* needed rows of the last layer that were reached */

	/* of a tile */
	float	   *h;				/* [tile_rows, C] normed rows */
	float	   *q;				/* [tile_rows, H, D] queries, then attention's output */
	float	   *k;				/* [tile_rows, G, D] keys */
	float	   *gate;			/* [tile_rows, F] */
	float	   *up;				/* [tile_rows, F] */
	ie_qrows	quantized;		/* storage for [tile_rows, max(C, H D, F)] */
	float	   *scores;			/* [n_threads, H / G, ld_scores] */
} ie_pass;

/* The rows that a layer works on */
typedef struct ie_tile
{
	size_t		row0;			/* its first row in the pass */
	size_t		T;
	const ie_row *rows;			/* [T] */
	float	   *x;				/* [T, C] residual stream */
} ie_tile;

/*
 * Take storage for a pass, or count it: arena->overflow tells whether the sizes
 * could be represented.  Sets everything but the caller's part of *pass.
 */
void		ie_pass_layout(ie_pass *pass, ie_arena *arena);

/* The same for the keys and values of n positions. */
void		ie_kv_layout(const ie_config *config, size_t n, ie_arena *arena, ie_kv *kv);

/* Copy the positions of more behind those of kv, which has room for them. */
void		ie_kv_append(const ie_config *config, ie_kv *kv, const ie_kv *more);

/* Errors: IE_CANCELED. */
ie_code		ie_forward(ie_pass *pass, ie_error *err);

#endif							/* IE_FORWARD_H */
