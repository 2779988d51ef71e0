/*-------------------------------------------------------------------------
 *
 * values.h
 *		Values that are computed from other values.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_VALUES_H
#define PICTREPO_VALUES_H

#include "fmgr.h"

/* The SHA-256 of a URL, which is the key of proxies */
extern NullableDatum url_digest(NullableDatum url);

#endif
