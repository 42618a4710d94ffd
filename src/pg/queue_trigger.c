/*
 * queue_trigger.c
 *	  instemb_queue_trigger(): puts rows into the queue, for the worker to embed.
 *
 * It has to be cheap, as it is what a writer waits for.  So the queue has no
 * index and no constraint, a row may be in it twice, and its rows are inserted
 * by the table's access method, many at a time: as the system's own doing, not
 * the user's, who needs no right to the queue.
 *
 * An INSERT is seen as a whole, by its transition table, which leaves COPY its
 * own way of inserting many rows at a time.  An UPDATE is seen row by row before
 * it happens, as only then can the embedding of the old text be taken away: an
 * embedding that is there is never one of another text.  In a partitioned table
 * an INSERT is seen row by row too, since such triggers are those that every
 * partition gets by itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/key.h"
#include "pg/queue.h"
#include "pg/row_spec.h"

#define FUNCTION_NAME "instemb_queue_trigger"

/* Columns of instemb_queue; the rest is for the worker and has no value yet. */
enum
{
	QUEUE_RELATION,
	QUEUE_TARGET,
	QUEUE_ATTEMPTS,
	QUEUE_REPLACE,
	QUEUE_KEY,
	QUEUE_NEXT_AT,
	QUEUE_ERROR,
	N_QUEUE_COLUMNS
};

#define INSERT_BATCH 256

/* One firing of the trigger. */
typedef struct Filling
{
	const TriggerData *data;
	Oid			schema;			/* of the extension */
	TupleDesc	desc;
	RowSpec		spec;
	RowKey		key;
	FmgrInfo	outputs[INDEX_MAX_KEYS];	/* of the key's types */
	int			guc_level;
	Relation	queue;
	TupleTableSlot *slots[INSERT_BATCH];
	int			n;				/* slots filled */
	MemoryContext context;		/* of their values */
} Filling;

static void
check_call(FunctionCallInfo fcinfo)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;
	bool		for_row;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s: not fired by trigger manager", FUNCTION_NAME)));
	for_row = TRIGGER_FIRED_FOR_ROW(data->tg_event) && TRIGGER_FIRED_BEFORE(data->tg_event) &&
		(TRIGGER_FIRED_BY_INSERT(data->tg_event) || TRIGGER_FIRED_BY_UPDATE(data->tg_event));
	if (!for_row && (data->tg_newtable == NULL || !TRIGGER_FIRED_BY_INSERT(data->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s: must be fired BEFORE event for row, or AFTER INSERT for statement "
						"with a transition table", FUNCTION_NAME),
				 errhint("Let instemb_enable() make the triggers.")));
}

/* Keys become text that reads the same under any settings, as postgres_fdw does it. */
static void
begin(Filling *filling)
{
	Oid			queue = get_relname_relid("instemb_queue", filling->schema);

	if (!OidIsValid(queue))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"instemb_queue\" does not exist")));
	filling->guc_level = NewGUCNestLevel();
	(void) set_config_option("datestyle", "ISO", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("extra_float_digits", "3", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	for (int i = 0; i < filling->key.n; i++)
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(filling->key.types[i], &output, &is_varlena);
		fmgr_info(output, &filling->outputs[i]);
	}
	filling->queue = table_open(queue, RowExclusiveLock);
	if (RelationGetNumberOfAttributes(filling->queue) != N_QUEUE_COLUMNS)
		elog(ERROR, "instemb_queue has unexpected columns");
	filling->context = AllocSetContextCreate(CurrentMemoryContext, "instemb queue",
											 ALLOCSET_DEFAULT_SIZES);
	queue_wake_at_commit();
}

static void
flush(Filling *filling)
{
	if (filling->n == 0)
		return;
	table_multi_insert(filling->queue, filling->slots, filling->n, GetCurrentCommandId(true), 0,
					   NULL);
	for (int i = 0; i < filling->n; i++)
		ExecClearTuple(filling->slots[i]);
	filling->n = 0;
	MemoryContextReset(filling->context);
}

static void
end(Filling *filling)
{
	flush(filling);
	for (int i = 0; i < INSERT_BATCH && filling->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(filling->slots[i]);
	table_close(filling->queue, NoLock);
	AtEOXact_GUC(true, filling->guc_level);
}

/* Put the row with this key into the queue; values: [key.n]. */
static void
put(Filling *filling, const Datum *values, bool replace)
{
	Datum		elements[INDEX_MAX_KEYS];
	MemoryContext old_context = CurrentMemoryContext;
	TupleTableSlot *slot;

	if (filling->slots[filling->n] == NULL)
		filling->slots[filling->n] = table_slot_create(filling->queue, NULL);
	slot = filling->slots[filling->n++];
	MemoryContextSwitchTo(filling->context);
	for (int i = 0; i < filling->key.n; i++)
		elements[i] = CStringGetTextDatum(OutputFunctionCall(&filling->outputs[i], values[i]));
	memset(slot->tts_isnull, false, sizeof(bool) * N_QUEUE_COLUMNS);
	slot->tts_values[QUEUE_RELATION] = ObjectIdGetDatum(RelationGetRelid(filling->data->tg_relation));
	slot->tts_values[QUEUE_TARGET] = Int16GetDatum(filling->spec.target);
	slot->tts_values[QUEUE_ATTEMPTS] = Int16GetDatum(0);
	slot->tts_values[QUEUE_REPLACE] = BoolGetDatum(replace);
	slot->tts_values[QUEUE_KEY] =
		PointerGetDatum(construct_array(elements, filling->key.n, TEXTOID, -1, false, TYPALIGN_INT));
	slot->tts_isnull[QUEUE_NEXT_AT] = true;
	slot->tts_isnull[QUEUE_ERROR] = true;
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(old_context);
	if (filling->n == INSERT_BATCH)
		flush(filling);
}

/* The row of a BEFORE trigger. */
static void
put_row(Filling *filling, HeapTuple row, bool replace)
{
	Datum		values[INDEX_MAX_KEYS];

	for (int i = 0; i < filling->key.n; i++)
	{
		bool		isnull;

		values[i] = heap_getattr(row, filling->key.attnums[i], filling->desc, &isnull);
		/* the key's constraint will say so */
		if (isnull)
			return;
	}
	begin(filling);
	put(filling, values, replace);
	end(filling);
}

/* False for a row that has neither text nor embedding. */
static bool
has_work(const Filling *filling, TupleTableSlot *slot)
{
	const SourceColumns *sources = &filling->spec.sources;

	for (int i = 0; i < sources->n; i++)
		if (!slot_attisnull(slot, sources->attnums[i]))
			return true;
	return !slot_attisnull(slot, filling->spec.target);
}

/* AFTER INSERT, FOR EACH STATEMENT */
static void
put_statement(Filling *filling)
{
	Tuplestorestate *rows = filling->data->tg_newtable;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(filling->desc, &TTSOpsMinimalTuple);

	begin(filling);
	tuplestore_select_read_pointer(rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND));
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (!has_work(filling, slot))
			continue;
		for (int i = 0; i < filling->key.n; i++)
			values[i] = slot_getattr(slot, filling->key.attnums[i], &isnull);

		/* an embedding that was given is computed, as in the other modes */
		put(filling, values, !slot_attisnull(slot, filling->spec.target));
	}
	ExecDropSingleTupleTableSlot(slot);
	end(filling);
}

/* BEFORE UPDATE, FOR EACH ROW: the row to be written, without a stale embedding. */
static HeapTuple
put_update(Filling *filling)
{
	const TriggerData *data = filling->data;
	const RowSpec *spec = &filling->spec;
	HeapTuple	new = data->tg_newtuple;
	int			columns[2] = {spec->target, spec->provenance};
	Datum		values[2] = {0};
	bool		nulls[2] = {true, true};
	bool		missing;

	if (!source_equal(data->tg_trigtuple, new, filling->desc, &spec->sources))
	{
		put_row(filling, new, false);
		return heap_modify_tuple_by_cols(new, filling->desc, spec->provenance != 0 ? 2 : 1,
										 columns, values, nulls);
	}
	heap_getattr(new, spec->target, filling->desc, &missing);
	if (!row_key_equal(&filling->key, data->tg_trigtuple, new, filling->desc))
		put_row(filling, new, !missing);	/* it may be in the queue by its old key */
	else if (missing && source_assigned(data->tg_updatedcols, &spec->sources))
		put_row(filling, new, false);
	return new;
}

PG_FUNCTION_INFO_V1(instemb_queue_trigger);
Datum
instemb_queue_trigger(PG_FUNCTION_ARGS)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;
	HeapTuple	result = NULL;
	Filling    *filling;

	check_call(fcinfo);
	filling = palloc0(sizeof(Filling));
	filling->data = data;
	filling->schema = get_func_namespace(fcinfo->flinfo->fn_oid);
	filling->desc = RelationGetDescr(data->tg_relation);
	row_spec_read(&filling->spec, data->tg_trigger, filling->desc, FUNCTION_NAME,
				  GENERATED_REFUSED);
	row_key_find(&filling->key, data->tg_relation);
	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		put_statement(filling);
	else if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		result = put_update(filling);
	else
	{
		bool		missing;

		result = data->tg_trigtuple;
		heap_getattr(result, filling->spec.target, filling->desc, &missing);
		put_row(filling, result, !missing);
	}
	return PointerGetDatum(result);
}
