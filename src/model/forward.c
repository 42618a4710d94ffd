/*
 * forward.c
 *	  A pass from token ids to final states: see forward.h.
 *
 * Layer by layer, inside a layer tile by tile: weights of a layer stay in the
 * cache for all tiles, the wide activations exist for one tile only, and keys
 * and values for one layer only.  So a position costs C + 2 G D floats of
 * memory, whatever the number of layers.
 */
#include "model/layer.h"
#include "base/bytes.h"

#define KV_UNIT 16				/* columns of keys are a multiple of this: see ie_kv_span */

/* ------------------------------------------------------------------ layout */

static size_t
max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

void
ie_kv_layout(const ie_config *config, size_t n, ie_arena *arena, ie_kv *kv)
{
	const size_t LGD = (size_t) config->n_layer * config->n_head_kv * config->head_dim;

	kv->n = n;
	kv->ld = ie_round_up(n, KV_UNIT);
	kv->kt = ie_arena_take(arena, kv->ld, LGD * sizeof(float));
	kv->v = ie_arena_take(arena, kv->ld, LGD * sizeof(float));
}

void
ie_kv_append(const ie_config *config, ie_kv *kv, const ie_kv *more)
{
	const size_t GD = (size_t) config->n_head_kv * config->head_dim;

	for (size_t i = 0; i < config->n_layer * GD; i++)
		memcpy(kv->kt + i * kv->ld + kv->n, more->kt + i * more->ld, more->n * sizeof(float));
	for (size_t l = 0; l < config->n_layer; l++)
		memcpy(kv->v + (l * kv->ld + kv->n) * GD, more->v + l * more->ld * GD,
			   more->n * GD * sizeof(float));
	kv->n += more->n;
}

static void
set_sizes(ie_pass *pass, size_t *n_columns)
{
	pass->n_rows = 0;
	pass->n_needed = 0;
	pass->max_T = 0;
	*n_columns = 0;
	for (size_t b = 0; b < pass->B; b++)
	{
		const ie_seq *seq = &pass->seqs[b];
		const size_t T = seq->n_tokens + seq->n_lookahead;

		pass->n_rows += T;
		pass->n_needed += seq->need_end - seq->need_begin;
		pass->max_T = max_size(pass->max_T, T);
		*n_columns += ie_round_up(T, KV_UNIT);
	}
	pass->tile_rows = pass->n_rows < IE_PASS_TILE_ROWS ? pass->n_rows : IE_PASS_TILE_ROWS;
	pass->ld_scores = ie_round_up(pass->max_T, KV_UNIT) +
		(pass->prefix != NULL ? pass->prefix->ld : 0);
}

void
ie_pass_layout(ie_pass *pass, ie_arena *arena)
{
	const ie_config *c = pass->config;
	const size_t n_threads = (size_t) pass->gemm.n_threads;
	const size_t C = c->n_embd;
	const size_t HD = (size_t) c->n_head * c->head_dim;
	const size_t GD = (size_t) c->n_head_kv * c->head_dim;
	const size_t F = c->n_ff;
	const size_t widest = max_size(max_size(C, HD), F);
	size_t		n_columns;		/* of keys, all sequences together */

	set_sizes(pass, &n_columns);

	pass->states = ie_arena_take(arena, pass->n_needed, C * sizeof(float));
	pass->x = ie_arena_take(arena, pass->n_rows, C * sizeof(float));
	pass->rows = IE_TAKE(arena, pass->n_rows, ie_row);
	pass->needed = IE_TAKE(arena, pass->n_needed, ie_row);
	pass->places = IE_TAKE(arena, pass->B, ie_seq_place);
	pass->rope = ie_arena_take(arena, pass->max_T, c->head_dim * sizeof(float));
	if (pass->store == NULL)
	{
		pass->kt_scratch = ie_arena_take(arena, n_columns, GD * sizeof(float));
		pass->v_scratch = ie_arena_take(arena, pass->n_rows, GD * sizeof(float));
	}

	pass->h = ie_arena_take(arena, pass->tile_rows, C * sizeof(float));
	pass->q = ie_arena_take(arena, pass->tile_rows, HD * sizeof(float));
	pass->k = ie_arena_take(arena, pass->tile_rows, GD * sizeof(float));
	pass->gate = ie_arena_take(arena, pass->tile_rows, F * sizeof(float));
	pass->up = ie_arena_take(arena, pass->tile_rows, F * sizeof(float));
	pass->quantized = ie_qrows_take(arena, pass->tile_rows, ie_round_up(widest, IE_QK));
	pass->scores = ie_arena_take(arena, pass->ld_scores,
								 n_threads * (c->n_head / c->n_head_kv) * sizeof(float));
	pass->gemm.panel_bytes = ie_gemm_panel_bytes(widest);
	pass->gemm.panel = ie_arena_take(arena, n_threads, pass->gemm.panel_bytes);
}

/* ------------------------------------------------------------------- input */

static void
place_rows(ie_pass *pass)
{
	ie_row	   *row = pass->rows;
	ie_row	   *needed = pass->needed;
	size_t		n_columns = 0;

	for (size_t b = 0; b < pass->B; b++)
	{
		const ie_seq *seq = &pass->seqs[b];
		const size_t T = seq->n_tokens + seq->n_lookahead;
		ie_seq_place *place = &pass->places[b];

		place->row0 = (size_t) (row - pass->rows);
		place->ld = ie_round_up(T, KV_UNIT);
		place->kt = n_columns * pass->config->n_head_kv * pass->config->head_dim;
		n_columns += place->ld;
		for (size_t t = 0; t < T; t++)
		{
			*row = (ie_row) {(uint32_t) b, (uint32_t) t};
			if (t >= seq->need_begin && t < seq->need_end)
				*needed++ = *row;
			row++;
		}
	}
}

static void
embed_row(const ie_pass *pass, ie_row row, float *x)
{
	const size_t C = pass->config->n_embd;
	const ie_matrix *e = &pass->weights->token_embd;
	const ie_seq *seq = &pass->seqs[row.seq];

	if (row.t < seq->n_tokens)
		e->type->dequantize(e->data + (size_t) seq->ids[row.t] * e->row_bytes, C, x);
	else
		memcpy(x, pass->weights->lookahead + (row.t - seq->n_tokens) * C, C * sizeof(float));
}

static ie_tile
tile_at(const ie_pass *pass, size_t row0)
{
	const size_t left = pass->n_rows - row0;

	return (ie_tile)
	{
		.row0 = row0,
		.T = left < pass->tile_rows ? left : pass->tile_rows,
		.rows = pass->rows + row0,
		.x = pass->x + row0 * pass->config->n_embd
	};
}

/* Embeddings of all rows, and the angles of all positions */
static ie_code
start(ie_pass *pass, ie_error *err)
{
	const ie_config *c = pass->config;
	const size_t D = c->head_dim;
	const size_t n_prefix = pass->prefix != NULL ? pass->prefix->n : 0;

	place_rows(pass);
	for (size_t row0 = 0; row0 < pass->n_rows; row0 += pass->tile_rows)
	{
		const ie_tile tile = tile_at(pass, row0);

		for (size_t i = 0; i < tile.T; i++)
			embed_row(pass, tile.rows[i], tile.x + i * c->n_embd);
		ie_layer_trace(pass, "embd", -1, &tile);
		IE_TRY(ie_poll(pass->host, err));
	}
	for (size_t t = 0; t < pass->max_T; t++)
	{
		float	   *angle = pass->rope + t * D;

		ie_rope_table((uint32_t) (n_prefix + t), c->rope_theta, D, angle, angle + D / 2);
		if (t % IE_PASS_TILE_ROWS == 0)
			IE_TRY(ie_poll(pass->host, err));
	}
	return IE_OK;
}

/* ------------------------------------------------------------------ output */

/* Norm of the needed rows, which the last layer left in pass->states (under a trace: in x) */
static void
finish(ie_pass *pass)
{
	const size_t C = pass->config->n_embd;
	const ie_tile tile = {.T = pass->n_needed, .rows = pass->needed, .x = pass->states};

	for (size_t i = 0; i < pass->n_needed; i++)
	{
		const ie_row row = pass->needed[i];
		const size_t from = pass->places[row.seq].row0 + row.t;

		if (pass->trace != NULL)
			memcpy(pass->states + i * C, pass->x + from * C, C * sizeof(float));
		pass->gemm.kernels->rms_norm(pass->states + i * C, pass->weights->output_norm,
									 pass->config->norm_eps, C, pass->states + i * C);
	}
	ie_layer_trace(pass, "norm", -1, &tile);
}

ie_code
ie_forward(ie_pass *pass, ie_error *err)
{
	const ie_config *c = pass->config;
	const size_t GD = (size_t) c->n_head_kv * c->head_dim;

	IE_TRY(start(pass, err));
	for (uint32_t l = 0; l < c->n_layer; l++)
	{
		const ie_kv *store = pass->store;

		pass->kt = store != NULL ? store->kt + l * GD * store->ld : pass->kt_scratch;
		pass->v = store != NULL ? store->v + l * store->ld * GD : pass->v_scratch;
		pass->n_selected = 0;
		for (size_t row0 = 0; row0 < pass->n_rows; row0 += pass->tile_rows)
		{
			ie_tile		tile = tile_at(pass, row0);

			IE_TRY(c->arch->layer(pass, l, &tile, err));
		}
	}
	finish(pass);
	return IE_OK;
}
