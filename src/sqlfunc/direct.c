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
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "engine/direct.h"
#include "engine/injection.h"

static bool
is_given(const PlainTable *table, AttrNumber number)
{
	for (int i = 0; i < table->count; i++)
		if (table->numbers[i] == number)
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

static bool
look_up_defaults(PlainTable *table, Relation relation)
{
	Insertion  *insertion = (Insertion *) table;
	int			natts = RelationGetNumberOfAttributes(relation);

	if (natts > PLAIN_MAX_COLUMNS)
		return false;
	for (AttrNumber number = 1; number <= natts; number++)
		if (!is_given(table, number) &&
			!look_up_default(relation, number, &insertion->defaults[number - 1]))
			return false;
	return true;
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
	for (int i = 0; i < insertion->table.count; i++)
		put_value(slot, insertion->table.numbers[i] - 1, values[i]);
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

	if (!is_still_plain(&insertion->table, RowExclusiveLock, ACL_INSERT, look_up_defaults))
		return false;
	PreventCommandIfReadOnly("INSERT");
	PreventCommandIfParallelMode("INSERT");
	relation = table_open(insertion->table.relation, NoLock);
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
