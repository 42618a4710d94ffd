/*
 * embed_fixture.h
 *	  A small model with texts and the vectors that they have when embedded alone.
 *
 *		open_fixture(&f, &spec, &random);		-- aborts if the model does not open
 *		close_fixture(&f);						-- checks that nothing is left allocated
 */
#ifndef EMBED_FIXTURE_H
#define EMBED_FIXTURE_H

#include "model_builder.h"

#define N_TEXTS 12
#define N_SHORT 8				/* the first of them, for the readable kernels, which are slow */

/* The host of a fixture also keeps the size of the largest allocation. */
typedef struct fixture
{
	test_host_state state;		/* first: the host's argument */
	size_t		largest;
	ie_host		host;
	ie_model   *model;
	size_t		C;
	char		buffer[N_TEXTS][2048];
	ie_text		texts[N_TEXTS];
	float	   *expected;		/* [N_TEXTS, C] each embedded alone, one thread, no cache */
} fixture;

static const ie_text instruction = {"Is this product suitable for outdoor use?", 41};
static const ie_session_config plain = {.n_threads = 1};

static inline ie_session *
open_session(const ie_model *model, ie_session_config config)
{
	ie_session *session = NULL;
	ie_error	err = {0};

	CHECK_INT(ie_session_create(model, &config, &session, &err), IE_OK);
	return session;
}

static inline ie_code
embed(ie_session *session, const ie_text *texts, size_t n, float *vectors, ie_embed_stats *stats)
{
	const ie_embed_request request = {instruction, texts, n, false};
	ie_error	err = {0};
	const ie_code code = ie_embed(session, &request, vectors, stats, &err);

	CHECK_INT(err.code, code);
	return code;
}

static inline void *
measuring_alloc(void *arg, size_t size)
{
	fixture    *f = arg;

	if (size > f->largest)
		f->largest = size;
	return test_alloc(&f->state, size);
}

/* Random words of the given number of bytes, each a token or close to it */
static inline void
fill_text(char *text, size_t len, uint64_t *random)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz ....tttteeee";

	for (size_t i = 0; i < len; i++)
		text[i] = letters[test_random(random) % (sizeof(letters) - 1)];
	text[len] = '\0';
}

static inline void
open_fixture(fixture *f, const model_spec *spec, uint64_t *random)
{
	/* boundaries of tiles and passes lie between */
	static const size_t lengths[N_TEXTS] = {1, 2, 60, 110, 128, 129, 17, 3, 250, 300, 470, 520};
	ie_error	err = {0};
	ie_session *session;

	f->host = test_host(&f->state);
	f->host.arg = f;
	f->host.alloc = measuring_alloc;
	f->largest = 0;
	f->model = mb_open(&f->host, spec, &err);
	CHECK_STR(err.message, "");
	if (f->model == NULL)
		abort();
	f->C = spec->n_embd;
	for (size_t i = 0; i < N_TEXTS; i++)
	{
		fill_text(f->buffer[i], lengths[i], random);
		f->texts[i] = (ie_text) {f->buffer[i], lengths[i]};
	}
	f->expected = calloc(N_TEXTS * f->C, sizeof(float));
	session = open_session(f->model, plain);
	for (size_t i = 0; i < N_TEXTS; i++)
		CHECK_INT(embed(session, &f->texts[i], 1, f->expected + i * f->C, NULL), IE_OK);
	ie_session_free(session);
}

static inline void
close_fixture(fixture *f)
{
	free(f->expected);
	ie_model_close(f->model);
	CHECK_INT(f->state.n_live, 0);
}

#endif							/* EMBED_FIXTURE_H */
