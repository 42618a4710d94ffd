/*
 * vocab.c
 *	  Vocabulary tables.  Those of a plain file are built when it is opened, in
 *	  each backend, hence compact and quick to make.  Spellings stay in the file;
 *	  a token costs a u32 offset and two u32 hash slots, a merge two slots of 16
 *	  bytes, all in one block.
 */
#include "model/vocab_tables.h"
#include "base/bytes.h"

#include <inttypes.h>

#define EMPTY UINT32_MAX
#define POLL_ENTRIES 8192		/* tokens or merges between two polls: about 1 ms */

static const ie_pre_type pre_types[] = {
	{"smollm", &ie_split_smollm, false, false},
	{"gpt-2", &ie_split_gpt2, false, false},
	{"llama-bpe", &ie_split_llama_bpe, true, true},
	{"llama3", &ie_split_llama_bpe, true, true},
	{"llama-v3", &ie_split_llama_bpe, true, true},
	{"qwen2", &ie_split_qwen2, false, false},
	{"deepseek-r1-qwen", &ie_split_qwen2, false, false},
};

/* --------------------------------------------------------------- look-ups */

uint32_t
ie_vocab_size(const ie_vocab *vocab)
{
	return vocab->n_tokens;
}

const char *
ie_vocab_pre_type(const ie_vocab *vocab)
{
	return vocab->pre->name;
}

int32_t
ie_vocab_bos(const ie_vocab *vocab)
{
	return vocab->bos;
}

ie_text
ie_vocab_token(const ie_vocab *vocab, int32_t id)
{
	const uint8_t *spelling = vocab->spellings + vocab->offsets[id];
	uint64_t	len;

	memcpy(&len, spelling - sizeof(len), sizeof(len));
	return (ie_text) {(const char *) spelling, (size_t) len};
}

int32_t
ie_vocab_type(const ie_vocab *vocab, int32_t id)
{
	int32_t		type;

	memcpy(&type, vocab->types + (size_t) id * sizeof(type), sizeof(type));
	return type;
}

bool
ie_vocab_is_control(const ie_vocab *vocab, int32_t id)
{
	const int32_t type = ie_vocab_type(vocab, id);

	return type == IE_TOKEN_CONTROL || type == IE_TOKEN_USER_DEFINED;
}

bool
ie_vocab_is_end(const ie_vocab *vocab, int32_t id)
{
	return id == vocab->eos || ie_vocab_type(vocab, id) == IE_TOKEN_CONTROL;
}

size_t
ie_vocab_spell_byte(uint8_t byte, char *out)
{
	uint32_t	cp = byte;

	if (byte <= 0x20)
		cp = 0x100 + byte;
	else if (byte >= 0x7f && byte <= 0xa0)
		cp = 0x121 + (byte - 0x7f);
	else if (byte == 0xad)
		cp = 0x143;
	if (cp < 0x80)
	{
		out[0] = (char) cp;
		return 1;
	}
	out[0] = (char) (0xc0 | cp >> 6);
	out[1] = (char) (0x80 | (cp & 0x3f));
	return 2;
}

/*
 * FNV-1a; spread() makes all 32 bits depend on all of the bytes.  Packed files
 * hold such hashes: see IE_PACKED_VERSION.
 */
#define HASH_START 2166136261u

static inline uint32_t
hash_bytes(uint32_t h, ie_text text)
{
	for (size_t i = 0; i < text.len; i++)
		h = (h ^ (uint8_t) text.data[i]) * 16777619u;
	return h;
}

static inline uint32_t
spread(uint32_t h)
{
	h = (h ^ h >> 16) * 0x85ebca6bu;
	h = (h ^ h >> 13) * 0xc2b2ae35u;
	return h ^ h >> 16;
}

static inline uint32_t
first_slot(const ie_vocab *vocab, uint32_t hash)
{
	return (uint32_t) ((uint64_t) hash * vocab->n_slots >> 32);
}

static inline uint32_t
next_slot(const ie_vocab *vocab, uint32_t slot)
{
	return slot + 1 < vocab->n_slots ? slot + 1 : 0;
}

static inline bool
is_joined(ie_text token, ie_text left, ie_text right)
{
	return token.len == left.len + right.len &&
		memcmp(token.data, left.data, left.len) == 0 &&
		memcmp(token.data + left.len, right.data, right.len) == 0;
}

/*
 * Slot of the token spelled left and then right, or else the empty one where it
 * belongs.
 */
static uint32_t
find_slot(const ie_vocab *vocab, ie_text left, ie_text right)
{
	const uint32_t hash = spread(hash_bytes(hash_bytes(HASH_START, left), right));
	uint32_t	i = first_slot(vocab, hash);

	for (; vocab->slots[i] != EMPTY; i = next_slot(vocab, i))
	{
		ie_text		token;

		if (vocab->slots[i] >> 24 != (hash & 0xff))
			continue;
		token = ie_vocab_token(vocab, (int32_t) (vocab->slots[i] & IE_MAX_TOKENS));
		if (is_joined(token, left, right))
			break;
	}
	return i;
}

static int32_t
find_joined(const ie_vocab *vocab, ie_text left, ie_text right)
{
	const uint32_t slot = vocab->slots[find_slot(vocab, left, right)];

	return slot == EMPTY ? -1 : (int32_t) (slot & IE_MAX_TOKENS);
}

int32_t
ie_vocab_find(const ie_vocab *vocab, ie_text token)
{
	return find_joined(vocab, token, (ie_text) {"", 0});
}

static bool
spells_word(ie_text token, ie_text word)
{
	size_t		pos = 0;

	for (size_t i = 0; i < word.len; i++)
	{
		char		symbol[2];
		const size_t n = ie_vocab_spell_byte((uint8_t) word.data[i], symbol);

		if (token.len - pos < n || memcmp(token.data + pos, symbol, n) != 0)
			return false;
		pos += n;
	}
	return pos == token.len;
}

int32_t
ie_vocab_find_word(const ie_vocab *vocab, ie_text word)
{
	uint32_t	hash = HASH_START;

	for (size_t i = 0; i < word.len; i++)
	{
		char		symbol[2];

		hash = hash_bytes(hash, (ie_text) {symbol, ie_vocab_spell_byte((uint8_t) word.data[i],
																	   symbol)});
	}
	hash = spread(hash);
	for (uint32_t i = first_slot(vocab, hash); vocab->slots[i] != EMPTY; i = next_slot(vocab, i))
	{
		const int32_t id = (int32_t) (vocab->slots[i] & IE_MAX_TOKENS);

		if (vocab->slots[i] >> 24 == (hash & 0xff) &&
			ie_vocab_type(vocab, id) == IE_TOKEN_NORMAL &&
			spells_word(ie_vocab_token(vocab, id), word))
			return id;
	}
	return -1;
}

/* ----------------------------------------------------------------- building */

/* The key's value must be a string among these; tells the index. */
static ie_code
find_pre_type(ie_vocab *vocab, const gguf_file *file, ie_error *err)
{
	ie_text		name;
	char		shown[GGUF_SHOWN_SIZE];

	IE_TRY(gguf_get_text(file, "tokenizer.ggml.model", &name, NULL, err));
	if (!ie_text_is(name, "gpt2"))
	{
		ie_fail(err, IE_UNSUPPORTED, "tokenizer model \"%s\" is not supported",
				gguf_show(name, shown));
		return ie_detail(err, "Supported is \"gpt2\", that is byte-level BPE.");
	}
	IE_TRY(gguf_get_text(file, "tokenizer.ggml.pre", &name, NULL, err));
	for (size_t i = 0; i < IE_LENGTH(pre_types); i++)
	{
		if (ie_text_is(name, pre_types[i].name))
			vocab->pre = &pre_types[i];
	}
	if (vocab->pre == NULL)
	{
		ie_fail(err, IE_UNSUPPORTED, "pre-tokenizer \"%s\" is not supported",
				gguf_show(name, shown));
		return ie_detail(err, "Supported are smollm, gpt-2, llama-bpe (llama3, llama-v3) and "
						 "qwen2 (deepseek-r1-qwen).");
	}
	return IE_OK;
}

ie_code
ie_vocab_set_types(ie_vocab *vocab, const gguf_kv *types, ie_error *err)
{
	if (types->n_elems != vocab->n_tokens)
	{
		ie_fail(err, IE_FORMAT, "token types do not match the tokens");
		return ie_detail(err, "There are %u tokens and %" PRIu64 " token types.",
						 vocab->n_tokens, types->n_elems);
	}
	vocab->types = types->value;
	return IE_OK;
}

static ie_code
find_bos(ie_vocab *vocab, const gguf_file *file, ie_error *err)
{
	bool		add_bos = vocab->pre->add_bos;
	bool		found;
	uint32_t	id = 0;

	vocab->bos = -1;
	IE_TRY(gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &add_bos, &found, err));
	if (!add_bos)
		return IE_OK;
	IE_TRY(gguf_get_u32(file, "tokenizer.ggml.bos_token_id", &id, NULL, err));
	if (id >= vocab->n_tokens)
		return ie_fail(err, IE_FORMAT, "BOS token %u is not in the vocabulary of %u tokens",
					   id, vocab->n_tokens);
	vocab->bos = (int32_t) id;
	return IE_OK;
}

static ie_code
find_eos(ie_vocab *vocab, const gguf_file *file, ie_error *err)
{
	uint32_t	id = 0;
	bool		found;

	vocab->eos = -1;
	IE_TRY(gguf_get_u32(file, "tokenizer.ggml.eos_token_id", &id, &found, err));
	if (!found)
		return IE_OK;
	if (id >= vocab->n_tokens)
		return ie_fail(err, IE_FORMAT, "EOS token %u is not in the vocabulary of %u tokens",
					   id, vocab->n_tokens);
	vocab->eos = (int32_t) id;
	return IE_OK;
}

/* The pieces of the block, in the order of their first use. */
static void
lay_out(ie_vocab *vocab, ie_arena *arena)
{
	vocab->offsets = IE_TAKE(arena, vocab->n_tokens, uint32_t);
	vocab->slots = IE_TAKE(arena, vocab->n_slots, uint32_t);
	vocab->merges.merges = IE_TAKE(arena, vocab->merges.n_slots / 2, ie_merge);
	vocab->merges.slots = IE_TAKE(arena, vocab->merges.n_slots, uint32_t);
	vocab->controls = IE_TAKE(arena, vocab->n_controls, uint32_t);
}

/* Move the plan into a block of the right size. */
static ie_code
allocate(const ie_vocab *plan, ie_vocab **vocab, ie_error *err)
{
	ie_vocab	sizes = *plan;
	ie_arena	arena = {0};
	size_t		bytes;
	uintptr_t	base;

	lay_out(&sizes, &arena);
	if (arena.overflow ||
		!ie_size_add(arena.used, sizeof(ie_vocab) + IE_ARENA_ALIGN, &bytes))
		return ie_fail(err, IE_LIMIT, "vocabulary is too large");
	*vocab = ie_alloc(plan->host, bytes);
	if (*vocab == NULL)
		return ie_nomem(err, bytes);
	**vocab = *plan;
	base = ie_round_up((uintptr_t) (*vocab + 1), IE_ARENA_ALIGN);
	(*vocab)->arena = (ie_arena) {(uint8_t *) base, arena.used, 0, false};
	lay_out(*vocab, &(*vocab)->arena);
	return IE_OK;
}

static ie_code
add_tokens(ie_vocab *vocab, const gguf_kv *tokens, ie_error *err)
{
	size_t		pos = 0;
	uint32_t	n_controls = 0;
	ie_text		text;

	memset(vocab->slots, 0xff, vocab->n_slots * sizeof(uint32_t));
	for (uint32_t id = 0; id < vocab->n_tokens && gguf_next_text(tokens, &pos, &text); id++)
	{
		uint32_t	slot;
		char		shown[GGUF_SHOWN_SIZE];

		if (id % POLL_ENTRIES == 0)
			IE_TRY(ie_poll(vocab->host, err));
		vocab->offsets[id] = (uint32_t) (pos - text.len);
		if (text.len == 0)
			continue;			/* a hole in the numbering: nothing spells it */
		slot = find_slot(vocab, text, (ie_text) {"", 0});
		if (vocab->slots[slot] != EMPTY)
		{
			ie_fail(err, IE_FORMAT, "tokens %u and %u are the same",
					vocab->slots[slot] & IE_MAX_TOKENS, id);
			return ie_detail(err, "Both are \"%s\".", gguf_show(text, shown));
		}
		vocab->slots[slot] = spread(hash_bytes(HASH_START, text)) << 24 | id;
		if (ie_vocab_is_control(vocab, (int32_t) id))
		{
			vocab->controls[n_controls++] = id;
			vocab->control_start[(uint8_t) text.data[0]] = true;
		}
	}
	vocab->n_controls = n_controls;
	return IE_OK;
}

/*
 * Bytes that no graphic character has in UTF-8: control characters but tab, LF
 * and CR, the leads of planes 4 to 11 and 16, and those never used.  Trained
 * vocabularies lack some of them.
 */
static bool
is_dispensable(unsigned byte)
{
	if (byte < 0x20)
		return byte != '\t' && byte != '\n' && byte != '\r';
	return byte == 0x7f || byte == 0xc0 || byte == 0xc1 || byte == 0xf1 || byte == 0xf2 ||
		byte >= 0xf4;
}

static ie_code
find_bytes(ie_vocab *vocab, ie_error *err)
{
	for (unsigned byte = 0; byte < 256; byte++)
	{
		char		symbol[2];
		const size_t len = ie_vocab_spell_byte((uint8_t) byte, symbol);
		int32_t		id = ie_vocab_find(vocab, (ie_text) {symbol, len});

		if (id >= 0 && ie_vocab_is_control(vocab, id))
			id = -1;
		if (id < 0 && !is_dispensable(byte))
		{
			ie_fail(err, IE_FORMAT, "vocabulary has no token for the byte 0x%02x", byte);
			return ie_detail(err, "Byte-level BPE needs a token for each byte that ordinary "
							 "text consists of.");
		}
		vocab->byte_ids[byte] = id;
	}
	return IE_OK;
}

/* "left right" */
static bool
split_merge(ie_text text, ie_text *left, ie_text *right)
{
	const char *space;

	if (text.len < 3)
		return false;
	space = memchr(text.data + 1, ' ', text.len - 2);
	if (space == NULL || text.data[0] == ' ')
		return false;
	*left = (ie_text) {text.data, (size_t) (space - text.data)};
	*right = (ie_text) {space + 1, text.len - left->len - 1};
	return memchr(right->data, ' ', right->len) == NULL;
}

/* Token spelled left and then right, likely to be guess; -1 if there is none. */
static int32_t
find_merged(const ie_vocab *vocab, ie_text left, ie_text right, int32_t guess)
{
	if ((uint32_t) guess < vocab->n_tokens && is_joined(ie_vocab_token(vocab, guess), left, right))
		return guess;
	return find_joined(vocab, left, right);
}

static ie_code
bad_merge(uint32_t rank, ie_text text, const char *why, ie_error *err)
{
	char		shown[GGUF_SHOWN_SIZE];

	ie_fail(err, IE_FORMAT, "merge %u is not valid", rank);
	return ie_detail(err, "\"%s\" %s.", gguf_show(text, shown), why);
}

static ie_code
add_merges(ie_vocab *vocab, const gguf_kv *merges, ie_error *err)
{
	size_t		pos = 0;
	int32_t		id = -1;
	ie_text		text;

	memset(vocab->merges.slots, 0xff, vocab->merges.n_slots * sizeof(uint32_t));
	for (uint32_t rank = 0; gguf_next_text(merges, &pos, &text); rank++)
	{
		ie_merge   *merge = &vocab->merges.merges[rank];
		ie_text		left;
		ie_text		right;
		int32_t		left_id;
		int32_t		right_id;

		if (rank % POLL_ENTRIES == 0)
			IE_TRY(ie_poll(vocab->host, err));
		if (!split_merge(text, &left, &right))
			return bad_merge(rank, text, "is not two tokens with a space between them", err);
		left_id = ie_vocab_find(vocab, left);
		right_id = ie_vocab_find(vocab, right);
		id = find_merged(vocab, left, right, id + 1);
		if (left_id < 0 || right_id < 0 || id < 0)
			return bad_merge(rank, text, "needs a token that is not in the vocabulary", err);
		if (ie_vocab_is_control(vocab, id))
		{
			*merge = (ie_merge) {0};	/* text must never give a control token */
			continue;
		}
		*merge = (ie_merge) {(uint32_t) left_id, (uint32_t) right_id, (uint32_t) id};
		if (!ie_merge_add(&vocab->merges, rank))
			return bad_merge(rank, text, "occurs twice", err);
	}
	return IE_OK;
}

/* Check sizes, and count what the block must hold. */
static ie_code
plan_tables(ie_vocab *plan, const gguf_kv *tokens, const gguf_kv *types, const gguf_kv *merges,
			ie_error *err)
{
	if (tokens->n_elems > IE_MAX_TOKENS || merges->n_elems > IE_MAX_TOKENS ||
		tokens->value_bytes > UINT32_MAX)
	{
		ie_fail(err, IE_UNSUPPORTED, "vocabulary is too large");
		return ie_detail(err, "At most %d tokens and merges and 4 GB of spellings are supported.",
						 IE_MAX_TOKENS);
	}
	plan->n_tokens = (uint32_t) tokens->n_elems;
	plan->spellings = tokens->value;
	plan->spellings_bytes = (uint32_t) tokens->value_bytes;
	IE_TRY(ie_vocab_set_types(plan, types, err));
	plan->n_slots = IE_TOKEN_SLOTS(plan->n_tokens);
	plan->merges.n_slots = IE_MERGE_SLOTS((uint32_t) merges->n_elems);
	for (uint32_t id = 0; id < plan->n_tokens; id++)
		plan->n_controls += ie_vocab_is_control(plan, (int32_t) id);
	return IE_OK;
}

/* Tables of a plain file */
static ie_code
build(const gguf_file *file, ie_vocab *plan, ie_vocab **vocab, ie_error *err)
{
	const gguf_kv *tokens;
	const gguf_kv *types;
	const gguf_kv *merges;
	ie_vocab   *built;

	IE_TRY(gguf_get_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, NULL, err));
	IE_TRY(gguf_get_array(file, "tokenizer.ggml.token_type", GGUF_I32, &types, NULL, err));
	IE_TRY(gguf_get_array(file, "tokenizer.ggml.merges", GGUF_STRING, &merges, NULL, err));
	IE_TRY(plan_tables(plan, tokens, types, merges, err));
	IE_TRY(allocate(plan, &built, err));
	*vocab = built;
	IE_TRY(add_tokens(built, tokens, err));
	IE_TRY(find_bytes(built, err));
	return add_merges(built, merges, err);
}

/* Tables of a packed file */
static ie_code
map(const gguf_file *file, ie_vocab *plan, ie_vocab **vocab, ie_error *err)
{
	IE_TRY(ie_vocab_map(file, plan, err));
	*vocab = ie_alloc(plan->host, sizeof(**vocab));
	if (*vocab == NULL)
		return ie_nomem(err, sizeof(**vocab));
	**vocab = *plan;
	return IE_OK;
}

ie_code
ie_vocab_create(const ie_host *host, const gguf_file *file, ie_vocab **vocab, ie_error *err)
{
	ie_vocab	plan = {.host = host};
	ie_vocab   *made = NULL;
	ie_code		code;

	IE_TRY(find_pre_type(&plan, file, err));
	IE_TRY_GOTO(ie_is_packed(file) ? map(file, &plan, &made, err) :
				build(file, &plan, &made, err));
	IE_TRY_GOTO(find_bos(made, file, err));
	IE_TRY_GOTO(find_eos(made, file, err));
	*vocab = made;
	made = NULL;

done:
	ie_vocab_free(made);
	return code;
}

void
ie_vocab_free(ie_vocab *vocab)
{
	if (vocab == NULL)
		return;
	ie_arena_reset(&vocab->arena);
	ie_release(vocab->host, vocab);
}
