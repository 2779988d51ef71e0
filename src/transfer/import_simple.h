/*-------------------------------------------------------------------------
 *
 * import_simple.h
 *		Import: storing lines of all kinds but images.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_IMPORT_SIMPLE_H
#define PICTREPO_IMPORT_SIMPLE_H

#include "fmgr.h"

#include "json/line_check.h"

/* The caller is in a repo call.  Returns stored, exists or conflict. */
extern const char *import_simple(const ExportLine *line, NullableDatum content);

#endif
