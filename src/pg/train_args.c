/*
 * train_args.c
 *	  SQL arguments to settings.  What is null stays as the engine has it, which
 *	  also knows what the ranges are.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "pg/engine.h"
#include "pg/guc.h"
#include "pg/train_args.h"

/* Arguments in the order of the SQL function */
enum
{
	ARG_NAME, ARG_BASE, ARG_QUERY, ARG_STEPS, ARG_BATCH, ARG_RANK, ARG_LOOKAHEAD,
	ARG_LEARNING_RATE, ARG_LOSSES, ARG_SEED, ARG_MEMORY, ARG_THREADS, ARG_RESUME, ARG_REPLACE,
	ARG_OPTIONS
};

/* ----------------------------------------------------------- jsonb arguments */

typedef enum OptionType
{
	OPTION_REAL,				/* float */
	OPTION_DOUBLE,
	OPTION_UINT,				/* uint32_t */
	OPTION_BOOL,
	OPTION_MODEL,				/* char[MODEL_NAME_SIZE] */
	OPTION_POOLING,				/* char[16] */
	OPTION_CONTRAST				/* poolings, as bits */
} OptionType;

typedef struct Option
{
	const char *name;
	OptionType	type;
	size_t		offset;			/* in TrainSettings */
} Option;

#define SETTING(field) offsetof(TrainSettings, field)

static const Option losses[] = {
	{"answer", OPTION_DOUBLE, SETTING(config.weight_answer)},
	{"back", OPTION_DOUBLE, SETTING(config.weight_back)},
	{"group", OPTION_DOUBLE, SETTING(config.weight_group)},
	{"view", OPTION_DOUBLE, SETTING(config.weight_view)},
	{"teacher", OPTION_DOUBLE, SETTING(config.weight_teacher)},
	{"mse", OPTION_DOUBLE, SETTING(config.weight_mse)},
	{"kl", OPTION_DOUBLE, SETTING(config.weight_kl)},
	{"ce", OPTION_DOUBLE, SETTING(config.weight_ce)},
	{"generation", OPTION_DOUBLE, SETTING(config.weight_generation)},
};

static const Option options[] = {
	{"alpha", OPTION_REAL, SETTING(config.alpha)},
	{"pooling", OPTION_POOLING, SETTING(pooling)},
	{"contrast", OPTION_CONTRAST, SETTING(config.contrast)},
	{"warmup", OPTION_DOUBLE, SETTING(config.warmup)},
	{"weight_decay", OPTION_DOUBLE, SETTING(config.weight_decay)},
	{"clip_norm", OPTION_DOUBLE, SETTING(config.clip_norm)},
	{"temperature", OPTION_DOUBLE, SETTING(config.temperature)},
	{"dropout", OPTION_DOUBLE, SETTING(config.dropout)},
	{"max_row_tokens", OPTION_UINT, SETTING(config.max_row_tokens)},
	{"max_answer_tokens", OPTION_UINT, SETTING(config.max_answer_tokens)},
	{"truncate", OPTION_BOOL, SETTING(config.truncate)},
	{"adapter", OPTION_MODEL, SETTING(start)},
};

/* An argument that is a JSON object, and what its keys mean */
typedef struct OptionTable
{
	const char *argument;
	const Option *options;
	int			n;
} OptionTable;

static const OptionTable loss_table = {"losses", losses, lengthof(losses)};
static const OptionTable option_table = {"options", options, lengthof(options)};

static const Option *
find_option(const OptionTable *table, const char *name)
{
	StringInfoData list;

	for (int i = 0; i < table->n; i++)
		if (strcmp(table->options[i].name, name) == 0)
			return &table->options[i];
	initStringInfo(&list);
	for (int i = 0; i < table->n; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", table->options[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized key \"%s\" in \"%s\"", name, table->argument),
			 errdetail("Known keys: %s.", list.data)));
}

static void
refuse_value(const OptionTable *table, const Option *option, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" in \"%s\" must be %s", option->name, table->argument, wanted)));
}

static double
number_value(const OptionTable *table, const Option *option, const JsonbValue *value)
{
	if (value->type != jbvNumeric)
		refuse_value(table, option, "a number");
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
}

static char *
text_value(const OptionTable *table, const Option *option, const JsonbValue *value)
{
	if (value->type != jbvString)
		refuse_value(table, option, "a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* "last", "last daap", ... */
static unsigned
contrast_value(const OptionTable *table, const Option *option, const JsonbValue *value)
{
	char	   *text = text_value(table, option, value);
	unsigned	bits = 0;

	for (char *name = strtok(text, " ,"); name != NULL; name = strtok(NULL, " ,"))
	{
		if (strcmp(name, "last") == 0)
			bits |= IE_CONTRAST_LAST;
		else if (strcmp(name, "lookahead") == 0)
			bits |= IE_CONTRAST_LOOKAHEAD;
		else if (strcmp(name, "daap") == 0)
			bits |= IE_CONTRAST_DAAP;
		else
			refuse_value(table, option, "some of \"last\", \"lookahead\" and \"daap\"");
	}
	return bits;
}

static void
set_option(TrainSettings *settings, const OptionTable *table, const Option *option,
		   const JsonbValue *value)
{
	char	   *field = (char *) settings + option->offset;
	char	   *text;
	double		number;

	switch (option->type)
	{
		case OPTION_REAL:
			*(float *) field = (float) number_value(table, option, value);
			break;
		case OPTION_DOUBLE:
			*(double *) field = number_value(table, option, value);
			break;
		case OPTION_UINT:
			number = number_value(table, option, value);
			if (number < 0 || number > PG_INT32_MAX || number != floor(number))
				refuse_value(table, option, "a whole number");
			*(uint32_t *) field = (uint32_t) number;
			break;
		case OPTION_BOOL:
			if (value->type != jbvBool)
				refuse_value(table, option, "true or false");
			*(bool *) field = value->val.boolean;
			break;
		case OPTION_MODEL:
			text = text_value(table, option, value);
			model_name_check(text, false);
			strlcpy(field, text, MODEL_NAME_SIZE);
			break;
		case OPTION_POOLING:
			text = text_value(table, option, value);
			if (strlen(text) >= sizeof(settings->pooling))
				refuse_value(table, option, "a pooling");
			strlcpy(field, text, sizeof(settings->pooling));
			break;
		case OPTION_CONTRAST:
			*(unsigned *) field = contrast_value(table, option, value);
			break;
	}
}

static void
set_options(TrainSettings *settings, const OptionTable *table, Jsonb *json)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	const Option *option = NULL;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be a JSON object", table->argument)));
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			option = find_option(table, pnstrdup(value.val.string.val, value.val.string.len));
		else if (token == WJB_VALUE)
			set_option(settings, table, option, &value);
	}
}

/* A loss that is not named is off. */
static void
set_losses(TrainSettings *settings, Jsonb *json)
{
	for (int i = 0; i < lengthof(losses); i++)
		*(double *) ((char *) settings + losses[i].offset) = 0;
	set_options(settings, &loss_table, json);
}

/* ------------------------------------------------------------ other arguments */

static void
refuse_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" must not be null", name)));
}

static void
set_uint(FunctionCallInfo fcinfo, int arg, const char *name, uint32_t *value)
{
	if (PG_ARGISNULL(arg))
		return;
	if (PG_GETARG_INT32(arg) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must not be negative", name)));
	*value = (uint32_t) PG_GETARG_INT32(arg);
}

/* Like a parameter that is an amount of memory; never more than a superuser allows. */
static size_t
memory_arg(FunctionCallInfo fcinfo, size_t standard)
{
	const size_t limit = guc_memory_limit();
	size_t		bytes = standard;

	if (!PG_ARGISNULL(ARG_MEMORY))
	{
		char	   *amount = text_to_cstring(PG_GETARG_TEXT_PP(ARG_MEMORY));
		const char *hint = NULL;
		int			kilobytes;

		if (!parse_int(amount, &kilobytes, GUC_UNIT_KB, &hint) || kilobytes <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid amount of memory \"%s\"", amount),
					 hint != NULL ? errhint("%s", hint) : 0));
		bytes = (size_t) kilobytes * 1024;
		if (limit > 0 && bytes > limit)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"memory\" of %zu kB exceeds instemb.max_model_memory of %zu kB",
							bytes / 1024, limit / 1024)));
	}
	return limit > 0 && bytes > limit ? limit : bytes;
}

static void
set_name(FunctionCallInfo fcinfo, int arg, char *name)
{
	strlcpy(name, model_name_arg(PG_GETARG_DATUM(arg), false), MODEL_NAME_SIZE);
}

static void
set_config(FunctionCallInfo fcinfo, TrainSettings *settings)
{
	ie_train_config *config = &settings->config;
	uint32_t	n_threads = guc_thread_count();

	set_uint(fcinfo, ARG_STEPS, "steps", &config->n_steps);
	set_uint(fcinfo, ARG_BATCH, "batch", &config->batch_size);
	set_uint(fcinfo, ARG_RANK, "rank", &config->rank);
	set_uint(fcinfo, ARG_LOOKAHEAD, "lookahead", &config->lookahead_count);
	set_uint(fcinfo, ARG_THREADS, "threads", &n_threads);
	if (n_threads > guc_max_threads)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"threads\" of %u exceeds instemb.max_threads of %d", n_threads,
						guc_max_threads)));
	config->n_threads = n_threads;
	if (!PG_ARGISNULL(ARG_LEARNING_RATE))
		config->learning_rate = PG_GETARG_FLOAT8(ARG_LEARNING_RATE);
	if (!PG_ARGISNULL(ARG_SEED))
		config->seed = (uint64_t) PG_GETARG_INT64(ARG_SEED);
	config->max_bytes = memory_arg(fcinfo, config->max_bytes);
	config->truncate = guc_on_overflow == OVERFLOW_TRUNCATE;
}

/* Without look-ahead vectors, what needs them is off unless it is asked for. */
static void
leave_out_lookahead(TrainSettings *settings)
{
	ie_train_config *config = &settings->config;

	config->weight_mse = config->weight_kl = config->weight_ce = 0;
	config->contrast = IE_CONTRAST_LAST;
	strlcpy(settings->pooling, "last", sizeof(settings->pooling));
}

static bool
generation_alone(const TrainSettings *settings)
{
	for (int i = 0; i < lengthof(losses); i++)
		if (losses[i].offset != SETTING(config.weight_generation) &&
			*(const double *) ((const char *) settings + losses[i].offset) != 0)
			return false;
	return settings->config.weight_generation > 0;
}

/* What suits a model of the InBedder kind, unless something else is asked for */
static void
prepare_generation(FunctionCallInfo fcinfo, TrainSettings *settings)
{
	if (PG_ARGISNULL(ARG_LOOKAHEAD))
		settings->config.lookahead_count = 0;
	strlcpy(settings->pooling, "generate", sizeof(settings->pooling));
}

char *
train_args(FunctionCallInfo fcinfo, TrainSettings *settings)
{
	memset(settings, 0, sizeof(*settings));
	refuse_null(fcinfo, ARG_NAME, "name");
	refuse_null(fcinfo, ARG_BASE, "base");
	refuse_null(fcinfo, ARG_QUERY, "query");
	refuse_null(fcinfo, ARG_RESUME, "resume");
	refuse_null(fcinfo, ARG_REPLACE, "replace");
	set_name(fcinfo, ARG_NAME, settings->name);
	set_name(fcinfo, ARG_BASE, settings->base);
	engine_api()->train_config_default(&settings->config);
	strlcpy(settings->pooling, settings->config.pooling, sizeof(settings->pooling));
	set_config(fcinfo, settings);
	if (settings->config.lookahead_count == 0)
		leave_out_lookahead(settings);
	if (!PG_ARGISNULL(ARG_LOSSES))
		set_losses(settings, PG_GETARG_JSONB_P(ARG_LOSSES));
	if (generation_alone(settings))
		prepare_generation(fcinfo, settings);
	if (!PG_ARGISNULL(ARG_OPTIONS))
		set_options(settings, &option_table, PG_GETARG_JSONB_P(ARG_OPTIONS));
	settings->resume = PG_GETARG_BOOL(ARG_RESUME);
	settings->replace = PG_GETARG_BOOL(ARG_REPLACE);
	if (settings->resume && settings->start[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a training that is resumed cannot begin with an adapter")));
	return text_to_cstring(PG_GETARG_TEXT_PP(ARG_QUERY));
}
