/*-------------------------------------------------------------------------
 *
 * fast_path.c
 *		Read and insert single rows without an SQL statement.
 *
 * Starting a plan takes longer than an index lookup or the insertion of a row.
 * The two most frequent calls, serve() and push(), therefore use index scans
 * and ExecSimpleRelationInsert directly, as catalog access and logical
 * replication do.  Indexes, constraints and triggers work as in a statement.
 *
 * This works only for tables without code of other users, with the columns and
 * types that CREATE EXTENSION made.  Without a plan, the plan cache does not
 * notice DDL.  The table is therefore looked up again after DDL on any of our
 * tables, and for another user.  If the fast path cannot be used, the caller
 * runs a statement.
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
		return;					/* the statement raises the error */
	if (relation->rd_rel->relkind == RELKIND_RELATION && !table_has_user_code(oid) &&
		pg_class_aclcheck(oid, GetUserId(), right) == ACLCHECK_OK &&
		look_up_columns(table, relation) && suits(table, relation))
		table->relation = oid;
	table_close(relation, NoLock);
}

/*
 * Lock the table, and look it up again if it may have changed.  The lookup
 * itself can process invalidations.  The version from before the lookup is
 * stored, so that the next call repeats it; repeating it here might never end.
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
 * Is this a valid, unique, not deferrable, not partial btree index on the key
 * alone, with the key's own equality operator and collation?
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

/* Find an index on the key. */
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
copy_value(TupleTableSlot *slot, AttrNumber number)
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
	IndexScanDesc index_scan = begin_index_scan(relation, index, GetActiveSnapshot(), 1);
	ScanKeyData equal;
	bool		found;

	ScanKeyEntryInitialize(&equal, 0, 1, BTEqualStrategyNumber, InvalidOid, lookup->collation,
						   lookup->equal, key);
	index_rescan(index_scan, &equal, 1, NULL, 0);
	found = index_getnext_slot(index_scan, ForwardScanDirection, slot);
	for (int i = 0; found && i < lookup->table.count; i++)
		row[i] = copy_value(slot, lookup->table.numbers[i]);
	index_endscan(index_scan);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

/*
 * Read the row with this key as the active snapshot sees it.  row receives the
 * columns in the order of FAST_LOOKUP, copied to the current memory context.
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
	/* detoast the key once rather than in each comparison */
	found = scan(lookup, relation, index, PointerGetDatum(PG_DETOAST_DATUM_PACKED(key.value)), row);
	index_close(index, NoLock);
	table_close(relation, NoLock);
	return found ? FAST_LOOKUP_ROW : FAST_LOOKUP_NO_ROW;
}

/* ----- inserting ----- */

static bool
is_written(const FastTable *table, AttrNumber number)
{
	for (int i = 0; i < table->count; i++)
		if (table->numbers[i] == number)
			return true;
	return false;
}

/* The default of a column that the caller does not write.  False: it is not a constant. */
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
		if (!is_written(table, number) &&
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
 * Insert a row.  values has the columns in the order of FAST_INSERT, each of
 * its column's type.  False: use a statement.
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
	estate->es_opened_result_relations = list_make1(target);	/* the triggers read it */
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
