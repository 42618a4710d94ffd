/*
 * failure.c
 *	  ie_error to ereport().
 *
 * The engine's texts are in PostgreSQL's message style already and go through
 * unchanged, but they may quote a model file, so bytes that are not text in
 * the server's encoding are masked first.
 */
#include "postgres.h"

#include "pg/failure.h"
#include "pg/text.h"

bool
failure_set(Failure *failure, int sqlstate, const char *fmt,...)
{
	va_list		args;

	memset(failure, 0, sizeof(*failure));
	failure->error.code = IE_INVALID;
	failure->sqlstate = sqlstate;
	va_start(args, fmt);
	vsnprintf(failure->error.message, sizeof(failure->error.message), fmt, args);
	va_end(args);
	return false;
}

bool
failure_set_errno(Failure *failure, const char *fmt,...)
{
	int			saved_errno = errno;
	va_list		args;

	memset(failure, 0, sizeof(*failure));
	failure->error.code = IE_IO;
	failure->error.sys_errno = saved_errno;
	va_start(args, fmt);
	vsnprintf(failure->error.message, sizeof(failure->error.message), fmt, args);
	va_end(args);
	return false;
}

static int
code_sqlstate(ie_code code)
{
	switch (code)
	{
		case IE_NOMEM:
			return ERRCODE_OUT_OF_MEMORY;
		case IE_FORMAT:
			return ERRCODE_DATA_CORRUPTED;
		case IE_UNSUPPORTED:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case IE_INVALID:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case IE_LIMIT:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case IE_CANCELED:
			return ERRCODE_QUERY_CANCELED;
		case IE_NUMERIC:
			return ERRCODE_FLOATING_POINT_EXCEPTION;
		case IE_OK:
		case IE_IO:
		case IE_INTERNAL:
			break;
	}
	return ERRCODE_INTERNAL_ERROR;
}

char *
failure_message(const Failure *failure)
{
	const ie_error *error = &failure->error;

	if (error->code != IE_IO)
		return pstrdup(text_mask(error->message));
	errno = error->sys_errno;
	return psprintf("%s: %m", text_mask(error->message));
}

void
failure_report(int elevel, const Failure *failure)
{
	const ie_error *error = &failure->error;
	char	   *message = failure_message(failure);
	const char *detail = text_mask(error->detail);
	const char *hint = text_mask(error->hint);

	/* ereport() keeps errno for errcode_for_file_access() */
	errno = error->sys_errno;
	ereport(elevel,
			(failure->sqlstate != 0 ? errcode(failure->sqlstate) :
			 error->code == IE_IO ? errcode_for_file_access() :
			 errcode(code_sqlstate(error->code)),
			 errmsg_internal("%s", message),
			 detail[0] != '\0' ? errdetail_internal("%s", detail) : 0,
			 hint[0] != '\0' ? errhint("%s", hint) : 0,
			 failure->element > 0 ? errcontext(failure->of_statement ?
											   "row %d of the statement" :
											   "element %d of the array", failure->element) : 0,
			 failure->model != NULL ? errcontext("model \"%s\"", failure->model) : 0));
}

void
failure_raise(const ie_error *error, const char *model)
{
	const Failure failure = {.error = *error, .model = model};

	failure_report(ERROR, &failure);
	pg_unreachable();
}
