/*
 * distance_fn.c
 *	  Functions on vectors, which are plain real[].
 *
 * They need no model and no engine: the arithmetic is linked into this library.
 */
#include "postgres.h"

#include "fmgr.h"

#include "pg/guc.h"
#include "pg/text.h"

typedef double (*Measure) (const float *a, const float *b, size_t n);

static double
measure_args(FunctionCallInfo fcinfo, Measure measure)
{
	ArrayType  *a = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *b = PG_GETARG_ARRAYTYPE_P(1);
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
	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
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
