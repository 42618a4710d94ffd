/*
 * prefix.h
 *	  Keys and values of instructions, kept for the next text.
 *
 * A prefix is the template's part before the text, with the instruction in
 * it.  It is always computed in a pass of its own, so whether it was kept or
 * not cannot change a bit of a result.
 */
#ifndef IE_PREFIX_H
#define IE_PREFIX_H

#include "model/forward.h"

typedef struct ie_prefix
{
	struct ie_prefix *next;		/* in the cache: used less recently */
	bool		cached;
	size_t		bytes;			/* of this allocation */
	ie_arena	arena;
	ie_text		instruction;	/* own copy */
	ie_kv		kv;
} ie_prefix;

/* Most recently used first; the owner sets host and max_bytes */
typedef struct ie_prefix_cache
{
	const ie_host *host;
	size_t		max_bytes;
	size_t		bytes;			/* of all entries */
	ie_prefix  *first;
} ie_prefix_cache;

/* Bytes of a prefix of n >= 1 positions, SIZE_MAX if not representable */
size_t		ie_prefix_bytes(const ie_config *config, ie_text instruction, size_t n);

/* One allocation of bytes = ie_prefix_bytes(); kv is not filled.  Errors: IE_NOMEM. */
ie_code		ie_prefix_create(const ie_host *host, const ie_config *config, ie_text instruction,
							 size_t n, ie_prefix **prefix, ie_error *err);

/* Of a prefix that is not in the cache; NULL is allowed */
void		ie_prefix_free(const ie_host *host, ie_prefix *prefix);

/* The entry of that instruction, now the most recently used; NULL if there is none */
ie_prefix  *ie_prefix_find(ie_prefix_cache *cache, ie_text instruction);

/* Evict old entries until one of that many bytes fits; false if it never will. */
bool		ie_prefix_make_room(ie_prefix_cache *cache, size_t bytes);

/* Give the prefix to the cache. */
void		ie_prefix_keep(ie_prefix_cache *cache, ie_prefix *prefix);

/* Evict the entry used longest ago, but never in_use (may be NULL); false if there is none. */
bool		ie_prefix_evict(ie_prefix_cache *cache, const ie_prefix *in_use);

#endif							/* IE_PREFIX_H */
