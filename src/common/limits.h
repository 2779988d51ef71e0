/*-------------------------------------------------------------------------
 *
 * limits.h
 *		Limits of the values that the repo stores, in bytes if not noted.
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

/* the unique key of a scheduled job is "schedule:" and the name, and must not exceed KEY_MAX */
#define SCHEDULE_NAME_MAX 70

/* a list of every minute, hour, day and month is shorter */
#define CRON_MAX 500
#define TIME_ZONE_MAX 255

/* bytes of the error of a job that are kept */
#define JOB_ERROR_MAX (64 * 1024)

/* rows that one call returns or changes */
#define PAGE_MAX 10000

/* retries of a job */
#define RETRIES_MAX 1000000

/* bytes of a hash of pict-rs: SHA-256, size, format */
#define PICTRS_HASH_LEN 39

#endif
