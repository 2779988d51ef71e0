/*-------------------------------------------------------------------------
 *
 * import_simple.h
 *		Lines: storing what is stored in one step.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_IMPORT_SIMPLE_H
#define PICTREPO_IMPORT_SIMPLE_H

#include "fmgr.h"

#include "json/line_check.h"

/* Within a call: stored, exists or conflict. */
extern const char *import_simple(const ExportLine *line, NullableDatum content);

#endif
