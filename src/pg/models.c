/*
 * models.c
 *	  Per-backend cache of open models.
 *
 * A model is opened at first use and stays open.  It is found again by name,
 * and trusted only if the file is still the one that was opened (device, inode,
 * size, modification time), which costs one or two stat()s: a model replaced by
 * rename is noticed by the next statement.  Calls of one statement look again
 * once a second, so that a call that is answered from the cache of embeddings
 * for every row of a query costs no system call.
 *
 * Each model owns a memory context, in which the engine allocates everything
 * that belongs to it.  A reset callback closes the engine's objects, so that
 * deleting the context is all it takes to be rid of a model, also when an
 * ERROR ends the opening half-way.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "pg/engine.h"
#include "pg/guc.h"
#include "pg/models.h"

/* Models kept open; the mapping is shared, but each has a vocabulary of its own. */
#define MAX_OPEN_MODELS 4

/* Keys and values of instructions, kept for the next text: a few instructions' worth. */
#define PREFIX_CACHE_BYTES (8 * 1024 * 1024)

/* What model_get() answered last, and until when that may be repeated. */
typedef struct LastAnswer
{
	Model	   *model;			/* NULL = none */
	char		name[MODEL_NAME_SIZE];	/* as it was asked for */
	TimestampTz statement;
	TimestampTz expires;
} LastAnswer;

#define ANSWER_MS 1000

static LastAnswer last;
static dlist_head open_models = DLIST_STATIC_INIT(open_models);
static int	n_open_models;
static MemoryContext models_context;

static void
close_handles(void *arg)
{
	Model	   *model = arg;
	const ie_api *api = engine_api();

	api->session_free(model->session);
	api->model_close(model->handle);
}

static Model *
model_create(const ModelFile *file, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "instemb model", ALLOCSET_DEFAULT_SIZES);
	Model	   *model = MemoryContextAllocZero(context, sizeof(Model));
	MemoryContextCallback *callback = MemoryContextAllocZero(context, sizeof(*callback));

	model->file = *file;
	model->context = context;
	MemoryContextSetIdentifier(context, model->file.name);
	host_init(&model->host, context);
	callback->func = close_handles;
	callback->arg = model;
	MemoryContextRegisterResetCallback(context, callback);
	return model;
}

/* What can be refused before the file is opened. */
static bool
check_file(const ModelFile *file, Failure *failure)
{
	size_t		limit = guc_memory_limit();
	struct stat st;

	if (stat(file->path, &st) < 0)
		return failure_set_errno(failure, "could not stat file \"%s\"", file->path);
	if (!S_ISREG(st.st_mode))
		return failure_set(failure, ERRCODE_WRONG_OBJECT_TYPE,
						   "\"%s\" is not a regular file", file->path);
	if (limit > 0 && file->key.size >= limit)
		return failure_set(failure, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
						   "model \"%s\" of " UINT64_FORMAT " kB does not fit in "
						   "instemb.max_model_memory of " UINT64_FORMAT " kB",
						   file->name, (file->key.size + 1023) / 1024, (uint64) limit / 1024);
	return true;
}

bool
model_open(const ModelFile *file, MemoryContext parent, Model **result, Failure *failure)
{
	const ie_api *api = engine_open(failure);
	Model	   *model;
	ie_code		code;

	if (api == NULL || !check_file(file, failure))
		return false;
	model = model_create(file, parent);
	host_begin(&model->host);
	do
		code = api->model_open(&model->host.services, model->file.path, &model->handle,
							   &failure->error);
	while (host_again(&model->host, code));
	if (code != IE_OK)
	{
		failure->sqlstate = 0;
		failure->model = pstrdup(file->name);
		model_discard(model);
		return false;
	}
	api->model_get_info(model->handle, &model->info);
	*result = model;
	return true;
}

void
model_discard(Model *model)
{
	MemoryContextDelete(model->context);
}

static void
forget(Model *model)
{
	if (last.model == model)
		last.model = NULL;
	dlist_delete(&model->node);
	n_open_models--;
	model_discard(model);
}

static Model *
find(const char *name)
{
	dlist_iter	iter;

	dlist_foreach(iter, &open_models)
	{
		Model	   *model = dlist_container(Model, node, iter.cur);

		if (strcmp(model->file.name, name) == 0)
			return model;
	}
	return NULL;
}

/*
 * The file may be replaced between the look at its key and the opening.  Then
 * the content that was opened is unknown, and the opening is done again.
 */
static bool
open_stable(const char *name, ModelFile *file, Model **model, Failure *failure)
{
	for (;;)
	{
		ModelFile	now;

		if (!model_open(file, CurrentMemoryContext, model, failure))
			return false;
		if (!model_file_find(name, &now, failure))
		{
			model_discard(*model);
			return false;
		}
		if (file_key_equal(&now.key, &file->key))
			return true;
		model_discard(*model);
		*file = now;
		CHECK_FOR_INTERRUPTS();
	}
}

static Model *
lookup(const char *name, Failure *failure)
{
	ModelFile	file;
	Model	   *model;
	bool		found = model_file_find(name, &file, failure);

	model = found || strcmp(name, MODEL_DEFAULT) != 0 ? find(found ? file.name : name) : NULL;
	if (model != NULL && found && file_key_equal(&model->file.key, &file.key))
	{
		dlist_move_head(&open_models, &model->node);
		return model;
	}
	if (model != NULL)
		forget(model);
	if (!found || !open_stable(name, &file, &model, failure))
		return NULL;

	if (models_context == NULL)
		models_context = AllocSetContextCreate(TopMemoryContext, "instemb models",
											   ALLOCSET_SMALL_SIZES);
	if (n_open_models == MAX_OPEN_MODELS)
		forget(dlist_tail_element(Model, node, &open_models));
	MemoryContextSetParent(model->context, models_context);
	dlist_push_head(&open_models, &model->node);
	n_open_models++;
	return model;
}

Model *
model_get(const char *name)
{
	TimestampTz statement = GetCurrentStatementStartTimestamp();
	TimestampTz now = GetCurrentTimestamp();
	Failure		failure;
	Model	   *model;

	if (last.model != NULL && last.statement == statement && now < last.expires &&
		strcmp(last.name, name) == 0)
		return last.model;
	model = lookup(name, &failure);
	if (model == NULL)
		failure_report(ERROR, &failure);
	last.model = model;
	strlcpy(last.name, name, sizeof(last.name));
	last.statement = statement;
	last.expires = TimestampTzPlusMilliseconds(now, ANSWER_MS);
	return model;
}

ie_session *
model_session(Model *model)
{
	const ie_api *api = engine_api();
	uint32		n_threads = guc_thread_count();
	size_t		limit = guc_memory_limit();
	ie_session_config config = {0};
	ie_error	error;
	Failure		failure;

	if (model->session != NULL && model->session_threads == n_threads &&
		model->session_limit == limit)
		return model->session;
	api->session_free(model->session);
	model->session = NULL;

	/* the file was within the limit when it was opened; the limit may have changed */
	if (!check_file(&model->file, &failure))
		failure_report(ERROR, &failure);
	config.n_threads = n_threads;
	config.max_bytes = limit > 0 ? limit - model->file.key.size : 0;
	config.prefix_cache_bytes = PREFIX_CACHE_BYTES;
	if (api->session_create(model->handle, &config, &model->session, &error) != IE_OK)
	{
		model->session = NULL;
		failure_raise(&error, model->file.name);
	}
	model->session_threads = n_threads;
	model->session_limit = limit;
	return model->session;
}

const Model *
model_find_open(const ModelFile *file)
{
	const Model *model = find(file->name);

	return model != NULL && file_key_equal(&model->file.key, &file->key) ? model : NULL;
}

bool
model_close(const char *name)
{
	char		resolved[MODEL_NAME_SIZE];
	Failure		failure;
	Model	   *model;

	strlcpy(resolved, name, sizeof(resolved));
	if (!model_file_resolve(resolved, &failure))
		failure_report(ERROR, &failure);
	model = find(resolved);
	if (model == NULL)
		return false;
	forget(model);
	return true;
}

int64
model_private_bytes(const Model *model)
{
	return MemoryContextMemAllocated(model->context, true);
}

/*
 * Only in a session of a client: parallel and background workers load every
 * library of their leader, whether they will embed anything or not, and in the
 * postmaster the engine must not be loaded at all.  A model that cannot be
 * opened must not keep anyone from connecting.
 */
void
model_preload(void)
{
	List	   *names;
	ListCell   *cell;
	char	   *list;

	if (guc_preload[0] == '\0' || MyBackendType != B_BACKEND)
		return;

	/* an ERROR now would leave the library half loaded */
	HOLD_INTERRUPTS();
	list = pstrdup(guc_preload);
	if (SplitIdentifierString(list, ',', &names))
	{
		foreach(cell, names)
		{
			Failure		failure;

			if (lookup(lfirst(cell), &failure) == NULL)
				failure_report(WARNING, &failure);
		}
		list_free(names);
	}
	pfree(list);
	RESUME_INTERRUPTS();
}
