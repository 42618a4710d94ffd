/*
 * install.c
 *	  Base and adapter to one model file.
 *
 * The file is written under a temporary name in instemb.data_model_dir,
 * checked, and renamed into place, so that a model is there as a whole or not
 * at all, and a backend that has the old one mapped keeps it.  One installation
 * runs at a time in a cluster, under a lock that ends with the transaction:
 * hence a look at the names that exist is reliable until the rename, and any
 * temporary file is left over from a crash.  The temporary name begins as those
 * of the server's own temporary files do; base backups skip such files.
 *
 * The effect does not wait for the transaction and is not rolled back.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/memutils.h"

#include "pg/engine.h"
#include "pg/guc.h"
#include "pg/install.h"
#include "pg/models.h"

#define TEMP_PREFIX "pgsql_tmp.instemb."

/* Advisory locks of users have database and kind set; this one collides with none. */
#define LOCK_FIELD_INSTALL 0x696e7374	/* "inst" */
#define LOCK_KIND 3

typedef struct Install
{
	const InstallRequest *request;
	char		temp_path[MAXPGPATH];
	char		path[MAXPGPATH];
} Install;

void
install_take_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, 0, LOCK_FIELD_INSTALL, LOCK_KIND);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
install_make_directory(void)
{
	char		parent[MAXPGPATH];

	if (mkdir(guc_data_model_dir, S_IRWXU) == 0)
	{
		strlcpy(parent, guc_data_model_dir, sizeof(parent));
		get_parent_directory(parent);
		fsync_fname(parent, true);
	}
	else if (errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", guc_data_model_dir)));
}

static void
remove_leftovers(void)
{
	DIR		   *dir = AllocateDir(guc_data_model_dir);
	struct dirent *entry;

	while ((entry = ReadDir(dir, guc_data_model_dir)) != NULL)
	{
		char		path[MAXPGPATH];

		if (strncmp(entry->d_name, TEMP_PREFIX, strlen(TEMP_PREFIX)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", guc_data_model_dir, entry->d_name);
		durable_unlink(path, WARNING);
	}
	FreeDir(dir);
}

void
install_check_name(const char *name, bool replace)
{
	ModelFile	file;

	if (strcmp(name, MODEL_DEFAULT) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("model name \"%s\" is reserved", name)));
	if (replace)
		return;
	for (int dir = 0; dir < MODEL_N_DIRS; dir++)
		if (model_file_stat(name, dir, &file))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("model \"%s\" already exists", name),
					 errhint("Choose another name, or set \"replace\".")));
}

/* Removes the temporary file when an ERROR or FATAL ends the installation. */
static void
remove_temp(int code, Datum arg)
{
	const Install *install = (const Install *) DatumGetPointer(arg);

	unlink(install->temp_path);
}

static void
write_temp(const Install *install)
{
	const ie_api *api = engine_api();
	const InstallRequest *r = install->request;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "instemb install",
												  ALLOCSET_DEFAULT_SIZES);
	ie_install_request request = {
		.base_path = r->base->path,
		.adapter_path = r->adapter != NULL ? r->adapter->path : NULL,
		.definition = r->definition,
		.n_definition = r->n_definition,
		.out_path = install->temp_path,
		.max_bytes = guc_memory_limit()
	};
	Host		host;
	ie_error	error;
	ie_code		code;

	host_init(&host, context);
	do
	{
		unlink(install->temp_path);
		code = api->install(&host.services, &request, &error);
	} while (host_again(&host, code));
	if (code != IE_OK)
		failure_raise(&error, r->name);
	MemoryContextDelete(context);
}

/* The new file must be a usable model, as a whole, before it gets its name. */
static void
verify_temp(const Install *install, char *sha256)
{
	ModelFile	file = {0};
	struct stat st;
	Model	   *model;
	Failure		failure;
	ie_error	error;
	ie_code		code;

	strlcpy(file.name, install->request->name, sizeof(file.name));
	strlcpy(file.path, install->temp_path, sizeof(file.path));
	if (stat(file.path, &st) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", file.path)));
	file.key.size = st.st_size;
	if (!model_open(&file, CurrentMemoryContext, &model, &failure))
		failure_report(ERROR, &failure);
	do
		code = engine_api()->model_verify(model->handle, sha256, &error);
	while (host_again(&model->host, code));
	model_discard(model);
	if (code != IE_OK)
		failure_raise(&error, install->request->name);
}

void
install_model(const InstallRequest *request, char *sha256)
{
	Install		install = {.request = request};

	install_take_lock();
	install_make_directory();
	remove_leftovers();
	install_check_name(request->name, request->replace);
	snprintf(install.path, sizeof(install.path), "%s/%s%s", guc_data_model_dir,
			 request->name, MODEL_SUFFIX);
	snprintf(install.temp_path, sizeof(install.temp_path), "%s/%s%d", guc_data_model_dir,
			 TEMP_PREFIX, MyProcPid);
	PG_ENSURE_ERROR_CLEANUP(remove_temp, PointerGetDatum(&install));
	{
		write_temp(&install);
		verify_temp(&install, sha256);
		durable_rename(install.temp_path, install.path, ERROR);
	}
	PG_END_ENSURE_ERROR_CLEANUP(remove_temp, PointerGetDatum(&install));
}
