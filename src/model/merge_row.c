/*
 * merge_row.c
 *	  W + (alpha / r) B A, row by row: see merge_row.h.
 */
#include "model/merge_row.h"

#define POLL_PRODUCTS ((size_t) 1024 * 1024)	/* multiply-adds between two polls: about 1 ms */
#define COLUMNS 16				/* unit of add_product()'s inner loop */

void
ie_merge_rows_take(ie_merge_rows *rows, ie_arena *arena, const ie_merge_extent *extent)
{
	rows->a = IE_TAKE(arena, extent->a, float);
	rows->b = IE_TAKE(arena, extent->rank, float);
	rows->product = IE_TAKE(arena, extent->n_in, float);
}

static size_t
row_bytes(const gguf_tensor *t)
{
	return (size_t) t->ne[0] / t->type->block_len * t->type->block_bytes;
}

/* Dequantise A row by row: it may be large. */
ie_code
ie_merge_rows_begin(ie_merge_rows *rows, const gguf_tensor *w, const ie_delta *delta, float alpha)
{
	const gguf_tensor *a;

	rows->w = w;
	rows->delta = delta;
	if (delta == NULL)
		return IE_OK;
	a = delta->a;
	rows->scale = alpha / (float) ie_delta_rank(delta);
	for (size_t r = 0; r < a->ne[1]; r++)
	{
		IE_TRY(ie_poll(rows->host, rows->err));
		a->type->dequantize(a->data + r * row_bytes(a), (size_t) a->ne[0], rows->a + r * a->ne[0]);
	}
	return IE_OK;
}

/*
 * product[0 .. n) += w * a[0 .. n).  The inner loop has a constant length, which
 * is what the compiler turns into vector instructions at -O2.
 */
static void
add_product(float *restrict product, float w, const float *restrict a, size_t n)
{
	size_t		i = 0;

	for (; i + COLUMNS <= n; i += COLUMNS)
		for (size_t j = 0; j < COLUMNS; j++)
			product[i + j] += w * a[i + j];
	for (; i < n; i++)
		product[i] += w * a[i];
}

ie_code
ie_merge_row(ie_merge_rows *rows, size_t o, float *x)
{
	const gguf_tensor *w = rows->w;
	const gguf_tensor *b;
	const size_t n_in = (size_t) w->ne[0];

	w->type->dequantize(w->data + o * row_bytes(w), n_in, x);
	if (rows->delta == NULL)
		return IE_OK;
	b = rows->delta->b;
	b->type->dequantize(b->data + o * row_bytes(b), (size_t) b->ne[0], rows->b);
	memset(rows->product, 0, n_in * sizeof(float));
	for (size_t r = 0; r < b->ne[0]; r++)
	{
		add_product(rows->product, rows->b[r], rows->a + r * n_in, n_in);
		rows->n_products += n_in;
		if (rows->n_products > POLL_PRODUCTS)
		{
			rows->n_products = 0;
			IE_TRY(ie_poll(rows->host, rows->err));
		}
	}
	for (size_t i = 0; i < n_in; i++)
		x[i] += rows->scale * rows->product[i];
	return IE_OK;
}
