/*
 * quant.h
 *	  Tensor element types of GGUF files: block layouts and their traits table.
 *
 * Layouts are ggml's (ggml-common.h); a type is added by adding a row to the
 * table in quant.c.  All multi-byte fields are little-endian.
 */
#ifndef IE_QUANT_H
#define IE_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IE_QK 32				/* elements of every quantised block */

/* w = d * (q - 8); low nibbles are elements 0..15, high nibbles 16..31 */
typedef struct ie_block_q4_0
{
	uint16_t	d;				/* f16 */
	uint8_t		qs[16];
} ie_block_q4_0;

/* w = d * q + m */
typedef struct ie_block_q4_1
{
	uint16_t	d;
	uint16_t	m;
	uint8_t		qs[16];
} ie_block_q4_1;

/* w = d * (q - 16); bit j of qh is the fifth bit of element j */
typedef struct ie_block_q5_0
{
	uint16_t	d;
	uint8_t		qh[4];
	uint8_t		qs[16];
} ie_block_q5_0;

/* w = d * q + m */
typedef struct ie_block_q5_1
{
	uint16_t	d;
	uint16_t	m;
	uint8_t		qh[4];
	uint8_t		qs[16];
} ie_block_q5_1;

/* w = d * q */
typedef struct ie_block_q8_0
{
	uint16_t	d;
	int8_t		qs[32];
} ie_block_q8_0;

_Static_assert(sizeof(ie_block_q4_0) == 18, "ggml block_q4_0");
_Static_assert(sizeof(ie_block_q4_1) == 20, "ggml block_q4_1");
_Static_assert(sizeof(ie_block_q5_0) == 22, "ggml block_q5_0");
_Static_assert(sizeof(ie_block_q5_1) == 24, "ggml block_q5_1");
_Static_assert(sizeof(ie_block_q8_0) == 34, "ggml block_q8_0");

/* Values are ggml's type numbers, as they stand in GGUF files. */
typedef enum ie_type
{
	IE_TYPE_F32 = 0,
	IE_TYPE_F16 = 1,
	IE_TYPE_Q4_0 = 2,
	IE_TYPE_Q4_1 = 3,
	IE_TYPE_Q5_0 = 6,
	IE_TYPE_Q5_1 = 7,
	IE_TYPE_Q8_0 = 8,
	IE_TYPE_I8 = 24,			/* I8 and I32: tables and panels of a packed file, never rows of */
	IE_TYPE_I32 = 26,			/* weights */
	IE_TYPE_BF16 = 30,
	IE_TYPE_PANELS_S8 = 0x10000	/* no ggml type: see ie_type_panels_s8 */
} ie_type;

typedef struct ie_type_traits
{
	ie_type		type;
	const char *name;			/* "Q4_1" */
	uint32_t	block_len;		/* elements of a block: 1 or IE_QK */
	uint32_t	block_bytes;
	bool		quantized;

	/* x[0 .. n) from n / block_len blocks at src (any alignment); n % block_len == 0 */
	void		(*dequantize) (const void *src, size_t n, float *x);

	/* Every scale (and min) of n elements is finite: what ie_model_verify() asks. */
	bool		(*is_finite) (const void *src, size_t n);
} ie_type_traits;

/*
 * Q8_0 as S8 panels of kernels.h: block_bytes counts a row's share of a panel's
 * block.  Rows cannot be read by themselves: dequantize gives NaN.
 */
extern const ie_type_traits ie_type_panels_s8;

/* NULL if the engine does not read this ggml type. */
const ie_type_traits *ie_type_find(uint32_t ggml_type);

/* Name of any ggml type, also of unsupported ones ("Q4_K"); "?" if unknown. */
const char *ie_type_name(uint32_t ggml_type);

/* "F32, F16, BF16, Q4_0, ...": types of weights, the list that error details show. */
const char *ie_type_list(void);

/* I8 and I32 */
bool		ie_type_is_table(const ie_type_traits *type);

/*
 * Q8_0 blocks from fp32: d = max|x| / 127 rounded to f16, q = round to nearest
 * even of x / d.  n % IE_QK == 0.
 */
void		ie_quantize_q8_0(const float *x, size_t n, void *blocks);

/* IEEE 754 binary16, round to nearest even; no hardware needed. */
float		ie_f16_to_f32(uint16_t h);
uint16_t	ie_f32_to_f16(float f);

#endif							/* IE_QUANT_H */
