/*
 * generate.h
 *	  What the model goes on with behind a prompt: greedy decoding.
 *
 * The prompt is [BOS] prefix body suffix, without look-ahead vectors.  Of
 * several tokens with the highest logit the one with the lowest id is taken; a
 * token that ends an answer (ie_vocab_is_end) ends the generation and is not
 * fed back.  Every token is computed in a pass of its own, over the keys and
 * values kept of all positions before it: same bits on every kernel level.
 *
 * Embedding by generation is InBedder's (Peng et al., ACL 2024, section 3).  With
 * s_0 the state at the last token of the prompt, from which the first token
 * comes, and s_i the state at the i-th generated token:
 *	  generate		s_1; s_0 if the first token is an end.  Later tokens cannot
 *					change it, so they are not computed.
 *	  generate_mean	mean of s_0 .. s_(n - 1), the states that n <= generate_count
 *					tokens come from; s_0 if the first token is an end.
 * The authors' code calls the latter avg_gen.  What it calls the state of the
 * first generated token (fst_gen) is s_0: pooling "last".
 */
#ifndef IE_GENERATE_H
#define IE_GENERATE_H

#include "model/prompt.h"

/* Positions behind the prompt that a pooling which generates needs */
size_t		ie_generate_positions(const ie_definition *definition);

/*
 * vector: [C], unit L2 norm, of text number i of the call.  Errors: as
 * ie_prompt_encode() and ie_pool(); IE_NUMERIC (no logit is a number).
 */
ie_code		ie_generate_vector(ie_prompt *prompt, ie_text text, size_t i, float *vector);

#endif							/* IE_GENERATE_H */
