/*
 * batch.h
 *	  Which rows make a batch.
 *
 * Negatives teach most where they are near: the same text under another
 * instruction, the same instruction on another text.  So a batch is put together
 * of groups: 40 % of them are rows of one text, 40 % rows of one instruction,
 * two for an answer where there are, with the other rows of some of their texts;
 * the rest are random rows.
 */
#ifndef IE_BATCH_H
#define IE_BATCH_H

#include "train/random.h"
#include "train/rows.h"

/* Rows in an order in which those that belong together are neighbours */
typedef struct ie_row_order
{
	uint32_t   *row;			/* [n] row numbers */
	uint32_t   *place;			/* [n] where a row stands in it */
} ie_row_order;

typedef struct ie_batches
{
	const ie_rows_store *store;
	uint32_t   *memory;			/* of all below; NULL until ie_batches_init() */
	ie_row_order by_text;
	ie_row_order by_instruction;	/* and then by answer */
	uint64_t   *taken;			/* [n / 64 + 1] bit set of rows of the batch */
} ie_batches;

/* Errors: IE_LIMIT, IE_NOMEM. */
ie_code		ie_batches_init(ie_batches *batches, const ie_rows_store *store, ie_budget *budget,
							ie_error *err);

/* rows: [n] different ones, n at most the store's; the same for equal seed, step and n. */
void		ie_batches_draw(ie_batches *batches, uint64_t seed, uint32_t step, size_t n,
							uint32_t *rows);

/*
 * Stable sort by counting: order[0 .. n) = the numbers in from (NULL: 0 .. n - 1)
 * by ascending value[number] < n_values.  count: [n_values + 1] scratch.
 */
void		ie_count_sort(const uint32_t *value, size_t n, size_t n_values, uint32_t *count,
						  const uint32_t *from, uint32_t *order);

#endif							/* IE_BATCH_H */
