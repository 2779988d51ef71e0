/*-------------------------------------------------------------------------
 *
 * user_code.c
 *		Is there code of others on a table?
 *
 * Somebody may have put triggers, constraints, rules or indexes on the repo's
 * tables that call functions of their own.  What those say without a schema
 * must not mean what a caller's search_path makes of it while they run with
 * our rights, so statements are run with more care where there are any.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "common/compat.h"
#include "sqlfunc/user_code.h"

/* What is known of a table, until something is done to one of them */
typedef struct KnownTable
{
	Oid			oid;
	uint64		version;
	bool		foreign;
} KnownTable;

static HTAB *known_tables;
static uint64 version = 1;

/* ----- what is on a table ----- */

/* Neither the server's own nor the repo's */
static bool
is_user_function(Oid function, void *schema)
{
	return function >= FirstNormalObjectId && get_func_namespace(function) != *(Oid *) schema;
}

static bool
calls_user_function(Node *expression, void *schema)
{
	if (expression == NULL)
		return false;
	if (IsA(expression, CoerceToDomain))
		return true;			/* its checks are not part of it */
	if (check_functions_in_node(expression, is_user_function, schema))
		return true;
	return walk_expression(expression, calls_user_function, schema);
}

static bool
text_calls_user_function(char *expression, Oid schema)
{
	return calls_user_function(stringToNode(expression), &schema);
}

static bool
constraints_have_user_code(Relation table)
{
	TupleConstr *constraints = RelationGetDescr(table)->constr;

	for (int i = 0; constraints != NULL && i < constraints->num_check; i++)
		if (text_calls_user_function(constraints->check[i].ccbin, RelationGetNamespace(table)))
			return true;
	for (int i = 0; constraints != NULL && i < constraints->num_defval; i++)
		if (text_calls_user_function(constraints->defval[i].adbin, RelationGetNamespace(table)))
			return true;
	return false;
}

/* A domain's checks are looked at by nobody here. */
static bool
columns_have_user_code(Relation table)
{
	TupleDesc	columns = RelationGetDescr(table);

	for (int i = 0; i < columns->natts; i++)
	{
		const FormData_pg_attribute *column = TupleDescAttr(columns, i);

		if (!column->attisdropped && get_typtype(column->atttypid) == TYPTYPE_DOMAIN)
			return true;
	}
	return false;
}

/* Comparisons and what else an index does with values */
static bool
index_support_has_user_code(Relation index, Oid schema)
{
	int			count = index->rd_indam->amsupport * IndexRelationGetNumberOfKeyAttributes(index);

	for (int i = 0; i < count; i++)
		if (OidIsValid(index->rd_support[i]) && is_user_function(index->rd_support[i], &schema))
			return true;
	return false;
}

static bool
index_has_user_code(Relation index, Oid schema)
{
	return index->rd_index->indisexclusion || index_support_has_user_code(index, schema) ||
		calls_user_function((Node *) RelationGetIndexExpressions(index), &schema) ||
		calls_user_function((Node *) RelationGetIndexPredicate(index), &schema);
}

static bool
indexes_have_user_code(Relation table)
{
	List	   *indexes = RelationGetIndexList(table);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found = found || index_has_user_code(index, RelationGetNamespace(table));
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/* Does the foreign key write into the table that refers to this one? */
static bool
foreign_key_writes(Oid function)
{
	switch (function)
	{
		case F_RI_FKEY_CASCADE_DEL:
		case F_RI_FKEY_CASCADE_UPD:
		case F_RI_FKEY_SETNULL_DEL:
		case F_RI_FKEY_SETNULL_UPD:
		case F_RI_FKEY_SETDEFAULT_DEL:
		case F_RI_FKEY_SETDEFAULT_UPD:
			return true;
		default:
			return false;
	}
}

static bool
trigger_has_user_code(const Trigger *trigger, Oid schema)
{
	return is_user_function(trigger->tgfoid, &schema) ||
		(trigger->tgqual != NULL && text_calls_user_function(trigger->tgqual, schema)) ||
		(foreign_key_writes(trigger->tgfoid) && table_has_user_code(trigger->tgconstrrelid));
}

/*
 * Also when a change goes on in a table that refers to this one.  Of a copy:
 * the table's own list goes away whenever the server hears that anything was
 * done to the table, and to look things up is to hear it.
 */
static bool
triggers_have_user_code(Relation table)
{
	TriggerDesc *triggers = CopyTriggerDesc(table->trigdesc);
	bool		found = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		found = found || trigger_has_user_code(&triggers->triggers[i], RelationGetNamespace(table));
	FreeTriggerDesc(triggers);
	return found;
}

static bool
is_plain_table(Form_pg_class form)
{
	return form->relkind == RELKIND_RELATION && !form->relhasrules && !form->relhassubclass &&
		!form->relispartition && !form->relrowsecurity;
}

static bool
inspect_table(Oid oid)
{
	Relation	table = table_open(oid, AccessShareLock);
	bool		found = true;

	if (RelationGetNamespace(table) == get_namespace_oid("pictrepo", true))
	{
		if (table->rd_rel->relkind == RELKIND_VIEW)
			found = triggers_have_user_code(table); /* its own rule is in the
													 * plan */
		else
			found = !is_plain_table(table->rd_rel) || triggers_have_user_code(table) ||
				columns_have_user_code(table) || constraints_have_user_code(table) ||
				indexes_have_user_code(table);
	}
	table_close(table, AccessShareLock);
	return found;
}

/* ----- what is known ----- */

/* A relation was altered, or InvalidOid: any may have been. */
static void
relation_changed(Datum unused, Oid relation)
{
	if (!OidIsValid(relation) || hash_search(known_tables, &relation, HASH_FIND, NULL) != NULL)
		version++;
}

static void
make_known_tables(void)
{
	HASHCTL		form = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownTable)};

	known_tables = hash_create("pictrepo tables", 64, &form, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/*
 * What a table has cannot change while it is locked.  What is changed while we
 * look is looked at once more by the next call.
 */
bool
table_has_user_code(Oid table)
{
	KnownTable *known;
	uint64		before = version;
	bool		existed;
	bool		found;

	if (table < FirstNormalObjectId)
		return false;
	if (known_tables == NULL)
		make_known_tables();
	known = hash_search(known_tables, &table, HASH_ENTER, &existed);
	if (existed && known->version == version)
		return known->foreign;
	known->foreign = true;		/* where tables refer to each other in a
								 * circle */
	known->version = version;
	found = inspect_table(table);
	known = hash_search(known_tables, &table, HASH_ENTER, NULL);
	known->foreign = found;
	known->version = before;
	return found;
}

/* What was looked up in the catalog is good as long as this is the same. */
uint64
user_code_version(void)
{
	return version;
}
