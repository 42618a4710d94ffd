/*
 * test_bpe.c
 *	  Merging of words, short and long, against the definition: again and again
 *	  the leftmost pair of lowest rank.
 */
#include "model/bpe.h"
#include "test.h"

#define MAX_MERGES 4000

typedef struct random_merges
{
	ie_merge	merges[MAX_MERGES];
	uint32_t	slots[IE_MERGE_SLOTS(MAX_MERGES)];
	uint32_t	n;
	uint32_t	n_ids;
	ie_merge_table table;
} random_merges;

/* Below n, small numbers most often */
static uint32_t
pick(uint32_t n, uint64_t *seed)
{
	const uint64_t limit = 1 + test_random(seed) % n;

	return (uint32_t) (test_random(seed) % limit);
}

/*
 * n merges over an alphabet, whose results are new tokens or, now and then,
 * those of an earlier merge.
 */
static void
make_merges(random_merges *m, uint32_t alphabet, uint32_t n, uint64_t *seed)
{
	memset(m->slots, 0xff, sizeof(m->slots));
	m->table = (ie_merge_table) {m->merges, m->slots, IE_MERGE_SLOTS(n)};
	m->n_ids = alphabet;
	for (m->n = 0; m->n < n;)
	{
		ie_merge   *merge = &m->merges[m->n];

		merge->left = pick(m->n_ids, seed);
		merge->right = pick(m->n_ids, seed);
		merge->id = m->n_ids > alphabet && test_random(seed) % 8 == 0 ?
			alphabet + (uint32_t) (test_random(seed) % (m->n_ids - alphabet)) : m->n_ids;
		if (!ie_merge_add(&m->table, m->n))
			continue;			/* the pair is there already */
		m->n_ids += merge->id == m->n_ids;
		m->n++;
	}
}

static uint32_t
naive_rank(const random_merges *m, int32_t left, int32_t right)
{
	for (uint32_t rank = 0; rank < m->n; rank++)
	{
		if ((int32_t) m->merges[rank].left == left && (int32_t) m->merges[rank].right == right)
			return rank;
	}
	return UINT32_MAX;
}

static size_t
naive_merge(const random_merges *m, int32_t *ids, size_t n)
{
	for (;;)
	{
		uint32_t	best = UINT32_MAX;
		size_t		at = 0;

		for (size_t i = 0; i + 1 < n; i++)
		{
			const uint32_t rank = naive_rank(m, ids[i], ids[i + 1]);

			if (rank < best)
			{
				best = rank;
				at = i;
			}
		}
		if (best == UINT32_MAX)
			return n;
		ids[at] = (int32_t) m->merges[best].id;
		n--;
		for (size_t i = at + 1; i < n; i++)
			ids[i] = ids[i + 1];
	}
}

static void
test_against_definition(void)
{
	static random_merges m;
	test_host_state state;
	const ie_host host = test_host(&state);
	uint64_t	seed = test_seed("bpe");
	long		wrong = 0;
	size_t		n_merged = 0;

	for (int round = 0; round < 300; round++)
	{
		const uint32_t alphabet = 1 + (uint32_t) (test_random(&seed) % 6);
		ie_bpe		bpe = {.host = &host, .merges = &m.table};

		make_merges(&m, alphabet, 1 + (uint32_t) (test_random(&seed) % 40), &seed);
		for (int word = 0; word < 30; word++)
		{
			int32_t		ids[250];
			int32_t		expected[250];
			size_t		n = (size_t) (test_random(&seed) % IE_LENGTH(ids));
			const size_t n_before = n;
			ie_error	err;

			for (size_t i = 0; i < n; i++)
				ids[i] = expected[i] = (int32_t) (test_random(&seed) % alphabet);
			const size_t n_expected = naive_merge(&m, expected, n);

			CHECK_INT(ie_bpe_merge(&bpe, ids, &n, &err), IE_OK);
			wrong += n != n_expected || memcmp(ids, expected, n * sizeof(ids[0])) != 0;
			n_merged += n_before - n;
		}
		ie_bpe_deinit(&bpe);
	}
	CHECK_INT(wrong, 0);
	CHECK(n_merged > 100000);
	CHECK(state.n_allocs < 300 * 10);	/* scratch is kept from word to word */
	CHECK_INT(state.n_live, 0);
}

/* A pair can be entered once only, and is found among thousands. */
static void
test_table(void)
{
	static random_merges m;
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_bpe		bpe = {.host = &host, .merges = &m.table};
	uint64_t	seed = test_seed("bpe table");

	make_merges(&m, 200, MAX_MERGES, &seed);
	CHECK_INT(m.n, MAX_MERGES);
	for (uint32_t rank = 0; rank < m.n; rank++)
	{
		int32_t		ids[2] = {(int32_t) m.merges[rank].left, (int32_t) m.merges[rank].right};
		size_t		n = 2;
		ie_error	err;

		CHECK(!ie_merge_add(&m.table, rank));
		CHECK_INT(ie_bpe_merge(&bpe, ids, &n, &err), IE_OK);
		CHECK_INT(n, 1);
		CHECK_INT(ids[0], m.merges[rank].id);
	}
}

/* Pairs with one left half are told apart, those that cannot be merged as well. */
static void
test_crowded_table(void)
{
	static random_merges m;
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_bpe		bpe = {.host = &host, .merges = &m.table};

	memset(m.slots, 0xff, sizeof(m.slots));
	m.table = (ie_merge_table) {m.merges, m.slots, IE_MERGE_SLOTS(MAX_MERGES)};
	for (uint32_t rank = 0; rank < MAX_MERGES; rank++)
	{
		m.merges[rank] = (ie_merge) {7, 2 * rank, 1000000 + rank};
		CHECK(ie_merge_add(&m.table, rank));
	}
	for (uint32_t right = 0; right < 2 * MAX_MERGES; right++)
	{
		int32_t		ids[2] = {7, (int32_t) right};
		size_t		n = 2;
		ie_error	err;

		CHECK_INT(ie_bpe_merge(&bpe, ids, &n, &err), IE_OK);
		CHECK_INT(n, right % 2 == 0 ? 1 : 2);
		CHECK_INT(ids[0], right % 2 == 0 ? 1000000 + right / 2 : 7);
	}
}

/* Nothing to merge, nothing to take from the host. */
static void
test_small(void)
{
	ie_merge	merge = {0, 0, 1};
	uint32_t	slots[IE_MERGE_SLOTS(1)] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
	ie_merge_table table = {&merge, slots, IE_LENGTH(slots)};
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_bpe		bpe = {.host = &host, .merges = &table};
	int32_t		ids[3] = {0, 0, 0};
	size_t		n = 0;
	ie_error	err;

	CHECK(ie_merge_add(&table, 0));
	CHECK_INT(ie_bpe_merge(&bpe, ids, &n, &err), IE_OK);
	CHECK_INT(n, 0);
	n = 1;
	CHECK_INT(ie_bpe_merge(&bpe, ids, &n, &err), IE_OK);
	CHECK_INT(n, 1);
	CHECK_INT(ids[0], 0);
	n = 3;
	CHECK_INT(ie_bpe_merge(&bpe, ids, &n, &err), IE_OK);
	CHECK_INT(n, 2);
	CHECK_INT(ids[0], 1);
	CHECK_INT(ids[1], 0);
	ie_bpe_deinit(&bpe);
	CHECK_INT(state.n_allocs, 0);
}

/* A long word polls, can be canceled at each poll, and reports a lack of memory. */
static void
test_long(void)
{
	static random_merges m;
	static int32_t ids[200000];
	static int32_t first[200000];
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_bpe		bpe = {.host = &host, .merges = &m.table};
	uint64_t	seed = test_seed("bpe long");
	size_t		n = IE_LENGTH(ids);
	ie_error	err;
	long		n_polls;

	make_merges(&m, 4, 500, &seed);
	for (size_t i = 0; i < n; i++)
		first[i] = (int32_t) (test_random(&seed) % 4);

	memcpy(ids, first, sizeof(ids));
	CHECK_INT(ie_bpe_merge(&bpe, ids, &n, &err), IE_OK);
	CHECK(n < IE_LENGTH(ids) / 2);
	n_polls = state.n_polls;
	CHECK(n_polls > 60);

	for (long at = 1; at <= n_polls; at++)
	{
		memcpy(ids, first, sizeof(ids));
		n = IE_LENGTH(ids);
		state.n_polls = 0;
		state.stop_after = at;
		CHECK_INT(ie_bpe_merge(&bpe, ids, &n, &err), IE_CANCELED);
		CHECK_INT(state.n_polls, at);
	}
	state.stop_after = 0;
	ie_bpe_deinit(&bpe);
	CHECK_INT(state.n_live, 0);

	state.fail_at = state.n_allocs + 1;
	n = IE_LENGTH(ids);
	CHECK_INT(ie_bpe_merge(&bpe, ids, &n, &err), IE_NOMEM);
	ie_bpe_deinit(&bpe);
	CHECK_INT(state.n_live, 0);
}

int
main(void)
{
	test_small();
	test_table();
	test_crowded_table();
	test_against_definition();
	test_long();
	return test_end("bpe");
}
