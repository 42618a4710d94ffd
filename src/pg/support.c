/*
 * support.c
 *	  Planner support: what a call of instemb() costs, and how many rows the
 *	  array form returns.  Nothing here runs a model.
 *
 * COST of the function in the catalog is the price of one text of
 * REFERENCE_TOKENS; ALTER FUNCTION ... COST therefore still scales it all.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"


/* English prose; where a text is mostly something else, it has more tokens. */
#define BYTES_PER_TOKEN 4.0

/* Tokens of the template and look-ahead, which every text pays. */
#define OVERHEAD_TOKENS 16.0

/* Length of a text of which nothing is known. */
#define DEFAULT_BYTES 256.0

#define REFERENCE_TOKENS (OVERHEAD_TOKENS + DEFAULT_BYTES / BYTES_PER_TOKEN)

static double
text_bytes(PlannerInfo *root, Node *node)
{
	node = strip_implicit_coercions(node);
	if (IsA(node, Const) && !((Const *) node)->constisnull && ((Const *) node)->constlen == -1)
		return toast_raw_datum_size(((Const *) node)->constvalue) - VARHDRSZ;
	if (IsA(node, Var) && root != NULL && ((Var *) node)->varlevelsup == 0 &&
		!IS_SPECIAL_VARNO(((Var *) node)->varno))
	{
		const Var  *var = (Var *) node;
		const RangeTblEntry *rte = planner_rt_fetch(var->varno, root);

		if (rte->rtekind == RTE_RELATION && var->varattno > 0)
		{
			int32		width = get_attavgwidth(rte->relid, var->varattno);

			if (width > 0)
				return width;
		}
	}
	return DEFAULT_BYTES;
}

static double
array_length(PlannerInfo *root, Node *node)
{
#if PG_VERSION_NUM >= 170000
	return estimate_array_length(root, node);
#else
	return estimate_array_length(node);
#endif
}

/* Tokens that a call computes, over all its texts. */
static double
call_tokens(PlannerInfo *root, const FuncExpr *call)
{
	Node	   *input = linitial(call->args);
	double		n_texts = 1.0;
	double		bytes;

	if (!type_is_array(exprType(input)))
		return OVERHEAD_TOKENS + text_bytes(root, input) / BYTES_PER_TOKEN;
	n_texts = array_length(root, input);
	bytes = IsA(input, Const) ? text_bytes(root, input) : n_texts * DEFAULT_BYTES;
	return n_texts * OVERHEAD_TOKENS + bytes / BYTES_PER_TOKEN;
}

static bool
estimate_cost(SupportRequestCost *request)
{
	HeapTuple	tuple;
	double		procost;

	if (request->node == NULL || !IsA(request->node, FuncExpr))
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(request->funcid));
	if (!HeapTupleIsValid(tuple))
		return false;
	procost = ((Form_pg_proc) GETSTRUCT(tuple))->procost;
	ReleaseSysCache(tuple);
	request->startup = 0;
	request->per_tuple = procost * cpu_operator_cost *
		call_tokens(request->root, (FuncExpr *) request->node) / REFERENCE_TOKENS;
	return true;
}

static bool
estimate_rows(SupportRequestRows *request)
{
	if (request->node == NULL || !IsA(request->node, FuncExpr))
		return false;
	request->rows = array_length(request->root, linitial(((FuncExpr *) request->node)->args));
	return true;
}

PG_FUNCTION_INFO_V1(instemb_support);
Datum
instemb_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	bool		answered = false;

	if (IsA(request, SupportRequestCost))
		answered = estimate_cost((SupportRequestCost *) request);
	else if (IsA(request, SupportRequestRows))
		answered = estimate_rows((SupportRequestRows *) request);
	PG_RETURN_POINTER(answered ? request : NULL);
}
