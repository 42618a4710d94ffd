/*
 * stats.h
 *	  What this backend has computed, by model.
 */
#ifndef INSTEMB_STATS_H
#define INSTEMB_STATS_H

/* One call: a scalar call, an array of texts, a row of a trigger. */
typedef struct CallStats
{
	int64		texts;
	int64		cache_hits;		/* of texts */
	int64		tokens;			/* computed */
	double		ms;
} CallStats;

extern void stats_add(const char *model, const CallStats *call);

#endif							/* INSTEMB_STATS_H */
