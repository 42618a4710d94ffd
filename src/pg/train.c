/*
 * train.c
 *	  instemb_train(): rows by SPI, steps by the engine, files by rename.
 *
 * Beside the model's file, in instemb.data_model_dir:
 *	  NAME.train			status, see train_status.h
 *	  NAME.checkpoint		to resume from; gone when the model is there
 *	  NAME-adapter.gguf		the adapter, then NAME.gguf, the model
 *
 * A checkpoint is written after the first step and every minute, at a shutdown,
 * and at a cancel if that was quick the last time: a hundred megabytes would be
 * a long time for whoever wants the training to end.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/engine.h"
#include "pg/guc.h"
#include "pg/install.h"
#include "pg/models.h"
#include "pg/text.h"
#include "pg/train.h"
#include "pg/train_status.h"

#define ADAPTER_SUFFIX "-adapter"
#define CHECKPOINT_SUFFIX "checkpoint"
#define FETCH_ROWS 256			/* at a time */
#define STATUS_MS 200			/* between two writes of the status */
#define CHECKPOINT_MS (60 * 1000)
#define QUICK_MS 200			/* a checkpoint that may delay a cancel */

/* See install_fn.c: database and kind of users' advisory locks are never these. */
#define LOCK_FIELD_TRAIN 0x7472616e	/* "tran" */
#define LOCK_KIND 3

typedef struct Training
{
	const TrainSettings *settings;
	const char *query;
	Oid			worker_role;	/* InvalidOid = in the caller's transaction */
	ModelFile	base;
	Model	   *model;			/* of its own, not the cache's */
	ie_trainer *trainer;
	TrainStatus status;
	instr_time	begun;			/* the first step of this run */
	instr_time	status_written;
	instr_time	checkpoint_written;
	double		checkpoint_ms;	/* what the last one took; not quick until that is known */
	int64		n_steps;		/* of this run, with rows and tokens */
	int64		n_rows;
	int64		n_tokens;
} Training;

static double
ms_since(instr_time since)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, since);
	return INSTR_TIME_GET_MILLISEC(now);
}

static void
set_state(Training *t, TrainState state, const char *message)
{
	const int	len = pg_mbcliplen(message, strlen(message), sizeof(t->status.message) - 1);

	t->status.state = state;
	memcpy(t->status.message, message, len);
	t->status.message[len] = '\0';
	train_status_write(&t->status);
}

static void
adapter_name(const TrainSettings *settings, char *name)
{
	snprintf(name, MODEL_NAME_SIZE, "%s%s", settings->name, ADAPTER_SUFFIX);
}

/* The model and its adapter, which the run that is resumed may have written already */
static void
check_names(const TrainSettings *settings)
{
	char		adapter[MODEL_NAME_SIZE];

	adapter_name(settings, adapter);
	install_check_name(settings->name, settings->replace);
	install_check_name(adapter, settings->replace || settings->resume);
}

/* ----------------------------------------------------------------- checkpoint */

static bool
file_exists(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		return true;
	if (errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	return false;
}

/*
 * The engine writes files that do not exist; by rename they take a name's place.
 * The temporary one has a name that base backups leave out.
 */
static ie_code
write_by_rename(Training *t, ie_code (*write) (const ie_trainer *, const char *, ie_error *),
				const char *path, ie_error *error)
{
	char		temp_path[MAXPGPATH];
	ie_code		code;

	snprintf(temp_path, sizeof(temp_path), "%s/pgsql_tmp.%s", guc_data_model_dir,
			 last_dir_separator(path) + 1);
	unlink(temp_path);
	code = write(t->trainer, temp_path, error);
	if (code == IE_OK)
		durable_rename(temp_path, path, ERROR);
	return code;
}

static bool again(Training *t, ie_code code);

/*
 * at_cancel: with interrupts held, since the engine would stop for the very one
 * that this is for.
 */
static void
write_checkpoint(Training *t, bool at_cancel)
{
	char		path[MAXPGPATH];
	instr_time	begun;
	ie_error	error;
	ie_code		code;

	INSTR_TIME_SET_CURRENT(begun);
	train_path(t->settings->name, CHECKPOINT_SUFFIX, path);
	if (at_cancel)
	{
		HOLD_INTERRUPTS();
		code = write_by_rename(t, engine_api()->trainer_save, path, &error);
		RESUME_INTERRUPTS();
	}
	else
	{
		host_begin(&t->model->host);
		do
			code = write_by_rename(t, engine_api()->trainer_save, path, &error);
		while (again(t, code));
	}
	if (code != IE_OK)
		failure_raise(&error, t->settings->name);
	t->checkpoint_ms = ms_since(begun);
	INSTR_TIME_SET_CURRENT(t->checkpoint_written);
}

/* After each call of the engine, like host_again(). */
static bool
again(Training *t, ie_code code)
{
	if (code == IE_CANCELED && (QueryCancelPending || ProcDiePending))
	{
		if (t->n_steps > 0 && (ProcDiePending || t->checkpoint_ms < QUICK_MS))
			write_checkpoint(t, true);
		set_state(t, TRAIN_CANCELED, ProcDiePending ? "terminated" : "canceled");
	}
	return host_again(&t->model->host, code);
}

static void
check_code(const Training *t, ie_code code, const ie_error *error)
{
	if (code != IE_OK)
		failure_raise(error, t->settings->name);
}

/* ----------------------------------------------------------------------- rows */

static void
check_columns(void)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		right = desc->natts == 3;

	for (int i = 0; right && i < 3; i++)
	{
		Oid			type = TupleDescAttr(desc, i)->atttypid;

		right = type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == UNKNOWNOID;
	}
	if (!right)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("query for training must return three columns of type text"),
				 errdetail("They are the instruction, the input and the output.")));
}

/* A column of a row, in UTF-8 */
static ie_text
column_text(HeapTuple tuple, int column, int64 row)
{
	static const char *const names[] = {"instruction", "input", "output"};
	char	   *value = SPI_getvalue(tuple, SPI_tuptable->tupdesc, column);

	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s of training row " INT64_FORMAT " is null", names[column - 1], row),
				 errhint("Leave such rows out; an empty instruction stands for none.")));
	return text_to_utf8(value, strlen(value));
}

static void
add_rows(Training *t)
{
	const size_t n = SPI_processed;
	ie_triple  *rows = palloc(n * sizeof(ie_triple));
	size_t		n_done = 0;
	ie_error	error;
	ie_code		code;

	for (size_t i = 0; i < n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		int64		row = t->status.rows + i + 1;

		rows[i].instruction = column_text(tuple, 1, row);
		rows[i].input = column_text(tuple, 2, row);
		rows[i].output = column_text(tuple, 3, row);
	}
	host_begin(&t->model->host);
	do
	{
		size_t		n_added = 0;

		code = engine_api()->trainer_add(t->trainer, rows + n_done, n - n_done, &n_added, &error);
		n_done += n_added;
	} while (again(t, code));
	check_code(t, code, &error);
	t->status.rows += n;
}

/* As the current user.  The query itself cannot write. */
static void
read_rows(Training *t)
{
	MemoryContext batch;
	SPIPlanPtr	plan;
	Portal		portal;

	SPI_connect();
	plan = SPI_prepare(t->query, 0, NULL);
	if (plan == NULL || !SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query for training must be one that returns rows")));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	batch = AllocSetContextCreate(CurrentMemoryContext, "instemb rows", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS); /* comes back in SPI's context */
		check_columns();
		if (SPI_processed == 0)
			break;
		MemoryContextSwitchTo(batch);
		add_rows(t);
		SPI_freetuptable(SPI_tuptable);
		MemoryContextReset(batch);
		if (ms_since(t->status_written) >= STATUS_MS)
		{
			train_status_write(&t->status);
			INSTR_TIME_SET_CURRENT(t->status_written);
		}
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

/*
 * In a worker, whose session is that of the caller's session user: what the
 * query calls can neither set another role than the one that started it nor
 * leave anything behind that would run as the session's (deferred triggers,
 * cursors, temporary objects).
 */
static void
read_rows_in_transaction(Training *t)
{
	Oid			session_role;
	int			security;
	int			level;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&session_role, &security);
	level = NewGUCNestLevel();
	SetUserIdAndSecContext(t->worker_role, security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	read_rows(t);
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(session_role, security);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(t->model->context);
}

/* ---------------------------------------------------------------------- steps */

static void
measure(Training *t)
{
	TrainStatus *s = &t->status;
	const double seconds = ms_since(t->begun) / 1000;

	if (seconds <= 0)
		return;
	s->rows_per_second = t->n_rows / seconds;
	s->tokens_per_second = t->n_tokens / seconds;
	s->seconds_left = seconds / t->n_steps * (s->progress.n_steps - s->progress.step);
}

static void
resume(Training *t)
{
	char		path[MAXPGPATH];
	ie_error	error;
	ie_code		code;

	train_path(t->settings->name, CHECKPOINT_SUFFIX, path);
	host_begin(&t->model->host);
	do
		code = engine_api()->trainer_load(t->trainer, path, &error);
	while (again(t, code));
	check_code(t, code, &error);
	t->status.progress.step = engine_api()->trainer_steps_done(t->trainer);
}

static void
start_from(Training *t)
{
	ModelFile	file;
	Failure		failure;
	ie_error	error;
	ie_code		code;

	if (!model_file_find(t->settings->start, &file, &failure))
		failure_report(ERROR, &failure);
	host_begin(&t->model->host);
	do
		code = engine_api()->trainer_read_adapter(t->trainer, file.path, &error);
	while (again(t, code));
	check_code(t, code, &error);
}

static void
run_steps(Training *t)
{
	ie_train_progress *progress = &t->status.progress;
	ie_error	error;
	ie_code		code;

	INSTR_TIME_SET_CURRENT(t->begun);
	t->checkpoint_written = t->status_written = t->begun;
	set_state(t, TRAIN_TRAINING, "");
	while (progress->step < progress->n_steps)
	{
		host_begin(&t->model->host);
		do
			code = engine_api()->trainer_step(t->trainer, progress, &error);
		while (again(t, code));
		check_code(t, code, &error);
		t->n_steps++;
		t->n_rows += progress->n_rows;
		t->n_tokens += progress->n_tokens;
		t->status.state = TRAIN_TRAINING;
		t->status.message[0] = '\0';
		measure(t);
		if (ms_since(t->status_written) >= STATUS_MS || progress->step == progress->n_steps)
		{
			train_status_write(&t->status);
			INSTR_TIME_SET_CURRENT(t->status_written);
		}
		if (t->n_steps == 1 || ms_since(t->checkpoint_written) >= CHECKPOINT_MS)
			write_checkpoint(t, false);
	}
}

/* -------------------------------------------------------------------- results */

static void
write_model(Training *t, char *sha256)
{
	const TrainSettings *settings = t->settings;
	char		name[MODEL_NAME_SIZE];
	char		path[MAXPGPATH];
	ModelFile	adapter;
	InstallRequest request = {
		.name = settings->name, .base = &t->base, .adapter = &adapter,
		.replace = settings->replace
	};
	Failure		failure;
	ie_error	error;
	ie_code		code;

	set_state(t, TRAIN_INSTALLING, "");
	adapter_name(settings, name);
	train_path(name, &MODEL_SUFFIX[1], path);

	/* others may have installed models meanwhile */
	install_take_lock();
	check_names(settings);
	host_begin(&t->model->host);
	do
		code = write_by_rename(t, engine_api()->trainer_write_adapter, path, &error);
	while (again(t, code));
	check_code(t, code, &error);
	if (!model_file_find(name, &adapter, &failure))
		failure_report(ERROR, &failure);
	install_model(&request, sha256);
	train_path(settings->name, CHECKPOINT_SUFFIX, path);
	if (file_exists(path))
		durable_unlink(path, WARNING);
	set_state(t, TRAIN_DONE, "");
}

/* ------------------------------------------------------------------------ run */

void
train_check(const TrainSettings *settings)
{
	char		path[MAXPGPATH];

	if (strlen(settings->name) + strlen(ADAPTER_SUFFIX) >= MODEL_NAME_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name \"%s\" is too long for a model to be trained", settings->name),
				 errdetail("Its adapter is named by the same name and \"%s\".", ADAPTER_SUFFIX)));
	check_names(settings);
	train_path(settings->name, CHECKPOINT_SUFFIX, path);
	if (settings->resume && !file_exists(path))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no training of model \"%s\" to resume", settings->name)));
	if (!settings->resume && !settings->replace && file_exists(path))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("a training of model \"%s\" was left unfinished", settings->name),
				 errhint("Set \"resume\" to go on with it, or \"replace\" to begin anew.")));
}

/* One training of a name at a time; the lock is the session's, across transactions. */
static void
take_lock(const TrainSettings *settings, LOCKTAG *tag)
{
	uint32		hash = DatumGetUInt32(hash_any((const unsigned char *) settings->name,
											   strlen(settings->name)));
	LockAcquireResult result;

	SET_LOCKTAG_ADVISORY(*tag, InvalidOid, hash, LOCK_FIELD_TRAIN, LOCK_KIND);
	result = LockAcquire(tag, ExclusiveLock, true, true);
	if (result == LOCKACQUIRE_ALREADY_HELD)
		LockRelease(tag, ExclusiveLock, true);
	if (result != LOCKACQUIRE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 result == LOCKACQUIRE_NOT_AVAIL ?
				 errmsg("model \"%s\" is being trained by another session", settings->name) :
				 errmsg("model \"%s\" is being trained by this session", settings->name)));
}

static void
free_trainer(void *arg)
{
	engine_api()->trainer_free(arg);
}

static void
open_trainer(Training *t)
{
	ie_train_config config = t->settings->config;
	MemoryContextCallback *callback;
	Failure		failure;
	ie_error	error;
	ie_code		code;

	if (!model_file_find(t->settings->base, &t->base, &failure) ||
		!model_open(&t->base, CurrentMemoryContext, &t->model, &failure))
		failure_report(ERROR, &failure);
	callback = MemoryContextAllocZero(t->model->context, sizeof(*callback));
	config.pooling = t->settings->pooling;
	host_begin(&t->model->host);
	do
		code = engine_api()->trainer_create(&t->model->host.services, t->model->handle, &config,
											&t->trainer, &error);
	while (again(t, code));
	check_code(t, code, &error);

	/* registered last, called first: the trainer borrows the model */
	callback->func = free_trainer;
	callback->arg = t->trainer;
	MemoryContextRegisterResetCallback(t->model->context, callback);
}

static void
run(Training *t, char *sha256)
{
	open_trainer(t);
	if (OidIsValid(t->worker_role))
		read_rows_in_transaction(t);
	else
		read_rows(t);
	if (t->settings->start[0] != '\0')
		start_from(t);
	if (t->settings->resume)
		resume(t);
	run_steps(t);
	if (OidIsValid(t->worker_role))
	{
		StartTransactionCommand();
		write_model(t, sha256);
		CommitTransactionCommand();
	}
	else
		write_model(t, sha256);
	model_discard(t->model);
}

/* Keep what an ERROR says where others can read it. */
static void
note_error(Training *t, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	set_state(t, error->sqlerrcode == ERRCODE_QUERY_CANCELED ? TRAIN_CANCELED : TRAIN_FAILED,
			  error->message);
	FreeErrorData(error);
}

void
train_run(const TrainSettings *settings, const char *query, Oid worker_role, char *sha256)
{
	MemoryContext context = CurrentMemoryContext;
	Training   *t = palloc0(sizeof(Training));
	LOCKTAG		tag;

	install_make_directory();
	take_lock(settings, &tag);
	PG_TRY();
	{
		train_check(settings);
		t->settings = settings;
		t->query = query;
		t->worker_role = worker_role;
		t->checkpoint_ms = QUICK_MS;
		strlcpy(t->status.model, settings->name, sizeof(t->status.model));
		t->status.pid = MyProcPid;
		t->status.role = OidIsValid(worker_role) ? worker_role : GetUserId();
		t->status.started = GetCurrentTimestamp();
		t->status.seconds_left = -1;
		t->status.progress.n_steps = settings->config.n_steps;
		INSTR_TIME_SET_CURRENT(t->status_written);
		set_state(t, TRAIN_READING, "");
		run(t, sha256);
	}
	PG_CATCH();
	{
		if (t->status.pid != 0)
			note_error(t, context);
		LockRelease(&tag, ExclusiveLock, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	LockRelease(&tag, ExclusiveLock, true);
}
