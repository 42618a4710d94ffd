/*
 * embed.c
 *	  ie_embed(): template, tokens, passes, pooling.
 *
 * The prefix (template and instruction) is computed first, in a pass of its
 * own, unless the session has kept it.  Texts are then packed into passes in
 * their order, as many as the bounds on rows and memory allow; since rows do
 * not influence each other, the packing cannot be seen in a result.
 */
#include "model/pool.h"
#include "model/session.h"

typedef struct call
{
	ie_session *session;
	const ie_model *model;
	const ie_embed_request *request;
	float	   *vectors;
	ie_embed_stats *stats;
	ie_error   *err;
	size_t		n_prefix;		/* positions of the prefix */
	size_t		n_computed;		/* of them, computed in this call: all or 0 */
	size_t		first;			/* index of the first text of the pass being put together */
} call;

static ie_pass
new_pass(const call *c)
{
	const ie_session *s = c->session;

	return (ie_pass)
	{
		.host = c->model->host,
		.config = &c->model->config,
		.weights = &c->model->weights,
		.gemm = {
			.kernels = s->kernels,
			.n_threads = (int) s->config.n_threads,
			.f32 = s->config.compute == IE_COMPUTE_F32
		},
		.trace = s->trace
	};
}

/* ------------------------------------------------------------------ prefix */

ie_code
ie_prompt_prefix(const ie_model *model, ie_text instruction, ie_tokens *tokens, ie_error *err)
{
	const ie_definition *d = &model->definition;
	const int32_t bos = ie_vocab_bos(model->vocab);
	ie_text		literal = instruction.len > 0 ? d->prefix : d->prefix_empty;

	if (bos >= 0)
	{
		const ie_text spelling = ie_vocab_token(model->vocab, bos);

		IE_TRY(ie_tokens_push(model->host, tokens, bos, err));
		/* a template that spells it out does not mean two */
		if (literal.len >= spelling.len && memcmp(literal.data, spelling.data, spelling.len) == 0)
			literal = (ie_text) {literal.data + spelling.len, literal.len - spelling.len};
	}
	return ie_vocab_encode_template(model->vocab, literal, "instruction", instruction, tokens, err);
}

/* Positions that every text of this call needs beside its own tokens */
static size_t
overhead(const call *c)
{
	return c->n_prefix + c->model->suffix.n + c->model->definition.lookahead_count;
}

/* Compute keys and values of the session's tokens, into session->prefix. */
static ie_code
compute_prefix(call *c)
{
	ie_session *s = c->session;
	const ie_text instruction = c->request->instruction;
	const size_t bytes = ie_prefix_bytes(&c->model->config, instruction, c->n_prefix);
	const bool	keep = ie_prefix_make_room(&s->prefixes, bytes);
	const ie_seq seq = {.ids = s->tokens.ids, .n_tokens = c->n_prefix};
	ie_kv		no_place = {0};
	ie_pass		pass = new_pass(c);
	size_t		scratch_bytes;

	pass.seqs = &seq;
	pass.B = 1;
	pass.store = &no_place;
	scratch_bytes = ie_session_scratch(&pass);
	if (!ie_session_fits(s, scratch_bytes, bytes))
		return ie_session_too_large(s, scratch_bytes, bytes, c->err);
	IE_TRY(ie_prefix_create(c->model->host, &c->model->config, instruction, c->n_prefix,
							&s->prefix, c->err));
	pass.store = &s->prefix->kv;
	IE_TRY(ie_session_place(s, &pass, c->err));
	IE_TRY(ie_forward(&pass, c->err));
	c->n_computed = c->n_prefix;
	c->stats->n_tokens += c->n_prefix;
	if (keep)
		ie_prefix_keep(&s->prefixes, s->prefix);
	return IE_OK;
}

/* Set session->prefix to the call's prefix: from the cache, or computed now. */
static ie_code
acquire_prefix(call *c)
{
	ie_session *s = c->session;

	s->prefix = ie_prefix_find(&s->prefixes, c->request->instruction);
	if (s->prefix != NULL)
	{
		c->n_prefix = s->prefix->kv.n;
		return IE_OK;
	}
	s->tokens.n = 0;
	IE_TRY(ie_prompt_prefix(c->model, c->request->instruction, &s->tokens, c->err));
	c->n_prefix = s->tokens.n;
	if (overhead(c) >= c->model->config.n_ctx)
	{
		ie_fail(c->err, IE_LIMIT,
				"instruction of %zu tokens with its template does not fit the model's context "
				"of %u tokens", overhead(c), c->model->config.n_ctx);
		return ie_hint(c->err, "Use a shorter instruction.");
	}
	if (c->n_prefix > 0)
		IE_TRY(compute_prefix(c));
	s->tokens.n = 0;
	return IE_OK;
}

static void
release_prefix(ie_session *s)
{
	if (s->prefix != NULL && !s->prefix->cached)
		ie_prefix_free(s->model->host, s->prefix);
	s->prefix = NULL;
}

/* ------------------------------------------------------------------- texts */

/* Text number i has n tokens, and room for fewer is left: cut it, or refuse it. */
static ie_code
overflow(const call *c, size_t i, size_t n, size_t room)
{
	ie_embed_stats *stats = c->stats;

	if (stats->n_truncated++ == 0)
	{
		stats->first_truncated = i;
		stats->truncated_tokens = n;
		stats->truncated_limit = room;
	}
	if (!c->request->truncate)
	{
		ie_fail(c->err, IE_LIMIT,
				"text of %zu tokens does not fit the model's context of %u tokens",
				n, c->model->config.n_ctx);
		ie_detail(c->err, "Instruction and template take %zu tokens, %zu are left for the text.",
				  overhead(c), room);
		return ie_hint(c->err, "Shorten the text, or set \"instemb.on_overflow\" to \"truncate\".");
	}
	c->session->tokens.n -= n - room;
	return IE_OK;
}

/* Append text number i to the session's tokens, and describe it in *seq. */
static ie_code
encode_text(const call *c, size_t i, ie_seq *seq)
{
	const ie_model *m = c->model;
	const size_t room = m->config.n_ctx - overhead(c);	/* at least 1 */
	ie_tokens  *tokens = &c->session->tokens;
	const size_t start = tokens->n;
	size_t		n_body;

	IE_TRY(ie_vocab_encode_template(m->vocab, m->definition.body, "input", c->request->inputs[i],
									tokens, c->err));
	n_body = tokens->n - start;
	if (n_body > room)
	{
		IE_TRY(overflow(c, i, n_body, room));
		n_body = room;
	}
	for (size_t j = 0; j < m->suffix.n; j++)
		IE_TRY(ie_tokens_push(m->host, tokens, m->suffix.ids[j], c->err));
	*seq = (ie_seq)
	{
		.n_tokens = tokens->n - start,
		.n_lookahead = m->definition.lookahead_count
	};
	ie_pool_select(m->definition.pooling, n_body, seq);
	return IE_OK;
}

/* ------------------------------------------------------------------ passes */

/* A pass over the first n sequences that the session has put together */
static ie_pass
text_pass(const call *c, size_t n)
{
	ie_pass		pass = new_pass(c);

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
	c->stats->n_tokens_reused = c->first * c->n_prefix - c->n_computed;
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
	session->tokens.n = 0;
	session->n_seqs = 0;
	session->n_rows = 0;
	IE_TRY_GOTO(check_request(&c));
	if (request->n_inputs == 0)
		goto done;
	IE_TRY_GOTO(acquire_prefix(&c));
	IE_TRY_GOTO(embed_texts(&c));
done:
	release_prefix(session);
	return code;
}
