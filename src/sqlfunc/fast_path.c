/*-------------------------------------------------------------------------
 *
 * fast_path.c
 *		Rows read and stored without a statement.
 *
 * Setting up a plan takes longer than to look into a few indexes, or to store one
 * row.  So the two hottest calls, serve() and push(), do as the server does with
 * its own catalogs and as logical replication does with the rows that it gets.
 * Indexes, constraints and triggers are as with a statement.
 *
 * Only for tables that are as they were made.  There is no plan that the server
 * would invalidate, so a table is looked up once more whenever anything was done
 * to one of our tables, or another user asks; where it is not as it was made, the
 * caller takes a statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "common/injection_points.h"
#include "sqlfunc/fast_path.h"
#include "sqlfunc/user_code.h"

/* ----- tables ----- */

static bool
look_up_columns(FastTable *table, Relation relation)
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
look_up(FastTable *table, LOCKMODE lock, AclMode right, FastTableSuits suits)
{
	Oid			oid = get_relname_relid(table->name, get_namespace_oid("pictrepo", false));
	Relation	relation = OidIsValid(oid) ? try_table_open(oid, lock) : NULL;

	table->relation = InvalidOid;
	if (relation == NULL)
		return;					/* the statement says that there is no such
								 * table */
	if (relation->rd_rel->relkind == RELKIND_RELATION && !table_has_user_code(oid) &&
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
fast_path_usable(FastTable *table, LOCKMODE lock, AclMode right, FastTableSuits suits)
{
	if (OidIsValid(table->relation))
		LockRelationOid(table->relation, lock);
	if (table->version != user_code_version() || table->user != GetUserId())
	{
		uint64		before = user_code_version();

		look_up(table, lock, right, suits);
		table->version = before;
		table->user = GetUserId();
	}
	return OidIsValid(table->relation);
}

/* ----- reading ----- */

/*
 * Of that column alone, of all rows, good for any snapshot and at any moment,
 * and what is equal is so for "="
 */
static bool
is_key_index(Relation index, const FormData_pg_attribute *key)
{
	Form_pg_index form = index->rd_index;

	return index->rd_rel->relam == BTREE_AM_OID && form->indisunique && form->indimmediate &&
		form->indisvalid && !form->indcheckxmin && form->indnkeyatts == 1 && form->indkey.values[0] == key->attnum &&
		index->rd_opcintype[0] == key->atttypid && index->rd_indcollation[0] == key->attcollation &&
		index->rd_opfamily[0] == get_opclass_family(GetDefaultOpClass(key->atttypid, BTREE_AM_OID)) &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

/* Is there an index to find the key by? */
static bool
look_up_index(FastTable *table, Relation relation)
{
	FastLookup *lookup = (FastLookup *) table;
	const FormData_pg_attribute *key = TupleDescAttr(RelationGetDescr(relation), table->numbers[0] - 1);
	List	   *indexes = RelationGetIndexList(relation);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (!found && is_key_index(index, key))
		{
			lookup->index = RelationGetRelid(index);
			lookup->collation = index->rd_indcollation[0];
			lookup->equal = get_opcode(get_opfamily_member(index->rd_opfamily[0], key->atttypid, key->atttypid,
														   BTEqualStrategyNumber));
			found = RegProcedureIsValid(lookup->equal);
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

static NullableDatum
copied_value(TupleTableSlot *slot, AttrNumber number)
{
	Form_pg_attribute column = TupleDescAttr(slot->tts_tupleDescriptor, number - 1);
	NullableDatum copy;

	copy.value = slot_getattr(slot, number, &copy.isnull);
	if (!copy.isnull)
		copy.value = datumCopy(copy.value, column->attbyval, column->attlen);
	return copy;
}

static bool
scan(const FastLookup *lookup, Relation relation, Relation index, Datum key, NullableDatum *row)
{
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	IndexScanDesc look = begin_index_scan(relation, index, GetActiveSnapshot(), 1);
	ScanKeyData equal;
	bool		found;

	ScanKeyEntryInitialize(&equal, 0, 1, BTEqualStrategyNumber, InvalidOid, lookup->collation,
						   lookup->equal, key);
	index_rescan(look, &equal, 1, NULL, 0);
	found = index_getnext_slot(look, ForwardScanDirection, slot);
	for (int i = 0; found && i < lookup->table.count; i++)
		row[i] = copied_value(slot, lookup->table.numbers[i]);
	index_endscan(look);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

/*
 * The row with this key in the active snapshot: the columns in the order of
 * their definition, in the current memory context.
 */
FastLookupResult
fast_lookup(FastLookup *lookup, NullableDatum key, NullableDatum *row)
{
	Relation	relation;
	Relation	index;
	bool		found;

	if (!fast_path_usable(&lookup->table, AccessShareLock, ACL_SELECT, look_up_index))
		return FAST_LOOKUP_UNUSABLE;
	if (key.isnull)
		return FAST_LOOKUP_NO_ROW;
	relation = table_open(lookup->table.relation, NoLock);
	index = index_open(lookup->index, AccessShareLock);
	/* not to be fetched from elsewhere at each comparison */
	found = scan(lookup, relation, index, PointerGetDatum(PG_DETOAST_DATUM_PACKED(key.value)), row);
	index_close(index, NoLock);
	table_close(relation, NoLock);
	return found ? FAST_LOOKUP_ROW : FAST_LOOKUP_NO_ROW;
}

/* ----- storing ----- */

static bool
is_given(const FastTable *table, AttrNumber number)
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
look_up_defaults(FastTable *table, Relation relation)
{
	FastInsert *insertion = (FastInsert *) table;
	int			natts = RelationGetNumberOfAttributes(relation);

	if (natts > FAST_MAX_COLUMNS)
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
fill_slot(TupleTableSlot *slot, const FastInsert *insertion, const NullableDatum *values)
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
fast_insert(FastInsert *insertion, const NullableDatum *values)
{
	Relation	relation;
	EState	   *estate;
	ResultRelInfo *target;
	TupleTableSlot *slot;

	if (!fast_path_usable(&insertion->table, RowExclusiveLock, ACL_INSERT, look_up_defaults))
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
