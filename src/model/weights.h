/*
 * weights.h
 *	  Named views of a model's tensors.
 *
 * All pointers but the array of layers are borrowed from the file's mapping.
 * Type and shape of every tensor are checked here, once: later code relies on
 * them.
 */
#ifndef IE_WEIGHTS_H
#define IE_WEIGHTS_H

#include "math/gemm.h"
#include "model/config.h"

#define IE_LOOKAHEAD_TENSOR "instemb.lookahead"
#define IE_OUTPUT_TENSOR "output.weight"

typedef struct ie_layer
{
	const float *attn_norm;		/* [C] */
	ie_matrix	wq;				/* [H D, C] */
	ie_matrix	wk;				/* [G D, C] */
	ie_matrix	wv;				/* [G D, C] */
	ie_matrix	wo;				/* [C, H D] */
	const float *ffn_norm;		/* [C] */
	ie_matrix	w_gate;			/* [F, C] */
	ie_matrix	w_up;			/* [F, C] */
	ie_matrix	w_down;			/* [C, F] */
} ie_layer;

typedef struct ie_weights
{
	ie_matrix	token_embd;		/* [V, C] */
	const float *output_norm;	/* [C] */
	ie_matrix	output;			/* [V, C] vocabulary head; token_embd if the file has none */
	const float *lookahead;		/* [K, C], NULL if the file has none */
	uint32_t	lookahead_count;	/* K */
	uint64_t	n_packed;		/* numbers in matrices that are panels */
	ie_layer   *layers;			/* [L], from the host */
} ie_weights;

/*
 * The specification of a tensor by its full name, NULL if the architecture has
 * none of that name in its first n_layer layers.
 */
const ie_tensor_spec *ie_weights_find_spec(const ie_arch *arch, uint32_t n_layer, ie_text name);

/* Are such matrices factors of products, and so panels in a packed file? */
static inline bool
ie_spec_is_product(const ie_tensor_spec *spec)
{
	return spec->n_out != IE_DIM_ONE && spec->n_out != IE_DIM_VOCAB;
}

/*
 * Bind the tensors of config->arch.  A tensor that is not bound is refused: it
 * would mean a model that computes something else.  In a packed file the
 * matrices of products may be panels, and tensors of I8 and I32 be there.
 *
 * Errors: IE_FORMAT (missing tensor, shape, alignment), IE_UNSUPPORTED (a
 * norm that is not F32, a tensor the architecture does not know), IE_NOMEM.
 * On failure *weights needs no free.
 */
ie_code		ie_weights_bind(const ie_host *host, const gguf_file *file, const ie_config *config,
							ie_weights *weights, ie_error *err);
void		ie_weights_free(const ie_host *host, ie_weights *weights);	/* idempotent */

#endif							/* IE_WEIGHTS_H */
