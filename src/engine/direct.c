/*-------------------------------------------------------------------------
 *
 * direct.c
 *		Rows put into a table without a statement.
 *
 * What the server's logical replication does with the rows that it gets:
 * indexes, constraints and triggers are as with INSERT, but there is no plan
 * to set up, which takes as long as all of them.  For one row of a table that
 * is as it was made; where it is not, it takes a statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "engine/direct.h"
#include "engine/foreign.h"
#include "engine/injection.h"

static bool
is_given(const Insertion *insertion, AttrNumber number)
{
	for (int i = 0; i < insertion->count; i++)
		if (insertion->numbers[i] == number)
			return true;
	return false;
}

/* What a row has in a column that is left out; false: that is not the same for all. */
static bool
look_up_default(Relation relation, AttrNumber number, NullableDatum *value)
{
	Form_pg_attribute column = TupleDescAttr(RelationGetDescr(relation), number - 1);
	Node	   *expression = column->attisdropped ? NULL : build_column_default(relation, number);
	Const	   *constant;

	value->isnull = true;
	if (expression == NULL)
		return column->attisdropped || get_typtype(column->atttypid) != TYPTYPE_DOMAIN;
	constant = (Const *) expression_planner((Expr *) expression);
	if (!IsA(constant, Const) || !constant->constbyval)
		return false;
	value->value = constant->constvalue;
	value->isnull = constant->constisnull;
	return true;
}

/* Can a row be put into the table without a statement? */
static bool
look_up_columns(Insertion *insertion, Relation relation)
{
	int			natts = RelationGetNumberOfAttributes(relation);

	if (has_foreign_code(RelationGetRelid(relation)) || natts > DIRECT_MAX_COLUMNS ||
		relation->rd_rel->relkind != RELKIND_RELATION)
		return false;
	for (int i = 0; i < insertion->count; i++)
	{
		const InsertedColumn *column = &insertion->columns[i];
		AttrNumber	number = get_attnum(RelationGetRelid(relation), column->name);

		if (number <= 0 || TupleDescAttr(RelationGetDescr(relation), number - 1)->atttypid != column->type)
			return false;
		insertion->numbers[i] = number;
	}
	for (AttrNumber number = 1; number <= natts; number++)
		if (!is_given(insertion, number) &&
			!look_up_default(relation, number, &insertion->defaults[number - 1]))
			return false;
	return true;
}

static void
look_up(Insertion *insertion)
{
	Oid			oid = get_relname_relid(insertion->table, get_namespace_oid("pictrepo", false));
	Relation	relation;

	insertion->relation = InvalidOid;
	relation = table_open(oid, RowExclusiveLock);
	if (pg_class_aclcheck(oid, GetUserId(), ACL_INSERT) == ACLCHECK_OK && look_up_columns(insertion, relation))
		insertion->relation = oid;
	table_close(relation, NoLock);
}

/*
 * The table is locked, and what was done to it before is known.  What is heard
 * of while we look can only be looked at by the next call: it may never end.
 */
static bool
is_ready(Insertion *insertion)
{
	if (OidIsValid(insertion->relation))
		LockRelationOid(insertion->relation, RowExclusiveLock);
	if (insertion->version != tables_version() || insertion->user != GetUserId())
	{
		uint64		before = tables_version();

		look_up(insertion);
		insertion->version = before;
		insertion->user = GetUserId();
	}
	return OidIsValid(insertion->relation);
}

static void
put_value(TupleTableSlot *slot, int column, NullableDatum value)
{
	slot->tts_values[column] = value.value;
	slot->tts_isnull[column] = value.isnull;
}

static void
fill_slot(TupleTableSlot *slot, const Insertion *insertion, const NullableDatum *values)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	for (int i = 0; i < natts; i++)
		put_value(slot, i, insertion->defaults[i]);
	for (int i = 0; i < insertion->count; i++)
		put_value(slot, insertion->numbers[i] - 1, values[i]);
	ExecStoreVirtualTuple(slot);
}

/*
 * Put a row into the table, with the values in the order of the columns, each
 * of its column's type; false: use a statement.
 */
bool
insert_row(Insertion *insertion, const NullableDatum *values)
{
	Relation	relation;
	EState	   *estate;
	ResultRelInfo *target;
	TupleTableSlot *slot;

	if (!is_ready(insertion))
		return false;
	PreventCommandIfReadOnly("INSERT");
	PreventCommandIfParallelMode("INSERT");
	relation = table_open(insertion->relation, NoLock);
	estate = CreateExecutorState();
	target = makeNode(ResultRelInfo);
	InitResultRelInfo(target, relation, 0, NULL, 0);
	estate->es_opened_result_relations = list_make1(target);	/* for the triggers */
	AfterTriggerBeginQuery();
	ExecOpenIndices(target, false);
	slot = ExecInitExtraTupleSlot(estate, RelationGetDescr(relation), table_slot_callbacks(relation));
	fill_slot(slot, insertion, values);
	ExecSimpleRelationInsert(target, estate, slot);
	INJECT(row_stored);
	AfterTriggerEndQuery(estate);
	INJECT(row_noted);
	ExecCloseIndices(target);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	table_close(relation, NoLock);
	CommandCounterIncrement();
	return true;
}
