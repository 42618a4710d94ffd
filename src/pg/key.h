/*
 * key.h
 *	  The primary key of a relation: how its rows are found again.
 */
#ifndef INSTEMB_KEY_H
#define INSTEMB_KEY_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "lib/stringinfo.h"
#include "utils/relcache.h"

typedef struct RowKey
{
	int			n;
	AttrNumber	attnums[INDEX_MAX_KEYS];
	Oid			types[INDEX_MAX_KEYS];	/* of the columns */
	Oid			operators[INDEX_MAX_KEYS];	/* equality */
} RowKey;

/* ERROR if the relation has no primary key, or is a parent by inheritance. */
extern void row_key_find(RowKey *key, Relation relation);

/* Append "t.a = $first AND t.b = $first+1 ...", safe under any search_path. */
extern void row_key_condition(StringInfo sql, const RowKey *key, TupleDesc desc, int first);

/* True if the stored images of two rows' keys are the same. */
extern bool row_key_equal(const RowKey *key, HeapTuple a, HeapTuple b, TupleDesc desc);

#endif							/* INSTEMB_KEY_H */
