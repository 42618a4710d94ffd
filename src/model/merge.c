/*
 * merge.c
 *	  base + adapter -> file: see merge.h.
 *
 * The directory of the new file is planned first, since a GGUF file describes
 * its tensors before it holds them; then everything is written in order, and
 * the checksum of the data is patched into the place reserved in the metadata.
 */
#include "model/merge.h"
#include "base/arena.h"
#include "base/bytes.h"
#include "base/sha256.h"
#include "model/gguf_write.h"
#include "model/merge_row.h"
#include "model/packed.h"
#include "model/verify.h"

/*
 * Data is collected before it is written, in pieces that end at multiples of
 * this: then Linux keeps a piece in one huge page, where the file system has
 * them, and a new backend maps it by one page fault instead of 32.
 */
#define STAGE_BYTES ((size_t) 2 * 1024 * 1024)

#define BASE_SHA256_KEY "instemb.base_sha256"
#define ADAPTER_SHA256_KEY "instemb.adapter_sha256"
#define ALIGNMENT_KEY "general.alignment"

/* How a tensor of the new file comes to be */
typedef enum making
{
	COPIED,						/* from the base, byte for byte */
	ROWS,						/* base and delta */
	PANELS,						/* base and delta, or base alone */
	LOOKAHEAD,					/* the adapter's */
	TABLE						/* the vocabulary's */
} making;

typedef struct entry
{
	gguf_tensor t;				/* as the new file describes it; of TABLE also the data */
	making		how;
	size_t		base;			/* index in the base: COPIED, ROWS, PANELS */
} entry;

#define MAX_OWN_KEYS (7 + IE_DEFINITION_MAX)

typedef struct merger
{
	const ie_host *host;
	const ie_merge_request *request;
	ie_error   *err;
	ie_writer	w;
	size_t		alignment;		/* of the new file */
	uint64_t	data_sha256_at; /* offset of the digits to patch */
	uint64_t	data_start;
	ie_sha256	sha;			/* of the tensor data */
	ie_metadata own[MAX_OWN_KEYS];	/* written at the end, whatever base and adapter say; the last
									 * one is the checksum */
	size_t		n_own;

	/* scratch */
	uint8_t    *block;			/* what is allocated */
	ie_arena	arena;			/* in block */
	entry	   *entries;		/* directory of the new file */
	size_t		n_entries;
	ie_merge_rows rows;
	float	   *row;			/* [n_in]: of the sum */
	uint8_t    *q8_0;			/* [IE_PANEL_ROWS, n_in / IE_QK] blocks: rows quantised */
	uint8_t    *panel;			/* a panel of n_in columns */
	uint8_t    *stage;			/* [STAGE_BYTES] */
	size_t		n_staged;
} merger;

/* ------------------------------------------------------------------- plan */

static const ie_delta *
find_delta(const merger *m, size_t base_index)
{
	const ie_adapter *adapter = m->request->adapter;

	return adapter != NULL && adapter->deltas[base_index].a != NULL ?
		&adapter->deltas[base_index] : NULL;
}

static const gguf_tensor *
new_lookahead(const merger *m)
{
	return m->request->adapter != NULL ? m->request->adapter->lookahead : NULL;
}

static making
making_of(const merger *m, size_t base_index)
{
	const gguf_tensor *t = &m->request->base->tensors[base_index];
	const ie_model *model = m->request->model;
	const ie_tensor_spec *spec = model == NULL ? NULL :
		ie_weights_find_spec(model->config.arch, model->config.n_layer, t->name);

	if (spec != NULL && ie_spec_is_product(spec) && t->ne[0] % IE_QK == 0)
		return PANELS;
	return find_delta(m, base_index) != NULL ? ROWS : COPIED;
}

/* Largest of what the scratch has to hold.  A's size fits: gguf_parse() has multiplied it. */
static ie_merge_extent
measure(const merger *m)
{
	const gguf_tensor *lookahead = new_lookahead(m);
	ie_merge_extent e = {0};

	for (size_t i = 0; i < m->request->base->n_tensors; i++)
	{
		const gguf_tensor *t = &m->request->base->tensors[i];
		const ie_delta *delta = find_delta(m, i);

		if (making_of(m, i) != COPIED && t->ne[0] > e.n_in)
			e.n_in = (size_t) t->ne[0];
		if (delta == NULL)
			continue;
		if (delta->a->ne[0] * ie_delta_rank(delta) > e.a)
			e.a = (size_t) delta->a->ne[0] * ie_delta_rank(delta);
		if (ie_delta_rank(delta) > e.rank)
			e.rank = ie_delta_rank(delta);
	}
	if (lookahead != NULL && lookahead->ne[0] > e.n_in)
		e.n_in = (size_t) lookahead->ne[0];
	return e;
}

static void
lay_out(merger *m, ie_arena *arena, const ie_merge_extent *e)
{
	/* more than the base's: the look-ahead vectors and the vocabulary's tables */
	m->entries = IE_TAKE(arena, m->request->base->n_tensors + 1 + IE_VOCAB_TABLES, entry);
	ie_merge_rows_take(&m->rows, arena, e);
	m->row = IE_TAKE(arena, e->n_in, float);
	m->q8_0 = (uint8_t *) IE_TAKE(arena, e->n_in / IE_QK * IE_PANEL_ROWS, ie_block_q8_0);
	m->panel = (uint8_t *) IE_TAKE(arena, e->n_in / IE_QK, ie_panel_block);
	m->stage = IE_TAKE(arena, STAGE_BYTES, uint8_t);
}

static ie_code
allocate(merger *m)
{
	const ie_merge_extent e = measure(m);
	const size_t limit = m->request->max_bytes;
	ie_arena	plan = {0};
	size_t		bytes;

	lay_out(m, &plan, &e);
	if (plan.overflow || !ie_size_add(plan.used, IE_ARENA_ALIGN, &bytes))
		return ie_fail(m->err, IE_LIMIT, "matrices of the adapter are too large");
	if (limit > 0 && bytes > limit)
		return ie_fail(m->err, IE_LIMIT, "merging the adapter needs %zu bytes of memory, "
					   "the limit is %zu bytes", bytes, limit);
	m->block = ie_alloc(m->host, bytes);
	if (m->block == NULL)
		return ie_nomem(m->err, bytes);
	m->arena.base = (uint8_t *) ie_round_up((uintptr_t) m->block, IE_ARENA_ALIGN);
	m->arena.size = plan.used;
	lay_out(m, &m->arena, &e);
	return IE_OK;
}

/* The type that merged rows are written in; both are in the table of quant.c */
static const ie_type_traits *
merged_type(uint64_t n_in)
{
	return ie_type_find(n_in % IE_QK == 0 ? IE_TYPE_Q8_0 : IE_TYPE_F32);
}

/* Add a tensor of the new file: its size and place. */
static ie_code
add_entry(merger *m, const entry *e, size_t *end)
{
	gguf_tensor *t = &m->entries[m->n_entries].t;
	size_t		n_elems = 1;
	size_t		start;

	m->entries[m->n_entries++] = *e;
	for (size_t i = 0; i < GGUF_MAX_DIMS; i++)
		if (!ie_size_mul(n_elems, (size_t) t->ne[i], &n_elems))
			return ie_fail(m->err, IE_LIMIT, "merged file would be too large");
	if (!ie_size_mul(n_elems / t->type->block_len, t->type->block_bytes, &t->data_bytes) ||
		!ie_size_add(*end, m->alignment, &start))
		return ie_fail(m->err, IE_LIMIT, "merged file would be too large");
	start = ie_round_up(*end, m->alignment);
	if (!ie_size_add(start, t->data_bytes, end))
		return ie_fail(m->err, IE_LIMIT, "merged file would be too large");
	t->offset = start;
	return IE_OK;
}

/* Bytes of a panel of n_in columns */
static size_t
panel_bytes(uint64_t n_in)
{
	return (size_t) n_in / IE_QK * IE_PANEL_S8_BYTES;
}

static ie_code
plan_base_tensor(merger *m, size_t i, size_t *end)
{
	entry		e = {m->request->base->tensors[i], making_of(m, i), i};

	if (new_lookahead(m) != NULL && ie_text_is(e.t.name, IE_LOOKAHEAD_TENSOR))
		return IE_OK;
	if (e.how == ROWS)
		e.t.type = merged_type(e.t.ne[0]);
	if (e.how == PANELS)
	{
		e.t.type = ie_type_find(IE_TYPE_I8);
		e.t.ne[0] = panel_bytes(e.t.ne[0]);
		e.t.ne[1] = (e.t.ne[1] + IE_PANEL_ROWS - 1) / IE_PANEL_ROWS;
	}
	return add_entry(m, &e, end);
}

static ie_code
plan_tensors(merger *m)
{
	gguf_tensor tables[IE_VOCAB_TABLES];
	size_t		end = 0;

	if (m->request->model != NULL)
	{
		const size_t n = ie_vocab_tables(m->request->model->vocab, tables);

		for (size_t i = 0; i < n; i++)
			IE_TRY(add_entry(m, &(entry) {tables[i], TABLE, 0}, &end));
	}
	for (size_t i = 0; i < m->request->base->n_tensors; i++)
		IE_TRY(plan_base_tensor(m, i, &end));
	if (new_lookahead(m) != NULL)
	{
		entry		e = {*new_lookahead(m), LOOKAHEAD, 0};

		e.t.type = ie_type_find(IE_TYPE_F32);
		IE_TRY(add_entry(m, &e, &end));
	}
	return IE_OK;
}

/* --------------------------------------------------------------- metadata */

static void
add_own(merger *m, const char *key, const char *text, uint32_t number)
{
	m->own[m->n_own++] = (ie_metadata) {key, text, number};
}

static void
plan_own_keys(merger *m)
{
	static const char reserved[] =
		"0000000000000000000000000000000000000000000000000000000000000000";
	const ie_merge_request *r = m->request;

	for (size_t i = 0; i < r->n_definition; i++)
		m->own[m->n_own++] = r->definition[i];
	add_own(m, "instemb.format_version", NULL, IE_FORMAT_VERSION);
	if (r->adapter != NULL || gguf_find(r->base, BASE_SHA256_KEY) == NULL)
		add_own(m, BASE_SHA256_KEY, r->base_sha256, 0);
	if (r->adapter != NULL)
		add_own(m, ADAPTER_SHA256_KEY, r->adapter_sha256, 0);
	if (r->model != NULL)
	{
		add_own(m, IE_PACKED_VERSION_KEY, NULL, IE_PACKED_VERSION);
		add_own(m, IE_PACKED_PANELS_KEY, NULL, IE_PANEL_LAYOUT);
		add_own(m, ALIGNMENT_KEY, NULL, (uint32_t) m->alignment);
	}
	add_own(m, IE_DATA_SHA256_KEY, reserved, 0);
}

static bool
is_own_key(const merger *m, ie_text key)
{
	for (size_t i = 0; i < m->n_own; i++)
		if (ie_text_is(key, m->own[i].key))
			return true;
	return false;
}

static bool
is_instemb_key(ie_text key)
{
	return key.len > 8 && memcmp(key.data, "instemb.", 8) == 0;
}

static bool
takes_from_base(const merger *m, const gguf_kv *kv)
{
	const ie_adapter *adapter = m->request->adapter;
	const bool	packed = m->request->model != NULL;

	if (is_own_key(m, kv->key))
		return false;
	if (is_instemb_key(kv->key))
		return adapter == NULL || gguf_find_text(&adapter->file, kv->key) == NULL;
	if (packed && (ie_text_is(kv->key, "tokenizer.ggml.tokens") ||
				   ie_text_is(kv->key, "tokenizer.ggml.merges")))
		return false;			/* in the tables */
	return !ie_text_is(kv->key, "general.file_type") ||
		!(packed || (adapter != NULL && adapter->n_deltas > 0));
}

static bool
takes_from_adapter(const merger *m, const gguf_kv *kv)
{
	return is_instemb_key(kv->key) && !is_own_key(m, kv->key);
}

static ie_code
write_own_keys(merger *m)
{
	for (size_t i = 0; i < m->n_own; i++)
	{
		const ie_metadata *own = &m->own[i];

		if (own->text == NULL)
			IE_TRY(gguf_write_u32(&m->w, own->key, own->number, m->err));
		else
			IE_TRY(gguf_write_text(&m->w, own->key, (ie_text) {own->text, strlen(own->text)},
								   m->err));
	}
	m->data_sha256_at = m->w.offset - (IE_SHA256_HEX_SIZE - 1);
	return IE_OK;
}

static ie_code
write_metadata(merger *m)
{
	const gguf_file *base = m->request->base;
	const gguf_file none = {0};
	const gguf_file *adapter = m->request->adapter != NULL ? &m->request->adapter->file : &none;
	size_t		n_kv = m->n_own;

	for (size_t i = 0; i < base->n_kv; i++)
		n_kv += takes_from_base(m, &base->kv[i]);
	for (size_t i = 0; i < adapter->n_kv; i++)
		n_kv += takes_from_adapter(m, &adapter->kv[i]);

	IE_TRY(gguf_write_header(&m->w, m->n_entries, n_kv, m->err));
	for (size_t i = 0; i < base->n_kv; i++)
		if (takes_from_base(m, &base->kv[i]))
			IE_TRY(gguf_write_kv(&m->w, &base->kv[i], m->err));
	for (size_t i = 0; i < adapter->n_kv; i++)
		if (takes_from_adapter(m, &adapter->kv[i]))
			IE_TRY(gguf_write_kv(&m->w, &adapter->kv[i], m->err));
	return write_own_keys(m);
}

static ie_code
write_directory(merger *m)
{
	for (size_t i = 0; i < m->n_entries; i++)
		IE_TRY(gguf_write_tensor(&m->w, &m->entries[i].t, m->err));
	IE_TRY(gguf_write_padding(&m->w, m->alignment, m->err));
	m->data_start = m->w.offset;
	return IE_OK;
}

/* ------------------------------------------------------------ tensor data */

/* Everything behind data_start is written through here, and so hashed. */
static ie_code
flush_stage(merger *m)
{
	const size_t n = m->n_staged;

	m->n_staged = 0;
	IE_TRY(ie_hash_bytes(m->host, &m->sha, m->stage, n, m->err));
	return ie_writer_write(&m->w, m->stage, n, m->err);
}

/* n bytes of the stage to fill, at least 1 and at most size, at an end of which it is flushed */
static size_t
stage_room(const merger *m, size_t size)
{
	const size_t n = STAGE_BYTES - (size_t) ((m->w.offset + m->n_staged) % STAGE_BYTES);

	return n < size ? n : size;
}

static ie_code
staged(merger *m, size_t n)
{
	m->n_staged += n;
	return (m->w.offset + m->n_staged) % STAGE_BYTES == 0 ? flush_stage(m) : IE_OK;
}

static ie_code
stage_bytes(merger *m, const uint8_t *bytes, size_t size)
{
	while (size > 0)
	{
		const size_t n = stage_room(m, size);

		memcpy(m->stage + m->n_staged, bytes, n);
		IE_TRY(staged(m, n));
		bytes += n;
		size -= n;
	}
	return IE_OK;
}

/* Zeros up to an offset from data_start */
static ie_code
stage_padding(merger *m, uint64_t offset)
{
	uint64_t	left = m->data_start + offset - m->w.offset - m->n_staged;

	while (left > 0)
	{
		const size_t n = stage_room(m, (size_t) left);

		memset(m->stage + m->n_staged, 0, n);
		IE_TRY(staged(m, n));
		left -= n;
	}
	return IE_OK;
}

static ie_code
not_finite(const merger *m, const gguf_tensor *t)
{
	char		shown[GGUF_SHOWN_SIZE];

	return ie_fail(m->err, IE_NUMERIC, "merged tensor \"%s\" holds values that are not finite "
				   "or too large", gguf_show(t->name, shown));
}

/* m->row, of n columns, as Q8_0 to blocks */
static ie_code
quantize_row(const merger *m, const gguf_tensor *t, size_t n, void *blocks)
{
	if (!ie_type_find(IE_TYPE_F32)->is_finite(m->row, n))
		return not_finite(m, t);
	ie_quantize_q8_0(m->row, n, blocks);
	return ie_type_find(IE_TYPE_Q8_0)->is_finite(blocks, n) ? IE_OK : not_finite(m, t);
}

/* Stage m->row as F32 or Q8_0, which t is described as. */
static ie_code
emit_row(merger *m, const gguf_tensor *t)
{
	const size_t n = (size_t) t->ne[0];

	if (t->type->quantized)
	{
		IE_TRY(quantize_row(m, t, n, m->q8_0));
		return stage_bytes(m, m->q8_0, n / IE_QK * sizeof(ie_block_q8_0));
	}
	if (!t->type->is_finite(m->row, n))
		return not_finite(m, t);
	return stage_bytes(m, (const uint8_t *) m->row, n * sizeof(float));
}

static ie_code
begin_rows(merger *m, const entry *e)
{
	const ie_delta *delta = find_delta(m, e->base);

	return ie_merge_rows_begin(&m->rows, &m->request->base->tensors[e->base], delta,
							   delta != NULL ? m->request->adapter->alpha : 0.0f);
}

static ie_code
write_rows(merger *m, const entry *e)
{
	IE_TRY(begin_rows(m, e));
	for (size_t o = 0; o < e->t.ne[1]; o++)
	{
		IE_TRY(ie_merge_row(&m->rows, o, m->row));
		IE_TRY(emit_row(m, &e->t));
	}
	return IE_OK;
}

/* Rows of the base, 16 by 16, as Q8_0, which some are already */
static ie_code
write_panels(merger *m, const entry *e)
{
	const gguf_tensor *w = &m->request->base->tensors[e->base];
	const bool	is_q8_0 = w->type->type == IE_TYPE_Q8_0 && find_delta(m, e->base) == NULL;
	const size_t n_in = (size_t) w->ne[0];
	const size_t n_out = (size_t) w->ne[1];
	const size_t row_bytes = n_in / IE_QK * sizeof(ie_block_q8_0);
	const ie_type_traits *q8_0 = ie_type_find(IE_TYPE_Q8_0);
	const ie_pack_fn pack = ie_kernels_select()->pack_for(q8_0, false).pack;

	IE_TRY(begin_rows(m, e));
	for (size_t row0 = 0; row0 < n_out; row0 += IE_PANEL_ROWS)
	{
		const size_t n_rows = n_out - row0 < IE_PANEL_ROWS ? n_out - row0 : IE_PANEL_ROWS;
		ie_matrix	rows = {q8_0, w->data + row0 * row_bytes, row_bytes, n_in, n_rows};

		for (size_t r = 0; r < n_rows && !is_q8_0; r++)
		{
			IE_TRY(ie_merge_row(&m->rows, row0 + r, m->row));
			IE_TRY(quantize_row(m, w, n_in, m->q8_0 + r * row_bytes));
			rows.data = m->q8_0;
		}
		pack(&rows, 0, m->panel);
		IE_TRY(stage_bytes(m, m->panel, panel_bytes(n_in)));
	}
	return IE_OK;
}

static ie_code
write_lookahead(merger *m, const gguf_tensor *t)
{
	const gguf_tensor *from = new_lookahead(m);
	const size_t n = (size_t) from->ne[0];
	const size_t row_bytes = n / from->type->block_len * from->type->block_bytes;

	for (size_t k = 0; k < from->ne[1]; k++)
	{
		from->type->dequantize(from->data + k * row_bytes, n, m->row);
		IE_TRY(emit_row(m, t));
	}
	return IE_OK;
}

static ie_code
write_tensor(merger *m, const entry *e)
{
	switch (e->how)
	{
		case COPIED:
		case TABLE:
			return stage_bytes(m, e->t.data, e->t.data_bytes);
		case ROWS:
			return write_rows(m, e);
		case PANELS:
			return write_panels(m, e);
		case LOOKAHEAD:
			return write_lookahead(m, &e->t);
	}
	return ie_fail(m->err, IE_INTERNAL, "unknown way to make a tensor");
}

static ie_code
write_tensors(merger *m)
{
	uint64_t	end;

	ie_sha256_init(&m->sha);
	for (size_t i = 0; i < m->n_entries; i++)
	{
		IE_TRY(stage_padding(m, m->entries[i].t.offset));
		IE_TRY(write_tensor(m, &m->entries[i]));
	}
	end = m->w.offset + m->n_staged - m->data_start;
	IE_TRY(stage_padding(m, ie_round_up((size_t) end, m->alignment)));
	return flush_stage(m);
}

static ie_code
write_file(merger *m)
{
	char		hex[IE_SHA256_HEX_SIZE];

	IE_TRY(write_metadata(m));
	IE_TRY(write_directory(m));
	IE_TRY(write_tensors(m));
	ie_sha256_final_hex(&m->sha, hex);
	IE_TRY(ie_writer_patch(&m->w, m->data_sha256_at, hex, IE_SHA256_HEX_SIZE - 1, m->err));
	return ie_writer_finish(&m->w, m->err);
}

ie_code
ie_merge(const ie_host *host, const ie_merge_request *request, ie_error *err)
{
	merger		m = {
		.host = host, .request = request, .err = err, .rows = {.host = host, .err = err},
		.alignment = request->base->alignment
	};
	ie_code		code;

	if (request->model != NULL && m.alignment < IE_PACKED_ALIGNMENT)
		m.alignment = IE_PACKED_ALIGNMENT;
	IE_TRY_GOTO(allocate(&m));
	IE_TRY_GOTO(plan_tensors(&m));
	plan_own_keys(&m);
	IE_TRY_GOTO(ie_writer_open(&m.w, request->out_path, err));
	code = write_file(&m);
	if (code != IE_OK)
		ie_writer_abandon(&m.w);
done:
	ie_arena_reset(&m.arena);
	ie_release(host, m.block);
	return code;
}
