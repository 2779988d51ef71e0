/*-------------------------------------------------------------------------
 *
 * pictrs.h
 *		Transfers from and to the tables of pict-rs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_H
#define PICTREPO_PICTRS_H

#include "transfer/pictrs_transfer.h"

extern Datum run_transfer(FunctionCallInfo fcinfo, const TransferKind *kind);

#endif
