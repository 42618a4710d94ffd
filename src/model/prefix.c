/*
 * prefix.c
 *	  The cache of instructions: a list in order of use, see prefix.h.  An entry
 *	  takes many kilobytes, so lists are short.
 */
#include "model/prefix.h"
#include "base/bytes.h"

size_t
ie_prefix_bytes(const ie_config *config, ie_text instruction, size_t n)
{
	ie_arena	count = {0};
	ie_kv		kv;
	size_t		bytes;

	ie_kv_layout(config, n, &count, &kv);
	if (count.overflow ||
		!ie_size_add(count.used, sizeof(ie_prefix) + IE_ARENA_ALIGN, &bytes) ||
		!ie_size_add(bytes, instruction.len, &bytes))
		return SIZE_MAX;
	return bytes;
}

/* Layout: the struct, the instruction, then the keys and values at the next aligned address */
ie_code
ie_prefix_create(const ie_host *host, const ie_config *config, ie_text instruction, size_t n,
				 ie_prefix **prefix, ie_error *err)
{
	const size_t bytes = ie_prefix_bytes(config, instruction, n);
	ie_prefix  *p = bytes < SIZE_MAX ? ie_alloc(host, bytes) : NULL;
	char	   *copy;
	uintptr_t	aligned;

	if (p == NULL)
		return ie_nomem(err, bytes);
	copy = (char *) (p + 1);
	if (instruction.len > 0)
		memcpy(copy, instruction.data, instruction.len);
	aligned = ie_round_up((uintptr_t) (copy + instruction.len), IE_ARENA_ALIGN);
	*p = (ie_prefix)
	{
		.bytes = bytes,
		.arena = {.base = (uint8_t *) aligned,
		.size = bytes - (size_t) (aligned - (uintptr_t) p)},
		.instruction = {copy, instruction.len}
	};
	ie_kv_layout(config, n, &p->arena, &p->kv);
	*prefix = p;
	return IE_OK;
}

void
ie_prefix_free(const ie_host *host, ie_prefix *prefix)
{
	if (prefix == NULL)
		return;
	ie_arena_reset(&prefix->arena);
	ie_release(host, prefix);
}

ie_prefix *
ie_prefix_find(ie_prefix_cache *cache, ie_text instruction)
{
	for (ie_prefix **link = &cache->first; *link != NULL; link = &(*link)->next)
	{
		ie_prefix  *p = *link;

		if (p->instruction.len != instruction.len ||
			(instruction.len > 0 &&
			 memcmp(p->instruction.data, instruction.data, instruction.len) != 0))
			continue;
		*link = p->next;
		p->next = cache->first;
		cache->first = p;
		return p;
	}
	return NULL;
}

bool
ie_prefix_make_room(ie_prefix_cache *cache, size_t bytes)
{
	if (bytes > cache->max_bytes)
		return false;
	while (bytes > cache->max_bytes - cache->bytes)
		ie_prefix_evict(cache, NULL);
	return true;
}

void
ie_prefix_keep(ie_prefix_cache *cache, ie_prefix *prefix)
{
	prefix->cached = true;
	prefix->next = cache->first;
	cache->first = prefix;
	cache->bytes += prefix->bytes;
}

bool
ie_prefix_evict(ie_prefix_cache *cache, const ie_prefix *in_use)
{
	ie_prefix **victim = NULL;
	ie_prefix  *p;

	for (ie_prefix **link = &cache->first; *link != NULL; link = &(*link)->next)
		if (*link != in_use)
			victim = link;
	if (victim == NULL)
		return false;
	p = *victim;
	*victim = p->next;
	cache->bytes -= p->bytes;
	ie_prefix_free(cache->host, p);
	return true;
}
