/*
 * prompt.c
 *	  Template, instruction and text to tokens; the prefix to keys and values.
 */
#include "model/prompt.h"

ie_pass
ie_prompt_pass(const ie_prompt *prompt)
{
	const ie_session *s = prompt->session;

	return (ie_pass)
	{
		.host = s->model->host,
		.config = &s->model->config,
		.weights = &s->model->weights,
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

static ie_code
encode_suffix(const ie_prompt *p)
{
	const ie_definition *d = &p->session->model->definition;

	p->session->suffix.n = 0;
	return ie_vocab_encode_template(p->session->model->vocab,
									p->instruction.len > 0 ? d->suffix : d->suffix_empty,
									"instruction", p->instruction, &p->session->suffix, p->err);
}

/* Positions that every text of this call needs beside its own tokens */
static size_t
overhead(const ie_prompt *p)
{
	return p->n_prefix + p->session->suffix.n + p->n_behind;
}

/* Compute keys and values of the session's tokens, into session->prefix. */
static ie_code
compute_prefix(ie_prompt *p)
{
	ie_session *s = p->session;
	const ie_model *m = s->model;
	const size_t bytes = ie_prefix_bytes(&m->config, p->instruction, p->n_prefix);
	const bool	keep = ie_prefix_make_room(&s->prefixes, bytes);
	const ie_seq seq = {.ids = s->tokens.ids, .n_tokens = p->n_prefix};
	ie_kv		no_place = {0};
	ie_pass		pass = ie_prompt_pass(p);
	size_t		scratch_bytes;

	pass.seqs = &seq;
	pass.B = 1;
	pass.store = &no_place;
	scratch_bytes = ie_session_scratch(&pass);
	if (!ie_session_fits(s, scratch_bytes, bytes))
		return ie_session_too_large(s, scratch_bytes, bytes, p->err);
	IE_TRY(ie_prefix_create(m->host, &m->config, p->instruction, p->n_prefix, &s->prefix,
							p->err));
	pass.store = &s->prefix->kv;
	IE_TRY(ie_session_place(s, &pass, p->err));
	IE_TRY(ie_forward(&pass, p->err));
	p->n_computed = p->n_prefix;
	p->stats->n_tokens += p->n_prefix;
	if (keep)
		ie_prefix_keep(&s->prefixes, s->prefix);
	return IE_OK;
}

/* Set session->prefix to the call's prefix: from the cache, or computed now. */
static ie_code
acquire_prefix(ie_prompt *p)
{
	ie_session *s = p->session;

	s->prefix = ie_prefix_find(&s->prefixes, p->instruction);
	if (s->prefix != NULL)
		p->n_prefix = s->prefix->kv.n;
	else
	{
		IE_TRY(ie_prompt_prefix(s->model, p->instruction, &s->tokens, p->err));
		p->n_prefix = s->tokens.n;
	}
	if (overhead(p) >= s->model->config.n_ctx)
	{
		ie_fail(p->err, IE_LIMIT,
				"instruction of %zu tokens with its template does not fit the model's context "
				"of %u tokens", overhead(p), s->model->config.n_ctx);
		return ie_hint(p->err, "Use a shorter instruction.");
	}
	if (s->prefix == NULL && p->n_prefix > 0)
		IE_TRY(compute_prefix(p));
	s->tokens.n = 0;
	return IE_OK;
}

ie_code
ie_prompt_begin(ie_prompt *prompt)
{
	prompt->session->tokens.n = 0;
	IE_TRY(encode_suffix(prompt));
	return acquire_prefix(prompt);
}

void
ie_prompt_end(ie_prompt *prompt)
{
	ie_session *s = prompt->session;

	if (s->prefix != NULL && !s->prefix->cached)
		ie_prefix_free(s->model->host, s->prefix);
	s->prefix = NULL;
}

/* ------------------------------------------------------------------- texts */

/* Text number i has n tokens, and room for fewer is left: cut it, or refuse it. */
static ie_code
overflow(const ie_prompt *p, size_t i, size_t n, size_t room)
{
	ie_embed_stats *stats = p->stats;

	if (stats->n_truncated++ == 0)
	{
		stats->first_truncated = i;
		stats->truncated_tokens = n;
		stats->truncated_limit = room;
	}
	if (!p->truncate)
	{
		ie_fail(p->err, IE_LIMIT,
				"text of %zu tokens does not fit the model's context of %u tokens",
				n, p->session->model->config.n_ctx);
		ie_detail(p->err, "Instruction and template take %zu tokens, %zu are left for the text.",
				  overhead(p), room);
		return ie_hint(p->err, "Shorten the text, or set \"instemb.on_overflow\" to \"truncate\".");
	}
	p->session->tokens.n -= n - room;
	return IE_OK;
}

ie_code
ie_prompt_encode(const ie_prompt *prompt, ie_text text, size_t i, ie_seq *seq, size_t *n_body)
{
	ie_session *s = prompt->session;
	const ie_model *m = s->model;
	const size_t room = m->config.n_ctx - overhead(prompt);	/* at least 1 */
	const size_t start = s->tokens.n;

	IE_TRY(ie_vocab_encode_template(m->vocab, m->definition.body, "input", text, &s->tokens,
									prompt->err));
	*n_body = s->tokens.n - start;
	if (*n_body > room)
	{
		IE_TRY(overflow(prompt, i, *n_body, room));
		*n_body = room;
	}
	for (size_t j = 0; j < s->suffix.n; j++)
		IE_TRY(ie_tokens_push(m->host, &s->tokens, s->suffix.ids[j], prompt->err));
	*seq = (ie_seq) {.n_tokens = s->tokens.n - start};
	if (seq->n_tokens == 0 && prompt->n_behind == 0)
		return ie_fail(prompt->err, IE_INVALID, "text has no tokens");
	return IE_OK;
}
