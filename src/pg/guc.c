/*
 * guc.c
 *	  Definition of the parameters instemb.*.
 *
 * No check hook looks at a file: a value may be set where the model is not
 * installed yet, or before the server can read it, and is judged when used.
 */
#include "postgres.h"

#include <limits.h>
#include <unistd.h>

#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "pg/guc.h"
#include "pg/model_file.h"

#define MAX_THREADS 64			/* what the engine accepts */

char	   *guc_model_dir;
char	   *guc_data_model_dir;
char	   *guc_model;
char	   *guc_preload;
int			guc_threads;
int			guc_max_threads;
int			guc_on_overflow;
int			guc_max_model_memory;
int			guc_cache_size;
int			guc_queue_attempts;
int			guc_log_min_duration;
double		guc_similarity_threshold;

static char default_model_dir[MAXPGPATH];
static char default_data_model_dir[MAXPGPATH];

static const struct config_enum_entry overflow_actions[] = {
	{"error", OVERFLOW_ERROR, false},
	{"truncate", OVERFLOW_TRUNCATE, false},
	{NULL, 0, false}
};

/* A directory is an absolute path with room for a file's name behind it. */
static bool
check_directory(char **newval, void **extra, GucSource source)
{
	canonicalize_path(*newval);
	if (!is_absolute_path(*newval))
	{
		GUC_check_errdetail("The directory must be given as an absolute path.");
		return false;
	}
	if (strlen(*newval) + MODEL_FILE_NAME_SIZE >= MAXPGPATH)
	{
		GUC_check_errdetail("The directory's path is too long.");
		return false;
	}
	return true;
}

static bool
check_model(char **newval, void **extra, GucSource source)
{
	if (model_name_is_valid(*newval))
		return true;
	GUC_check_errdetail("%s", MODEL_NAME_RULE);
	return false;
}

static bool
check_preload(char **newval, void **extra, GucSource source)
{
	char	   *list = pstrdup(*newval);
	List	   *names;
	ListCell   *cell;

	if (!SplitIdentifierString(list, ',', &names))
	{
		GUC_check_errdetail("List syntax is invalid.");
		return false;
	}
	foreach(cell, names)
	{
		if (!model_name_is_valid(lfirst(cell)))
		{
			GUC_check_errdetail("%s", MODEL_NAME_RULE);
			return false;
		}
	}
	list_free(names);
	pfree(list);
	return true;
}

static void
define_places(void)
{
	get_share_path(my_exec_path, default_model_dir);
	strlcat(default_model_dir, "/instemb", sizeof(default_model_dir));
	snprintf(default_data_model_dir, sizeof(default_data_model_dir), "%s/instemb", DataDir);

	DefineCustomStringVariable("instemb.model_dir",
							   "Directory of installed model files, which the server only reads.",
							   NULL,
							   &guc_model_dir, default_model_dir,
							   PGC_SUSET, GUC_SUPERUSER_ONLY,
							   check_directory, NULL, NULL);
	DefineCustomStringVariable("instemb.data_model_dir",
							   "Directory of model files that the server writes.",
							   "It is looked at before instemb.model_dir.",
							   &guc_data_model_dir, default_data_model_dir,
							   PGC_SUSET, GUC_SUPERUSER_ONLY,
							   check_directory, NULL, NULL);
	DefineCustomStringVariable("instemb.model",
							   "Model used where a call names none.",
							   "\"default\" stands for the model named by the file \"default\" "
							   "beside the models.",
							   &guc_model, MODEL_DEFAULT,
							   PGC_USERSET, 0,
							   check_model, NULL, NULL);
	DefineCustomStringVariable("instemb.preload",
							   "Models opened when the library is loaded by a session.",
							   "Takes effect with session_preload_libraries or "
							   "local_preload_libraries.",
							   &guc_preload, "",
							   PGC_SUSET, GUC_LIST_INPUT,
							   check_preload, NULL, NULL);
}

static void
define_limits(void)
{
	const long	n_processors = sysconf(_SC_NPROCESSORS_ONLN);
	const int	max_threads = Max(1, Min(n_processors, MAX_THREADS));

	DefineCustomIntVariable("instemb.threads",
							"Threads that compute an embedding.",
							"Parallel workers each use as many.",
							&guc_threads, 1, 1, MAX_THREADS,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("instemb.max_threads",
							"Upper limit of instemb.threads.",
							"The default is the number of processors.",
							&guc_max_threads, max_threads, 1, MAX_THREADS,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("instemb.max_model_memory",
							"Memory that a model's file and its scratch space may take together.",
							"Checked before anything is allocated. 0 means no limit.",
							&guc_max_model_memory, 4096, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("instemb.cache_size",
							"Memory of a session's cache of computed embeddings.",
							"0 turns the cache off.",
							&guc_cache_size, 4096, 0, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
}

static void
define_behaviour(void)
{
	DefineCustomEnumVariable("instemb.on_overflow",
							 "What to do with a text longer than the model's context.",
							 NULL,
							 &guc_on_overflow, OVERFLOW_ERROR, overflow_actions,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("instemb.similarity_threshold",
							 "Least cosine similarity for the operator =~=.",
							 NULL,
							 &guc_similarity_threshold, 0.7, 0.0, 1.0,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("instemb.queue_attempts",
							"How often the worker tries to embed a row before it gives up.",
							NULL,
							&guc_queue_attempts, 5, 1, 30,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("instemb.log_min_duration",
							"Logs every computation of embeddings that takes at least this long.",
							"-1 turns it off, 0 logs all.",
							&guc_log_min_duration, -1, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

void
guc_init(void)
{
	define_places();
	define_limits();
	define_behaviour();
	MarkGUCPrefixReserved("instemb");
}

int
guc_thread_count(void)
{
	return Min(guc_threads, guc_max_threads);
}

size_t
guc_memory_limit(void)
{
	return (size_t) guc_max_model_memory * 1024 * 1024;
}
