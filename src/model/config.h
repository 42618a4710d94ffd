/*
 * config.h
 *	  Hyperparameters of a model, read from a GGUF file and checked once.
 */
#ifndef IE_CONFIG_H
#define IE_CONFIG_H

#include "model/arch.h"

/* Bounds that a file must keep: products of two of them fit in 64 bits with ease */
#define IE_MAX_EMBD (16 * 1024)
#define IE_MAX_FF (256 * 1024)
#define IE_MAX_VOCAB (16 * 1024 * 1024)
#define IE_MAX_LAYER 512
#define IE_MAX_HEAD 1024
#define IE_MAX_HEAD_DIM 1024
#define IE_MIN_CTX 16
#define IE_MAX_CTX (16 * 1024 * 1024)

typedef struct ie_config
{
	const ie_arch *arch;
	uint32_t	n_vocab;		/* V */
	uint32_t	n_embd;			/* C, a multiple of 8 */
	uint32_t	n_layer;		/* L */
	uint32_t	n_head;			/* H */
	uint32_t	n_head_kv;		/* G, divides H */
	uint32_t	head_dim;		/* D, a multiple of 8; H D need not be C */
	uint32_t	n_ff;			/* F, a multiple of 8 */
	uint32_t	n_ctx;			/* positions the model was trained for */
	float		norm_eps;
	float		rope_theta;
} ie_config;

/*
 * Read the hyperparameters; n_vocab is the length of the vocabulary's table.
 *
 * Every key of the architecture's own namespace ("llama.*") must be known, and
 * a key that would change results in a way not implemented must be neutral:
 * a model is computed as its authors meant it, or refused.
 *
 * Errors: IE_FORMAT (missing, wrong type, out of bounds, contradictory),
 * IE_UNSUPPORTED (architecture, or a key's value; the detail lists what is
 * supported).
 */
ie_code		ie_config_load(const gguf_file *file, ie_config *config, ie_error *err);

/* Elements of a dimension named by a tensor's specification */
size_t		ie_config_dim(const ie_config *config, ie_dim dim);

#endif							/* IE_CONFIG_H */
