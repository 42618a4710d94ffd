/*
 * embed_fn.c
 *	  instemb(), scalar and for arrays.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/embed.h"
#include "pg/guc.h"
#include "pg/text.h"

/* The model named by the third argument, if the call has one, else by instemb.model. */
static Model *
call_model(FunctionCallInfo fcinfo)
{
	return model_get(PG_NARGS() == 3 ? model_name_arg(PG_GETARG_DATUM(2), true) : guc_model);
}

PG_FUNCTION_INFO_V1(instemb_embed);
Datum
instemb_embed(PG_FUNCTION_ARGS)
{
	ie_text		input = text_view(PG_GETARG_TEXT_PP(0));
	EmbedCall	call;
	ArrayType  *result;
	float	   *vector;

	embed_begin(&call, call_model(fcinfo), text_view(PG_GETARG_TEXT_PP(1)));
	result = vector_create(call.model->info.n_embd, &vector);
	embed_texts(&call, &input, 1, vector);
	embed_end(&call);
	PG_RETURN_ARRAYTYPE_P(result);
}

/* An array's elements. */
typedef struct Elements
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
} Elements;

/* n elements from number first to rows of the result, NULL for NULL. */
static void
embed_elements(EmbedCall *call, const Elements *elements, int first, int n,
			   ReturnSetInfo *result)
{
	int			n_embd = call->model->info.n_embd;
	ie_text		inputs[EMBED_BATCH];
	int			numbers[EMBED_BATCH];
	int			n_inputs = 0;
	float	   *vectors;

	for (int i = first; i < first + n; i++)
	{
		if (elements->nulls[i])
			continue;
		numbers[n_inputs] = i + 1;
		inputs[n_inputs++] = text_view(DatumGetTextPP(elements->values[i]));
	}
	vectors = palloc(sizeof(float) * n_embd * n_inputs);
	call->elements = numbers;
	embed_texts(call, inputs, n_inputs, vectors);
	for (int i = first; i < first + n; i++)
	{
		bool		isnull = elements->nulls[i];
		Datum		value = (Datum) 0;
		float	   *vector;

		if (!isnull)
		{
			value = PointerGetDatum(vector_create(n_embd, &vector));
			memcpy(vector, vectors, sizeof(float) * n_embd);
			vectors += n_embd;
		}
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
}

/* An array of any shape, in storage order, as unnest() reads it. */
PG_FUNCTION_INFO_V1(instemb_embed_array);
Datum
instemb_embed_array(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EmbedCall	call;
	MemoryContext batch_context;
	MemoryContext old_context;
	Elements	elements;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements.values, &elements.nulls, &elements.n);
	batch_context = AllocSetContextCreate(CurrentMemoryContext, "instemb batch",
										  ALLOCSET_DEFAULT_SIZES);
	embed_begin(&call, call_model(fcinfo), text_view(PG_GETARG_TEXT_PP(1)));
	old_context = MemoryContextSwitchTo(batch_context);
	for (int i = 0; i < elements.n; i += EMBED_BATCH)
	{
		CHECK_FOR_INTERRUPTS();
		embed_elements(&call, &elements, i, Min(elements.n - i, EMBED_BATCH), result);
		MemoryContextReset(batch_context);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(batch_context);
	embed_end(&call);
	return (Datum) 0;
}
