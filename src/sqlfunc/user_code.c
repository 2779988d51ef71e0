/*-------------------------------------------------------------------------
 *
 * user_code.c
 *		Does a table call functions of users?
 *
 * Users can add triggers, constraints, rules and indexes to the repo's tables,
 * and these can call functions of users.  Such a function runs with the
 * extension owner's privileges.  It must not run with the caller's
 * search_path, which would decide what its names without a schema mean.  The
 * fast path, which does not set search_path, avoids such tables; and where one
 * exists, statements set search_path in a way that such functions can change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/table.h"
#include "access/stratnum.h"
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

/* The result for a table; valid as long as version is the current one */
typedef struct KnownTable
{
	Oid			oid;
	uint64		version;
	bool		has_user_code;
} KnownTable;

static HTAB *known_tables;
static uint64 version = 1;

/* ----- the parts of a table ----- */

/* Is the function neither the server's nor the repo's? */
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
		return true;			/* its checks may call any function */
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

/* A column of a domain type counts: the domain's checks may call any function. */
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

/* The support functions of an index: comparisons, for example */
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

/* Does this foreign key trigger write to the referencing table? */
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
 * This includes the triggers of a table that a foreign key updates in turn.
 * The list is copied: a catalog lookup can process an invalidation, which
 * frees the relcache's own list.
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
has_no_rules_or_partitions(Form_pg_class form)
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
			found = triggers_have_user_code(table); /* the plan contains the
													 * view's own rule */
		else
			found = !has_no_rules_or_partitions(table->rd_rel) || triggers_have_user_code(table) ||
				columns_have_user_code(table) || constraints_have_user_code(table) ||
				indexes_have_user_code(table);
	}
	table_close(table, AccessShareLock);
	return found;
}

/* ----- remembered results ----- */

/*
 * Relations that changed and are not known: one of them may be a new table of
 * the repo.  A callback cannot look them up, so that the next call does.
 */
#define CHANGED_MAX 32
static Oid	changed[CHANGED_MAX];
static int	nchanged = 0;

/* A relation was altered; InvalidOid: any relation may have been. */
static void
relation_changed(Datum unused, Oid relation)
{
	if (!OidIsValid(relation) || nchanged == CHANGED_MAX ||
		hash_search(known_tables, &relation, HASH_FIND, NULL) != NULL)
	{
		version++;
		nchanged = 0;
	}
	else
		changed[nchanged++] = relation;
}

static void
make_known_tables(void)
{
	HASHCTL		form = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownTable)};

	known_tables = hash_create("pictrepo tables", 64, &form, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/*
 * The caller holds a lock on the table, so the answer stays true.  If an
 * invalidation arrives during the inspection, the next call repeats it.
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
		return known->has_user_code;
	known->has_user_code = true;	/* ends the recursion if foreign keys form
									 * a circle */
	known->version = version;
	found = inspect_table(table);
	known = hash_search(known_tables, &table, HASH_ENTER, NULL);
	known->has_user_code = found;
	known->version = before;
	return found;
}

/* Results of catalog lookups stay valid while this number stays the same. */
uint64
user_code_version(void)
{
	return version;
}

/* The tables and views of a schema. */
static List *
relations_of_schema(Oid schema)
{
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	List	   *oids = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(classes, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relkind != RELKIND_INDEX && form->relkind != RELKIND_COMPOSITE_TYPE)
			oids = lappend_oid(oids, form->oid);
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return oids;
}

static bool
any_has_user_code(List *tables)
{
	ListCell   *cell;

	foreach(cell, tables)
	{
		if (table_has_user_code(lfirst_oid(cell)))
			return true;
	}
	return false;
}

/* A new table of the repo changes what is known. */
static void
look_for_new_tables(Oid schema)
{
	while (nchanged > 0)
		if (get_rel_namespace(changed[--nchanged]) == schema)
			version++;
}

/* Can any table of the repo call a user's function? */
bool
repo_has_user_code(void)
{
	static uint64 checked = 0;
	static bool found = true;
	Oid			schema = InvalidOid;

	if (nchanged > 0 || checked != version)
		schema = get_namespace_oid("pictrepo", true);
	if (nchanged > 0)
		look_for_new_tables(schema);
	if (checked != version && OidIsValid(schema))
	{
		uint64		before = version;
		List	   *tables = relations_of_schema(schema);

		found = any_has_user_code(tables);
		checked = before;
		list_free(tables);
	}
	return found;
}
