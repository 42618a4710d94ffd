/*
 * trigger.c
 *	  instemb_update_trigger(): keeps an embedding in step with its row.
 *
 *		instemb_update_trigger(target, instruction, model, source, ...)
 *
 * Checks and messages follow core's tsvector_update_trigger().  It does more to
 * avoid work, since its work is a thousand times as much: an UPDATE computes
 * only if the row's source text is another one, whichever columns it assigns.
 * An embedding that is missing is computed as soon as a source column is
 * assigned, changed or not, so that "SET title = title" fills it in.
 *
 * Column numbers are looked up by name in the relation that fires, at every
 * call: partitions may number theirs differently.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "pg/embed.h"
#include "pg/guc.h"
#include "pg/source.h"
#include "pg/text.h"

enum
{
	ARG_TARGET,
	ARG_INSTRUCTION,
	ARG_MODEL,
	ARG_SOURCES
};

static void
check_call(FunctionCallInfo fcinfo)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("instemb_update_trigger: not fired by trigger manager")));
	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("instemb_update_trigger: must be fired for row")));
	if (!TRIGGER_FIRED_BEFORE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("instemb_update_trigger: must be fired BEFORE event")));
	if (!TRIGGER_FIRED_BY_INSERT(data->tg_event) && !TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("instemb_update_trigger: must be fired for INSERT or UPDATE")));
	if (data->tg_trigger->tgnargs <= ARG_SOURCES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("instemb_update_trigger: arguments must be target_column, instruction, "
						"model, source_column1, ...")));
}

static AttrNumber
find_target(TupleDesc desc, const char *name)
{
	int			attnum = SPI_fnumber(desc, name);

	if (attnum == SPI_ERROR_NOATTRIBUTE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("real[] column \"%s\" does not exist", name)));
	/* This rejects system columns too. */
	if (!IsBinaryCoercible(SPI_gettypeid(desc, attnum), FLOAT4ARRAYOID))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is not of real[] type", name)));
	if (TupleDescAttr(desc, attnum - 1)->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("column \"%s\" is a generated column", name),
				 errdetail("A trigger cannot set a generated column.")));
	return attnum;
}

static AttrNumber
find_source(TupleDesc desc, const char *name)
{
	int			attnum = SPI_fnumber(desc, name);

	if (attnum == SPI_ERROR_NOATTRIBUTE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" does not exist", name)));
	if (!source_type_is_text(SPI_gettypeid(desc, attnum)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is not of a character type", name)));
	if (TupleDescAttr(desc, attnum - 1)->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("column \"%s\" is a generated column", name),
				 errdetail("Generated columns are computed after BEFORE triggers."),
				 errhint("Name the columns that it is generated from.")));
	return attnum;
}

/* Does this UPDATE call for a new embedding?  See the top of this file. */
static bool
update_needed(const TriggerData *data, AttrNumber target, const SourceColumns *sources)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	bool		missing;

	if (!source_equal(data->tg_trigtuple, data->tg_newtuple, desc, sources))
		return true;
	heap_getattr(data->tg_newtuple, target, desc, &missing);
	for (int i = 0; missing && i < sources->n; i++)
		if (bms_is_member(sources->attnums[i] - FirstLowInvalidHeapAttributeNumber,
						  data->tg_updatedcols))
			return true;
	return false;
}

/* The embedding of a text in the server's encoding. */
static Datum
embed_source(const Trigger *trigger, const text *source)
{
	const char *instruction = trigger->tgargs[ARG_INSTRUCTION];
	const char *model = trigger->tgargs[ARG_MODEL];
	ie_text		input = text_view(source);
	EmbedCall	call;
	ArrayType  *result;
	float	   *vector;

	if (model[0] == '\0')
		model = guc_model;
	model_name_check(model, false);
	embed_begin(&call, model_get(model), text_to_utf8(instruction, strlen(instruction)));
	result = vector_create(call.model->info.n_embd, &vector);
	embed_texts(&call, &input, 1, vector);
	embed_end(&call);
	return PointerGetDatum(result);
}

PG_FUNCTION_INFO_V1(instemb_update_trigger);
Datum
instemb_update_trigger(PG_FUNCTION_ARGS)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;
	const Trigger *trigger;
	TupleDesc	desc;
	HeapTuple	tuple;
	int			target;
	AttrNumber *attnums;
	SourceColumns sources;
	text	   *source;
	Datum		value = (Datum) 0;
	bool		isnull;
	Oid			target_type;

	check_call(fcinfo);
	trigger = data->tg_trigger;
	desc = RelationGetDescr(data->tg_relation);
	target = find_target(desc, trigger->tgargs[ARG_TARGET]);
	sources.n = trigger->tgnargs - ARG_SOURCES;
	sources.attnums = attnums = palloc(sizeof(AttrNumber) * sources.n);
	for (int i = 0; i < sources.n; i++)
		attnums[i] = find_source(desc, trigger->tgargs[ARG_SOURCES + i]);

	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event) && !update_needed(data, target, &sources))
		return PointerGetDatum(tuple);

	source = source_compose(tuple, desc, &sources);
	isnull = source == NULL;
	if (!isnull)
		value = embed_source(trigger, source);

	/* the constraints of a domain are checked before a BEFORE trigger, not after */
	target_type = TupleDescAttr(desc, target - 1)->atttypid;
	if (target_type != FLOAT4ARRAYOID)
		domain_check(value, isnull, target_type, NULL, NULL);
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple, desc, 1, &target, &value, &isnull));
}
