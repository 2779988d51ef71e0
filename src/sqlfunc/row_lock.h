/*-------------------------------------------------------------------------
 *
 * row_lock.h
 *		Locking rows in a query without waiting, and no others than those.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ROW_LOCK_H
#define PICTREPO_ROW_LOCK_H

/*
 * SQL: conditions that lock a row of the query, or are false, see row_lock.c.
 * TRY_LOCK is for a row that may be deleted, TRY_LOCK_NO_KEY for one that is
 * only updated.
 *
 * A query that does not take every row finds them in a subquery:
 *
 *	SELECT id FROM (SELECT id, tableoid, ctid FROM ... ORDER BY ... OFFSET 0) due
 *	WHERE TRY_LOCK("due") LIMIT 10
 *
 * The LIMIT counts the locked rows, and no row after them is locked.  OFFSET 0 keeps
 * the server from moving the condition into the subquery, before the other
 * conditions and the order.
 */
#define TRY_LOCK(row) LOCK_ROW(row, "true")
#define TRY_LOCK_NO_KEY(row) LOCK_ROW(row, "false")
#define LOCK_ROW(row, exclusive) \
	"pictrepo.lock_row(" row ".tableoid, " row ".ctid, " exclusive ")"

#endif
