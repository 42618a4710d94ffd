/*
 * test_forward.c
 *	  The engine's forward pass against a plain one in double precision, layer
 *	  by layer and pooled, over models of several shapes.
 */
#include "model_builder.h"

#include "model/session.h"

/* -------------------------------------------------- reference: plain and slow */

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

static double *
doubles(size_t n)
{
	double	   *p = calloc(n > 0 ? n : 1, sizeof(double));

	if (p == NULL)
		abort();
	return p;
}

/* Row o of a matrix in double */
static void
matrix_row(const ie_matrix *w, size_t o, double *row)
{
	float	   *x = malloc(w->n_in * sizeof(float));

	w->type->dequantize(w->data + o * w->row_bytes, w->n_in, x);
	for (size_t i = 0; i < w->n_in; i++)
		row[i] = x[i];
	free(x);
}

/* y [T, n_out] += x [T, n_in] W^T */
static void
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

static void
norm(const double *x, const float *weight, double eps, size_t C, double *y)
{
	double		sum = 0;

	for (size_t i = 0; i < C; i++)
		sum += x[i] * x[i];
	for (size_t i = 0; i < C; i++)
		y[i] = x[i] / sqrt(sum / (double) C + eps) * (double) weight[i];
}

static void
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
static void
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

static void
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

static void
add_unit(const double *x, size_t C, double *y)
{
	double		sum = 0;

	for (size_t i = 0; i < C; i++)
		sum += x[i] * x[i];
	for (size_t i = 0; i < C; i++)
		y[i] += x[i] / sqrt(sum);
}

static void
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

static reference
compute_reference(const ie_model *model, ie_text instruction, ie_text input)
{
	const ie_config *c = &model->config;
	const ie_definition *d = &model->definition;
	const size_t C = c->n_embd;
	reference	r = {.model = model};
	ie_tokens	tokens = {0};
	ie_error	err;
	double	   *x;

	if (ie_vocab_bos(model->vocab) >= 0 && strncmp(d->prefix.data, "<|endoftext|>", 13) != 0)
		CHECK(ie_tokens_push(model->host, &tokens, ie_vocab_bos(model->vocab), &err) == IE_OK);
	CHECK(ie_vocab_encode_template(model->vocab, instruction.len > 0 ? d->prefix : d->prefix_empty,
								   "instruction", instruction, &tokens, &err) == IE_OK);
	r.n_prefix = tokens.n;
	CHECK(ie_vocab_encode_template(model->vocab, d->body, "input", input, &tokens, &err) == IE_OK);
	r.n_body = tokens.n - r.n_prefix;
	CHECK(ie_vocab_encode_template(model->vocab, d->suffix, NULL, input, &tokens, &err) == IE_OK);
	r.n_suffix = tokens.n - r.n_prefix - r.n_body;
	r.T = tokens.n + d->lookahead_count;

	r.attn_out = doubles(c->n_layer * r.T * C);
	r.out = doubles(c->n_layer * r.T * C);
	r.norm = doubles(r.T * C);
	r.vector = doubles(C);
	r.embd = doubles(r.T * C);
	x = doubles(r.T * C);
	for (size_t t = 0; t < r.T; t++)
		if (t < tokens.n)
			matrix_row(&model->weights.token_embd, (size_t) tokens.ids[t], x + t * C);
		else
			for (size_t i = 0; i < C; i++)
				x[t * C + i] = model->weights.lookahead[(t - tokens.n) * C + i];
	memcpy(r.embd, x, r.T * C * sizeof(double));
	for (size_t l = 0; l < c->n_layer; l++)
		reference_layer(&r, l, x);
	for (size_t t = 0; t < r.T; t++)
		norm(x + t * C, model->weights.output_norm, c->norm_eps, C, r.norm + t * C);
	reference_pool(&r);
	free(x);
	ie_release(model->host, tokens.ids);
	return r;
}

static void
free_reference(reference *r)
{
	free(r->attn_out);
	free(r->out);
	free(r->norm);
	free(r->vector);
	free(r->embd);
}

/* -------------------------------------------------------------------- trace */

typedef struct watcher
{
	const reference *r;
	size_t		n_states;		/* compared */
	double		worst;			/* largest error relative to the state's norm */
	double		sum;			/* of squares of such errors */
	char		where[64];
} watcher;

static void
watch(void *arg, const ie_trace_event *e)
{
	watcher    *w = arg;
	const reference *r = w->r;
	const size_t C = e->n_cols;
	const double *expected;

	if (strcmp(e->point, "norm") == 0)
		return;					/* rows are those of the pooling, compared pooled */
	if (strcmp(e->point, "embd") == 0)
		expected = r->embd;
	else
		expected = (strcmp(e->point, "out") == 0 ? r->out : r->attn_out) +
			(size_t) e->layer * r->T * C;
	for (size_t i = 0; i < e->n_rows; i++)
	{
		const size_t t = (e->is_prefix ? 0 : r->n_prefix) + e->first_row + i;
		double		error = 0;
		double		size = 0;

		for (size_t c = 0; c < C; c++)
		{
			const double x = expected[t * C + c];

			error += pow((double) e->data[i * C + c] - x, 2);
			size += x * x;
		}
		w->n_states++;
		w->sum += error / size;
		if (!(sqrt(error / size) <= w->worst))
		{
			w->worst = sqrt(error / size);
			snprintf(w->where, sizeof(w->where), "layer %d %s, position %zu", e->layer, e->point,
					 t);
		}
	}
}

/* -------------------------------------------------------------------- tests */

static ie_text
text_of(const char *s)
{
	return (ie_text) {s, strlen(s)};
}

/* Largest error allowed; root mean square over states: 8-bit activations through random layers */
#define F32_TOLERANCE 5e-6
#define QUANTIZED_RMS_TOLERANCE 0.03
#define QUANTIZED_VECTOR_TOLERANCE 0.06

/* States and vector in one mode of computing */
static void
compare(const ie_model *model, const reference *r, ie_text instruction, ie_text input,
		ie_compute compute)
{
	const bool	f32 = compute == IE_COMPUTE_F32;
	const size_t C = model->config.n_embd;
	const ie_session_config config = {.compute = compute, .n_threads = 1};
	const ie_embed_request request = {instruction, &input, 1, false};
	watcher		w = {.r = r};
	const ie_trace trace = {&w, watch};
	float	   *vector = malloc(C * sizeof(float));
	double		error = 0;
	ie_session *session = NULL;
	ie_error	err = {0};

	CHECK(ie_session_create(model, &config, &session, &err) == IE_OK);
	ie_session_set_trace(session, &trace);
	CHECK_INT(ie_embed(session, &request, vector, NULL, &err), IE_OK);
	CHECK_INT(w.n_states, r->T * (1 + 2 * model->config.n_layer));
	if (f32 && !(w.worst <= F32_TOLERANCE))
		printf("worst state: %s\n", w.where);
	if (f32)
		CHECK_NEAR(w.worst, 0, F32_TOLERANCE);
	else
		CHECK_NEAR(sqrt(w.sum / (double) w.n_states), 0, QUANTIZED_RMS_TOLERANCE);
	for (size_t i = 0; i < C; i++)
		error += pow((double) vector[i] - r->vector[i], 2);
	CHECK_NEAR(sqrt(error), 0, f32 ? F32_TOLERANCE : QUANTIZED_VECTOR_TOLERANCE);

	/* without the trace the last layer leaves rows out: same bits */
	{
		float	   *again = malloc(C * sizeof(float));

		ie_session_set_trace(session, NULL);
		CHECK_INT(ie_embed(session, &request, again, NULL, &err), IE_OK);
		CHECK(memcmp(vector, again, C * sizeof(float)) == 0);
		free(again);
	}
	free(vector);
	ie_session_free(session);
}

static void
test_model(const ie_model *model)
{
	static const char *const texts[] = {
		"x",
		"A light and waterproof tent for four persons <|im_end|>.",
		"The other tent is heavier, but it stands in any storm; the winter version has room for "
		"five and a stove. Sleeping bags, mats and lamps are sold separately. Weight: 7.4 kg."
	};
	static const char *const instructions[] = {"", "Is this product suitable for outdoor use?"};

	for (size_t i = 0; i < IE_LENGTH(texts); i++)
		for (size_t j = 0; j < IE_LENGTH(instructions); j++)
		{
			const ie_text input = text_of(texts[i]);
			const ie_text instruction = text_of(instructions[j]);
			reference	r = compute_reference(model, instruction, input);

			compare(model, &r, instruction, input, IE_COMPUTE_F32);
			compare(model, &r, instruction, input, IE_COMPUTE_AUTO);
			free_reference(&r);
		}
}

static void
test_spec(const ie_host *host, const model_spec *spec)
{
	ie_error	err = {0};
	ie_model   *model = mb_open(host, spec, &err);

	CHECK_STR(err.message, "");
	if (model != NULL)
		test_model(model);
	ie_model_close(model);
}

int
main(void)
{
	static const uint32_t floats[] = {IE_TYPE_F32, IE_TYPE_F16, IE_TYPE_BF16};
	static const uint32_t mixed[] = {IE_TYPE_Q8_0, IE_TYPE_F16, IE_TYPE_Q4_1};
	test_host_state state;
	ie_host		host = test_host(&state);
	model_spec	spec = model_spec_default();
	ie_model   *tiny = NULL;
	ie_error	err = {0};

	CHECK_INT(ie_model_open(&host, "tests/golden/tiny.gguf", &tiny, &err), IE_OK);
	if (tiny != NULL)
		test_model(tiny);
	ie_model_close(tiny);

	test_spec(&host, &spec);

	/* every pooling; prefixes with and without tokens, BOS */
	spec.n_lookahead = 3;
	spec.pooling = "daap";
	test_spec(&host, &spec);
	spec.pooling = "lookahead";
	spec.add_bos = true;
	test_spec(&host, &spec);
	spec.prefix = "<|endoftext|>{instruction}:";	/* with BOS spelled out: not a second one */
	spec.prefix_empty = "<|endoftext|>";
	spec.suffix = ".";
	test_spec(&host, &spec);
	spec.pooling = "mean";
	spec.add_bos = false;
	spec.prefix = "{instruction}\n";
	spec.prefix_empty = "";
	spec.body = "text: {input}";
	spec.suffix = "";
	test_spec(&host, &spec);

	/* as many key/value heads as heads, and one; heads that are not a part of the embedding */
	spec = model_spec_default();
	spec.n_head = spec.n_head_kv = 2;
	spec.head_dim = 32;
	spec.types = mixed;
	spec.n_types = IE_LENGTH(mixed);
	test_spec(&host, &spec);
	spec.n_head = 6;
	spec.n_head_kv = 1;
	spec.head_dim = 24;
	spec.types = floats;
	spec.n_types = IE_LENGTH(floats);
	test_spec(&host, &spec);

	/* one layer, and sizes that are no multiple of a block */
	spec.n_layer = 1;
	spec.n_embd = 40;
	spec.n_ff = 56;
	test_spec(&host, &spec);

	CHECK_INT(state.n_live, 0);
	return test_end("test_forward");
}
