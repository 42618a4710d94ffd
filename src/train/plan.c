/*
 * plan.c
 *	  Putting a step together: see plan.h.
 */
#include "train/plan.h"

/*
 * Multiply-adds of a lane in a block's forward pass: the time between two polls
 * is some 3 times that, 0.1 s at 100 GFLOP/s
 */
#define LANE_WORK ((size_t) 1800000000)
#define MIN_LANE_ROWS 64
#define MAX_LANE_ROWS 256

/* ---------------------------------------------------------------- the batch */

/* Equal answers get one number; answer_row[j] is the first row that has answer j. */
static void
number_answers(ie_plan *plan)
{
	const ie_train_row *rows = plan->trainer->rows.rows;

	plan->M = 0;
	for (size_t i = 0; i < plan->N; i++)
	{
		const uint32_t key = rows[plan->rows[i]].key;
		size_t		j = 0;

		while (j < plan->M && rows[plan->answer_row[j]].key != key)
			j++;
		if (j == plan->M)
			plan->answer_row[plan->M++] = plan->rows[i];
		plan->target[i] = (uint32_t) j;
		plan->cluster[i] = rows[plan->rows[i]].instruction;
	}
}

/* The first K tokens of each gold answer */
static void
read_gold(ie_plan *plan)
{
	const ie_rows_store *store = &plan->trainer->rows;
	const size_t K = plan->trainer->shape.K;

	for (size_t i = 0; i < plan->N; i++)
	{
		const uint32_t gold = store->rows[plan->rows[i]].gold;

		for (size_t k = 0; k < K; k++)
			plan->gold[i * K + k] = k < ie_pool_len(&store->pool, gold) ?
				ie_pool_ids(&store->pool, gold)[k] : -1;
	}
}

static void
draw(ie_plan *plan)
{
	ie_trainer *t = plan->trainer;

	ie_batches_draw(&t->batches, t->config.seed, t->step, plan->N, plan->rows);
	if (plan->n_embedded > 0)
		number_answers(plan);
	read_gold(plan);
}

/* ------------------------------------------------------------- the sequences */

/* Append a pool entry to ids. */
static void
append(const ie_plan *plan, uint32_t entry, int32_t **to)
{
	const ie_token_pool *pool = &plan->trainer->rows.pool;
	const size_t n = ie_pool_len(pool, entry);

	if (n > 0)
		memcpy(*to, ie_pool_ids(pool, entry), n * sizeof(int32_t));
	*to += n;
}

/* prefix, text, suffix; returns the number of tokens */
static uint32_t
append_input(const ie_plan *plan, uint32_t prefix, uint32_t text, uint32_t suffix, int32_t **to)
{
	int32_t    *const start = *to;

	append(plan, prefix, to);
	append(plan, text, to);
	append(plan, suffix, to);
	return (uint32_t) (*to - start);
}

/* Tokens of a row's input, and of an answer alone */
static size_t
count_input(const ie_plan *plan, const ie_train_row *row)
{
	const ie_token_pool *pool = &plan->trainer->rows.pool;

	return ie_pool_len(pool, row->prefix) + ie_pool_len(pool, row->text) +
		ie_pool_len(pool, row->suffix);
}

static size_t
count_answer(const ie_plan *plan, const ie_train_row *row)
{
	const ie_rows_store *store = &plan->trainer->rows;

	return ie_pool_len(&store->pool, store->empty_prefix) +
		ie_pool_len(&store->pool, row->answer) + ie_pool_len(&store->pool, store->empty_suffix);
}

/* Students with look-ahead vectors */
static size_t
count_embeddings(const ie_plan *plan)
{
	return plan->n_embedded + plan->M + plan->n_views;
}

/* Student number i, with look-ahead vectors */
static ie_train_seq
student(const ie_plan *plan, const int32_t *ids, uint32_t n_tokens, size_t i)
{
	const ie_trainer *t = plan->trainer;
	const size_t at = i * (1 + t->shape.K) * t->shape.C;
	const uint64_t key = ie_random_key(ie_random_key(t->config.seed, IE_RANDOM_DROPOUT), t->step);

	return (ie_train_seq)
	{
		.ids = ids, .n_tokens = n_tokens, .n_ahead = (uint32_t) t->shape.K,
		.need = n_tokens - 1, .n_need = (uint32_t) (1 + t->shape.K),
		.dropout = ie_random_key(key, i),
		.states = plan->states + at, .dstates = plan->dstates + at
	};
}

/*
 * Row i's input with its answer, for the student: the state before each of the
 * answer's tokens, the first of which is target number at.  Nothing comes from
 * the last one, which is left out.
 */
static ie_train_seq
forced(const ie_plan *plan, const int32_t *ids, uint32_t n_input, uint32_t n_gold, size_t i,
	   size_t at)
{
	const ie_train_shape *s = &plan->trainer->shape;
	const size_t n = count_embeddings(plan);
	const size_t state = (n * (1 + s->K) + at) * s->C;
	ie_train_seq seq = student(plan, ids, n_input + n_gold - 1, n + i);

	seq.n_ahead = 0;
	seq.need = n_input - 1;
	seq.n_need = n_gold;
	seq.states = plan->states + state;
	seq.dstates = plan->dstates + state;
	return seq;
}

/* Row i's input with its answer, for the frozen base */
static ie_train_seq
teacher(const ie_plan *plan, const int32_t *ids, uint32_t n_input, uint32_t n_gold, size_t i)
{
	const ie_train_shape *s = &plan->trainer->shape;
	const uint32_t n_ahead = n_gold < s->K ? n_gold : (uint32_t) s->K;

	return (ie_train_seq)
	{
		.ids = ids, .n_tokens = n_input + n_gold, .need = n_input - 1, .n_need = 1 + n_ahead,
		.states = plan->teacher_states + i * (1 + s->K) * s->C
	};
}

static void
describe(ie_plan *plan)
{
	const ie_rows_store *store = &plan->trainer->rows;
	ie_train_seq *seqs = plan->students.seqs;
	int32_t    *to = plan->ids;
	int32_t    *target = plan->forced_gold;

	for (size_t i = 0; i < plan->N; i++)
	{
		const ie_train_row *row = &store->rows[plan->rows[i]];
		const int32_t *ids = to;
		const uint32_t n = append_input(plan, row->prefix, row->text, row->suffix, &to);
		const uint32_t n_gold = (uint32_t) ie_pool_len(&store->pool, row->gold);

		append(plan, row->gold, &to);
		if (plan->n_embedded > 0)
			seqs[i] = student(plan, ids, n, i);
		if (plan->n_views > 0)
			seqs[plan->N + plan->M + i] = student(plan, ids, n, plan->N + plan->M + i);
		if (plan->n_forced > 0)
		{
			seqs[count_embeddings(plan) + i] = forced(plan, ids, n, n_gold, i,
													  (size_t) (target - plan->forced_gold));
			append(plan, row->gold, &target);
		}
		if (plan->has_teacher)
			plan->teachers.seqs[i] = teacher(plan, ids, n, n_gold, i);
	}
	for (size_t j = 0; j < plan->M; j++)
	{
		const int32_t *ids = to;
		const uint32_t answer = store->rows[plan->answer_row[j]].answer;
		const uint32_t n = append_input(plan, store->empty_prefix, answer, store->empty_suffix,
										&to);

		seqs[plan->N + j] = student(plan, ids, n, plan->N + j);
	}
}

/* The longest first: Shell's sort */
static void
sort_by_length(ie_seq_list *list)
{
	for (size_t gap = list->n / 2; gap > 0; gap /= 2)
		for (size_t i = gap; i < list->n; i++)
		{
			const ie_train_seq seq = list->seqs[i];
			size_t		j = i;

			for (; j >= gap && ie_train_seq_rows(&list->seqs[j - gap]) < ie_train_seq_rows(&seq);
				 j -= gap)
				list->seqs[j] = list->seqs[j - gap];
			list->seqs[j] = seq;
		}
}

/* --------------------------------------------------------------- the memory */

static size_t
tape_bytes(const ie_plan *plan, size_t n_rows, bool whole)
{
	ie_arena	count = {0};

	ie_tape_layout(&plan->trainer->shape, n_rows, whole, &count, plan->trainer->tapes);
	return count.used;
}

static size_t
scratch_bytes(const ie_plan *plan, size_t n_rows)
{
	const ie_trainer *t = plan->trainer;
	ie_arena	count = {0};
	ie_scratch	unused;

	ie_scratch_layout(&t->shape, n_rows, plan->max_T, t->config.n_threads, &count, &unused);
	return count.used;
}

/* What is there once for the batch */
static void
layout_batch(ie_plan *plan, ie_arena *arena)
{
	ie_trainer *t = plan->trainer;
	const size_t n_embeddings = count_embeddings(plan);
	const size_t S = n_embeddings + plan->n_forced;
	const size_t n_teachers = plan->has_teacher ? plan->N : 0;
	const size_t state = (1 + t->shape.K) * t->shape.C;
	const size_t first_view = (plan->n_embedded + plan->M) * state;
	const size_t first_forced = n_embeddings * state;

	plan->students = (ie_seq_list)
	{
		IE_TAKE(arena, S, ie_train_seq), S, IE_TAKE(arena, S, ie_micro), 0
	};
	plan->teachers = (ie_seq_list)
	{
		IE_TAKE(arena, n_teachers, ie_train_seq), n_teachers,
		IE_TAKE(arena, n_teachers, ie_micro), 0
	};
	plan->n_states = n_embeddings * (1 + t->shape.K) + plan->n_targets;
	plan->states = IE_TAKE(arena, plan->n_states * t->shape.C, real);
	plan->dstates = IE_TAKE(arena, plan->n_states * t->shape.C, real);
	plan->forced_gold = IE_TAKE(arena, plan->n_targets, int32_t);
	plan->teacher_states = IE_TAKE(arena, n_teachers * state, real);
	plan->ids = IE_TAKE(arena, plan->n_ids, int32_t);
	plan->loss = (ie_loss_input)
	{
		.config = &t->config, .shape = &t->shape, .blas = &t->blas, .host = &t->budget.host,
		.rows = {plan->n_embedded, plan->states, plan->dstates},
		.answers = {
			plan->M, plan->states + plan->n_embedded * state,
			plan->dstates + plan->n_embedded * state
		},
		.views = {plan->n_views, plan->states + first_view, plan->dstates + first_view},
		.forced = {plan->n_targets, plan->states + first_forced, plan->dstates + first_forced},
		.teacher = plan->teacher_states,
		.target = plan->target, .cluster = plan->cluster, .gold = plan->gold,
		.forced_gold = plan->forced_gold, .output = &t->model->weights.output
	};
	ie_loss_layout(&plan->loss, arena, &plan->loss_scratch);
}

/* Sort by length and fill micro-batches up to the cap. */
static void
cut_micros(const ie_plan *plan, ie_seq_list *list)
{
	ie_micro   *micro = list->micros;

	sort_by_length(list);
	list->n_micros = 0;
	for (size_t i = 0; i < list->n; i++)
	{
		const size_t n_rows = ie_train_seq_rows(&list->seqs[i]);

		if (list->n_micros == 0 || micro->n_rows + n_rows > plan->cap)
		{
			micro = &list->micros[list->n_micros++];
			*micro = (ie_micro) {.first = i};
		}
		micro->n++;
		micro->n_rows += n_rows;
	}
}

/* As many micro-batches as fit keep their tapes. */
static void
keep_tapes(ie_plan *plan)
{
	size_t		used = 0;

	for (size_t i = 0; i < plan->students.n_micros; i++)
	{
		ie_micro   *micro = &plan->students.micros[i];
		const size_t bytes = tape_bytes(plan, micro->n_rows, true);

		micro->tape = used;
		micro->kept = bytes <= plan->tapes.size - used;
		if (!micro->kept)
			break;
		used += bytes;
	}
}

/* The most rows of a micro-batch: bounded by time between polls and by memory */
static ie_code
choose_cap(ie_plan *plan, size_t batch_bytes, size_t limit, ie_error *err)
{
	const ie_trainer *t = plan->trainer;
	size_t		lane_rows = LANE_WORK / t->shape.block_weights;
	size_t		need;

	if (lane_rows < MIN_LANE_ROWS)
		lane_rows = MIN_LANE_ROWS;
	if (lane_rows > MAX_LANE_ROWS)
		lane_rows = MAX_LANE_ROWS;
	plan->cap = lane_rows * t->config.n_threads;
	if (plan->cap < plan->max_T)
		plan->cap = plan->max_T;
	for (;;)
	{
		need = batch_bytes + scratch_bytes(plan, plan->cap) + tape_bytes(plan, plan->cap, false) +
			tape_bytes(plan, plan->cap, true);
		if (need <= limit)
			return IE_OK;
		if (plan->cap == plan->max_T)
			break;
		plan->cap = plan->cap / 4 * 3 > plan->max_T ? plan->cap / 4 * 3 : plan->max_T;
	}
	ie_fail(err, IE_LIMIT, "training needs more memory than its limit of %zu bytes allows",
			t->budget.limit);
	ie_detail(err, "A step with a row of %zu tokens needs %zu bytes, %zu are left.", plan->max_T,
			  need, limit);
	return ie_hint(err, "Raise the limit, or use smaller batches or shorter rows.");
}

void
ie_plan_release(ie_trainer *trainer)
{
	ie_arena	all = {trainer->work, trainer->work_bytes, 0, false};

	ie_arena_reset(&all);
	ie_release(&trainer->budget.host, trainer->work);
	trainer->work = NULL;
	trainer->work_bytes = 0;
}

/* trainer->work has at least size bytes. */
static ie_code
reserve(ie_trainer *t, size_t size, ie_error *err)
{
	if (size <= t->work_bytes)
		return IE_OK;
	ie_plan_release(t);
	IE_TRY(ie_budget_take(&t->budget, "a step", size, &t->work, err));
	t->work_bytes = size;
	return IE_OK;
}

/* Positions of all students, tokens of all sequences, and the longest of them */
static void
measure(ie_plan *plan)
{
	const ie_rows_store *store = &plan->trainer->rows;
	const size_t K = plan->trainer->shape.K;

	plan->max_T = 0;
	plan->n_rows = 0;
	plan->n_ids = 0;
	plan->n_targets = 0;
	for (size_t i = 0; i < plan->N; i++)
	{
		const ie_train_row *row = &store->rows[plan->rows[i]];
		const size_t n = count_input(plan, row);
		const size_t n_gold = ie_pool_len(&store->pool, row->gold);
		const size_t T = n + (n_gold > K ? n_gold : K);

		plan->n_rows += ((plan->n_embedded > 0) + (plan->n_views > 0)) * (n + K);
		if (plan->n_forced > 0)
		{
			plan->n_rows += n + n_gold - 1;
			plan->n_targets += n_gold;
		}
		plan->n_ids += n + n_gold;
		plan->max_T = T > plan->max_T ? T : plan->max_T;
	}
	for (size_t j = 0; j < plan->M; j++)
	{
		const size_t n = count_answer(plan, &store->rows[plan->answer_row[j]]);

		plan->n_rows += n + K;
		plan->n_ids += n;
		plan->max_T = n + K > plan->max_T ? n + K : plan->max_T;
	}
}

/* Whole tapes of all students take at most so much, however they are cut. */
static size_t
all_tapes(const ie_plan *plan)
{
	const size_t n_micros = 2 * plan->n_rows / plan->cap + 1;	/* two neighbours exceed the cap */

	return tape_bytes(plan, plan->n_rows, true) + n_micros * tape_bytes(plan, 1, true);
}

static ie_arena
part_of(uint8_t **at, size_t size)
{
	const ie_arena arena = {*at, size, 0, false};

	*at += size;
	return arena;
}

static ie_code
place(ie_plan *plan, ie_error *err)
{
	ie_trainer *t = plan->trainer;
	const size_t limit = ie_budget_left(&t->budget) + t->work_bytes;
	ie_arena	count = {0};
	uint8_t    *at;
	size_t		fixed;
	size_t		area;

	layout_batch(plan, &count);
	if (count.overflow)
		count.used = SIZE_MAX / 2;	/* more than any limit; sums with it do not overflow */
	IE_TRY(choose_cap(plan, count.used, limit, err));
	fixed = count.used + scratch_bytes(plan, plan->cap) + tape_bytes(plan, plan->cap, false);
	area = all_tapes(plan) < limit - fixed ? all_tapes(plan) : limit - fixed;
	IE_TRY(reserve(t, fixed + area, err));

	at = t->work;
	count = part_of(&at, count.used);
	plan->scratch = part_of(&at, scratch_bytes(plan, plan->cap));
	plan->shared = part_of(&at, tape_bytes(plan, plan->cap, false));
	plan->tapes = part_of(&at, t->work_bytes - fixed);
	layout_batch(plan, &count);
	describe(plan);
	cut_micros(plan, &plan->students);
	cut_micros(plan, &plan->teachers);
	keep_tapes(plan);
	return IE_OK;
}

ie_code
ie_plan_make(ie_trainer *trainer, ie_plan *plan, ie_error *err)
{
	const ie_train_config *c = &trainer->config;

	plan->trainer = trainer;
	plan->N = trainer->n_batch;
	plan->rows = trainer->batch;
	plan->target = plan->rows + plan->N;
	plan->cluster = plan->target + plan->N;
	plan->answer_row = plan->cluster + plan->N;
	plan->gold = (int32_t *) (plan->answer_row + plan->N);
	plan->n_embedded = ie_loss_embeds(c) ? plan->N : 0;
	plan->n_views = c->weight_view > 0 ? plan->N : 0;
	plan->n_forced = c->weight_generation > 0 ? plan->N : 0;
	plan->has_teacher = c->weight_teacher > 0 || c->weight_mse > 0 || c->weight_kl > 0;
	draw(plan);
	measure(plan);
	return place(plan, err);
}
