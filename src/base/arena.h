/*
 * arena.h
 *	  A bump allocator over one block that is sized before the work.
 *
 * The same code that takes memory also measures it: with base == NULL an
 * arena only counts, so "plan" and "place" cannot disagree:
 *
 *		ie_arena	plan = {0};
 *		layout(&plan, ...);					-- every pointer NULL
 *		block = alloc(plan.used);
 *		ie_arena	a = {block, plan.used};
 *		layout(&a, ...);
 *
 * Every piece is aligned to 64 bytes.  Under AddressSanitizer the rounding
 * gap and a redzone of 64 bytes behind each piece are poisoned.
 */
#ifndef IE_ARENA_H
#define IE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IE_ARENA_ALIGN 64

typedef struct ie_arena
{
	uint8_t    *base;			/* NULL = count only; aligned to IE_ARENA_ALIGN */
	size_t		size;			/* bytes at base */
	size_t		used;			/* bytes taken, or needed when counting */
	bool		overflow;		/* a size was too large for size_t, or base full */
} ie_arena;

/*
 * n pieces of unit bytes.  NULL when counting, and when the arena is too small
 * or the size overflows: then overflow is set, which the owner checks once
 * after the layout.
 */
void	   *ie_arena_take(ie_arena *arena, size_t n, size_t unit);

#define IE_TAKE(arena, n, type) ((type *) ie_arena_take((arena), (n), sizeof(type)))

/* Give the block back to the tools (unpoison) before it is freed or laid out anew. */
void		ie_arena_reset(ie_arena *arena);

#endif							/* IE_ARENA_H */
