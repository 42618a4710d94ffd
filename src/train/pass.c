/*
 * pass.c
 *	  Lanes, storage, and the walk through the blocks: see pass.h.
 */
#include "train/pass.h"
#include "train/vector.h"

/* ----------------------------------------------------------------- storage */

void
ie_pass_arrange(ie_train_pass *pass)
{
	size_t		load[IE_MAX_THREADS] = {0};
	size_t		row = 0;

	pass->max_T = 0;
	for (size_t i = 0; i < pass->n_seqs; i++)	/* the caller has put the longest first */
	{
		ie_train_seq *seq = &pass->seqs[i];
		size_t		least = 0;

		for (size_t lane = 1; lane < pass->n_lanes; lane++)
			if (load[lane] < load[least])
				least = lane;
		seq->lane = (uint32_t) least;
		load[least] += ie_train_seq_rows(seq);
		if (ie_train_seq_rows(seq) > pass->max_T)
			pass->max_T = ie_train_seq_rows(seq);
	}
	for (size_t lane = 0; lane < pass->n_lanes; lane++)
	{
		pass->lane_row0[lane] = row;
		for (size_t i = 0; i < pass->n_seqs; i++)
			if (pass->seqs[i].lane == lane)
			{
				pass->seqs[i].row0 = (uint32_t) row;
				row += ie_train_seq_rows(&pass->seqs[i]);
			}
	}
	pass->lane_row0[pass->n_lanes] = row;
	pass->n_rows = row;
}

void
ie_tape_layout(const ie_train_shape *s, size_t n_rows, bool whole, ie_arena *arena,
			   ie_tape *tapes)
{
	for (size_t l = 0; l <= s->L; l++)
	{
		if (l > 0 && !whole)
		{
			tapes[l] = tapes[0];
			continue;
		}
		tapes[l] = (ie_tape) {.x = IE_TAKE(arena, n_rows * s->C, real)};
		if (l == s->L)
			break;
		tapes[l].qkv = IE_TAKE(arena, n_rows * ie_shape_qkv(s), real);
		tapes[l].att = IE_TAKE(arena, n_rows * s->H * s->D, real);
		tapes[l].mid = IE_TAKE(arena, n_rows * s->C, real);
		tapes[l].gate_up = IE_TAKE(arena, n_rows * 2 * s->F, real);
		tapes[l].z = IE_TAKE(arena, n_rows * s->n_z, real);
	}
}

void
ie_scratch_layout(const ie_train_shape *s, size_t n_rows, size_t max_T, size_t n_lanes,
				  ie_arena *arena, ie_scratch *scratch)
{
	*scratch = (ie_scratch)
	{
		.h = IE_TAKE(arena, n_rows * s->C, real),
		.y = IE_TAKE(arena, n_rows * ie_scratch_y(s), real),
		.act = IE_TAKE(arena, n_rows * s->F, real),
		.dact = IE_TAKE(arena, n_rows * s->F, real),
		.wide = IE_TAKE(arena, n_rows * ie_scratch_wide(s), real),
		.dz = IE_TAKE(arena, n_rows * IE_MAX_PARTS * s->r, real),
		.dx = IE_TAKE(arena, n_rows * s->C, real),
		.scores = IE_TAKE(arena, n_lanes * 2 * IE_QUERY_ROWS * max_T, real)
	};
}

/* ------------------------------------------------------------------- ends */

/* Rows of a pass from their tokens, and the look-ahead vectors */
static void
embed_rows(void *arg, size_t begin, size_t end, int thread)
{
	const ie_train_pass *pass = arg;
	const ie_train_shape *s = pass->shape;
	const size_t C = s->C;

	(void) thread;
	for (size_t i = begin; i < end; i++)
	{
		const ie_train_seq *seq = &pass->seqs[i];
		real	   *x = pass->tapes[0].x + seq->row0 * C;

		for (size_t t = 0; t < seq->n_tokens; t++, x += C)
			ie_base_row(&pass->base->model->weights.token_embd, (size_t) seq->ids[t], x);
		if (seq->n_ahead > 0)
			memcpy(x, pass->params + s->lookahead, seq->n_ahead * C * sizeof(real));
	}
}

static void
read_states(void *arg, size_t begin, size_t end, int thread)
{
	const ie_train_pass *pass = arg;
	const ie_train_shape *s = pass->shape;

	(void) thread;
	for (size_t i = begin; i < end; i++)
	{
		const ie_train_seq *seq = &pass->seqs[i];
		const real *x = pass->tapes[s->L].x + ((size_t) seq->row0 + seq->need) * s->C;

		for (size_t j = 0; j < seq->n_need; j++)
			ie_vec_rms_norm(x + j * s->C, pass->base->model->weights.output_norm, s->norm_eps,
							s->C, seq->states + j * s->C);
	}
}

/* The gradient of the last block's output from that of the states */
static void
read_states_back(const ie_train_pass *pass)
{
	const ie_train_shape *s = pass->shape;

	memset(pass->scratch.dx, 0, pass->n_rows * s->C * sizeof(real));
	for (size_t i = 0; i < pass->n_seqs; i++)
	{
		const ie_train_seq *seq = &pass->seqs[i];
		const size_t first = ((size_t) seq->row0 + seq->need) * s->C;

		for (size_t j = 0; j < seq->n_need * s->C; j += s->C)
			ie_vec_rms_norm_back(pass->tapes[s->L].x + first + j,
								 pass->base->model->weights.output_norm, s->norm_eps, s->C,
								 seq->dstates + j, pass->scratch.dx + first + j);
	}
}

static void
embed_rows_back(const ie_train_pass *pass)
{
	const ie_train_shape *s = pass->shape;

	for (size_t i = 0; i < pass->n_seqs; i++)
	{
		const ie_train_seq *seq = &pass->seqs[i];

		ie_vec_add(pass->gradients + seq->lane * s->n_params + s->lookahead,
				   pass->scratch.dx + ((size_t) seq->row0 + seq->n_tokens) * s->C,
				   seq->n_ahead * s->C);
	}
}

/* ------------------------------------------------------------------ blocks */

typedef struct block_task
{
	const ie_train_pass *pass;
	size_t		l;
	real	   *w;
	void		(*run) (const ie_block_args *args);
} block_task;

static void
run_lanes(void *arg, size_t begin, size_t end, int thread)
{
	const block_task *task = arg;
	const ie_train_pass *pass = task->pass;
	const size_t offset = task->l * pass->shape->block_params;

	(void) thread;
	for (size_t lane = begin; lane < end; lane++)
	{
		const ie_block_args args = {
			.pass = pass, .l = task->l, .lane = lane, .w = task->w,
			.params = pass->params != NULL ? pass->params + offset : NULL,
			.gradients = pass->gradients + lane * pass->shape->n_params + offset
		};

		task->run(&args);
	}
}

static ie_code
run_block(ie_train_pass *pass, size_t l, void (*run) (const ie_block_args *), ie_error *err)
{
	block_task	task = {pass, l, ie_base_block(pass->base, l), run};

	ie_parallel_for((int) pass->n_lanes, pass->n_lanes, run_lanes, &task);
	return ie_poll(pass->host, err);
}

ie_code
ie_pass_forward(ie_train_pass *pass, ie_error *err)
{
	ie_parallel_for((int) pass->n_lanes, pass->n_seqs, embed_rows, pass);
	for (size_t l = 0; l < pass->shape->L; l++)
		IE_TRY(run_block(pass, l, ie_block_forward, err));
	ie_parallel_for((int) pass->n_lanes, pass->n_seqs, read_states, pass);
	return IE_OK;
}

ie_code
ie_pass_backward(ie_train_pass *pass, ie_error *err)
{
	read_states_back(pass);
	for (size_t l = pass->shape->L; l-- > 0;)
		IE_TRY(run_block(pass, l, ie_block_backward, err));
	embed_rows_back(pass);
	return IE_OK;
}
