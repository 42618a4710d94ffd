/*
 * test_forward.c
 *	  The engine's forward pass against a plain one in double precision, layer
 *	  by layer and pooled, over models of several shapes.
 */
#include "reference.h"

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
