/*
 * row_spec.h
 *	  What keeps one embedding column in step: the arguments of a trigger.
 *
 *		(target, instruction, model, [option=value, ...] source, ...)
 *
 * All triggers of instemb have these arguments.  They are the one place where
 * it is written down how a column is made: backfill and worker read them, too,
 * so that PostgreSQL's own rules about triggers (who may make them, that they
 * go with their table, that a dump holds them) are the rules for all of it.
 */
#ifndef INSTEMB_ROW_SPEC_H
#define INSTEMB_ROW_SPEC_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "utils/reltrigger.h"

#include "pg/embed.h"
#include "pg/source.h"

/* Options, before the first source column. */
#define OPTION_PROVENANCE "provenance=" /* a jsonb column, see provenance.h */
#define OPTION_SHA256 "sha256="	/* first digits of the model's hash; others are refused */

typedef struct RowSpec
{
	AttrNumber	target;			/* of type real[], or a domain over it */
	AttrNumber	provenance;		/* of type jsonb, 0 = none */
	SourceColumns sources;
	const char *instruction;	/* in the server's encoding */
	const char *model;			/* '' = that of instemb.model */
	const char *sha256;			/* NULL = any model */
} RowSpec;

typedef enum GeneratedSources
{
	GENERATED_REFUSED,			/* a BEFORE trigger would see old values */
	GENERATED_ALLOWED
} GeneratedSources;

/* Read and check a trigger's arguments for a relation; ERROR if they are wrong. */
extern void row_spec_read(RowSpec *spec, const Trigger *trigger, TupleDesc desc,
						  const char *function, GeneratedSources generated);

/* The open model of a spec; ERROR if there is none, or another than that of spec->sha256. */
extern Model *row_spec_model(const RowSpec *spec);

/* Begin embedding by a spec, with its model. */
extern void row_spec_begin(EmbedCall *call, const RowSpec *spec);

#endif							/* INSTEMB_ROW_SPEC_H */
