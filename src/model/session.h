/*
 * session.h
 *	  All mutable state of one caller.
 */
#ifndef IE_SESSION_H
#define IE_SESSION_H

#include "model/model.h"
#include "model/prefix.h"

/*
 * Rows and texts of a pass.  Enough rows to make reading the weights a small
 * part of the work; a text that is longer gets a pass of its own.
 */
#define IE_PASS_ROWS 512
#define IE_PASS_TEXTS 128

struct ie_session
{
	const ie_model *model;
	ie_session_config config;
	const ie_kernels *kernels;
	const ie_trace *trace;		/* NULL = none */

	/* scratch of a pass: one block, replaced when a pass needs more */
	void	   *block;			/* as the host gave it */
	size_t		block_bytes;
	ie_arena	arena;			/* the aligned part of block */

	size_t		extra_bytes;	/* beside the block, of a generation at work */

	ie_prefix_cache prefixes;
	ie_prefix  *prefix;			/* during a call: in use, cached or not; NULL = none */

	/* the pass being put together */
	ie_tokens	suffix;			/* of the call: what every text is followed by */
	ie_tokens	tokens;			/* of its texts, one after another */
	ie_seq		seqs[IE_PASS_TEXTS];
	size_t		n_seqs;
	size_t		n_rows;
};

/*
 * Let fn look into the passes of later calls (NULL = no more); *trace is
 * borrowed.  For tests: see ie_trace_event in forward.h.  A prefix that is
 * taken from the cache is not computed and hence not shown.  With one text per
 * call, rows are consecutive positions: those of the prefix, then the text's.
 */
void		ie_session_set_trace(ie_session *session, const ie_trace *trace);

/*
 * Can the session, without idle prefixes, have scratch_bytes of arena and
 * extra_bytes beside what it holds, within config.max_bytes?
 */
bool		ie_session_fits(const ie_session *session, size_t scratch_bytes, size_t extra_bytes);

/* Lay the pass out in the session's scratch.  Errors: IE_LIMIT, IE_NOMEM. */
ie_code		ie_session_place(ie_session *session, ie_pass *pass, ie_error *err);

/* Bytes of arena that a pass needs, SIZE_MAX if not representable */
size_t		ie_session_scratch(ie_pass *pass);

/* IE_LIMIT with both numbers */
ie_code		ie_session_too_large(const ie_session *session, size_t scratch_bytes,
								 size_t extra_bytes, ie_error *err);

#endif							/* IE_SESSION_H */
