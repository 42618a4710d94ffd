/*
 * answer_fn.c
 *	  instemb_answer(): what the model would answer, as a text.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"

#include "pg/engine.h"
#include "pg/guc.h"
#include "pg/models.h"
#include "pg/stats.h"
#include "pg/text.h"

static void
count_call(const Model *model, const ie_embed_stats *stats, instr_time start)
{
	CallStats	call = {.texts = 1, .tokens = stats->n_tokens};
	instr_time	duration;

	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	call.ms = INSTR_TIME_GET_MILLISEC(duration);
	stats_add(model->file.name, &call);
}

/* The answer in UTF-8, palloc'd, without the space that it begins with. */
static char *
generate(Model *model, const ie_generate_request *request)
{
	const ie_api *api = engine_api();
	ie_session *session = model_session(model);
	const ie_host *host = &model->host.services;
	ie_generated generated;
	ie_embed_stats stats;
	ie_error	error;
	ie_code		code;
	instr_time	start;
	char	   *answer;
	size_t		skip = 0;

	INSTR_TIME_SET_CURRENT(start);
	host_begin(&model->host);
	do
		code = api->generate(session, request, &generated, &stats, &error);
	while (host_again(&model->host, code));
	if (code != IE_OK)
		failure_raise(&error, model->file.name);
	while (skip < generated.len && strchr(" \t\r\n", generated.text[skip]) != NULL)
		skip++;
	answer = pnstrdup(generated.len > 0 ? generated.text + skip : "", generated.len - skip);
	if (generated.text != NULL)
		host->free(host->arg, generated.text);
	count_call(model, &stats, start);
	if (stats.n_truncated > 0)
		ereport(NOTICE,
				(errmsg("text of %zu tokens was cut to %zu tokens",
						stats.truncated_tokens, stats.truncated_limit)));
	return answer;
}

PG_FUNCTION_INFO_V1(instemb_answer);
Datum
instemb_answer(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(2));
	int			max_tokens = PG_GETARG_INT32(3);
	ie_generate_request request = {
		.input = text_view(PG_GETARG_TEXT_PP(0)),
		.instruction = text_view(PG_GETARG_TEXT_PP(1)),
		.truncate = guc_on_overflow == OVERFLOW_TRUNCATE
	};
	char	   *answer;

	if (max_tokens < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"max_tokens\" must be at least 1")));
	request.max_tokens = max_tokens;
	if (name[0] == '\0')
		name = guc_model;
	model_name_check(name, false);
	answer = generate(model_get(name), &request);
	PG_RETURN_TEXT_P(cstring_to_text(pg_any_to_server(answer, strlen(answer), PG_UTF8)));
}
