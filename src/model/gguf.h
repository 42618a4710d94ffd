/*
 * gguf.h
 *	  GGUF container, versions 2 and 3 (little-endian): parse and look up.
 *
 *	  magic "GGUF", u32 version, u64 n_tensors, u64 n_kv
 *	  n_kv    x  string key, u32 value type, value
 *	  n_tensors x string name, u32 n_dims, u64 ne[n_dims], u32 type, u64 offset
 *	  padding to general.alignment (default 32), then tensor data
 *
 * The parser takes (bytes, size) from anywhere, checks every count, length,
 * type, dimension, offset and alignment before it uses it, and borrows from the
 * bytes; it allocates only the two directories.  Keys and tensor names are
 * unique; tensors are disjoint, inside the file and behind the directory.  A
 * tensor's offset is a multiple of general.alignment (a power of two, at least
 * 8), so in a mapped file every F32 tensor may be read in place.
 */
#ifndef IE_GGUF_H
#define IE_GGUF_H

#include "base/host.h"
#include "math/quant.h"

#define GGUF_MAX_DIMS 4
#define GGUF_MAX_ENTRIES 65536	/* of metadata, and of tensors */
#define GGUF_DEFAULT_ALIGNMENT 32
#define GGUF_MAX_ALIGNMENT 65536
#define GGUF_MAX_NAME_BYTES 65535	/* of a key or tensor name */

typedef enum gguf_type
{
	GGUF_U8 = 0, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
	GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64,
	GGUF_N_TYPES
} gguf_type;

typedef struct gguf_kv
{
	ie_text		key;
	gguf_type	type;
	gguf_type	elem_type;		/* GGUF_ARRAY only */
	uint64_t	n_elems;		/* GGUF_ARRAY only */
	const uint8_t *value;		/* first byte of the scalar, of the string's characters, or of
								 * an array's first element; any alignment */
	size_t		value_bytes;	/* all of it, checked */
} gguf_kv;

typedef struct gguf_tensor
{
	ie_text		name;
	const ie_type_traits *type;
	uint32_t	n_dims;
	uint64_t	ne[GGUF_MAX_DIMS];	/* ne[0] is contiguous; unused ones are 1; none is 0 */
	uint64_t	offset;			/* of data, from the start of the tensor data */
	const uint8_t *data;
	size_t		data_bytes;
} gguf_tensor;

typedef struct gguf_file
{
	const ie_host *host;
	uint32_t	version;
	size_t		alignment;
	size_t		n_kv;
	gguf_kv    *kv;				/* sorted by key */
	size_t		n_tensors;
	gguf_tensor *tensors;		/* in the file's order */
	uint32_t   *by_name;		/* [n_tensors] indexes sorted by name */
	const uint8_t *data;		/* start of the tensor data */
	size_t		data_bytes;		/* up to the end of the file */
} gguf_file;

/*
 * Errors: IE_FORMAT (corrupt or truncated, saying what and where),
 * IE_UNSUPPORTED (version, big-endian file, array of arrays, more than
 * GGUF_MAX_ENTRIES, tensor type: named, with the list of those that are
 * supported), IE_NOMEM, IE_CANCELED.  On failure *file needs no free.
 */
ie_code		gguf_parse(const ie_host *host, const uint8_t *bytes, size_t size,
					   gguf_file *file, ie_error *err);
void		gguf_free(gguf_file *file); /* idempotent on a zeroed struct */

/* NULL if absent */
const gguf_kv *gguf_find(const gguf_file *file, const char *key);
const gguf_kv *gguf_find_text(const gguf_file *file, ie_text key);
const gguf_tensor *gguf_find_tensor(const gguf_file *file, const char *name);
const gguf_tensor *gguf_find_tensor_text(const gguf_file *file, ie_text name);

/*
 * Typed look-ups.  found tells whether the key exists; *value is left alone
 * when it does not, so preset it with the default.  found == NULL means the key
 * is required.  Any integer type is accepted for u32 if the value fits, f32 and
 * f64 for f32 if it is finite.  Texts are borrowed and may hold any bytes.
 * Errors: IE_FORMAT (missing, wrong type, out of range).
 */
ie_code		gguf_get_u32(const gguf_file *file, const char *key, uint32_t *value,
						 bool *found, ie_error *err);
ie_code		gguf_get_f32(const gguf_file *file, const char *key, float *value,
						 bool *found, ie_error *err);
ie_code		gguf_get_bool(const gguf_file *file, const char *key, bool *value,
						  bool *found, ie_error *err);
ie_code		gguf_get_text(const gguf_file *file, const char *key, ie_text *value,
						  bool *found, ie_error *err);

/* An array of elem_type; *kv is NULL if absent and found != NULL. */
ie_code		gguf_get_array(const gguf_file *file, const char *key, gguf_type elem_type,
						   const gguf_kv **kv, bool *found, ie_error *err);

/*
 * Walk a string array, whose bytes gguf_parse() has checked:
 *		pos = 0; while (gguf_next_text(kv, &pos, &text)) ...
 */
bool		gguf_next_text(const gguf_kv *kv, size_t *pos, ie_text *text);

/* "u32", "string", ... */
const char *gguf_type_name(gguf_type type);

/*
 * A file's own text as it may stand in a message: printable ASCII, other bytes
 * as \xNN, clipped with "...".  shown: [GGUF_SHOWN_SIZE]; returns it.
 */
#define GGUF_SHOWN_SIZE 68
const char *gguf_show(ie_text text, char *shown);

/* Order by bytes, a prefix first: < 0, 0, > 0 */
static inline int
ie_text_compare(ie_text a, ie_text b)
{
	const int	c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);

	return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

/* Does text equal the C string? */
static inline bool
ie_text_is(ie_text text, const char *s)
{
	return text.len == strlen(s) && memcmp(text.data, s, text.len) == 0;
}

#endif							/* IE_GGUF_H */
