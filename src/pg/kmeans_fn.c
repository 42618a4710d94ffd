/*
 * kmeans_fn.c
 *	  instemb_kmeans(): spherical k-means over the rows of a query.
 *
 * Dhillon and Modha, "Concept decompositions for large sparse text data using
 * clustering" (2001): Lloyd's algorithm with cosines; a centroid is the sum of
 * its members, scaled to unit length.  The beginning is k-means++ (Arthur and
 * Vassilvitskii, 2007) on a sample of the rows.
 *
 * Rows are read batch by batch, again in every round, so that memory holds the
 * sample and the centroids alone.  With the same rows in the same order and the
 * same seed the result is the same.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#include "pg/text.h"

#define FETCH_ROWS 256
#define SAMPLE_ROWS 2048
#define MAX_GROUPS 1024

/* Rounds end when the mean cosine to the centroids grows by less. */
#define LEAST_GAIN 1e-5

typedef struct KMeans
{
	MemoryContext context;		/* of what follows */
	SPIPlanPtr	plan;			/* of the query: key text[], embedding real[] */
	int			k;
	int			dims;			/* D, 0 = not known yet */
	int64		n_rows;
	int			n_sample;
	float	   *sample;			/* [SAMPLE_ROWS, D], unit length */
	float	   *centroids;		/* [k, D], unit length */
	double	   *sums;			/* [k, D] */
	int64	   *counts;			/* [k] */
	double		cosines;		/* sum over the rows, of one round */
	pg_prng_state random;
	ReturnSetInfo *result;
	float	   *vector;			/* [D], the row at hand */
} KMeans;

typedef void (*RowAction) (KMeans *means, Datum key);

/* The row's embedding, to means->vector; false if it has no direction. */
static bool
read_vector(KMeans *means, Datum value)
{
	int			n;
	const float *values = vector_view(DatumGetArrayTypeP(value), &n);

	if (means->dims == 0)
	{
		means->dims = n;
		means->sample = MemoryContextAllocHuge(means->context,
											   sizeof(float) * SAMPLE_ROWS * n);
		means->centroids = MemoryContextAllocHuge(means->context, sizeof(float) * means->k * n);
		means->sums = MemoryContextAllocHuge(means->context, sizeof(double) * means->k * n);
		means->vector = MemoryContextAlloc(means->context, sizeof(float) * n);
	}
	if (n != means->dims)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different vector dimensions %d and %d", means->dims, n)));
	memcpy(means->vector, values, sizeof(float) * n);
	return ie_normalize(means->vector, n);
}

/* Call the action for each row of the query. */
static void
scan(KMeans *means, RowAction action)
{
	Portal		portal = SPI_cursor_open(NULL, means->plan, NULL, NULL, true);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "instemb k-means",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context;

	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		old_context = MemoryContextSwitchTo(context);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			bool		no_key;
			bool		no_embedding;
			Datum		key = SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &no_key);
			Datum		embedding = SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &no_embedding);

			CHECK_FOR_INTERRUPTS();
			if (!no_key && !no_embedding && read_vector(means, embedding))
				action(means, key);
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	MemoryContextDelete(context);
}

/* Reservoir sampling: each row is as likely to be in the sample. */
static void
take_sample(KMeans *means, Datum key)
{
	uint64		place = means->n_rows++;

	if (place >= SAMPLE_ROWS)
		place = pg_prng_uint64_range(&means->random, 0, place);
	else
		means->n_sample++;
	if (place < SAMPLE_ROWS)
		memcpy(means->sample + place * means->dims, means->vector, sizeof(float) * means->dims);
}

/* The centroid nearest to a vector, and its cosine. */
static int
nearest(const KMeans *means, const float *vector, int k, double *cosine)
{
	int			best = 0;

	*cosine = -2;
	for (int i = 0; i < k; i++)
	{
		double		c = ie_inner_product(vector, means->centroids + (size_t) i * means->dims,
										 means->dims);

		if (c > *cosine)
		{
			*cosine = c;
			best = i;
		}
	}
	return best;
}

/* k-means++: a row of the sample is chosen the more likely the farther it is from those before. */
static void
choose_centroid(KMeans *means, int k)
{
	double	   *far = palloc(sizeof(double) * means->n_sample);
	double		total = 0;
	double		at;
	int			chosen = 0;

	for (int i = 0; i < means->n_sample; i++)
	{
		double		cosine = 0;

		if (k > 0)
			nearest(means, means->sample + (size_t) i * means->dims, k, &cosine);
		far[i] = Max(0, 1 - cosine);
		total += far[i];
	}
	at = pg_prng_double(&means->random) * total;
	while (chosen < means->n_sample - 1 && (at -= far[chosen]) >= 0)
		chosen++;
	memcpy(means->centroids + (size_t) k * means->dims,
		   means->sample + (size_t) chosen * means->dims, sizeof(float) * means->dims);
	pfree(far);
}

/* One row of a round. */
static void
add_row(KMeans *means, Datum key)
{
	double		cosine;
	int			group = nearest(means, means->vector, means->k, &cosine);
	double	   *sum = means->sums + (size_t) group * means->dims;

	means->cosines += cosine;
	means->counts[group]++;
	for (int i = 0; i < means->dims; i++)
		sum[i] += means->vector[i];
}

/* A round: rows to their nearest centroids, centroids to the middle of their rows. */
static void
run_round(KMeans *means)
{
	int			dims = means->dims;

	memset(means->sums, 0, sizeof(double) * means->k * dims);
	memset(means->counts, 0, sizeof(int64) * means->k);
	means->cosines = 0;
	scan(means, add_row);
	for (int group = 0; group < means->k; group++)
	{
		float	   *centroid = means->centroids + (size_t) group * dims;

		/* nobody's nearest, or opposite members: it stays where it is */
		if (means->counts[group] == 0)
			continue;
		for (int i = 0; i < dims; i++)
			means->vector[i] = means->sums[(size_t) group * dims + i];
		if (ie_normalize(means->vector, dims))
			memcpy(centroid, means->vector, sizeof(float) * dims);
	}
}

/* A row of the result. */
static void
put_row(KMeans *means, Datum key)
{
	double		cosine;
	Datum		values[3];
	bool		nulls[3] = {0};

	values[0] = key;
	values[1] = Int32GetDatum(nearest(means, means->vector, means->k, &cosine) + 1);
	values[2] = Float8GetDatum(Max(0, 1 - cosine));
	tuplestore_putvalues(means->result->setResult, means->result->setDesc, values, nulls);
}

static void
prepare(KMeans *means, const char *query)
{
	TupleDesc	desc;

	means->plan = SPI_prepare(query, 0, NULL);
	if (means->plan == NULL || !SPI_is_cursor_plan(means->plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"query\" must be a SELECT")));
	desc = ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(means->plan)))->resultDesc;
	if (desc->natts != 2 || TupleDescAttr(desc, 0)->atttypid != TEXTARRAYOID ||
		TupleDescAttr(desc, 1)->atttypid != FLOAT4ARRAYOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("\"query\" must give two columns, of types text[] and real[]")));
}

PG_FUNCTION_INFO_V1(instemb_kmeans);
Datum
instemb_kmeans(PG_FUNCTION_ARGS)
{
	KMeans	   *means = palloc0(sizeof(KMeans));
	int			rounds = PG_GETARG_INT32(3);
	double		before = -1;

	InitMaterializedSRF(fcinfo, 0);
	means->result = (ReturnSetInfo *) fcinfo->resultinfo;
	means->k = PG_GETARG_INT32(1);
	if (means->k < 1 || means->k > MAX_GROUPS || rounds < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"k\" must be from 1 to %d, and \"rounds\" at least 1", MAX_GROUPS)));
	means->counts = palloc(sizeof(int64) * means->k);
	pg_prng_seed(&means->random, (uint64) PG_GETARG_INT32(2));
	SPI_connect();
	means->context = CurrentMemoryContext;
	prepare(means, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	scan(means, take_sample);
	if (means->n_rows < means->k)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there are " INT64_FORMAT " embeddings, too few for %d groups",
						means->n_rows, means->k)));
	for (int i = 0; i < means->k; i++)
		choose_centroid(means, i);
	for (int round = 0; round < rounds; round++)
	{
		run_round(means);
		if (means->cosines / means->n_rows - before < LEAST_GAIN)
			break;
		before = means->cosines / means->n_rows;
	}
	scan(means, put_row);
	SPI_finish();
	return (Datum) 0;
}
