/*
 * provenance.c
 *	  Provenance of embeddings: instemb_provenance(), and the guard against
 *	  embeddings of two models in one column.
 *
 * The hash is that of the whole file, so the first embedding with provenance of
 * a session has to read all of it; it is kept with the open model.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/md5.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "pg/engine.h"
#include "pg/guc.h"
#include "pg/provenance.h"

/* The first digits of the hash. */
static const char *
model_digits(Model *model)
{
	char		hex[65];
	ie_error	error;
	ie_code		code;

	if (model->digits[0] != '\0')
		return model->digits;
	host_begin(&model->host);
	do
		code = engine_api()->model_verify(model->handle, hex, &error);
	while (host_again(&model->host, code));
	if (code != IE_OK)
		failure_raise(&error, model->file.name);
	strlcpy(model->digits, hex, sizeof(model->digits));
	return model->digits;
}

Datum
provenance_create(Model *model, const char *instruction)
{
	char		md5[33];
	char		at[MAXDATELEN + 1];
	const char *error;

	if (!pg_md5_hash(instruction, strlen(instruction), md5, &error))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute %s hash: %s", "MD5", error)));
	JsonEncodeDateTime(at, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()),
					   TIMESTAMPTZOID, NULL);
	/* a model's name needs no escaping */
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf(
		"{\"model\": \"%s\", \"sha256\": \"%s\", \"instruction\": \"%s\", \"at\": \"%s\"}",
		model->file.name, model_digits(model), md5, at)));
}

void
provenance_check(Model *model, const char *sha256)
{
	const char *digits = model_digits(model);

	if (strcmp(digits, sha256) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" is not the one that this column is made by",
						model->file.name),
				 errdetail("The hash of its file begins with %s, that of the column's model "
						   "with %s.", digits, sha256),
				 errhint("Call instemb_enable() again to change the column's model, and embed "
						 "its rows anew.")));
}

PG_FUNCTION_INFO_V1(instemb_provenance);
Datum
instemb_provenance(PG_FUNCTION_ARGS)
{
	char	   *instruction = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (name[0] == '\0')
		name = guc_model;
	model_name_check(name, false);
	PG_RETURN_DATUM(provenance_create(model_get(name), instruction));
}
