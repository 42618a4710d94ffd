/*
 * session.c
 *	  Sessions and their memory: see session.h.
 */
#include "model/session.h"
#include "base/bytes.h"
#include "base/parallel.h"

/* Scratch is allocated in units of this, so that growing texts do not mean a new block each */
#define BLOCK_UNIT ((size_t) 256 * 1024)

ie_code
ie_session_create(const ie_model *model, const ie_session_config *config, ie_session **session,
				  ie_error *err)
{
	ie_session *s;

	if (config->n_threads < 1 || config->n_threads > IE_MAX_THREADS)
	{
		ie_fail(err, IE_INVALID, "number of threads is out of range");
		return ie_detail(err, "It is %u, 1 to %d is allowed.", config->n_threads, IE_MAX_THREADS);
	}
	s = ie_alloc0(model->host, sizeof(*s));
	if (s == NULL)
		return ie_nomem(err, sizeof(*s));
	s->model = model;
	s->config = *config;
	s->kernels = ie_kernels_select();
	s->prefixes.host = model->host;
	s->prefixes.max_bytes = config->prefix_cache_bytes;
	*session = s;
	return IE_OK;
}

static void
drop_block(ie_session *session)
{
	ie_arena_reset(&session->arena);
	ie_release(session->model->host, session->block);
	session->arena = (ie_arena) {0};
	session->block = NULL;
	session->block_bytes = 0;
}

void
ie_session_free(ie_session *session)
{
	const ie_host *host;

	if (session == NULL)
		return;
	host = session->model->host;
	drop_block(session);
	while (ie_prefix_evict(&session->prefixes, NULL))
		continue;
	ie_release(host, session->tokens.ids);
	ie_release(host, session->suffix.ids);
	ie_release(host, session);
}

void
ie_session_set_trace(ie_session *session, const ie_trace *trace)
{
	session->trace = trace;
}

/* Without the block and idle prefixes: what cannot be given up during a call */
static size_t
held_bytes(const ie_session *session)
{
	return sizeof(*session) + session->extra_bytes +
		(session->tokens.capacity + session->suffix.capacity) * sizeof(int32_t) +
		(session->prefix != NULL ? session->prefix->bytes : 0);
}

size_t
ie_session_bytes(const ie_session *session)
{
	const bool	counted = session->prefix != NULL && session->prefix->cached;

	return held_bytes(session) - (counted ? session->prefix->bytes : 0) +
		session->prefixes.bytes + session->block_bytes;
}

void
ie_session_trim(ie_session *session, size_t keep_bytes)
{
	const size_t token_bytes = session->tokens.capacity * sizeof(int32_t);

	if (session->block_bytes + token_bytes <= keep_bytes)
		return;
	drop_block(session);
	ie_release(session->model->host, session->tokens.ids);
	session->tokens = (ie_tokens) {0};
}

/* Held, scratch with its alignment, and extra; SIZE_MAX if not representable */
static size_t
wanted_bytes(const ie_session *session, size_t scratch_bytes, size_t extra_bytes)
{
	size_t		sum;

	if (!ie_size_add(scratch_bytes, extra_bytes, &sum) ||
		!ie_size_add(sum, held_bytes(session) + IE_ARENA_ALIGN, &sum))
		return SIZE_MAX;
	return sum;
}

bool
ie_session_fits(const ie_session *session, size_t scratch_bytes, size_t extra_bytes)
{
	const size_t limit = session->config.max_bytes > 0 ? session->config.max_bytes : SIZE_MAX - 1;

	return wanted_bytes(session, scratch_bytes, extra_bytes) <= limit;
}

ie_code
ie_session_too_large(const ie_session *session, size_t scratch_bytes, size_t extra_bytes,
					 ie_error *err)
{
	ie_fail(err, IE_LIMIT, "embedding needs %zu kB of memory, %zu kB are allowed",
			wanted_bytes(session, scratch_bytes, extra_bytes) / 1024 + 1,
			session->config.max_bytes / 1024);
	return ie_hint(err, "Raise the memory limit, or embed shorter texts.");
}

size_t
ie_session_scratch(ie_pass *pass)
{
	ie_arena	count = {0};

	ie_pass_layout(pass, &count);
	return count.overflow ? SIZE_MAX : count.used;
}

/* Would a block of that many bytes, beside all that is held now, exceed the limit? */
static bool
exceeds(const ie_session *session, size_t bytes)
{
	const size_t limit = session->config.max_bytes;
	const size_t others = ie_session_bytes(session) - session->block_bytes;

	return limit > 0 && (others > limit || bytes > limit - others);
}

/* A block of at least scratch_bytes behind its alignment; its content is lost. */
static ie_code
reserve(ie_session *session, size_t scratch_bytes, ie_error *err)
{
	const size_t exact = scratch_bytes + IE_ARENA_ALIGN;
	size_t		bytes = session->block_bytes;
	uintptr_t	aligned;

	if (bytes < exact)
	{
		drop_block(session);
		bytes = exact < SIZE_MAX - BLOCK_UNIT ? ie_round_up(exact, BLOCK_UNIT) : exact;
	}
	while (exceeds(session, bytes) && ie_prefix_evict(&session->prefixes, session->prefix))
		continue;
	if (exceeds(session, bytes))
	{
		drop_block(session);
		bytes = exact;			/* ie_session_fits() has seen that this is possible */
	}
	if (session->block == NULL)
	{
		session->block = ie_alloc(session->model->host, bytes);
		if (session->block == NULL)
			return ie_nomem(err, bytes);
		session->block_bytes = bytes;
	}
	aligned = ie_round_up((uintptr_t) session->block, IE_ARENA_ALIGN);
	ie_arena_reset(&session->arena);
	session->arena.base = (uint8_t *) aligned;
	session->arena.size = session->block_bytes - (size_t) (aligned - (uintptr_t) session->block);
	return IE_OK;
}

ie_code
ie_session_place(ie_session *session, ie_pass *pass, ie_error *err)
{
	const size_t scratch_bytes = ie_session_scratch(pass);

	if (!ie_session_fits(session, scratch_bytes, 0))
		return ie_session_too_large(session, scratch_bytes, 0, err);
	IE_TRY(reserve(session, scratch_bytes, err));
	ie_pass_layout(pass, &session->arena);
	if (session->arena.overflow)
		return ie_fail(err, IE_INTERNAL, "scratch of a pass was sized too small");
	return IE_OK;
}
