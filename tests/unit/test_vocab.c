/*
 * test_vocab.c
 *	  Vocabulary tables, encoding of texts and of template literals.
 */
#include "test.h"
#include "vocab_builder.h"

#define SPEC_MERGES(spec, ...) \
	do { \
		static const char *const merges_[] = {__VA_ARGS__}; \
		(spec).merges = merges_; \
		(spec).n_merges = IE_LENGTH(merges_); \
	} while (0)

#define SPEC_TOKENS(spec, ...) \
	do { \
		static const vocab_token tokens_[] = {__VA_ARGS__}; \
		(spec).tokens = tokens_; \
		(spec).n_tokens = IE_LENGTH(tokens_); \
	} while (0)

static ie_text
text_of(const char *s)
{
	return (ie_text) {s, strlen(s)};
}

/* Spellings with "|" behind each; control tokens in brackets */
static const char *
show(const ie_vocab *vocab, const ie_tokens *tokens)
{
	static char shown[1024];
	size_t		len = 0;

	for (size_t i = 0; i < tokens->n; i++)
	{
		const ie_text token = ie_vocab_token(vocab, tokens->ids[i]);
		const bool	control = ie_vocab_is_control(vocab, tokens->ids[i]);

		len += (size_t) snprintf(shown + len, sizeof(shown) - len, control ? "[%.*s]|" : "%.*s|",
								 (int) token.len, token.data);
	}
	shown[len] = '\0';
	return shown;
}

static void
check_encode(const test_vocab *t, const char *text, const char *expected)
{
	ie_tokens	tokens = {0};
	ie_error	err;

	CHECK_INT(ie_vocab_encode(t->vocab, text_of(text), &tokens, &err), IE_OK);
	CHECK_STR(show(t->vocab, &tokens), expected);
	ie_release(t->file.host, tokens.ids);
}

static void
check_template(const test_vocab *t, const char *literal, const char *name, const char *value,
			   const char *expected)
{
	ie_tokens	tokens = {0};
	ie_error	err;

	CHECK_INT(ie_vocab_encode_template(t->vocab, text_of(literal), name, text_of(value),
									   &tokens, &err), IE_OK);
	CHECK_STR(show(t->vocab, &tokens), expected);
	ie_release(t->file.host, tokens.ids);
}

/* A vocabulary for most of the tests; control tokens are 256 to 260. */
static vocab_spec
usual_spec(void)
{
	vocab_spec	spec = vocab_spec_default();

	SPEC_TOKENS(spec, {"<|im_start|>", 3}, {"<|im_end|>!", 3}, {"<|im_end|>", 3}, {"<tool>", 4},
				{"tent", 3}, {"unused", 5});
	SPEC_MERGES(spec, "t e", "n t", "te nt", "i n", "\xc4\xa0 te", "\xc4\xa0te nt",
				"1 2", "12 3", "< |", "| >", "! !", "i m", "e n", "en d");
	return spec;
}

/* ----------------------------------------------------------------- tables */

static void
test_lookups(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	const vocab_spec spec = usual_spec();
	test_vocab	t;
	ie_error	err;
	long		n_live;

	CHECK_INT(vb_open(&host, &spec, &t, &err), IE_OK);
	CHECK_INT(ie_vocab_size(t.vocab), 256 + 6 + 13);
	CHECK_STR(ie_vocab_pre_type(t.vocab), "gpt-2");
	CHECK_INT(ie_vocab_find(t.vocab, text_of("a")), 'a');
	CHECK_INT(ie_vocab_find(t.vocab, text_of("\xc4\xa0")), ' ');
	CHECK_INT(ie_vocab_find(t.vocab, text_of("<|im_end|>")), 258);
	CHECK_INT(ie_vocab_find(t.vocab, text_of("<|im_end|")), -1);
	CHECK_INT(ie_vocab_find(t.vocab, text_of("")), -1);
	CHECK_INT(ie_vocab_bos(t.vocab), -1);
	for (int32_t id = 0; id < (int32_t) ie_vocab_size(t.vocab); id++)
	{
		CHECK_INT(ie_vocab_find(t.vocab, ie_vocab_token(t.vocab, id)), id);
		CHECK_INT(ie_vocab_is_control(t.vocab, id), id >= 256 && id <= 260);
	}
	n_live = state.n_live;
	ie_vocab_free(t.vocab);
	CHECK_INT(state.n_live, n_live - 1);	/* all tables are one block */
	t.vocab = NULL;
	vb_close(&t);
	CHECK_INT(state.n_live, 0);
	ie_vocab_free(NULL);
}

static void
test_bos(void)
{
	static const struct
	{
		const char *pre;
		int			add_bos;
		int64_t		bos;
		int32_t		expected;
	}			cases[] = {
		{"smollm", -1, 7, -1}, {"smollm", 1, 7, 7}, {"gpt-2", 0, 7, -1}, {"qwen2", -1, 7, -1},
		{"deepseek-r1-qwen", 1, 255, 255}, {"llama-bpe", -1, 7, 7}, {"llama3", 0, 7, -1},
		{"llama-v3", -1, 3, 3}, {"smollm", -1, 99999, -1}
	};
	test_host_state state;
	const ie_host host = test_host(&state);

	for (size_t i = 0; i < IE_LENGTH(cases); i++)
	{
		vocab_spec	spec = vocab_spec_default();
		test_vocab	t;
		ie_error	err;

		spec.pre = cases[i].pre;
		spec.add_bos = cases[i].add_bos;
		spec.bos = cases[i].bos;
		CHECK_INT(vb_open(&host, &spec, &t, &err), IE_OK);
		CHECK_STR(ie_vocab_pre_type(t.vocab), cases[i].pre);
		CHECK_INT(ie_vocab_bos(t.vocab), cases[i].expected);
		vb_close(&t);
	}
}

static void
check_refused(const vocab_spec *spec, ie_code expected, const char *message, const char *detail)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	test_vocab	t;
	ie_error	err = {0};

	CHECK_INT(vb_open(&host, spec, &t, &err), expected);
	CHECK_STR(err.message, message);
	CHECK_STR(err.detail, detail);
	CHECK_INT(state.n_live, 0);
}

static void
test_refused_metadata(void)
{
	static const char *const required[] = {
		"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
		"tokenizer.ggml.token_type", "tokenizer.ggml.merges"
	};
	vocab_spec	spec;

	for (size_t i = 0; i < IE_LENGTH(required); i++)
	{
		test_host_state state;
		const ie_host host = test_host(&state);
		test_vocab	t;
		ie_error	err = {0};

		spec = usual_spec();
		spec.omit = required[i];
		CHECK_INT(vb_open(&host, &spec, &t, &err), IE_FORMAT);
		CHECK(strstr(err.message, required[i]) != NULL);
	}
	spec = usual_spec();
	spec.model = "llama";
	check_refused(&spec, IE_UNSUPPORTED, "tokenizer model \"llama\" is not supported",
				  "Supported is \"gpt2\", that is byte-level BPE.");
	spec = usual_spec();
	spec.pre = "tekken";
	check_refused(&spec, IE_UNSUPPORTED, "pre-tokenizer \"tekken\" is not supported",
				  "Supported are smollm, gpt-2, llama-bpe (llama3, llama-v3) and "
				  "qwen2 (deepseek-r1-qwen).");
	spec = usual_spec();
	spec.add_bos = 1;
	spec.bos = 275;
	check_refused(&spec, IE_FORMAT, "BOS token 275 is not in the vocabulary of 275 tokens", "");
	spec = usual_spec();
	spec.n_extra_types = 1;
	check_refused(&spec, IE_FORMAT, "token types do not match the tokens",
				  "There are 275 tokens and 276 token types.");
	spec.n_extra_types = -1;
	check_refused(&spec, IE_FORMAT, "token types do not match the tokens",
				  "There are 275 tokens and 274 token types.");
}

static void
test_refused_tokens(void)
{
	vocab_spec	spec = usual_spec();

	SPEC_TOKENS(spec, {"abc", 1}, {"abd", 1}, {"abc", 3});
	check_refused(&spec, IE_FORMAT, "tokens 256 and 258 are the same", "Both are \"abc\".");
	spec = usual_spec();
	SPEC_TOKENS(spec, {"\xc4\xa0", 1});
	check_refused(&spec, IE_FORMAT, "tokens 32 and 256 are the same", "Both are \"\\xc4\\xa0\".");
	spec = usual_spec();
	spec.n_merges = 0;
	spec.empty = "A";
	check_refused(&spec, IE_FORMAT, "vocabulary has no token for the byte 0x41",
				  "Byte-level BPE needs a token for each byte that ordinary text consists of.");
	SPEC_TOKENS(spec, {"A", 3});	/* a control token does not count */
	check_refused(&spec, IE_FORMAT, "vocabulary has no token for the byte 0x41",
				  "Byte-level BPE needs a token for each byte that ordinary text consists of.");
}

static void
test_refused_merges(void)
{
	static const struct
	{
		const char *merge;
		const char *detail;
	}			cases[] = {
		{"", "\"\" is not two tokens with a space between them."},
		{"ab", "\"ab\" is not two tokens with a space between them."},
		{"a ", "\"a \" is not two tokens with a space between them."},
		{" ab", "\" ab\" is not two tokens with a space between them."},
		{"a  b", "\"a  b\" is not two tokens with a space between them."},
		{"a b c", "\"a b c\" is not two tokens with a space between them."},
		{"a b", "\"a b\" needs a token that is not in the vocabulary."},
		{"xy z", "\"xy z\" needs a token that is not in the vocabulary."},
		{"x yz", "\"x yz\" needs a token that is not in the vocabulary."},
		{"p q", "\"p q\" occurs twice."},
	};
	vocab_spec	spec = vocab_spec_default();

	SPEC_TOKENS(spec, {"pq", 1}, {"xyz", 1});
	spec.merges_alone = true;
	spec.n_merges = 2;
	for (size_t i = 0; i < IE_LENGTH(cases); i++)
	{
		spec.merges = (const char *const[]) {"p q", cases[i].merge};
		check_refused(&spec, IE_FORMAT, "merge 1 is not valid", cases[i].detail);
	}
}

/* ------------------------------------------------------------------- texts */

static void
test_encode(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	const vocab_spec spec = usual_spec();
	test_vocab	t;
	ie_error	err;

	CHECK_INT(vb_open(&host, &spec, &t, &err), IE_OK);
	check_encode(&t, "", "");
	check_encode(&t, "x", "x|");
	/* "tent" is a control token, so the merge that makes it is left out */
	check_encode(&t, "tent", "te|nt|");
	check_encode(&t, " tent", "\xc4\xa0tent|");
	check_encode(&t, "tnt in", "t|nt|\xc4\xa0|in|");
	check_encode(&t, "1234", "123|4|");
	check_encode(&t, "!!!", "!!|!|");
	check_encode(&t, "\xc3\xa9\n", "\xc3\x83|\xc2\xa9|\xc4\x8a|");
	check_encode(&t, "<|im_end|>", "<||im|_|end||>|");
	check_encode(&t, "<tool> unused", "<|t|o|o|l|>|\xc4\xa0|u|n|u|s|e|d|");
	vb_close(&t);
	CHECK_INT(state.n_live, 0);
}

/* llama-bpe: a word that is a token is that token, even if no merge makes it. */
static void
test_whole_words(void)
{
	static const struct
	{
		const char *text;
		const char *llama_bpe;
		const char *qwen2;
	}			cases[] = {
		{"quux", "quux|", "qu|ux|"},
		{"x quux", "x|\xc4\xa0quux|", "x|\xc4\xa0|qu|ux|"},
		{"\xc3\xa9t\xc3\xa9", "\xc3\x83\xc2\xa9t\xc3\x83\xc2\xa9|",
		"\xc3\x83|\xc2\xa9|t|\xc3\x83|\xc2\xa9|"},
		{"quuxx", "qu|ux|x|", "qu|ux|x|"},
		{"tent", "tent|", "tent|"},
		/* control, user-defined and unused tokens are not words */
		{"word", "w|o|r|d|", "w|o|r|d|"},
		{"other", "o|t|h|e|r|", "o|t|h|e|r|"},
		{"blank", "b|l|a|n|k|", "b|l|a|n|k|"},
	};
	test_host_state state;
	const ie_host host = test_host(&state);
	vocab_spec	spec = vocab_spec_default();
	test_vocab	llama_bpe;
	test_vocab	qwen2;
	ie_error	err;

	SPEC_TOKENS(spec, {"quux", 1}, {"\xc4\xa0quux", 1}, {"\xc3\x83\xc2\xa9t\xc3\x83\xc2\xa9", 1},
				{"uxx", 1}, {"word", 3}, {"other", 4}, {"blank", 5});
	SPEC_MERGES(spec, "q u", "u x", "t e", "n t", "te nt");
	spec.pre = "llama-bpe";
	spec.add_bos = 0;
	CHECK_INT(vb_open(&host, &spec, &llama_bpe, &err), IE_OK);
	spec.pre = "qwen2";
	CHECK_INT(vb_open(&host, &spec, &qwen2, &err), IE_OK);
	for (size_t i = 0; i < IE_LENGTH(cases); i++)
	{
		check_encode(&llama_bpe, cases[i].text, cases[i].llama_bpe);
		check_encode(&qwen2, cases[i].text, cases[i].qwen2);
	}
	vb_close(&llama_bpe);
	vb_close(&qwen2);
}

/* Bytes without a token are left out, and what stands on both sides can merge. */
static void
test_missing_bytes(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	vocab_spec	spec = usual_spec();
	test_vocab	t;
	ie_error	err;

	spec.empty = "\xc4\x84";	/* of 0x04 */
	SPEC_TOKENS(spec, {"", 5}, {"", 3}, {"tent", 3});
	CHECK_INT(vb_open(&host, &spec, &t, &err), IE_OK);
	CHECK_INT(ie_vocab_find(t.vocab, text_of("")), -1);
	CHECK_INT(ie_vocab_token(t.vocab, 256).len, 0);
	check_template(&t, "a", NULL, "", "a|");
	check_encode(&t, "\x04", "");
	check_encode(&t, "a\x04\x04z", "a|z|");
	check_encode(&t, "!\x04!", "!!|");
	vb_close(&t);
}

/* The list grows behind what it holds, and is as it was after a failure. */
static void
test_append(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	const vocab_spec spec = usual_spec();
	ie_tokens	tokens = {0};
	test_vocab	t;
	ie_error	err;

	CHECK_INT(vb_open(&host, &spec, &t, &err), IE_OK);
	CHECK_INT(ie_tokens_push(&host, &tokens, 'p', &err), IE_OK);
	CHECK_INT(ie_vocab_encode(t.vocab, text_of("in"), &tokens, &err), IE_OK);
	CHECK_INT(ie_vocab_encode(t.vocab, text_of("a nt\xff"), &tokens, &err), IE_INVALID);
	CHECK_STR(err.message, "text is not valid UTF-8");
	CHECK_STR(err.detail, "The character at byte offset 4 starts with 0xff.");
	CHECK_INT(ie_vocab_encode_template(t.vocab, text_of("<tool>ab{x}"), "x", text_of("q\xc3"),
									   &tokens, &err), IE_INVALID);
	CHECK_STR(err.message, "text is not valid UTF-8");
	CHECK_STR(err.detail, "The character at byte offset 1 starts with 0xc3.");
	CHECK_INT(ie_vocab_encode_template(t.vocab, text_of("<tool>ab\x80"), "x", text_of("q"),
									   &tokens, &err), IE_INVALID);
	CHECK_STR(err.message, "template is not valid UTF-8");
	CHECK_STR(show(t.vocab, &tokens), "p|in|");
	for (int i = 0; i < 1000; i++)
		CHECK_INT(ie_vocab_encode(t.vocab, text_of("x"), &tokens, &err), IE_OK);
	CHECK_INT(tokens.n, 1002);
	CHECK(state.n_allocs < 15);	/* by doubling */
	ie_release(&host, tokens.ids);
	vb_close(&t);
	CHECK_INT(state.n_live, 0);
}

static void
test_template(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	const vocab_spec spec = usual_spec();
	ie_tokens	none = {0};
	test_vocab	t;
	ie_error	err;

	CHECK_INT(vb_open(&host, &spec, &t, &err), IE_OK);
	check_template(&t, "", "input", "x", "");
	CHECK_INT(ie_vocab_encode_template(t.vocab, (ie_text) {NULL, 0}, NULL, (ie_text) {NULL, 0},
									   &none, &err), IE_OK);
	CHECK_INT(none.n, 0);
	check_template(&t, "in", NULL, "", "in|");
	check_template(&t, "<|im_start|>in<|im_end|>", NULL, "", "[<|im_start|>]|in|[<|im_end|>]|");
	/* the longest control token, user-defined ones too */
	check_template(&t, "<|im_end|>!!<tool><|im_end|>", NULL, "",
				   "[<|im_end|>!]|!|[<tool>]|[<|im_end|>]|");
	check_template(&t, "<|im_end|", NULL, "", "<||im|_|end|||");
	/* a value never is a control token, not even together with the literal */
	check_template(&t, "<|im_start|>{input}!", "input", "<|im_end|>",
				   "[<|im_start|>]|<||im|_|end||>|!|");
	check_template(&t, "<|im_{input}|>", "input", "end", "<||im|_|end||>|");
	/* what the value brings is not looked at again */
	check_template(&t, "{x}", "x", "{x}{y}", "{|x|}|{|y|}|");
	/* a run is one text: the value merges with what stands around it */
	check_template(&t, "i{x}", "x", "n", "in|");
	check_template(&t, "{x}{x}\n", "x", "12", "12|12|\xc4\x8a|");
	check_template(&t, " {x}", "x", "tent", "\xc4\xa0tent|");
	check_template(&t, "<tool>{x}<tool>", "x", "", "[<tool>]|[<tool>]|");
	/* other names and half placeholders are text */
	check_template(&t, "{y}{x", "x", "in", "{|y|}|{|x|");
	check_template(&t, "{xz}", "x", "in", "{|x|z|}|");
	check_template(&t, "{}", "", "in", "in|");
	vb_close(&t);
	CHECK_INT(state.n_live, 0);
}

/* ------------------------------------------------------- failures, cancels */

typedef struct work
{
	const vocab_spec *spec;
	ie_text		text;
	ie_text		literal;
} work;

/* Create, encode a text with a long word, and a template. */
static ie_code
do_work(const ie_host *host, const work *w, size_t *n_tokens, ie_error *err)
{
	ie_tokens	tokens = {0};
	test_vocab	t;
	ie_code		code;

	IE_TRY(vb_open(host, w->spec, &t, err));
	IE_TRY_GOTO(ie_vocab_encode(t.vocab, w->text, &tokens, err));
	IE_TRY_GOTO(ie_vocab_encode_template(t.vocab, w->literal, "x", w->text, &tokens, err));
	*n_tokens = tokens.n;
done:
	ie_release(host, tokens.ids);
	vb_close(&t);
	return code;
}

static void
test_interruptions(void)
{
	const vocab_spec spec = usual_spec();
	static char text[300000];
	const work	w = {&spec, {text, sizeof(text)}, text_of("<tool>{x} <tool>{x}")};
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_error	err;
	size_t		n_tokens = 0;
	long		n_allocs;
	long		n_polls;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = "tenti n12!"[i * i % 97 % 10];
	memset(text + 1000, 't', 5000);
	CHECK_INT(do_work(&host, &w, &n_tokens, &err), IE_OK);
	CHECK(n_tokens > 100000);
	n_allocs = state.n_allocs;
	n_polls = state.n_polls;
	CHECK(n_allocs > 12);
	CHECK(n_polls > 40);

	for (long fail_at = 1; fail_at <= n_allocs; fail_at++)
	{
		host = test_host(&state);
		state.fail_at = fail_at;
		CHECK_INT(do_work(&host, &w, &n_tokens, &err), IE_NOMEM);
		CHECK_STR(err.message, "out of memory");
		CHECK_INT(state.n_live, 0);
	}
	for (long stop_after = 1; stop_after <= n_polls; stop_after++)
	{
		host = test_host(&state);
		state.stop_after = stop_after;
		CHECK_INT(do_work(&host, &w, &n_tokens, &err), IE_CANCELED);
		CHECK_INT(state.n_polls, stop_after);
		CHECK_INT(state.n_live, 0);
	}
}

int
main(void)
{
	test_lookups();
	test_bos();
	test_refused_metadata();
	test_refused_tokens();
	test_refused_merges();
	test_encode();
	test_whole_words();
	test_missing_bytes();
	test_append();
	test_template();
	test_interruptions();
	return test_end("vocab");
}
