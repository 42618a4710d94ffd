/*
 * key.c
 *	  The primary key of a relation.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pg/key.h"

#if PG_VERSION_NUM >= 180000
#define PRIMARY_KEY(relation) RelationGetPrimaryKeyIndex(relation, false)
#else
#define PRIMARY_KEY(relation) RelationGetPrimaryKeyIndex(relation)
#endif

/*
 * A statement on the parent would name rows of its children, in which the same
 * key may occur again.  That of a partitioned table is unique over all.
 */
static void
refuse_children(Relation relation)
{
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE || !relation->rd_rel->relhassubclass)
		return;
	if (find_inheritance_children(RelationGetRelid(relation), NoLock) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" has inheritance children",
						RelationGetRelationName(relation)),
				 errhint("Use the row trigger, or partitioning.")));
}

void
row_key_find(RowKey *key, Relation relation)
{
	Oid			index_id = PRIMARY_KEY(relation);
	Relation	index;
	char		kind = relation->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(relation)),
				 errdetail_relkind_not_supported(kind)));
	refuse_children(relation);
	if (!OidIsValid(index_id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key", RelationGetRelationName(relation)),
				 errdetail("Rows are written again after they were embedded, and found by it."),
				 errhint("Add a primary key, or use the row trigger.")));
	index = relation_open(index_id, AccessShareLock);
	key->n = IndexRelationGetNumberOfKeyAttributes(index);
	for (int i = 0; i < key->n; i++)
	{
		Oid			type = index->rd_opcintype[i];
		Form_pg_attribute attribute;

		key->attnums[i] = index->rd_index->indkey.values[i];
		attribute = TupleDescAttr(RelationGetDescr(relation), key->attnums[i] - 1);
		key->types[i] = attribute->atttypid;
		if (attribute->attgenerated != '\0')
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of the primary key is a generated column",
							NameStr(attribute->attname))));
		key->operators[i] = get_opfamily_member(index->rd_opfamily[i], type, type,
												BTEqualStrategyNumber);
		if (!OidIsValid(key->operators[i]))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the primary key of table \"%s\" has no operator for equality",
							RelationGetRelationName(relation))));
	}
	relation_close(index, AccessShareLock);
}

static char *
operator_name(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

void
row_key_condition(StringInfo sql, const RowKey *key, TupleDesc desc, int first)
{
	for (int i = 0; i < key->n; i++)
		appendStringInfo(sql, "%st.%s %s $%d", i > 0 ? " AND " : "",
						 quote_identifier(NameStr(TupleDescAttr(desc,
																key->attnums[i] - 1)->attname)),
						 operator_name(key->operators[i]), first + i);
}

bool
row_key_equal(const RowKey *key, HeapTuple a, HeapTuple b, TupleDesc desc)
{
	for (int i = 0; i < key->n; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, key->attnums[i] - 1);
		bool		isnull;
		Datum		value_a = heap_getattr(a, key->attnums[i], desc, &isnull);
		Datum		value_b = heap_getattr(b, key->attnums[i], desc, &isnull);

		if (!datumIsEqual(value_a, value_b, attribute->attbyval, attribute->attlen))
			return false;
	}
	return true;
}
