/*-------------------------------------------------------------------------
 *
 * import_read.h
 *		Lines: reading one, and the errors that name it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_IMPORT_READ_H
#define PICTREPO_IMPORT_READ_H

#include "fmgr.h"

#include "json/line_check.h"

/* Where errors say that the line is wrong */
typedef struct LineArgument
{
	FunctionCallInfo fcinfo;
	int			n;
} LineArgument;

/* Within a call.  The content is NULL where the line has none: a header. */
extern NullableDatum read_line(const LineArgument *argument, Datum value, ExportLine *line);
extern void raise_for_line(const LineArgument *argument, MemoryContext context, int sqlstate);

#endif
