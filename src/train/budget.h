/*
 * budget.h
 *	  A host that counts what it gives out, and keeps a limit.
 *
 * Everything that a trainer keeps comes from here.  Memory is aligned to 64
 * bytes.
 */
#ifndef IE_BUDGET_H
#define IE_BUDGET_H

#include "base/host.h"

typedef struct ie_budget
{
	ie_host		host;			/* to allocate with; refers to this struct, which stays put */
	const ie_host *outer;
	size_t		used;
	size_t		peak;
	size_t		limit;
	bool		exhausted;		/* something was refused for the limit's sake */
} ie_budget;

void		ie_budget_init(ie_budget *budget, const ie_host *outer, size_t limit);

/* Bytes that can still be had in one piece as far as the limit goes */
size_t		ie_budget_left(const ie_budget *budget);

/*
 * *memory = size bytes for what ("rows").  Errors: IE_LIMIT (the limit is named),
 * IE_NOMEM.
 */
ie_code		ie_budget_take(ie_budget *budget, const char *what, size_t size, void **memory,
						   ie_error *err);

#endif							/* IE_BUDGET_H */
