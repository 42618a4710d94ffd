/*
 * text.c
 *	  Encodings and float arrays.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"

#include "pg/text.h"

ie_text
text_to_utf8(const char *data, int len)
{
	char	   *utf8 = pg_server_to_any(data, len, PG_UTF8);
	ie_text		view = {utf8, utf8 == data ? (size_t) len : strlen(utf8)};

	return view;
}

ie_text
text_view(const text *t)
{
	return text_to_utf8(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
}

const char *
text_mask(const char *string)
{
	int			len = strlen(string);
	char	   *masked;

	if (GetDatabaseEncoding() == PG_UTF8 && pg_verify_mbstr(PG_UTF8, string, len, true))
		return string;
	masked = pstrdup(string);
	for (int i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(masked[i]))
			masked[i] = '?';
	return masked;
}

ArrayType *
vector_create(int n, float **values)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + sizeof(float4) * n;
	ArrayType  *array = palloc0(size);

	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = FLOAT4OID;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	*values = (float *) ARR_DATA_PTR(array);
	return array;
}

const float *
vector_view(ArrayType *array, int *n)
{
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("vector must be a one-dimensional array")));
	if (ARR_NDIM(array) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("vector must have at least one element")));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("vector must not contain nulls")));
	*n = ARR_DIMS(array)[0];
	return (const float *) ARR_DATA_PTR(array);
}
