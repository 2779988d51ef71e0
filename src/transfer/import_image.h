/*-------------------------------------------------------------------------
 *
 * import_image.h
 *		Import: storing the line of an image.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_IMPORT_IMAGE_H
#define PICTREPO_IMPORT_IMAGE_H

#include "fmgr.h"

#include "json/line_check.h"

/* The caller is in a repo call.  Returns stored, merged, exists, conflict or blocked. */
extern const char *import_image(const ExportLine *line, NullableDatum image);

#endif
