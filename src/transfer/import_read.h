/*-------------------------------------------------------------------------
 *
 * import_read.h
 *		Import: reading and checking a line.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_IMPORT_READ_H
#define PICTREPO_IMPORT_READ_H

#include "fmgr.h"

#include "json/line_check.h"

/* The argument that contains the line, for errors */
typedef struct LineArgument
{
	FunctionCallInfo fcinfo;
	int			n;
} LineArgument;

/*
 * Returns the value of the line's only member, as jsonb; NULL for a header, which
 * has no content.  The caller is in a repo call.
 */
extern NullableDatum read_line(const LineArgument *argument, Datum value, ExportLine *line);
extern void raise_for_line(const LineArgument *argument, MemoryContext context, int sqlstate);

#endif
