/*-------------------------------------------------------------------------
 *
 * pictrs_side.h
 *		With whose rights: the two sides of a transfer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_SIDE_H
#define PICTREPO_PICTRS_SIDE_H

#include "sqlfunc/statement.h"
#include "transfer/pictrs_transfer.h"

/* One side or the other */
typedef struct TransferSide
{
	bool		is_pictrs;
	int			guc_level;
	RepoCall	call;
} TransferSide;

extern void begin_side(Transfer *transfer, TransferSide *side, bool is_pictrs);
extern void end_side(TransferSide *side);

/* The side of pict-rs, without the other one; begin_foreign gives what end_foreign takes. */
extern int	begin_foreign(void);
extern void end_foreign(int guc_level);
extern void run_foreign(const char *sql);

#endif
