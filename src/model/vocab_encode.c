/*
 * vocab_encode.c
 *	  From text to token ids: check UTF-8, cut into words, turn each word's bytes
 *	  into byte tokens and merge these in place, at the end of the list.
 */
#include "model/vocab_tables.h"
#include "model/unicode.h"
#include "base/bytes.h"

#define CHECK_BYTES 65536		/* UTF-8 is checked in strides, with a poll between them */
#define MIN_CAPACITY 64

/* One call */
typedef struct encoder
{
	const ie_vocab *vocab;
	ie_tokens  *tokens;
	ie_bpe		bpe;
	ie_error   *err;
} encoder;

/* A literal's placeholder and what takes its place */
typedef struct substitution
{
	const char *name;			/* NULL = none */
	ie_text		value;
} substitution;

/* ------------------------------------------------------------------ list */

/* Room for n more ids. */
static ie_code
reserve(const ie_host *host, ie_tokens *list, size_t n, ie_error *err)
{
	size_t		wanted;
	size_t		capacity;
	size_t		bytes;
	int32_t    *ids;

	if (n <= list->capacity - list->n)
		return IE_OK;
	if (!ie_size_add(list->n, n, &wanted) || !ie_size_mul(wanted, 2 * sizeof(int32_t), &bytes))
		return ie_fail(err, IE_LIMIT, "too many tokens");
	capacity = wanted > MIN_CAPACITY / 2 ? 2 * wanted : MIN_CAPACITY;
	bytes = capacity * sizeof(int32_t);
	ids = ie_alloc(host, bytes);
	if (ids == NULL)
		return ie_nomem(err, bytes);
	if (list->n > 0)
		memcpy(ids, list->ids, list->n * sizeof(int32_t));
	ie_release(host, list->ids);
	list->ids = ids;
	list->capacity = capacity;
	return IE_OK;
}

ie_code
ie_tokens_push(const ie_host *host, ie_tokens *list, int32_t id, ie_error *err)
{
	IE_TRY(reserve(host, list, 1, err));
	list->ids[list->n++] = id;
	return IE_OK;
}

/* ------------------------------------------------------------ plain text */

/* what: "text" or "template", for the message */
static ie_code
check_utf8(const encoder *e, ie_text text, const char *what)
{
	size_t		pos = 0;

	while (pos < text.len)
	{
		const size_t stop = text.len - pos > CHECK_BYTES ? pos + CHECK_BYTES : text.len;

		pos = ie_utf8_check(text.data, pos, stop, text.len);
		if (pos < stop)
		{
			ie_fail(e->err, IE_INVALID, "%s is not valid UTF-8", what);
			return ie_detail(e->err, "The character at byte offset %zu starts with 0x%02x.",
							 pos, (uint8_t) text.data[pos]);
		}
		if (pos < text.len)
			IE_TRY(ie_poll(e->vocab->host, e->err));
	}
	return IE_OK;
}

static ie_code
encode_word(encoder *e, ie_text word)
{
	const ie_vocab *vocab = e->vocab;
	int32_t    *ids;
	size_t		n = 0;

	IE_TRY(reserve(vocab->host, e->tokens, word.len, e->err));
	ids = e->tokens->ids + e->tokens->n;
	if (vocab->pre->whole_words)
	{
		ids[0] = ie_vocab_find_word(vocab, word);
		if (ids[0] >= 0)
		{
			e->tokens->n++;
			return IE_OK;
		}
	}
	for (size_t i = 0; i < word.len; i++)
	{
		const int32_t id = vocab->byte_ids[(uint8_t) word.data[i]];

		if (id >= 0)
			ids[n++] = id;
	}
	IE_TRY(ie_bpe_merge(&e->bpe, ids, &n, e->err));
	e->tokens->n += n;
	return IE_OK;
}

/* text is well-formed UTF-8 */
static ie_code
encode_text(encoder *e, ie_text text)
{
	ie_splitter splitter = {.host = e->vocab->host, .rule = e->vocab->pre->rule, .text = text};
	ie_text		word;

	while (ie_split_next(&splitter, &word))
		IE_TRY(encode_word(e, word));
	return splitter.stopped ? ie_fail(e->err, IE_CANCELED, "canceled") : IE_OK;
}

/* ------------------------------------------------------------- templates */

/* Longest control token that is spelled at the start of text; its id, or -1. */
static int32_t
control_at(const ie_vocab *vocab, ie_text text, size_t *len)
{
	int32_t		id = -1;

	*len = 0;
	for (uint32_t i = 0; i < vocab->n_controls; i++)
	{
		const ie_text token = ie_vocab_token(vocab, (int32_t) vocab->controls[i]);

		if (token.len > *len && token.len <= text.len &&
			memcmp(token.data, text.data, token.len) == 0)
		{
			id = (int32_t) vocab->controls[i];
			*len = token.len;
		}
	}
	return id;
}

/* Is "{name}" at the start of text?  Its length, or 0. */
static size_t
placeholder_at(ie_text text, const char *name)
{
	const size_t n = name != NULL ? strlen(name) : 0;

	if (name == NULL || text.len < n + 2 || text.data[0] != '{' || text.data[n + 1] != '}' ||
		memcmp(text.data + 1, name, n) != 0)
		return 0;
	return n + 2;
}

/*
 * Put the value in place of each placeholder.  With out == NULL count only.
 * Returns the length, SIZE_MAX if it is too large.
 */
static size_t
substitute(ie_text run, const substitution *sub, char *out)
{
	size_t		len = 0;

	for (size_t i = 0; i < run.len;)
	{
		const size_t n = placeholder_at((ie_text) {run.data + i, run.len - i}, sub->name);
		const ie_text piece = n > 0 ? sub->value : (ie_text) {run.data + i, 1};

		if (out != NULL && piece.len > 0)
			memcpy(out + len, piece.data, piece.len);
		if (!ie_size_add(len, piece.len, &len))
			return SIZE_MAX;
		i += n > 0 ? n : 1;
	}
	return len;
}

/* A run of a literal without control tokens */
static ie_code
encode_run(encoder *e, ie_text run, const substitution *sub)
{
	const ie_host *host = e->vocab->host;
	const size_t len = substitute(run, sub, NULL);
	char	   *text;
	ie_code		code;

	if (len == 0)
		return IE_OK;
	if (len == SIZE_MAX)
		return ie_fail(e->err, IE_LIMIT, "template is too long");
	text = ie_alloc(host, len);
	if (text == NULL)
		return ie_nomem(e->err, len);
	substitute(run, sub, text);
	code = check_utf8(e, (ie_text) {text, len}, "template");
	if (code == IE_OK)
		code = encode_text(e, (ie_text) {text, len});
	ie_release(host, text);
	return code;
}

static ie_code
encode_literal(encoder *e, ie_text literal, const substitution *sub)
{
	size_t		run = 0;		/* start of the run that pos is in */
	size_t		pos = 0;

	IE_TRY(check_utf8(e, sub->value, "text"));
	while (pos < literal.len)
	{
		size_t		len = 0;
		int32_t		id = -1;

		if (e->vocab->control_start[(uint8_t) literal.data[pos]])
		{
			IE_TRY(ie_poll(e->vocab->host, e->err));
			id = control_at(e->vocab, (ie_text) {literal.data + pos, literal.len - pos}, &len);
		}
		if (id < 0)
		{
			pos++;
			continue;
		}
		IE_TRY(encode_run(e, (ie_text) {literal.data + run, pos - run}, sub));
		IE_TRY(ie_tokens_push(e->vocab->host, e->tokens, id, e->err));
		pos += len;
		run = pos;
	}
	if (run == pos)
		return IE_OK;
	return encode_run(e, (ie_text) {literal.data + run, pos - run}, sub);
}

/* ------------------------------------------------------------------ calls */

static encoder
encoder_for(const ie_vocab *vocab, ie_tokens *tokens, ie_error *err)
{
	return (encoder) {
		.vocab = vocab, .tokens = tokens, .err = err,
		.bpe = {.host = vocab->host, .merges = &vocab->merges}
	};
}

ie_code
ie_vocab_encode(const ie_vocab *vocab, ie_text text, ie_tokens *tokens, ie_error *err)
{
	encoder		e = encoder_for(vocab, tokens, err);
	const size_t n = tokens->n;
	ie_code		code = check_utf8(&e, text, "text");

	if (code == IE_OK)
		code = encode_text(&e, text);
	if (code != IE_OK)
		tokens->n = n;
	ie_bpe_deinit(&e.bpe);
	return code;
}

ie_code
ie_vocab_encode_template(const ie_vocab *vocab, ie_text literal, const char *name, ie_text value,
						 ie_tokens *tokens, ie_error *err)
{
	encoder		e = encoder_for(vocab, tokens, err);
	const substitution sub = {name, value};
	const size_t n = tokens->n;
	const ie_code code = encode_literal(&e, literal, &sub);

	if (code != IE_OK)
		tokens->n = n;
	ie_bpe_deinit(&e.bpe);
	return code;
}
