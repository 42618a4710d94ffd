/*
 * reference.h
 *	  The forward pass in double precision, plain and slow.
 *
 *		r = compute_reference(model, instruction, input);	-- every state of a prompt, pooled
 *		free_reference(&r);
 */
#ifndef REFERENCE_H
#define REFERENCE_H

#include "model_builder.h"

#include "model/pool.h"
#include "model/session.h"

typedef struct reference
{
	const ie_model *model;
	size_t		T;				/* all positions: prefix, text, suffix, look-ahead */
	size_t		n_prefix;
	size_t		n_body;
	size_t		n_suffix;
	double	   *attn_out;		/* [L, T, C] */
	double	   *out;			/* [L, T, C] */
	double	   *norm;			/* [T, C] */
	double	   *vector;			/* [C] pooled */
	double	   *embd;			/* [T, C] */
} reference;

static inline double *
doubles(size_t n)
{
	double	   *p = calloc(n > 0 ? n : 1, sizeof(double));

	if (p == NULL)
		abort();
	return p;
}

/* Row o of a matrix in double */
static inline void
matrix_row(const ie_matrix *w, size_t o, double *row)
{
	float	   *x = malloc(w->n_in * sizeof(float));

	w->type->dequantize(w->data + o * w->row_bytes, w->n_in, x);
	for (size_t i = 0; i < w->n_in; i++)
		row[i] = x[i];
	free(x);
}

/* y [T, n_out] += x [T, n_in] W^T */
static inline void
multiply(const ie_matrix *w, const double *x, size_t T, double *y)
{
	double	   *row = doubles(w->n_in);

	for (size_t o = 0; o < w->n_out; o++)
	{
		matrix_row(w, o, row);
		for (size_t t = 0; t < T; t++)
			for (size_t i = 0; i < w->n_in; i++)
				y[t * w->n_out + o] += x[t * w->n_in + i] * row[i];
	}
	free(row);
}

static inline void
norm(const double *x, const float *weight, double eps, size_t C, double *y)
{
	double		sum = 0;

	for (size_t i = 0; i < C; i++)
		sum += x[i] * x[i];
	for (size_t i = 0; i < C; i++)
		y[i] = x[i] / sqrt(sum / (double) C + eps) * (double) weight[i];
}

static inline void
rotate(double *head, size_t D, size_t position, double theta)
{
	for (size_t i = 0; i < D / 2; i++)
	{
		const double angle = (double) position * pow(theta, -2.0 * (double) i / (double) D);
		const double x0 = head[2 * i];
		const double x1 = head[2 * i + 1];

		head[2 * i] = x0 * cos(angle) - x1 * sin(angle);
		head[2 * i + 1] = x0 * sin(angle) + x1 * cos(angle);
	}
}

/* out [D] = causal attention of query q at position t over k, v: [T, G, D] */
static inline void
attend(const double *q, const double *k, const double *v, size_t t, size_t GD, size_t D,
	   double *out)
{
	double	   *p = doubles(t + 1);
	double		total = 0;

	for (size_t s = 0; s <= t; s++)
	{
		for (size_t d = 0; d < D; d++)
			p[s] += q[d] * k[s * GD + d];
		p[s] = exp(p[s] / sqrt((double) D));
		total += p[s];
	}
	for (size_t s = 0; s <= t; s++)
		for (size_t d = 0; d < D; d++)
			out[d] += p[s] / total * v[s * GD + d];
	free(p);
}

static inline void
reference_layer(const reference *r, size_t l, double *x)
{
	const ie_config *c = &r->model->config;
	const ie_layer *w = &r->model->weights.layers[l];
	const size_t C = c->n_embd;
	const size_t D = c->head_dim;
	const size_t HD = c->n_head * D;
	const size_t GD = c->n_head_kv * D;
	const size_t F = c->n_ff;
	double	   *h = doubles(r->T * C);
	double	   *q = doubles(r->T * HD);
	double	   *k = doubles(r->T * GD);
	double	   *v = doubles(r->T * GD);
	double	   *o = doubles(r->T * HD);
	double	   *gate = doubles(r->T * F);
	double	   *up = doubles(r->T * F);

	for (size_t t = 0; t < r->T; t++)
		norm(x + t * C, w->attn_norm, c->norm_eps, C, h + t * C);
	multiply(&w->wq, h, r->T, q);
	multiply(&w->wk, h, r->T, k);
	multiply(&w->wv, h, r->T, v);
	for (size_t t = 0; t < r->T; t++)
	{
		for (size_t i = 0; i < c->n_head; i++)
			rotate(q + t * HD + i * D, D, t, c->rope_theta);
		for (size_t i = 0; i < c->n_head_kv; i++)
			rotate(k + t * GD + i * D, D, t, c->rope_theta);
	}
	for (size_t t = 0; t < r->T; t++)
		for (size_t i = 0; i < c->n_head; i++)
		{
			const size_t g = i / (c->n_head / c->n_head_kv);

			attend(q + t * HD + i * D, k + g * D, v + g * D, t, GD, D, o + t * HD + i * D);
		}
	multiply(&w->wo, o, r->T, x);
	memcpy(r->attn_out + l * r->T * C, x, r->T * C * sizeof(double));

	for (size_t t = 0; t < r->T; t++)
		norm(x + t * C, w->ffn_norm, c->norm_eps, C, h + t * C);
	multiply(&w->w_gate, h, r->T, gate);
	multiply(&w->w_up, h, r->T, up);
	for (size_t i = 0; i < r->T * F; i++)
		gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
	multiply(&w->w_down, gate, r->T, x);
	memcpy(r->out + l * r->T * C, x, r->T * C * sizeof(double));
	free(h);
	free(q);
	free(k);
	free(v);
	free(o);
	free(gate);
	free(up);
}

static inline void
add_unit(const double *x, size_t C, double *y)
{
	double		sum = 0;

	for (size_t i = 0; i < C; i++)
		sum += x[i] * x[i];
	for (size_t i = 0; i < C; i++)
		y[i] += x[i] / sqrt(sum);
}

static inline void
reference_pool(const reference *r)
{
	const ie_definition *d = &r->model->definition;
	const size_t C = r->model->config.n_embd;
	const size_t last = r->n_prefix + r->n_body + r->n_suffix - 1;
	double	   *mean = doubles(C);
	double	   *sum = doubles(C);
	size_t		begin = last + 1;
	size_t		end = r->T;

	if (d->pooling == IE_POOL_LAST)
	{
		begin = last;
		end = last + 1;
	}
	else if (d->pooling == IE_POOL_MEAN)
	{
		begin = r->n_prefix;
		end = r->n_prefix + r->n_body;
	}
	for (size_t t = begin; t < end; t++)
		for (size_t i = 0; i < C; i++)
			mean[i] += r->norm[t * C + i] / (double) (end - begin);
	add_unit(mean, C, sum);
	if (d->pooling == IE_POOL_DAAP)
		add_unit(r->norm + last * C, C, sum);
	add_unit(sum, C, r->vector);
	free(mean);
	free(sum);
}

/* All states of these ids, then of the first n_lookahead look-ahead vectors */
static inline void
reference_states(reference *r, const int32_t *ids, size_t n_ids, size_t n_lookahead)
{
	const ie_config *c = &r->model->config;
	const size_t C = c->n_embd;
	double	   *x;

	r->T = n_ids + n_lookahead;
	r->attn_out = doubles(c->n_layer * r->T * C);
	r->out = doubles(c->n_layer * r->T * C);
	r->norm = doubles(r->T * C);
	r->vector = doubles(C);
	r->embd = doubles(r->T * C);
	x = doubles(r->T * C);
	for (size_t t = 0; t < r->T; t++)
		if (t < n_ids)
			matrix_row(&r->model->weights.token_embd, (size_t) ids[t], x + t * C);
		else
			for (size_t i = 0; i < C; i++)
				x[t * C + i] = r->model->weights.lookahead[(t - n_ids) * C + i];
	memcpy(r->embd, x, r->T * C * sizeof(double));
	for (size_t l = 0; l < c->n_layer; l++)
		reference_layer(r, l, x);
	for (size_t t = 0; t < r->T; t++)
		norm(x + t * C, r->model->weights.output_norm, c->norm_eps, C, r->norm + t * C);
	free(x);
}

/* Ids of a prompt without look-ahead; sets the parts' lengths.  To be released. */
static inline ie_tokens
reference_prompt(reference *r, ie_text instruction, ie_text input)
{
	const ie_model *model = r->model;
	const ie_definition *d = &model->definition;
	const bool	empty = instruction.len == 0;
	ie_tokens	tokens = {0};
	ie_error	err;

	if (ie_vocab_bos(model->vocab) >= 0 && strncmp(d->prefix.data, "<|endoftext|>", 13) != 0)
		CHECK(ie_tokens_push(model->host, &tokens, ie_vocab_bos(model->vocab), &err) == IE_OK);
	CHECK(ie_vocab_encode_template(model->vocab, empty ? d->prefix_empty : d->prefix,
								   "instruction", instruction, &tokens, &err) == IE_OK);
	r->n_prefix = tokens.n;
	CHECK(ie_vocab_encode_template(model->vocab, d->body, "input", input, &tokens, &err) == IE_OK);
	r->n_body = tokens.n - r->n_prefix;
	CHECK(ie_vocab_encode_template(model->vocab, empty ? d->suffix_empty : d->suffix,
								   "instruction", instruction, &tokens, &err) == IE_OK);
	r->n_suffix = tokens.n - r->n_prefix - r->n_body;
	return tokens;
}

static inline reference
compute_reference(const ie_model *model, ie_text instruction, ie_text input)
{
	reference	r = {.model = model};
	ie_tokens	tokens = reference_prompt(&r, instruction, input);

	reference_states(&r, tokens.ids, tokens.n, ie_pool_lookahead(&model->definition));
	reference_pool(&r);
	ie_release(model->host, tokens.ids);
	return r;
}

static inline void
free_reference(reference *r)
{
	free(r->attn_out);
	free(r->out);
	free(r->norm);
	free(r->vector);
	free(r->embd);
}

#endif							/* REFERENCE_H */
