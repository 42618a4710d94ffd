/*
 * status.c
 *	  Error reports.  Formatting into the caller's struct is all that happens:
 *	  nothing is allocated and nothing static is written.
 */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void
start(ie_error *err, ie_code code, int sys_errno)
{
	memset(err, 0, sizeof(*err));
	err->code = code;
	err->sys_errno = sys_errno;
}

ie_code
ie_fail(ie_error *err, ie_code code, const char *fmt,...)
{
	va_list		args;

	start(err, code, 0);
	va_start(args, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	return code;
}

ie_code
ie_fail_errno(ie_error *err, const char *fmt,...)
{
	va_list		args;

	start(err, IE_IO, errno);
	va_start(args, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	return IE_IO;
}

ie_code
ie_detail(ie_error *err, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(err->detail, sizeof(err->detail), fmt, args);
	va_end(args);
	return err->code;
}

ie_code
ie_hint(ie_error *err, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, args);
	va_end(args);
	return err->code;
}

ie_code
ie_in_file(ie_error *err, const char *what, const char *path)
{
	char		prefix[sizeof(err->message) / 2];
	size_t		len;

	if (err->code == IE_NOMEM || err->code == IE_CANCELED || strstr(err->message, path) != NULL)
		return err->code;
	snprintf(prefix, sizeof(prefix), "%s file \"%s\": ", what, path);
	len = strlen(prefix);
	memmove(err->message + len, err->message, sizeof(err->message) - len - 1);
	memcpy(err->message, prefix, len);
	err->message[sizeof(err->message) - 1] = '\0';
	return err->code;
}

ie_code
ie_nomem(ie_error *err, size_t size)
{
	ie_fail(err, IE_NOMEM, "out of memory");
	return ie_detail(err, "Failed on a request of %zu bytes.", size);
}

const char *
ie_code_name(ie_code code)
{
	static const char *const names[] = {
		"ok", "out of memory", "input/output error", "corrupt", "unsupported",
		"invalid", "limit exceeded", "canceled", "not finite", "internal error"
	};

	return (size_t) code < IE_LENGTH(names) ? names[code] : "?";
}
