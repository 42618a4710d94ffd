/*
 * gguf_get.c
 *	  Look-ups in a parsed GGUF file: binary search by name, typed values.
 */
#include "model/gguf.h"
#include "base/bytes.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

static const char *const type_names[GGUF_N_TYPES] = {
	"u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"
};

const char *
gguf_type_name(gguf_type type)
{
	return type < GGUF_N_TYPES ? type_names[type] : "?";
}

const gguf_kv *
gguf_find_text(const gguf_file *file, ie_text key)
{
	size_t		lo = 0;
	size_t		hi = file->n_kv;

	while (lo < hi)
	{
		const size_t mid = lo + (hi - lo) / 2;
		const int	c = ie_text_compare(key, file->kv[mid].key);

		if (c == 0)
			return &file->kv[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const gguf_kv *
gguf_find(const gguf_file *file, const char *key)
{
	return gguf_find_text(file, (ie_text) {key, strlen(key)});
}

const gguf_tensor *
gguf_find_tensor_text(const gguf_file *file, ie_text name)
{
	size_t		lo = 0;
	size_t		hi = file->n_tensors;

	while (lo < hi)
	{
		const size_t mid = lo + (hi - lo) / 2;
		const gguf_tensor *t = &file->tensors[file->by_name[mid]];
		const int	c = ie_text_compare(name, t->name);

		if (c == 0)
			return t;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const gguf_tensor *
gguf_find_tensor(const gguf_file *file, const char *name)
{
	return gguf_find_tensor_text(file, (ie_text) {name, strlen(name)});
}

/* *kv is NULL when the key is absent and may be. */
static ie_code
find_key(const gguf_file *file, const char *key, const gguf_kv **kv, bool *found, ie_error *err)
{
	*kv = gguf_find(file, key);
	if (*kv == NULL && found == NULL)
		return ie_fail(err, IE_FORMAT, "metadata key \"%s\" is missing", key);
	if (found != NULL)
		*found = *kv != NULL;
	return IE_OK;
}

static ie_code
wrong_type(const gguf_kv *kv, const char *key, const char *expected, ie_error *err)
{
	return ie_fail(err, IE_FORMAT, "metadata key \"%s\" has type %s, expected %s",
				   key, gguf_type_name(kv->type), expected);
}

/* An integer as sign and magnitude; false for other types */
static bool
read_integer(const gguf_kv *kv, bool *negative, uint64_t *magnitude)
{
	static const struct
	{
		uint8_t		n_bytes;	/* 0 = not an integer */
		bool		is_signed;
	}			integers[GGUF_N_TYPES] = {
		[GGUF_U8] = {1, false}, [GGUF_I8] = {1, true},
		[GGUF_U16] = {2, false}, [GGUF_I16] = {2, true},
		[GGUF_U32] = {4, false}, [GGUF_I32] = {4, true},
		[GGUF_U64] = {8, false}, [GGUF_I64] = {8, true},
	};
	const unsigned n_bits = 8U * integers[kv->type].n_bytes;
	uint64_t	bits = 0;

	if (n_bits == 0)
		return false;
	for (unsigned i = 0; i < n_bits / 8; i++)
		bits |= (uint64_t) kv->value[i] << (8 * i);
	*negative = integers[kv->type].is_signed && bits >> (n_bits - 1) != 0;
	*magnitude = *negative ? (0 - bits) & (UINT64_MAX >> (64 - n_bits)) : bits;
	return true;
}

ie_code
gguf_get_u32(const gguf_file *file, const char *key, uint32_t *value, bool *found, ie_error *err)
{
	const gguf_kv *kv;
	uint64_t	magnitude;
	bool		negative;

	IE_TRY(find_key(file, key, &kv, found, err));
	if (kv == NULL)
		return IE_OK;
	if (!read_integer(kv, &negative, &magnitude))
		return wrong_type(kv, key, "an integer", err);
	if (negative || magnitude > UINT32_MAX)
	{
		ie_fail(err, IE_FORMAT, "metadata key \"%s\" is out of range", key);
		return ie_detail(err, "It is %s%" PRIu64 ", 0 to %u is allowed.",
						 negative ? "-" : "", magnitude, UINT32_MAX);
	}
	*value = (uint32_t) magnitude;
	return IE_OK;
}

ie_code
gguf_get_f32(const gguf_file *file, const char *key, float *value, bool *found, ie_error *err)
{
	const gguf_kv *kv;
	float		f32;

	IE_TRY(find_key(file, key, &kv, found, err));
	if (kv == NULL)
		return IE_OK;
	if (kv->type == GGUF_F32)
		memcpy(&f32, kv->value, sizeof(f32));
	else if (kv->type == GGUF_F64)
	{
		double		f64;

		memcpy(&f64, kv->value, sizeof(f64));
		f32 = fabs(f64) <= FLT_MAX ? (float) f64 : INFINITY;
	}
	else
		return wrong_type(kv, key, "f32", err);
	if (!isfinite(f32))
		return ie_fail(err, IE_FORMAT, "metadata key \"%s\" is not a finite number", key);
	*value = f32;
	return IE_OK;
}

ie_code
gguf_get_bool(const gguf_file *file, const char *key, bool *value, bool *found, ie_error *err)
{
	const gguf_kv *kv;

	IE_TRY(find_key(file, key, &kv, found, err));
	if (kv == NULL)
		return IE_OK;
	if (kv->type != GGUF_BOOL)
		return wrong_type(kv, key, "bool", err);
	*value = kv->value[0] != 0;
	return IE_OK;
}

ie_code
gguf_get_text(const gguf_file *file, const char *key, ie_text *value, bool *found, ie_error *err)
{
	const gguf_kv *kv;

	IE_TRY(find_key(file, key, &kv, found, err));
	if (kv == NULL)
		return IE_OK;
	if (kv->type != GGUF_STRING)
		return wrong_type(kv, key, "string", err);
	*value = (ie_text) {(const char *) kv->value, kv->value_bytes};
	return IE_OK;
}

ie_code
gguf_get_array(const gguf_file *file, const char *key, gguf_type elem_type,
			   const gguf_kv **kv, bool *found, ie_error *err)
{
	const gguf_kv *array;

	IE_TRY(find_key(file, key, &array, found, err));
	if (array != NULL && array->type != GGUF_ARRAY)
		return wrong_type(array, key, "array", err);
	if (array != NULL && array->elem_type != elem_type)
		return ie_fail(err, IE_FORMAT, "metadata key \"%s\" is an array of %s, expected of %s",
					   key, gguf_type_name(array->elem_type), gguf_type_name(elem_type));
	*kv = array;
	return IE_OK;
}

bool
gguf_next_text(const gguf_kv *kv, size_t *pos, ie_text *text)
{
	ie_reader	r = {kv->value, kv->value_bytes, *pos};
	const uint8_t *bytes;
	uint64_t	len;

	if (!ie_read_u64(&r, &len) || len > ie_reader_left(&r))
		return false;
	ie_read_bytes(&r, (size_t) len, &bytes);
	*text = (ie_text) {(const char *) bytes, (size_t) len};
	*pos = r.pos;
	return true;
}
