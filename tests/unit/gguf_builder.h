/*
 * gguf_builder.h
 *	  GGUF files made in memory, valid ones and broken ones.
 *
 * Pieces are appended in the order of the format and nothing is checked:
 *
 *		gguf_builder b;
 *
 *		gb_begin(&b, 3);
 *		gb_kv_text(&b, "general.architecture", "llama");
 *		gb_tensor(&b, "t", IE_TYPE_F32, 2, (uint64_t[]) {8, 4}, 0);
 *		gb_begin_data(&b, 32);
 *		gb_bytes(&b, values, sizeof(values));
 *		gb_end(&b);						-- counts go into the header
 *		... b.data, b.size ...
 *		gb_free(&b);
 *
 * gb_view() copies the bytes into a block of exactly their size, so that
 * AddressSanitizer sees the first byte that is read too far.
 */
#ifndef GGUF_BUILDER_H
#define GGUF_BUILDER_H

#include "model/gguf.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct gguf_builder
{
	uint8_t    *data;
	size_t		size;
	size_t		capacity;
	uint64_t	n_kv;			/* announced by gb_end() */
	uint64_t	n_tensors;
	size_t		data_start;
} gguf_builder;

static inline void
gb_bytes(gguf_builder *b, const void *bytes, size_t n)
{
	if (b->size + n > b->capacity)
	{
		b->capacity = 2 * (b->size + n);
		b->data = realloc(b->data, b->capacity);
		if (b->data == NULL)
			abort();
	}
	if (n > 0)
		memcpy(b->data + b->size, bytes, n);
	b->size += n;
}

/* v as n little-endian bytes */
static inline void
gb_uint(gguf_builder *b, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		gb_bytes(b, &(uint8_t) {(uint8_t) (v >> (8 * i))}, 1);
}

static inline void
gb_string(gguf_builder *b, const char *s)
{
	gb_uint(b, strlen(s), 8);
	gb_bytes(b, s, strlen(s));
}

static inline void
gb_begin(gguf_builder *b, uint32_t version)
{
	memset(b, 0, sizeof(*b));
	gb_bytes(b, "GGUF", 4);
	gb_uint(b, version, 4);
	gb_uint(b, 0, 8);
	gb_uint(b, 0, 8);
}

/* Key and type; the caller appends the value. */
static inline void
gb_kv(gguf_builder *b, const char *key, uint32_t type)
{
	gb_string(b, key);
	gb_uint(b, type, 4);
	b->n_kv++;
}

static inline void
gb_kv_text(gguf_builder *b, const char *key, const char *value)
{
	gb_kv(b, key, GGUF_STRING);
	gb_string(b, value);
}

static inline void
gb_kv_u32(gguf_builder *b, const char *key, uint32_t value)
{
	gb_kv(b, key, GGUF_U32);
	gb_uint(b, value, 4);
}

static inline void
gb_kv_f32(gguf_builder *b, const char *key, float value)
{
	gb_kv(b, key, GGUF_F32);
	gb_bytes(b, &value, 4);
}

/* Key, element type and count; the caller appends the elements. */
static inline void
gb_kv_array(gguf_builder *b, const char *key, uint32_t elem_type, uint64_t n)
{
	gb_kv(b, key, GGUF_ARRAY);
	gb_uint(b, elem_type, 4);
	gb_uint(b, n, 8);
}

static inline void
gb_tensor(gguf_builder *b, const char *name, uint32_t type, uint32_t n_dims,
		  const uint64_t *ne, uint64_t offset)
{
	gb_string(b, name);
	gb_uint(b, n_dims, 4);
	for (uint32_t i = 0; i < n_dims; i++)
		gb_uint(b, ne[i], 8);
	gb_uint(b, type, 4);
	gb_uint(b, offset, 8);
	b->n_tensors++;
}

static inline void
gb_pad(gguf_builder *b, size_t alignment)
{
	while (b->size % alignment != 0)
		gb_uint(b, 0, 1);
}

static inline void
gb_begin_data(gguf_builder *b, size_t alignment)
{
	gb_pad(b, alignment);
	b->data_start = b->size;
}

static inline void
gb_end(gguf_builder *b)
{
	for (int i = 0; i < 8; i++)
	{
		b->data[8 + i] = (uint8_t) (b->n_tensors >> (8 * i));
		b->data[16 + i] = (uint8_t) (b->n_kv >> (8 * i));
	}
}

static inline void
gb_free(gguf_builder *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

/* The first size bytes in a block of their own; free() it. */
static inline uint8_t *
gb_view(const gguf_builder *b, size_t size)
{
	uint8_t    *view = malloc(size > 0 ? size : 1);

	if (view == NULL)
		abort();
	memcpy(view, b->data, size);
	return view;
}

static inline void
gb_save(const gguf_builder *b, const char *path)
{
	FILE	   *f = fopen(path, "wb");

	if (f == NULL || fwrite(b->data, 1, b->size, f) != b->size || fclose(f) != 0)
	{
		perror(path);
		abort();
	}
}

#endif							/* GGUF_BUILDER_H */
