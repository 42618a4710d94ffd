/*
 * failure.h
 *	  From an engine's error, or the face's own, to PostgreSQL's report.
 *
 * Functions that must not raise (preloading, listings) fill a Failure and
 * return false; everything else turns it into an ERROR with failure_report().
 */
#ifndef INSTEMB_FAILURE_H
#define INSTEMB_FAILURE_H

#include "instemb.h"

typedef struct Failure
{
	ie_error	error;
	int			sqlstate;		/* 0 = chosen by error.code */
	const char *model;			/* named in the context lines; NULL = none */
	int			element;		/* of an array of texts, from 1; 0 = none */
	bool		of_statement;	/* element is a row of the statement instead */
} Failure;

/* Fill in a failure of the face itself; always false, for "return failure_set()". */
extern bool failure_set(Failure *failure, int sqlstate, const char *fmt,...)
			pg_attribute_printf(3, 4);

/* The same with errno kept: the report ends in ": %m" and its SQLSTATE. */
extern bool failure_set_errno(Failure *failure, const char *fmt,...)
			pg_attribute_printf(2, 3);

/* Report at elevel; returns only if that is below ERROR. */
extern void failure_report(int elevel, const Failure *failure);

/* ERROR for an engine's error with a model. */
extern void failure_raise(const ie_error *error, const char *model) __attribute__((noreturn));

/* The primary message as one palloc'd string, with the text of errno. */
extern char *failure_message(const Failure *failure);

#endif							/* INSTEMB_FAILURE_H */
