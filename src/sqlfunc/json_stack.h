/*-------------------------------------------------------------------------
 *
 * json_stack.h
 *		Does the stack have room for parsing a document with json-c?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_JSON_STACK_H
#define PICTREPO_JSON_STACK_H

#include "json/json_check.h"

/* False: the document is nested too deeply, and error is set. */
extern bool json_fits_stack(const char *json, size_t length, JsonCheckError *error);

#endif
