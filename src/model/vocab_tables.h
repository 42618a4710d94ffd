/*
 * vocab_tables.h
 *	  What a vocabulary consists of: for vocab.c, which builds and reads the
 *	  tables, vocab_map.c, which finds them in a packed file, and vocab_encode.c,
 *	  which walks texts with them.
 */
#ifndef IE_VOCAB_TABLES_H
#define IE_VOCAB_TABLES_H

#include "base/arena.h"
#include "model/bpe.h"
#include "model/packed.h"
#include "model/pretokenize.h"
#include "model/vocab.h"

/* Values of tokenizer.ggml.token_type */
enum
{
	IE_TOKEN_NORMAL = 1,
	IE_TOKEN_CONTROL = 3,
	IE_TOKEN_USER_DEFINED = 4
};

/* What tokenizer.ggml.pre stands for. */
typedef struct ie_pre_type
{
	const char *name;
	const ie_split_rule *rule;
	bool		whole_words;	/* a word that is a token is that token, whatever the merges */
	bool		add_bos;		/* unless the file says otherwise */
} ie_pre_type;

#define IE_MAX_TOKENS 0xffffff	/* ids share a hash slot with 8 bits of hash */
#define IE_TOKEN_SLOTS(n_tokens) (2 * (n_tokens) + 1)

/* Tables lie in this struct's own block, or in a packed file's mapping: then read only. */
struct ie_vocab
{
	const ie_host *host;
	const ie_pre_type *pre;
	uint32_t	n_tokens;
	uint32_t	spellings_bytes;
	const uint8_t *spellings;	/* borrowed: u64 length and the bytes, n_tokens times */
	const uint8_t *types;		/* borrowed: i32[n_tokens], any alignment */
	uint32_t   *offsets;		/* [n_tokens] of a token's bytes in spellings */
	uint32_t   *slots;			/* [n_slots] hash of spellings: 8 bits of it << 24 | id */
	uint32_t	n_slots;		/* IE_TOKEN_SLOTS(n_tokens) */
	ie_merge_table merges;
	uint32_t   *controls;		/* [n_controls] ids of control tokens */
	uint32_t	n_controls;
	bool		control_start[256];	/* first bytes of their spellings */
	int32_t		byte_ids[256];	/* token of a byte, -1 if there is none */
	int32_t		bos;			/* -1 = not used */
	int32_t		eos;			/* -1 = not stated */
	ie_arena	arena;			/* over this struct's own block; empty if nothing was built */
};

/* vocab->types; their number must be that of the tokens.  Errors: IE_FORMAT. */
ie_code		ie_vocab_set_types(ie_vocab *vocab, const gguf_kv *types, ie_error *err);

/*
 * Set the tables of a vocabulary from a packed file, having checked every number
 * in them.  Errors: IE_FORMAT, IE_UNSUPPORTED, IE_CANCELED.
 */
ie_code		ie_vocab_map(const gguf_file *file, ie_vocab *vocab, ie_error *err);

int32_t		ie_vocab_type(const ie_vocab *vocab, int32_t id);

/*
 * The byte-level alphabet: printable Latin-1 stands for itself, the other bytes
 * for U+0100 .. U+0143 in their order.  out: the character in UTF-8, returns its
 * length, 1 or 2.
 */
size_t		ie_vocab_spell_byte(uint8_t byte, char *out);

/* Ordinary token that a word of raw bytes spells as a whole, -1 if there is none. */
int32_t		ie_vocab_find_word(const ie_vocab *vocab, ie_text word);

#endif							/* IE_VOCAB_TABLES_H */
