/*
 * vocab_decode.c
 *	  From token ids back to text: each token's bytes, one after another, then
 *	  whatever is not UTF-8 in them is replaced.
 */
#include "model/vocab_tables.h"
#include "model/unicode.h"
#include "base/bytes.h"

static const char replacement[] = "\xef\xbf\xbd";	/* U+FFFD */
#define REPLACEMENT_LEN (sizeof(replacement) - 1)

/* The byte that a character of the byte-level alphabet stands for, -1 if it is none */
static int
byte_of(uint32_t cp)
{
	if ((cp > 0x20 && cp < 0x7f) || (cp > 0xa0 && cp <= 0xff && cp != 0xad))
		return (int) cp;
	if (cp >= 0x100 && cp <= 0x120)
		return (int) (cp - 0x100);
	if (cp >= 0x121 && cp <= 0x142)
		return (int) (cp - 0x121 + 0x7f);
	return cp == 0x143 ? 0xad : -1;
}

/* Text of a token, in no more bytes than its spelling has; returns their number. */
static size_t
spell(const ie_vocab *vocab, int32_t id, char *out)
{
	const ie_text token = ie_vocab_token(vocab, id);
	const int32_t type = ie_vocab_type(vocab, id);
	size_t		n = 0;

	if (type != IE_TOKEN_NORMAL && type != IE_TOKEN_USER_DEFINED)
		return 0;
	if (type == IE_TOKEN_USER_DEFINED ||
		ie_utf8_check(token.data, 0, token.len, token.len) < token.len)
	{
		memcpy(out, token.data, token.len);
		return token.len;
	}
	for (size_t pos = 0; pos < token.len;)
	{
		const size_t start = pos;
		const int	byte = byte_of(ie_utf8_next(token.data, &pos));

		if (byte >= 0)
			out[n++] = (char) byte;
		else
		{
			memcpy(out + n, token.data + start, pos - start);
			n += pos - start;
		}
	}
	return n;
}

/*
 * Bytes at s[0 .. len - 1], which no character starts with, that one replacement
 * stands for: the longest beginning of a character, or one byte (Unicode 16.0,
 * section 3.9, "maximal subpart").
 */
static size_t
malformed_len(const char *s, size_t len)
{
	const uint8_t lead = (uint8_t) s[0];
	const size_t wanted = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;

	for (size_t n = len < wanted ? len : wanted - 1; n > 1; n--)
	{
		char		completed[4] = {'\x80', '\x80', '\x80', '\x80'};

		memcpy(completed, s, n);
		if (ie_utf8_check(completed, 0, wanted, wanted) == wanted)
			return n;
	}
	return 1;
}

/* The text with replacements, at most 3 bytes for each of its own; returns its length. */
static size_t
repair(const char *text, size_t len, char *out)
{
	size_t		n = 0;

	for (size_t pos = 0; pos < len;)
	{
		const size_t good = ie_utf8_check(text, pos, len, len) - pos;
		const char *nul = memchr(text + pos, '\0', good);
		const size_t kept = nul != NULL ? (size_t) (nul - text) - pos : good;

		memcpy(out + n, text + pos, kept);
		n += kept;
		pos += kept;
		if (pos == len)
			break;
		memcpy(out + n, replacement, REPLACEMENT_LEN);
		n += REPLACEMENT_LEN;
		pos += nul != NULL ? 1 : malformed_len(text + pos, len - pos);
	}
	return n;
}

ie_code
ie_vocab_decode(const ie_vocab *vocab, const int32_t *ids, size_t n, char **text, size_t *len,
				ie_error *err)
{
	size_t		n_bytes = 0;
	size_t		bytes;
	char	   *raw;

	for (size_t i = 0; i < n; i++)
		if (!ie_size_add(n_bytes, ie_vocab_token(vocab, ids[i]).len, &n_bytes))
			return ie_fail(err, IE_LIMIT, "text is too long");
	if (!ie_size_mul(n_bytes, REPLACEMENT_LEN + 1, &bytes))
		return ie_fail(err, IE_LIMIT, "text is too long");
	raw = ie_alloc(vocab->host, bytes);
	if (raw == NULL)
		return ie_nomem(err, bytes);

	/* the raw bytes lie at the end of the block, out of the repaired text's way */
	*text = raw;
	raw += bytes - n_bytes;
	n_bytes = 0;
	for (size_t i = 0; i < n; i++)
		n_bytes += spell(vocab, ids[i], raw + n_bytes);
	*len = repair(raw, n_bytes, *text);
	return IE_OK;
}
