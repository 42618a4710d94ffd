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
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/provenance.h"
#include "pg/row_spec.h"
#include "pg/text.h"

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
}

/* Does this UPDATE call for a new embedding?  See the top of this file. */
static bool
update_needed(const TriggerData *data, const RowSpec *spec)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	bool		missing;

	if (!source_equal(data->tg_trigtuple, data->tg_newtuple, desc, &spec->sources))
		return true;
	heap_getattr(data->tg_newtuple, spec->target, desc, &missing);
	return missing && source_assigned(data->tg_updatedcols, &spec->sources);
}

/* The columns that are written: embedding and, if there is one, provenance. */
typedef struct Output
{
	int			n;
	int			attnums[2];
	Datum		values[2];
	bool		nulls[2];
} Output;

static void
compute(const RowSpec *spec, const text *source, Output *output)
{
	ie_text		input;
	EmbedCall	call;
	ArrayType  *embedding;
	float	   *vector;

	output->n = spec->provenance != 0 ? 2 : 1;
	output->attnums[0] = spec->target;
	output->attnums[1] = spec->provenance;
	output->nulls[0] = output->nulls[1] = source == NULL;
	if (source == NULL)
		return;
	input = text_view(source);
	row_spec_begin(&call, spec);
	embedding = vector_create(call.model->info.n_embd, &vector);
	embed_texts(&call, &input, 1, vector);
	embed_end(&call);
	output->values[0] = PointerGetDatum(embedding);
	if (spec->provenance != 0)
		output->values[1] = provenance_create(call.model, spec->instruction);
}

/* The constraints of a domain are checked before a BEFORE trigger, not after. */
static void
check_domains(TupleDesc desc, const Output *output)
{
	for (int i = 0; i < output->n; i++)
	{
		Oid			type = TupleDescAttr(desc, output->attnums[i] - 1)->atttypid;

		if (get_typtype(type) == TYPTYPE_DOMAIN)
			domain_check(output->values[i], output->nulls[i], type, NULL, NULL);
	}
}

PG_FUNCTION_INFO_V1(instemb_update_trigger);
Datum
instemb_update_trigger(PG_FUNCTION_ARGS)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	tuple;
	RowSpec		spec;
	Output		output = {0};

	check_call(fcinfo);
	desc = RelationGetDescr(data->tg_relation);
	row_spec_read(&spec, data->tg_trigger, desc, "instemb_update_trigger", GENERATED_REFUSED);
	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event) && !update_needed(data, &spec))
		return PointerGetDatum(tuple);

	compute(&spec, source_compose(tuple, desc, &spec.sources), &output);
	check_domains(desc, &output);
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple, desc, output.n, output.attnums,
													 output.values, output.nulls));
}
