/*-------------------------------------------------------------------------
 *
 * line_check.h
 *		A line of an export: what it is about, and whether it is well formed.
 *
 * Like all of json/, this needs no server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_LINE_CHECK_H
#define PICTREPO_LINE_CHECK_H

#include "json/json_check.h"

/* the version of the format that is written and read */
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

/* What was found; how much of an image there is to do */
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
	const char *json;			/* in UTF-8, or as any_bytes says */
	size_t		length;			/* without a terminator */
	bool		any_bytes;		/* what a line of kind bytes holds */
	bool		count_characters;	/* stored, a character takes an unknown
									 * number of bytes, so that limits are
									 * only checked roughly */
} ExportLineSource;

extern bool line_check(const ExportLineSource *source, ExportLine *line, JsonCheckError *error);

/* the member that says what a line is about */
extern const char *line_kind_name(ExportLineKind kind);

#endif
