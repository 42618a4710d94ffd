/*
 * registration_fn.c
 *	  Triggers as the registrations of columns: what SQL needs to read and check
 *	  their arguments.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "pg/key.h"
#include "pg/row_spec.h"

/* instemb_trigger_arguments(pg_trigger.tgargs): strings that each end in a zero byte. */
PG_FUNCTION_INFO_V1(instemb_trigger_arguments);
Datum
instemb_trigger_arguments(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	const char *data = VARDATA_ANY(bytes);
	const char *end = data + VARSIZE_ANY_EXHDR(bytes);
	ArrayBuildState *result = initArrayResult(TEXTOID, CurrentMemoryContext, false);

	while (data < end)
	{
		int			len = strnlen(data, end - data);

		accumArrayResult(result, PointerGetDatum(cstring_to_text_with_len(data, len)), false,
						 TEXTOID, CurrentMemoryContext);
		data += len + 1;
	}
	PG_RETURN_DATUM(makeArrayResult(result, CurrentMemoryContext));
}

/*
 * instemb_check_trigger(relation, arguments, generated_ok, need_key): the checks of
 * the triggers, for instemb_enable(), which would otherwise make one that fails later;
 * also that there is the model.
 */
PG_FUNCTION_INFO_V1(instemb_check_trigger);
Datum
instemb_check_trigger(PG_FUNCTION_ARGS)
{
	Relation	relation = relation_open(PG_GETARG_OID(0), AccessShareLock);
	Trigger		trigger = {0};
	Datum	   *values;
	RowSpec		spec;
	RowKey		key;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, NULL, &n);
	trigger.tgnargs = n;
	trigger.tgargs = palloc(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
		trigger.tgargs[i] = TextDatumGetCString(values[i]);
	row_spec_read(&spec, &trigger, RelationGetDescr(relation), "instemb_enable",
				  PG_GETARG_BOOL(2) ? GENERATED_ALLOWED : GENERATED_REFUSED);
	if (PG_GETARG_BOOL(3))
		row_key_find(&key, relation);
	(void) row_spec_model(&spec);
	relation_close(relation, AccessShareLock);
	PG_RETURN_VOID();
}
