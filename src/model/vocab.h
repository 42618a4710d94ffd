/*
 * vocab.h
 *	  Byte-level BPE tokenizer (GPT-2 family) of a GGUF file.
 *
 * Vocabulary and merges come from tokenizer.ggml.tokens, .token_type, .merges;
 * the split rule from tokenizer.ggml.pre: smollm, gpt-2, llama-bpe (llama3,
 * llama-v3) and qwen2 (deepseek-r1-qwen), see pretokenize.h.  Immutable after
 * creation; spellings are borrowed from the file's bytes, tables are allocated
 * from the host in one piece: about 32 bytes per token.  A packed file has the
 * tables ready, and they are borrowed as well.
 *
 * Text never gives a control token, however it is spelled: control and
 * user-defined tokens come from template literals only, and a merge that would
 * make one is left out.
 */
#ifndef IE_VOCAB_H
#define IE_VOCAB_H

#include "model/gguf.h"

typedef struct ie_vocab ie_vocab;

/*
 * Errors: IE_FORMAT (missing or inconsistent tables: merges that name no token
 * or occur twice, equal tokens, token_type of another length, no token for a
 * byte that graphic characters consist of, BOS or EOS out of range; in a packed
 * file numbers out of range), IE_UNSUPPORTED (tokenizer.ggml.model or .pre:
 * named, with the list; more than 2^24 - 1 tokens), IE_NOMEM, IE_CANCELED.
 */
ie_code		ie_vocab_create(const ie_host *host, const gguf_file *file,
							ie_vocab **vocab, ie_error *err);
void		ie_vocab_free(ie_vocab *vocab);	/* NULL is allowed */

/* Number of tokens of a file.  Errors: IE_FORMAT. */
ie_code		ie_vocab_count(const gguf_file *file, uint64_t *n_tokens, ie_error *err);

/*
 * The tables as a packed file holds them: name, type, shape and data, in
 * tables[IE_VOCAB_TABLES]; returns how many there are.
 */
#define IE_VOCAB_TABLES 7
size_t		ie_vocab_tables(const ie_vocab *vocab, gguf_tensor *tables);

/* Is it the name of such a table? */
bool		ie_vocab_is_table(ie_text name);

uint32_t	ie_vocab_size(const ie_vocab *vocab);
const char *ie_vocab_pre_type(const ie_vocab *vocab);

/* Id of the token spelled exactly so (file's spelling), -1 if there is none. */
int32_t		ie_vocab_find(const ie_vocab *vocab, ie_text token);

/* In these two, 0 <= id < ie_vocab_size(). */

/* The file's spelling of a token (byte-level alphabet for ordinary tokens). */
ie_text		ie_vocab_token(const ie_vocab *vocab, int32_t id);

/* Is it a control or user-defined token (token_type 3 or 4)? */
bool		ie_vocab_is_control(const ie_vocab *vocab, int32_t id);

/* Does it end an answer: a control token (token_type 3) or tokenizer.ggml.eos_token_id? */
bool		ie_vocab_is_end(const ie_vocab *vocab, int32_t id);

/*
 * tokenizer.ggml.bos_token_id if add_bos_token says to use it, else -1.  Where
 * the file is silent about add_bos_token, llama-bpe uses it and the others do not.
 */
int32_t		ie_vocab_bos(const ie_vocab *vocab);

/*
 * A growing list of ids; storage from the host, freed by the owner with
 * ie_release(host, list.ids).
 */
typedef struct ie_tokens
{
	int32_t    *ids;
	size_t		n;
	size_t		capacity;
} ie_tokens;

/* Errors: IE_NOMEM, IE_LIMIT (more than size_t can address). */
ie_code		ie_tokens_push(const ie_host *host, ie_tokens *list, int32_t id, ie_error *err);

/*
 * Append the ids of a plain text: the same as the `tokenizers` package gives with
 * this vocabulary and split rule.  A byte that has no token is left out (some
 * vocabularies lack a few control characters and the leads of unassigned
 * planes), so a text that is not empty can have no tokens.  Time is O(n log n)
 * in the length of a single word, too; should_stop is polled.
 * Errors, with the list as it was: IE_INVALID (not UTF-8; the offset is in the
 * detail), IE_NOMEM, IE_CANCELED, IE_LIMIT (word of 4 GB).
 */
ie_code		ie_vocab_encode(const ie_vocab *vocab, ie_text text,
							ie_tokens *tokens, ie_error *err);

/*
 * Append the ids of a template literal: control tokens spelled out in it become
 * control tokens, at each place the longest.  In each run between them "{name}"
 * is replaced by value, and the run is then encoded as one plain text, so value
 * can never contribute a control token.  name may be NULL.  Errors as above.
 */
ie_code		ie_vocab_encode_template(const ie_vocab *vocab, ie_text literal,
									 const char *name, ie_text value,
									 ie_tokens *tokens, ie_error *err);

/*
 * The text of n tokens, without control tokens: *text, from the host and the
 * caller's to free, is *len bytes of UTF-8.  Bytes that are not UTF-8, and NUL,
 * become U+FFFD.  Errors: IE_NOMEM, IE_LIMIT.
 */
ie_code		ie_vocab_decode(const ie_vocab *vocab, const int32_t *ids, size_t n,
							char **text, size_t *len, ie_error *err);

#endif							/* IE_VOCAB_H */
