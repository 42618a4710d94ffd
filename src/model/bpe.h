/*
 * bpe.h
 *	  The merges of a byte-level BPE vocabulary, and their application to a word.
 */
#ifndef IE_BPE_H
#define IE_BPE_H

#include "base/host.h"

/* Tokens left and right, side by side, become token id. */
typedef struct ie_merge
{
	uint32_t	left;
	uint32_t	right;
	uint32_t	id;
} ie_merge;

/*
 * Merges by rank, the lowest goes first, and a hash over their pairs with open
 * addressing.  A slot is rank | 8 bits of the hash << 24, UINT32_MAX if empty,
 * so that most pairs that cannot be merged are known by their slot alone.
 */
#define IE_MAX_MERGES 0xffffff
#define IE_MERGE_SLOTS(n_merges) (2 * (n_merges) + 1)

typedef struct ie_merge_table
{
	ie_merge   *merges;			/* [n], caller's */
	uint32_t   *slots;			/* [n_slots], caller's, all UINT32_MAX at first */
	uint32_t	n_slots;		/* IE_MERGE_SLOTS(n) */
} ie_merge_table;

/* Enter merges[rank] into the hash; false if its pair is there already. */
bool		ie_merge_add(ie_merge_table *table, uint32_t rank);

/* A merging of words: set host and merges, the rest to zero. */
typedef struct ie_bpe
{
	const ie_host *host;
	const ie_merge_table *merges;
	struct ie_symbol *symbols;	/* scratch for long words: [capacity] */
	uint64_t   *queue;			/* [2 * capacity] */
	size_t		capacity;
} ie_bpe;

/*
 * Merge ids: [*n] in place, as long as any two neighbours can be merged: always
 * the pair of lowest rank, of equal ones the leftmost.  Time is O(n log n).
 * Errors, with ids in an undefined state: IE_NOMEM, IE_CANCELED, IE_LIMIT.
 */
ie_code		ie_bpe_merge(ie_bpe *bpe, int32_t *ids, size_t *n, ie_error *err);

/* Free the scratch. */
void		ie_bpe_deinit(ie_bpe *bpe);

#endif							/* IE_BPE_H */
