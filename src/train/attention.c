/*
 * attention.c
 *	  Causal grouped-query attention of one sequence, forward and backward.
 *
 * Per head and IE_QUERY_ROWS queries: P = softmax(Q K^T / sqrt(D)), O = P V.
 * Backward, P is computed again; with dP = dO V^T and dS of the softmax:
 * dQ = dS K / sqrt(D), dK += dS^T Q / sqrt(D), dV += P^T dO.
 */
#include "train/pass.h"
#include "train/vector.h"

#include <math.h>

/* Of one head: [T, D] each */
typedef struct head
{
	ie_mat		q;
	ie_mat		k;
	ie_mat		v;
} head;

/* The rows of a sequence among the lane's */
static ie_mat
of_seq(const ie_block_args *args, const ie_train_seq *seq, ie_mat lane)
{
	return ie_mat_rows(lane, seq->row0 - args->pass->lane_row0[args->lane],
					   ie_train_seq_rows(seq));
}

/* Head h in rows like the tape's qkv */
static head
head_of(const ie_train_shape *s, ie_mat qkv, size_t h)
{
	const size_t g = h / s->n_q;	/* n_q is at least 1: config.h */

	return (head)
	{
		ie_mat_columns(qkv, h * s->D, s->D),
		ie_mat_columns(qkv, (s->H + g) * s->D, s->D),
		ie_mat_columns(qkv, (s->H + s->G + g) * s->D, s->D)
	};
}

/* Number of the lane's score matrix: 0 or 1 */
static ie_mat
scores_of(const ie_block_args *args, size_t number, size_t rows, size_t cols)
{
	const ie_train_pass *pass = args->pass;

	return ie_mat_of(pass->scratch.scores +
					 (2 * args->lane + number) * IE_QUERY_ROWS * pass->max_T, rows, cols);
}

/* P of queries t0 .. t0 + rows, which see p.cols = t0 + rows positions at most */
static void
probabilities(const ie_blas *blas, const head *in, size_t t0, ie_mat p)
{
	const real	scale = 1 / (real) sqrt((double) in->q.cols);

	ie_mul_bt(blas, scale, ie_mat_rows(in->q, t0, p.rows), ie_mat_rows(in->k, 0, p.cols), 0, p);
	for (size_t i = 0; i < p.rows; i++)
	{
		real	   *row = p.at + i * p.ld;

		ie_vec_softmax(row, t0 + i + 1);
		for (size_t j = t0 + i + 1; j < p.cols; j++)
			row[j] = 0;
	}
}

void
ie_attention_forward(const ie_block_args *args, const ie_train_seq *seq, ie_mat qkv, ie_mat att)
{
	const ie_train_shape *s = args->pass->shape;
	const ie_blas *blas = args->pass->blas;
	const size_t T = ie_train_seq_rows(seq);

	for (size_t h = 0; h < s->H; h++)
	{
		const head	in = head_of(s, of_seq(args, seq, qkv), h);
		const ie_mat out = ie_mat_columns(of_seq(args, seq, att), h * s->D, s->D);

		for (size_t t = 0; t < T; t += IE_QUERY_ROWS)
		{
			const size_t rows = T - t < IE_QUERY_ROWS ? T - t : IE_QUERY_ROWS;
			const ie_mat p = scores_of(args, 0, rows, t + rows);

			probabilities(blas, &in, t, p);
			ie_mul(blas, 1, p, ie_mat_rows(in.v, 0, p.cols), 0, ie_mat_rows(out, t, rows));
		}
	}
}

static void
head_backward(const ie_block_args *args, const head *in, ie_mat dout, const head *din, size_t t)
{
	const ie_blas *blas = args->pass->blas;
	const size_t T = in->q.rows;
	const size_t rows = T - t < IE_QUERY_ROWS ? T - t : IE_QUERY_ROWS;
	const size_t seen = t + rows;
	const real	scale = 1 / (real) sqrt((double) in->q.cols);
	const ie_mat p = scores_of(args, 0, rows, seen);
	const ie_mat ds = scores_of(args, 1, rows, seen);
	const ie_mat doutput = ie_mat_rows(dout, t, rows);

	probabilities(blas, in, t, p);
	ie_mul_at(blas, 1, p, doutput, 1, ie_mat_rows(din->v, 0, seen));
	ie_mul_bt(blas, 1, doutput, ie_mat_rows(in->v, 0, seen), 0, ds);
	for (size_t i = 0; i < rows; i++)	/* where p is 0, ds becomes 0 */
		ie_vec_softmax_back(p.at + i * p.ld, ds.at + i * ds.ld, seen, scale, ds.at + i * ds.ld);
	ie_mul(blas, 1, ds, ie_mat_rows(in->k, 0, seen), 0, ie_mat_rows(din->q, t, rows));
	ie_mul_at(blas, 1, ds, ie_mat_rows(in->q, t, rows), 1, ie_mat_rows(din->k, 0, seen));
}

void
ie_attention_backward(const ie_block_args *args, const ie_train_seq *seq, ie_mat qkv,
					  ie_mat datt, ie_mat dqkv)
{
	const ie_train_shape *s = args->pass->shape;
	const ie_mat dseq = of_seq(args, seq, dqkv);

	memset(dseq.at, 0, dseq.rows * dseq.ld * sizeof(real));
	for (size_t h = 0; h < s->H; h++)
	{
		const head	in = head_of(s, of_seq(args, seq, qkv), h);
		const head	din = head_of(s, dseq, h);
		const ie_mat dout = ie_mat_columns(of_seq(args, seq, datt), h * s->D, s->D);

		for (size_t t = 0; t < dseq.rows; t += IE_QUERY_ROWS)
			head_backward(args, &in, dout, &din, t);
	}
}
