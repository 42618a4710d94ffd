/*
 * vocab_builder.h
 *	  Small vocabularies, valid ones and broken ones, as GGUF files in memory.
 *
 *		vocab_spec	spec = vocab_spec_default();
 *		test_vocab	t;
 *
 *		spec.merges = (const char *const[]) {"a b", "ab c"};
 *		spec.n_merges = 2;
 *		code = vb_open(&host, &spec, &t, &err);
 *		... t.vocab ...
 *		vb_close(&t);
 *
 * Tokens 0 to 255 are the bytes, then those of the spec, then what the merges
 * make, where it is not there yet.
 */
#ifndef VOCAB_BUILDER_H
#define VOCAB_BUILDER_H

#include "gguf_builder.h"
#include "model/vocab_tables.h"

typedef struct vocab_token
{
	const char *spelling;
	int32_t		type;
} vocab_token;

typedef struct vocab_spec
{
	const char *model;
	const char *pre;
	const vocab_token *tokens;	/* [n_tokens] behind the bytes */
	size_t		n_tokens;
	const char *const *merges;	/* [n_merges] "left right" */
	size_t		n_merges;
	bool		merges_alone;	/* make no tokens for them */
	const char *omit;			/* a key that is left out */
	const char *empty;			/* the byte token spelled so is spelled "" instead */
	int			n_extra_types;	/* of tokens that are not there; -1: one too few */
	int			add_bos;		/* -1 = key left out */
	int64_t		bos;			/* -1 = key left out */
} vocab_spec;

static inline vocab_spec
vocab_spec_default(void)
{
	return (vocab_spec) {.model = "gpt2", .pre = "gpt-2", .add_bos = -1, .bos = -1};
}

typedef struct vb_tokens
{
	vocab_token *list;
	size_t		n;
	char	   *spellings;		/* storage for what merges make */
} vb_tokens;

static inline void
vb_add(vb_tokens *tokens, const char *spelling, int32_t type)
{
	tokens->list[tokens->n++] = (vocab_token) {spelling, type};
}

static inline void
vb_add_merged(vb_tokens *tokens, const char *merge)
{
	char	   *out = tokens->spellings;
	size_t		len = 0;

	for (; *merge != '\0'; merge++)
	{
		if (*merge != ' ')
			out[len++] = *merge;
	}
	out[len++] = '\0';
	for (size_t i = 0; i < tokens->n; i++)
	{
		if (strcmp(tokens->list[i].spelling, out) == 0)
			return;
	}
	vb_add(tokens, out, 1);
	tokens->spellings += len;
}

static inline bool
vb_wanted(const vocab_spec *spec, const char *key)
{
	return spec->omit == NULL || strcmp(spec->omit, key) != 0;
}

static inline void
vb_write(gguf_builder *b, const vocab_spec *spec, const vb_tokens *tokens)
{
	const size_t n_types = (size_t) ((long) tokens->n + spec->n_extra_types);

	gb_begin(b, 3);
	if (vb_wanted(spec, "tokenizer.ggml.model"))
		gb_kv_text(b, "tokenizer.ggml.model", spec->model);
	if (vb_wanted(spec, "tokenizer.ggml.pre"))
		gb_kv_text(b, "tokenizer.ggml.pre", spec->pre);
	if (vb_wanted(spec, "tokenizer.ggml.tokens"))
	{
		gb_kv_array(b, "tokenizer.ggml.tokens", GGUF_STRING, tokens->n);
		for (size_t i = 0; i < tokens->n; i++)
			gb_string(b, tokens->list[i].spelling);
	}
	if (vb_wanted(spec, "tokenizer.ggml.token_type"))
	{
		gb_kv_array(b, "tokenizer.ggml.token_type", GGUF_I32, n_types);
		for (size_t i = 0; i < n_types; i++)
			gb_uint(b, i < tokens->n ? (uint32_t) tokens->list[i].type : 1, 4);
	}
	if (vb_wanted(spec, "tokenizer.ggml.merges"))
	{
		gb_kv_array(b, "tokenizer.ggml.merges", GGUF_STRING, spec->n_merges);
		for (size_t i = 0; i < spec->n_merges; i++)
			gb_string(b, spec->merges[i]);
	}
	if (spec->add_bos >= 0)
	{
		gb_kv(b, "tokenizer.ggml.add_bos_token", GGUF_BOOL);
		gb_uint(b, (uint64_t) spec->add_bos, 1);
	}
	if (spec->bos >= 0)
		gb_kv_u32(b, "tokenizer.ggml.bos_token_id", (uint32_t) spec->bos);
	gb_end(b);
}

/* The file's bytes; gb_free() them. */
static inline void
vb_build(gguf_builder *b, const vocab_spec *spec)
{
	char		symbols[256][4];
	size_t		n_chars = 0;
	vb_tokens	tokens = {0};
	char	   *storage;

	for (size_t i = 0; i < spec->n_merges; i++)
		n_chars += strlen(spec->merges[i]) + 1;
	tokens.list = malloc((256 + spec->n_tokens + spec->n_merges) * sizeof(vocab_token));
	storage = tokens.spellings = malloc(n_chars + 1);
	if (tokens.list == NULL || storage == NULL)
		abort();

	for (int byte = 0; byte < 256; byte++)
	{
		symbols[byte][ie_vocab_spell_byte((uint8_t) byte, symbols[byte])] = '\0';
		if (spec->empty != NULL && strcmp(symbols[byte], spec->empty) == 0)
			symbols[byte][0] = '\0';
		vb_add(&tokens, symbols[byte], 1);
	}
	for (size_t i = 0; i < spec->n_tokens; i++)
		vb_add(&tokens, spec->tokens[i].spelling, spec->tokens[i].type);
	for (size_t i = 0; i < spec->n_merges && !spec->merges_alone; i++)
		vb_add_merged(&tokens, spec->merges[i]);
	vb_write(b, spec, &tokens);
	free(storage);
	free(tokens.list);
}

typedef struct test_vocab
{
	gguf_builder b;
	gguf_file	file;
	ie_vocab   *vocab;
} test_vocab;

static inline void
vb_close(test_vocab *t)
{
	ie_vocab_free(t->vocab);
	gguf_free(&t->file);
	gb_free(&t->b);
	memset(t, 0, sizeof(*t));
}

/* On failure nothing is left to close. */
static inline ie_code
vb_open(const ie_host *host, const vocab_spec *spec, test_vocab *t, ie_error *err)
{
	ie_code		code;

	memset(t, 0, sizeof(*t));
	vb_build(&t->b, spec);
	code = gguf_parse(host, t->b.data, t->b.size, &t->file, err);
	if (code == IE_OK)
		code = ie_vocab_create(host, &t->file, &t->vocab, err);
	if (code != IE_OK)
		vb_close(t);
	return code;
}

#endif							/* VOCAB_BUILDER_H */
