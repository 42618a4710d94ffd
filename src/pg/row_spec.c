/*
 * row_spec.c
 *	  Reading and checking the arguments of a trigger.
 *
 * Column numbers are looked up by name in the relation that fires, at every
 * call: partitions may number theirs differently.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "parser/parse_coerce.h"

#include "pg/guc.h"
#include "pg/provenance.h"
#include "pg/row_spec.h"
#include "pg/text.h"

enum
{
	ARG_TARGET,
	ARG_INSTRUCTION,
	ARG_MODEL,
	ARG_REST
};

/* A column that a trigger writes. */
static AttrNumber
find_output(TupleDesc desc, const char *name, Oid type, const char *type_name)
{
	int			attnum = SPI_fnumber(desc, name);

	if (attnum == SPI_ERROR_NOATTRIBUTE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s column \"%s\" does not exist", type_name, name),
				 errhint("Add it with ALTER TABLE. Its name is given without double quotes.")));
	/* This rejects system columns too. */
	if (!IsBinaryCoercible(SPI_gettypeid(desc, attnum), type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is not of %s type", name, type_name)));
	if (TupleDescAttr(desc, attnum - 1)->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("column \"%s\" is a generated column", name),
				 errdetail("A trigger cannot set a generated column.")));
	return attnum;
}

static AttrNumber
find_source(TupleDesc desc, const char *name, GeneratedSources generated)
{
	int			attnum = SPI_fnumber(desc, name);

	if (attnum == SPI_ERROR_NOATTRIBUTE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" does not exist", name),
				 errhint("If a column was renamed, call instemb_enable() again.")));
	if (!source_type_is_text(SPI_gettypeid(desc, attnum)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is not of a character type", name)));
	if (generated == GENERATED_REFUSED && TupleDescAttr(desc, attnum - 1)->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("column \"%s\" is a generated column", name),
				 errdetail("Generated columns are computed after BEFORE triggers."),
				 errhint("Name the columns that it is generated from, or use mode "
						 "\"statement\" of instemb_enable().")));
	return attnum;
}

/* True and *value if the argument is this option. */
static bool
read_option(const char *argument, const char *option, const char **value)
{
	if (strncmp(argument, option, strlen(option)) != 0)
		return false;
	*value = argument + strlen(option);
	return true;
}

void
row_spec_read(RowSpec *spec, const Trigger *trigger, TupleDesc desc, const char *function,
			  GeneratedSources generated)
{
	const char *provenance = NULL;
	int			arg = ARG_REST;
	AttrNumber *attnums;

	memset(spec, 0, sizeof(*spec));
	while (arg < trigger->tgnargs &&
		   (read_option(trigger->tgargs[arg], OPTION_PROVENANCE, &provenance) ||
			read_option(trigger->tgargs[arg], OPTION_SHA256, &spec->sha256)))
		arg++;
	if (arg >= trigger->tgnargs)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s: arguments must be target_column, instruction, "
						"model, source_column1, ...", function)));
	spec->target = find_output(desc, trigger->tgargs[ARG_TARGET], FLOAT4ARRAYOID, "real[]");
	if (provenance != NULL)
		spec->provenance = find_output(desc, provenance, JSONBOID, "jsonb");
	spec->instruction = trigger->tgargs[ARG_INSTRUCTION];
	spec->model = trigger->tgargs[ARG_MODEL];
	spec->sources.n = trigger->tgnargs - arg;
	spec->sources.attnums = attnums = palloc(sizeof(AttrNumber) * spec->sources.n);
	for (int i = 0; i < spec->sources.n; i++)
		attnums[i] = find_source(desc, trigger->tgargs[arg + i], generated);
}

Model *
row_spec_model(const RowSpec *spec)
{
	const char *name = spec->model[0] != '\0' ? spec->model : guc_model;
	Model	   *model;

	model_name_check(name, false);
	model = model_get(name);
	if (spec->sha256 != NULL)
		provenance_check(model, spec->sha256);
	return model;
}

void
row_spec_begin(EmbedCall *call, const RowSpec *spec)
{
	embed_begin(call, row_spec_model(spec),
				text_to_utf8(spec->instruction, strlen(spec->instruction)));
}
