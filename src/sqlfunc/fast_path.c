/*-------------------------------------------------------------------------
 *
 * lookup.c
 *		Rows found by their key without a statement.
 *
 * To set up a plan that joins three tables takes longer than to look into
 * three indexes.  So the hottest call of all does as the server does with its
 * own catalogs.  For tables that are as they were made; where one is not, it
 * takes a statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "commands/defrem.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "engine/compat.h"
#include "engine/lookup.h"

/* ----- what is known of the table ----- */

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
look_up_index(PlainTable *table, Relation relation)
{
	Lookup	   *lookup = (Lookup *) table;
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

/* ----- looking ----- */

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
scan(const Lookup *lookup, Relation relation, Relation index, Datum key, NullableDatum *row)
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
LookupResult
find_row(Lookup *lookup, NullableDatum key, NullableDatum *row)
{
	Relation	relation;
	Relation	index;
	bool		found;

	if (!is_still_plain(&lookup->table, AccessShareLock, ACL_SELECT, look_up_index))
		return LOOKUP_UNABLE;
	if (key.isnull)
		return LOOKUP_NOTHING;
	relation = table_open(lookup->table.relation, NoLock);
	index = index_open(lookup->index, AccessShareLock);
	/* not to be fetched from elsewhere at each comparison */
	found = scan(lookup, relation, index, PointerGetDatum(PG_DETOAST_DATUM_PACKED(key.value)), row);
	index_close(index, NoLock);
	table_close(relation, NoLock);
	return found ? LOOKUP_ROW : LOOKUP_NOTHING;
}
