/*-------------------------------------------------------------------------
 *
 * pictrs_side.c
 *		With whose rights: the two sides of a transfer.
 *
 * The tables of pict-rs's form are somebody else's, with views, triggers and
 * row security in their place for all we know.  What they run must not get the
 * rights of the extension's owner.  So rows are read into memory on one side
 * and written from there on the other: with the caller's rights on that of
 * pict-rs, with the owner's on ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/guc.h"

#include "sqlfunc/search_path.h"
#include "sqlfunc/statement.h"
#include "transfer/pictrs_side.h"

/*
 * As repo_call_begin, but with the caller's own rights: a search_path that makes
 * our SQL mean what it says, and plans that go by the key, whatever is known
 * of the table.  A trigger of the caller's may SET ROLE; that is the caller's.
 */
int
begin_foreign(void)
{
	int			guc_level = NewGUCNestLevel();

	search_path_set_safe();
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("enable_bitmapscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	return guc_level;
}

void
end_foreign(int guc_level)
{
	SPI_finish();
	AtEOXact_GUC(true, guc_level);
}

void
begin_side(Transfer *transfer, TransferSide *side, bool is_pictrs)
{
	side->is_pictrs = is_pictrs;
	if (is_pictrs)
		side->guc_level = begin_foreign();
	else
		repo_call_begin(&side->call, transfer->fcinfo);
}

void
end_side(TransferSide *side)
{
	if (side->is_pictrs)
		end_foreign(side->guc_level);
	else
		repo_call_end(&side->call);
}

/* Within a side of pict-rs's: run a statement without arguments. */
void
run_foreign(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "SPI_execute failed for \"%s\": %s", sql, SPI_result_code_string(result));
}
