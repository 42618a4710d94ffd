/*
 * scratch.h
 *	  A folder of a test's own, and files in it.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct scratch
{
	char		dir[128];
	char	   *path[8];
	size_t		n_paths;
} scratch;

static inline void
scratch_open(scratch *s)
{
	const char *parent = getenv("TMPDIR");

	memset(s, 0, sizeof(*s));
	snprintf(s->dir, sizeof(s->dir), "%s/instemb-unit-XXXXXX", parent != NULL ? parent : "/tmp");
	if (mkdtemp(s->dir) == NULL)
	{
		perror(s->dir);
		abort();
	}
}

/* The path of a file, which scratch_close() removes if it is there. */
static inline const char *
scratch_path(scratch *s, const char *name)
{
	const size_t size = strlen(s->dir) + strlen(name) + 2;
	char	   *path = malloc(size);

	if (path == NULL)
		abort();
	snprintf(path, size, "%s/%s", s->dir, name);
	s->path[s->n_paths++] = path;
	return path;
}

static inline void
scratch_close(scratch *s)
{
	for (size_t i = 0; i < s->n_paths; i++)
	{
		unlink(s->path[i]);
		free(s->path[i]);
	}
	if (rmdir(s->dir) != 0)
		perror(s->dir);
}

/* Bytes of a file, -1 if there is none */
static inline long
file_bytes(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (long) st.st_size : -1;
}

#endif							/* SCRATCH_H */
