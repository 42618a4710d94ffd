/*
 * stats.c
 *	  Counters of this backend: instemb_stats() and instemb_stats_reset().
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/ilist.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/model_file.h"
#include "pg/stats.h"

typedef struct ModelStats
{
	slist_node	node;
	char		model[MODEL_NAME_SIZE];
	int64		calls;
	CallStats	sum;
	double		max_ms;
} ModelStats;

static slist_head all_stats = SLIST_STATIC_INIT(all_stats);

static ModelStats *
stats_of(const char *model)
{
	slist_iter	iter;
	ModelStats *stats;

	slist_foreach(iter, &all_stats)
	{
		stats = slist_container(ModelStats, node, iter.cur);
		if (strcmp(stats->model, model) == 0)
			return stats;
	}
	stats = MemoryContextAllocZero(TopMemoryContext, sizeof(ModelStats));
	strlcpy(stats->model, model, sizeof(stats->model));
	slist_push_head(&all_stats, &stats->node);
	return stats;
}

void
stats_add(const char *model, const CallStats *call)
{
	ModelStats *stats = stats_of(model);

	stats->calls++;
	stats->sum.texts += call->texts;
	stats->sum.cache_hits += call->cache_hits;
	stats->sum.tokens += call->tokens;
	stats->sum.ms += call->ms;
	stats->max_ms = Max(stats->max_ms, call->ms);
}

PG_FUNCTION_INFO_V1(instemb_stats);
Datum
instemb_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	slist_iter	iter;

	InitMaterializedSRF(fcinfo, 0);
	slist_foreach(iter, &all_stats)
	{
		const ModelStats *stats = slist_container(ModelStats, node, iter.cur);
		Datum		values[7];
		bool		nulls[7] = {0};

		values[0] = CStringGetTextDatum(stats->model);
		values[1] = Int64GetDatum(stats->calls);
		values[2] = Int64GetDatum(stats->sum.texts);
		values[3] = Int64GetDatum(stats->sum.tokens);
		values[4] = Int64GetDatum(stats->sum.cache_hits);
		values[5] = Float8GetDatum(stats->sum.ms);
		values[6] = Float8GetDatum(stats->max_ms);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(instemb_stats_reset);
Datum
instemb_stats_reset(PG_FUNCTION_ARGS)
{
	while (!slist_is_empty(&all_stats))
		pfree(slist_container(ModelStats, node, slist_pop_head_node(&all_stats)));
	PG_RETURN_VOID();
}
