/*
 * test_embed.c
 *	  ie_embed(): same bits whatever the company, cancel, lack of memory, limits,
 *	  truncation, statistics.
 */
#include "embed_fixture.h"

#include "model/session.h"

/* Embed the texts in the given order in calls of n, and compare with the expected bits. */
static void
check_bits(const fixture *f, ie_session *session, const size_t *order, size_t n_order, size_t n,
		   const char *what)
{
	float	   *vectors = malloc(n_order * f->C * sizeof(float));
	ie_text		texts[N_TEXTS];
	size_t		n_wrong = 0;

	for (size_t i = 0; i < n_order; i++)
		texts[i] = f->texts[order[i]];
	for (size_t i = 0; i < n_order; i += n)
		CHECK_INT(embed(session, texts + i, n_order - i < n ? n_order - i : n,
						vectors + i * f->C, NULL), IE_OK);
	for (size_t i = 0; i < n_order; i++)
		n_wrong += memcmp(vectors + i * f->C, f->expected + order[i] * f->C,
						  f->C * sizeof(float)) != 0;
	if (n_wrong > 0)
		printf("other bits: %s\n", what);
	CHECK_INT(n_wrong, 0);
	free(vectors);
}

static void
shuffle(size_t *order, size_t n, uint64_t *random)
{
	for (size_t i = n - 1; i > 0; i--)
	{
		const size_t j = test_random(random) % (i + 1);
		const size_t other = order[i];

		order[i] = order[j];
		order[j] = other;
	}
}

/* At each kernel level from lowest on that the machine has */
static void
test_same_bits(const fixture *f, ie_cpu_level_id lowest, uint64_t *random)
{
	size_t		order[N_TEXTS];

	for (uint32_t n_threads = 1; n_threads <= 3; n_threads++)
		for (size_t cache_bytes = 0; cache_bytes <= (4u << 20); cache_bytes += 4u << 20)
			for (int level = (int) lowest; level < IE_CPU_N_LEVELS; level++)
			{
				const size_t n = level == IE_CPU_REF ? N_SHORT : N_TEXTS;
				ie_session *session;
				char		what[96];

				if (ie_kernels_get((ie_cpu_level_id) level) == NULL)
					continue;
				session = open_session(f->model, (ie_session_config)
									   {.n_threads = n_threads, .prefix_cache_bytes = cache_bytes});
				session->kernels = ie_kernels_get((ie_cpu_level_id) level);
				snprintf(what, sizeof(what), "%s, %u threads, cache of %zu bytes",
						 ie_cpu_level_name((ie_cpu_level_id) level), n_threads, cache_bytes);

				for (size_t i = 0; i < n; i++)
					order[i] = i;
				check_bits(f, session, order, n, n, what);
				shuffle(order, n, random);
				check_bits(f, session, order, n, 5, what);
				check_bits(f, session, order, n, 1, what);
				ie_session_free(session);
			}
}

/*
 * Products and attention that are cut for the sake of polls, as they are early
 * for the readable kernels: same bits as in one piece.
 */
static void
test_parts(void)
{
	model_spec	spec = model_spec_default();
	fixture		f;
	ie_session *session;
	long		n_polls;

	spec.n_embd = 256;
	spec.head_dim = 64;
	spec.n_ff = 512;
	spec.n_layer = 2;
	spec.n_ctx = 700;
	open_fixture(&f, &spec, &(uint64_t) {4711});
	session = open_session(f.model, plain);
	f.state.n_polls = 0;
	check_bits(&f, session, (size_t[]) {9}, 1, 1, "whole products");
	n_polls = f.state.n_polls;
	session->kernels = ie_kernels_get(IE_CPU_REF);
	f.state.n_polls = 0;
	check_bits(&f, session, (size_t[]) {9}, 1, 1, "products in parts");
	CHECK(f.state.n_polls > n_polls + 10 || ie_cpu_detect() == IE_CPU_REF);
	ie_session_free(session);
	close_fixture(&f);
}

/* Every length from 1 to 300 tokens, alone and as neighbours */
static void
test_lengths(const fixture *f, uint64_t *random)
{
	enum
	{
		N = 300
	};
	ie_session *session = open_session(f->model, (ie_session_config)
									   {.n_threads = 1, .prefix_cache_bytes = 1u << 20});
	float	   *alone = malloc(N * f->C * sizeof(float));
	float	   *together = malloc(N * f->C * sizeof(float));
	ie_text    *texts = malloc(N * sizeof(ie_text));
	char	   *text = malloc(N + 1);
	size_t		n_wrong = 0;

	fill_text(text, N, random);
	for (size_t i = 0; i < N; i++)
	{
		texts[i] = (ie_text) {text, i + 1};
		CHECK_INT(embed(session, &texts[i], 1, alone + i * f->C, NULL), IE_OK);
	}
	CHECK_INT(embed(session, texts, N, together, NULL), IE_OK);
	for (size_t i = 0; i < N; i++)
		n_wrong += memcmp(alone + i * f->C, together + i * f->C, f->C * sizeof(float)) != 0;
	CHECK_INT(n_wrong, 0);
	for (size_t i = 0; i < N; i++)
		CHECK_NEAR(ie_inner_product(alone + i * f->C, alone + i * f->C, f->C), 1, 1e-6);
	free(alone);
	free(together);
	free(texts);
	free(text);
	ie_session_free(session);
}

/* More instructions than the cache can hold: hits, misses and evictions give the same bits. */
static void
test_prefix_cache(const fixture *f, uint64_t *random)
{
	enum
	{
		N = 9
	};
	ie_session *session;
	ie_session *without = open_session(f->model, plain);
	float	   *expected = malloc(N * f->C * sizeof(float));
	float	   *vector = malloc(f->C * sizeof(float));
	char		text[N][48];
	ie_text		instructions[N];
	ie_embed_request request = {.inputs = f->texts, .n_inputs = 1};
	ie_embed_stats stats;
	ie_error	err = {0};
	size_t		one;
	size_t		n_hits = 0;
	size_t		n_misses = 0;

	for (size_t i = 0; i < N; i++)
	{
		snprintf(text[i], sizeof(text[i]), "Question number %zu: what does it cost?", i);
		instructions[i] = (ie_text) {text[i], i == 0 ? 0 : strlen(text[i])};
		request.instruction = instructions[i];
		CHECK_INT(ie_embed(without, &request, expected + i * f->C, &stats, &err), IE_OK);
		CHECK_INT(stats.n_tokens_reused, 0);
	}
	one = ie_prefix_bytes(&f->model->config, instructions[N - 1],
						  stats.n_tokens - without->suffix.n - 1 -
						  f->model->definition.lookahead_count);
	session = open_session(f->model, (ie_session_config)
						   {.n_threads = 1, .prefix_cache_bytes = 4 * one});
	for (int i = 0; i < 400; i++)
	{
		const size_t j = test_random(random) % N;

		request.instruction = instructions[j];
		CHECK_INT(ie_embed(session, &request, vector, &stats, &err), IE_OK);
		CHECK(memcmp(vector, expected + j * f->C, f->C * sizeof(float)) == 0);
		CHECK(session->prefixes.bytes <= 4 * one);
		n_hits += stats.n_tokens_reused > 0;
		n_misses += stats.n_tokens_reused == 0;
	}
	CHECK(n_hits > 100 && n_misses > 100);

	/* what was used last is still there; the cache of another holds nothing that is too large */
	CHECK_INT(ie_embed(session, &request, vector, &stats, &err), IE_OK);
	CHECK(stats.n_tokens_reused > 0);
	ie_session_free(session);
	session = open_session(f->model, (ie_session_config)
						   {.n_threads = 1, .prefix_cache_bytes = one / 2});
	request.instruction = instructions[1];
	for (int i = 0; i < 2; i++)
	{
		CHECK_INT(ie_embed(session, &request, vector, &stats, &err), IE_OK);
		CHECK_INT(stats.n_tokens_reused, 0);
		CHECK_INT(session->prefixes.bytes, 0);
	}
	free(expected);
	free(vector);
	ie_session_free(session);
	ie_session_free(without);
}

/* A stop at every poll in turn is answered, and the call can be repeated. */
static void
test_cancel(fixture *f)
{
	ie_session *session = open_session(f->model, (ie_session_config)
									   {.n_threads = 2, .prefix_cache_bytes = 1u << 20});
	float	   *vectors = malloc(N_TEXTS * f->C * sizeof(float));
	const size_t order[] = {0, 1, 2};
	long		n_polls;
	long		n_live;

	CHECK_INT(embed(session, f->texts, 3, vectors, NULL), IE_OK);
	f->state.n_polls = 0;
	CHECK_INT(embed(session, f->texts, 3, vectors, NULL), IE_OK);
	n_polls = f->state.n_polls;
	CHECK(n_polls > 3 * 3);
	n_live = f->state.n_live;
	for (long i = 1; i <= n_polls; i++)
	{
		f->state.n_polls = 0;
		f->state.stop_after = i;
		CHECK_INT(embed(session, f->texts, 3, vectors, NULL), IE_CANCELED);
		CHECK_INT(f->state.n_polls, i);
		CHECK_INT(f->state.n_live, n_live);
	}
	f->state.stop_after = 0;
	check_bits(f, session, order, 3, 3, "after cancels");
	ie_session_free(session);

	/* while the prefix is computed */
	session = open_session(f->model, (ie_session_config)
						   {.n_threads = 1, .prefix_cache_bytes = 1u << 20});
	f->state.n_polls = 0;
	f->state.stop_after = 3;
	CHECK_INT(embed(session, f->texts, 3, vectors, NULL), IE_CANCELED);
	CHECK_INT(session->prefixes.bytes, 0);
	f->state.stop_after = 0;
	check_bits(f, session, order, 3, 3, "after a cancel in the prefix");
	ie_session_free(session);
	free(vectors);
}

/* Each allocation of open, create and embed fails once. */
static void
test_no_memory(const model_spec *spec)
{
	static const char path[] = "/tmp/instemb_test_nomem.gguf";
	test_host_state state;
	ie_host		host = test_host(&state);
	const ie_text input = {"a tent", 6};
	const ie_embed_request request = {instruction, &input, 1, false};
	const ie_session_config config = {.n_threads = 1, .prefix_cache_bytes = 1u << 20};
	float	   *vector = malloc(spec->n_embd * sizeof(float));
	ie_code		code = IE_NOMEM;
	long		n = 0;

	mb_save(spec, path);
	while (code == IE_NOMEM && n < 1000)
	{
		ie_model   *model = NULL;
		ie_session *session = NULL;
		ie_error	err = {0};

		state.n_allocs = 0;
		state.fail_at = ++n;
		code = ie_model_open(&host, path, &model, &err);
		if (code == IE_OK)
			code = ie_session_create(model, &config, &session, &err);
		if (code == IE_OK)
		{
			code = ie_embed(session, &request, vector, NULL, &err);
			if (code == IE_NOMEM)
				CHECK_INT(ie_embed(session, &request, vector, NULL, &err), IE_OK);
		}
		CHECK(code == IE_OK || code == IE_NOMEM);
		ie_session_free(session);
		ie_model_close(model);
		CHECK_INT(state.n_live, 0);
	}
	CHECK_INT(code, IE_OK);
	CHECK(n > 10);
	unlink(path);
	free(vector);
}

static void
test_truncation(const fixture *f)
{
	ie_session *session = open_session(f->model, plain);
	const ie_model *m = f->model;
	float	   *vectors = malloc(3 * f->C * sizeof(float));
	char		text[1001];
	ie_text		inputs[3] = {{text, 1000}, {text, 1}, {text, 999}};
	ie_embed_request request = {instruction, inputs, 3, false};
	ie_embed_stats stats;
	ie_error	err = {0};
	char		expected[128];
	size_t		room;

	memset(text, 'q', sizeof(text));	/* one token a byte */
	CHECK_INT(embed(session, &inputs[1], 1, vectors, &stats), IE_OK);
	room = m->config.n_ctx - (stats.n_tokens - 1);

	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_LIMIT);
	snprintf(expected, sizeof(expected), "text of 1000 tokens does not fit the model's context of "
			 "%u tokens", m->config.n_ctx);
	CHECK_STR(err.message, expected);
	snprintf(expected, sizeof(expected), "Instruction and template take %zu tokens, %zu are left "
			 "for the text.", m->config.n_ctx - room, room);
	CHECK_STR(err.detail, expected);
	CHECK(strstr(err.hint, "instemb.on_overflow") != NULL);
	CHECK_INT(stats.n_truncated, 1);	/* the text that does not fit */
	CHECK_INT(stats.first_truncated, 0);
	CHECK_INT(stats.truncated_tokens, 1000);
	CHECK_INT(stats.truncated_limit, room);

	request.truncate = true;
	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_OK);
	CHECK_INT(stats.n_truncated, 2);
	CHECK_INT(stats.first_truncated, 0);
	CHECK_INT(stats.truncated_tokens, 1000);
	CHECK_INT(stats.truncated_limit, room);
	CHECK(memcmp(vectors, vectors + 2 * f->C, f->C * sizeof(float)) == 0);

	/* the cut text is the text of as many tokens as fit, which fits by itself */
	inputs[0].len = room;
	request.n_inputs = 1;
	request.truncate = false;
	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_OK);
	CHECK(memcmp(vectors, vectors + 2 * f->C, f->C * sizeof(float)) == 0);
	CHECK_INT(stats.n_tokens, m->config.n_ctx);
	inputs[0].len = room + 1;
	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_LIMIT);

	/* an instruction that leaves room for one token, and for none */
	inputs[0].len = 1;
	for (size_t len = m->config.n_ctx - 60; len < m->config.n_ctx; len++)
	{
		request.instruction = (ie_text) {text, len};
		if (ie_embed(session, &request, vectors, &stats, &err) != IE_OK)
			break;
	}
	CHECK_INT(stats.n_tokens, 0);
	CHECK_INT(err.code, IE_LIMIT);
	snprintf(expected, sizeof(expected), "instruction of %u tokens with its template does not fit "
			 "the model's context of %u tokens", m->config.n_ctx, m->config.n_ctx);
	CHECK_STR(err.message, expected);
	request.instruction.len--;
	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_OK);
	CHECK_INT(stats.n_tokens, m->config.n_ctx);
	free(vectors);
	ie_session_free(session);
}

/* The memory limit is kept, looked at before allocating, and does not change results. */
static void
test_limit(fixture *f)
{
	ie_session *session = open_session(f->model, (ie_session_config)
									   {.n_threads = 1, .prefix_cache_bytes = 4u << 20});
	float	   *vectors = malloc(N_TEXTS * f->C * sizeof(float));
	size_t		order[N_TEXTS];
	size_t		enough;
	ie_embed_request request = {instruction, &f->texts[N_TEXTS - 1], 1, false};
	ie_error	err = {0};

	for (size_t i = 0; i < N_TEXTS; i++)
		order[i] = i;
	CHECK_INT(embed(session, &f->texts[N_TEXTS - 1], 1, vectors, NULL), IE_OK);	/* the longest */
	enough = ie_session_bytes(session);
	CHECK(ie_session_bytes(session) > 200000);
	ie_session_trim(session, enough);
	CHECK_INT(ie_session_bytes(session), enough);
	ie_session_trim(session, 1000);
	CHECK(ie_session_bytes(session) < enough / 2 && session->block == NULL);
	check_bits(f, session, order, N_TEXTS, N_TEXTS, "after a trim");
	CHECK(ie_session_bytes(session) > enough);	/* a pass of many texts takes more */
	ie_session_free(session);

	/* passes become smaller, so that a batch needs no more than its longest text */
	session = open_session(f->model, (ie_session_config)
						   {.n_threads = 1, .max_bytes = enough, .prefix_cache_bytes = 4u << 20});
	for (int i = 0; i < 3; i++)
	{
		check_bits(f, session, order, N_TEXTS, N_TEXTS, "under a memory limit");
		CHECK(ie_session_bytes(session) <= enough);
	}
	ie_session_free(session);

	/* prefixes that lie idle are given up for a long text */
	session = open_session(f->model, (ie_session_config)
						   {.n_threads = 1, .max_bytes = enough, .prefix_cache_bytes = 4u << 20});
	for (size_t i = 1; i <= 6; i++)
	{
		const ie_embed_request other = {{"How much does it weigh?", 16 + i}, f->texts, 1, false};

		CHECK_INT(ie_embed(session, &other, vectors, NULL, &err), IE_OK);
	}
	CHECK(session->prefixes.first->next != NULL);
	check_bits(f, session, order + N_TEXTS - 1, 1, 1, "after giving up prefixes");
	CHECK(session->prefixes.first->next == NULL ||
		  session->prefixes.first->next->next == NULL);
	CHECK(ie_session_bytes(session) <= enough);
	ie_session_free(session);

	/* enough for the prefix and a short text only */
	session = open_session(f->model, (ie_session_config)
						   {.n_threads = 1, .max_bytes = enough / 2,
						   .prefix_cache_bytes = 4u << 20});
	check_bits(f, session, order, 3, 3, "under a low memory limit");
	CHECK_INT(ie_embed(session, &request, vectors, NULL, &err), IE_LIMIT);
	CHECK(ie_session_bytes(session) <= enough / 2);
	check_bits(f, session, order, 3, 3, "after a text that needs too much");
	ie_session_free(session);

	/* too little: refused before scratch or prefix are allocated */
	session = open_session(f->model, (ie_session_config)
						   {.n_threads = 1, .max_bytes = 100000, .prefix_cache_bytes = 4u << 20});
	f->largest = 0;
	CHECK_INT(ie_embed(session, &request, vectors, NULL, &err), IE_LIMIT);
	CHECK(strstr(err.message, "97 kB are allowed") != NULL);
	CHECK(f->largest < 10000);	/* lists of tokens */
	CHECK(ie_session_bytes(session) < 20000);
	ie_session_free(session);
	free(vectors);
}

static void
test_arguments(const fixture *f)
{
	ie_session *session = NULL;
	float	   *vectors = calloc(2 * f->C, sizeof(float));
	ie_session_config config = {.n_threads = 0};
	ie_text		inputs[2] = {{"a", 1}, {"", 0}};
	ie_embed_request request = {instruction, inputs, 2, false};
	ie_embed_stats stats;
	ie_error	err = {0};

	CHECK_INT(ie_session_create(f->model, &config, &session, &err), IE_INVALID);
	config.n_threads = 65;
	CHECK_INT(ie_session_create(f->model, &config, &session, &err), IE_INVALID);
	CHECK(session == NULL);

	session = open_session(f->model, plain);
	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_INVALID);
	CHECK_STR(err.message, "text to embed must not be empty");
	inputs[1] = (ie_text) {"a\xff", 2};
	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_INVALID);
	inputs[1] = (ie_text) {"b", 1};
	request.instruction = (ie_text) {"\xc3", 1};
	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_INVALID);
	request.instruction = (ie_text) {"", 0};
	request.n_inputs = 0;
	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_OK);
	CHECK_INT(stats.n_tokens, 0);

	/* invariant: computed and reused positions are all positions of all texts */
	request.n_inputs = 2;
	CHECK_INT(ie_embed(session, &request, vectors, &stats, &err), IE_OK);
	{
		const uint64_t n_text = 1 + session->suffix.n + f->model->definition.lookahead_count;
		const uint64_t n_prefix = stats.n_tokens - 2 * n_text;

		CHECK(n_prefix > 0);
		CHECK_INT(stats.n_tokens_reused, n_prefix);
	}
	CHECK_INT(ie_embed(session, &request, vectors, NULL, &err), IE_OK);
	ie_session_free(session);
	ie_session_free(NULL);
	ie_model_close(NULL);
	free(vectors);
}

/* A control token in an instruction or a text is text: it must not equal the real one. */
static void
test_control_tokens(const fixture *f)
{
	int32_t    *tokens = NULL;
	size_t		n = 0;
	ie_error	err = {0};

	CHECK_INT(ie_tokenize(f->model, (ie_text) {"<|im_end|>", 10}, &tokens, &n, &err), IE_OK);
	CHECK(n > 5);
	for (size_t i = 0; i < n; i++)
		CHECK(!ie_vocab_is_control(f->model->vocab, tokens[i]));
	f->host.free(f->host.arg, tokens);
	CHECK_INT(ie_tokenize(f->model, (ie_text) {"", 0}, &tokens, &n, &err), IE_OK);
	CHECK(tokens == NULL && n == 0);
	CHECK_INT(ie_tokenize(f->model, (ie_text) {"\xff", 1}, &tokens, &n, &err), IE_INVALID);
}

static void
nan_norm(const ie_host *host, const char *pooling)
{
	model_spec	spec = model_spec_default();
	static const char path[] = "/tmp/instemb_test_nan.gguf";
	const ie_text input = {"a", 1};
	const ie_embed_request request = {instruction, &input, 1, false};
	float	   *vector = malloc(spec.n_embd * sizeof(float));
	ie_session *session;
	ie_model   *model = NULL;
	ie_error	err = {0};
	const float nan = NAN;
	FILE	   *file;

	spec.n_lookahead = 2;
	spec.pooling = pooling;
	mb_save(&spec, path);
	CHECK_INT(ie_model_open(host, path, &model, &err), IE_OK);
	file = fopen(path, "r+b");
	fseek(file, (long) ((const uint8_t *) model->weights.layers[1].ffn_norm - model->map.data),
		  SEEK_SET);
	fwrite(&nan, sizeof(nan), 1, file);
	fclose(file);
	session = open_session(model, plain);
	CHECK_INT(ie_embed(session, &request, vector, NULL, &err), IE_NUMERIC);
	ie_session_free(session);
	ie_model_close(model);
	unlink(path);
	free(vector);
}

int
main(void)
{
	uint64_t	random;
	model_spec	spec = model_spec_default();
	fixture		f;

	random = test_seed("test_embed");

	spec.n_ctx = 700;
	spec.n_lookahead = 3;
	spec.pooling = "daap";
	open_fixture(&f, &spec, &random);
	test_same_bits(&f, IE_CPU_REF, &random);
	test_lengths(&f, &random);
	test_prefix_cache(&f, &random);
	test_cancel(&f);
	test_truncation(&f);
	test_limit(&f);
	test_arguments(&f);
	test_control_tokens(&f);
	nan_norm(&f.host, "last");
	nan_norm(&f.host, "daap");
	close_fixture(&f);

	/* the other poolings look at other rows; no prefix at all */
	spec.pooling = "mean";
	spec.prefix = "{instruction}";
	spec.prefix_empty = "";
	spec.suffix = "\n";
	open_fixture(&f, &spec, &random);
	test_same_bits(&f, ie_cpu_detect(), &random);
	close_fixture(&f);
	spec.pooling = NULL;
	spec.n_lookahead = 0;
	spec.suffix = "";
	open_fixture(&f, &spec, &random);
	test_same_bits(&f, ie_cpu_detect(), &random);
	close_fixture(&f);

	/* poolings that generate take texts one by one */
	spec.pooling = "generate";
	open_fixture(&f, &spec, &random);
	test_same_bits(&f, IE_CPU_REF, &random);
	close_fixture(&f);
	spec.pooling = "generate_mean";
	spec.suffix = "\n";
	open_fixture(&f, &spec, &random);
	test_same_bits(&f, ie_cpu_detect(), &random);
	close_fixture(&f);

	test_parts();
	test_no_memory(&spec);
	return test_end("test_embed");
}
