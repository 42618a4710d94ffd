/*
 * prompt.h
 *	  A call's texts under one instruction, as sequences of a pass.
 *
 *		ie_prompt_begin(&prompt);				-- prefix computed or found, suffix encoded
 *		ie_prompt_encode(&prompt, text, i, &seq);	-- as often as needed
 *		ie_prompt_end(&prompt);					-- also after a failure
 *
 * A prefix (template and instruction before the text) is computed in a pass of
 * its own, unless the session has kept it; session->prefix is then what passes
 * over texts begin with, NULL if there is none.
 */
#ifndef IE_PROMPT_H
#define IE_PROMPT_H

#include "model/session.h"

typedef struct ie_prompt
{
	/* set by the caller */
	ie_session *session;
	ie_text		instruction;
	bool		truncate;		/* cut texts that do not fit, instead of IE_LIMIT */
	size_t		n_behind;		/* positions to keep free behind the suffix */
	ie_embed_stats *stats;		/* zeroed */
	ie_error   *err;

	/* set by ie_prompt_begin() */
	size_t		n_prefix;		/* positions of the prefix */
	size_t		n_computed;		/* of them, computed in this call: all or 0 */
} ie_prompt;

/* Errors: IE_LIMIT (instruction and template fill the context; memory), IE_INVALID (not UTF-8),
 * IE_NOMEM, IE_CANCELED. */
ie_code		ie_prompt_begin(ie_prompt *prompt);

/*
 * Append text number i and the suffix to the session's tokens, and describe
 * them in *seq, without ids: the list may move.  n_body: tokens of the text.
 *
 * Errors: IE_LIMIT (too long, both numbers in the message), IE_INVALID,
 * IE_NOMEM, IE_CANCELED.
 */
ie_code		ie_prompt_encode(const ie_prompt *prompt, ie_text text, size_t i, ie_seq *seq,
							 size_t *n_body);

/* A pass of the session, without sequences and prefix */
ie_pass		ie_prompt_pass(const ie_prompt *prompt);

void		ie_prompt_end(ie_prompt *prompt);

#endif							/* IE_PROMPT_H */
