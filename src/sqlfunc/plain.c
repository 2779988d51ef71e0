/*-------------------------------------------------------------------------
 *
 * plain.c
 *		Tables that are as they were made, to be read and written without a
 *		statement.
 *
 * There is no plan that the server would invalidate.  So it is looked up once
 * more whenever anything was done to one of our tables, or another user asks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "engine/foreign.h"
#include "engine/plain.h"

static bool
look_up_columns(PlainTable *table, Relation relation)
{
	for (int i = 0; i < table->count; i++)
	{
		AttrNumber	number = get_attnum(RelationGetRelid(relation), table->columns[i].name);
		const FormData_pg_attribute *column;

		if (number <= 0)
			return false;
		column = TupleDescAttr(RelationGetDescr(relation), number - 1);
		if (column->atttypid != table->columns[i].type || column->attgenerated != '\0')
			return false;
		table->numbers[i] = number;
	}
	return true;
}

static void
look_up(PlainTable *table, LOCKMODE lock, AclMode right, SuitsPlain suits)
{
	Oid			oid = get_relname_relid(table->name, get_namespace_oid("pictrepo", false));
	Relation	relation = OidIsValid(oid) ? try_table_open(oid, lock) : NULL;

	table->relation = InvalidOid;
	if (relation == NULL)
		return;					/* the statement says that there is no such table */
	if (relation->rd_rel->relkind == RELKIND_RELATION && !has_foreign_code(oid) &&
		pg_class_aclcheck(oid, GetUserId(), right) == ACLCHECK_OK &&
		look_up_columns(table, relation) && suits(table, relation))
		table->relation = oid;
	table_close(relation, NoLock);
}

/*
 * The table is locked, and what was done to it before is known.  What is heard
 * of while we look can only be looked at by the next call: it may never end.
 */
bool
is_still_plain(PlainTable *table, LOCKMODE lock, AclMode right, SuitsPlain suits)
{
	if (OidIsValid(table->relation))
		LockRelationOid(table->relation, lock);
	if (table->version != tables_version() || table->user != GetUserId())
	{
		uint64		before = tables_version();

		look_up(table, lock, right, suits);
		table->version = before;
		table->user = GetUserId();
	}
	return OidIsValid(table->relation);
}
