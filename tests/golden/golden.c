/*
 * golden.c
 *	  Comparing the engine with a golden file.
 *
 * The model is untrained, so all its embeddings lie close together (cosines of
 * 0.97 between any two texts) and a plain cosine forgives much.  Hence the
 * second look at the vectors less their mean, and at who is whose neighbour.
 */
#include "golden.h"

#include "base/bytes.h"
#include "model/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define N_NEIGHBOURS 10
#define BATCH 32				/* texts of one call */

const golden_bounds golden_bounds_f32 = {0.99999, 0.99999, 0.9999, 0.99, 2e-3};
const golden_bounds golden_bounds_quantized = {0.998, 0.9995, 0.98, 0.95, 0.05};

static bool
fail(const golden_run *run, const char *message, const char *detail)
{
	printf("%s: %s %s\n", run->model_path, message, detail);
	return false;
}

/* ------------------------------------------------------------------ figures */

static void
read_f16(const uint8_t *src, size_t n, float *x)
{
	for (size_t i = 0; i < n; i++)
		x[i] = ie_f16_to_f32((uint16_t) (src[2 * i] | src[2 * i + 1] << 8));
}

/* The reference's vectors of n texts under instruction i: [n, C] */
static void
read_vectors(const golden_file *g, uint32_t i, size_t n, float *x)
{
	const size_t C = g->n_embd;

	read_f16(g->vectors[i], n * C, x);
	for (size_t k = 0; k < n * C; k++)
	{
		ie_reader	r = {g->means[i], C * 4, k % C * 4};
		float		mean = 0;

		ie_read_f32(&r, &mean);
		x[k] += mean;
	}
}

static double
cosine(const float *a, const float *b, size_t n)
{
	double		ab = 0,
				aa = 0,
				bb = 0;

	for (size_t i = 0; i < n; i++)
	{
		ab += (double) a[i] * b[i];
		aa += (double) a[i] * a[i];
		bb += (double) b[i] * b[i];
	}
	return ab / sqrt(aa * bb);
}

/* |actual - expected| / |expected| */
static double
relative_error(const float *actual, const float *expected, size_t n)
{
	double		d = 0,
				e = 0;

	for (size_t i = 0; i < n; i++)
	{
		const double diff = (double) actual[i] - expected[i];

		d += diff * diff;
		e += (double) expected[i] * expected[i];
	}
	return sqrt(d / e);
}

static void
subtract_mean(const float *from, float *x, size_t n, size_t C)
{
	for (size_t c = 0; c < C; c++)
	{
		double		sum = 0;

		for (size_t i = 0; i < n; i++)
			sum += from[i * C + c];
		for (size_t i = 0; i < n; i++)
			x[i * C + c] -= (float) (sum / (double) n);
	}
}

/* The nearest rows to row i, nearest first; sims: scratch [n] */
static void
nearest(const float *x, size_t n, size_t C, size_t i, float *sims, size_t *found)
{
	for (size_t j = 0; j < n; j++)
	{
		float		lanes[8] = {0};

		for (size_t c = 0; c + 8 <= C; c += 8)
		{
			for (int k = 0; k < 8; k++)
				lanes[k] += x[i * C + c + k] * x[j * C + c + k];
		}
		sims[j] = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
			((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
	}
	sims[i] = -2;
	for (size_t k = 0; k < N_NEIGHBOURS; k++)
	{
		size_t		best = 0;

		for (size_t j = 1; j < n; j++)
		{
			if (sims[j] > sims[best])
				best = j;
		}
		found[k] = best;
		sims[best] = -2;
	}
}

/* Share of neighbours that both sides name */
static double
neighbours(const float *a, const float *b, size_t n, size_t C, float *sims)
{
	size_t		common = 0;

	for (size_t i = 0; i < n; i++)
	{
		size_t		of_a[N_NEIGHBOURS],
					of_b[N_NEIGHBOURS];

		nearest(a, n, C, i, sims, of_a);
		nearest(b, n, C, i, sims, of_b);
		for (int k = 0; k < N_NEIGHBOURS * N_NEIGHBOURS; k++)
			common += of_a[k / N_NEIGHBOURS] == of_b[k % N_NEIGHBOURS];
	}
	return (double) common / (double) (n * N_NEIGHBOURS);
}

/* actual, expected: [n, C]; both are centred afterwards.  sims: scratch [n] */
static golden_scores
score(float *actual, float *expected, size_t n, size_t C, float *sims)
{
	golden_scores s = {.cos_min = 2, .centred_min = 2};

	for (size_t i = 0; i < n; i++)
	{
		const double cos = cosine(actual + i * C, expected + i * C, C);

		s.cos_mean += cos / (double) n;
		if (!(cos >= s.cos_min))
		{
			s.cos_min = cos;
			s.worst = i;
		}
	}
	s.neighbours = neighbours(actual, expected, n, C, sims);
	subtract_mean(expected, actual, n, C);
	subtract_mean(expected, expected, n, C);
	for (size_t i = 0; i < n; i++)
	{
		const double cos = cosine(actual + i * C, expected + i * C, C);

		if (!(cos >= s.centred_min))
		{
			s.centred_min = cos;
			s.worst_centred = i;
		}
	}
	return s;
}

static uint32_t
text_count(const golden_file *g, const golden_run *run)
{
	return run->max_texts > 0 && run->max_texts < g->n_texts ? run->max_texts : g->n_texts;
}

static bool
compare_vectors(const golden_file *g, const golden_run *run, ie_session *session,
				golden_result *result)
{
	const size_t n = text_count(g, run),
				C = g->n_embd;
	float	   *actual = malloc(n * C * sizeof(float));
	float	   *expected = malloc(n * C * sizeof(float));
	float	   *sims = malloc(n * sizeof(float));
	ie_error	err;
	bool		ok = actual != NULL && expected != NULL && sims != NULL;

	for (uint32_t i = 0; ok && i < g->n_instructions; i++)
	{
		for (size_t first = 0; ok && first < n; first += BATCH)
		{
			const ie_embed_request request = {
				.instruction = g->instructions[i],
				.inputs = g->texts + first,
				.n_inputs = n - first < BATCH ? n - first : BATCH,
			};

			if (ie_embed(session, &request, actual + first * C, NULL, &err) != IE_OK)
				ok = fail(run, err.message, err.detail);
		}
		read_vectors(g, i, n, expected);
		if (ok)
			result->scores[i] = score(actual, expected, n, C, sims);
	}
	free(actual);
	free(expected);
	free(sims);
	return ok;
}

/* ------------------------------------------------------------------- traces */

/* All states of one text, as the engine shows them */
typedef struct collector
{
	size_t		n_layer;
	size_t		C;
	size_t		n_rows;			/* expected */
	float	   *states;			/* [2 + 2 L][n_rows][C] */
	size_t	   *seen;			/* [2 + 2 L] rows so far */
} collector;

static void
collect(void *arg, const ie_trace_event *event)
{
	collector  *c = arg;
	size_t		state;

	if (strcmp(event->point, "embd") == 0)
		state = 0;
	else if (strcmp(event->point, "norm") == 0)
		state = 1 + 2 * c->n_layer;
	else
		state = 1 + 2 * (size_t) event->layer + (strcmp(event->point, "out") == 0);
	for (size_t row = 0; row < event->n_rows; row++)
	{
		if (c->seen[state] < c->n_rows)
			memcpy(c->states + (state * c->n_rows + c->seen[state]) * c->C,
				   event->data + row * c->C, c->C * sizeof(float));
		c->seen[state]++;
	}
}

static void
state_name(size_t state, size_t n_layer, char *name)
{
	if (state == 0)
		snprintf(name, 32, "embd");
	else if (state == 1 + 2 * n_layer)
		snprintf(name, 32, "norm");
	else
		snprintf(name, 32, "l%zu.%s", (state - 1) / 2, state % 2 == 1 ? "attn_out" : "out");
}

/* The engine shows the final norm of the rows that pooling needs: the last ones. */
static void
compare_states(const golden_file *g, const golden_trace *t, const collector *c, float *expected,
			   const golden_bounds *bounds, golden_result *result)
{
	const size_t C = g->n_embd,
				n_kept = t->n_rows - t->first_row;

	for (size_t state = 0; state < 2 + 2 * (size_t) g->n_layer; state++)
	{
		const size_t missing = t->n_rows - c->seen[state];
		const size_t first = missing > t->first_row ? missing : t->first_row;

		for (size_t row = first; row < t->n_rows; row++)
		{
			double		error;

			read_f16(t->states + (state * n_kept + row - t->first_row) * C * 2, C, expected);
			error = relative_error(c->states + (state * c->n_rows + row - missing) * C, expected,
								   C);
			if (!(error <= result->state_error))
			{
				result->state_error = error;
				state_name(state, g->n_layer, result->state_worst);
			}
			if (!(error <= bounds->state) && result->state_wrong[0] == '\0')
				state_name(state, g->n_layer, result->state_wrong);
		}
	}
}

static bool
compare_trace(const golden_file *g, const golden_trace *t, const golden_run *run,
			  ie_session *session, const golden_bounds *bounds, golden_result *result)
{
	const size_t n_states = 2 + 2 * (size_t) g->n_layer,
				C = g->n_embd;
	collector	c = {.n_layer = g->n_layer, .C = C, .n_rows = t->n_rows};
	const ie_trace trace = {&c, collect};
	const ie_embed_request request = {
		.instruction = g->instructions[t->instruction],
		.inputs = g->texts + t->text,
		.n_inputs = 1,
	};
	float	   *vector = malloc(2 * C * sizeof(float));
	ie_error	err = {0};
	bool		ok;

	c.states = malloc(n_states * t->n_rows * C * sizeof(float));
	c.seen = calloc(n_states, sizeof(size_t));
	ok = c.states != NULL && c.seen != NULL && vector != NULL;
	if (ok)
	{
		ie_session_set_trace(session, &trace);
		ok = ie_embed(session, &request, vector, NULL, &err) == IE_OK;
		ie_session_set_trace(session, NULL);
		if (!ok)
			fail(run, err.message, err.detail);
	}
	for (size_t state = 0; ok && state < n_states; state++)
	{
		const bool	is_norm = state == n_states - 1;

		if (is_norm ? c.seen[state] == 0 || c.seen[state] > t->n_rows : c.seen[state] != t->n_rows)
		{
			printf("%s: text %u has %zu positions, the reference has %u\n", run->model_path,
				   t->text, c.seen[state], t->n_rows);
			ok = false;
		}
	}
	if (ok)
		compare_states(g, t, &c, vector + C, bounds, result);
	free(c.states);
	free(c.seen);
	free(vector);
	return ok;
}

/* --------------------------------------------------------------------- all */

bool
golden_compare(const golden_file *g, const golden_run *run, const golden_bounds *bounds,
			   golden_result *result)
{
	const ie_session_config config = {
		.compute = run->compute,
		.n_threads = run->n_threads,
	};
	ie_model   *model = NULL;
	ie_session *session = NULL;
	ie_model_info info;
	ie_error	err = {0};
	bool		ok = false;

	memset(result, 0, sizeof(*result));
	if (ie_model_open(&golden_host, run->model_path, &model, &err) != IE_OK)
		return fail(run, err.message, err.detail);
	ie_model_get_info(model, &info);
	if (info.n_embd != g->n_embd || info.n_layer != g->n_layer)
		fail(run, "width or number of layers differ from the golden file's", "");
	else if (ie_session_create(model, &config, &session, &err) != IE_OK)
		fail(run, err.message, err.detail);
	else
		ok = compare_vectors(g, run, session, result);
	for (uint32_t i = 0; ok && i < g->n_traces; i++)
		ok = compare_trace(g, &g->traces[i], run, session, bounds, result);
	ie_session_free(session);
	ie_model_close(model);
	return ok;
}

static bool
judge(bool quiet, const char *what, double value, double bound, bool at_least)
{
	const bool	ok = at_least ? value >= bound : value <= bound;

	if (!quiet)
		printf("  %-22s %.7f  %s %g  %s\n", what, value, at_least ? ">=" : "<=", bound,
			   ok ? "ok" : "FAILED");
	return ok;
}

static bool
judge_scores(bool quiet, const golden_scores *s, const golden_bounds *bounds)
{
	const bool	ok[] = {
		judge(quiet, "smallest cosine", s->cos_min, bounds->cos_min, true),
		judge(quiet, "mean cosine", s->cos_mean, bounds->cos_mean, true),
		judge(quiet, "smallest, less mean", s->centred_min, bounds->centred_min, true),
		judge(quiet, "common neighbours", s->neighbours, bounds->neighbours, true)
	};

	if (!quiet)
		printf("  worst texts: %zu, less mean %zu\n", s->worst, s->worst_centred);
	return ok[0] && ok[1] && ok[2] && ok[3];
}

bool
golden_judge(const golden_file *g, const golden_run *run, const golden_bounds *bounds,
			 const golden_result *result, const char *title)
{
	const bool	quiet = title == NULL;
	bool		ok = true;

	for (uint32_t i = 0; i < g->n_instructions; i++)
	{
		if (!quiet)
			printf("%s, %u texts, instruction \"%.*s\"\n", title, text_count(g, run),
				   (int) g->instructions[i].len, g->instructions[i].data);
		ok = judge_scores(quiet, &result->scores[i], bounds) && ok;
	}
	if (g->n_traces > 0)
	{
		if (!quiet)
			printf("%s, states of all layers, %u texts\n", title, g->n_traces);
		ok = judge(quiet, "largest relative error", result->state_error, bounds->state, false) && ok;
		if (!quiet)
			printf("  largest at %s\n", result->state_worst);
	}
	if (result->state_wrong[0] != '\0')
	{
		if (!quiet)
			printf("  the first wrong state is %s\n", result->state_wrong);
		ok = false;
	}
	return ok;
}
