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

static void
check_input(ie_text input)
{
	if (input.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("text to embed must not be empty"),
				 errhint("Use NULL for a row without text.")));
}

/* One notice for a statement of the client, however many rows it has. */
static void
notice_truncated(const ie_embed_stats *stats)
{
	static TimestampTz noticed_statement;
	TimestampTz statement = GetCurrentStatementStartTimestamp();

	if (stats->n_truncated == 0 || statement == noticed_statement)
		return;
	noticed_statement = statement;
	ereport(NOTICE,
			(errmsg("text of %zu tokens was cut to %zu tokens",
					stats->truncated_tokens, stats->truncated_limit),
			 errdetail("Other texts that this statement cuts are not reported.")));
}

static void
run_engine(Model *model, const ie_embed_request *request, float *vectors, ie_embed_stats *stats)
{
	const ie_api *api = engine_api();
	ie_session *session = model_session(model);
	ie_error	error;
	ie_code		code;

	host_begin(&model->host);
	do
	{
		memset(stats, 0, sizeof(*stats));
		code = api->embed(session, request, vectors, stats, &error);

		/* before an interrupt may raise: a long text's scratch is not kept for nothing */
		if (api->session_bytes(session) > KEEP_BYTES)
			api->session_trim(session, KEEP_BYTES);
	} while (host_again(&model->host, code));
	if (code != IE_OK)
		failure_raise(&error, model->file.name);
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
	Model	   *model = call->model;
	size_t		n_embd = model->info.n_embd;
	CacheKey	key = {&model->file.key, call->instruction};
	ie_text		missing[EMBED_BATCH];
	int			place[EMBED_BATCH];
	int			n_missing = 0;
	float	   *computed;
	ie_embed_request request = {.instruction = call->instruction, .inputs = missing};
	ie_embed_stats stats;

	Assert(n <= EMBED_BATCH);
	for (int i = 0; i < n; i++)
	{
		check_input(inputs[i]);
		key.input = inputs[i];
		if (cache_get(&key, vectors + i * n_embd, n_embd))
			continue;
		place[n_missing] = i;
		missing[n_missing++] = inputs[i];
	}
	call->stats.texts += n;
	call->stats.cache_hits += n - n_missing;
	if (n_missing == 0)
		return;

	request.n_inputs = n_missing;
	request.truncate = guc_on_overflow == OVERFLOW_TRUNCATE;
	computed = palloc(sizeof(float) * n_embd * n_missing);
	run_engine(model, &request, computed, &stats);
	call->stats.tokens += stats.n_tokens;
	notice_truncated(&stats);
	for (int i = 0; i < n_missing; i++)
	{
		const float *vector = computed + i * n_embd;

		memcpy(vectors + place[i] * n_embd, vector, sizeof(float) * n_embd);

		/* a cut text must be an error again once on_overflow says so */
		key.input = missing[i];
		if (stats.n_truncated == 0)
			cache_put(&key, vector, n_embd);
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
