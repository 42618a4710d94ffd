/*
 * test_train_rows.c
 *	  Settings of a trainer and the rows it takes: what is refused and how it is
 *	  said, equal texts kept once, the memory limit.
 */
#include "train/trainer.h"
#include "model_builder.h"

static const char *const model_path = "tests/golden/tiny.gguf";

static ie_model *
open_model(const ie_host *host)
{
	ie_model   *model = NULL;
	ie_error	err = {0};

	CHECK_INT(ie_model_open(host, model_path, &model, &err), IE_OK);
	return model;
}

static ie_text
text(const char *s)
{
	return (ie_text) {s, strlen(s)};
}

static ie_triple
triple(const char *instruction, const char *input, const char *output)
{
	return (ie_triple) {text(instruction), text(input), text(output)};
}

/* Create a trainer with these settings: message of the failure, "" if there is none. */
static const char *
refusal(const ie_host *host, const ie_model *model, ie_train_config config)
{
	static ie_error err;
	ie_trainer *trainer = NULL;

	memset(&err, 0, sizeof(err));
	ie_trainer_create(host, model, &config, &trainer, &err);
	ie_trainer_free(trainer);
	return err.message;
}

static ie_train_config
with_defaults(void)
{
	ie_train_config config;

	ie_train_config_default(&config);
	config.max_row_tokens = 100;
	return config;
}

static void
test_settings(void)
{
	test_host_state state = {0};
	const ie_host host = test_host(&state);
	ie_model   *model = open_model(&host);
	ie_train_config c = with_defaults();

	CHECK_STR(refusal(&host, model, c), "");
	c.rank = 0;
	CHECK_STR(refusal(&host, model, c), "training setting \"rank\" is out of range");
	c = with_defaults();
	c.learning_rate = NAN;
	CHECK_STR(refusal(&host, model, c), "training setting \"learning_rate\" is out of range");
	c = with_defaults();
	c.max_row_tokens = 513;
	CHECK_STR(refusal(&host, model, c), "training setting \"max_row_tokens\" is out of range");
	c = with_defaults();
	c.pooling = "best";
	CHECK_STR(refusal(&host, model, c), "pooling \"best\" does not exist");
	c = with_defaults();
	c.weight_view = 1;
	CHECK_STR(refusal(&host, model, c), "loss \"view\" needs dropout");
	c = with_defaults();
	c.lookahead_count = 0;
	CHECK_STR(refusal(&host, model, c),
			  "look-ahead vectors are asked for, but their number is 0");
	c.pooling = "last";
	c.contrast = IE_CONTRAST_LAST;
	c.weight_ce = 0;
	CHECK_STR(refusal(&host, model, c), "");
	c.contrast = 0;
	CHECK_STR(refusal(&host, model, c), "no pooling is chosen for the contrastive losses");
	c.weight_answer = c.weight_back = c.weight_group = 0;
	CHECK_STR(refusal(&host, model, c), "all losses are switched off");
	c.weight_generation = 1;
	CHECK_STR(refusal(&host, model, c), "");
	c.pooling = "generate";
	CHECK_STR(refusal(&host, model, c), "");
	c.lookahead_count = 2;
	CHECK_STR(refusal(&host, model, c), "loss \"generation\" alone trains no look-ahead vectors");
	c.weight_ce = 1;
	CHECK_STR(refusal(&host, model, c), "");
	c = with_defaults();
	c.max_bytes = (size_t) 65 << 20;
	CHECK_STR(refusal(&host, model, c),
			  "training needs more memory than its limit of 1048576 bytes allows");
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

static void
test_bad_rows(void)
{
	static const struct
	{
		ie_triple	row;
		ie_code		code;
		const char *message;
	}			cases[] = {
		{{{"What?", 5}, {"", 0}, {"yes", 3}}, IE_INVALID,
		 "input of training row 3 cannot be used: it is empty"},
		{{{"What?", 5}, {"tent", 4}, {"", 0}}, IE_INVALID,
		 "output of training row 3 cannot be used: it is empty"},
		{{{"W\xff", 2}, {"tent", 4}, {"yes", 3}}, IE_INVALID,
		 "instruction of training row 3 cannot be used: text is not valid UTF-8"},
		{{{"What?", 5}, {"t\xff", 2}, {"yes", 3}}, IE_INVALID,
		 "input of training row 3 cannot be used: text is not valid UTF-8"},
		{{{"What?", 5}, {"tent", 4}, {"y\xc3", 2}}, IE_INVALID,
		 "output of training row 3 cannot be used: text is not valid UTF-8"},
	};
	test_host_state state = {0};
	const ie_host host = test_host(&state);
	ie_model   *model = open_model(&host);
	const ie_train_config config = with_defaults();
	ie_trainer *trainer = NULL;
	ie_error	err = {0};
	ie_triple	rows[3] = {triple("What?", "tent", "yes"), triple("", "tent", "a tent")};
	char		longest[1001];
	size_t		n_added;

	CHECK_INT(ie_trainer_create(&host, model, &config, &trainer, &err), IE_OK);
	for (size_t i = 0; i < IE_LENGTH(cases); i++)
	{
		rows[2] = cases[i].row;
		CHECK_INT(ie_trainer_add(trainer, rows + (i > 0 ? 2 : 0), i > 0 ? 1 : 3, &n_added, &err),
				  cases[i].code);
		CHECK_INT(n_added, i > 0 ? 0 : 2);
		CHECK_STR(err.message, cases[i].message);
	}
	memset(longest, 'x', sizeof(longest));
	rows[2] = (ie_triple) {text("What?"), {longest, sizeof(longest)}, text("yes")};
	CHECK_INT(ie_trainer_add(trainer, rows + 2, 1, NULL, &err), IE_LIMIT);
	CHECK(strstr(err.message, "input of training row 3 cannot be used: it has ") == err.message);
	CHECK_INT(trainer->rows.n, 2);
	ie_trainer_free(trainer);
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

static void
test_tokens(void)
{
	test_host_state state = {0};
	const ie_host host = test_host(&state);
	ie_model   *model = open_model(&host);
	ie_train_config config = with_defaults();
	ie_trainer *trainer = NULL;
	ie_error	err = {0};
	char		longest[1001];
	const ie_triple rows[] = {
		triple("Is it good?", "a tent", "Yes"),
		triple("Is it good?", "a garden chair", " yes. "),
		triple("What is it?", "a tent", "a tent"),
		{text("What is it?"), {longest, sizeof(longest)}, {longest, sizeof(longest)}},
		triple("", "a tent", "."),
	};
	const ie_token_pool *pool;
	const ie_train_row *r;
	int32_t    *ids;
	size_t		n;

	memset(longest, 'q', sizeof(longest));
	config.truncate = true;
	CHECK_INT(ie_trainer_create(&host, model, &config, &trainer, &err), IE_OK);
	CHECK_INT(ie_trainer_add(trainer, rows, IE_LENGTH(rows), NULL, &err), IE_OK);
	pool = &trainer->rows.pool;
	r = trainer->rows.rows;

	CHECK_INT(r[0].prefix, r[1].prefix);
	CHECK(r[0].prefix != r[2].prefix);
	CHECK_INT(r[4].prefix, trainer->rows.empty_prefix);
	CHECK_INT(r[0].text, r[2].text);
	CHECK_INT(r[0].key, r[1].key);
	CHECK(r[0].key != r[2].key);
	CHECK(r[0].gold != r[1].gold);
	CHECK_INT(r[2].answer, r[2].text);

	/* an answer's tokens, then the end token; alone, as ie_tokenize() gives them */
	CHECK_INT(ie_tokenize(model, text("Yes"), &ids, &n, &err), IE_OK);
	CHECK_INT(ie_pool_len(pool, r[0].gold), n + 1);
	CHECK(memcmp(ie_pool_ids(pool, r[0].gold), ids, n * sizeof(int32_t)) == 0);
	CHECK_INT(ie_pool_ids(pool, r[0].gold)[n], 2);
	CHECK_INT(ie_pool_len(pool, r[0].answer), n);
	host.free(host.arg, ids);

	/* cut: the answer to its limit, the text to what is left */
	CHECK_INT(ie_pool_len(pool, r[3].answer), 40);
	CHECK_INT(ie_pool_len(pool, r[3].gold), 41);
	CHECK_INT(ie_pool_len(pool, r[3].prefix) + ie_pool_len(pool, r[3].text) +
			  ie_pool_len(pool, r[3].suffix) + 41, 100);
	ie_trainer_free(trainer);
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

static void
add_suffix_empty(gguf_builder *b)
{
	gb_kv_text(b, "instemb.template.suffix_empty", "\n### Response:");
}

/* InBedder's template: the instruction behind the text, and so not in the prefix */
static void
test_instruction_behind(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	model_spec	spec = model_spec_default();
	ie_train_config config = with_defaults();
	ie_error	err = {0};
	const ie_triple rows[] = {
		triple("Is it good?", "a tent", "Yes"),
		triple("What is it?", "a tent", "Yes"),
		triple("", "a tent", "Yes"),
	};
	ie_trainer *trainer = NULL;
	const ie_train_row *r;
	ie_model   *model;

	spec.prefix = "### Input:\n";
	spec.prefix_empty = "### Input:\n";
	spec.suffix = "\n### Instruction:\n{instruction}\n### Response:";
	spec.extra_kv = add_suffix_empty;
	config.max_row_tokens = 200;
	model = mb_open(&host, &spec, &err);
	CHECK_STR(err.message, "");
	CHECK_INT(ie_trainer_create(&host, model, &config, &trainer, &err), IE_OK);
	CHECK_INT(ie_trainer_add(trainer, rows, IE_LENGTH(rows), NULL, &err), IE_OK);
	r = trainer->rows.rows;
	CHECK_INT(r[0].prefix, r[1].prefix);
	CHECK(r[0].suffix != r[1].suffix);
	CHECK(r[0].instruction != r[1].instruction);
	CHECK_INT(r[2].suffix, trainer->rows.empty_suffix);
	ie_trainer_free(trainer);
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

/* Every allocation is made to fail once. */
static void
test_no_memory(void)
{
	const ie_train_config config = with_defaults();
	const ie_triple row = triple("Is it good?", "a tent", "Yes");
	ie_code		code = IE_NOMEM;

	for (long n = 0; code == IE_NOMEM && n < 1000; n++)
	{
		test_host_state state = {0};
		const ie_host host = test_host(&state);
		ie_model   *model = open_model(&host);
		const long live = state.n_live;
		ie_trainer *trainer = NULL;
		ie_error	err = {0};

		state.fail_at = state.n_allocs + n + 1;
		code = ie_trainer_create(&host, model, &config, &trainer, &err);
		if (code == IE_OK)
			code = ie_trainer_add(trainer, &row, 1, NULL, &err);
		CHECK_INT(err.code, code);
		ie_trainer_free(trainer);
		CHECK_INT(state.n_live, live);
		state.fail_at = 0;
		ie_model_close(model);
	}
	CHECK_INT(code, IE_OK);
}

int
main(void)
{
	test_settings();
	test_bad_rows();
	test_tokens();
	test_instruction_behind();
	test_no_memory();
	return test_end("train_rows");
}
