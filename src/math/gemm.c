/*
 * gemm.c
 *	  Matrix products by panels of 16 outputs.
 *
 * A panel is packed into the scratch of the thread that will use it, where it
 * stays in the nearest caches while all rows of the activations pass by.  The
 * weights are thus read once per product, in the file's own form.  A packed
 * file has panels, which are used where they lie.
 */
#include "math/gemm.h"

#include "base/bytes.h"
#include "base/parallel.h"

/*
 * Work below which waking a second thread costs more than it saves, in
 * multiply-adds and in quantised elements.
 */
#define MIN_PARALLEL_MACS ((size_t) 1 << 20)
#define MIN_PARALLEL_QUANTIZE ((size_t) 1 << 16)

size_t
ie_gemm_panel_bytes(size_t n_in)
{
	size_t		floats = n_in * IE_PANEL_ROWS * sizeof(float);
	size_t		blocks = n_in / IE_QK * sizeof(ie_panel_block);

	return ie_round_up(floats > blocks ? floats : blocks, IE_ARENA_ALIGN);
}

static size_t
tile_count(size_t T)
{
	return T / IE_TILE_ROWS + (T % IE_TILE_ROWS != 0);
}

/* n_tiles times n, or more than there can be if that overflows */
static size_t
times(size_t n_tiles, size_t n)
{
	size_t		result;

	return ie_size_mul(n_tiles, n, &result) ? result : SIZE_MAX;
}

ie_qrows
ie_qrows_take(ie_arena *arena, size_t T, size_t n_cols)
{
	const size_t n = tile_count(T);

	return (ie_qrows)
	{
		.n_cols = n_cols,
		.tiles = IE_TAKE(arena, times(n, n_cols / IE_QK), ie_qtile),
		.n_outliers = IE_TAKE(arena, n, uint32_t),
		.outliers = IE_TAKE(arena, times(n, ie_max_outliers(n_cols)), ie_outliers)
	};
}

bool
ie_gemm_is_integer(const ie_gemm *gemm, const ie_matrix *w)
{
	return w->type->quantized && !gemm->f32;
}

/* --------------------------------------------------------------- quantising */

typedef struct quantize_work
{
	const ie_gemm *gemm;
	const ie_rows *rows;
} quantize_work;

/* Tasks are tiles of 8 rows */
static void
quantize_tiles(void *arg, size_t begin, size_t end, int thread)
{
	const quantize_work *work = arg;
	const ie_rows *rows = work->rows;
	size_t		t0 = begin * IE_TILE_ROWS;
	size_t		t1 = end * IE_TILE_ROWS < rows->T ? end * IE_TILE_ROWS : rows->T;
	ie_qrows	out = rows->q;

	(void) thread;
	out.tiles += begin * (out.n_cols / IE_QK);
	out.n_outliers += begin;
	out.outliers += begin * ie_max_outliers(out.n_cols);
	work->gemm->kernels->quantize_rows(rows->x + t0 * rows->ldx, rows->ldx, t1 - t0, &out);
}

void
ie_quantize(const ie_gemm *gemm, const ie_rows *rows)
{
	quantize_work work = {gemm, rows};
	bool		small = rows->T * rows->q.n_cols < MIN_PARALLEL_QUANTIZE;

	ie_parallel_for(small ? 1 : gemm->n_threads, tile_count(rows->T), quantize_tiles, &work);
}

/* ----------------------------------------------------------------- products */

typedef struct matmul_work
{
	const ie_gemm *gemm;
	const ie_rows *x;
	const ie_product *products;
	size_t		n_products;
} matmul_work;

static size_t
panel_count(const ie_matrix *w)
{
	return w->n_out / IE_PANEL_ROWS + (w->n_out % IE_PANEL_ROWS != 0);
}

static size_t
rows_of_panel(const ie_matrix *w, size_t row0)
{
	const size_t left = w->n_out - row0;

	return left < IE_PANEL_ROWS ? left : IE_PANEL_ROWS;
}

/* A place among the panels of several products */
typedef struct panel_at
{
	const ie_product *product;
	size_t		row0;
} panel_at;

/* The panel at a place: packed into scratch, or the file's own */
static const void *
panel_of(const ie_gemm *gemm, const panel_at *at, void *scratch)
{
	const ie_matrix *w = at->product->w;
	const ie_pack_fn pack = gemm->kernels->pack_for(w->type, gemm->f32).pack;

	if (pack == NULL)
		return w->data + at->row0 * w->row_bytes;
	pack(w, at->row0, scratch);
	return scratch;
}

/*
 * The weights of the next panel are fetched meanwhile: products of few rows wait
 * mostly for memory.  (16 rows, all products of a pass of SmolLM2-135M with
 * Q4_1 weights: 8.4 ms instead of 13.)
 */
static void
multiply_panel(const ie_gemm *gemm, const ie_rows *x, const panel_at *at, const panel_at *next,
			   const void *panel)
{
	const ie_kernels *kernels = gemm->kernels;
	const ie_matrix *w = at->product->w;
	ie_panel_args args = {
		.y = at->product->y + at->row0,
		.ldy = at->product->ldy,
		.n_rows = rows_of_panel(w, at->row0),
		.add = at->product->add,
		.next = w->data
	};

	if (next != NULL)
	{
		const ie_matrix *w_next = next->product->w;

		args.next = w_next->data + next->row0 * w_next->row_bytes;
		args.next_bytes = rows_of_panel(w_next, next->row0) * w_next->row_bytes;
	}

	switch (kernels->pack_for(w->type, gemm->f32).kind)
	{
		case IE_PANEL_U8:
			kernels->panel_u8(panel, &x->q, x->T, &args);
			break;
		case IE_PANEL_S8:
			kernels->panel_s8(panel, &x->q, x->T, &args);
			break;
		case IE_PANEL_F32:
			kernels->panel_f32(panel, w->n_in, x->x, x->ldx, x->T, &args);
			break;
	}
}

/* Tasks are the panels of all products, in order */
static void
multiply_panels(void *arg, size_t begin, size_t end, int thread)
{
	const matmul_work *work = arg;
	uint8_t    *scratch = work->gemm->panel + (size_t) thread * work->gemm->panel_bytes;
	panel_at	at = {work->products, begin * IE_PANEL_ROWS};

	/* begin falls into the product whose panels it does not exceed */
	for (; at.row0 >= panel_count(at.product->w) * IE_PANEL_ROWS; at.product++)
		at.row0 -= panel_count(at.product->w) * IE_PANEL_ROWS;
	for (size_t task = begin; task < end; task++)
	{
		panel_at	next = {at.product, at.row0 + IE_PANEL_ROWS};

		if (next.row0 >= at.product->w->n_out)
			next = (panel_at) {at.product + 1, 0};
		multiply_panel(work->gemm, work->x, &at, task + 1 < end ? &next : NULL,
					   panel_of(work->gemm, &at, scratch));
		at = next;
	}
}

void
ie_matmul_many(const ie_gemm *gemm, const ie_rows *x, const ie_product *products, size_t n)
{
	matmul_work work = {gemm, x, products, n};
	size_t		n_tasks = 0;
	size_t		n_out = 0;

	for (size_t i = 0; i < n; i++)
	{
		n_tasks += panel_count(products[i].w);
		n_out += products[i].w->n_out;
	}
	if (n_tasks > 0 && x->T > 0)
	{
		/* T rows of work, and the packing counts as some more */
		bool		small = (x->T + 4) * n_out * products[0].w->n_in < MIN_PARALLEL_MACS;

		ie_parallel_for(small ? 1 : gemm->n_threads, n_tasks, multiply_panels, &work);
	}
}

void
ie_matmul(const ie_gemm *gemm, const ie_matrix *w, const ie_rows *x, float *y, size_t ldy, bool add)
{
	const ie_product product = {w, y, ldy, add};

	ie_matmul_many(gemm, x, &product, 1);
}
