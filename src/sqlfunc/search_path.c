/*-------------------------------------------------------------------------
 *
 * search_path.c
 *		A search_path that callers cannot influence.
 *
 * Statements of pictrepo run with a search_path of pg_catalog.  A setting that
 * lasts for the call does this on any version.  On PostgreSQL 15 and 16 it is
 * slow: the server resolves the caller's search_path anew after each call, which
 * can take longer than the statement.  There the server's namespace code can
 * override search_path instead, which costs next to nothing.
 *
 * But an override also hides the search_path that a user's function sets for
 * itself.  So it serves only while no table of pictrepo can call such a function.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/guc.h"

#include "sqlfunc/search_path.h"
#include "sqlfunc/user_code.h"

/* temporary objects last, where they cannot hide others */
#define SAFE_SEARCH_PATH "pg_catalog, pg_temp"

#if PG_VERSION_NUM < 170000

/* False: user functions may run, and need the search_path that they set. */
static bool
override_search_path(void)
{
	OverrideSearchPath safe = {.addCatalog = true};

	if (repo_has_user_code())
		return false;
	PushOverrideSearchPath(&safe);
	return true;
}

/* Is the search_path in effect pg_catalog alone? */
static bool
search_path_is_safe(void)
{
	OverrideSearchPath safe = {.addCatalog = true};

	return OverrideSearchPathMatchesCurrent(&safe);
}

static void
end_override(void)
{
	PopOverrideSearchPath();
}

#else

static bool
override_search_path(void)
{
	return false;
}

static bool
search_path_is_safe(void)
{
	return strcmp(namespace_search_path, SAFE_SEARCH_PATH) == 0;
}

static void
end_override(void)
{
}

#endif

/* Set search_path until the current nesting level of settings ends. */
void
search_path_set_safe(void)
{
	(void) set_config_option("search_path", SAFE_SEARCH_PATH,
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Make search_path safe.  The result is for search_path_restore, which is not
 * needed after an error: the end of the (sub)transaction restores it then.
 */
int
search_path_make_safe(void)
{
	int			guc_level;

	if (search_path_is_safe())
		return SEARCH_PATH_KEPT;
	if (override_search_path())
		return SEARCH_PATH_OVERRIDDEN;
	guc_level = NewGUCNestLevel();
	search_path_set_safe();
	return guc_level;
}

/* A setting that a trigger made with SET stays. */
void
search_path_restore(int how)
{
	if (how == SEARCH_PATH_OVERRIDDEN)
		end_override();
	else if (how != SEARCH_PATH_KEPT)
		AtEOXact_GUC(true, how);
}
