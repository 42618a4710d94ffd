/*
 * heap.h
 *	  malloc() as a host's allocator, for programs that run the engine by themselves.
 */
#ifndef IE_TOOLS_HEAP_H
#define IE_TOOLS_HEAP_H

#include <stdlib.h>

static inline void *
heap_alloc(void *arg, size_t size)
{
	(void) arg;
	return malloc(size);
}

static inline void
heap_free(void *arg, void *p)
{
	(void) arg;
	free(p);
}

#endif							/* IE_TOOLS_HEAP_H */
