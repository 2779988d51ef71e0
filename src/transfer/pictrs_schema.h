/*-------------------------------------------------------------------------
 *
 * pictrs_schema.h
 *		Making a schema with the tables of pict-rs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_SCHEMA_H
#define PICTREPO_PICTRS_SCHEMA_H

#include "transfer/pictrs_transfer.h"

extern void make_pictrs_schema(Transfer *transfer);
extern void make_pictrs_tables(Transfer *transfer);

#endif
