/*
 * statement_trigger.c
 *	  instemb_statement_trigger(): embeds the rows of a statement in batches.
 *
 * It reads the transition tables of an INSERT or UPDATE, embeds the texts of
 * EMBED_BATCH rows at a time, and writes each row again with its embedding,
 * found by its primary key.  That second version of the row is what the
 * batches cost; a row trigger has no such cost, but sees one row at a time.
 *
 * Old and new rows of an UPDATE come in the same order.  Where keys show that
 * two do not belong together (the key itself changed, or a row moved to
 * another partition), the new row is embedded whatever the old one was.
 *
 * The second UPDATE is a statement of its own:
 * - It is done as the table's owner, and is not subject to row security, as the
 *	 actions of a foreign key are: who may insert a row need not be allowed to
 *	 update it, or even to read it.
 * - It writes only if the row's text is still the one that was embedded:
 *	 another trigger may have changed the row since, and then the trigger of that
 *	 change has embedded it.
 * - It fires this trigger again, which finds texts that did not change.  That
 *	 is how the recursion ends; where it does not, since a trigger changes the
 *	 text at every UPDATE, MAX_DEPTH ends it.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/key.h"
#include "pg/provenance.h"
#include "pg/row_spec.h"
#include "pg/text.h"

#define FUNCTION_NAME "instemb_statement_trigger"
#define MAX_DEPTH 8

/* Parameters of the second UPDATE; the key's follow. */
enum
{
	PARAM_TARGET = 1,
	PARAM_PROVENANCE,
	PARAM_SOURCE,
	PARAM_KEY
};

#define MAX_PARAMS (PARAM_KEY - 1 + INDEX_MAX_KEYS)

/* One firing of the trigger. */
typedef struct Firing
{
	Relation	relation;
	TupleDesc	desc;
	RowSpec		spec;
	RowKey		key;
	const char *schema;			/* of the extension */
	SPIPlanPtr	plan;			/* the second UPDATE */
	MemoryContext batch_context;
	int			n_read;			/* new rows of the statement so far */
	int			n;				/* rows of the batch that have a text */
	int			numbers[EMBED_BATCH];	/* among those of the statement, from 1 */
	HeapTuple	rows[EMBED_BATCH];
	text	   *sources[EMBED_BATCH];
} Firing;

static int	depth;

static void
check_call(FunctionCallInfo fcinfo)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s: not fired by trigger manager", FUNCTION_NAME)));
	if (TRIGGER_FIRED_FOR_ROW(data->tg_event) || !TRIGGER_FIRED_AFTER(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s: must be fired AFTER event, for statement", FUNCTION_NAME)));
	if (!TRIGGER_FIRED_BY_INSERT(data->tg_event) && !TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s: must be fired for INSERT or UPDATE", FUNCTION_NAME)));
	if (data->tg_newtable == NULL ||
		(TRIGGER_FIRED_BY_UPDATE(data->tg_event) && data->tg_oldtable == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s: must have transition tables", FUNCTION_NAME),
				 errhint("Let instemb_enable() make the triggers.")));
}

/* "schema.instemb_source(t.a::text, t.b::text)" */
static void
append_source(StringInfo sql, const Firing *firing)
{
	appendStringInfo(sql, "%s.instemb_source(", quote_identifier(firing->schema));
	for (int i = 0; i < firing->spec.sources.n; i++)
	{
		Form_pg_attribute attribute =
			TupleDescAttr(firing->desc, firing->spec.sources.attnums[i] - 1);

		appendStringInfo(sql, "%st.%s::pg_catalog.text", i > 0 ? ", " : "",
						 quote_identifier(NameStr(attribute->attname)));
	}
	appendStringInfoChar(sql, ')');
}

static void
prepare_update(Firing *firing)
{
	bool		partitioned = firing->relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	const RowKey *key = &firing->key;
	Oid			types[MAX_PARAMS];
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s%s AS t SET %s = $%d", partitioned ? "" : "ONLY ",
					 quote_qualified_identifier(
						 get_namespace_name(RelationGetNamespace(firing->relation)),
						 RelationGetRelationName(firing->relation)),
					 quote_identifier(NameStr(TupleDescAttr(firing->desc,
															firing->spec.target - 1)->attname)),
					 PARAM_TARGET);
	if (firing->spec.provenance != 0)
		appendStringInfo(&sql, ", %s = $%d",
						 quote_identifier(NameStr(TupleDescAttr(firing->desc,
																firing->spec.provenance - 1)->attname)),
						 PARAM_PROVENANCE);
	appendStringInfoString(&sql, " WHERE ");
	row_key_condition(&sql, key, firing->desc, PARAM_KEY);
	appendStringInfoString(&sql, " AND (");
	append_source(&sql, firing);
	appendStringInfo(&sql, " OPERATOR(pg_catalog.=) $%d OR $%d IS NULL AND ", PARAM_SOURCE,
					 PARAM_SOURCE);
	append_source(&sql, firing);
	appendStringInfoString(&sql, " IS NULL)");

	types[PARAM_TARGET - 1] = FLOAT4ARRAYOID;
	types[PARAM_PROVENANCE - 1] = JSONBOID;
	types[PARAM_SOURCE - 1] = TEXTOID;
	for (int i = 0; i < key->n; i++)
		types[PARAM_KEY - 1 + i] = key->types[i];
	firing->plan = SPI_prepare(sql.data, PARAM_KEY - 1 + key->n, types);
	if (firing->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
}

/* Write a row's embedding; NULL takes it away. */
static void
update_row(Firing *firing, HeapTuple row, const text *source, ArrayType *embedding,
		   Datum provenance)
{
	Datum		values[MAX_PARAMS] = {0};
	char		nulls[MAX_PARAMS];
	const RowKey *key = &firing->key;
	Oid			user;
	int			context;
	int			result;

	memset(nulls, ' ', sizeof(nulls));
	nulls[PARAM_TARGET - 1] = embedding == NULL ? 'n' : ' ';
	nulls[PARAM_PROVENANCE - 1] = provenance == (Datum) 0 ? 'n' : ' ';
	nulls[PARAM_SOURCE - 1] = source == NULL ? 'n' : ' ';
	values[PARAM_TARGET - 1] = PointerGetDatum(embedding);
	values[PARAM_PROVENANCE - 1] = provenance;
	values[PARAM_SOURCE - 1] = PointerGetDatum(source);
	for (int i = 0; i < key->n; i++)
	{
		bool		isnull;

		values[PARAM_KEY - 1 + i] = heap_getattr(row, key->attnums[i], firing->desc, &isnull);
	}

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(firing->relation->rd_rel->relowner,
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	if (firing->plan == NULL)
		prepare_update(firing);
	result = SPI_execute_plan(firing->plan, values, nulls, false, 0);
	SetUserIdAndSecContext(user, context);
	if (result != SPI_OK_UPDATE)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
}

/* Embed the rows of the batch, write them, and begin another batch. */
static void
flush(Firing *firing)
{
	EmbedCall	call;
	ie_text		inputs[EMBED_BATCH];
	int			n_embd;
	float	   *vectors;
	Datum		provenance = (Datum) 0;

	if (firing->n == 0)
		return;
	for (int i = 0; i < firing->n; i++)
		inputs[i] = text_view(firing->sources[i]);
	row_spec_begin(&call, &firing->spec);
	call.elements = firing->numbers;
	call.of_statement = true;
	n_embd = call.model->info.n_embd;
	vectors = palloc(sizeof(float) * n_embd * firing->n);
	embed_texts(&call, inputs, firing->n, vectors);
	embed_end(&call);
	if (firing->spec.provenance != 0)
		provenance = provenance_create(call.model, firing->spec.instruction);
	for (int i = 0; i < firing->n; i++)
	{
		float	   *vector;
		ArrayType  *embedding = vector_create(n_embd, &vector);

		CHECK_FOR_INTERRUPTS();
		memcpy(vector, vectors + (size_t) i * n_embd, sizeof(float) * n_embd);
		update_row(firing, firing->rows[i], firing->sources[i], embedding, provenance);
	}
	firing->n = 0;
	MemoryContextReset(firing->batch_context);
}

/* A row whose embedding must be computed, or taken away if it has no text. */
static void
add_row(Firing *firing, HeapTuple row)
{
	text	   *source = source_compose(row, firing->desc, &firing->spec.sources);

	if (source == NULL)
	{
		bool		isnull;

		heap_getattr(row, firing->spec.target, firing->desc, &isnull);
		if (!isnull)
			update_row(firing, row, NULL, NULL, (Datum) 0);
		return;
	}
	firing->sources[firing->n] = source;
	firing->numbers[firing->n] = firing->n_read;
	firing->rows[firing->n++] = row;
	if (firing->n == EMBED_BATCH)
		flush(firing);
}

/* Does the change of a row call for a new embedding?  As trigger.c decides. */
static bool
change_needs(const Firing *firing, HeapTuple old, HeapTuple new, const Bitmapset *updated)
{
	bool		missing;

	if (!row_key_equal(&firing->key, old, new, firing->desc) ||
		!source_equal(old, new, firing->desc, &firing->spec.sources))
		return true;
	heap_getattr(new, firing->spec.target, firing->desc, &missing);
	return missing && source_assigned(updated, &firing->spec.sources);
}

/* A position of our own in a transition table: other triggers read it, too. */
static int
open_rows(Tuplestorestate *rows)
{
	int			pointer = tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND);

	tuplestore_select_read_pointer(rows, pointer);
	tuplestore_rescan(rows);
	return pointer;
}

/* The next row, palloc'd; NULL at the end. */
static HeapTuple
next_row(Tuplestorestate *rows, int pointer, TupleTableSlot *slot)
{
	tuplestore_select_read_pointer(rows, pointer);
	if (!tuplestore_gettupleslot(rows, true, false, slot))
		return NULL;
	return ExecCopySlotHeapTuple(slot);
}

static void
read_rows(Firing *firing, const TriggerData *data, TupleTableSlot *slot)
{
	Tuplestorestate *old_rows =
		TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_oldtable : NULL;
	int			new_pointer = open_rows(data->tg_newtable);
	int			old_pointer = old_rows != NULL ? open_rows(old_rows) : 0;
	HeapTuple	new;

	while ((new = next_row(data->tg_newtable, new_pointer, slot)) != NULL)
	{
		HeapTuple	old = old_rows != NULL ? next_row(old_rows, old_pointer, slot) : NULL;

		CHECK_FOR_INTERRUPTS();
		firing->n_read++;
		if (old == NULL || change_needs(firing, old, new, data->tg_updatedcols))
			add_row(firing, new);
		else
		{
			heap_freetuple(old);
			heap_freetuple(new);
		}
	}
	flush(firing);
}

static void
fire(FunctionCallInfo fcinfo)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;
	Firing	   *firing = palloc0(sizeof(Firing));
	MemoryContext old_context;
	TupleTableSlot *slot;

	firing->relation = data->tg_relation;
	firing->desc = RelationGetDescr(data->tg_relation);
	firing->schema = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));
	row_spec_read(&firing->spec, data->tg_trigger, firing->desc, FUNCTION_NAME,
				  GENERATED_ALLOWED);
	row_key_find(&firing->key, data->tg_relation);
	SPI_connect();
	firing->batch_context = AllocSetContextCreate(CurrentMemoryContext, "instemb batch",
												  ALLOCSET_DEFAULT_SIZES);
	slot = MakeSingleTupleTableSlot(firing->desc, &TTSOpsMinimalTuple);
	old_context = MemoryContextSwitchTo(firing->batch_context);
	read_rows(firing, data, slot);
	MemoryContextSwitchTo(old_context);
	ExecDropSingleTupleTableSlot(slot);
	SPI_finish();
}

PG_FUNCTION_INFO_V1(instemb_statement_trigger);
Datum
instemb_statement_trigger(PG_FUNCTION_ARGS)
{
	check_call(fcinfo);
	if (depth >= MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("embedding a row of table \"%s\" changes its text each time",
						RelationGetRelationName(((TriggerData *) fcinfo->context)->tg_relation)),
				 errhint("Use mode \"row\", or let the trigger that changes the text leave other "
						 "updates alone.")));
	depth++;
	PG_TRY();
	{
		fire(fcinfo);
	}
	PG_FINALLY();
	{
		depth--;
	}
	PG_END_TRY();
	return PointerGetDatum(NULL);
}
