/*
 * source.c
 *	  Composing a row's source text.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

#include "pg/source.h"

#define WHITE_SPACE " \t\n\r\f\v"

bool
source_type_is_text(Oid type)
{
	return IsBinaryCoercible(type, TEXTOID) || getBaseType(type) == BPCHAROID;
}

/* Append a value unless it is blank. */
static void
append_value(StringInfo source, Oid type, Datum value)
{
	text	   *t = DatumGetTextPP(value);
	const char *data = VARDATA_ANY(t);
	int			len = VARSIZE_ANY_EXHDR(t);
	int			blank = 0;

	/* the padding of char(n) is no part of the value */
	if (getBaseType(type) == BPCHAROID)
		len = bpchartruelen((char *) data, len);
	while (blank < len && data[blank] != '\0' && strchr(WHITE_SPACE, data[blank]) != NULL)
		blank++;
	if (blank == len)
		return;
	if (source->len > 0)
		appendStringInfoChar(source, '\n');
	appendBinaryStringInfo(source, data, len);
}

text *
source_compose(HeapTuple tuple, TupleDesc desc, const SourceColumns *columns)
{
	StringInfoData source;

	initStringInfo(&source);
	for (int i = 0; i < columns->n; i++)
	{
		AttrNumber	attnum = columns->attnums[i];
		bool		isnull;
		Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

		if (!isnull)
			append_value(&source, TupleDescAttr(desc, attnum - 1)->atttypid, value);
	}
	return source.len > 0 ? cstring_to_text_with_len(source.data, source.len) : NULL;
}

/*
 * Stored images are compared first: where an UPDATE did not touch a column,
 * that saves fetching its value from TOAST.
 */
static bool
same_images(HeapTuple a, HeapTuple b, TupleDesc desc, const SourceColumns *columns)
{
	for (int i = 0; i < columns->n; i++)
	{
		AttrNumber	attnum = columns->attnums[i];
		bool		isnull_a;
		bool		isnull_b;
		Datum		value_a = heap_getattr(a, attnum, desc, &isnull_a);
		Datum		value_b = heap_getattr(b, attnum, desc, &isnull_b);

		if (isnull_a != isnull_b)
			return false;
		if (!isnull_a && !datumIsEqual(value_a, value_b, false, -1))
			return false;
	}
	return true;
}

bool
source_equal(HeapTuple a, HeapTuple b, TupleDesc desc, const SourceColumns *columns)
{
	text	   *source_a;
	text	   *source_b;

	if (same_images(a, b, desc, columns))
		return true;
	source_a = source_compose(a, desc, columns);
	source_b = source_compose(b, desc, columns);
	if (source_a == NULL || source_b == NULL)
		return source_a == source_b;
	return VARSIZE(source_a) == VARSIZE(source_b) &&
		memcmp(source_a, source_b, VARSIZE(source_a)) == 0;
}

bool
source_assigned(const Bitmapset *updated, const SourceColumns *columns)
{
	for (int i = 0; i < columns->n; i++)
		if (bms_is_member(columns->attnums[i] - FirstLowInvalidHeapAttributeNumber, updated))
			return true;
	return false;
}

/* instemb_source(VARIADIC columns text[]): the same for SQL, where rows are read by a query. */
PG_FUNCTION_INFO_V1(instemb_source);
Datum
instemb_source(PG_FUNCTION_ARGS)
{
	StringInfoData source;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	initStringInfo(&source);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			append_value(&source, TEXTOID, values[i]);
	if (source.len == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(source.data, source.len));
}
