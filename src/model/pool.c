/*
 * pool.c
 *	  Pooling: see pool.h and ie_pooling in definition.h.
 */
#include "model/pool.h"

size_t
ie_pool_lookahead(const ie_definition *definition)
{
	const bool	wanted = definition->pooling == IE_POOL_LOOKAHEAD ||
		definition->pooling == IE_POOL_DAAP;

	return wanted ? definition->lookahead_count : 0;
}

void
ie_pool_select(ie_pooling pooling, size_t n_body, ie_seq *seq)
{
	seq->need_begin = seq->n_tokens - 1;
	seq->need_end = seq->n_tokens + seq->n_lookahead;
	switch (pooling)
	{
		case IE_POOL_LAST:
		case IE_POOL_GENERATE:
		case IE_POOL_GENERATE_MEAN:
			seq->need_end = seq->n_tokens;
			break;
		case IE_POOL_MEAN:
			seq->need_begin = 0;
			seq->need_end = n_body;
			break;
		case IE_POOL_LOOKAHEAD:
			seq->need_begin = seq->n_tokens;
			break;
		case IE_POOL_DAAP:
			break;
	}
}

/* Sums in double: texts may be long. */
static void
mean(const float *states, size_t n, size_t C, float *vector)
{
	for (size_t c = 0; c < C; c++)
	{
		double		sum = 0;

		for (size_t t = 0; t < n; t++)
			sum += (double) states[t * C + c];
		vector[c] = (float) (sum / (double) n);
	}
}

/*
 * Dual-anchor alignment pooling (InstEmb): h_last was trained to hold the
 * primary meaning, h_1 .. h_K the answer; each counts by its direction only.
 */
static bool
daap(float *states, size_t n, size_t C, float *vector)
{
	mean(states + C, n - 1, C, vector);
	if (!ie_normalize(states, C) || !ie_normalize(vector, C))
		return false;
	for (size_t c = 0; c < C; c++)
		vector[c] += states[c];
	return true;
}

ie_code
ie_pool(ie_pooling pooling, float *states, size_t n, size_t C, float *vector, ie_error *err)
{
	bool		ok = true;

	if (pooling == IE_POOL_DAAP)
		ok = daap(states, n, C, vector);
	else
		mean(states, n, C, vector);
	if (ok && ie_normalize(vector, C))
		return IE_OK;
	return ie_fail(err, IE_NUMERIC, "embedding is zero or not finite");
}
