/*
 * budget.c
 *	  Counted memory: see budget.h.
 */
#include "train/budget.h"
#include "base/arena.h"
#include "base/bytes.h"

/* Lies right before what is given out */
typedef struct piece
{
	void	   *block;			/* the outer host's */
	size_t		size;			/* of the block */
} piece;

#define OVERHEAD (sizeof(piece) + IE_ARENA_ALIGN)

static void *
budget_alloc(void *arg, size_t size)
{
	ie_budget  *budget = arg;
	size_t		total;
	char	   *block;
	char	   *memory;

	if (!ie_size_add(size, OVERHEAD, &total) || total > budget->limit - budget->used)
		return NULL;
	block = budget->outer->alloc(budget->outer->arg, total);
	if (block == NULL)
		return NULL;
	memory = (char *) ie_round_up((uintptr_t) block + sizeof(piece), IE_ARENA_ALIGN);
	((piece *) memory)[-1] = (piece) {block, total};
	budget->used += total;
	if (budget->used > budget->peak)
		budget->peak = budget->used;
	return memory;
}

static void
budget_free(void *arg, void *ptr)
{
	ie_budget  *budget = arg;
	const piece p = ((piece *) ptr)[-1];

	budget->used -= p.size;
	budget->outer->free(budget->outer->arg, p.block);
}

static bool
budget_should_stop(void *arg)
{
	return ie_should_stop(((ie_budget *) arg)->outer);
}

void
ie_budget_init(ie_budget *budget, const ie_host *outer, size_t limit)
{
	*budget = (ie_budget)
	{
		.host = {budget, budget_alloc, budget_free, budget_should_stop},
		.outer = outer,
		.limit = limit
	};
}

size_t
ie_budget_left(const ie_budget *budget)
{
	const size_t left = budget->limit - budget->used;

	return left > OVERHEAD ? left - OVERHEAD : 0;
}

ie_code
ie_budget_take(ie_budget *budget, const char *what, size_t size, void **memory, ie_error *err)
{
	if (size > ie_budget_left(budget))
	{
		budget->exhausted = true;
		ie_fail(err, IE_LIMIT, "training needs more memory than its limit of %zu bytes allows",
				budget->limit);
		ie_detail(err, "%zu bytes are in use, %zu more are needed for %s.", budget->used, size,
				  what);
		return ie_hint(err, "Raise the limit, or use fewer or shorter rows, fewer look-ahead "
					   "vectors, a lower rank or fewer threads.");
	}
	*memory = ie_alloc(&budget->host, size);
	return *memory != NULL ? IE_OK : ie_nomem(err, size);
}
