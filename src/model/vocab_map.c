/*
 * vocab_map.c
 *	  A vocabulary's tables as tensors of a packed file, used where they lie.
 *
 *	  instemb.vocab.spellings	I8: u64 length and the bytes, for each token
 *	  instemb.vocab.offsets		I32 [n_tokens]: of a token's bytes in spellings
 *	  instemb.vocab.slots		I32: hash of the spellings
 *	  instemb.vocab.bytes		I32 [256]: token of each byte, -1 if there is none
 *	  instemb.vocab.controls	I32: ids of control tokens; absent if there are none
 *	  instemb.vocab.merge_slots I32: hash of the merges' pairs
 *	  instemb.vocab.merges		I32 [3, n]: left, right and merged token by rank;
 *								absent if there are none
 *
 * They are what ie_vocab_create() builds, byte for byte.  Opening looks at every
 * number of them once, so that whoever uses one later stays inside of them, and
 * every search of a hash ends.
 */
#include "model/vocab_tables.h"
#include "base/bytes.h"

#include <inttypes.h>

#define POLL_ENTRIES 65536		/* entries between two polls: below 1 ms */

enum
{
	SPELLINGS, OFFSETS, SLOTS, BYTES, CONTROLS, MERGE_SLOTS, MERGES
};

static const char *const names[IE_VOCAB_TABLES] = {
	[SPELLINGS] = "instemb.vocab.spellings",
	[OFFSETS] = "instemb.vocab.offsets",
	[SLOTS] = "instemb.vocab.slots",
	[BYTES] = "instemb.vocab.bytes",
	[CONTROLS] = "instemb.vocab.controls",
	[MERGE_SLOTS] = "instemb.vocab.merge_slots",
	[MERGES] = "instemb.vocab.merges",
};

_Static_assert(sizeof(ie_merge) == 3 * sizeof(uint32_t), "a row of instemb.vocab.merges");

/* ------------------------------------------------------------------ writing */

static gguf_tensor
table(int which, const void *data, uint32_t n_columns, uint64_t n_rows)
{
	const bool	bytes = which == SPELLINGS;

	return (gguf_tensor) {
		.name = {names[which], strlen(names[which])},
		.type = ie_type_find(bytes ? IE_TYPE_I8 : IE_TYPE_I32),
		.n_dims = n_columns > 1 ? 2 : 1,
		.ne = {n_columns > 1 ? n_columns : n_rows, n_columns > 1 ? n_rows : 1, 1, 1},
		.data = data,
		.data_bytes = (size_t) n_rows * n_columns * (bytes ? 1 : sizeof(uint32_t))
	};
}

size_t
ie_vocab_tables(const ie_vocab *vocab, gguf_tensor *tables)
{
	const gguf_tensor all[IE_VOCAB_TABLES] = {
		table(SPELLINGS, vocab->spellings, 1, vocab->spellings_bytes),
		table(OFFSETS, vocab->offsets, 1, vocab->n_tokens),
		table(SLOTS, vocab->slots, 1, vocab->n_slots),
		table(BYTES, vocab->byte_ids, 1, 256),
		table(CONTROLS, vocab->controls, 1, vocab->n_controls),
		table(MERGE_SLOTS, vocab->merges.slots, 1, vocab->merges.n_slots),
		table(MERGES, vocab->merges.merges, 3, vocab->merges.n_slots / 2)
	};
	size_t		n = 0;

	for (size_t i = 0; i < IE_VOCAB_TABLES; i++)
		if (all[i].data_bytes > 0)
			tables[n++] = all[i];
	return n;
}

bool
ie_vocab_is_table(ie_text name)
{
	for (size_t i = 0; i < IE_VOCAB_TABLES; i++)
		if (ie_text_is(name, names[i]))
			return true;
	return false;
}

/* ------------------------------------------------------------------ mapping */

/* Whose tables are to be checked */
typedef struct mapper
{
	const gguf_file *file;
	ie_vocab   *vocab;
	ie_error   *err;
} mapper;

/*
 * Table of n_rows, or of any number if that is 0: then *n receives it.  n_rows
 * and the size of what is found are below 2^32.
 */
static ie_code
find_table(const mapper *m, int which, uint32_t n_columns, uint64_t n_rows, const void **data,
		   uint32_t *n)
{
	const gguf_tensor *t = gguf_find_tensor(m->file, names[which]);
	gguf_tensor expected;

	if (t == NULL)
		return ie_fail(m->err, IE_FORMAT, "tensor \"%s\" is missing", names[which]);
	if (n_rows == 0)
		n_rows = t->ne[n_columns > 1];
	expected = table(which, NULL, n_columns, n_rows);
	if (t->type != expected.type || n_rows > UINT32_MAX ||
		memcmp(t->ne, expected.ne, sizeof(t->ne)) != 0)
	{
		ie_fail(m->err, IE_FORMAT, "tensor \"%s\" has a wrong type or shape", names[which]);
		return ie_detail(m->err, "It is %s, %" PRIu64 " x %" PRIu64 "; expected is %s, %" PRIu64
						 " x %" PRIu64 ".", t->type->name, t->ne[0], t->ne[1],
						 expected.type->name, expected.ne[0], expected.ne[1]);
	}
	if ((uintptr_t) t->data % sizeof(uint32_t) != 0)
		return ie_fail(m->err, IE_FORMAT, "tensor \"%s\" is not aligned", names[which]);
	*data = t->data;
	if (n != NULL)
		*n = (uint32_t) n_rows;
	return IE_OK;
}

/* The same for one that is absent if it is empty */
static ie_code
find_optional(const mapper *m, int which, uint32_t n_columns, const void **data, uint32_t *n)
{
	*data = NULL;
	*n = 0;
	if (gguf_find_tensor(m->file, names[which]) == NULL)
		return IE_OK;
	return find_table(m, which, n_columns, 0, data, n);
}

static ie_code
find_tables(const mapper *m)
{
	ie_vocab   *v = m->vocab;
	const void *data[IE_VOCAB_TABLES];
	uint32_t	n_merges;

	IE_TRY(find_table(m, SPELLINGS, 1, 0, &data[SPELLINGS], &v->spellings_bytes));
	IE_TRY(find_table(m, OFFSETS, 1, 0, &data[OFFSETS], &v->n_tokens));
	IE_TRY(find_optional(m, MERGES, 3, &data[MERGES], &n_merges));
	if (v->n_tokens > IE_MAX_TOKENS || n_merges > IE_MAX_MERGES)
		return ie_fail(m->err, IE_UNSUPPORTED, "vocabulary is too large");
	v->n_slots = IE_TOKEN_SLOTS(v->n_tokens);
	v->merges.n_slots = IE_MERGE_SLOTS(n_merges);
	IE_TRY(find_table(m, SLOTS, 1, v->n_slots, &data[SLOTS], NULL));
	IE_TRY(find_table(m, BYTES, 1, 256, &data[BYTES], NULL));
	IE_TRY(find_optional(m, CONTROLS, 1, &data[CONTROLS], &v->n_controls));
	IE_TRY(find_table(m, MERGE_SLOTS, 1, v->merges.n_slots, &data[MERGE_SLOTS], NULL));
	v->spellings = data[SPELLINGS];
	/* tables are written to only where they are built */
	v->offsets = (uint32_t *) (uintptr_t) data[OFFSETS];
	v->slots = (uint32_t *) (uintptr_t) data[SLOTS];
	v->controls = (uint32_t *) (uintptr_t) data[CONTROLS];
	v->merges.slots = (uint32_t *) (uintptr_t) data[MERGE_SLOTS];
	v->merges.merges = (ie_merge *) (uintptr_t) data[MERGES];
	memcpy(v->byte_ids, data[BYTES], sizeof(v->byte_ids));
	return IE_OK;
}

static ie_code
bad_entry(const mapper *m, int which, uint32_t at)
{
	ie_fail(m->err, IE_FORMAT, "tensor \"%s\" is corrupt", names[which]);
	ie_detail(m->err, "Entry %u is out of range.", at);
	return ie_hint(m->err, "Install the model again.");
}

/*
 * The checks look at all entries without branches, which the processor could
 * not foresee, and search for the bad one when there is one.
 */

/* Does a token's length or do its bytes lie outside of the spellings? */
static inline bool
is_bad_offset(const ie_vocab *v, uint32_t id)
{
	const uint32_t offset = v->offsets[id];

	return offset < sizeof(uint64_t) || offset > v->spellings_bytes ||
		ie_vocab_token(v, (int32_t) id).len > v->spellings_bytes - offset;
}

/* Slots hold a number below n in their low 24 bits, or nothing. */
static inline bool
is_bad_slot(uint32_t slot, uint32_t n)
{
	return (slot != UINT32_MAX) & ((slot & 0xffffff) >= n);
}

/*
 * Its tokens do not exist, or it would make a control token.  A merge that was
 * left out for that reason is 0, 0, 0: no slot leads to it.
 */
static inline bool
is_bad_merge(const ie_vocab *v, const ie_merge *merge)
{
	const uint32_t id = merge->id < v->n_tokens ? merge->id : 0;
	const bool	is_left_out = (merge->left | merge->right | merge->id) == 0;

	return (merge->left >= v->n_tokens) | (merge->right >= v->n_tokens) |
		(merge->id >= v->n_tokens) |
		(!is_left_out & ie_vocab_is_control(v, (int32_t) id));
}

static ie_code
check_spellings(const mapper *m)
{
	for (uint32_t id = 0; id < m->vocab->n_tokens; id++)
	{
		if (id % POLL_ENTRIES == POLL_ENTRIES - 1)
			IE_TRY(ie_poll(m->vocab->host, m->err));
		if (is_bad_offset(m->vocab, id))
			return bad_entry(m, OFFSETS, id);
	}
	return IE_OK;
}

/* A slot must be free, or a search would not end. */
static ie_code
check_slots(const mapper *m, int which, const uint32_t *slots, uint32_t n_slots, uint32_t n)
{
	uint32_t	n_free = 0;

	for (uint32_t begin = 0; begin < n_slots; begin += POLL_ENTRIES)
	{
		const uint32_t end = n_slots - begin > POLL_ENTRIES ? begin + POLL_ENTRIES : n_slots;
		uint32_t	n_bad = 0;

		IE_TRY(ie_poll(m->vocab->host, m->err));
		for (uint32_t i = begin; i < end; i++)
		{
			n_bad += is_bad_slot(slots[i], n);
			n_free += slots[i] == UINT32_MAX;
		}
		for (uint32_t i = begin; i < end && n_bad > 0; i++)
			if (is_bad_slot(slots[i], n))
				return bad_entry(m, which, i);
	}
	return n_free > 0 ? IE_OK : bad_entry(m, which, n_slots);
}

static ie_code
check_merges(const mapper *m)
{
	const ie_merge *merges = m->vocab->merges.merges;
	const uint32_t n = m->vocab->merges.n_slots / 2;

	for (uint32_t begin = 0; begin < n; begin += POLL_ENTRIES)
	{
		const uint32_t end = n - begin > POLL_ENTRIES ? begin + POLL_ENTRIES : n;
		uint32_t	n_bad = 0;

		IE_TRY(ie_poll(m->vocab->host, m->err));
		for (uint32_t i = begin; i < end; i++)
			n_bad += is_bad_merge(m->vocab, &merges[i]);
		for (uint32_t i = begin; i < end && n_bad > 0; i++)
			if (is_bad_merge(m->vocab, &merges[i]))
				return bad_entry(m, MERGES, i);
	}
	return IE_OK;
}

/* No byte gives a control token; controls are some. */
static ie_code
check_controls(const mapper *m)
{
	ie_vocab   *v = m->vocab;

	for (uint32_t i = 0; i < v->n_controls; i++)
	{
		const uint32_t id = v->controls[i];

		if (id >= v->n_tokens || !ie_vocab_is_control(v, (int32_t) id) ||
			ie_vocab_token(v, (int32_t) id).len == 0)
			return bad_entry(m, CONTROLS, i);
		v->control_start[(uint8_t) ie_vocab_token(v, (int32_t) id).data[0]] = true;
	}
	for (uint32_t byte = 0; byte < 256; byte++)
		if (v->byte_ids[byte] < -1 || v->byte_ids[byte] >= (int32_t) v->n_tokens ||
			(v->byte_ids[byte] >= 0 && ie_vocab_is_control(v, v->byte_ids[byte])))
			return bad_entry(m, BYTES, byte);
	return IE_OK;
}

ie_code
ie_vocab_map(const gguf_file *file, ie_vocab *vocab, ie_error *err)
{
	const mapper m = {file, vocab, err};
	const gguf_kv *types;

	IE_TRY(find_tables(&m));
	IE_TRY(gguf_get_array(file, "tokenizer.ggml.token_type", GGUF_I32, &types, NULL, err));
	IE_TRY(ie_vocab_set_types(vocab, types, err));
	IE_TRY(check_spellings(&m));
	IE_TRY(check_slots(&m, SLOTS, vocab->slots, vocab->n_slots, vocab->n_tokens));
	IE_TRY(check_slots(&m, MERGE_SLOTS, vocab->merges.slots, vocab->merges.n_slots,
					   vocab->merges.n_slots / 2));
	IE_TRY(check_merges(&m));
	return check_controls(&m);
}

ie_code
ie_vocab_count(const gguf_file *file, uint64_t *n_tokens, ie_error *err)
{
	const gguf_tensor *offsets = gguf_find_tensor(file, names[OFFSETS]);
	const gguf_kv *tokens;

	if (ie_is_packed(file) && offsets != NULL)
	{
		*n_tokens = offsets->ne[0];
		return IE_OK;
	}
	IE_TRY(gguf_get_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, NULL, err));
	*n_tokens = tokens->n_elems;
	return IE_OK;
}
