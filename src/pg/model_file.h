/*
 * model_file.h
 *	  Model names, and the files they stand for.
 *
 * A model is the file NAME.gguf in instemb.data_model_dir or, failing that, in
 * instemb.model_dir.  Nothing else is ever opened, and a name can hold no
 * path, so whoever may call a function here can reach no other file.
 */
#ifndef INSTEMB_MODEL_FILE_H
#define INSTEMB_MODEL_FILE_H

#include "pg/failure.h"

#define MODEL_NAME_SIZE 64		/* with the terminating NUL */
#define MODEL_SUFFIX ".gguf"
#define MODEL_DEFAULT "default" /* no file's name: see model_file_resolve() */
#define MODEL_FILE_NAME_SIZE 80 /* room for "/" NAME MODEL_SUFFIX, or a temporary file */
#define MODEL_NAME_RULE \
	"A model's name has 1 to 63 characters, lower-case letters, digits, \"_\", \"-\" and " \
	"\".\", begins with a letter or digit, and has no two dots in a row."

/* Tells one content of a file from another; compared with memcmp(). */
typedef struct FileKey
{
	uint64		device;
	uint64		inode;
	uint64		size;
	int64		mtime_ns;
} FileKey;

typedef struct ModelFile
{
	char		name[MODEL_NAME_SIZE];	/* never MODEL_DEFAULT */
	char		path[MAXPGPATH];
	bool		in_data_dir;
	FileKey		key;
} ModelFile;

extern bool model_name_is_valid(const char *name);

/* ERROR unless the name is valid; refuse_default: and stands for a fixed file. */
extern void model_name_check(const char *name, bool refuse_default);

/* A text Datum as a model's name, palloc'd and checked as above. */
extern char *model_name_arg(Datum arg, bool refuse_default);

/* The directories in the order they are looked at. */
#define MODEL_N_DIRS 2
extern const char *model_dir(int i);

/*
 * name: [MODEL_NAME_SIZE], becomes the name in the file "default" if it is
 * MODEL_DEFAULT.  name must be valid.
 */
extern bool model_file_resolve(char *name, Failure *failure);

/* Resolve the name, find its file and read its key. */
extern bool model_file_find(const char *name, ModelFile *file, Failure *failure);

/* The file of that name in one directory; false and errno ENOENT if there is none. */
extern bool model_file_stat(const char *name, int dir, ModelFile *file);

extern bool file_key_equal(const FileKey *a, const FileKey *b);

#endif							/* INSTEMB_MODEL_FILE_H */
