/*
 * test_generate.c
 *	  Greedy decoding and the embeddings made by it, against the forward pass in
 *	  double precision; ends, limits, cancel, lack of memory.
 */
#include "embed_fixture.h"
#include "reference.h"

#include "model/generate.h"

#define N_GENERATED 12

static const ie_session_config exact = {.compute = IE_COMPUTE_F32, .n_threads = 1};
static const ie_text input = {"the tent on the shelf", 21};

/* The instruction lies behind the text, as InBedder has it. */
static void
inbedder_suffix_empty(gguf_builder *b)
{
	gb_kv_text(b, "instemb.template.suffix_empty", "\n### Response:");
}

static model_spec
inbedder_spec(const char *pooling)
{
	static const uint32_t f32[] = {IE_TYPE_F32};
	model_spec	spec = model_spec_default();

	spec.types = f32;
	spec.n_types = 1;
	spec.prefix = spec.prefix_empty = "### Input:\n";
	spec.suffix = "\n### Instruction:\n{instruction}\n### Response:";
	spec.extra_kv = inbedder_suffix_empty;
	spec.pooling = pooling;
	return spec;
}

/* ---------------------------------------------------------------- reference */

typedef struct expectation
{
	int32_t		ids[N_GENERATED];
	double	   *states[N_GENERATED + 1];	/* [C] s_0, s_1, .. */
} expectation;

static int32_t
most_likely(const ie_model *model, const double *state)
{
	const ie_matrix *w = &model->weights.output;
	double	   *logits = doubles(w->n_out);
	size_t		best = 0;

	multiply(w, state, 1, logits);
	for (size_t v = 1; v < w->n_out; v++)
		if (logits[v] > logits[best])
			best = v;
	free(logits);
	return (int32_t) best;
}

/* All positions computed anew for every token, and ends not obeyed */
static expectation
expect(const ie_model *model, ie_text instruction_text)
{
	const size_t C = model->config.n_embd;
	expectation e;
	reference	r = {.model = model};
	ie_tokens	tokens = reference_prompt(&r, instruction_text, input);
	ie_error	err;

	for (size_t i = 0; i <= N_GENERATED; i++)
	{
		reference_states(&r, tokens.ids, tokens.n, 0);
		e.states[i] = doubles(C);
		memcpy(e.states[i], r.norm + (tokens.n - 1) * C, C * sizeof(double));
		free_reference(&r);
		if (i == N_GENERATED)
			break;
		e.ids[i] = most_likely(model, e.states[i]);
		CHECK(ie_tokens_push(model->host, &tokens, e.ids[i], &err) == IE_OK);
	}
	ie_release(model->host, tokens.ids);
	return e;
}

static void
free_expectation(expectation *e)
{
	for (size_t i = 0; i <= N_GENERATED; i++)
		free(e->states[i]);
}

/* Cosine distance of a vector to the sum of n states */
static double
distance_to(const float *vector, double *const *states, size_t n, size_t C)
{
	float	   *sum = calloc(C, sizeof(float));
	double		distance;

	for (size_t i = 0; i < n; i++)
		for (size_t c = 0; c < C; c++)
			sum[c] += (float) states[i][c];
	distance = ie_cosine_distance(vector, sum, C);
	free(sum);
	return distance;
}

static ie_generated
answer(ie_session *session, ie_text instruction_text, uint32_t max_tokens)
{
	const ie_generate_request request = {instruction_text, input, max_tokens, false};
	ie_generated generated = {0};
	ie_error	err = {0};

	CHECK_INT(ie_generate(session, &request, &generated, NULL, &err), IE_OK);
	CHECK_STR(err.message, "");
	return generated;
}

/* ------------------------------------------------------------------- checks */

/* An answer is that of the reference, up to its end. */
static void
check_answer(const ie_model *model, ie_session *session, ie_text instruction_text,
			 const expectation *e)
{
	ie_generated generated = answer(session, instruction_text, N_GENERATED);
	size_t		n = 0;
	size_t		len;
	char	   *text;
	ie_error	err;

	while (n < N_GENERATED && !ie_vocab_is_end(model->vocab, e->ids[n]))
		n++;
	CHECK_INT(generated.n_tokens, n);
	CHECK_INT(generated.ended, n < N_GENERATED);
	CHECK_INT(ie_vocab_decode(model->vocab, e->ids, n, &text, &len, &err), IE_OK);
	CHECK(generated.len == len && memcmp(generated.text, text, len) == 0);
	ie_release(model->host, text);
	ie_release(model->host, generated.text);
}

static void
check_vector(const ie_model *model, const expectation *e, ie_text instruction_text)
{
	const size_t C = model->config.n_embd;
	const ie_embed_request request = {instruction_text, &input, 1, false};
	const bool	ends = ie_vocab_is_end(model->vocab, e->ids[0]);
	float	   *vector = malloc(C * sizeof(float));
	ie_session *session = open_session(model, exact);
	ie_error	err = {0};
	size_t		n = 0;

	CHECK_INT(ie_embed(session, &request, vector, NULL, &err), IE_OK);
	while (n < 3 && !ie_vocab_is_end(model->vocab, e->ids[n]))
		n++;
	if (model->definition.pooling == IE_POOL_GENERATE)
		CHECK_NEAR(distance_to(vector, e->states + !ends, 1, C), 0, 1e-5);
	else
		CHECK_NEAR(distance_to(vector, e->states, n > 0 ? n : 1, C), 0, 1e-5);
	check_answer(model, session, instruction_text, e);
	ie_session_free(session);
	free(vector);
}

static uint32_t eos;

static void
stated_eos(gguf_builder *b)
{
	inbedder_suffix_empty(b);
	gb_kv_u32(b, "tokenizer.ggml.eos_token_id", eos);
}

static void
test_against_reference(const char *pooling, bool tied)
{
	static const ie_text instructions[] = {{"What is it for?", 15}, {"", 0}};
	model_spec	spec = inbedder_spec(pooling);
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_error	err = {0};

	spec.omit = tied ? "output.weight" : NULL;
	for (uint64_t seed = 1; seed <= 3; seed++)
	{
		spec.seed = seed;
		spec.extra_kv = inbedder_suffix_empty;
		for (size_t i = 0; i < IE_LENGTH(instructions); i++)
		{
			ie_model   *model = mb_open(&host, &spec, &err);
			expectation e;

			CHECK_STR(err.message, "");
			if (model == NULL)
				return;
			e = expect(model, instructions[i]);
			check_vector(model, &e, instructions[i]);
			ie_model_close(model);

			/* the same, ended by an ordinary token: the first, and a later one */
			for (size_t at = 0; at < 3; at += 2)
			{
				eos = (uint32_t) e.ids[at];
				spec.extra_kv = stated_eos;
				model = mb_open(&host, &spec, &err);
				check_vector(model, &e, instructions[i]);
				ie_model_close(model);
				spec.extra_kv = inbedder_suffix_empty;
			}
			free_expectation(&e);
		}
	}
	CHECK_INT(state.n_live, 0);
}

#define BAD "\xef\xbf\xbd"

/* What tests/golden/llama.py (transformers) generates; of NUL it makes no U+FFFD. */
static void
test_golden(void)
{
	static const struct
	{
		ie_text		input;
		ie_text		instruction;
		const char *answer;
	}			golden[] = {
		{{"A tent for two", 14}, {"Is it for outdoor use?", 22},
			"\x13" BAD " t\xd0\xb2" BAD "\xd0\xb2" BAD "et" BAD BAD BAD "DoDo" BAD},
		{{"na\xc3\xafve caf\xc3\xa9 \xe2\x80\x94 \xe6\x9d\xb1\xe4\xba\xac "
				"\xf0\x9f\x8f\x95\xef\xb8\x8f", 31}, {"Qu'est-ce?", 10},
			" two" BAD BAD BAD "r" BAD " The The The444 The"},
		{{"A tent for two", 14}, {"", 0},
			"?kdjustabledjustabledjustabledjustabledjustabledjustabledjustabledjustabledjustable"
			"djustable"}
	};
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_model   *model = NULL;
	ie_session *session;
	ie_error	err = {0};

	CHECK_INT(ie_model_open(&host, "tests/golden/tiny.gguf", &model, &err), IE_OK);
	session = open_session(model, exact);
	for (size_t i = 0; i < IE_LENGTH(golden); i++)
	{
		const ie_generate_request request = {golden[i].instruction, golden[i].input, 12, false};
		ie_generated generated = {0};

		CHECK_INT(ie_generate(session, &request, &generated, NULL, &err), IE_OK);
		CHECK_INT(generated.n_tokens, 12);
		CHECK(generated.len == strlen(golden[i].answer) &&
			  memcmp(generated.text, golden[i].answer, generated.len) == 0);
		ie_release(&host, generated.text);
	}
	ie_session_free(session);
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

static void
eos_out_of_range(gguf_builder *b)
{
	gb_kv_u32(b, "tokenizer.ggml.eos_token_id", mb_n_vocab());
}

static void
test_eos(void)
{
	model_spec	spec = model_spec_default();
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_error	err = {0};

	spec.extra_kv = eos_out_of_range;
	CHECK(mb_open(&host, &spec, &err) == NULL);
	CHECK_INT(err.code, IE_FORMAT);
	CHECK_STR(err.message, "EOS token 265 is not in the vocabulary of 265 tokens");
	CHECK_INT(state.n_live, 0);
}

/* Requests that are refused, and texts that do not fit together with their answer */
static void
test_limits(const fixture *f)
{
	ie_session *session = open_session(f->model, plain);
	ie_generate_request request = {instruction, f->texts[0], 0, false};
	ie_generated generated;
	ie_embed_stats stats;
	ie_error	err = {0};

	CHECK_INT(ie_generate(session, &request, &generated, &stats, &err), IE_INVALID);
	CHECK_STR(err.message, "number of tokens to generate is out of range");
	request.max_tokens = 4097;
	CHECK_INT(ie_generate(session, &request, &generated, &stats, &err), IE_INVALID);
	request.max_tokens = 1;
	request.input.len = 0;
	CHECK_INT(ie_generate(session, &request, &generated, &stats, &err), IE_INVALID);
	CHECK_STR(err.message, "text must not be empty");

	request.input = f->texts[N_TEXTS - 1];
	request.max_tokens = 4096;
	CHECK_INT(ie_generate(session, &request, &generated, &stats, &err), IE_LIMIT);
	request.max_tokens = 300;
	CHECK_INT(ie_generate(session, &request, &generated, &stats, &err), IE_LIMIT);
	CHECK_INT(stats.n_truncated, 1);
	request.truncate = true;
	CHECK_INT(ie_generate(session, &request, &generated, &stats, &err), IE_OK);
	CHECK_INT(stats.n_truncated, 1);
	CHECK(stats.truncated_limit < stats.truncated_tokens);
	ie_release(&f->host, generated.text);
	ie_session_free(session);

	/* memory: what is allowed is kept to, prefix cache included */
	for (size_t max_bytes = 1u << 16; max_bytes <= 4u << 20; max_bytes += 50000)
	{
		const long	n_live = f->state.n_live;
		ie_code		code;

		session = open_session(f->model, (ie_session_config)
							   {.n_threads = 1, .max_bytes = max_bytes,
								.prefix_cache_bytes = max_bytes});
		request.max_tokens = 4;
		code = ie_generate(session, &request, &generated, &stats, &err);
		CHECK(code == IE_OK || code == IE_LIMIT);
		CHECK(ie_session_bytes(session) <= max_bytes);
		if (code == IE_OK)
			ie_release(&f->host, generated.text);
		ie_session_free(session);
		CHECK_INT(f->state.n_live, n_live);
	}
}

/* A stop at every poll, a failure of every allocation: an error, and nothing is left behind */
static void
test_failures_at(fixture *f, bool stop)
{
	const ie_generate_request request = {instruction, f->texts[2], 5, false};
	const long	n_live = f->state.n_live;
	ie_generated generated;
	ie_code		code = IE_INTERNAL;

	for (long at = 1; code != IE_OK; at++)
	{
		ie_session *session = open_session(f->model, plain);
		ie_error	err = {0};

		f->state.n_allocs = f->state.n_polls = 0;
		f->state.fail_at = stop ? 0 : at;
		f->state.stop_after = stop ? at : 0;
		code = ie_generate(session, &request, &generated, NULL, &err);
		CHECK(code == IE_OK || code == (stop ? IE_CANCELED : IE_NOMEM));
		f->state.fail_at = f->state.stop_after = 0;

		/* the session goes on as if nothing had been */
		if (code != IE_OK && at % 16 == 1)
		{
			CHECK_INT(ie_generate(session, &request, &generated, NULL, &err), IE_OK);
			ie_release(&f->host, generated.text);
		}
		ie_session_free(session);
		if (code == IE_OK)
			ie_release(&f->host, generated.text);
		CHECK_INT(f->state.n_live, n_live);
	}
}

int
main(void)
{
	model_spec	spec = inbedder_spec("generate");
	uint64_t	random;
	fixture		f;

	random = test_seed("test_generate");

	test_against_reference("generate", false);
	test_against_reference("generate_mean", false);
	test_against_reference("generate_mean", true);
	test_golden();
	test_eos();

	spec.n_ctx = 700;
	open_fixture(&f, &spec, &random);
	test_limits(&f);
	test_failures_at(&f, true);
	test_failures_at(&f, false);
	close_fixture(&f);
	return test_end("test_generate");
}
