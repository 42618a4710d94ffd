/*
 * registry_fn.c
 *	  What models there are: instemb_models(), instemb_model_info(),
 *	  instemb_load(), instemb_unload().
 */
#include "postgres.h"

#include <dirent.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "pg/engine.h"
#include "pg/models.h"
#include "pg/text.h"

enum
{
	COL_NAME,
	COL_DIRECTORY,
	COL_ARCHITECTURE,
	COL_QUANTIZATION,
	COL_POOLING,
	COL_DIMS,
	COL_N_LAYER,
	COL_N_CTX,
	COL_FILE_BYTES,
	COL_IS_DEFAULT,
	COL_LOADED,
	COL_PRIVATE_BYTES,
	COL_ERROR,
	N_COLS
};

typedef struct Row
{
	Datum		values[N_COLS];
	bool		nulls[N_COLS];
} Row;

static void
set_text(Row *row, int column, const char *string)
{
	row->nulls[column] = string[0] == '\0';
	if (string[0] != '\0')
		row->values[column] = CStringGetTextDatum(text_mask(string));
}

static void
set_value(Row *row, int column, Datum value)
{
	row->nulls[column] = false;
	row->values[column] = value;
}

static void
set_info(Row *row, const ie_model_info *info)
{
	set_text(row, COL_ARCHITECTURE, info->architecture);
	set_text(row, COL_QUANTIZATION, info->quantization);
	set_text(row, COL_POOLING, info->pooling);
	set_value(row, COL_DIMS, Int32GetDatum(info->n_embd));
	set_value(row, COL_N_LAYER, Int32GetDatum(info->n_layer));
	set_value(row, COL_N_CTX, Int32GetDatum(info->n_ctx));
}

/* What a file offers, or why it cannot be used; nothing here is an ERROR. */
static void
describe_file(Row *row, const ModelFile *file)
{
	const Model *open = model_find_open(file);
	Model	   *opened;
	Failure		failure;

	if (open != NULL)
	{
		set_info(row, &open->info);
		set_value(row, COL_LOADED, BoolGetDatum(true));
		set_value(row, COL_PRIVATE_BYTES, Int64GetDatum(model_private_bytes(open)));
	}
	else if (model_open(file, CurrentMemoryContext, &opened, &failure))
	{
		set_info(row, &opened->info);
		model_discard(opened);
	}
	else
		set_text(row, COL_ERROR, failure_message(&failure));
}

/* The row of one directory entry; default_name is "" if there is no default. */
static void
describe_entry(Row *row, const char *entry, int dir, const char *default_name)
{
	char	   *name = pnstrdup(entry, strlen(entry) - strlen(MODEL_SUFFIX));
	ModelFile	file;
	ModelFile	first;

	memset(row->nulls, true, sizeof(row->nulls));
	set_text(row, COL_NAME, name);
	set_text(row, COL_DIRECTORY, model_dir(dir));
	set_value(row, COL_IS_DEFAULT, BoolGetDatum(false));
	set_value(row, COL_LOADED, BoolGetDatum(false));
	if (!model_name_is_valid(name) || strcmp(name, MODEL_DEFAULT) == 0)
	{
		set_text(row, COL_ERROR, "the file's name is not a model's name");
		return;
	}
	if (!model_file_stat(name, dir, &file))
	{
		set_text(row, COL_ERROR, psprintf("could not stat file \"%s\": %m", file.path));
		return;
	}
	set_value(row, COL_FILE_BYTES, Int64GetDatum(file.key.size));
	if (dir > 0 && model_file_stat(name, 0, &first))
	{
		set_text(row, COL_ERROR, "hidden by the file of this name in instemb.data_model_dir");
		return;
	}
	set_value(row, COL_IS_DEFAULT, BoolGetDatum(strcmp(name, default_name) == 0));
	describe_file(row, &file);
}

static bool
has_suffix(const char *entry)
{
	size_t		len = strlen(entry);

	return len > strlen(MODEL_SUFFIX) &&
		strcmp(entry + len - strlen(MODEL_SUFFIX), MODEL_SUFFIX) == 0;
}

static void
list_directory(ReturnSetInfo *result, int dir, const char *default_name)
{
	MemoryContext entry_context;
	MemoryContext old_context;
	DIR		   *handle = AllocateDir(model_dir(dir));
	struct dirent *entry;

	/* the directory for models of the server's own is made when first needed */
	if (handle == NULL && errno == ENOENT)
		return;
	entry_context = AllocSetContextCreate(CurrentMemoryContext, "instemb models",
										  ALLOCSET_DEFAULT_SIZES);
	while ((entry = ReadDir(handle, model_dir(dir))) != NULL)
	{
		Row			row;

		CHECK_FOR_INTERRUPTS();
		if (!has_suffix(entry->d_name))
			continue;
		old_context = MemoryContextSwitchTo(entry_context);
		describe_entry(&row, entry->d_name, dir, default_name);
		tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(entry_context);
	}
	FreeDir(handle);
	MemoryContextDelete(entry_context);
}

PG_FUNCTION_INFO_V1(instemb_models);
Datum
instemb_models(PG_FUNCTION_ARGS)
{
	char		default_name[MODEL_NAME_SIZE] = MODEL_DEFAULT;
	Failure		failure;

	if (!model_file_resolve(default_name, &failure))
		default_name[0] = '\0';
	InitMaterializedSRF(fcinfo, 0);
	for (int dir = 0; dir < MODEL_N_DIRS; dir++)
		list_directory((ReturnSetInfo *) fcinfo->resultinfo, dir, default_name);
	return (Datum) 0;
}

/* "key": "value", with null for a string that the file does not state */
static void
json_string(StringInfo json, const char *key, const char *value)
{
	appendStringInfo(json, "%s\"%s\": ", json->data[json->len - 1] == '{' ? "" : ", ", key);
	if (value[0] == '\0')
		appendStringInfoString(json, "null");
	else
		escape_json(json, text_mask(value));
}

static void
json_number(StringInfo json, const char *key, uint64 value)
{
	appendStringInfo(json, ", \"%s\": " UINT64_FORMAT, key, value);
}

static void
json_info(StringInfo json, const ie_model_info *info)
{
	json_string(json, "architecture", info->architecture);
	json_string(json, "general_name", info->name);
	json_string(json, "license", info->license);
	json_string(json, "quantization", info->quantization);
	json_string(json, "tokenizer", info->pre_type);
	json_string(json, "pooling", info->pooling);
	json_number(json, "lookahead_count", info->lookahead_count);
	json_number(json, "dims", info->n_embd);
	json_number(json, "n_vocab", info->n_vocab);
	json_number(json, "n_layer", info->n_layer);
	json_number(json, "n_head", info->n_head);
	json_number(json, "n_head_kv", info->n_head_kv);
	json_number(json, "head_dim", info->head_dim);
	json_number(json, "n_ff", info->n_ff);
	json_number(json, "n_ctx", info->n_ctx);
	json_number(json, "n_params", info->n_params);
	json_number(json, "file_bytes", info->file_bytes);
	json_string(json, "base_sha256", info->base_sha256);
	json_string(json, "adapter_sha256", info->adapter_sha256);
	appendStringInfoString(json, ", \"template\": {");
	json_string(json, "prefix", info->template_prefix);
	json_string(json, "prefix_empty", info->template_prefix_empty);
	json_string(json, "body", info->template_body);
	json_string(json, "suffix", info->template_suffix);
	json_string(json, "suffix_empty", info->template_suffix_empty);
	appendStringInfoChar(json, '}');
}

PG_FUNCTION_INFO_V1(instemb_model_info);
Datum
instemb_model_info(PG_FUNCTION_ARGS)
{
	char	   *name = model_name_arg(PG_GETARG_DATUM(0), false);
	bool		verify = PG_GETARG_BOOL(1);
	Model	   *model = model_get(name);
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_string(&json, "name", model->file.name);
	json_info(&json, &model->info);
	if (verify)
	{
		char		hex[65];
		ie_error	error;
		ie_code		code;

		host_begin(&model->host);
		do
			code = engine_api()->model_verify(model->handle, hex, &error);
		while (host_again(&model->host, code));
		if (code != IE_OK)
			failure_raise(&error, model->file.name);
		json_string(&json, "sha256", hex);
	}
	appendStringInfoChar(&json, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

PG_FUNCTION_INFO_V1(instemb_load);
Datum
instemb_load(PG_FUNCTION_ARGS)
{
	char	   *name = model_name_arg(PG_GETARG_DATUM(0), false);

	PG_RETURN_INT64(model_get(name)->info.file_bytes);
}

PG_FUNCTION_INFO_V1(instemb_unload);
Datum
instemb_unload(PG_FUNCTION_ARGS)
{
	char	   *name = model_name_arg(PG_GETARG_DATUM(0), false);

	PG_RETURN_BOOL(model_close(name));
}
