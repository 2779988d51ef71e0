/*-------------------------------------------------------------------------
 *
 * values.h
 *		Values that are computed from others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_VALUES_H
#define PICTREPO_VALUES_H

#include "fmgr.h"

/* The key of proxies */
extern NullableDatum url_digest(NullableDatum url);

#endif
