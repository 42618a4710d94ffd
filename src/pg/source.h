/*
 * source.h
 *	  The text of a row that its embedding is computed from.
 *
 * One rule for whatever keeps embeddings in step with rows: the source columns
 * that are neither NULL nor blank, in the order given, joined by a newline.  A
 * row in which none is left has no text, and its embedding is NULL.  A value
 * is blank if it is made of white space (space, tab, line feed, carriage
 * return, form feed, vertical tab) alone.
 */
#ifndef INSTEMB_SOURCE_H
#define INSTEMB_SOURCE_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/bitmapset.h"

/* Source columns of a relation. */
typedef struct SourceColumns
{
	int			n;
	const AttrNumber *attnums;	/* [n] */
} SourceColumns;

/* True if values of the type can be a source: text, varchar, char(n), domains over them ... */
extern bool source_type_is_text(Oid type);

/* Text of a row in the server's encoding, palloc'd; NULL if it has none. */
extern text *source_compose(HeapTuple tuple, TupleDesc desc, const SourceColumns *columns);

/* True if two rows of the same relation have the same text, or both have none. */
extern bool source_equal(HeapTuple a, HeapTuple b, TupleDesc desc,
						 const SourceColumns *columns);

/* True if an UPDATE with these tg_updatedcols assigns one of the columns. */
extern bool source_assigned(const Bitmapset *updated, const SourceColumns *columns);

#endif							/* INSTEMB_SOURCE_H */
