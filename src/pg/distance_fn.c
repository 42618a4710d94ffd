/*
 * distance_fn.c
 *	  Functions on vectors, which are plain real[].
 *
 * They need no model and no engine: the arithmetic is linked into this library.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "fmgr.h"

#include "pg/guc.h"
#include "pg/text.h"

typedef double (*Measure) (const float *a, const float *b, size_t n);

/*
 * What a call site remembers of its arguments.  In ORDER BY v <~=> (SELECT v
 * FROM ... WHERE id = 1) the second argument may be the same TOAST pointer for
 * every row: fetching it once is most of the time of such a scan.
 */
typedef struct Fetched
{
	struct varatt_external pointer[2];	/* of the last call; va_rawsize = 0: none */
	ArrayType  *array[2];		/* what it points to, once it came twice in a row; or NULL */
} Fetched;

/* The array of argument i.  *is_copy: is it the caller's to free? */
static ArrayType *
fetch_arg(FunctionCallInfo fcinfo, int i, bool *is_copy)
{
	struct varlena *datum = (struct varlena *) PG_GETARG_POINTER(i);
	Fetched    *fetched = fcinfo->flinfo->fn_extra;
	struct varatt_external pointer;
	ArrayType  *array;

	if (!VARATT_IS_EXTERNAL_ONDISK(datum))
	{
		array = DatumGetArrayTypeP(PointerGetDatum(datum));
		*is_copy = (void *) array != (void *) datum;
		return array;
	}
	if (fetched == NULL)
		fetched = fcinfo->flinfo->fn_extra =
			MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Fetched));
	VARATT_EXTERNAL_GET_POINTER(pointer, datum);
	*is_copy = memcmp(&pointer, &fetched->pointer[i], sizeof(pointer)) != 0;
	if (*is_copy)
	{
		if (fetched->array[i] != NULL)
			pfree(fetched->array[i]);
		fetched->array[i] = NULL;
		fetched->pointer[i] = pointer;
		return DatumGetArrayTypeP(PointerGetDatum(datum));
	}
	if (fetched->array[i] == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		array = DatumGetArrayTypeP(PointerGetDatum(datum));
		MemoryContextSwitchTo(before);
		fetched->array[i] = array;
	}
	return fetched->array[i];
}

static double
measure_args(FunctionCallInfo fcinfo, Measure measure)
{
	bool		is_copy_a;
	bool		is_copy_b;
	ArrayType  *a = fetch_arg(fcinfo, 0, &is_copy_a);
	ArrayType  *b = fetch_arg(fcinfo, 1, &is_copy_b);
	int			n_a;
	int			n_b;
	const float *values_a = vector_view(a, &n_a);
	const float *values_b = vector_view(b, &n_b);
	double		result;

	if (n_a != n_b)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different vector dimensions %d and %d", n_a, n_b)));
	result = measure(values_a, values_b, n_a);
	if (is_copy_a)
		pfree(a);
	if (is_copy_b)
		pfree(b);
	return result;
}

PG_FUNCTION_INFO_V1(instemb_distance);
Datum
instemb_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(measure_args(fcinfo, ie_cosine_distance));
}

PG_FUNCTION_INFO_V1(instemb_similarity);
Datum
instemb_similarity(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(measure_args(fcinfo, ie_cosine_similarity));
}

PG_FUNCTION_INFO_V1(instemb_inner_product);
Datum
instemb_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(measure_args(fcinfo, ie_inner_product));
}

/* False for a zero vector, which is similar to nothing. */
PG_FUNCTION_INFO_V1(instemb_similar_op);
Datum
instemb_similar_op(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(measure_args(fcinfo, ie_cosine_similarity) >= guc_similarity_threshold);
}

PG_FUNCTION_INFO_V1(instemb_truncate);
Datum
instemb_truncate(PG_FUNCTION_ARGS)
{
	int			n;
	const float *values = vector_view(PG_GETARG_ARRAYTYPE_P(0), &n);
	int32		dims = PG_GETARG_INT32(1);
	ArrayType  *result;
	float	   *kept;

	if (dims < 1 || dims > n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot truncate a vector of %d dimensions to %d", n, dims)));
	result = vector_create(dims, &kept);
	memcpy(kept, values, sizeof(float) * dims);
	if (!ie_normalize(kept, dims))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("cannot normalize a vector whose length is zero or not finite")));
	PG_RETURN_ARRAYTYPE_P(result);
}
