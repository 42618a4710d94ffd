/*
 * model_file.c
 *	  Model names and files.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/builtins.h"

#include "pg/guc.h"
#include "pg/model_file.h"

/* Spelled out: the locale has no say in a file's name. */
bool
model_name_is_valid(const char *name)
{
	size_t		len = strlen(name);

	if (len == 0 || len >= MODEL_NAME_SIZE)
		return false;
	if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != len)
		return false;
	return strchr("_-.", name[0]) == NULL && strstr(name, "..") == NULL;
}

void
model_name_check(const char *name, bool refuse_default)
{
	if (!model_name_is_valid(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid model name \"%s\"", name),
				 errdetail("%s", MODEL_NAME_RULE)));
	if (refuse_default && strcmp(name, MODEL_DEFAULT) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"default\" cannot be named in this function"),
				 errdetail("The function is immutable, and \"default\" may stand for another "
						   "model tomorrow."),
				 errhint("Name the model itself, or leave the argument out to use the "
						 "parameter instemb.model.")));
}

char *
model_name_arg(Datum arg, bool refuse_default)
{
	char	   *name = TextDatumGetCString(arg);

	model_name_check(name, refuse_default);
	return name;
}

const char *
model_dir(int i)
{
	return i == 0 ? guc_data_model_dir : guc_model_dir;
}

/* Read a small file that should hold a model's name; false and errno as read() leaves them. */
static bool
read_name(const char *path, char *name, bool *valid)
{
	char		buffer[256];
	int			fd = BasicOpenFile(path, O_RDONLY | PG_BINARY);
	int			saved_errno;
	ssize_t		n;

	if (fd < 0)
		return false;
	n = read(fd, buffer, sizeof(buffer) - 1);
	saved_errno = errno;
	close(fd);
	errno = saved_errno;
	if (n < 0)
		return false;
	while (n > 0 && strchr(" \t\r\n", buffer[n - 1]) != NULL)
		n--;
	buffer[n] = '\0';
	*valid = strlen(buffer) == (size_t) n && model_name_is_valid(buffer) &&
		strcmp(buffer, MODEL_DEFAULT) != 0;
	if (*valid)
		strlcpy(name, buffer, MODEL_NAME_SIZE);
	return true;
}

bool
model_file_resolve(char *name, Failure *failure)
{
	if (strcmp(name, MODEL_DEFAULT) != 0)
		return true;
	for (int i = 0; i < MODEL_N_DIRS; i++)
	{
		char		path[MAXPGPATH];
		bool		valid;

		snprintf(path, sizeof(path), "%s/%s", model_dir(i), MODEL_DEFAULT);
		if (read_name(path, name, &valid))
		{
			if (valid)
				return true;
			return failure_set(failure, ERRCODE_CONFIG_FILE_ERROR,
							   "file \"%s\" does not hold a model's name", path);
		}
		if (errno != ENOENT && errno != ENOTDIR)
			return failure_set_errno(failure, "could not read file \"%s\"", path);
	}
	failure_set(failure, ERRCODE_UNDEFINED_OBJECT, "there is no default model");
	strlcpy(failure->error.hint,
			"Write a model's name into the file \"default\" beside the model files, or set "
			"instemb.model.",
			sizeof(failure->error.hint));
	return false;
}

bool
model_file_stat(const char *name, int dir, ModelFile *file)
{
	struct stat st;

	strlcpy(file->name, name, sizeof(file->name));
	snprintf(file->path, sizeof(file->path), "%s/%s%s", model_dir(dir), name, MODEL_SUFFIX);
	file->in_data_dir = dir == 0;
	if (stat(file->path, &st) < 0)
		return false;
	memset(&file->key, 0, sizeof(file->key));
	file->key.device = st.st_dev;
	file->key.inode = st.st_ino;
	file->key.size = st.st_size;
	file->key.mtime_ns = (int64) st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	return true;
}

bool
model_file_find(const char *name, ModelFile *file, Failure *failure)
{
	char		resolved[MODEL_NAME_SIZE];

	strlcpy(resolved, name, sizeof(resolved));
	if (!model_file_resolve(resolved, failure))
		return false;
	for (int i = 0; i < MODEL_N_DIRS; i++)
	{
		if (model_file_stat(resolved, i, file))
			return true;
		if (errno != ENOENT && errno != ENOTDIR)
			return failure_set_errno(failure, "could not stat file \"%s\"", file->path);
	}
	failure_set(failure, ERRCODE_UNDEFINED_OBJECT, "model \"%s\" does not exist", resolved);
	if (strcmp(name, resolved) != 0)
		strlcpy(failure->error.detail, "It is named by the file \"default\" beside the models.",
				sizeof(failure->error.detail));
	strlcpy(failure->error.hint,
			"A model is a file NAME" MODEL_SUFFIX " in instemb.data_model_dir or "
			"instemb.model_dir, named without its suffix.",
			sizeof(failure->error.hint));
	return false;
}

bool
file_key_equal(const FileKey *a, const FileKey *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}
