/*-------------------------------------------------------------------------
 *
 * pictrs.h
 *		Moving from and to pict-rs's own tables: what both ways have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_H
#define PICTREPO_PICTRS_H

#include "transfer/pictrs_transfer.h"

extern Datum run_transfer(FunctionCallInfo fcinfo, const TransferKind *kind);

#endif
