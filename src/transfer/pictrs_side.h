/*-------------------------------------------------------------------------
 *
 * pictrs_side.h
 *		The two sides of a transfer, and their rights.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_SIDE_H
#define PICTREPO_PICTRS_SIDE_H

#include "sqlfunc/statement.h"
#include "transfer/pictrs_transfer.h"

/* The side that is in use */
typedef struct TransferSide
{
	bool		is_pictrs;
	int			guc_level;
	RepoCall	call;
} TransferSide;

extern void begin_side(Transfer *transfer, TransferSide *side, bool is_pictrs);
extern void end_side(TransferSide *side);

/* The same for the side of pict-rs alone.  The first returns the guc_level of the second. */
extern int	pictrs_side_begin(void);
extern void pictrs_side_end(int guc_level);
extern void side_execute(const char *sql);

/* Until the current nesting level of settings ends */
extern void plan_with_indexes(void);

#endif
