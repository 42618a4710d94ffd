/*
 * bytes.h
 *	  Bounds-checked little-endian reading, and sizes that cannot overflow.
 *
 * A reader never reads past its end: a read that would fail returns false and
 * leaves the position where it was.
 */
#ifndef IE_BYTES_H
#define IE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct ie_reader
{
	const uint8_t *data;
	size_t		size;
	size_t		pos;			/* <= size */
} ie_reader;

static inline size_t
ie_reader_left(const ie_reader *r)
{
	return r->size - r->pos;
}

/* Borrow the next n bytes. */
static inline bool
ie_read_bytes(ie_reader *r, size_t n, const uint8_t **bytes)
{
	if (n > r->size - r->pos)
		return false;
	*bytes = r->data + r->pos;
	r->pos += n;
	return true;
}

static inline bool
ie_read_u8(ie_reader *r, uint8_t *v)
{
	const uint8_t *b;

	if (!ie_read_bytes(r, 1, &b))
		return false;
	*v = b[0];
	return true;
}

static inline bool
ie_read_u16(ie_reader *r, uint16_t *v)
{
	const uint8_t *b;

	if (!ie_read_bytes(r, 2, &b))
		return false;
	*v = (uint16_t) (b[0] | b[1] << 8);
	return true;
}

static inline bool
ie_read_u32(ie_reader *r, uint32_t *v)
{
	const uint8_t *b;

	if (!ie_read_bytes(r, 4, &b))
		return false;
	*v = (uint32_t) b[0] | (uint32_t) b[1] << 8 | (uint32_t) b[2] << 16 | (uint32_t) b[3] << 24;
	return true;
}

static inline bool
ie_read_u64(ie_reader *r, uint64_t *v)
{
	const uint8_t *b;

	if (!ie_read_bytes(r, 8, &b))
		return false;
	*v = 0;
	for (int i = 0; i < 8; i++)
		*v |= (uint64_t) b[i] << (8 * i);
	return true;
}

static inline bool
ie_read_f32(ie_reader *r, float *v)
{
	uint32_t	bits;

	if (!ie_read_u32(r, &bits))
		return false;
	memcpy(v, &bits, sizeof(bits));
	return true;
}

/* *result = a + b, a * b; false on overflow of size_t. */
static inline bool
ie_size_add(size_t a, size_t b, size_t *result)
{
	return !__builtin_add_overflow(a, b, result);
}

static inline bool
ie_size_mul(size_t a, size_t b, size_t *result)
{
	return !__builtin_mul_overflow(a, b, result);
}

/* n rounded up to a multiple of unit, a power of two; n must not be near SIZE_MAX. */
static inline size_t
ie_round_up(size_t n, size_t unit)
{
	return (n + unit - 1) & ~(unit - 1);
}

#endif							/* IE_BYTES_H */
