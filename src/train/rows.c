/*
 * rows.c
 *	  Tokenising and keeping rows: see rows.h.
 */
#include "train/rows.h"
#include "base/bytes.h"

#include <stdio.h>

#define MIN_CAPACITY 1024
#define MAX_ROWS (UINT32_MAX / 4)

/* -------------------------------------------------------------------- pool */

/* *array [capacity] of unit bytes gets room for at least wanted elements. */
static ie_code
grow(ie_budget *budget, void **array, size_t n, size_t wanted, size_t unit, size_t *capacity,
	 ie_error *err)
{
	size_t		new_capacity = *capacity > 0 ? *capacity : MIN_CAPACITY;
	void	   *bigger;

	if (wanted <= *capacity)
		return IE_OK;
	while (new_capacity < wanted)
		new_capacity += new_capacity / 2;
	IE_TRY(ie_budget_take(budget, "rows", new_capacity * unit, &bigger, err));
	if (n > 0)
		memcpy(bigger, *array, n * unit);
	ie_release(&budget->host, *array);
	*array = bigger;
	*capacity = new_capacity;
	return IE_OK;
}

/* FNV-1a over tokens */
static uint32_t
hash_of(const int32_t *ids, size_t n)
{
	uint64_t	h = 0xcbf29ce484222325;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint32_t) ids[i]) * 0x100000001b3;
	return (uint32_t) (h ^ h >> 32);
}

/* The slot of an entry equal to ids, or the free one where it belongs */
static uint32_t
find_slot(const ie_token_pool *pool, const int32_t *ids, size_t n)
{
	const uint32_t mask = pool->n_slots - 1;
	uint32_t	i = hash_of(ids, n) & mask;

	while (pool->slots[i] != 0)
	{
		const uint32_t entry = pool->slots[i] - 1;

		if (ie_pool_len(pool, entry) == n &&
			(n == 0 || memcmp(ie_pool_ids(pool, entry), ids, n * sizeof(int32_t)) == 0))
			break;
		i = (i + 1) & mask;
	}
	return i;
}

/* At least two slots for each of n entries */
static ie_code
grow_slots(ie_token_pool *pool, ie_budget *budget, uint32_t n, ie_error *err)
{
	uint32_t	n_slots = pool->n_slots > 0 ? pool->n_slots : 2 * MIN_CAPACITY;
	void	   *slots;

	while (n_slots / 2 < n)
		n_slots *= 2;
	if (n_slots == pool->n_slots)
		return IE_OK;
	IE_TRY(ie_budget_take(budget, "rows", n_slots * sizeof(uint32_t), &slots, err));
	memset(slots, 0, n_slots * sizeof(uint32_t));
	ie_release(&budget->host, pool->slots);
	pool->slots = slots;
	pool->n_slots = n_slots;
	for (uint32_t i = 0; i < pool->n; i++)
		pool->slots[find_slot(pool, ie_pool_ids(pool, i), ie_pool_len(pool, i))] = i + 1;
	return IE_OK;
}

static ie_code
intern(ie_token_pool *pool, ie_budget *budget, const int32_t *ids, size_t n, uint32_t *entry,
	   ie_error *err)
{
	size_t		start_capacity = pool->start_capacity;
	void	   *array;
	uint32_t	slot;

	if (n > UINT32_MAX - pool->n_ids || pool->n >= MAX_ROWS)
		return ie_fail(err, IE_LIMIT, "too many tokens to train on");
	IE_TRY(grow_slots(pool, budget, pool->n + 1, err));
	slot = find_slot(pool, ids, n);
	if (pool->slots[slot] == 0)
	{
		array = pool->ids;
		IE_TRY(grow(budget, &array, pool->n_ids, pool->n_ids + n, sizeof(int32_t),
					&pool->ids_capacity, err));
		pool->ids = array;
		array = pool->start;
		IE_TRY(grow(budget, &array, pool->n + (pool->start != NULL), (size_t) pool->n + 2,
					sizeof(uint32_t), &start_capacity, err));
		pool->start = array;
		pool->start_capacity = (uint32_t) start_capacity;
		if (n > 0)
			memcpy(pool->ids + pool->n_ids, ids, n * sizeof(int32_t));
		pool->start[pool->n] = (uint32_t) pool->n_ids;
		pool->n_ids += n;
		pool->start[++pool->n] = (uint32_t) pool->n_ids;
		pool->slots[slot] = pool->n;
	}
	*entry = pool->slots[slot] - 1;
	return IE_OK;
}

/* ------------------------------------------------------------------- parts */

static ie_code
intern_scratch(ie_rows_store *store, uint32_t *entry, ie_error *err)
{
	return intern(&store->pool, store->budget, store->scratch.ids, store->scratch.n, entry, err);
}

/* What stands before and behind a text under an instruction */
static ie_code
add_frame(ie_rows_store *store, ie_text instruction, uint32_t *prefix, uint32_t *suffix,
		  ie_error *err)
{
	const ie_definition *d = &store->model->definition;

	store->scratch.n = 0;
	IE_TRY(ie_prompt_prefix(store->model, instruction, &store->scratch, err));
	IE_TRY(intern_scratch(store, prefix, err));
	store->scratch.n = 0;
	IE_TRY(ie_vocab_encode_template(store->model->vocab,
									instruction.len > 0 ? d->suffix : d->suffix_empty,
									"instruction", instruction, &store->scratch, err));
	return intern_scratch(store, suffix, err);
}

static ie_code
add_instruction(ie_rows_store *store, ie_text instruction, ie_train_row *row, ie_error *err)
{
	store->scratch.n = 0;
	IE_TRY(ie_vocab_encode(store->model->vocab, instruction, &store->scratch, err));
	IE_TRY(intern_scratch(store, &row->instruction, err));
	return add_frame(store, instruction, &row->prefix, &row->suffix, err);
}

/* The tokens of a text, alone or in the template's body, at least one */
static ie_code
encode(ie_rows_store *store, ie_text text, bool in_body, ie_error *err)
{
	const ie_model *m = store->model;

	store->scratch.n = 0;
	IE_TRY(ie_vocab_encode(m->vocab, text, &store->scratch, err));
	if (store->scratch.n == 0)
		return ie_fail(err, IE_INVALID, "it has no tokens");
	if (!in_body)
		return IE_OK;
	store->scratch.n = 0;
	return ie_vocab_encode_template(m->vocab, m->definition.body, "input", text,
									&store->scratch, err);
}

/*
 * The text of a row: what is left of its limit when prefix, suffix and the
 * longer of look-ahead and answer are taken off, is its room.
 */
static ie_code
add_text(ie_rows_store *store, ie_text text, ie_train_row *row, ie_error *err)
{
	const ie_token_pool *pool = &store->pool;
	const size_t n_gold = ie_pool_len(pool, row->gold);
	const size_t n_behind = n_gold > store->limits.lookahead_count ? n_gold :
		store->limits.lookahead_count;
	const size_t taken = ie_pool_len(pool, row->prefix) + ie_pool_len(pool, row->suffix) +
		n_behind;
	const size_t limit = store->limits.max_row_tokens;
	size_t		n;

	IE_TRY(encode(store, text, true, err));
	n = store->scratch.n;
	if (taken + n > limit)
	{
		if (!store->limits.truncate || taken >= limit)
		{
			ie_fail(err, IE_LIMIT, "it has %zu tokens, the limit is %zu", taken + n, limit);
			return ie_detail(err, "Instruction, template and look-ahead or answer take %zu of "
							 "them.", taken);
		}
		store->scratch.n = limit - taken;
	}
	return intern_scratch(store, &row->text, err);
}

/* Equal for texts that differ in ASCII case and in spaces and full stops around them */
static ie_code
add_key(ie_rows_store *store, ie_text text, uint32_t *entry, ie_error *err)
{
	ie_text		key = text;
	void	   *lower;
	ie_code		code;

	while (key.len > 0 && strchr(" \t\r\n.", key.data[0]) != NULL && key.data[0] != '\0')
		key = (ie_text) {key.data + 1, key.len - 1};
	while (key.len > 0 && strchr(" \t\r\n.", key.data[key.len - 1]) != NULL &&
		   key.data[key.len - 1] != '\0')
		key.len--;
	if (key.len == 0)
		key = text;
	IE_TRY(ie_budget_take(store->budget, "rows", key.len, &lower, err));
	for (size_t i = 0; i < key.len; i++)
	{
		const char	c = key.data[i];

		((char *) lower)[i] = c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
	}
	code = encode(store, (ie_text) {lower, key.len}, false, err);
	ie_release(&store->budget->host, lower);
	return code == IE_OK ? intern_scratch(store, entry, err) : code;
}

/* ------------------------------------------------------------------- store */

/* An output, alone: its tokens and the end token */
static ie_code
add_gold(ie_rows_store *store, ie_text text, uint32_t *entry, ie_error *err)
{
	IE_TRY(encode(store, text, false, err));
	if (store->scratch.n > store->limits.max_answer_tokens)
		store->scratch.n = store->limits.max_answer_tokens;
	if (store->end >= 0)
		IE_TRY(ie_tokens_push(store->model->host, &store->scratch, store->end, err));
	return intern_scratch(store, entry, err);
}

static ie_code
add_answer(ie_rows_store *store, ie_text text, uint32_t *entry, ie_error *err)
{
	IE_TRY(encode(store, text, true, err));
	if (store->scratch.n > store->limits.max_answer_tokens)
		store->scratch.n = store->limits.max_answer_tokens;
	return intern_scratch(store, entry, err);
}

/* Say in the error just made which part of which row it is about. */
static ie_code
in_row(const ie_rows_store *store, const char *part, ie_error *err)
{
	char		message[sizeof(err->message)];

	if (store->budget->exhausted || (err->code != IE_INVALID && err->code != IE_LIMIT))
		return err->code;
	memcpy(message, err->message, sizeof(message));
	snprintf(err->message, sizeof(err->message), "%s of training row %u cannot be used: %.300s",
			 part, store->n + 1, message);
	return err->code;
}

ie_code
ie_rows_add(ie_rows_store *store, const ie_triple *triple, ie_error *err)
{
	ie_train_row row;
	size_t		capacity = store->capacity;
	void	   *array = store->rows;

	if (store->n >= MAX_ROWS)
		return ie_fail(err, IE_LIMIT, "too many rows to train on");
	if (triple->input.len == 0 || triple->output.len == 0)
	{
		ie_fail(err, IE_INVALID, "it is empty");
		return in_row(store, triple->input.len == 0 ? "input" : "output", err);
	}
	if (add_instruction(store, triple->instruction, &row, err) != IE_OK)
		return in_row(store, "instruction", err);
	if (add_gold(store, triple->output, &row.gold, err) != IE_OK ||
		add_answer(store, triple->output, &row.answer, err) != IE_OK ||
		add_key(store, triple->output, &row.key, err) != IE_OK)
		return in_row(store, "output", err);
	if (add_text(store, triple->input, &row, err) != IE_OK)
		return in_row(store, "input", err);
	IE_TRY(grow(store->budget, &array, store->n, (size_t) store->n + 1, sizeof(ie_train_row),
				&capacity, err));
	store->rows = array;
	store->capacity = (uint32_t) capacity;
	store->rows[store->n++] = row;
	return IE_OK;
}

ie_code
ie_rows_init(ie_rows_store *store, const ie_model *model, ie_budget *budget,
			 const ie_rows_limits *limits, ie_error *err)
{
	uint32_t	end = 0;
	bool		found;

	*store = (ie_rows_store) {.model = model, .budget = budget, .limits = *limits, .end = -1};
	IE_TRY(gguf_get_u32(&model->file, "tokenizer.ggml.eos_token_id", &end, &found, err));
	if (found && end < model->config.n_vocab)
		store->end = (int32_t) end;
	return add_frame(store, (ie_text) {"", 0}, &store->empty_prefix, &store->empty_suffix, err);
}

void
ie_rows_deinit(ie_rows_store *store)
{
	if (store->model == NULL)
		return;
	ie_release(store->model->host, store->scratch.ids);
	ie_release(&store->budget->host, store->pool.ids);
	ie_release(&store->budget->host, store->pool.start);
	ie_release(&store->budget->host, store->pool.slots);
	ie_release(&store->budget->host, store->rows);
}
