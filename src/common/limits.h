/*-------------------------------------------------------------------------
 *
 * limits.h
 *		Limits of the values that the repo stores, in bytes unless said.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_LIMITS_H
#define PICTREPO_LIMITS_H

#define HASH_MAX 128
#define ALIAS_MAX 255
#define TOKEN_MAX 255
#define IDENTIFIER_MAX 1024
#define VARIANT_MAX 1024
#define URL_MAX (64 * 1024)
#define KEY_MAX 80
#define SETTING_MAX (64 * 1024)

/* rows that one call gives or takes */
#define PAGE_MAX 10000

/* runs that a job may be given */
#define RETRIES_MAX 1000000

/* pict-rs's own hash: SHA-256, size, format */
#define PICTRS_HASH_LEN 39

#endif
