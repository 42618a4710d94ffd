/*
 * layer.c
 *	  Steps of a layer: see layer.h.
 */
#include "model/layer.h"
#include "base/parallel.h"

#include <math.h>

/*
 * Multiply-adds per thread between two polls, by kernel level: at most some
 * 10 ms on a slow and busy core.
 */
static const size_t poll_integer[IE_CPU_N_LEVELS] = {
	[IE_CPU_REF] = 4000000, [IE_CPU_AVX2] = 128000000, [IE_CPU_AVXVNNI] = 128000000,
	[IE_CPU_AVX512VNNI] = 256000000, [IE_CPU_AMX] = 512000000,
	[IE_CPU_DOTPROD] = 128000000
};
static const size_t poll_f32[IE_CPU_N_LEVELS] = {
	[IE_CPU_REF] = 2000000, [IE_CPU_AVX2] = 32000000, [IE_CPU_AVXVNNI] = 32000000,
	[IE_CPU_AVX512VNNI] = 64000000, [IE_CPU_AMX] = 64000000,
	[IE_CPU_DOTPROD] = 32000000
};

/* Fewer elements than this are done before another thread is awake */
#define MIN_PARALLEL_ELEMENTS ((size_t) 1 << 17)

/* fn over the T rows of a tile, of row_len elements each */
static void
for_rows(const ie_pass *pass, size_t T, size_t row_len, ie_task_fn fn, void *arg)
{
	ie_parallel_for(T * row_len >= MIN_PARALLEL_ELEMENTS ? pass->gemm.n_threads : 1, T, fn, arg);
}

/* -------------------------------------------------------------------- norm */

typedef struct norm_task
{
	const ie_pass *pass;
	const ie_tile *tile;
	const float *weight;
} norm_task;

static void
norm_rows(void *arg, size_t begin, size_t end, int thread)
{
	const norm_task *task = arg;
	const ie_pass *pass = task->pass;
	const size_t C = pass->config->n_embd;

	(void) thread;
	for (size_t t = begin; t < end; t++)
		pass->gemm.kernels->rms_norm(task->tile->x + t * C, task->weight, pass->config->norm_eps,
									 C, pass->h + t * C);
}

void
ie_layer_norm(ie_pass *pass, const ie_tile *tile, const float *weight)
{
	norm_task	task = {pass, tile, weight};

	for_rows(pass, tile->T, pass->config->n_embd, norm_rows, &task);
}

/* ---------------------------------------------------------------- products */

ie_rows
ie_layer_rows(ie_pass *pass, const float *x, size_t T, const ie_product *products, size_t n)
{
	ie_rows		rows = {.T = T, .x = x, .ldx = products[0].w->n_in, .q = pass->quantized};

	rows.q.n_cols = products[0].w->n_in;
	for (size_t i = 0; i < n; i++)
		if (ie_gemm_is_integer(&pass->gemm, products[i].w))
		{
			ie_quantize(&pass->gemm, &rows);
			break;
		}
	return rows;
}

/* One product in parts by outputs, so that weights are still packed only once */
static ie_code
matmul_in_parts(const ie_pass *pass, const ie_rows *x, const ie_product *product, size_t limit,
				ie_error *err)
{
	const ie_matrix *w = product->w;
	const size_t unit = IE_PANEL_ROWS * (size_t) pass->gemm.n_threads;
	const size_t fitting = limit / (x->T * w->n_in) / unit * unit;
	const size_t step = fitting > unit ? fitting : unit;

	for (size_t o = 0; o < w->n_out; o += step)
	{
		ie_matrix	part = *w;
		ie_product	p = {&part, product->y + o, product->ldy, product->add};

		part.data += o * w->row_bytes;
		part.n_out = w->n_out - o < step ? w->n_out - o : step;
		ie_matmul_many(&pass->gemm, x, &p, 1);
		IE_TRY(ie_poll(pass->host, err));
	}
	return IE_OK;
}

ie_code
ie_layer_matmul(const ie_pass *pass, const ie_rows *x, const ie_product *products, size_t n,
				ie_error *err)
{
	const ie_cpu_level_id level = pass->gemm.kernels->level;
	bool		integer = true;
	size_t		total = 0;		/* dimensions are bounded by config.h: no overflow */
	size_t		limit;

	for (size_t i = 0; i < n; i++)
	{
		integer = integer && ie_gemm_is_integer(&pass->gemm, products[i].w);
		total += x->T * products[i].w->n_in * products[i].w->n_out;
	}
	limit = (integer ? poll_integer : poll_f32)[level] * (size_t) pass->gemm.n_threads;
	if (total <= limit)
	{
		ie_matmul_many(&pass->gemm, x, products, n);
		return ie_poll(pass->host, err);
	}
	for (size_t i = 0; i < n; i++)
		IE_TRY(matmul_in_parts(pass, x, &products[i], limit, err));
	return IE_OK;
}

/* --------------------------------------------------------- keys and values */

typedef struct tile_task
{
	const ie_pass *pass;
	const ie_tile *tile;
} tile_task;

float *
ie_layer_values(const ie_pass *pass, const ie_tile *tile)
{
	return pass->v + tile->row0 * pass->config->n_head_kv * pass->config->head_dim;
}

static void
store_keys(void *arg, size_t begin, size_t end, int thread)
{
	const tile_task *task = arg;
	const ie_pass *pass = task->pass;
	const size_t D = pass->config->head_dim;
	const size_t GD = pass->config->n_head_kv * D;

	(void) thread;
	for (size_t i = begin; i < end; i++)
	{
		const ie_row row = task->tile->rows[i];
		const ie_seq_place *place = &pass->places[row.seq];
		const float *angle = pass->rope + row.t * D;
		float	   *k = pass->k + i * GD;
		float	   *kt = pass->kt + place->kt + row.t;

		pass->gemm.kernels->rope(k, pass->config->n_head_kv, D, angle, angle + D / 2);
		for (size_t d = 0; d < GD; d++)
			kt[d * place->ld] = k[d];
	}
}

void
ie_layer_store_keys(const ie_pass *pass, const ie_tile *tile)
{
	tile_task	task = {pass, tile};

	for_rows(pass, tile->T, (size_t) pass->config->n_head_kv * pass->config->head_dim, store_keys,
			 &task);
}

/* -------------------------------------------------------------- last layer */

bool
ie_layer_narrows(const ie_pass *pass, uint32_t l)
{
	return l + 1 == pass->config->n_layer && pass->trace == NULL;
}

void
ie_layer_narrow(ie_pass *pass, ie_tile *tile)
{
	const size_t C = pass->config->n_embd;
	const size_t first = pass->n_selected;
	size_t		n = 0;

	/* needed rows ascend like those of the pass: take those that lie in this tile */
	while (first + n < pass->n_needed)
	{
		const ie_row row = pass->needed[first + n];
		const size_t i = pass->places[row.seq].row0 + row.t - tile->row0;

		if (i >= tile->T)
			break;
		memcpy(pass->states + (first + n) * C, tile->x + i * C, C * sizeof(float));
		memmove(pass->h + n * C, pass->h + i * C, C * sizeof(float));
		n++;
	}
	pass->n_selected += n;
	tile->T = n;
	tile->rows = pass->needed + first;
	tile->x = pass->states + first * C;
}

/* --------------------------------------------------------------- attention */

typedef struct attend_task
{
	const ie_pass *pass;
	const ie_tile *tile;
	size_t		first;			/* rows first .. first + T - 1 of the tile */
	size_t		T;
	size_t		n_q;			/* H / G */
	float		scale;
	size_t		layer;
} attend_task;

/* The queries of row i of the tile that share key/value head g */
static void
attend_row(const attend_task *task, size_t i, size_t g, int thread)
{
	const ie_pass *pass = task->pass;
	const size_t G = pass->config->n_head_kv;
	const size_t D = pass->config->head_dim;
	const ie_row row = task->tile->rows[i];
	const ie_seq_place *place = &pass->places[row.seq];
	const float *angle = pass->rope + row.t * D;
	const ie_kv *prefix = pass->prefix;
	float	   *q = pass->q + (i * G + g) * task->n_q * D;
	ie_attend_args args = {
		.q = q,
		.n_q = task->n_q,
		.head_dim = D,
		.scale = task->scale,
		.scores = pass->scores + (size_t) thread * task->n_q * pass->ld_scores,
		.ld_scores = pass->ld_scores,
		.out = q
	};

	if (prefix != NULL)
		args.span[0] = (ie_kv_span)
		{
			prefix->kt + (task->layer * G + g) * D * prefix->ld, prefix->ld,
			prefix->v + (task->layer * prefix->ld * G + g) * D, G * D,
			prefix->n
		};
	args.span[1] = (ie_kv_span)
	{
		pass->kt + place->kt + g * D * place->ld, place->ld,
		pass->v + (place->row0 * G + g) * D, G * D,
		(size_t) row.t + 1
	};
	pass->gemm.kernels->rope(q, task->n_q, D, angle, angle + D / 2);
	pass->gemm.kernels->attend(&args);
}

/* Tasks are ordered by head, then row: even shares, although later rows cost more */
static void
attend_rows(void *arg, size_t begin, size_t end, int thread)
{
	const attend_task *task = arg;
	size_t		start = 0;

	for (size_t g = 0; g < task->pass->config->n_head_kv; g++, start += task->T)
	{
		const size_t from = begin > start ? begin : start;
		const size_t to = end < start + task->T ? end : start + task->T;

		for (size_t i = from; i < to; i++)
			attend_row(task, task->first + i - start, g, thread);
	}
}

ie_code
ie_layer_attend(const ie_pass *pass, uint32_t l, const ie_tile *tile, ie_error *err)
{
	const ie_config *c = pass->config;
	const size_t n_prefix = pass->prefix != NULL ? pass->prefix->n : 0;
	const size_t per_position = 2 * (size_t) c->n_head * c->head_dim;
	const size_t limit = poll_f32[pass->gemm.kernels->level] * (size_t) pass->gemm.n_threads;
	attend_task task = {
		.pass = pass,
		.tile = tile,
		.n_q = c->n_head / c->n_head_kv,
		.scale = 1.0f / sqrtf((float) c->head_dim),
		.layer = l
	};

	for (size_t i = 0; i < tile->T; i = task.first + task.T)
	{
		size_t		work = 0;

		task.first = i;
		for (task.T = 0; i + task.T < tile->T && work < limit; task.T++)
			work += per_position * (n_prefix + tile->rows[i + task.T].t + 1);
		ie_parallel_for(pass->gemm.n_threads, task.T * c->n_head_kv, attend_rows, &task);
		IE_TRY(ie_poll(pass->host, err));
	}
	return IE_OK;
}

/* ------------------------------------------------------------ feed-forward */

static void
silu_mul_rows(void *arg, size_t begin, size_t end, int thread)
{
	const tile_task *task = arg;
	const ie_pass *pass = task->pass;
	const size_t F = pass->config->n_ff;

	(void) thread;
	for (size_t t = begin; t < end; t++)
		pass->gemm.kernels->silu_mul(pass->gate + t * F, pass->up + t * F, F);
}

void
ie_layer_silu_mul(const ie_pass *pass, const ie_tile *tile)
{
	tile_task	task = {pass, tile};

	for_rows(pass, tile->T, pass->config->n_ff, silu_mul_rows, &task);
}

/* ------------------------------------------------------------------- trace */

void
ie_layer_trace(const ie_pass *pass, const char *point, int layer, const ie_tile *tile)
{
	const ie_trace_event event = {
		.point = point,
		.layer = layer,
		.is_prefix = pass->store != NULL,
		.first_row = tile->row0,
		.n_rows = tile->T,
		.n_cols = pass->config->n_embd,
		.data = tile->x
	};

	if (pass->trace != NULL)
		pass->trace->fn(pass->trace->arg, &event);
}
