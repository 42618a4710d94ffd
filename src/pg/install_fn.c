/*
 * install_fn.c
 *	  instemb_install(), instemb_define().
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "pg/install.h"

static void
find_file(const char *name, ModelFile *file)
{
	Failure		failure;

	if (!model_file_find(name, file, &failure))
		failure_report(ERROR, &failure);
}

PG_FUNCTION_INFO_V1(instemb_install);
Datum
instemb_install(PG_FUNCTION_ARGS)
{
	InstallRequest request = {0};
	ModelFile	base;
	ModelFile	adapter;
	char		sha256[65];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"name\", \"base\" and \"replace\" must not be null")));
	request.name = model_name_arg(PG_GETARG_DATUM(0), false);
	install_check_name(request.name, true);
	find_file(model_name_arg(PG_GETARG_DATUM(1), false), &base);
	request.base = &base;
	if (!PG_ARGISNULL(2))
	{
		find_file(model_name_arg(PG_GETARG_DATUM(2), false), &adapter);
		request.adapter = &adapter;
	}
	request.replace = PG_GETARG_BOOL(3);
	install_model(&request, sha256);
	PG_RETURN_TEXT_P(cstring_to_text(sha256));
}

/* ------------------------------------------------------------- instemb_define */

/* What a definition may say, under the names that instemb_model_info() has */
typedef struct DefinitionKey
{
	const char *name;
	const char *key;
	bool		is_number;
} DefinitionKey;

static const DefinitionKey definition_keys[] = {
	{"pooling", "instemb.pooling", false},
	{"prefix", "instemb.template.prefix", false},
	{"prefix_empty", "instemb.template.prefix_empty", false},
	{"body", "instemb.template.body", false},
	{"suffix", "instemb.template.suffix", false},
	{"suffix_empty", "instemb.template.suffix_empty", false},
	{"generate_count", "instemb.generate_count", true},
};

StaticAssertDecl(lengthof(definition_keys) <= IE_DEFINITION_MAX, "room in ie_install_request");

static const DefinitionKey *
find_key(const char *name)
{
	for (int i = 0; i < lengthof(definition_keys); i++)
		if (strcmp(definition_keys[i].name, name) == 0)
			return &definition_keys[i];
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized key \"%s\" in \"definition\"", name),
			 errdetail("Known keys: pooling, prefix, prefix_empty, body, suffix, suffix_empty, "
					   "generate_count.")));
}

static ie_metadata
metadata_of(const DefinitionKey *key, const JsonbValue *value)
{
	ie_metadata result = {.key = key->key};

	if (value->type != (key->is_number ? jbvNumeric : jbvString))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" in \"definition\" must be a %s", key->name,
						key->is_number ? "number" : "string")));
	if (key->is_number)
	{
		int32		number = DatumGetInt32(DirectFunctionCall1(numeric_int4,
											NumericGetDatum(value->val.numeric)));

		if (number < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" in \"definition\" must not be negative", key->name)));
		result.number = (uint32_t) number;
	}
	else
	{
		const char *text = pnstrdup(value->val.string.val, value->val.string.len);

		result.text = (const char *)
			pg_do_encoding_conversion((unsigned char *) text, strlen(text),
									  GetDatabaseEncoding(), PG_UTF8);
	}
	return result;
}

/* definition: [IE_DEFINITION_MAX]; returns how many. */
static size_t
read_definition(Jsonb *json, ie_metadata *definition)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	const DefinitionKey *key = NULL;
	size_t		n = 0;

	if (!JB_ROOT_IS_OBJECT(json) || JB_ROOT_COUNT(json) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"definition\" must be a JSON object with at least one key")));
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = find_key(pnstrdup(value.val.string.val, value.val.string.len));
		else if (token == WJB_VALUE)
			definition[n++] = metadata_of(key, &value);
	}
	return n;
}

/* (name, base, definition, adapter, replace) */
PG_FUNCTION_INFO_V1(instemb_define);
Datum
instemb_define(PG_FUNCTION_ARGS)
{
	ie_metadata definition[IE_DEFINITION_MAX];
	InstallRequest request = {.definition = definition};
	ModelFile	base;
	ModelFile	adapter;
	char		sha256[65];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"name\", \"base\", \"definition\" and \"replace\" must not be null")));
	request.name = model_name_arg(PG_GETARG_DATUM(0), false);
	request.n_definition = read_definition(PG_GETARG_JSONB_P(2), definition);
	install_check_name(request.name, true);
	find_file(model_name_arg(PG_GETARG_DATUM(1), false), &base);
	request.base = &base;
	if (!PG_ARGISNULL(3))
	{
		find_file(model_name_arg(PG_GETARG_DATUM(3), false), &adapter);
		request.adapter = &adapter;
	}
	request.replace = PG_GETARG_BOOL(4);
	install_model(&request, sha256);
	PG_RETURN_TEXT_P(cstring_to_text(sha256));
}
