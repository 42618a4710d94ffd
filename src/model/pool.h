/*
 * pool.h
 *	  From final states to one vector.
 */
#ifndef IE_POOL_H
#define IE_POOL_H

#include "model/definition.h"
#include "model/forward.h"

/* Look-ahead vectors that a sequence needs: K, or 0 where the pooling does not look at them */
size_t		ie_pool_lookahead(const ie_definition *definition);

/*
 * Which rows of a sequence its pooling looks at: sets need_begin and need_end.
 * The sequence begins with the n_body tokens of the text, the suffix follows.
 */
void		ie_pool_select(ie_pooling pooling, size_t n_body, ie_seq *seq);

/*
 * vector: [C], unit L2 norm, from the n selected states: [n, C], which are
 * overwritten.  Errors: IE_NUMERIC (a norm is 0 or not finite).
 */
ie_code		ie_pool(ie_pooling pooling, float *states, size_t n, size_t C, float *vector,
					ie_error *err);

#endif							/* IE_POOL_H */
