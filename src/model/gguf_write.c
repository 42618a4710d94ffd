/*
 * gguf_write.c
 *	  The counterpart of gguf.c: each function writes what one there reads.
 */
#include "model/gguf_write.h"

static void
put_u32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t) (v >> (8 * i));
}

static void
put_u64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t) (v >> (8 * i));
}

static ie_code
write_u32(ie_writer *w, uint32_t v, ie_error *err)
{
	uint8_t		bytes[4];

	put_u32(bytes, v);
	return ie_writer_write(w, bytes, sizeof(bytes), err);
}

static ie_code
write_u64(ie_writer *w, uint64_t v, ie_error *err)
{
	uint8_t		bytes[8];

	put_u64(bytes, v);
	return ie_writer_write(w, bytes, sizeof(bytes), err);
}

static ie_code
write_string(ie_writer *w, ie_text text, ie_error *err)
{
	IE_TRY(write_u64(w, text.len, err));
	return ie_writer_write(w, text.data, text.len, err);
}

ie_code
gguf_write_header(ie_writer *w, uint64_t n_tensors, uint64_t n_kv, ie_error *err)
{
	uint8_t		bytes[24] = "GGUF";

	put_u32(bytes + 4, 3);
	put_u64(bytes + 8, n_tensors);
	put_u64(bytes + 16, n_kv);
	return ie_writer_write(w, bytes, sizeof(bytes), err);
}

ie_code
gguf_write_kv(ie_writer *w, const gguf_kv *kv, ie_error *err)
{
	IE_TRY(write_string(w, kv->key, err));
	IE_TRY(write_u32(w, kv->type, err));
	if (kv->type == GGUF_STRING)
		IE_TRY(write_u64(w, kv->value_bytes, err));
	if (kv->type == GGUF_ARRAY)
	{
		IE_TRY(write_u32(w, kv->elem_type, err));
		IE_TRY(write_u64(w, kv->n_elems, err));
	}
	return ie_writer_write(w, kv->value, kv->value_bytes, err);
}

ie_code
gguf_write_text(ie_writer *w, const char *key, ie_text value, ie_error *err)
{
	const gguf_kv kv = {
		.key = {key, strlen(key)}, .type = GGUF_STRING,
		.value = (const uint8_t *) value.data, .value_bytes = value.len
	};

	return gguf_write_kv(w, &kv, err);
}

ie_code
gguf_write_u32(ie_writer *w, const char *key, uint32_t value, ie_error *err)
{
	uint8_t		bytes[4];
	const gguf_kv kv = {
		.key = {key, strlen(key)}, .type = GGUF_U32,
		.value = bytes, .value_bytes = sizeof(bytes)
	};

	put_u32(bytes, value);
	return gguf_write_kv(w, &kv, err);
}

ie_code
gguf_write_tensor(ie_writer *w, const gguf_tensor *t, ie_error *err)
{
	IE_TRY(write_string(w, t->name, err));
	IE_TRY(write_u32(w, t->n_dims, err));
	for (uint32_t i = 0; i < t->n_dims; i++)
		IE_TRY(write_u64(w, t->ne[i], err));
	IE_TRY(write_u32(w, t->type->type, err));
	return write_u64(w, t->offset, err);
}

ie_code
gguf_write_padding(ie_writer *w, size_t alignment, ie_error *err)
{
	static const uint8_t zeros[256];
	size_t		left = (size_t) (-w->offset & (alignment - 1));

	while (left > 0)
	{
		const size_t n = left < sizeof(zeros) ? left : sizeof(zeros);

		IE_TRY(ie_writer_write(w, zeros, n, err));
		left -= n;
	}
	return IE_OK;
}
