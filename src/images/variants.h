/*-------------------------------------------------------------------------
 *
 * variants.h
 *		Variants and their claims, for other files, and the maintenance of
 *		claims.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_VARIANTS_H
#define PICTREPO_VARIANTS_H

#include "fmgr.h"

/* Callers are in a repo call.  The key is hash, variant and worker. */
extern bool variant_exists(const NullableDatum *key);

/* False: the worker does not hold the claim. */
extern bool variant_claim_end(const NullableDatum *key);

/* For the background worker */
extern uint64 expire_variant_claims(void);

#endif
