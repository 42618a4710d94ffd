/*
 * each_fn.c
 *	  instemb_embed_each(): embeddings of texts, each with its own success.
 *
 * A batch that fails is halved until the texts that cannot be embedded stand
 * alone.  What fails is caught in a subtransaction, as in PL/pgSQL; a cancel is
 * not caught.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "pg/embed.h"
#include "pg/guc.h"
#include "pg/text.h"

typedef struct Each
{
	ie_text		instruction;
	const char *model;
	int			n;				/* texts that are not NULL */
	ie_text    *inputs;			/* [n] */
	ArrayType **embeddings;		/* [n], NULL = failed */
	char	  **errors;			/* [n] */
} Each;

/* n texts from number first; ERROR on failure. */
static void
embed_range(const Each *each, int first, int n)
{
	EmbedCall	call;
	int			n_embd;
	float	   *vectors;

	embed_begin(&call, model_get(each->model), each->instruction);
	n_embd = call.model->info.n_embd;
	vectors = palloc(sizeof(float) * n_embd * n);
	embed_texts(&call, each->inputs + first, n, vectors);
	embed_end(&call);
	for (int i = 0; i < n; i++)
	{
		float	   *vector;

		each->embeddings[first + i] = vector_create(n_embd, &vector);
		memcpy(vector, vectors + (size_t) i * n_embd, sizeof(float) * n_embd);
	}
	pfree(vectors);
}

/* The message of the error that the range ends in, NULL if in none. */
static char *
try_range(const Each *each, int first, int n)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile message = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		embed_range(each, first, n);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		message = error->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return message;
}

static void
bisect(const Each *each, int first, int n)
{
	char	   *message = try_range(each, first, n);

	CHECK_FOR_INTERRUPTS();
	if (message == NULL)
		return;
	if (n == 1)
	{
		each->errors[first] = message;
		return;
	}
	bisect(each, first, n / 2);
	bisect(each, first + n / 2, n - n / 2);
}

PG_FUNCTION_INFO_V1(instemb_embed_each);
Datum
instemb_embed_each(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Each		each = {.instruction = text_view(PG_GETARG_TEXT_PP(1))};
	char	   *model = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Datum	   *values;
	bool	   *nulls;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	each.model = model[0] != '\0' ? model : guc_model;
	model_name_check(each.model, false);
	each.inputs = palloc(sizeof(ie_text) * n);
	each.embeddings = palloc0(sizeof(ArrayType *) * n);
	each.errors = palloc0(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			each.inputs[each.n++] = text_view(DatumGetTextPP(values[i]));
	for (int i = 0; i < each.n; i += EMBED_BATCH)
		bisect(&each, i, Min(each.n - i, EMBED_BATCH));
	for (int i = 0, text = 0; i < n; i++)
	{
		Datum		row[2] = {0};
		bool		row_nulls[2] = {true, true};

		if (!nulls[i])
		{
			row_nulls[0] = each.embeddings[text] == NULL;
			row_nulls[1] = each.errors[text] == NULL;
			row[0] = PointerGetDatum(each.embeddings[text]);
			if (each.errors[text] != NULL)
				row[1] = CStringGetTextDatum(each.errors[text]);
			text++;
		}
		tuplestore_putvalues(result->setResult, result->setDesc, row, row_nulls);
	}
	return (Datum) 0;
}
