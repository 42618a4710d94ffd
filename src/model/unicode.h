/*
 * unicode.h
 *	  UTF-8 and the character classes of split rules (Unicode 16.0).
 */
#ifndef IE_UNICODE_H
#define IE_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* Bits, so that a set of classes is their sum; a character has exactly one. */
typedef enum ie_char_class
{
	IE_CHAR_OTHER = 1,
	IE_CHAR_LETTER = 2,			/* \p{L} */
	IE_CHAR_NUMBER = 4,			/* \p{N} */
	IE_CHAR_SPACE = 8,			/* \s without CR and LF */
	IE_CHAR_NEWLINE = 16		/* CR and LF */
} ie_char_class;

ie_char_class ie_char_class_of(uint32_t cp);

/*
 * Check s[pos .. limit - 1] for well-formed UTF-8 (no overlong forms, no
 * surrogates, nothing above U+10FFFF) up to the first boundary of a character
 * that is not below stop.  Returns that boundary, or the offset of the first
 * byte of a malformed sequence, which is then below stop.  pos is a boundary,
 * pos <= stop <= limit.
 */
size_t		ie_utf8_check(const char *s, size_t pos, size_t stop, size_t limit);

/* The character at *pos of well-formed UTF-8; steps *pos behind it. */
static inline uint32_t
ie_utf8_next(const char *s, size_t *pos)
{
	const unsigned char *u = (const unsigned char *) s + *pos;

	if (u[0] < 0x80)
	{
		*pos += 1;
		return u[0];
	}
	if (u[0] < 0xe0)
	{
		*pos += 2;
		return (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
	}
	if (u[0] < 0xf0)
	{
		*pos += 3;
		return (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
	}
	*pos += 4;
	return (u[0] & 0x07u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
}

#endif							/* IE_UNICODE_H */
