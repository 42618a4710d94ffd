/*
 * cache.h
 *	  Embeddings that this backend has computed, least recently used out first.
 *
 * It is what makes a call with the same arguments for every row of a query
 * cheap, as in ORDER BY e <~=> instemb('...', '...') or under a generic plan.
 */
#ifndef INSTEMB_CACHE_H
#define INSTEMB_CACHE_H

#include "pg/model_file.h"

/* Everything an embedding depends on. */
typedef struct CacheKey
{
	const FileKey *model;
	ie_text		instruction;
	ie_text		input;
} CacheKey;

/* What was left of a text that did not fit the model's context. */
typedef struct Cut
{
	size_t		tokens;			/* of the whole text; 0 = it was not cut */
	size_t		limit;
} Cut;

/* Copy the embedding of n values into vector; false if it is not there. */
extern bool cache_get(const CacheKey *key, float *vector, int n, Cut *cut);

/* Keep an embedding, if instemb.cache_size has room for it. */
extern void cache_put(const CacheKey *key, const float *vector, int n, Cut cut);

#endif							/* INSTEMB_CACHE_H */
