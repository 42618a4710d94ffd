/*
 * block.c
 *	  One block of the Llama family (Touvron et al. 2023) for the rows of a lane:
 *
 *		mid = x + dropout(O(attention(rotate(QKV(norm(x))))))
 *		out = mid + dropout(DOWN(swiglu(GATE_UP(norm(mid)))))
 *
 * Each linear layer is y = x W^T + scale (x A^T) B^T (LoRA; Hu et al. 2022), W
 * frozen.  The backward pass computes norms and swiglu again.
 */
#include "train/pass.h"
#include "train/random.h"
#include "train/vector.h"

/* The lane's rows of an array [n_rows, cols] */
static ie_mat
rows_of(const ie_block_args *args, real *array, size_t cols)
{
	const size_t row0 = args->pass->lane_row0[args->lane];
	const size_t row1 = args->pass->lane_row0[args->lane + 1];

	return ie_mat_of(array + row0 * cols, row1 - row0, cols);
}

/* The lane's part of scratch with room for n_room columns, as rows of n_cols */
static ie_mat
scratch_of(const ie_block_args *args, real *array, size_t n_room, size_t n_cols)
{
	const ie_mat room = rows_of(args, array, n_room);

	return ie_mat_of(room.at, room.rows, n_cols);
}

/* ------------------------------------------------------------ linear layers */

/* The linear's columns of the tape's z, of one part or all */
static ie_mat
z_of(const ie_block_args *args, const ie_linear *linear)
{
	const ie_train_shape *s = args->pass->shape;
	const ie_mat z = rows_of(args, args->pass->tapes[args->l].z, s->n_z);

	return ie_mat_columns(z, linear->z, linear->n_parts * s->r);
}

static void
linear_forward(const ie_block_args *args, const ie_linear *linear, ie_mat x, ie_mat y)
{
	const ie_train_shape *s = args->pass->shape;
	const ie_blas *blas = args->pass->blas;
	size_t		column = 0;
	ie_mat		z;

	ie_mul_bt(blas, 1, x, ie_mat_of(args->w + linear->w, linear->n_out, linear->n_in), 0, y);
	if (args->params == NULL)
		return;
	z = z_of(args, linear);
	ie_mul_bt(blas, 1, x, ie_mat_of(args->params + linear->a, z.cols, linear->n_in), 0, z);
	for (size_t i = 0; i < linear->n_parts; column += linear->part_out[i++])
		ie_mul_bt(blas, s->scale, ie_mat_columns(z, i * s->r, s->r),
				  ie_mat_of(args->params + linear->b[i], linear->part_out[i], s->r), 1,
				  ie_mat_columns(y, column, linear->part_out[i]));
}

/*
 * dz = scale dy B, dB += scale dy^T z, dA += dz^T x, dx = dy W + dz A
 */
static void
linear_backward(const ie_block_args *args, const ie_linear *linear, ie_mat x, ie_mat dy,
				ie_mat dx)
{
	const ie_train_shape *s = args->pass->shape;
	const ie_blas *blas = args->pass->blas;
	const ie_mat z = z_of(args, linear);
	const ie_mat dz = scratch_of(args, args->pass->scratch.dz, IE_MAX_PARTS * s->r, z.cols);
	const ie_mat a = ie_mat_of(args->params + linear->a, z.cols, linear->n_in);
	size_t		column = 0;

	for (size_t i = 0; i < linear->n_parts; column += linear->part_out[i++])
	{
		const ie_mat dy_part = ie_mat_columns(dy, column, linear->part_out[i]);

		ie_mul(blas, s->scale, dy_part,
			   ie_mat_of(args->params + linear->b[i], linear->part_out[i], s->r), 0,
			   ie_mat_columns(dz, i * s->r, s->r));
		ie_mul_at(blas, s->scale, dy_part, ie_mat_columns(z, i * s->r, s->r), 1,
				  ie_mat_of(args->gradients + linear->b[i], linear->part_out[i], s->r));
	}
	ie_mul_at(blas, 1, dz, x, 1, ie_mat_of(args->gradients + linear->a, a.rows, a.cols));
	ie_mul(blas, 1, dy, ie_mat_of(args->w + linear->w, linear->n_out, linear->n_in), 0, dx);
	ie_mul(blas, 1, dz, a, 1, dx);
}

/* --------------------------------------------------------------- row by row */

static void
norm_rows(const ie_block_args *args, const float *weight, ie_mat x, ie_mat y)
{
	for (size_t i = 0; i < x.rows; i++)
		ie_vec_rms_norm(x.at + i * x.ld, weight, args->pass->shape->norm_eps, x.cols,
						y.at + i * y.ld);
}

static void
norm_rows_back(const ie_block_args *args, const float *weight, ie_mat x, ie_mat dy, ie_mat dx)
{
	for (size_t i = 0; i < x.rows; i++)
		ie_vec_rms_norm_back(x.at + i * x.ld, weight, args->pass->shape->norm_eps, x.cols,
							 dy.at + i * dy.ld, dx.at + i * dx.ld);
}

/* Queries and keys of the lane's rows */
static void
rotate_rows(const ie_block_args *args, ie_mat qkv, bool back)
{
	const ie_train_pass *pass = args->pass;
	const ie_train_shape *s = pass->shape;
	const size_t row0 = pass->lane_row0[args->lane];

	for (size_t i = 0; i < pass->n_seqs; i++)
	{
		const ie_train_seq *seq = &pass->seqs[i];

		for (size_t t = 0; seq->lane == args->lane && t < ie_train_seq_rows(seq); t++)
		{
			const real *angle = pass->rope + t * s->D;

			ie_vec_rotate(qkv.at + (seq->row0 + t - row0) * qkv.ld, s->H + s->G, s->D, angle,
						  angle + s->D / 2, back);
		}
	}
}

/*
 * Dropout of the output of a block's part (0: attention, 1: feed-forward).  A
 * mask depends on sequence, block, part and position, so that the backward pass
 * and a pass that is repeated have the same.
 */
static void
drop_rows(const ie_block_args *args, size_t part, ie_mat y)
{
	const ie_train_pass *pass = args->pass;
	const size_t row0 = pass->lane_row0[args->lane];

	if (pass->dropout == 0)
		return;
	for (size_t i = 0; i < pass->n_seqs; i++)
	{
		const ie_train_seq *seq = &pass->seqs[i];
		const uint64_t key = ie_random_key(seq->dropout, 2 * args->l + part);

		for (size_t t = 0; seq->lane == args->lane && t < ie_train_seq_rows(seq); t++)
			ie_vec_dropout(y.at + (seq->row0 + t - row0) * y.ld, y.cols, pass->dropout,
						   ie_random_key(key, t));
	}
}

/* sum = x + y */
static void
add_rows(ie_mat x, ie_mat y, ie_mat sum)
{
	const size_t n = x.rows * x.cols;

	if (sum.at != x.at)
		memcpy(sum.at, x.at, n * sizeof(real));
	ie_vec_add(sum.at, y.at, n);
}

/* ----------------------------------------------------------------- forward */

static void
swiglu_rows(ie_mat gate_up, ie_mat act)
{
	for (size_t i = 0; i < act.rows; i++)
		ie_vec_swiglu(gate_up.at + i * gate_up.ld, gate_up.at + i * gate_up.ld + act.cols,
					  act.cols, act.at + i * act.ld);
}

void
ie_block_forward(const ie_block_args *args)
{
	const ie_train_pass *pass = args->pass;
	const ie_train_shape *s = pass->shape;
	const ie_layer *layer = &pass->base->model->weights.layers[args->l];
	const ie_tape *tape = &pass->tapes[args->l];
	const ie_mat x = rows_of(args, tape->x, s->C);
	const ie_mat qkv = rows_of(args, tape->qkv, ie_shape_qkv(s));
	const ie_mat att = rows_of(args, tape->att, s->H * s->D);
	const ie_mat mid = rows_of(args, tape->mid, s->C);
	const ie_mat gate_up = rows_of(args, tape->gate_up, 2 * s->F);
	const ie_mat h = rows_of(args, pass->scratch.h, s->C);
	const ie_mat y = scratch_of(args, pass->scratch.y, ie_scratch_y(s), s->C);
	const ie_mat act = rows_of(args, pass->scratch.act, s->F);

	norm_rows(args, layer->attn_norm, x, h);
	linear_forward(args, &s->linear[IE_QKV], h, qkv);
	rotate_rows(args, qkv, false);
	for (size_t i = 0; i < pass->n_seqs; i++)
		if (pass->seqs[i].lane == args->lane)
			ie_attention_forward(args, &pass->seqs[i], qkv, att);
	linear_forward(args, &s->linear[IE_O], att, y);
	drop_rows(args, 0, y);
	add_rows(x, y, mid);

	norm_rows(args, layer->ffn_norm, mid, h);
	linear_forward(args, &s->linear[IE_GATE_UP], h, gate_up);
	swiglu_rows(gate_up, act);
	linear_forward(args, &s->linear[IE_DOWN], act, y);
	drop_rows(args, 1, y);
	add_rows(mid, y, rows_of(args, tape[1].x, s->C));
}

/* ---------------------------------------------------------------- backward */

/* y = dropout's mask of dx, which goes on unchanged past the part */
static void
into_part(const ie_block_args *args, size_t part, ie_mat dx, ie_mat y)
{
	memcpy(y.at, dx.at, dx.rows * dx.cols * sizeof(real));
	drop_rows(args, part, y);
}

static void
feed_forward_back(const ie_block_args *args, ie_mat dx)
{
	const ie_train_pass *pass = args->pass;
	const ie_train_shape *s = pass->shape;
	const ie_layer *layer = &pass->base->model->weights.layers[args->l];
	const ie_tape *tape = &pass->tapes[args->l];
	const ie_mat mid = rows_of(args, tape->mid, s->C);
	const ie_mat gate_up = rows_of(args, tape->gate_up, 2 * s->F);
	const ie_mat h = rows_of(args, pass->scratch.h, s->C);
	const ie_mat y = scratch_of(args, pass->scratch.y, ie_scratch_y(s), s->C);
	const ie_mat act = rows_of(args, pass->scratch.act, s->F);
	const ie_mat dact = rows_of(args, pass->scratch.dact, s->F);
	const ie_mat dgate_up = scratch_of(args, pass->scratch.wide, ie_scratch_wide(s), 2 * s->F);

	into_part(args, 1, dx, y);
	swiglu_rows(gate_up, act);
	linear_backward(args, &s->linear[IE_DOWN], act, y, dact);
	for (size_t i = 0; i < dact.rows; i++)
	{
		const real *gate = gate_up.at + i * gate_up.ld;
		real	   *dgate = dgate_up.at + i * dgate_up.ld;

		ie_vec_swiglu_back(gate, gate + s->F, s->F, dact.at + i * dact.ld, dgate, dgate + s->F);
	}
	norm_rows(args, layer->ffn_norm, mid, h);
	linear_backward(args, &s->linear[IE_GATE_UP], h, dgate_up, y);
	norm_rows_back(args, layer->ffn_norm, mid, y, dx);
}

static void
attention_back(const ie_block_args *args, ie_mat dx)
{
	const ie_train_pass *pass = args->pass;
	const ie_train_shape *s = pass->shape;
	const ie_layer *layer = &pass->base->model->weights.layers[args->l];
	const ie_tape *tape = &pass->tapes[args->l];
	const ie_mat x = rows_of(args, tape->x, s->C);
	const ie_mat qkv = rows_of(args, tape->qkv, ie_shape_qkv(s));
	const ie_mat att = rows_of(args, tape->att, s->H * s->D);
	const ie_mat h = rows_of(args, pass->scratch.h, s->C);
	const ie_mat y = scratch_of(args, pass->scratch.y, ie_scratch_y(s), s->C);
	const ie_mat datt = scratch_of(args, pass->scratch.y, ie_scratch_y(s), s->H * s->D);
	const ie_mat dqkv = scratch_of(args, pass->scratch.wide, ie_scratch_wide(s), qkv.cols);

	into_part(args, 0, dx, h);
	linear_backward(args, &s->linear[IE_O], att, h, datt);
	for (size_t i = 0; i < pass->n_seqs; i++)
		if (pass->seqs[i].lane == args->lane)
			ie_attention_backward(args, &pass->seqs[i], qkv, datt, dqkv);
	rotate_rows(args, dqkv, true);
	norm_rows(args, layer->attn_norm, x, h);
	linear_backward(args, &s->linear[IE_QKV], h, dqkv, y);
	norm_rows_back(args, layer->attn_norm, x, y, dx);
}

void
ie_block_backward(const ie_block_args *args)
{
	const ie_mat dx = rows_of(args, args->pass->scratch.dx, args->pass->shape->C);

	feed_forward_back(args, dx);
	attention_back(args, dx);
}
