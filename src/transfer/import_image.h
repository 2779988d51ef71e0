/*-------------------------------------------------------------------------
 *
 * import_image.h
 *		Lines: storing an image.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_IMPORT_IMAGE_H
#define PICTREPO_IMPORT_IMAGE_H

#include "fmgr.h"

#include "json/line_check.h"

/* Within a call: stored, merged, exists, conflict or blocked. */
extern const char *import_image(const ExportLine *line, NullableDatum image);

#endif
