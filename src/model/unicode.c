/*
 * unicode.c
 *	  Character classes by binary search over runs, and a UTF-8 check after
 *	  table 3-7 of the Unicode standard.
 */
#include "model/unicode.h"
#include "model/unicode_data.h"
#include "base/status.h"

#include <string.h>

ie_char_class
ie_char_class_of(uint32_t cp)
{
	size_t		low = 0;
	size_t		n = IE_LENGTH(class_runs);

	if (cp < 0x80)
		return (ie_char_class) (1u << ascii_classes[cp]);
	/* the last run that starts at or before cp is among the n from low on */
	while (n > 1)
	{
		const size_t half = n / 2;

		if (class_runs[low + half] >> 2 <= cp)
			low += half;
		n -= half;
	}
	return (ie_char_class) (1u << (class_runs[low] & 3));
}

/* Length of the well-formed sequence that s starts with; 0 if there is none. */
static size_t
sequence_length(const unsigned char *s, size_t left)
{
	const unsigned char lead = s[0];
	unsigned char low = 0x80;	/* allowed values of the second byte */
	unsigned char high = 0xbf;
	size_t		length;

	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
	if (length > left)
		return 0;
	if (lead == 0xe0)
		low = 0xa0;				/* below: overlong */
	else if (lead == 0xed)
		high = 0x9f;			/* above: surrogates */
	else if (lead == 0xf0)
		low = 0x90;				/* below: overlong */
	else if (lead == 0xf4)
		high = 0x8f;			/* above: U+110000 */
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
	{
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	return length;
}

size_t
ie_utf8_check(const char *s, size_t pos, size_t stop, size_t limit)
{
	while (pos < stop)
	{
		uint64_t	eight;
		size_t		length;

		if (stop - pos >= sizeof(eight))
		{
			memcpy(&eight, s + pos, sizeof(eight));
			if ((eight & 0x8080808080808080u) == 0)
			{
				pos += sizeof(eight);
				continue;
			}
		}
		length = sequence_length((const unsigned char *) s + pos, limit - pos);
		if (length == 0)
			break;
		pos += length;
	}
	return pos;
}
