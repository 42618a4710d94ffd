/*
 * arena.c
 *	  The bump allocator of a session: see arena.h.
 */
#include "base/arena.h"
#include "base/bytes.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define REDZONE 64
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define REDZONE 0
#define POISON(p, n) ((void) 0)
#define UNPOISON(p, n) ((void) 0)
#endif

void *
ie_arena_take(ie_arena *arena, size_t n, size_t unit)
{
	size_t		bytes;
	size_t		end;
	uint8_t    *piece;

	if (arena->overflow)
		return NULL;
	if (!ie_size_mul(n, unit, &bytes) ||
		!ie_size_add(bytes, IE_ARENA_ALIGN + REDZONE, &end) ||
		!ie_size_add(end, arena->used, &end))
	{
		arena->overflow = true;
		return NULL;
	}
	end = arena->used + ie_round_up(bytes, IE_ARENA_ALIGN) + REDZONE;
	if (arena->base == NULL)
	{
		arena->used = end;
		return NULL;
	}
	if (end > arena->size)
	{
		arena->overflow = true;
		return NULL;
	}
	piece = arena->base + arena->used;
	UNPOISON(piece, bytes);
	POISON(piece + bytes, end - arena->used - bytes);
	arena->used = end;
	return piece;
}

void
ie_arena_reset(ie_arena *arena)
{
	if (arena->base != NULL)
		UNPOISON(arena->base, arena->size);
	arena->used = 0;
	arena->overflow = false;
}
