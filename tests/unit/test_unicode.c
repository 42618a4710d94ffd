/*
 * test_unicode.c
 *	  Character classes and the UTF-8 check.
 */
#include "model/unicode.h"
#include "base/status.h"
#include "test.h"

static void
test_class_sizes(void)
{
	long		counts[32] = {0};

	for (uint32_t cp = 0; cp < 0x110000; cp++)
		counts[ie_char_class_of(cp)]++;
	/* of Unicode 16.0, surrogates counted as others */
	CHECK_INT(counts[IE_CHAR_LETTER], 141028);
	CHECK_INT(counts[IE_CHAR_NUMBER], 1911);
	CHECK_INT(counts[IE_CHAR_SPACE], 23);
	CHECK_INT(counts[IE_CHAR_NEWLINE], 2);
	CHECK_INT(counts[IE_CHAR_OTHER], 0x110000 - 141028 - 1911 - 25);
}

static void
test_classes(void)
{
	static const struct
	{
		uint32_t	cp;
		ie_char_class class;
	}			cases[] = {
		{0, IE_CHAR_OTHER}, {'\t', IE_CHAR_SPACE}, {'\n', IE_CHAR_NEWLINE}, {0x0b, IE_CHAR_SPACE},
		{'\r', IE_CHAR_NEWLINE}, {0x1c, IE_CHAR_OTHER}, {' ', IE_CHAR_SPACE},
		{'/', IE_CHAR_OTHER}, {'0', IE_CHAR_NUMBER}, {'9', IE_CHAR_NUMBER}, {':', IE_CHAR_OTHER},
		{'A', IE_CHAR_LETTER}, {'_', IE_CHAR_OTHER}, {'z', IE_CHAR_LETTER}, {0x7f, IE_CHAR_OTHER},
		{0x80, IE_CHAR_OTHER}, {0x85, IE_CHAR_SPACE}, {0xa0, IE_CHAR_SPACE},
		{0xaa, IE_CHAR_LETTER}, {0xad, IE_CHAR_OTHER}, {0xb2, IE_CHAR_NUMBER},
		{0xbd, IE_CHAR_NUMBER}, {0xdf, IE_CHAR_LETTER}, {0xd7, IE_CHAR_OTHER},
		{0x0301, IE_CHAR_OTHER}, {0x0660, IE_CHAR_NUMBER}, {0x093e, IE_CHAR_OTHER},
		{0x180e, IE_CHAR_OTHER}, {0x200b, IE_CHAR_OTHER}, {0x2028, IE_CHAR_SPACE},
		{0x2160, IE_CHAR_NUMBER}, {0x3000, IE_CHAR_SPACE}, {0x3042, IE_CHAR_LETTER},
		{0x4e00, IE_CHAR_LETTER}, {0xd7a3, IE_CHAR_LETTER}, {0xfeff, IE_CHAR_OTHER},
		{0x10d40, IE_CHAR_NUMBER},	/* new in 16.0 */
		{0x11de0, IE_CHAR_OTHER},	/* new in 17.0 */
		{0x1d7d8, IE_CHAR_NUMBER}, {0x1f600, IE_CHAR_OTHER}, {0x20000, IE_CHAR_LETTER},
		{0x323af, IE_CHAR_LETTER}, {0x323b0, IE_CHAR_OTHER}, {0x10ffff, IE_CHAR_OTHER},
	};

	for (size_t i = 0; i < IE_LENGTH(cases); i++)
	{
		CHECK_INT(ie_char_class_of(cases[i].cp), cases[i].class);
		if (test_failures > 0)
			printf("# U+%04X\n", cases[i].cp);
	}
}

static size_t
put(uint32_t cp, size_t length, char *s)
{
	static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};

	if (length == 1)
	{
		s[0] = (char) cp;
		return 1;
	}
	for (size_t i = length; i-- > 1; cp >>= 6)
		s[i] = (char) (0x80 | (cp & 0x3f));
	s[0] = (char) (leads[length] | cp);
	return length;
}

/* Every number in the shortest form, and in each longer one */
static void
test_every_code_point(void)
{
	long		wrong = 0;

	for (uint32_t cp = 0; cp < 0x200000; cp++)
	{
		const size_t shortest = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
		const bool	is_scalar = cp < 0x110000 && (cp < 0xd800 || cp > 0xdfff);

		for (size_t length = shortest; length <= 4; length++)
		{
			char		s[4];
			const bool	valid = is_scalar && length == shortest;
			size_t		pos = 0;

			put(cp, length, s);
			wrong += ie_utf8_check(s, 0, length, length) != (valid ? length : 0);
			for (size_t cut = 1; cut < length; cut++)
				wrong += ie_utf8_check(s, 0, cut, cut) != 0;
			if (valid)
				wrong += ie_utf8_next(s, &pos) != cp || pos != length;
		}
	}
	CHECK_INT(wrong, 0);
}

static void
test_malformed(void)
{
	static const struct
	{
		const char *s;
		size_t		offset;
	}			cases[] = {
		{"\x80", 0}, {"a\xbf", 1}, {"abcdefgh\xff", 8}, {"abcdefghij\xfe", 10},
		{"\xc3\xa9\xc3", 2}, {"\xc3\xa9\xc3z", 2}, {"\xe2\x82\xac\xe2\x82", 3},
		{"\xe2\x82z", 0}, {"x\xf0\x9f\x98", 1}, {"\xf0\x9f\x98z", 0}, {"\xf5\x80\x80\x80", 0},
		{"\xf8\x88\x80\x80\x80", 0}, {"ok \xed\xa0\x80", 3}, {"\xc0\x80", 0}, {"\xc1\xbf", 0},
	};

	for (size_t i = 0; i < IE_LENGTH(cases); i++)
	{
		const size_t len = strlen(cases[i].s);

		CHECK_INT(ie_utf8_check(cases[i].s, 0, len, len), cases[i].offset);
	}
}

/* A check in strides ends at the first boundary that is not below the stride's end. */
static void
test_strides(void)
{
	static const char s[] = "12345678\xe2\x82\xac" "9\xf0\x9f\x98\x80";
	const size_t len = sizeof(s) - 1;

	CHECK_INT(ie_utf8_check(s, 0, 0, len), 0);
	CHECK_INT(ie_utf8_check(s, 0, 8, len), 8);
	CHECK_INT(ie_utf8_check(s, 0, 9, len), 11);
	CHECK_INT(ie_utf8_check(s, 0, 10, len), 11);
	CHECK_INT(ie_utf8_check(s, 0, 11, len), 11);
	CHECK_INT(ie_utf8_check(s, 11, 13, len), 16);
	CHECK_INT(ie_utf8_check(s, 11, len, len), 16);
}

int
main(void)
{
	test_class_sizes();
	test_classes();
	test_every_code_point();
	test_malformed();
	test_strides();
	return test_end("unicode");
}
