/*-------------------------------------------------------------------------
 *
 * line_check.h
 *		Check a line of an export.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_LINE_CHECK_H
#define PICTREPO_LINE_CHECK_H

#include "json/json_check.h"

/* version of the export format */
#define LINES_VERSION 1

typedef enum ExportLineKind
{
	LINE_HEADER,
	LINE_BYTES,
	LINE_IMAGE,
	LINE_DETAILS,
	LINE_SETTING,
	LINE_MIGRATION,
	LINE_UPLOAD,
	LINE_QUEUE,
	LINE_SCHEDULE,
	LINE_JOB,
	LINE_DEAD_JOB,
	LINE_BLOCKED,
} ExportLineKind;

#define LINE_KINDS (LINE_BLOCKED + 1)

/* Result of the check: the kind of the line, and the number of parts of an image */
typedef struct ExportLine
{
	ExportLineKind kind;
	size_t		aliases;
	size_t		urls;
	size_t		variants;
	size_t		details;
} ExportLine;

typedef struct ExportLineSource
{
	const char *json;			/* UTF-8, or any bytes */
	size_t		length;			/* without a terminator */
	bool		any_bytes;		/* need not be UTF-8 */
	bool		count_characters;	/* the server's encoding is not UTF-8:
									 * check limits in characters, as the size
									 * in bytes is not known yet */
} ExportLineSource;

extern bool line_check(const ExportLineSource *source, ExportLine *line, JsonCheckError *error);

/* the name of the only member of such a line */
extern const char *line_kind_name(ExportLineKind kind);

#endif
