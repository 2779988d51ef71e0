/*-------------------------------------------------------------------------
 *
 * variants.h
 *		Variants and claims, for other files; and what the background worker does for
 *		them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_VARIANTS_H
#define PICTREPO_VARIANTS_H

#include "fmgr.h"

/* Within a call; the key is hash, variant and worker. */
extern bool variant_exists(const NullableDatum *key);

/* False: this worker does not hold the claim. */
extern bool variant_claim_end(const NullableDatum *key);

/* For the background worker */
extern uint64 expire_variant_claims(void);

#endif
