/*
 * file.c
 *	  Mapping and writing of files: see file.h.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

ie_code
ie_input_open(ie_input *r, const char *path, ie_error *err)
{
	struct stat st;
	ie_code		code = IE_OK;

	r->path = path;
	r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
	if (r->fd < 0)
		return ie_fail_errno(err, "could not open file \"%s\"", path);
	if (fstat(r->fd, &st) != 0)
		code = ie_fail_errno(err, "could not stat file \"%s\"", path);
	else if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		code = ie_fail(err, IE_FORMAT, "file \"%s\" is %s", path,
					   S_ISREG(st.st_mode) ? "empty" : "not a regular file");
	else
		r->size = (uint64_t) st.st_size;
	if (code != IE_OK)
		ie_input_close(r);
	return code;
}

ie_code
ie_input_read(ie_input *r, void *data, size_t size, ie_error *err)
{
	uint8_t    *p = data;

	while (size > 0)
	{
		const ssize_t n = read(r->fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ie_fail_errno(err, "could not read file \"%s\"", r->path);
		if (n == 0)
			return ie_fail(err, IE_FORMAT, "file \"%s\" is truncated", r->path);
		p += n;
		size -= (size_t) n;
	}
	return IE_OK;
}

void
ie_input_close(ie_input *r)
{
	close(r->fd);
	r->fd = -1;
}

ie_code
ie_map_file(const char *path, ie_mapping *map, ie_error *err)
{
	ie_input	file;
	void	   *p;

	IE_TRY(ie_input_open(&file, path, err));
	p = mmap(NULL, (size_t) file.size, PROT_READ, MAP_SHARED, file.fd, 0);
	if (p == MAP_FAILED)
		ie_fail_errno(err, "could not map file \"%s\"", path);
	ie_input_close(&file);
	if (p == MAP_FAILED)
		return err->code;
#ifdef MADV_HUGEPAGE
	(void) madvise(p, (size_t) file.size, MADV_HUGEPAGE);	/* a hint: kernels may not heed it */
#endif
	map->data = p;
	map->size = (size_t) file.size;
	return IE_OK;
}

void
ie_unmap_file(ie_mapping *map)
{
	if (map->data != NULL)
		munmap((void *) (uintptr_t) map->data, map->size);
	map->data = NULL;
	map->size = 0;
}

ie_code
ie_writer_open(ie_writer *w, const char *path, ie_error *err)
{
	w->path = path;
	w->offset = 0;
	w->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (w->fd < 0)
	{
		w->path = NULL;			/* not ours to unlink */
		return ie_fail_errno(err, "could not create file \"%s\"", path);
	}
	return IE_OK;
}

ie_code
ie_writer_write(ie_writer *w, const void *data, size_t size, ie_error *err)
{
	IE_TRY(ie_writer_patch(w, w->offset, data, size, err));
	w->offset += size;
	return IE_OK;
}

ie_code
ie_writer_patch(ie_writer *w, uint64_t offset, const void *data, size_t size, ie_error *err)
{
	const uint8_t *p = data;

	while (size > 0)
	{
		ssize_t		n = pwrite(w->fd, p, size, (off_t) offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			if (n == 0)
				errno = ENOSPC;
			return ie_fail_errno(err, "could not write file \"%s\"", w->path);
		}
		p += n;
		offset += (uint64_t) n;
		size -= (size_t) n;
	}
	return IE_OK;
}

ie_code
ie_writer_finish(ie_writer *w, ie_error *err)
{
	if (fsync(w->fd) != 0)
		return ie_fail_errno(err, "could not fsync file \"%s\"", w->path);
	if (close(w->fd) != 0)
	{
		w->fd = -1;
		return ie_fail_errno(err, "could not close file \"%s\"", w->path);
	}
	w->fd = -1;
	return IE_OK;
}

void
ie_writer_abandon(ie_writer *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	if (w->path != NULL)
		unlink(w->path);
}
