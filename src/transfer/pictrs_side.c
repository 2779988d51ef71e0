/*-------------------------------------------------------------------------
 *
 * pictrs_side.c
 *		The two sides of a transfer, and their rights.
 *
 * The tables of pict-rs belong to users.  They may be views, or have triggers or row
 * security policies, which run code of users.  This code must not run with the rights
 * of the extension's owner.  So no statement uses both sides: rows are read into
 * memory on one side, and written on the other.  Statements on the tables of pict-rs
 * run with the caller's rights, and those on the tables of pictrepo with the owner's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/guc.h"

#include "sqlfunc/search_path.h"
#include "sqlfunc/statement.h"
#include "transfer/pictrs_side.h"

/* Let the planner use the index on the key, even if the table was never analyzed. */
void
plan_with_indexes(void)
{
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("enable_bitmapscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Begin the side of pict-rs: connect to SPI with a safe search_path, and with the
 * caller's rights.  The role is not restored at the end: if a trigger runs SET ROLE,
 * it does so with the caller's rights.  Returns the GUC nest level.
 */
int
pictrs_side_begin(void)
{
	int			guc_level = NewGUCNestLevel();

	search_path_set_safe();
	plan_with_indexes();
	SPI_connect();
	return guc_level;
}

void
pictrs_side_end(int guc_level)
{
	SPI_finish();
	AtEOXact_GUC(true, guc_level);
}

void
begin_side(Transfer *transfer, TransferSide *side, bool is_pictrs)
{
	side->is_pictrs = is_pictrs;
	if (is_pictrs)
		side->guc_level = pictrs_side_begin();
	else
		repo_call_begin(&side->call, transfer->fcinfo);
}

void
end_side(TransferSide *side)
{
	if (side->is_pictrs)
		pictrs_side_end(side->guc_level);
	else
		repo_call_end(&side->call);
}

/* Run a statement without arguments on the side that was begun. */
void
side_execute(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "SPI_execute failed for \"%s\": %s", sql, SPI_result_code_string(result));
}
