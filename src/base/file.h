/*
 * file.h
 *	  Files as the engine needs them: a read-only shared mapping, and a new
 *	  file written in order and made durable.
 */
#ifndef IE_FILE_H
#define IE_FILE_H

#include "base/status.h"

typedef struct ie_mapping
{
	const uint8_t *data;		/* PROT_READ, MAP_SHARED */
	size_t		size;
} ie_mapping;

/*
 * Map a regular file.  The descriptor is closed again (a mapping outlives it).
 * The file must never be truncated while mapped (SIGBUS): models are replaced
 * by rename.  What has to be read is asked for in huge pages, which take far
 * fewer page faults, where the kernel has them for files.
 *
 * Errors: IE_IO; IE_FORMAT if it is empty or not a regular file.
 */
ie_code		ie_map_file(const char *path, ie_mapping *map, ie_error *err);
void		ie_unmap_file(ie_mapping *map); /* idempotent */

/*
 * A file to be read once, in order: unlike a mapping it can be truncated by
 * others without harm.
 */
typedef struct ie_input
{
	int			fd;
	const char *path;			/* borrowed */
	uint64_t	size;
} ie_input;

/* Errors: IE_IO; IE_FORMAT if it is not a regular file. */
ie_code		ie_input_open(ie_input *r, const char *path, ie_error *err);

/* The next size bytes.  Errors: IE_IO; IE_FORMAT if the file ends before. */
ie_code		ie_input_read(ie_input *r, void *data, size_t size, ie_error *err);
void		ie_input_close(ie_input *r);

typedef struct ie_writer
{
	int			fd;
	const char *path;			/* borrowed; NULL if it could not be created */
	uint64_t	offset;			/* bytes written */
} ie_writer;

/* Create path (must not exist), mode 0600. */
ie_code		ie_writer_open(ie_writer *w, const char *path, ie_error *err);
ie_code		ie_writer_write(ie_writer *w, const void *data, size_t size, ie_error *err);

/* Overwrite size bytes at an earlier offset (headers known only at the end). */
ie_code		ie_writer_patch(ie_writer *w, uint64_t offset, const void *data, size_t size,
							ie_error *err);

/* fsync and close.  After any failure call ie_writer_abandon(), which unlinks what was created. */
ie_code		ie_writer_finish(ie_writer *w, ie_error *err);
void		ie_writer_abandon(ie_writer *w);

#endif							/* IE_FILE_H */
