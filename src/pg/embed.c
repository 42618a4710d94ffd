/*
 * embed.c
 *	  Embedding with cache, counters, overflow notice and interrupts.
 */
#include "postgres.h"

#include "access/xact.h"

#include "pg/cache.h"
#include "pg/embed.h"
#include "pg/engine.h"
#include "pg/guc.h"

/* Scratch that a session may keep for its next call. */
#define KEEP_BYTES (16 * 1024 * 1024)

/* Where text number i comes from, for messages; 0 = not from an array. */
static int
element_of(const EmbedCall *call, int i)
{
	return call->elements != NULL ? call->elements[i] : 0;
}

static void
check_input(const EmbedCall *call, const ie_text *inputs, int i)
{
	Failure		failure;

	if (inputs[i].len > 0)
		return;
	failure_set(&failure, ERRCODE_INVALID_PARAMETER_VALUE, "text to embed must not be empty");
	strlcpy(failure.error.hint, "Use NULL for a row without text.", sizeof(failure.error.hint));
	failure.element = element_of(call, i);
	failure.of_statement = call->of_statement;
	failure_report(ERROR, &failure);
}

/* One notice for a statement of the client, however many rows it has. */
static void
notice_cut(Cut cut)
{
	static TimestampTz noticed_statement;
	TimestampTz statement = GetCurrentStatementStartTimestamp();

	if (cut.tokens == 0 || statement == noticed_statement)
		return;
	noticed_statement = statement;
	ereport(NOTICE,
			(errmsg("text of %zu tokens was cut to %zu tokens", cut.tokens, cut.limit),
			 errdetail("Other texts that this statement cuts are not reported.")));
}

/* Texts that the cache does not have, on their way through the engine. */
typedef struct Missing
{
	int			n;
	ie_text		inputs[EMBED_BATCH];
	int			place[EMBED_BATCH]; /* among the caller's inputs */
} Missing;

/* Fill in what the cache has; the rest is what is missing. */
static void
look_up(EmbedCall *call, const ie_text *inputs, int n, float *vectors, Missing *missing)
{
	int			n_embd = call->model->info.n_embd;
	CacheKey	key = {&call->model->file.key, call->instruction};

	missing->n = 0;
	for (int i = 0; i < n; i++)
	{
		Cut			cut;

		check_input(call, inputs, i);
		key.input = inputs[i];

		/* a cut text is an error again where it may not be cut */
		if (cache_get(&key, vectors + (size_t) i * n_embd, n_embd, &cut) &&
			(cut.tokens == 0 || guc_on_overflow == OVERFLOW_TRUNCATE))
			notice_cut(cut);
		else
		{
			missing->place[missing->n] = i;
			missing->inputs[missing->n++] = inputs[i];
		}
	}
	call->stats.texts += n;
	call->stats.cache_hits += n - missing->n;
}

/* Embed what is missing into vectors [missing->n, n_embd]. */
static void
run_engine(EmbedCall *call, const Missing *missing, float *vectors, ie_embed_stats *stats)
{
	const ie_api *api = engine_api();
	Model	   *model = call->model;
	ie_session *session = model_session(model);
	Failure		failure = {.model = model->file.name, .of_statement = call->of_statement};
	const ie_embed_request request = {
		.instruction = call->instruction,
		.inputs = missing->inputs,
		.n_inputs = missing->n,
		.truncate = guc_on_overflow == OVERFLOW_TRUNCATE
	};
	ie_code		code;

	host_begin(&model->host);
	do
	{
		memset(stats, 0, sizeof(*stats));
		code = api->embed(session, &request, vectors, stats, &failure.error);

		/* before an interrupt may raise: a long text's scratch is not kept for nothing */
		if (api->session_bytes(session) > KEEP_BYTES)
			api->session_trim(session, KEEP_BYTES);
	} while (host_again(&model->host, code));
	if (code == IE_OK)
		return;
	if (code == IE_LIMIT && stats->n_truncated > 0)
		failure.element = element_of(call, missing->place[stats->first_truncated]);
	failure_report(ERROR, &failure);
}

void
embed_begin(EmbedCall *call, Model *model, ie_text instruction)
{
	memset(call, 0, sizeof(*call));
	call->model = model;
	call->instruction = instruction;
	INSTR_TIME_SET_CURRENT(call->start);
}

void
embed_texts(EmbedCall *call, const ie_text *inputs, int n, float *vectors)
{
	int			n_embd = call->model->info.n_embd;
	CacheKey	key = {&call->model->file.key, call->instruction};
	Missing		missing;
	ie_embed_stats stats;
	float	   *computed;
	Cut			cut;

	Assert(n <= EMBED_BATCH);
	look_up(call, inputs, n, vectors, &missing);
	if (missing.n == 0)
		return;

	computed = palloc(sizeof(float) * n_embd * missing.n);
	run_engine(call, &missing, computed, &stats);
	call->stats.tokens += stats.n_tokens;
	cut.tokens = stats.truncated_tokens;
	cut.limit = stats.truncated_limit;
	notice_cut(cut);
	for (int i = 0; i < missing.n; i++)
	{
		const float *vector = computed + (size_t) i * n_embd;

		memcpy(vectors + (size_t) missing.place[i] * n_embd, vector, sizeof(float) * n_embd);

		/* which texts of several were cut, and to what, is not known */
		key.input = missing.inputs[i];
		if (stats.n_truncated == 0 || missing.n == 1)
			cache_put(&key, vector, n_embd, cut);
	}
	pfree(computed);
}

void
embed_end(EmbedCall *call)
{
	const CallStats *stats = &call->stats;
	const char *model = call->model->file.name;
	instr_time	duration;

	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, call->start);
	call->stats.ms = INSTR_TIME_GET_MILLISEC(duration);
	stats_add(model, stats);
	if (guc_log_min_duration < 0 || stats->ms < guc_log_min_duration)
		return;
	ereport(LOG,
			(errmsg("embedding took %.3f ms: model \"%s\", texts " INT64_FORMAT ", from cache "
					INT64_FORMAT ", tokens " INT64_FORMAT,
					stats->ms, model, stats->texts, stats->cache_hits, stats->tokens)));
}
