/*
 * base.c
 *	  Dequantised weights: see base.h.
 */
#include "train/base.h"
#include "base/parallel.h"

#define CHUNK 256				/* elements: a multiple of every block length */

void
ie_base_row(const ie_matrix *w, size_t row, real *y)
{
	const uint8_t *src = w->data + row * w->row_bytes;
	float		x[CHUNK];

	for (size_t i = 0; i < w->n_in; i += CHUNK)
	{
		const size_t n = w->n_in - i < CHUNK ? w->n_in - i : CHUNK;

		w->type->dequantize(src + i / w->type->block_len * w->type->block_bytes, n, x);
		for (size_t j = 0; j < n; j++)
			y[i + j] = (real) x[j];
	}
}

typedef struct fill_task
{
	const ie_matrix *w;
	real	   *y;
} fill_task;

static void
fill_rows(void *arg, size_t begin, size_t end, int thread)
{
	const fill_task *task = arg;

	(void) thread;
	for (size_t i = begin; i < end; i++)
		ie_base_row(task->w, i, task->y + i * task->w->n_in);
}

static void
fill_block(const ie_base *base, size_t l, real *block)
{
	const uint8_t *layer = (const uint8_t *) &base->model->weights.layers[l];

	for (size_t i = 0; i < IE_N_LINEAR; i++)
	{
		const ie_linear *linear = &base->shape->linear[i];
		real	   *y = block + linear->w;

		for (size_t j = 0; j < linear->n_parts; j++)
		{
			fill_task	task = {(const ie_matrix *) (layer + linear->part_field[j]), y};

			ie_parallel_for(base->n_threads, task.w->n_out, fill_rows, &task);
			y += task.w->n_out * task.w->n_in;
		}
	}
}

real *
ie_base_block(ie_base *base, size_t l)
{
	if (base->kept)
		return base->blocks + l * base->shape->block_weights;
	if (base->current != l)
		fill_block(base, l, base->blocks);
	base->current = l;
	return base->blocks;
}

ie_code
ie_base_init(ie_base *base, const ie_model *model, const ie_train_shape *shape,
			 ie_budget *budget, int n_threads, ie_error *err)
{
	const size_t block_bytes = shape->block_weights * sizeof(real);
	const bool	kept = shape->L <= budget->limit / 2 / block_bytes;
	void	   *blocks;

	IE_TRY(ie_budget_take(budget, "the base model's weights",
						  (kept ? shape->L : 1) * block_bytes, &blocks, err));
	*base = (ie_base)
	{
		.model = model, .shape = shape, .n_threads = n_threads, .kept = kept, .blocks = blocks,
		.current = shape->L
	};
	for (size_t l = 0; kept && l < shape->L; l++)
	{
		fill_block(base, l, ie_base_block(base, l));
		IE_TRY(ie_poll(&budget->host, err));
	}
	return IE_OK;
}
