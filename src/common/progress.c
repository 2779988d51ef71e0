/*-------------------------------------------------------------------------
 *
 * progress.c
 *		Show the progress of a long call in pg_stat_activity.
 *
 * Its column query shows "SELECT ... -- lines: 2000 of 10000", for example.
 * The server's own progress views cannot show an extension's commands.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"

#include "common/progress.h"

/* Reporting a new text resets the query id, which must stay. */
static void
show(const char *query)
{
	uint64		id = pgstat_get_my_query_id();

	pgstat_report_activity(STATE_RUNNING, query);
	pgstat_report_query_id(id, true);
}

/*
 * Show that done of all units are processed.  Does nothing in the background
 * worker, which runs no client statement.
 */
void
progress_report(const char *what, int64 done, int64 all)
{
	const char *query = debug_query_string;
	char	   *progress;
	char	   *shown;
	int			room;
	int			length;

	if (query == NULL)
		return;
	progress = psprintf(" -- %s: " INT64_FORMAT " of " INT64_FORMAT, what, done, all);
	room = pgstat_track_activity_query_size - 1 - (int) strlen(progress);
	/* a statement may have megabytes; do not read all of it */
	length = pg_mbcliplen(query, (int) strnlen(query, pgstat_track_activity_query_size), Max(room, 0));
	shown = psprintf("%.*s%s", length, query, progress);
	show(shown);
	pfree(shown);
	pfree(progress);
}

/* The call ends: show the statement alone again. */
void
progress_end(void)
{
	if (debug_query_string != NULL)
		show(debug_query_string);
}
