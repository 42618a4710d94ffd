/*
 * status.h
 *	  How the engine reports failure: codes, messages, propagation.
 *
 * Two shapes of function, no third: one that acquires nothing uses IE_TRY();
 * one that acquires has a single "done:" label that closes zeroed structs.
 */
#ifndef IE_STATUS_H
#define IE_STATUS_H

#include "instemb.h"

/*
 * Fill *err and return code: the only way to make an error.  The message is in
 * PostgreSQL's primary-message style (lower case, no period).
 */
ie_code		ie_fail(ie_error *err, ie_code code, const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

/* The same with errno kept, for IE_IO; call it before errno can change. */
ie_code		ie_fail_errno(ie_error *err, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

/* Add a detail or hint (whole sentences) to the error just made; return its code. */
ie_code		ie_detail(ie_error *err, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));
ie_code		ie_hint(ie_error *err, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

/*
 * Put 'what file "path": ' before the message of the error just made, unless it
 * names the path already or is not about a file's content; return its code.
 */
ie_code		ie_in_file(ie_error *err, const char *what, const char *path);

/* "out of memory" with the size wanted in the detail. */
ie_code		ie_nomem(ie_error *err, size_t size);

#define IE_TRY(call) \
	do { \
		ie_code ie_try_code_ = (call); \
		if (ie_try_code_ != IE_OK) \
			return ie_try_code_; \
	} while (0)

/* The same for functions with a done: label and a variable "code". */
#define IE_TRY_GOTO(call) \
	do { \
		code = (call); \
		if (code != IE_OK) \
			goto done; \
	} while (0)

#define IE_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#endif							/* IE_STATUS_H */
