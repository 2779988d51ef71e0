/*-------------------------------------------------------------------------
 *
 * pictrs_compare.h
 *		Comparing rows that a transfer did not store with those that exist.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_PICTRS_COMPARE_H
#define PICTREPO_PICTRS_COMPARE_H

#include "transfer/pictrs_transfer.h"

/* A row whose key exists with other values */
typedef struct RowDifference
{
	int			row;			/* in the arrays, from 0 */
	const char *message;
} RowDifference;

/* Find the rows, given as one array per column, that the target does not have as they are. */
extern RowDifference *find_differences(Transfer *transfer, const NullableDatum *arrays, int *count);

#endif
