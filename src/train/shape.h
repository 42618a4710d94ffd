/*
 * shape.h
 *	  Sizes of a model in training, and where its parameters lie.
 *
 * A block (layer) of the Llama family has seven linear layers.  Those that share
 * their input are one ie_linear: one product with W, one with A, and a B for
 * each part.
 *
 *		linear		x				W				parts
 *		QKV			norm(x) [C]		[(H+2G) D, C]	attn_q, attn_k, attn_v
 *		O			attention [H D]	[C, H D]		attn_output
 *		GATE_UP		norm(x) [C]		[2 F, C]		ffn_gate, ffn_up
 *		DOWN		silu(g) u [F]	[C, F]			ffn_down
 *
 * All parameters are one vector: block by block the A and B of each linear, then
 * the look-ahead vectors [K, C].
 */
#ifndef IE_SHAPE_H
#define IE_SHAPE_H

#include "model/model.h"
#include "train/real.h"

#define IE_MAX_PARTS 3

enum
{
	IE_QKV, IE_O, IE_GATE_UP, IE_DOWN, IE_N_LINEAR
};

/*
 * y = x W^T + scale z B^T,  z = x A^T.  Offsets w are from a block's weights, a
 * and b from its parameters, z is a column of a row's z [n_z].
 */
typedef struct ie_linear
{
	size_t		n_in;
	size_t		n_out;			/* of all parts */
	size_t		n_parts;
	size_t		part_out[IE_MAX_PARTS];
	const char *part_name[IE_MAX_PARTS];	/* "attn_q" of "blk.N.attn_q.weight" */
	size_t		part_field[IE_MAX_PARTS];	/* offsetof() its ie_matrix in ie_layer */
	size_t		w;				/* [n_out, n_in] */
	size_t		a;				/* [n_parts * r, n_in] */
	size_t		b[IE_MAX_PARTS];	/* [part_out, r] */
	size_t		z;
} ie_linear;

typedef struct ie_train_shape
{
	size_t		L;
	size_t		C;
	size_t		H;
	size_t		G;
	size_t		n_q;			/* H / G: query heads that share a key/value head */
	size_t		D;
	size_t		F;
	size_t		V;
	size_t		K;
	size_t		r;				/* rank */
	real		scale;			/* alpha / r */
	real		norm_eps;
	ie_linear	linear[IE_N_LINEAR];
	size_t		n_z;			/* r times the linear layers of a block */
	size_t		block_weights;	/* elements of a block's frozen matrices */
	size_t		block_params;
	size_t		lookahead;		/* offset of the look-ahead vectors */
	size_t		n_params;
} ie_train_shape;

void		ie_shape_init(const ie_config *config, size_t rank, size_t lookahead_count,
						  float alpha, ie_train_shape *shape);

/* Columns of queries, keys and values of a position */
static inline size_t
ie_shape_qkv(const ie_train_shape *s)
{
	return (s->H + 2 * s->G) * s->D;
}

#endif							/* IE_SHAPE_H */
