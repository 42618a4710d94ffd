/*
 * batch.c
 *	  Drawing batches: see batch.h.
 */
#include "train/batch.h"

#define TEXTS 0.4				/* share of groups of one text */
#define INSTRUCTIONS 0.4		/* of one instruction */
#define MAX_GROUP 4				/* rows of one text, answers of one instruction, random rows */
#define PER_ANSWER 2
#define MAX_OTHERS 2			/* rows added for the text of a row */
#define TEXTS_WITH_OTHERS 3

void
ie_count_sort(const uint32_t *value, size_t n, size_t n_values, uint32_t *count,
			  const uint32_t *from, uint32_t *order)
{
	memset(count, 0, (n_values + 1) * sizeof(uint32_t));
	for (size_t i = 0; i < n; i++)
		count[value[i] + 1]++;
	for (size_t v = 0; v < n_values; v++)
		count[v + 1] += count[v];
	for (size_t i = 0; i < n; i++)
	{
		const uint32_t number = from != NULL ? from[i] : (uint32_t) i;

		order[count[value[number]]++] = number;
	}
}

ie_code
ie_batches_init(ie_batches *batches, const ie_rows_store *store, ie_budget *budget,
				ie_error *err)
{
	const size_t n = store->n;
	const size_t n_values = store->pool.n;
	const size_t n_bits = n / 64 + 1;
	const size_t n_elements = 2 * n_bits + 6 * n + n_values + 1;
	void	   *memory;
	uint32_t   *value;
	uint32_t   *by_key;
	uint32_t   *count;

	IE_TRY(ie_budget_take(budget, "rows", n_elements * sizeof(uint32_t), &memory, err));
	batches->store = store;
	batches->memory = memory;
	batches->taken = memory;
	batches->by_text.row = (uint32_t *) memory + 2 * n_bits;
	batches->by_text.place = batches->by_text.row + n;
	batches->by_instruction.row = batches->by_text.place + n;
	batches->by_instruction.place = batches->by_instruction.row + n;
	value = batches->by_instruction.place + n;
	by_key = value + n;
	count = by_key + n;

	for (size_t i = 0; i < n; i++)
		value[i] = store->rows[i].text;
	ie_count_sort(value, n, n_values, count, NULL, batches->by_text.row);
	for (size_t i = 0; i < n; i++)
		value[i] = store->rows[i].key;
	ie_count_sort(value, n, n_values, count, NULL, by_key);
	for (size_t i = 0; i < n; i++)
		value[i] = store->rows[i].instruction;
	ie_count_sort(value, n, n_values, count, by_key, batches->by_instruction.row);
	for (size_t i = 0; i < n; i++)
	{
		batches->by_text.place[batches->by_text.row[i]] = (uint32_t) i;
		batches->by_instruction.place[batches->by_instruction.row[i]] = (uint32_t) i;
	}
	return IE_OK;
}

/* ----------------------------------------------------------------- drawing */

/* A batch in the making */
typedef struct draw
{
	ie_batches *batches;
	ie_random	random;
	uint32_t   *rows;
	size_t		n;				/* so far */
	size_t		n_wanted;
} draw;

/* Neighbours in an order: first .. end - 1 */
typedef struct run
{
	uint32_t	first;
	uint32_t	end;
} run;

typedef bool (*alike_fn) (const ie_train_row *a, const ie_train_row *b);

static bool
same_text(const ie_train_row *a, const ie_train_row *b)
{
	return a->text == b->text;
}

static bool
same_instruction(const ie_train_row *a, const ie_train_row *b)
{
	return a->instruction == b->instruction;
}

static bool
same_answer(const ie_train_row *a, const ie_train_row *b)
{
	return a->instruction == b->instruction && a->key == b->key;
}

/* The neighbours of a row that are like it */
static run
run_of(const draw *d, const ie_row_order *order, uint32_t row, alike_fn alike)
{
	const ie_rows_store *store = d->batches->store;
	const ie_train_row *self = &store->rows[row];
	run			r = {order->place[row], order->place[row] + 1};

	while (r.first > 0 && alike(&store->rows[order->row[r.first - 1]], self))
		r.first--;
	while (r.end < store->n && alike(&store->rows[order->row[r.end]], self))
		r.end++;
	return r;
}

static bool
take(draw *d, uint32_t row)
{
	uint64_t   *word = &d->batches->taken[row / 64];
	const uint64_t bit = (uint64_t) 1 << row % 64;

	if (d->n == d->n_wanted || (*word & bit) != 0)
		return false;
	*word |= bit;
	d->rows[d->n++] = row;
	return true;
}

/*
 * Up to n rows of a run that are not taken yet, from a random place on; skip
 * leaves out those under the instruction of that row.
 */
static void
take_from(draw *d, const ie_row_order *order, run r, size_t n, const ie_train_row *skip)
{
	const uint32_t len = r.end - r.first;
	const uint32_t start = (uint32_t) ie_random_below(&d->random, len);

	for (uint32_t i = 0; i < len && n > 0; i++)
	{
		const uint32_t row = order->row[r.first + (start + i) % len];

		if (skip == NULL || !same_instruction(&d->batches->store->rows[row], skip))
			n -= take(d, row);
	}
}

static uint32_t
any_row(draw *d)
{
	return (uint32_t) ie_random_below(&d->random, d->batches->store->n);
}

/* Several answers to one instruction, and other instructions on some of the texts */
static void
draw_instruction(draw *d)
{
	const ie_batches *b = d->batches;
	const ie_row_order *order = &b->by_instruction;
	const run	group = run_of(d, order, any_row(d), same_instruction);
	const size_t first = d->n;
	size_t		last;

	for (size_t i = 0; i < MAX_GROUP; i++)
	{
		const uint32_t row = order->row[group.first + ie_random_below(&d->random,
																	  group.end - group.first)];

		take_from(d, order, run_of(d, order, row, same_answer), PER_ANSWER, NULL);
	}
	last = d->n < first + TEXTS_WITH_OTHERS ? d->n : first + TEXTS_WITH_OTHERS;
	for (size_t i = first; i < last; i++)
		take_from(d, &b->by_text, run_of(d, &b->by_text, d->rows[i], same_text), MAX_OTHERS,
				  &b->store->rows[d->rows[i]]);
}

static void
draw_group(draw *d)
{
	const double kind = ie_random_unit(&d->random);
	const ie_row_order *by_text = &d->batches->by_text;

	if (kind < TEXTS)
		take_from(d, by_text, run_of(d, by_text, any_row(d), same_text), MAX_GROUP, NULL);
	else if (kind < TEXTS + INSTRUCTIONS)
		draw_instruction(d);
	else
		for (size_t i = 0; i < MAX_GROUP; i++)
			take(d, any_row(d));
}

void
ie_batches_draw(ie_batches *batches, uint64_t seed, uint32_t step, size_t n, uint32_t *rows)
{
	const uint32_t n_rows = batches->store->n;
	draw		d = {
		.batches = batches,
		.random = {ie_random_key(ie_random_key(seed, IE_RANDOM_BATCH), step), 0},
		.rows = rows, .n_wanted = n
	};

	memset(batches->taken, 0, (n_rows / 64 + 1) * sizeof(uint64_t));
	for (size_t tries = 0; d.n < n && tries < 4 * n; tries++)
		draw_group(&d);
	/* few are left: take what there is */
	for (uint32_t i = 0, start = any_row(&d); d.n < n; i++)
		take(&d, (uint32_t) (((uint64_t) start + i) % n_rows));
}
