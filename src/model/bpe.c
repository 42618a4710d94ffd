/*
 * bpe.c
 *	  Byte-pair encoding of a word.
 *
 * A short word, which is nearly every one, is an array that is searched for the
 * lowest rank after each merge.  A long word is a list of symbols and a binary
 * heap of (rank, position), lowest first.  Heap entries are never taken out when
 * a neighbour changes; one that comes up is valid if the pair at its position
 * still has its rank, since a rank belongs to one pair only and a symbol that
 * has grown never shrinks again.
 */
#include "model/bpe.h"
#include "base/bytes.h"

#define MAX_SHORT 112			/* symbols; about where the heap begins to be faster */
#define POLL_STEPS 4096			/* about 0.5 ms */
#define NONE UINT32_MAX

/* Part of a long word; one that was absorbed has no rank. */
typedef struct ie_symbol
{
	int32_t		id;
	uint32_t	prev;			/* positions, or NONE */
	uint32_t	next;
	uint32_t	rank;			/* of the pair with next, or NONE */
} ie_symbol;

/* ---------------------------------------------------------------- table */

/* Packed files hold such hashes: see IE_PACKED_VERSION. */
static inline uint64_t
hash_pair(uint32_t left, uint32_t right)
{
	const uint64_t h = ((uint64_t) left << 32 | right) * 0x9e3779b97f4a7c15u;

	return (h ^ h >> 32) * 0xd6e8feb86659fd93u;
}

/* The slot of the pair, or else the empty one where it belongs. */
static inline uint32_t *
find_slot(const ie_merge_table *table, uint32_t left, uint32_t right, uint64_t hash)
{
	const uint32_t tag = (uint32_t) hash & 0xff;
	uint32_t	i = (uint32_t) ((hash >> 32) * table->n_slots >> 32);

	for (; table->slots[i] != NONE; i = i + 1 < table->n_slots ? i + 1 : 0)
	{
		const ie_merge *merge = &table->merges[table->slots[i] & IE_MAX_MERGES];

		if (table->slots[i] >> 24 == tag && merge->left == left && merge->right == right)
			break;
	}
	return &table->slots[i];
}

/* Rank of the pair, NONE if it cannot be merged. */
static inline uint32_t
find_rank(const ie_merge_table *table, int32_t left, int32_t right)
{
	const uint32_t slot = *find_slot(table, (uint32_t) left, (uint32_t) right,
									 hash_pair((uint32_t) left, (uint32_t) right));

	return slot == NONE ? NONE : slot & IE_MAX_MERGES;
}

bool
ie_merge_add(ie_merge_table *table, uint32_t rank)
{
	const ie_merge *merge = &table->merges[rank];
	const uint64_t hash = hash_pair(merge->left, merge->right);
	uint32_t   *slot = find_slot(table, merge->left, merge->right, hash);

	if (*slot != NONE)
		return false;
	*slot = (uint32_t) hash << 24 | rank;
	return true;
}

/* ----------------------------------------------------------- short words */

static size_t
merge_short(const ie_merge_table *table, int32_t *ids, size_t n)
{
	uint32_t	ranks[MAX_SHORT];	/* of the pairs ids[i], ids[i + 1] */

	for (size_t i = 0; i + 1 < n; i++)
		ranks[i] = find_rank(table, ids[i], ids[i + 1]);
	for (;;)
	{
		uint32_t	rank = NONE;
		size_t		at = 0;

		for (size_t i = 0; i + 1 < n; i++)
		{
			if (ranks[i] < rank)
			{
				rank = ranks[i];
				at = i;
			}
		}
		if (rank == NONE)
			return n;
		ids[at] = (int32_t) table->merges[rank].id;
		n--;
		memmove(&ids[at + 1], &ids[at + 2], (n - at - 1) * sizeof(ids[0]));
		memmove(&ranks[at], &ranks[at + 1], (n - at - 1) * sizeof(ranks[0]));
		if (at + 1 < n)
			ranks[at] = find_rank(table, ids[at], ids[at + 1]);
		if (at > 0)
			ranks[at - 1] = find_rank(table, ids[at - 1], ids[at]);
	}
}

/* ------------------------------------------------------------ long words */

/* Heap of rank << 32 | position, the lowest at queue[0] */
static void
queue_push(uint64_t *queue, size_t *n, uint64_t key)
{
	size_t		i = (*n)++;

	while (i > 0 && queue[(i - 1) / 2] > key)
	{
		queue[i] = queue[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	queue[i] = key;
}

static uint64_t
queue_pop(uint64_t *queue, size_t *n)
{
	const uint64_t top = queue[0];
	const uint64_t key = queue[--*n];
	size_t		i = 0;

	for (;;)
	{
		size_t		child = 2 * i + 1;

		if (child >= *n)
			break;
		if (child + 1 < *n && queue[child + 1] < queue[child])
			child++;
		if (queue[child] >= key)
			break;
		queue[i] = queue[child];
		i = child;
	}
	queue[i] = key;
	return top;
}

/* Look the pair at pos up and queue it. */
static void
queue_pair(ie_bpe *bpe, size_t *n_queue, uint32_t pos)
{
	ie_symbol  *symbol = &bpe->symbols[pos];

	symbol->rank = NONE;
	if (symbol->next != NONE)
		symbol->rank = find_rank(bpe->merges, symbol->id, bpe->symbols[symbol->next].id);
	if (symbol->rank != NONE)
		queue_push(bpe->queue, n_queue, (uint64_t) symbol->rank << 32 | pos);
}

/*
 * Room for n symbols, and for the queue: n - 1 pairs at first, and each of at
 * most n - 1 merges takes one entry and adds two.
 */
static ie_code
reserve(ie_bpe *bpe, size_t n, ie_error *err)
{
	const size_t unit = sizeof(ie_symbol) + 2 * sizeof(uint64_t);
	size_t		bytes;

	if (n <= bpe->capacity)
		return IE_OK;
	if (n >= NONE || !ie_size_mul(n, unit, &bytes))
	{
		ie_fail(err, IE_LIMIT, "word is too long");
		return ie_detail(err, "It has %zu bytes.", n);
	}
	ie_bpe_deinit(bpe);
	bpe->queue = ie_alloc(bpe->host, bytes);
	if (bpe->queue == NULL)
		return ie_nomem(err, bytes);
	bpe->symbols = (ie_symbol *) (bpe->queue + 2 * n);
	bpe->capacity = n;
	return IE_OK;
}

static ie_code
merge_long(ie_bpe *bpe, int32_t *ids, size_t *n, ie_error *err)
{
	ie_symbol  *symbols;
	size_t		n_queue = 0;
	size_t		n_left = 0;

	IE_TRY(reserve(bpe, *n, err));
	symbols = bpe->symbols;
	for (uint32_t i = (uint32_t) *n; i-- > 0;)	/* backwards: a pair needs its right half */
	{
		if (i % POLL_STEPS == 0)
			IE_TRY(ie_poll(bpe->host, err));
		symbols[i] = (ie_symbol) {ids[i], i > 0 ? i - 1 : NONE, i + 1 < *n ? i + 1 : NONE, NONE};
		queue_pair(bpe, &n_queue, i);
	}
	for (size_t step = 1; n_queue > 0; step++)
	{
		const uint64_t key = queue_pop(bpe->queue, &n_queue);
		const uint32_t pos = (uint32_t) key;
		ie_symbol  *symbol = &symbols[pos];

		if (step % POLL_STEPS == 0)
			IE_TRY(ie_poll(bpe->host, err));
		if (symbol->rank != key >> 32)
			continue;
		symbols[symbol->next].rank = NONE;
		symbol->id = (int32_t) bpe->merges->merges[symbol->rank].id;
		symbol->next = symbols[symbol->next].next;
		if (symbol->next != NONE)
			symbols[symbol->next].prev = pos;
		queue_pair(bpe, &n_queue, pos);
		if (symbol->prev != NONE)
			queue_pair(bpe, &n_queue, symbol->prev);
	}
	for (uint32_t i = 0; i != NONE; i = symbols[i].next)
	{
		ids[n_left++] = symbols[i].id;
		if (n_left % POLL_STEPS == 0)
			IE_TRY(ie_poll(bpe->host, err));
	}
	*n = n_left;
	return IE_OK;
}

ie_code
ie_bpe_merge(ie_bpe *bpe, int32_t *ids, size_t *n, ie_error *err)
{
	if (*n > MAX_SHORT)
		return merge_long(bpe, ids, n, err);
	if (*n > 1)
		*n = merge_short(bpe->merges, ids, *n);
	return IE_OK;
}

void
ie_bpe_deinit(ie_bpe *bpe)
{
	ie_release(bpe->host, bpe->queue);
	bpe->queue = NULL;
	bpe->symbols = NULL;
	bpe->capacity = 0;
}
