/*
 * fuzz_vocab.c
 *	  The first byte says what the others are: 'V' a GGUF file with a vocabulary,
 *	  '0' to '3' a text for one of the split rules.
 *
 * A vocabulary that is accepted answers every look-up and encodes any text.  A
 * text is accepted if it is UTF-8; its tokens then spell it, byte by byte, and
 * none of them is a control token.  What the tables of a packed file mean is for
 * its checksum to say: they need not spell anything, but give tokens.
 */
#include "fuzz.h"
#include "vocab_builder.h"

static const char *const pre_types[] = {"smollm", "gpt-2", "llama-bpe", "qwen2"};

/* The encoding that the definition of UTF-8 gives each code point; no table of ranges. */
static bool
is_utf8(const uint8_t *s, size_t size)
{
	static const uint32_t first_of_length[] = {0, 0, 0x80, 0x800, 0x10000};

	for (size_t i = 0; i < size;)
	{
		const size_t length = s[i] < 0x80 ? 1 : s[i] >> 5 == 6 ? 2 : s[i] >> 4 == 14 ? 3 :
			s[i] >> 3 == 30 ? 4 : 0;
		uint32_t	cp;

		if (length == 0 || length > size - i)
			return false;
		cp = length == 1 ? s[i] : s[i] & (0xffu >> (length + 1));
		for (size_t j = 1; j < length; j++)
		{
			if (s[i + j] >> 6 != 2)
				return false;
			cp = cp << 6 | (s[i + j] & 0x3fu);
		}
		if (cp < first_of_length[length] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
			return false;
		i += length;
	}
	return true;
}

/* The tokens from first on spell the text in the byte-level alphabet. */
static void
require_spells(const ie_vocab *vocab, const ie_tokens *tokens, size_t first, ie_text text)
{
	size_t		pos = 0;

	for (size_t i = first; i < tokens->n; i++)
	{
		const ie_text token = ie_vocab_token(vocab, tokens->ids[i]);
		size_t		at = 0;

		REQUIRE(!ie_vocab_is_control(vocab, tokens->ids[i]));
		while (at < token.len)
		{
			char		symbol[2];
			size_t		n;

			REQUIRE(pos < text.len);
			n = ie_vocab_spell_byte((uint8_t) text.data[pos++], symbol);
			REQUIRE(token.len - at >= n && memcmp(token.data + at, symbol, n) == 0);
			at += n;
		}
	}
	REQUIRE(pos == text.len);
}

/* Vocabularies under each split rule, made once */
static ie_vocab *
vocab_for(size_t rule)
{
	static test_host_state state;
	static ie_host host;
	static test_vocab vocabs[4];
	static const vocab_token tokens[] = {{"<|im_start|>", 3}, {"<|im_end|>", 3}, {"<tool>", 4}};
	static const char *const merges[] = {
		"a b", "\xc4\xa0 a", "\xc4\xa0 \xc4\xa0", "\xc4\x8a \xc4\x8a", "1 2", "12 3", "! !",
		"ab ab", "\xc3\x83 \xc2\xa9", "< |", "i m", "| >", "' s", "\xc3\xa2 \xc4\xa2"
	};

	if (vocabs[rule].vocab == NULL)
	{
		vocab_spec	spec = vocab_spec_default();
		ie_error	err;

		if (host.alloc == NULL)
			host = test_host(&state);
		spec.pre = pre_types[rule];
		spec.add_bos = 0;
		spec.tokens = tokens;
		spec.n_tokens = IE_LENGTH(tokens);
		spec.merges = merges;
		spec.n_merges = IE_LENGTH(merges);
		REQUIRE(vb_open(&host, &spec, &vocabs[rule], &err) == IE_OK);
	}
	return vocabs[rule].vocab;
}

/* Any ids give text that PostgreSQL takes; those of a text without NUL give that text. */
static void
check_decode(const ie_vocab *vocab, const int32_t *ids, size_t n, const ie_text *expected)
{
	ie_error	err;
	char	   *text;
	size_t		len;

	REQUIRE(ie_vocab_decode(vocab, ids, n, &text, &len, &err) == IE_OK);
	REQUIRE(is_utf8((const uint8_t *) text, len) && memchr(text, '\0', len) == NULL);
	if (expected != NULL && memchr(expected->data, '\0', expected->len) == NULL)
		REQUIRE(len == expected->len && memcmp(text, expected->data, len) == 0);
	ie_release(vocab->host, text);
}

/* The text's bytes as ids: all byte tokens, and with the byte doubled some of the others */
static void
check_any_ids(const ie_vocab *vocab, ie_text text)
{
	const uint32_t n_vocab = ie_vocab_size(vocab);
	int32_t    *ids = malloc(text.len * sizeof(int32_t) + 1);

	REQUIRE(ids != NULL);
	for (size_t scale = 1; scale <= 2; scale++)
	{
		for (size_t i = 0; i < text.len; i++)
			ids[i] = (int32_t) ((uint8_t) text.data[i] * scale % n_vocab);
		check_decode(vocab, ids, text.len, NULL);
	}
	free(ids);
}

static void
check_text(const ie_vocab *vocab, ie_text text)
{
	const ie_text literal = {"<|im_start|>{x}<|im_end|>", 25};
	const bool	valid = is_utf8((const uint8_t *) text.data, text.len);
	ie_tokens	tokens = {0};
	ie_error	err = {0};
	ie_code		code = ie_vocab_encode(vocab, text, &tokens, &err);

	REQUIRE(code == (valid ? IE_OK : IE_INVALID));
	if (valid)
	{
		require_spells(vocab, &tokens, 0, text);
		check_decode(vocab, tokens.ids, tokens.n, &text);
	}
	check_any_ids(vocab, text);

	tokens.n = 0;
	code = ie_vocab_encode_template(vocab, literal, "x", text, &tokens, &err);
	REQUIRE(code == (valid ? IE_OK : IE_INVALID));
	if (valid)
	{
		REQUIRE(tokens.n >= 2 && tokens.ids[0] == 256 && tokens.ids[--tokens.n] == 257);
		require_spells(vocab, &tokens, 1, text);
	}
	else
		REQUIRE(tokens.n == 0);

	/* any bytes may be a literal; what comes of it is a matter of other tests */
	tokens.n = 0;
	code = ie_vocab_encode_template(vocab, text, "x", (ie_text) {"ab", 2}, &tokens, &err);
	REQUIRE(code == IE_OK || code == IE_INVALID);
	REQUIRE(code == IE_OK || tokens.n == 0);
	ie_release(vocab->host, tokens.ids);
}

/* Look-ups agree with each other, and texts are encoded.  is_built: not from a packed file */
static void
check_vocab(const ie_host *host, const ie_vocab *vocab, bool is_built)
{
	const ie_text text = {"It's 12 tents,\r\n  \xe2\x82\xac" "5 \xf0\x9f\x98\x80 <|im_end|>", 38};
	ie_tokens	tokens = {0};
	ie_error	err;

	for (int32_t id = 0; id < (int32_t) ie_vocab_size(vocab); id++)
	{
		const ie_text token = ie_vocab_token(vocab, id);

		if (is_built)
			REQUIRE(ie_vocab_find(vocab, token) == (token.len > 0 ? id : -1));
		else
			REQUIRE(ie_vocab_find(vocab, token) < (int32_t) ie_vocab_size(vocab));
		ie_vocab_is_control(vocab, id);
	}
	REQUIRE(ie_vocab_bos(vocab) < (int32_t) ie_vocab_size(vocab));
	REQUIRE(ie_vocab_encode(vocab, text, &tokens, &err) == IE_OK);
	if (is_built)
		require_spells(vocab, &tokens, 0, text);
	for (size_t i = 0; i < tokens.n; i++)
		REQUIRE(!ie_vocab_is_control(vocab, tokens.ids[i]));
	REQUIRE(ie_vocab_encode_template(vocab, text, "x", text, &tokens, &err) == IE_OK);
	for (size_t i = 0; i < tokens.n; i++)
		REQUIRE(tokens.ids[i] >= 0 && tokens.ids[i] < (int32_t) ie_vocab_size(vocab));
	for (int32_t id = 0; id < (int32_t) ie_vocab_size(vocab); id++)
		check_decode(vocab, &id, 1, NULL);
	check_decode(vocab, tokens.ids, tokens.n, NULL);
	ie_release(host, tokens.ids);
}

static void
check_file(const uint8_t *bytes, size_t size)
{
	uint8_t    *data = malloc(size + 1);	/* aligned as a mapping */
	test_host_state state;
	const ie_host host = test_host(&state);
	gguf_file	file;
	ie_vocab   *vocab;
	ie_error	err = {0};
	ie_code		code;
	long		n_live;

	REQUIRE(data != NULL);
	memcpy(data, bytes, size);
	if (gguf_parse(&host, data, size, &file, &err) != IE_OK)
	{
		free(data);				/* fuzz_gguf looks at these */
		return;
	}
	n_live = state.n_live;
	code = ie_vocab_create(&host, &file, &vocab, &err);
	if (code == IE_OK)
	{
		check_vocab(&host, vocab, !ie_is_packed(&file));
		ie_vocab_free(vocab);
		REQUIRE(state.n_live == n_live);
		state.fail_at = state.n_allocs + 1;
		REQUIRE(ie_vocab_create(&host, &file, &vocab, &err) == IE_NOMEM);
	}
	else
		require_error(&state, &err, code, n_live);
	gguf_free(&file);
	REQUIRE(state.n_live == 0);
	free(data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0 && data[0] == 'V')
		check_file(data + 1, size - 1);
	else if (size > 0 && data[0] >= '0' && data[0] <= '3')
		check_text(vocab_for((size_t) (data[0] - '0')),
				   (ie_text) {(const char *) data + 1, size - 1});
	return 0;
}
