/*
 * train_status.c
 *	  Status files of trainings: see train_status.h.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "pg/guc.h"
#include "pg/text.h"
#include "pg/train_status.h"

#define STATUS_SUFFIX "train"

static const char *const state_names[] = {
	"reading", "training", "installing", "done", "canceled", "failed"
};

void
train_path(const char *name, const char *suffix, char *path)
{
	snprintf(path, MAXPGPATH, "%s/%s.%s", guc_data_model_dir, name, suffix);
}

static bool
write_file(const char *path, const TrainStatus *status)
{
	int			fd = BasicOpenFile(path, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	ssize_t		n;

	if (fd < 0)
		return false;
	errno = 0;
	n = write(fd, status, sizeof(*status));
	if (close(fd) == 0 && n == (ssize_t) sizeof(*status))
		return true;
	if (errno == 0)
		errno = ENOSPC;
	return false;
}

void
train_status_write(TrainStatus *status)
{
	static bool warned;
	char		path[MAXPGPATH];
	char		temp_path[MAXPGPATH];

	status->magic = TRAIN_STATUS_MAGIC;
	status->size = sizeof(*status);
	status->updated = GetCurrentTimestamp();
	train_path(status->model, STATUS_SUFFIX, path);
	train_path(status->model, STATUS_SUFFIX ".tmp", temp_path);
	if (write_file(temp_path, status) && rename(temp_path, path) == 0)
		return;
	if (!warned)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", path)));
	warned = true;
}

/* ------------------------------------------------------------------ reading */

static bool
read_file(const char *path, TrainStatus *status)
{
	int			fd = BasicOpenFile(path, O_RDONLY | PG_BINARY);
	ssize_t		n;

	if (fd < 0)
		return false;
	n = read(fd, status, sizeof(*status));
	close(fd);
	if (n != (ssize_t) sizeof(*status) || status->magic != TRAIN_STATUS_MAGIC ||
		status->size != sizeof(*status) || (unsigned) status->state >= lengthof(state_names))
		return false;
	status->model[sizeof(status->model) - 1] = '\0';
	status->message[sizeof(status->message) - 1] = '\0';
	return true;
}

/* What a file says that its process did not live to change */
static const char *
state_name(const TrainStatus *status)
{
	if (status->state < TRAIN_DONE && BackendPidGetProc(status->pid) == NULL)
		return "lost";
	return state_names[status->state];
}

static Datum
losses_json(const ie_train_progress *p)
{
	char	   *json = psprintf("{\"answer\": %.9g, \"back\": %.9g, \"group\": %.9g, \"view\": %.9g, "
								"\"teacher\": %.9g, \"mse\": %.9g, \"kl\": %.9g, \"ce\": %.9g, "
								"\"generation\": %.9g}",
								p->answer, p->back, p->group, p->view, p->teacher, p->mse, p->kl,
								p->ce, p->generation);

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
}

static Datum
seconds_interval(double seconds)
{
	return DirectFunctionCall7(make_interval, Int32GetDatum(0), Int32GetDatum(0),
							   Int32GetDatum(0), Int32GetDatum(0), Int32GetDatum(0),
							   Int32GetDatum(0), Float8GetDatum(seconds));
}

#define N_COLUMNS 16

static void
put_status(const TrainStatus *status, ReturnSetInfo *result)
{
	const ie_train_progress *p = &status->progress;
	const bool	trained = p->step > 0;
	int			i = 0;
	Datum		values[N_COLUMNS];
	bool		nulls[N_COLUMNS] = {0};

#define PUT(value, known) (nulls[i] = !(known), values[i] = nulls[i] ? (Datum) 0 : (value), i++)
	PUT(CStringGetTextDatum(status->model), true);
	PUT(Int32GetDatum(status->pid), true);
	PUT(ObjectIdGetDatum(status->role), true);
	PUT(CStringGetTextDatum(state_name(status)), true);
	PUT(Int32GetDatum(p->step), true);
	PUT(Int32GetDatum(p->n_steps), true);
	PUT(Int64GetDatum(status->rows), true);
	PUT(Float8GetDatum(p->loss), trained);
	PUT(losses_json(p), trained);
	PUT(Float8GetDatum(p->accuracy), trained);
	PUT(Float8GetDatum(status->rows_per_second), status->rows_per_second > 0);
	PUT(Float8GetDatum(status->tokens_per_second), status->tokens_per_second > 0);
	PUT(seconds_interval(status->seconds_left), status->seconds_left >= 0);
	PUT(TimestampTzGetDatum(status->started), true);
	PUT(TimestampTzGetDatum(status->updated), true);
	PUT(CStringGetTextDatum(text_mask(status->message)), status->message[0] != '\0');
#undef PUT
	Assert(i == N_COLUMNS);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Trainings of roles that the caller is a member of; of all, with pg_read_all_stats. */
PG_FUNCTION_INFO_V1(instemb_train_status);
Datum
instemb_train_status(PG_FUNCTION_ARGS)
{
	const Oid	user = GetUserId();
	const bool	sees_all = has_privs_of_role(user, ROLE_PG_READ_ALL_STATS);
	const char *suffix = "." STATUS_SUFFIX;
	struct dirent *entry;
	DIR		   *dir;

	InitMaterializedSRF(fcinfo, 0);
	dir = AllocateDir(guc_data_model_dir);
	if (dir == NULL && errno == ENOENT)
		return (Datum) 0;		/* it is made when it is needed */
	while ((entry = ReadDir(dir, guc_data_model_dir)) != NULL)
	{
		const size_t len = strlen(entry->d_name);
		char		path[MAXPGPATH];
		TrainStatus status;

		CHECK_FOR_INTERRUPTS();
		if (len <= strlen(suffix) || strcmp(entry->d_name + len - strlen(suffix), suffix) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", guc_data_model_dir, entry->d_name);
		if (read_file(path, &status) && (sees_all || has_privs_of_role(user, status.role)))
			put_status(&status, (ReturnSetInfo *) fcinfo->resultinfo);
	}
	FreeDir(dir);
	return (Datum) 0;
}
