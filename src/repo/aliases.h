/*-------------------------------------------------------------------------
 *
 * aliases.h
 *		What others than the AliasRepo do with aliases.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_ALIASES_H
#define PICTREPO_ALIASES_H

#include "engine/statements.h"

extern int64 change_urls(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args);

#endif
