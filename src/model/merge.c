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
#include "model/weights.h"

#define STAGE_BYTES ((size_t) 64 * 1024)	/* collected before a write */
#define COPY_BYTES ((size_t) 256 * 1024)	/* between two polls: about 2 ms of hashing */
#define POLL_PRODUCTS ((size_t) 1024 * 1024)	/* multiply-adds between two polls: about 1 ms */
#define COLUMNS 16				/* unit of add_product()'s inner loop */

#define DATA_SHA256_KEY "instemb.data_sha256"

/* Written at the end of the metadata, whatever base and adapter say */
static const char *const own_keys[] = {
	"instemb.format_version", "instemb.base_sha256", "instemb.adapter_sha256", DATA_SHA256_KEY
};

typedef struct merger
{
	const ie_host *host;
	const ie_merge_request *request;
	ie_error   *err;
	ie_writer	w;
	uint64_t	data_sha256_at; /* offset of the digits to patch */
	uint64_t	data_start;
	ie_sha256	sha;			/* of the tensor data */

	/* scratch */
	uint8_t    *block;			/* what is allocated */
	ie_arena	arena;			/* in block */
	size_t		n_tensors;
	gguf_tensor *tensors;		/* directory of the new file; data: the base's, NULL where merged */
	size_t	   *source;			/* index in the base, SIZE_MAX for the look-ahead vectors */
	float	   *a;				/* [r, n_in]: all of A */
	float	   *b;				/* [r]: one row of B */
	float	   *row;			/* [n_in]: of W, then of the sum */
	float	   *product;		/* [n_in]: one row of B A */
	uint8_t    *packed;			/* [n_in / IE_QK] blocks of Q8_0: m->row quantised */
	uint8_t    *stage;			/* [STAGE_BYTES] */
	size_t		n_staged;
	size_t		n_products;		/* since the last poll */
} merger;

/* Largest of what the scratch has to hold, in elements */
typedef struct extent
{
	size_t		a;
	size_t		rank;
	size_t		n_in;
} extent;

/* ------------------------------------------------------------------- plan */

static const ie_delta *
find_delta(const merger *m, size_t base_index)
{
	const ie_delta *delta = &m->request->adapter->deltas[base_index];

	return delta->a != NULL ? delta : NULL;
}

/* Elements of A fit into size_t: gguf_parse() has multiplied them. */
static extent
measure(const merger *m)
{
	extent		e = {0};

	for (size_t i = 0; i < m->request->base->n_tensors; i++)
	{
		const ie_delta *delta = find_delta(m, i);

		if (delta == NULL)
			continue;
		if (delta->a->ne[0] * ie_delta_rank(delta) > e.a)
			e.a = (size_t) delta->a->ne[0] * ie_delta_rank(delta);
		if (ie_delta_rank(delta) > e.rank)
			e.rank = ie_delta_rank(delta);
		if (delta->a->ne[0] > e.n_in)
			e.n_in = (size_t) delta->a->ne[0];
	}
	if (m->request->adapter->lookahead != NULL && m->request->adapter->lookahead->ne[0] > e.n_in)
		e.n_in = (size_t) m->request->adapter->lookahead->ne[0];
	return e;
}

static void
lay_out(merger *m, ie_arena *arena, const extent *e)
{
	/* one more for the look-ahead vectors */
	m->tensors = IE_TAKE(arena, m->request->base->n_tensors + 1, gguf_tensor);
	m->source = IE_TAKE(arena, m->request->base->n_tensors + 1, size_t);
	m->a = IE_TAKE(arena, e->a, float);
	m->b = IE_TAKE(arena, e->rank, float);
	m->row = IE_TAKE(arena, e->n_in, float);
	m->product = IE_TAKE(arena, e->n_in, float);
	m->packed = (uint8_t *) IE_TAKE(arena, e->n_in / IE_QK, ie_block_q8_0);
	m->stage = IE_TAKE(arena, STAGE_BYTES, uint8_t);
}

static ie_code
allocate(merger *m)
{
	const extent e = measure(m);
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

/* Give the next tensor of the new file its size and place. */
static ie_code
place(merger *m, gguf_tensor *t, size_t *end)
{
	const size_t n_elems = (size_t) (t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
	size_t		start;

	if (!ie_size_mul(n_elems / t->type->block_len, t->type->block_bytes, &t->data_bytes) ||
		!ie_size_add(*end, m->request->base->alignment, &start))
		return ie_fail(m->err, IE_LIMIT, "merged file would be too large");
	start = ie_round_up(*end, m->request->base->alignment);
	if (!ie_size_add(start, t->data_bytes, end))
		return ie_fail(m->err, IE_LIMIT, "merged file would be too large");
	t->offset = start;
	return IE_OK;
}

static ie_code
plan_tensors(merger *m)
{
	const gguf_file *base = m->request->base;
	const gguf_tensor *lookahead = m->request->adapter->lookahead;
	size_t		end = 0;

	for (size_t i = 0; i < base->n_tensors; i++)
	{
		gguf_tensor *t = &m->tensors[m->n_tensors];

		if (lookahead != NULL && ie_text_is(base->tensors[i].name, IE_LOOKAHEAD_TENSOR))
			continue;
		*t = base->tensors[i];
		if (find_delta(m, i) != NULL)
			t->type = merged_type(t->ne[0]);
		IE_TRY(place(m, t, &end));
		m->source[m->n_tensors++] = i;
	}
	if (lookahead != NULL)
	{
		gguf_tensor *t = &m->tensors[m->n_tensors];

		*t = *lookahead;
		t->type = ie_type_find(IE_TYPE_F32);
		IE_TRY(place(m, t, &end));
		m->source[m->n_tensors++] = SIZE_MAX;
	}
	return IE_OK;
}

/* --------------------------------------------------------------- metadata */

static bool
is_own_key(ie_text key)
{
	for (size_t i = 0; i < IE_LENGTH(own_keys); i++)
		if (ie_text_is(key, own_keys[i]))
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
	if (is_own_key(kv->key))
		return false;
	if (is_instemb_key(kv->key))
		return gguf_find_text(&m->request->adapter->file, kv->key) == NULL;
	return m->request->adapter->n_deltas == 0 || !ie_text_is(kv->key, "general.file_type");
}

static bool
takes_from_adapter(const gguf_kv *kv)
{
	return is_instemb_key(kv->key) && !is_own_key(kv->key);
}

static ie_code
write_sha256(merger *m, const char *key, const char *hex)
{
	return gguf_write_text(&m->w, key, (ie_text) {hex, IE_SHA256_HEX_SIZE - 1}, m->err);
}

static ie_code
write_metadata(merger *m)
{
	static const char reserved[] =
		"0000000000000000000000000000000000000000000000000000000000000000";
	const gguf_file *base = m->request->base;
	const gguf_file *adapter = &m->request->adapter->file;
	size_t		n_kv = IE_LENGTH(own_keys);

	for (size_t i = 0; i < base->n_kv; i++)
		n_kv += takes_from_base(m, &base->kv[i]);
	for (size_t i = 0; i < adapter->n_kv; i++)
		n_kv += takes_from_adapter(&adapter->kv[i]);

	IE_TRY(gguf_write_header(&m->w, m->n_tensors, n_kv, m->err));
	for (size_t i = 0; i < base->n_kv; i++)
		if (takes_from_base(m, &base->kv[i]))
			IE_TRY(gguf_write_kv(&m->w, &base->kv[i], m->err));
	for (size_t i = 0; i < adapter->n_kv; i++)
		if (takes_from_adapter(&adapter->kv[i]))
			IE_TRY(gguf_write_kv(&m->w, &adapter->kv[i], m->err));
	IE_TRY(gguf_write_u32(&m->w, "instemb.format_version", IE_FORMAT_VERSION, m->err));
	IE_TRY(write_sha256(m, "instemb.base_sha256", m->request->base_sha256));
	IE_TRY(write_sha256(m, "instemb.adapter_sha256", m->request->adapter_sha256));
	IE_TRY(write_sha256(m, DATA_SHA256_KEY, reserved));
	m->data_sha256_at = m->w.offset - (IE_SHA256_HEX_SIZE - 1);
	return IE_OK;
}

static ie_code
write_directory(merger *m)
{
	for (size_t i = 0; i < m->n_tensors; i++)
		IE_TRY(gguf_write_tensor(&m->w, &m->tensors[i], m->err));
	IE_TRY(gguf_write_padding(&m->w, m->request->base->alignment, m->err));
	m->data_start = m->w.offset;
	return IE_OK;
}

/* ------------------------------------------------------------ tensor data */

/* Everything behind data_start is written through here, and so hashed. */
static ie_code
write_data(merger *m, const uint8_t *bytes, size_t size)
{
	ie_sha256_update(&m->sha, bytes, size);
	return ie_writer_write(&m->w, bytes, size, m->err);
}

static ie_code
flush_stage(merger *m)
{
	const size_t n = m->n_staged;

	m->n_staged = 0;
	IE_TRY(ie_poll(m->host, m->err));
	return write_data(m, m->stage, n);
}

static ie_code
stage_bytes(merger *m, const uint8_t *bytes, size_t size)
{
	while (size > 0)
	{
		size_t		n = STAGE_BYTES - m->n_staged;

		if (n > size)
			n = size;
		memcpy(m->stage + m->n_staged, bytes, n);
		m->n_staged += n;
		bytes += n;
		size -= n;
		if (m->n_staged == STAGE_BYTES)
			IE_TRY(flush_stage(m));
	}
	return IE_OK;
}

static ie_code
copy_tensor(merger *m, const gguf_tensor *t)
{
	for (size_t pos = 0; pos < t->data_bytes; pos += COPY_BYTES)
	{
		const size_t left = t->data_bytes - pos;

		IE_TRY(ie_poll(m->host, m->err));
		IE_TRY(write_data(m, t->data + pos, left < COPY_BYTES ? left : COPY_BYTES));
	}
	return IE_OK;
}

/* Quantise m->row into the type of t and stage it. */
static ie_code
emit_row(merger *m, const gguf_tensor *t)
{
	const size_t n = (size_t) t->ne[0];
	const size_t bytes = n / t->type->block_len * t->type->block_bytes;
	const uint8_t *packed = (const uint8_t *) m->row;
	bool		is_finite = ie_type_find(IE_TYPE_F32)->is_finite(m->row, n);

	if (is_finite && t->type->quantized)
	{
		ie_quantize_q8_0(m->row, n, m->packed);
		is_finite = t->type->is_finite(m->packed, n);
		packed = m->packed;
	}
	if (!is_finite)
	{
		char		shown[GGUF_SHOWN_SIZE];

		return ie_fail(m->err, IE_NUMERIC, "merged tensor \"%s\" holds values that are not finite "
					   "or too large", gguf_show(t->name, shown));
	}
	return stage_bytes(m, packed, bytes);
}

/*
 * product[0 .. n) += w * a[0 .. n).  The inner loop has a constant length, which
 * is what the compiler turns into vector instructions at -O2.
 */
static void
add_product(float *restrict product, float w, const float *restrict a, size_t n)
{
	size_t		i = 0;

	for (; i + COLUMNS <= n; i += COLUMNS)
		for (size_t j = 0; j < COLUMNS; j++)
			product[i + j] += w * a[i + j];
	for (; i < n; i++)
		product[i] += w * a[i];
}

/* Row o of an adapted matrix into m->row; m->a holds A. */
static ie_code
merge_row(merger *m, const gguf_tensor *w, const ie_delta *delta, size_t o)
{
	const size_t n_in = (size_t) w->ne[0];
	const size_t rank = ie_delta_rank(delta);
	const size_t w_bytes = n_in / w->type->block_len * w->type->block_bytes;
	const size_t b_bytes = rank / delta->b->type->block_len * delta->b->type->block_bytes;
	const float scale = m->request->adapter->alpha / (float) rank;

	w->type->dequantize(w->data + o * w_bytes, n_in, m->row);
	delta->b->type->dequantize(delta->b->data + o * b_bytes, rank, m->b);
	memset(m->product, 0, n_in * sizeof(float));
	for (size_t r = 0; r < rank; r++)
	{
		add_product(m->product, m->b[r], m->a + r * n_in, n_in);
		m->n_products += n_in;
		if (m->n_products > POLL_PRODUCTS)
		{
			m->n_products = 0;
			IE_TRY(ie_poll(m->host, m->err));
		}
	}
	for (size_t i = 0; i < n_in; i++)
		m->row[i] += scale * m->product[i];
	return IE_OK;
}

/* Dequantise A row by row: it may be large. */
static ie_code
load_a(merger *m, const gguf_tensor *a)
{
	const size_t n_in = (size_t) a->ne[0];
	const size_t row_bytes = n_in / a->type->block_len * a->type->block_bytes;

	for (size_t r = 0; r < a->ne[1]; r++)
	{
		IE_TRY(ie_poll(m->host, m->err));
		a->type->dequantize(a->data + r * row_bytes, n_in, m->a + r * n_in);
	}
	return IE_OK;
}

static ie_code
merge_tensor(merger *m, const gguf_tensor *t, size_t base_index)
{
	const gguf_tensor *w = &m->request->base->tensors[base_index];
	const ie_delta *delta = find_delta(m, base_index);

	IE_TRY(load_a(m, delta->a));
	for (size_t o = 0; o < w->ne[1]; o++)
	{
		IE_TRY(merge_row(m, w, delta, o));
		IE_TRY(emit_row(m, t));
	}
	return flush_stage(m);
}

static ie_code
write_lookahead(merger *m, const gguf_tensor *t)
{
	const gguf_tensor *from = m->request->adapter->lookahead;
	const size_t n = (size_t) from->ne[0];
	const size_t row_bytes = n / from->type->block_len * from->type->block_bytes;

	for (size_t k = 0; k < from->ne[1]; k++)
	{
		from->type->dequantize(from->data + k * row_bytes, n, m->row);
		IE_TRY(emit_row(m, t));
	}
	return flush_stage(m);
}

_Static_assert(STAGE_BYTES >= GGUF_MAX_ALIGNMENT, "pad_data() takes its zeros from the stage");

/* Zeros up to an offset from data_start; a gap is shorter than the alignment. */
static ie_code
pad_data(merger *m, uint64_t offset)
{
	const size_t n = (size_t) (m->data_start + offset - m->w.offset);

	memset(m->stage, 0, n);
	return write_data(m, m->stage, n);
}

static ie_code
write_tensors(merger *m)
{
	ie_sha256_init(&m->sha);
	for (size_t i = 0; i < m->n_tensors; i++)
	{
		const gguf_tensor *t = &m->tensors[i];

		IE_TRY(pad_data(m, t->offset));
		if (m->source[i] == SIZE_MAX)
			IE_TRY(write_lookahead(m, t));
		else if (find_delta(m, m->source[i]) != NULL)
			IE_TRY(merge_tensor(m, t, m->source[i]));
		else
			IE_TRY(copy_tensor(m, t));
	}
	return pad_data(m, ie_round_up(m->w.offset - m->data_start, m->request->base->alignment));
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
	merger		m = {.host = host, .request = request, .err = err};
	ie_code		code;

	IE_TRY_GOTO(allocate(&m));
	IE_TRY_GOTO(plan_tensors(&m));
	IE_TRY_GOTO(ie_writer_open(&m.w, request->out_path, err));
	code = write_file(&m);
	if (code != IE_OK)
		ie_writer_abandon(&m.w);
done:
	ie_arena_reset(&m.arena);
	ie_release(host, m.block);
	return code;
}
