/*-------------------------------------------------------------------------
 *
 * shown_text.h
 *		The beginning of a text, as errors and tables of errors show it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_SHOWN_TEXT_H
#define PICTREPO_SHOWN_TEXT_H

#include "mb/pg_wchar.h"

/* in characters */
#define SHOWN_MAX 100

static inline char *
shown_text(const char *text, int length)
{
	return pnstrdup(text, pg_mbcharcliplen(text, length, SHOWN_MAX));
}

#endif
