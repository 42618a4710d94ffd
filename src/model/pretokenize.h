/*
 * pretokenize.h
 *	  The split rules of byte-level BPE: a text is cut into words, and no token
 *	  reaches over the end of a word.
 *
 * Published as regular expressions; \p{L}, \p{N} and \s are those of Unicode.
 *
 *	  gpt-2		's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|
 *				\s+(?!\S)|\s+
 *	  smollm	first every \p{N} a word of its own, then gpt-2 on what lies between
 *	  llama-bpe	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
 *				 ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *	  qwen2		the same with \p{N} in place of \p{N}{1,3}
 *
 * No rule normalises the text.  The tokenizer.json of Qwen2 applies NFC before
 * its split rule; a GGUF file does not say so and the common readers of such
 * files do not do it, so text in another form gets the tokens of its own bytes
 * here (SQL's normalize() is at hand).
 */
#ifndef IE_PRETOKENIZE_H
#define IE_PRETOKENIZE_H

#include "base/host.h"

typedef struct ie_split_rule
{
	bool		cl100k;			/* of llama-bpe's form, else of gpt-2's */
	bool		lone_numbers;	/* smollm: cut at every \p{N} before anything else */
	unsigned	max_numbers;	/* most \p{N} in a word, 0 = any */
	bool		any_case;		/* contractions in capitals too */
} ie_split_rule;

extern const ie_split_rule ie_split_gpt2;
extern const ie_split_rule ie_split_smollm;
extern const ie_split_rule ie_split_llama_bpe;
extern const ie_split_rule ie_split_qwen2;

/* Set host, rule and text (well-formed UTF-8), the rest to zero. */
typedef struct ie_splitter
{
	const ie_host *host;
	const ie_split_rule *rule;
	ie_text		text;
	size_t		pos;			/* where the next word starts */
	size_t		polled;			/* position of the last poll */
	bool		stopped;		/* should_stop() said so */
} ie_splitter;

/*
 * The next word; false at the end of the text, or with stopped set when the
 * host's should_stop(), polled every 32 kB, said so.
 */
bool		ie_split_next(ie_splitter *s, ie_text *word);

#endif							/* IE_PRETOKENIZE_H */
