/*
 * gguf.c
 *	  GGUF parser: one pass over untrusted bytes into two directories.
 *
 * Every length and count is compared with the bytes that are left before it is
 * used for an allocation, a multiplication or a step of the reader; the caps
 * on counts bound memory and time by something smaller than the file.  Unique
 * names and disjoint tensors are checked by sorting (heap sort: in place, no
 * allocation, no quadratic case), and the sorted order is what look-ups use.
 *
 * Departures from ggml's reader: tensors may have gaps between them, the
 * padding behind the last one may be missing, and an array inside an array is
 * refused.
 */
#include "model/gguf.h"
#include "base/bytes.h"

#include <inttypes.h>

#define MIN_KV_BYTES (8 + 4 + 1)	/* key length, type, smallest value */
#define MIN_TENSOR_BYTES (8 + 4 + 8 + 4 + 8)	/* name length, n_dims, ne[0], type, offset */
#define POLL_ELEMENTS 65536		/* array elements between two polls: about 0.2 ms */

typedef struct parser
{
	ie_reader	r;
	gguf_file  *file;
	ie_error   *err;
} parser;

/* By gguf_type; 0 for those without a fixed size */
static const uint8_t scalar_bytes[GGUF_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

const char *
gguf_show(ie_text text, char *shown)
{
	static const char digits[] = "0123456789abcdef";
	size_t		pos = 0;

	for (size_t i = 0; i < text.len; i++)
	{
		const unsigned char c = (unsigned char) text.data[i];
		const bool	plain = c >= 0x20 && c < 0x7f && c != '\\' && c != '"';

		if (pos + (plain ? 1 : 4) > GGUF_SHOWN_SIZE - 4)
		{
			memcpy(shown + pos, "...", 3);
			pos += 3;
			break;
		}
		if (plain)
			shown[pos++] = (char) c;
		else
		{
			shown[pos++] = '\\';
			shown[pos++] = 'x';
			shown[pos++] = digits[c >> 4];
			shown[pos++] = digits[c & 15];
		}
	}
	shown[pos] = '\0';
	return shown;
}

/* The file ends inside something: what is "metadata key", "tensor name" ... */
static ie_code
ends_early(const parser *p, const char *what, uint64_t wanted)
{
	ie_fail(p->err, IE_FORMAT, "file ends in a %s", what);
	return ie_detail(p->err, "%" PRIu64 " bytes are needed at offset %zu, and %zu are left.",
					 wanted, p->r.pos, ie_reader_left(&p->r));
}

static ie_code
read_u32(parser *p, uint32_t *v, const char *what)
{
	return ie_read_u32(&p->r, v) ? IE_OK : ends_early(p, what, 4);
}

static ie_code
read_u64(parser *p, uint64_t *v, const char *what)
{
	return ie_read_u64(&p->r, v) ? IE_OK : ends_early(p, what, 8);
}

/* u64 length and that many bytes, borrowed */
static ie_code
read_text(parser *p, ie_text *text, const char *what)
{
	const uint8_t *bytes;
	uint64_t	len;

	IE_TRY(read_u64(p, &len, what));
	if (len > ie_reader_left(&p->r))
		return ends_early(p, what, len);
	ie_read_bytes(&p->r, (size_t) len, &bytes);
	*text = (ie_text) {(const char *) bytes, (size_t) len};
	return IE_OK;
}

/* A key or a tensor name */
static ie_code
read_name(parser *p, ie_text *name, const char *what)
{
	const size_t offset = p->r.pos;

	IE_TRY(read_text(p, name, what));
	if (name->len > GGUF_MAX_NAME_BYTES)
	{
		ie_fail(p->err, IE_FORMAT, "%s is too long", what);
		return ie_detail(p->err, "It has %zu bytes at offset %zu, at most %d are allowed.",
						 name->len, offset, GGUF_MAX_NAME_BYTES);
	}
	return IE_OK;
}

/* -------------------------------------------------------------- metadata */

static ie_code
bad_bool(const parser *p, const gguf_kv *kv, uint8_t value)
{
	char		shown[GGUF_SHOWN_SIZE];

	ie_fail(p->err, IE_FORMAT, "metadata key \"%s\" holds an invalid boolean",
			gguf_show(kv->key, shown));
	return ie_detail(p->err, "The byte is %u; 0 and 1 are valid.", value);
}

/* Step over n_elems strings or booleans, which have to be looked at one by one. */
static ie_code
walk_array(parser *p, const gguf_kv *kv)
{
	for (uint64_t i = 0; i < kv->n_elems; i++)
	{
		ie_text		text;
		uint8_t		flag;

		if (i % POLL_ELEMENTS == POLL_ELEMENTS - 1)
			IE_TRY(ie_poll(p->file->host, p->err));
		if (kv->elem_type == GGUF_STRING)
			IE_TRY(read_text(p, &text, "string of a metadata array"));
		else if (!ie_read_u8(&p->r, &flag))
			return ends_early(p, "metadata array", 1);
		else if (flag > 1)
			return bad_bool(p, kv, flag);
	}
	return IE_OK;
}

static ie_code
read_array(parser *p, gguf_kv *kv)
{
	char		shown[GGUF_SHOWN_SIZE];
	uint32_t	elem_type;
	size_t		min_bytes;

	IE_TRY(read_u32(p, &elem_type, "metadata array"));
	IE_TRY(read_u64(p, &kv->n_elems, "metadata array"));
	if (elem_type >= GGUF_N_TYPES)
		return ie_fail(p->err, IE_FORMAT, "metadata key \"%s\" has invalid array element type %u",
					   gguf_show(kv->key, shown), elem_type);
	if (elem_type == GGUF_ARRAY)
		return ie_fail(p->err, IE_UNSUPPORTED,
					   "metadata key \"%s\" is an array of arrays, which is not supported",
					   gguf_show(kv->key, shown));
	kv->elem_type = (gguf_type) elem_type;
	min_bytes = elem_type == GGUF_STRING ? 8 : scalar_bytes[elem_type];
	if (kv->n_elems > ie_reader_left(&p->r) / min_bytes)
	{
		ie_fail(p->err, IE_FORMAT, "array of metadata key \"%s\" does not fit into the file",
				gguf_show(kv->key, shown));
		return ie_detail(p->err, "It claims %" PRIu64 " elements of at least %zu bytes "
						 "at offset %zu, and %zu bytes are left.",
						 kv->n_elems, min_bytes, p->r.pos, ie_reader_left(&p->r));
	}
	kv->value = p->r.data + p->r.pos;
	if (elem_type == GGUF_STRING || elem_type == GGUF_BOOL)
		return walk_array(p, kv);
	p->r.pos += (size_t) kv->n_elems * min_bytes;
	return IE_OK;
}

static ie_code
read_kv(parser *p, gguf_kv *kv)
{
	const size_t offset = p->r.pos;
	char		shown[GGUF_SHOWN_SIZE];
	uint32_t	type;
	ie_text		text;

	IE_TRY(read_name(p, &kv->key, "metadata key"));
	IE_TRY(read_u32(p, &type, "metadata value"));
	if (type >= GGUF_N_TYPES)
	{
		ie_fail(p->err, IE_FORMAT, "metadata key \"%s\" has invalid value type %u",
				gguf_show(kv->key, shown), type);
		return ie_detail(p->err, "The entry begins at offset %zu.", offset);
	}
	kv->type = (gguf_type) type;
	kv->value = p->r.data + p->r.pos;
	if (type == GGUF_ARRAY)
		IE_TRY(read_array(p, kv));
	else if (type == GGUF_STRING)
	{
		IE_TRY(read_text(p, &text, "metadata string"));
		kv->value = (const uint8_t *) text.data;
	}
	else if (!ie_read_bytes(&p->r, scalar_bytes[type], &kv->value))
		return ends_early(p, "metadata value", scalar_bytes[type]);
	else if (type == GGUF_BOOL && kv->value[0] > 1)
		return bad_bool(p, kv, kv->value[0]);
	kv->value_bytes = (size_t) (p->r.data + p->r.pos - kv->value);
	return IE_OK;
}

/* --------------------------------------------------------------- tensors */

/* Dimensions and type give the size; everything here is checked before it is multiplied. */
static ie_code
measure_tensor(const parser *p, gguf_tensor *t, uint32_t ggml_type)
{
	char		shown[GGUF_SHOWN_SIZE];
	size_t		n_elems = 1;

	t->type = ie_type_find(ggml_type);
	if (t->type == NULL)
	{
		ie_fail(p->err, IE_UNSUPPORTED, "tensor \"%s\" has type %s (%u), which is not supported",
				gguf_show(t->name, shown), ie_type_name(ggml_type), ggml_type);
		return ie_detail(p->err, "Supported types are %s.", ie_type_list());
	}
	for (uint32_t i = 0; i < t->n_dims; i++)
	{
		if (t->ne[i] == 0)
			return ie_fail(p->err, IE_FORMAT, "dimension %u of tensor \"%s\" is zero",
						   i, gguf_show(t->name, shown));
		if (t->ne[i] > SIZE_MAX || !ie_size_mul(n_elems, (size_t) t->ne[i], &n_elems))
			return ie_fail(p->err, IE_FORMAT, "dimensions of tensor \"%s\" are too large",
						   gguf_show(t->name, shown));
	}
	if (t->ne[0] % t->type->block_len != 0)
	{
		ie_fail(p->err, IE_FORMAT, "rows of tensor \"%s\" do not consist of whole blocks",
				gguf_show(t->name, shown));
		return ie_detail(p->err, "A row has %" PRIu64 " elements, a block of type %s has %u.",
						 t->ne[0], t->type->name, t->type->block_len);
	}
	if (!ie_size_mul(n_elems / t->type->block_len, t->type->block_bytes, &t->data_bytes))
		return ie_fail(p->err, IE_FORMAT, "dimensions of tensor \"%s\" are too large",
					   gguf_show(t->name, shown));
	return IE_OK;
}

static ie_code
read_tensor(parser *p, gguf_tensor *t)
{
	char		shown[GGUF_SHOWN_SIZE];
	uint32_t	ggml_type;

	IE_TRY(read_name(p, &t->name, "tensor name"));
	IE_TRY(read_u32(p, &t->n_dims, "tensor description"));
	if (t->n_dims < 1 || t->n_dims > GGUF_MAX_DIMS)
		return ie_fail(p->err, IE_FORMAT, "tensor \"%s\" has %u dimensions, 1 to %d are allowed",
					   gguf_show(t->name, shown), t->n_dims, GGUF_MAX_DIMS);
	for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++)
	{
		t->ne[i] = 1;
		if (i < t->n_dims)
			IE_TRY(read_u64(p, &t->ne[i], "tensor description"));
	}
	IE_TRY(read_u32(p, &ggml_type, "tensor description"));
	IE_TRY(read_u64(p, &t->offset, "tensor description"));
	return measure_tensor(p, t, ggml_type);
}

/* Possible only when the directory has ended and the start of the data is known */
static ie_code
place_tensor(const parser *p, gguf_tensor *t)
{
	const gguf_file *file = p->file;
	char		shown[GGUF_SHOWN_SIZE];

	if (t->offset % file->alignment != 0)
		return ie_fail(p->err, IE_FORMAT, "tensor \"%s\" is at offset %" PRIu64
					   ", which is not a multiple of the alignment %zu",
					   gguf_show(t->name, shown), t->offset, file->alignment);
	if (t->offset > file->data_bytes || t->data_bytes > file->data_bytes - t->offset)
	{
		ie_fail(p->err, IE_FORMAT, "tensor \"%s\" lies outside of the file",
				gguf_show(t->name, shown));
		return ie_detail(p->err, "It has %zu bytes at offset %" PRIu64
						 " of %zu bytes of tensor data.",
						 t->data_bytes, t->offset, file->data_bytes);
	}
	t->data = file->data + t->offset;
	return IE_OK;
}

/* --------------------------------------------------------------- sorting */

/* What heap_sort() needs to know of a sequence: items i and j of a file's directory */
typedef struct sort_order
{
	int			(*compare) (const gguf_file *file, size_t i, size_t j);
	void		(*swap) (gguf_file *file, size_t i, size_t j);
} sort_order;

static int
compare_kv(const gguf_file *file, size_t i, size_t j)
{
	return ie_text_compare(file->kv[i].key, file->kv[j].key);
}

static void
swap_kv(gguf_file *file, size_t i, size_t j)
{
	const gguf_kv kv = file->kv[i];

	file->kv[i] = file->kv[j];
	file->kv[j] = kv;
}

static int
compare_name(const gguf_file *file, size_t i, size_t j)
{
	return ie_text_compare(file->tensors[file->by_name[i]].name,
						file->tensors[file->by_name[j]].name);
}

static int
compare_place(const gguf_file *file, size_t i, size_t j)
{
	const uint8_t *a = file->tensors[file->by_name[i]].data;
	const uint8_t *b = file->tensors[file->by_name[j]].data;

	return a < b ? -1 : a > b;
}

static void
swap_index(gguf_file *file, size_t i, size_t j)
{
	const uint32_t index = file->by_name[i];

	file->by_name[i] = file->by_name[j];
	file->by_name[j] = index;
}

static const sort_order kv_order = {compare_kv, swap_kv};
static const sort_order name_order = {compare_name, swap_index};
static const sort_order place_order = {compare_place, swap_index};

/* Knuth 5.2.3, algorithm H */
static void
heap_sort(gguf_file *file, size_t n, const sort_order *order)
{
	size_t		start = n / 2;
	size_t		end = n;

	while (end > 1)
	{
		size_t		root;

		if (start > 0)
			root = --start;
		else
		{
			order->swap(file, 0, --end);
			root = 0;
		}
		for (size_t child = 2 * root + 1; child < end; child = 2 * root + 1)
		{
			if (child + 1 < end && order->compare(file, child, child + 1) < 0)
				child++;
			if (order->compare(file, root, child) >= 0)
				break;
			order->swap(file, root, child);
			root = child;
		}
	}
}

/* ----------------------------------------------------------------- stages */

static ie_code
parse_version(parser *p)
{
	gguf_file  *file = p->file;
	const uint8_t *magic;

	if (!ie_read_bytes(&p->r, 4, &magic) || memcmp(magic, "GGUF", 4) != 0)
	{
		ie_fail(p->err, IE_FORMAT, "file is not in GGUF format");
		return ie_detail(p->err, "It does not begin with the four bytes \"GGUF\".");
	}
	IE_TRY(read_u32(p, &file->version, "header"));
	if (file->version != 0 && (file->version & 0xffff) == 0)
		return ie_fail(p->err, IE_UNSUPPORTED, "GGUF file is big-endian, which is not supported");
	if (file->version != 2 && file->version != 3)
	{
		ie_fail(p->err, IE_UNSUPPORTED, "GGUF version %u is not supported", file->version);
		return ie_detail(p->err, "Supported versions are 2 and 3.");
	}
	return IE_OK;
}

/* Does a directory of count entries fit into the rest of the file, and under the cap? */
static ie_code
check_count(const parser *p, uint64_t count, size_t entry_bytes, const char *what)
{
	if (count > ie_reader_left(&p->r) / entry_bytes)
	{
		ie_fail(p->err, IE_FORMAT, "directory of %s does not fit into the file", what);
		return ie_detail(p->err, "It claims %" PRIu64 " entries of at least %zu bytes, "
						 "and %zu bytes are left.", count, entry_bytes, ie_reader_left(&p->r));
	}
	if (count > GGUF_MAX_ENTRIES)
		return ie_fail(p->err, IE_UNSUPPORTED,
					   "file has %" PRIu64 " %s, at most %d are supported",
					   count, what, GGUF_MAX_ENTRIES);
	return IE_OK;
}

static ie_code
parse_metadata(parser *p, uint64_t n_kv)
{
	gguf_file  *file = p->file;

	file->n_kv = (size_t) n_kv;
	file->kv = ie_alloc0(file->host, file->n_kv * sizeof(gguf_kv));
	if (file->kv == NULL)
		return ie_nomem(p->err, file->n_kv * sizeof(gguf_kv));
	for (size_t i = 0; i < file->n_kv; i++)
		IE_TRY(read_kv(p, &file->kv[i]));
	heap_sort(file, file->n_kv, &kv_order);
	for (size_t i = 1; i < file->n_kv; i++)
		if (compare_kv(file, i - 1, i) == 0)
		{
			char		shown[GGUF_SHOWN_SIZE];

			return ie_fail(p->err, IE_FORMAT, "metadata key \"%s\" occurs twice",
						   gguf_show(file->kv[i].key, shown));
		}
	return IE_OK;
}

static ie_code
parse_alignment(parser *p)
{
	gguf_file  *file = p->file;
	uint32_t	alignment = GGUF_DEFAULT_ALIGNMENT;
	bool		found;

	IE_TRY(gguf_get_u32(file, "general.alignment", &alignment, &found, p->err));
	if (alignment < 8 || alignment > GGUF_MAX_ALIGNMENT || (alignment & (alignment - 1)) != 0)
	{
		ie_fail(p->err, IE_FORMAT, "alignment %u is invalid", alignment);
		return ie_detail(p->err, "It must be a power of two from 8 to %d.", GGUF_MAX_ALIGNMENT);
	}
	file->alignment = alignment;
	return IE_OK;
}

static ie_code
parse_tensors(parser *p)
{
	gguf_file  *file = p->file;
	size_t		start;

	for (size_t i = 0; i < file->n_tensors; i++)
		IE_TRY(read_tensor(p, &file->tensors[i]));

	/* a file without tensors needs no padding behind its directory */
	start = ie_round_up(p->r.pos, file->alignment);
	if (start > p->r.size)
		start = p->r.size;
	file->data = p->r.data + start;
	file->data_bytes = p->r.size - start;
	for (size_t i = 0; i < file->n_tensors; i++)
		IE_TRY(place_tensor(p, &file->tensors[i]));
	return IE_OK;
}

/* by_name serves both orders: first by place for the overlaps, then for good by name. */
static ie_code
check_tensors(const parser *p)
{
	gguf_file  *file = p->file;
	char		shown[2][GGUF_SHOWN_SIZE];

	for (size_t i = 0; i < file->n_tensors; i++)
		file->by_name[i] = (uint32_t) i;
	heap_sort(file, file->n_tensors, &place_order);
	for (size_t i = 1; i < file->n_tensors; i++)
	{
		const gguf_tensor *a = &file->tensors[file->by_name[i - 1]];
		const gguf_tensor *b = &file->tensors[file->by_name[i]];

		if (a->data_bytes > (size_t) (b->data - a->data))
			return ie_fail(p->err, IE_FORMAT, "tensors \"%s\" and \"%s\" overlap",
						   gguf_show(a->name, shown[0]), gguf_show(b->name, shown[1]));
	}
	heap_sort(file, file->n_tensors, &name_order);
	for (size_t i = 1; i < file->n_tensors; i++)
		if (compare_name(file, i - 1, i) == 0)
			return ie_fail(p->err, IE_FORMAT, "tensor \"%s\" occurs twice",
						   gguf_show(file->tensors[file->by_name[i]].name, shown[0]));
	return IE_OK;
}

static ie_code
parse_directory(parser *p, uint64_t n_tensors)
{
	gguf_file  *file = p->file;

	file->n_tensors = (size_t) n_tensors;
	file->tensors = ie_alloc0(file->host, file->n_tensors * sizeof(gguf_tensor));
	if (file->tensors == NULL)
		return ie_nomem(p->err, file->n_tensors * sizeof(gguf_tensor));
	file->by_name = ie_alloc0(file->host, file->n_tensors * sizeof(uint32_t));
	if (file->by_name == NULL)
		return ie_nomem(p->err, file->n_tensors * sizeof(uint32_t));
	IE_TRY(parse_tensors(p));
	return check_tensors(p);
}

static ie_code
parse_file(parser *p)
{
	uint64_t	n_tensors;
	uint64_t	n_kv;

	IE_TRY(parse_version(p));
	IE_TRY(read_u64(p, &n_tensors, "header"));
	IE_TRY(read_u64(p, &n_kv, "header"));
	IE_TRY(check_count(p, n_kv, MIN_KV_BYTES, "metadata entries"));
	IE_TRY(parse_metadata(p, n_kv));
	IE_TRY(check_count(p, n_tensors, MIN_TENSOR_BYTES, "tensors"));
	IE_TRY(parse_alignment(p));
	return parse_directory(p, n_tensors);
}

ie_code
gguf_parse(const ie_host *host, const uint8_t *bytes, size_t size, gguf_file *file, ie_error *err)
{
	parser		p = {{bytes, size, 0}, file, err};
	ie_code		code;

	memset(file, 0, sizeof(*file));
	file->host = host;
	code = parse_file(&p);
	if (code != IE_OK)
		gguf_free(file);
	return code;
}

void
gguf_free(gguf_file *file)
{
	ie_release(file->host, file->kv);
	ie_release(file->host, file->tensors);
	ie_release(file->host, file->by_name);
	memset(file, 0, sizeof(*file));
}
