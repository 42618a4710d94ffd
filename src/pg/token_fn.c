/*
 * token_fn.c
 *	  Helpers around a model: tokens, dimensions, shorter embeddings.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/engine.h"
#include "pg/guc.h"
#include "pg/models.h"
#include "pg/text.h"

/* The model named by argument arg, if the call has one, else by instemb.model. */
static Model *
call_model(FunctionCallInfo fcinfo, int arg)
{
	return model_get(PG_NARGS() > arg ? model_name_arg(PG_GETARG_DATUM(arg), true) : guc_model);
}

/* Tokens of the first argument: engine's memory, given back by the caller. */
static int32_t *
call_tokens(FunctionCallInfo fcinfo, Model *model, size_t *n_tokens)
{
	const ie_api *api = engine_api();
	ie_text		input = text_view(PG_GETARG_TEXT_PP(0));
	int32_t    *tokens;
	ie_error	error;
	ie_code		code;

	host_begin(&model->host);
	do
		code = api->tokenize(model->handle, input, &tokens, n_tokens, &error);
	while (host_again(&model->host, code));
	if (code != IE_OK)
		failure_raise(&error, model->file.name);
	return tokens;
}

static void
release_tokens(Model *model, int32_t *tokens)
{
	if (tokens != NULL)
		model->host.services.free(model->host.services.arg, tokens);
}

PG_FUNCTION_INFO_V1(instemb_tokens);
Datum
instemb_tokens(PG_FUNCTION_ARGS)
{
	Model	   *model = call_model(fcinfo, 1);
	size_t		n_tokens;
	int32_t    *tokens = call_tokens(fcinfo, model, &n_tokens);
	Size		size = ARR_OVERHEAD_NONULLS(1) + sizeof(int32) * n_tokens;
	ArrayType  *result = NULL;

	/* nothing may raise while the tokens are ours */
	if (AllocSizeIsValid(size))
		result = palloc_extended(size, MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (result != NULL && n_tokens > 0)
		memcpy((char *) result + ARR_OVERHEAD_NONULLS(1), tokens, sizeof(int32) * n_tokens);
	release_tokens(model, tokens);
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("array of %zu tokens is too large", n_tokens)));
	if (n_tokens == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(INT4OID));
	SET_VARSIZE(result, size);
	result->ndim = 1;
	result->elemtype = INT4OID;
	ARR_DIMS(result)[0] = n_tokens;
	ARR_LBOUND(result)[0] = 1;
	PG_RETURN_ARRAYTYPE_P(result);
}

PG_FUNCTION_INFO_V1(instemb_token_count);
Datum
instemb_token_count(PG_FUNCTION_ARGS)
{
	Model	   *model = call_model(fcinfo, 1);
	size_t		n_tokens;

	release_tokens(model, call_tokens(fcinfo, model, &n_tokens));
	PG_RETURN_INT32(n_tokens);
}

PG_FUNCTION_INFO_V1(instemb_dims);
Datum
instemb_dims(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(call_model(fcinfo, 0)->info.n_embd);
}
