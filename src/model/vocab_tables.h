/*
 * vocab_tables.h
 *	  What a vocabulary consists of: for vocab.c, which builds and reads the
 *	  tables, and encode.c, which walks texts with them.
 */
#ifndef IE_VOCAB_TABLES_H
#define IE_VOCAB_TABLES_H

#include "base/arena.h"
#include "model/bpe.h"
#include "model/pretokenize.h"
#include "model/vocab.h"

/* What tokenizer.ggml.pre stands for. */
typedef struct ie_pre_type
{
	const char *name;
	const ie_split_rule *rule;
	bool		whole_words;	/* a word that is a token is that token, whatever the merges */
	bool		add_bos;		/* unless the file says otherwise */
} ie_pre_type;

struct ie_vocab
{
	const ie_host *host;
	const ie_pre_type *pre;
	uint32_t	n_tokens;
	const uint8_t *spellings;	/* borrowed: u64 length and the bytes, n_tokens times */
	const uint8_t *types;		/* borrowed: i32[n_tokens], any alignment */
	uint32_t   *offsets;		/* [n_tokens] of a token's bytes in spellings */
	uint32_t   *slots;			/* [n_slots] hash of spellings: 8 bits of it << 24 | id */
	uint32_t	n_slots;
	ie_merge_table merges;
	uint32_t   *controls;		/* [n_controls] ids of control tokens */
	uint32_t	n_controls;
	bool		control_start[256];	/* first bytes of their spellings */
	int32_t		byte_ids[256];	/* token of a byte, -1 if there is none */
	int32_t		bos;
	ie_arena	arena;			/* over this struct's own block */
};

/*
 * The byte-level alphabet: printable Latin-1 stands for itself, the other bytes
 * for U+0100 .. U+0143 in their order.  out: the character in UTF-8, returns its
 * length, 1 or 2.
 */
size_t		ie_vocab_spell_byte(uint8_t byte, char *out);

/* Ordinary token that a word of raw bytes spells as a whole, -1 if there is none. */
int32_t		ie_vocab_find_word(const ie_vocab *vocab, ie_text word);

#endif							/* IE_VOCAB_TABLES_H */
