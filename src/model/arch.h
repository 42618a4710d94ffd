/*
 * arch.h
 *	  The table of model architectures: what general.architecture may say.
 *
 * An architecture is a row: which metadata keys it understands, which tensors
 * it has, and how it computes one layer.  Adding one is a file like llama.c and
 * a line in arch.c.
 */
#ifndef IE_ARCH_H
#define IE_ARCH_H

#include "model/gguf.h"

/* What a metadata key "<architecture>.<name>" may hold */
typedef enum ie_key_rule
{
	IE_KEY_READ,				/* read and checked by config.c */
	IE_KEY_IGNORED,				/* has no influence on hidden states */
	IE_KEY_ZERO,				/* supported only if 0 */
	IE_KEY_ONE,					/* supported only if 0 or 1.0: a factor */
	IE_KEY_TRUE,				/* supported only if true */
	IE_KEY_NONE					/* supported only if "none" */
} ie_key_rule;

typedef struct ie_key_spec
{
	const char *name;			/* without "<architecture>." */
	ie_key_rule rule;
} ie_key_spec;

/* Sizes that tensors are made of */
typedef enum ie_dim
{
	IE_DIM_ONE,					/* of a vector */
	IE_DIM_EMBD,				/* C */
	IE_DIM_HEADS,				/* H D */
	IE_DIM_HEADS_KV,			/* G D */
	IE_DIM_FF,					/* F */
	IE_DIM_VOCAB				/* V */
} ie_dim;

/*
 * A tensor and the field it is bound to.  n_out == IE_DIM_ONE: a vector, which
 * must be F32 and is bound to a const float *; else a matrix [n_out, n_in] of
 * any type, bound to an ie_matrix.
 */
typedef struct ie_tensor_spec
{
	const char *name;			/* of a layer's tensor: without "blk.N." */
	bool		in_layer;		/* field of ie_layer, else of ie_weights */
	size_t		offset;			/* offsetof() the field */
	ie_dim		n_in;			/* ne[0] */
	ie_dim		n_out;			/* ne[1] */
} ie_tensor_spec;

struct ie_pass;
struct ie_tile;

typedef struct ie_arch
{
	const char *name;			/* general.architecture */
	const ie_key_spec *keys;
	size_t		n_keys;
	const ie_tensor_spec *tensors;
	size_t		n_tensors;

	/* Take a tile of rows through layer l: see forward.h. */
	ie_code		(*layer) (struct ie_pass *pass, uint32_t l, struct ie_tile *tile, ie_error *err);
} ie_arch;

extern const ie_arch ie_arch_llama;

/* NULL if there is none of that name. */
const ie_arch *ie_arch_find(ie_text name);

/* "llama, ...": the list that error details show; size of buf is limited by size. */
void		ie_arch_list(char *buf, size_t size);

#endif							/* IE_ARCH_H */
