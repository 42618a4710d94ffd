/*
 * generate.c
 *	  Greedy decoding: see generate.h.
 *
 * The prompt's keys and values are gathered in one block with room for the
 * tokens to come.  It is the prefix of each token's pass, which leaves its own
 * keys and values behind to be appended: some kilobytes for each token.
 */
#include "model/generate.h"
#include "base/bytes.h"
#include "model/layer.h"
#include "model/pool.h"

#include <math.h>

#define MAX_TOKENS 4096			/* of one answer */

typedef struct generation
{
	ie_prompt  *prompt;
	void	   *block;			/* what follows lies in it */
	ie_arena	arena;
	ie_kv		context;		/* of all positions so far */
	ie_kv		own;			/* of the prompt's text and suffix */
	ie_kv		step;			/* of one token */
	float	   *logits;			/* [V] */
	float	   *states;			/* [n_states, C], for the caller */
	ie_seq		seq;			/* of the last pass */
	ie_pass		pass;			/* the last one; its states[0] is the state at the last position */
} generation;

/* n_text rows of the prompt behind its prefix, n_steps tokens fed back */
static void
lay_out(generation *g, size_t n_text, size_t n_steps, size_t n_states, ie_arena *arena)
{
	const ie_config *c = &g->prompt->session->model->config;

	ie_kv_layout(c, g->prompt->n_prefix + n_text + n_steps, arena, &g->context);
	ie_kv_layout(c, n_text, arena, &g->own);
	ie_kv_layout(c, 1, arena, &g->step);
	g->logits = IE_TAKE(arena, c->n_vocab, float);
	g->states = ie_arena_take(arena, n_states, c->n_embd * sizeof(float));
	g->context.n = 0;
}

static ie_code
allocate(generation *g, size_t n_text, size_t n_steps, size_t n_states)
{
	ie_session *s = g->prompt->session;
	ie_arena	plan = {0};
	size_t		bytes;

	lay_out(g, n_text, n_steps, n_states, &plan);
	if (plan.overflow || !ie_size_add(plan.used, IE_ARENA_ALIGN, &bytes))
		return ie_fail(g->prompt->err, IE_LIMIT, "text is too long");
	s->extra_bytes = bytes;
	if (!ie_session_fits(s, ie_session_scratch(&g->pass), 0))
		return ie_session_too_large(s, ie_session_scratch(&g->pass), 0, g->prompt->err);
	g->block = ie_alloc(s->model->host, bytes);
	if (g->block == NULL)
		return ie_nomem(g->prompt->err, bytes);
	g->arena.base = (uint8_t *) ie_round_up((uintptr_t) g->block, IE_ARENA_ALIGN);
	g->arena.size = plan.used;
	lay_out(g, n_text, n_steps, n_states, &g->arena);
	return IE_OK;
}

static void
end(generation *g)
{
	ie_session *s = g->prompt->session;

	ie_arena_reset(&g->arena);
	ie_release(s->model->host, g->block);
	s->extra_bytes = 0;
	s->tokens.n = 0;
}

/* One pass, whose keys and values join the context */
static ie_code
run(generation *g)
{
	const ie_prompt *p = g->prompt;

	IE_TRY(ie_session_place(p->session, &g->pass, p->err));
	IE_TRY(ie_forward(&g->pass, p->err));
	ie_kv_append(&p->session->model->config, &g->context, g->pass.store);
	p->stats->n_tokens += g->pass.n_rows;
	return IE_OK;
}

/* The pass over text number i behind the prompt's prefix; end() is due whatever the result. */
static ie_code
begin(generation *g, ie_text text, size_t i, size_t n_steps, size_t n_states)
{
	ie_prompt  *p = g->prompt;
	ie_session *s = p->session;
	const ie_kv *prefix = s->prefix != NULL ? &s->prefix->kv : NULL;
	size_t		n_body;

	IE_TRY(ie_prompt_encode(p, text, i, &g->seq, &n_body));
	if (g->seq.n_tokens == 0)
		return ie_fail(p->err, IE_INVALID, "text has no tokens");
	ie_pool_select(IE_POOL_LAST, n_body, &g->seq);
	g->seq.ids = s->tokens.ids;
	g->pass = ie_prompt_pass(p);
	g->pass.seqs = &g->seq;
	g->pass.B = 1;
	g->pass.prefix = prefix;
	g->pass.store = &g->own;
	IE_TRY(allocate(g, g->seq.n_tokens, n_steps, n_states));
	if (prefix != NULL)
		ie_kv_append(&s->model->config, &g->context, prefix);
	return run(g);
}

/* Feed a token back; *id must stay until the next pass. */
static ie_code
feed(generation *g, const int32_t *id)
{
	g->seq = (ie_seq) {.ids = id, .n_tokens = 1, .need_end = 1};
	g->pass = ie_prompt_pass(g->prompt);
	g->pass.seqs = &g->seq;
	g->pass.B = 1;
	g->pass.prefix = &g->context;
	g->pass.store = &g->step;
	return run(g);
}

/* The token that comes next */
static ie_code
predict(generation *g, int32_t *id)
{
	const ie_matrix *w = &g->pass.weights->output;
	const ie_product product = {w, g->logits, w->n_out, false};
	const ie_rows state = ie_layer_rows(&g->pass, g->pass.states, 1, &product, 1);
	float		best = -INFINITY;

	*id = -1;
	IE_TRY(ie_layer_matmul(&g->pass, &state, &product, 1, g->prompt->err));
	for (size_t v = 0; v < w->n_out; v++)
		if (g->logits[v] > best)
		{
			best = g->logits[v];
			*id = (int32_t) v;
		}
	if (*id < 0)
		return ie_fail(g->prompt->err, IE_NUMERIC, "logits are not finite");
	return IE_OK;
}

/* --------------------------------------------------------------- embedding */

size_t
ie_generate_positions(const ie_definition *definition)
{
	return definition->pooling == IE_POOL_GENERATE ? 1 : definition->generate_count - 1;
}

/* s_1, or s_0 if an end comes first */
static ie_code
state_at_first(generation *g, size_t *n)
{
	int32_t		id;

	*n = 1;
	IE_TRY(predict(g, &id));
	if (!ie_vocab_is_end(g->prompt->session->model->vocab, id))
		IE_TRY(feed(g, &id));
	memcpy(g->states, g->pass.states, g->pass.config->n_embd * sizeof(float));
	return IE_OK;
}

/* s_0 .. s_(n - 1) */
static ie_code
states_of_tokens(generation *g, size_t n_wanted, size_t *n)
{
	const size_t C = g->pass.config->n_embd;
	int32_t		id;

	for (*n = 0; *n < n_wanted; *n += 1)
	{
		memcpy(g->states + *n * C, g->pass.states, C * sizeof(float));
		IE_TRY(predict(g, &id));
		if (ie_vocab_is_end(g->prompt->session->model->vocab, id))
			break;
		if (*n + 1 < n_wanted)
			IE_TRY(feed(g, &id));
	}
	if (*n == 0)
		*n = 1;
	return IE_OK;
}

ie_code
ie_generate_vector(ie_prompt *prompt, ie_text text, size_t i, float *vector)
{
	const ie_definition *d = &prompt->session->model->definition;
	const bool	first = d->pooling == IE_POOL_GENERATE;
	generation	g = {.prompt = prompt};
	size_t		n;
	ie_code		code;

	IE_TRY_GOTO(begin(&g, text, i, ie_generate_positions(d), first ? 1 : d->generate_count));
	IE_TRY_GOTO(first ? state_at_first(&g, &n) : states_of_tokens(&g, d->generate_count, &n));
	code = ie_pool(d->pooling, g.states, n, g.pass.config->n_embd, vector, prompt->err);
done:
	end(&g);
	return code;
}

/* ------------------------------------------------------------------ answers */

static ie_code
generate(generation *g, const ie_generate_request *request, ie_tokens *answer)
{
	const ie_model *m = g->prompt->session->model;
	int32_t		id;

	IE_TRY(begin(g, request->input, 0, request->max_tokens - 1, 0));
	while (answer->n < request->max_tokens)
	{
		if (answer->n > 0)
			IE_TRY(feed(g, &id));
		IE_TRY(predict(g, &id));
		if (ie_vocab_is_end(m->vocab, id))
			break;
		IE_TRY(ie_tokens_push(m->host, answer, id, g->prompt->err));
	}
	return IE_OK;
}

static ie_code
check_request(const ie_generate_request *request, ie_error *err)
{
	if (request->input.len == 0)
		return ie_fail(err, IE_INVALID, "text must not be empty");
	if (request->max_tokens < 1 || request->max_tokens > MAX_TOKENS)
	{
		ie_fail(err, IE_INVALID, "number of tokens to generate is out of range");
		return ie_detail(err, "It is %u, 1 to %d is allowed.", request->max_tokens, MAX_TOKENS);
	}
	return IE_OK;
}

ie_code
ie_generate(ie_session *session, const ie_generate_request *request, ie_generated *generated,
			ie_embed_stats *stats, ie_error *err)
{
	ie_embed_stats unwanted;
	ie_prompt	prompt = {
		.session = session,
		.instruction = request->instruction,
		.truncate = request->truncate,
		.n_behind = request->max_tokens - 1,
		.stats = stats != NULL ? stats : &unwanted,
		.err = err
	};
	generation	g = {.prompt = &prompt};
	ie_tokens	answer = {0};
	ie_generated result;
	ie_code		code;

	memset(prompt.stats, 0, sizeof(*prompt.stats));
	IE_TRY(check_request(request, err));
	IE_TRY_GOTO(ie_prompt_begin(&prompt));
	IE_TRY_GOTO(generate(&g, request, &answer));
	prompt.stats->n_tokens_reused = prompt.n_prefix - prompt.n_computed;
	result.n_tokens = answer.n;
	result.ended = answer.n < request->max_tokens;
	IE_TRY_GOTO(ie_vocab_decode(session->model->vocab, answer.ids, answer.n, &result.text,
								&result.len, err));
	*generated = result;
done:
	end(&g);
	ie_prompt_end(&prompt);
	ie_release(session->model->host, answer.ids);
	return code;
}
