/*
 * embed.c
 *	  ie_embed(): passes over texts, pooling.
 *
 * Texts are packed into passes in their order, as many as the bounds on rows and
 * memory allow; since rows do not influence each other, the packing cannot be
 * seen in a result.  A pooling that generates takes one text at a time.
 */
#include "model/generate.h"
#include "model/pool.h"
#include "model/prompt.h"

typedef struct call
{
	ie_session *session;
	const ie_model *model;
	const ie_embed_request *request;
	float	   *vectors;
	ie_prompt	prompt;
	ie_embed_stats *stats;
	ie_error   *err;
	size_t		first;			/* index of the first text of the pass being put together */
} call;

/* ------------------------------------------------------------------ passes */

/* A pass over the first n sequences that the session has put together */
static ie_pass
text_pass(const call *c, size_t n)
{
	ie_pass		pass = ie_prompt_pass(&c->prompt);

	pass.seqs = c->session->seqs;
	pass.B = n;
	pass.prefix = c->session->prefix != NULL ? &c->session->prefix->kv : NULL;
	return pass;
}

/* May the first n sequences be one pass? */
static bool
may_be_one_pass(const call *c, size_t n, size_t n_rows)
{
	ie_pass		pass = text_pass(c, n);

	return n_rows <= IE_PASS_ROWS &&
		ie_session_fits(c->session, ie_session_scratch(&pass), 0);
}

/* Compute the first n sequences and write their vectors. */
static ie_code
run_pass(call *c, size_t n)
{
	ie_session *s = c->session;
	const size_t C = c->model->config.n_embd;
	ie_pass		pass = text_pass(c, n);
	const int32_t *ids = s->tokens.ids;
	float	   *states;

	for (size_t b = 0; b < n; b++)
	{
		s->seqs[b].ids = ids;
		ids += s->seqs[b].n_tokens;
	}
	IE_TRY(ie_session_place(s, &pass, c->err));
	IE_TRY(ie_forward(&pass, c->err));
	states = pass.states;
	for (size_t b = 0; b < n; b++)
	{
		const size_t n_states = s->seqs[b].need_end - s->seqs[b].need_begin;

		IE_TRY(ie_pool(c->model->definition.pooling, states, n_states, C,
					   c->vectors + (c->first + b) * C, c->err));
		states += n_states * C;
	}
	c->first += n;
	c->stats->n_tokens += pass.n_rows;
	c->stats->n_tokens_reused = c->first * c->prompt.n_prefix - c->prompt.n_computed;
	return IE_OK;
}

/* Append text number i to the session's tokens, and describe it in *seq. */
static ie_code
encode_text(const call *c, size_t i, ie_seq *seq)
{
	size_t		n_body;

	IE_TRY(ie_prompt_encode(&c->prompt, c->request->inputs[i], i, seq, &n_body));
	seq->n_lookahead = c->prompt.n_behind;
	ie_pool_select(c->model->definition.pooling, n_body, seq);
	return IE_OK;
}

static ie_code
embed_texts(call *c)
{
	ie_session *s = c->session;
	ie_tokens  *tokens = &s->tokens;

	for (size_t i = 0; i < c->request->n_inputs; i++)
	{
		ie_seq	   *seq = &s->seqs[s->n_seqs];
		size_t		T;

		IE_TRY(encode_text(c, i, seq));
		T = seq->n_tokens + seq->n_lookahead;
		if (s->n_seqs > 0 && !may_be_one_pass(c, s->n_seqs + 1, s->n_rows + T))
		{
			const ie_seq last = *seq;

			/* without it, and start the next pass with it */
			IE_TRY(run_pass(c, s->n_seqs));
			memmove(tokens->ids, tokens->ids + tokens->n - last.n_tokens,
					last.n_tokens * sizeof(int32_t));
			tokens->n = last.n_tokens;
			s->seqs[0] = last;
			s->n_seqs = 0;
			s->n_rows = 0;
		}
		s->n_seqs++;
		s->n_rows += T;
		if (s->n_seqs == IE_PASS_TEXTS || i + 1 == c->request->n_inputs)
		{
			IE_TRY(run_pass(c, s->n_seqs));
			tokens->n = 0;
			s->n_seqs = 0;
			s->n_rows = 0;
		}
	}
	return IE_OK;
}

/* The same one by one, each from the states of what the model goes on with */
static ie_code
embed_answers(call *c)
{
	const size_t C = c->model->config.n_embd;

	for (; c->first < c->request->n_inputs; c->first++)
		IE_TRY(ie_generate_vector(&c->prompt, c->request->inputs[c->first], c->first,
								  c->vectors + c->first * C));
	c->stats->n_tokens_reused = c->first * c->prompt.n_prefix - c->prompt.n_computed;
	return IE_OK;
}

static ie_code
check_request(const call *c)
{
	for (size_t i = 0; i < c->request->n_inputs; i++)
		if (c->request->inputs[i].len == 0)
			return ie_fail(c->err, IE_INVALID, "text to embed must not be empty");
	return IE_OK;
}

ie_code
ie_embed(ie_session *session, const ie_embed_request *request, float *vectors,
		 ie_embed_stats *stats, ie_error *err)
{
	const ie_definition *d = &session->model->definition;
	const bool	generates = ie_pooling_generates(d->pooling);
	ie_embed_stats unwanted;
	call		c = {
		.session = session,
		.model = session->model,
		.request = request,
		.vectors = vectors,
		.stats = stats != NULL ? stats : &unwanted,
		.err = err
	};
	ie_code		code;

	memset(c.stats, 0, sizeof(*c.stats));
	session->n_seqs = 0;
	session->n_rows = 0;
	c.prompt = (ie_prompt)
	{
		.session = session,
		.instruction = request->instruction,
		.truncate = request->truncate,
		.n_behind = generates ? ie_generate_positions(d) : ie_pool_lookahead(d),
		.stats = c.stats,
		.err = err
	};
	IE_TRY_GOTO(check_request(&c));
	if (request->n_inputs == 0)
		goto done;
	IE_TRY_GOTO(ie_prompt_begin(&c.prompt));
	IE_TRY_GOTO(generates ? embed_answers(&c) : embed_texts(&c));
done:
	ie_prompt_end(&c.prompt);
	return code;
}
