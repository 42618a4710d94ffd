/*
 * pretokenize.c
 *	  The split rules by hand: each alternative of the regular expression in its
 *	  order, with the effect of backtracking worked out beforehand.
 *
 *	  ` ?X+`			no backtracking: X never holds the space
 *	  `\s+(?!\S)|\s+`	the run of spaces; if something follows it, the run
 *						without its last character, or that character alone
 *	  `\s*[\r\n]+`		the run of spaces up to its last newline
 *
 * Time is linear in the text: of what is looked at behind the end of a word,
 * only a run of spaces is longer than one character, and it is gone over twice
 * at most.
 */
#include "model/pretokenize.h"
#include "model/unicode.h"

#define POLL_BYTES 32768

#define WHITE (IE_CHAR_SPACE | IE_CHAR_NEWLINE)

const ie_split_rule ie_split_gpt2 = {0};
const ie_split_rule ie_split_smollm = {.lone_numbers = true};
const ie_split_rule ie_split_llama_bpe = {.cl100k = true, .max_numbers = 3, .any_case = true};
const ie_split_rule ie_split_qwen2 = {.cl100k = true, .max_numbers = 1, .any_case = true};

static bool
stopped(ie_splitter *s, size_t pos)
{
	if (pos >= s->polled + POLL_BYTES)
	{
		s->polled = pos;
		s->stopped = ie_should_stop(s->host);
	}
	return s->stopped;
}

/* Class of the character at pos, 0 at the end; *next: the position behind it. */
static unsigned
class_at(const ie_splitter *s, size_t pos, size_t *next)
{
	*next = pos;
	if (pos >= s->text.len)
		return 0;
	return ie_char_class_of(ie_utf8_next(s->text.data, next));
}

/* End of the run of characters of these classes that starts at pos, perhaps empty. */
static size_t
span(ie_splitter *s, size_t pos, unsigned classes)
{
	size_t		next;

	while ((class_at(s, pos, &next) & classes) != 0 && !stopped(s, pos))
		pos = next;
	return pos;
}

/* End of "'s", "'t", "'re", "'ve", "'m", "'ll" or "'d" at pos, where "'" is; else 0. */
static size_t
contraction_end(const ie_splitter *s, size_t pos)
{
	static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d"};

	for (size_t i = 0; i < IE_LENGTH(endings); i++)
	{
		const char *ending = endings[i];
		size_t		end = pos + 1;

		while (*ending != '\0' && end < s->text.len)
		{
			size_t		next = end;
			uint32_t	cp = ie_utf8_next(s->text.data, &next);

			if (s->rule->any_case && cp >= 'A' && cp <= 'Z')
				cp += 'a' - 'A';
			else if (s->rule->any_case && cp == 0x17f)
				cp = 's';		/* the long s, the only other one that folds to these */
			if (cp != (unsigned char) *ending)
				break;
			ending++;
			end = next;
		}
		if (*ending == '\0')
			return end;
	}
	return 0;
}

/* The end of a word of white space that starts at pos; its first character ends at next. */
static size_t
white_end(ie_splitter *s, size_t pos, size_t next)
{
	const size_t end = span(s, next, WHITE);
	const unsigned class = class_at(s, end, &next);
	size_t		last;

	if (class == 0 || (s->rule->lone_numbers && class == IE_CHAR_NUMBER))
		return end;				/* nothing follows, or nothing in this piece */
	last = end - 1;
	while (((unsigned char) s->text.data[last] & 0xc0) == 0x80)
		last--;
	return last > pos ? last : end;
}

static size_t
gpt2_end(ie_splitter *s, size_t pos)
{
	size_t		next;
	size_t		next2;
	unsigned	class = class_at(s, pos, &next);

	if (class == IE_CHAR_NUMBER && s->rule->lone_numbers)
		return next;
	if ((class & WHITE) == 0)
		return span(s, next, class);
	class = class_at(s, next, &next2);
	if (s->text.data[pos] != ' ' || class == 0 || (class & WHITE) != 0 ||
		(class == IE_CHAR_NUMBER && s->rule->lone_numbers))
		return white_end(s, pos, next);
	return span(s, next2, class);
}

static size_t
numbers_end(const ie_splitter *s, size_t pos)
{
	size_t		next;

	for (unsigned n = 0; n < s->rule->max_numbers; n++)
	{
		if (class_at(s, pos, &next) != IE_CHAR_NUMBER)
			break;
		pos = next;
	}
	return pos;
}

/* End of the last newline in the run of white space at pos; pos if there is none. */
static size_t
newlines_end(ie_splitter *s, size_t pos)
{
	size_t		end = pos;

	for (;;)
	{
		const size_t newline = span(s, pos, IE_CHAR_SPACE);

		pos = span(s, newline, IE_CHAR_NEWLINE);
		if (pos == newline)
			return end;
		end = pos;
	}
}

static size_t
cl100k_end(ie_splitter *s, size_t pos)
{
	size_t		next;
	size_t		next2;
	size_t		end;
	const unsigned class = class_at(s, pos, &next);
	const unsigned class2 = class_at(s, next, &next2);

	if (class == IE_CHAR_LETTER)
		return span(s, next, IE_CHAR_LETTER);
	if (class == IE_CHAR_NUMBER)
		return numbers_end(s, pos);
	if (class != IE_CHAR_NEWLINE && class2 == IE_CHAR_LETTER)
		return span(s, next2, IE_CHAR_LETTER);
	if (class == IE_CHAR_OTHER || (s->text.data[pos] == ' ' && class2 == IE_CHAR_OTHER))
		return span(s, span(s, next, IE_CHAR_OTHER), IE_CHAR_NEWLINE);
	end = newlines_end(s, pos);
	return end > pos ? end : white_end(s, pos, next);
}

bool
ie_split_next(ie_splitter *s, ie_text *word)
{
	const size_t pos = s->pos;
	size_t		end = 0;

	if (pos >= s->text.len || stopped(s, pos))
		return false;
	if (s->text.data[pos] == '\'')
		end = contraction_end(s, pos);
	if (end == 0)
		end = s->rule->cl100k ? cl100k_end(s, pos) : gpt2_end(s, pos);
	*word = (ie_text) {s->text.data + pos, end - pos};
	s->pos = end;
	return !s->stopped;
}
