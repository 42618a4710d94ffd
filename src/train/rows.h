/*
 * rows.h
 *	  The rows to train on: (instruction, input, output) as tokens.
 *
 * Equal texts are kept once, in a pool of token sequences; a row is a few numbers
 * of pool entries.
 */
#ifndef IE_ROWS_H
#define IE_ROWS_H

#include "model/model.h"
#include "train/budget.h"

/* Token sequences without duplicates; entry i is ids[start[i] .. start[i + 1]) */
typedef struct ie_token_pool
{
	int32_t    *ids;
	size_t		n_ids;
	size_t		ids_capacity;
	uint32_t   *start;
	uint32_t	n;				/* entries */
	uint32_t	start_capacity;
	uint32_t   *slots;			/* hash table: entry + 1, 0 = free */
	uint32_t	n_slots;		/* a power of two, at least 2 n */
} ie_token_pool;

typedef struct ie_train_row
{
	uint32_t	instruction;	/* alone: equal for equal instructions */
	uint32_t	prefix;			/* [BOS] prefix(instruction) */
	uint32_t	text;			/* body(input) */
	uint32_t	suffix;			/* suffix, which may have the instruction in it */
	uint32_t	gold;			/* output, for the teacher */
	uint32_t	answer;			/* body(output), for the embedding of the answer alone */
	uint32_t	key;			/* equal for outputs that are the same answer */
} ie_train_row;

typedef struct ie_rows_limits
{
	uint32_t	max_row_tokens;
	uint32_t	max_answer_tokens;
	uint32_t	lookahead_count;
	bool		truncate;
} ie_rows_limits;

typedef struct ie_rows_store
{
	const ie_model *model;
	ie_budget  *budget;
	ie_rows_limits limits;
	ie_token_pool pool;
	uint32_t	empty_prefix;	/* pool entries: [BOS] prefix_empty, suffix_empty */
	uint32_t	empty_suffix;
	int32_t		end;			/* token that ends an answer, -1 = the model has none */
	ie_train_row *rows;
	uint32_t	n;
	uint32_t	capacity;
	ie_tokens	scratch;		/* the model's host's */
} ie_rows_store;

/* Errors: IE_LIMIT, IE_NOMEM, IE_CANCELED. */
ie_code		ie_rows_init(ie_rows_store *store, const ie_model *model, ie_budget *budget,
						 const ie_rows_limits *limits, ie_error *err);
void		ie_rows_deinit(ie_rows_store *store);

/* Errors: those of ie_trainer_add(); the store is as before. */
ie_code		ie_rows_add(ie_rows_store *store, const ie_triple *triple, ie_error *err);

/* Tokens of a pool entry */
static inline size_t
ie_pool_len(const ie_token_pool *pool, uint32_t entry)
{
	return pool->start[entry + 1] - pool->start[entry];
}

static inline const int32_t *
ie_pool_ids(const ie_token_pool *pool, uint32_t entry)
{
	return pool->ids + pool->start[entry];
}

#endif							/* IE_ROWS_H */
