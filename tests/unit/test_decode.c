/*
 * test_decode.c
 *	  From token ids to text: the byte-level alphabet backwards, tokens that are
 *	  no text, bytes that are no UTF-8.
 */
#include "test.h"
#include "vocab_builder.h"

static test_host_state state;
static ie_host host;

/* Ids of the tokens behind the bytes */
enum
{
	CONTROL = 256,
	USER_DEFINED,
	OUTSIDE,
	UNUSED
};

static test_vocab
open_vocab(void)
{
	static const vocab_token tokens[] = {
		{"<|im_end|>", 3}, {"<tool \xc4\xa0>", 4}, {"\xe2\x82\xac" "a\xc4\xa0", 1}, {"[unused]", 5}
	};
	vocab_spec	spec = vocab_spec_default();
	test_vocab	t;
	ie_error	err = {0};

	spec.tokens = tokens;
	spec.n_tokens = IE_LENGTH(tokens);
	CHECK_INT(vb_open(&host, &spec, &t, &err), IE_OK);
	CHECK_STR(err.message, "");
	return t;
}

static void
check_ids(const ie_vocab *vocab, const int32_t *ids, size_t n, const char *expected)
{
	char	   *text = NULL;
	size_t		len = 0;
	ie_error	err = {0};

	CHECK_INT(ie_vocab_decode(vocab, ids, n, &text, &len, &err), IE_OK);
	CHECK_INT(len, strlen(expected));
	if (len != strlen(expected) || memcmp(text, expected, len) != 0)
	{
		printf("decoded \"%.*s\"\n", (int) len, text);
		CHECK_STR("other text", expected);
	}
	ie_release(&host, text);
}

static void
check_bytes(const ie_vocab *vocab, const char *bytes, const char *expected)
{
	int32_t		ids[64];
	size_t		n = 0;

	for (; bytes[n] != '\0'; n++)
		ids[n] = ie_vocab_find_word(vocab, (ie_text) {bytes + n, 1});
	check_ids(vocab, ids, n, expected);
}

#define BAD "\xef\xbf\xbd"

/* As Unicode 16.0, table 3-8 and those beside it, replaces maximal subparts */
static void
test_malformed(const ie_vocab *vocab)
{
	static const char *const texts[][2] = {
		{"na\xc3\xafve \xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x98\x80",
		"na\xc3\xafve \xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x98\x80"},
		{"\xe6\x9d", BAD},		/* the last token was cut in a character */
		{"a\xf0\x9f\x98", "a" BAD},
		{"\xf0\x9f\x98" "b", BAD "b"},
		{"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", BAD BAD BAD BAD BAD BAD BAD BAD "A"},
		{"\xed\xa0\x80", BAD BAD BAD},
		{"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", BAD BAD BAD BAD BAD "A" BAD BAD "B"},
		{"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", BAD BAD BAD BAD "A"},
	};

	for (size_t i = 0; i < IE_LENGTH(texts); i++)
		check_bytes(vocab, texts[i][0], texts[i][1]);
}

static void
test_kinds(const ie_vocab *vocab)
{
	static const int32_t ids[] = {'a', CONTROL, USER_DEFINED, UNUSED, 'b'};
	static const int32_t outside[] = {OUTSIDE};
	static const int32_t nul[] = {'x', 0, 'y'};

	check_ids(vocab, NULL, 0, "");
	check_ids(vocab, ids, IE_LENGTH(ids), "a<tool \xc4\xa0>b");
	check_ids(vocab, outside, 1, "\xe2\x82\xac" "a ");	/* the euro stands for no byte */
	check_ids(vocab, nul, 3, "x" BAD "y");
}

/* Every byte, by its token, is the byte that encoding makes the token of. */
static void
test_bytes(const ie_vocab *vocab)
{
	for (unsigned byte = 1; byte < 0x80; byte++)
		check_bytes(vocab, (const char[]) {(char) byte, '\0'},
					(const char[]) {(char) byte, '\0'});
	for (unsigned cp = 0x80; cp < 0x800; cp++)
	{
		const char	text[] = {(char) (0xc0 | cp >> 6), (char) (0x80 | (cp & 0x3f)), '\0'};

		check_bytes(vocab, text, text);
	}
}

static void
test_no_memory(const ie_vocab *vocab)
{
	const int32_t ids[] = {'a'};
	char	   *text;
	size_t		len;
	ie_error	err = {0};

	state.fail_at = state.n_allocs + 1;
	CHECK_INT(ie_vocab_decode(vocab, ids, 1, &text, &len, &err), IE_NOMEM);
	state.fail_at = 0;
}

int
main(void)
{
	test_vocab	t;

	host = test_host(&state);
	t = open_vocab();
	test_malformed(t.vocab);
	test_kinds(t.vocab);
	test_bytes(t.vocab);
	test_no_memory(t.vocab);
	vb_close(&t);
	CHECK_INT(state.n_live, 0);
	return test_end("test_decode");
}
