/*
 * test_pretokenize.c
 *	  Split rules.  The expected words were made by the published regular
 *	  expressions in the `tokenizers` package; many more texts are compared by
 *	  tests/golden/tokenizer/compare.py.
 */
#include "model/pretokenize.h"
#include "test.h"

typedef struct split_case
{
	const char *text;
	const char *words;			/* each followed by "|" */
} split_case;

static ie_splitter
splitter(const ie_host *host, const ie_split_rule *rule, ie_text text)
{
	return (ie_splitter) {.host = host, .rule = rule, .text = text};
}

static void
check_cases(const ie_split_rule *rule, const split_case *cases, size_t n)
{
	test_host_state state;
	const ie_host host = test_host(&state);

	for (size_t i = 0; i < n; i++)
	{
		ie_splitter s = splitter(&host, rule, (ie_text) {cases[i].text, strlen(cases[i].text)});
		char		words[256] = "";
		size_t		len = 0;
		ie_text		word;

		while (ie_split_next(&s, &word))
		{
			memcpy(words + len, word.data, word.len);
			len += word.len;
			words[len++] = '|';
		}
		words[len] = '\0';
		CHECK_STR(words, cases[i].words);
	}
}

static void
test_gpt2(void)
{
	static const split_case cases[] = {
		{"", ""},
		{"a tent", "a| tent|"},
		{" leading", " leading|"},
		{"two  spaces", "two| | spaces|"},
		{"three   spaces", "three|  | spaces|"},
		{"tab\tword", "tab|\t|word|"},
		{"tab \tword", "tab| |\t|word|"},
		{"line\nbreak", "line|\n|break|"},
		{"line\n\nbreak", "line|\n|\n|break|"},
		{"end \n ", "end| \n |"},
		{" ", " |"},
		{"  ", "  |"},
		{"12 345", "12| 345|"},
		{"a1b22c", "a|1|b|22|c|"},
		{"x\xc2\xb2 \xe2\x85\xa7 \xd9\xa3", "x|\xc2\xb2| \xe2\x85\xa7| \xd9\xa3|"},
		{"it's we'll I'd they've I'm you're can't", "it|'s| we|'ll| I|'d| they|'ve| I|'m| you|'re|"
		" can|'t|"},
		{"IT'S 'T", "IT|'|S| '|T|"},
		{"'s's 's ''s", "'s|'s| '|s| ''|s|"},
		{"'r 'lx 'v", "'|r| '|lx| '|v|"},
		{"don't!!! ...", "don|'t|!!!| ...|"},
		{"a\xc2\xa0" "b", "a|\xc2\xa0|b|"},
		{"a \xc2\xa0" "b", "a| |\xc2\xa0|b|"},
		{"a\xe3\x80\x80\xe3\x80\x80z", "a|\xe3\x80\x80|\xe3\x80\x80|z|"},
		{"na\xc3\xafve caf\xc3\xa9", "na\xc3\xafve| caf\xc3\xa9|"},
		{"cafe\xcc\x81s", "cafe|\xcc\x81|s|"},
		{"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e|"},
		{"\xf0\x9f\x98\x80\xf0\x9f\x98\x80 \xf0\x9f\x98\x80",
		"\xf0\x9f\x98\x80\xf0\x9f\x98\x80| \xf0\x9f\x98\x80|"},
		{"<|im_end|>", "<|" "|im|_|end|" "|>|"},
		{"a\x01\x02 \x03", "a|\x01\x02| \x03|"},
	};

	check_cases(&ie_split_gpt2, cases, IE_LENGTH(cases));
}

static void
test_smollm(void)
{
	static const split_case cases[] = {
		{"12 345", "1|2| |3|4|5|"},
		{"a  5", "a|  |5|"},
		{"a  b", "a| | b|"},
		{"a \n5\n\n6 ", "a| \n|5|\n\n|6| |"},
		{"x\xc2\xb2\xc2\xbd", "x|\xc2\xb2|\xc2\xbd|"},
		{" \xe2\x85\xa7", " |\xe2\x85\xa7|"},
		{"3.14's", "3|.|1|4|'s|"},
		{"'5s $5", "'|5|s| $|5|"},
		{"it's 7th", "it|'s| |7|th|"},
	};

	check_cases(&ie_split_smollm, cases, IE_LENGTH(cases));
}

static void
test_llama_bpe(void)
{
	static const split_case cases[] = {
		{"a tent", "a| tent|"},
		{"two  spaces", "two| | spaces|"},
		{"tab\tword", "tab|\tword|"},
		{"(word) \"word", "(word|)| \"|word|"},
		{"a\xc2\xa0" "b", "a|\xc2\xa0" "b|"},
		{"a\nb", "a|\n|b|"},
		{"a \n b", "a| \n| b|"},
		{"a \n \n  b", "a| \n \n| | b|"},
		{"a\r\n\r\n\tb", "a|\r\n\r\n|\tb|"},
		{"a \t\xc2\xa0", "a| \t\xc2\xa0|"},
		{"end.\n\nNext", "end|.\n\n|Next|"},
		{"end.\n \nNext", "end|.\n| \n|Next|"},
		{"12345678", "123|456|78|"},
		{"a 12 1234", "a| |12| |123|4|"},
		{"\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4", "\xd9\xa1\xd9\xa2\xd9\xa3|\xd9\xa4|"},
		{"IT'S We'LL I'D o'Reilly", "IT|'S| We|'LL| I|'D| o|'Re|illy|"},
		{"a'\xc5\xbf" "b x'\xc5\xbf", "a|'\xc5\xbf|b| x|'\xc5\xbf|"},
		{"'lx 'Vy '\xe2\x84\xaa", "'lx| '|Vy| '|\xe2\x84\xaa|"},
		{" !a !!a", " !|a| !!|a|"},
		{"  !", " | !|"},
		{"cafe\xcc\x81s", "cafe|\xcc\x81s|"},
		{"\r\n", "\r\n|"},
		{"  ", "  |"},
	};

	check_cases(&ie_split_llama_bpe, cases, IE_LENGTH(cases));
}

static void
test_qwen2(void)
{
	static const split_case cases[] = {
		{"12345", "1|2|3|4|5|"},
		{" 12 \xc2\xbd", " |1|2| |\xc2\xbd|"},
		{"(word) it'S\n", "(word|)| it|'S|\n|"},
	};

	check_cases(&ie_split_qwen2, cases, IE_LENGTH(cases));
}

/* Words cover the text without gaps, whatever it is. */
static void
test_cover(void)
{
	static const ie_split_rule *const rules[] = {
		&ie_split_gpt2, &ie_split_smollm, &ie_split_llama_bpe, &ie_split_qwen2
	};
	static const char *const pieces[] = {
		" ", "  ", "\n", "\r", "\t", "'", "s", "LL", "a", "7", "!", "\xc2\xa0", "\xc2\xb2",
		"\xc3\xa9", "\xe2\x80\xa8", "\xe3\x81\x82", "\xcc\x81", "\xf0\x9f\x98\x80", "\xc5\xbf", "\x01"
	};
	test_host_state state;
	const ie_host host = test_host(&state);
	uint64_t	seed = test_seed("pretokenize");
	long		wrong = 0;

	for (int round = 0; round < 20000; round++)
	{
		char		text[64];
		size_t		len = 0;

		for (uint64_t n = test_random(&seed) % 14; n > 0; n--)
		{
			const char *piece = pieces[test_random(&seed) % IE_LENGTH(pieces)];

			memcpy(text + len, piece, strlen(piece));
			len += strlen(piece);
		}
		for (size_t r = 0; r < IE_LENGTH(rules); r++)
		{
			ie_splitter s = splitter(&host, rules[r], (ie_text) {text, len});
			size_t		covered = 0;
			ie_text		word;

			while (ie_split_next(&s, &word))
			{
				wrong += word.len == 0 || word.data != text + covered;
				covered += word.len;
			}
			wrong += covered != len || s.stopped;
		}
	}
	CHECK_INT(wrong, 0);
}

/* A cancel ends every kind of long word; without one the polls go on. */
static void
test_stop(void)
{
	static const char *const fillers[] = {"a", "7", "!", " ", "\n", "\r\n \n", "a 7"};
	static const ie_split_rule *const rules[] = {&ie_split_smollm, &ie_split_llama_bpe};
	static char text[1000000];

	for (size_t f = 0; f < IE_LENGTH(fillers); f++)
	{
		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = fillers[f][i % strlen(fillers[f])];
		for (size_t r = 0; r < IE_LENGTH(rules); r++)
		{
			test_host_state state;
			const ie_host host = test_host(&state);
			ie_splitter s = splitter(&host, rules[r], (ie_text) {text, sizeof(text)});
			ie_text		word;

			while (ie_split_next(&s, &word))
				;
			CHECK(!s.stopped);
			CHECK(state.n_polls >= 29 && state.n_polls <= 62);

			state.stop_after = state.n_polls + 5;
			s = splitter(&host, rules[r], (ie_text) {text, sizeof(text)});
			while (ie_split_next(&s, &word))
				;
			CHECK(s.stopped);
			CHECK(s.polled < 200000);
		}
	}
}

int
main(void)
{
	test_gpt2();
	test_smollm();
	test_llama_bpe();
	test_qwen2();
	test_cover();
	test_stop();
	return test_end("pretokenize");
}
