/*-------------------------------------------------------------------------
 *
 * variants.h
 *		What the background worker does for variants.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_VARIANTS_H
#define PICTREPO_VARIANTS_H

extern uint64 expire_variant_claims(void);

#endif
