/*-------------------------------------------------------------------------
 *
 * variants.c
 *		VariantRepo: processed forms of images, and the claims of the workers
 *		that make them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/maintenance_tasks.h"
#include "common/monotonic.h"
#include "images/hashes.h"
#include "images/variants.h"
#include "shmem/clock_watch.h"
#include "shmem/shmem.h"
#include "shmem/wait.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/row_batch.h"
#include "sqlfunc/row_lock.h"
#include "sqlfunc/statement.h"
#include "xact/triggers.h"

/* between two looks at a claim that looks old but stays */
#define RETRY_INTERVAL USECS_PER_SEC

PG_FUNCTION_INFO_V1(pictrepo_relate_variant_identifier);

STATEMENT(insert_variant, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.variants (hash, variant, identifier)"
		  " SELECT hash, $2, $3 FROM pictrepo.hashes WHERE hash = $1 FOR KEY SHARE"
		  " ON CONFLICT DO NOTHING",
		  BYTEAOID, TEXTOID, TEXTOID);

/*
 * relate_variant_identifier(hash bytea, variant text, identifier text) -> bool
 *
 * Store a variant, with access time now.  False: the variant exists, and stays as
 * it is.  Error 23503 if the hash does not exist.
 */
Datum
pictrepo_relate_variant_identifier(PG_FUNCTION_ARGS)
{
	NullableDatum args[] = {
		hash_argument(fcinfo, 0), variant_argument(fcinfo, 1), identifier_argument(fcinfo, 2)
	};

	return return_inserted(fcinfo, &insert_variant, args, hash_exists, 0);
}

PG_FUNCTION_INFO_V1(pictrepo_variant_identifier);

STATEMENT(identifier_of_variant, STMT_READ_ONLY,
		  "SELECT identifier FROM pictrepo.variants WHERE hash = $1 AND variant = $2",
		  BYTEAOID, TEXTOID);

/*
 * variant_identifier(hash bytea, variant text) -> text
 *
 * The identifier of the variant's file.  NULL: the variant does not exist.
 */
Datum
pictrepo_variant_identifier(PG_FUNCTION_ARGS)
{
	return return_value(fcinfo, &identifier_of_variant,
						ARGS(hash_argument(fcinfo, 0), variant_argument(fcinfo, 1)));
}

PG_FUNCTION_INFO_V1(pictrepo_variants);

STATEMENT(variants_of_hash, STMT_READ_ONLY,
		  "SELECT variant, identifier FROM pictrepo.variants WHERE hash = $1 ORDER BY variant",
		  BYTEAOID);

/*
 * variants(hash bytea) -> setof (variant text, identifier text)
 *
 * The variants of an image, ordered by variant in byte order.
 */
Datum
pictrepo_variants(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &variants_of_hash, ARGS(hash_argument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pictrepo_remove_variant);

STATEMENT(delete_variant, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.variants WHERE hash = $1 AND variant = $2",
		  BYTEAOID, TEXTOID);

/*
 * remove_variant(hash bytea, variant text) -> bool
 *
 * Remove a variant.  False: the variant does not exist.
 */
Datum
pictrepo_remove_variant(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &delete_variant,
						ARGS(hash_argument(fcinfo, 0), variant_argument(fcinfo, 1)));
}

/* ----- claims ----- */

static int64
claim_timeout_us(void)
{
	return guc_variant_claim_timeout * INT64CONST(1000);
}

/*
 * A claim expires when its heartbeat is older than the timeout.  It expires, too,
 * when the heartbeat is that far in the future: the clock was set back, and the
 * worker has been silent since.  cutoff and ahead are from claim_cutoff() and
 * claim_ahead(), and the clock is read when the row is locked.
 */
#define EXPIRED(heartbeat, cutoff, ahead) \
	"(" heartbeat " < " cutoff " OR " heartbeat " > clock_timestamp() + " ahead ") IS TRUE"

/* No claim expires before its worker had a full timeout for a heartbeat. */
static NullableDatum
claim_cutoff(void)
{
	TimestampTz cutoff = GetCurrentTimestamp() - claim_timeout_us();

	return not_null(TimestampTzGetDatum(clock_watch_undisturbed(claim_timeout_us()) ? cutoff : DT_NOBEGIN));
}

/* NULL: this process does not know whether the clock was set back only now. */
static NullableDatum
claim_ahead(void)
{
	Interval   *ahead = palloc0(sizeof(Interval));

	ahead->time = claim_timeout_us();
	if (!clock_watch_undisturbed(ahead->time) || !clock_watch_lasts(ahead->time))
		return NULL_ARG;
	return not_null(IntervalPGetDatum(ahead));
}

/* Store a new claim, replace an expired one, or renew the worker's own. */
STATEMENT(store_claim, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.variant_claims AS c (hash, variant, worker, heartbeat)"
		  " SELECT hash, $2, $3, clock_timestamp() FROM pictrepo.hashes WHERE hash = $1 FOR KEY SHARE"
		  " ON CONFLICT (hash, variant) DO UPDATE"
		  " SET worker = excluded.worker, heartbeat = excluded.heartbeat"
		  " WHERE c.worker = excluded.worker OR " EXPIRED("c.heartbeat", "$4", "$5"),
		  BYTEAOID, TEXTOID, UUIDOID, TIMESTAMPTZOID, INTERVALOID);

STATEMENT(end_claim, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.variant_claims WHERE hash = $1 AND variant = $2 AND worker = $3",
		  BYTEAOID, TEXTOID, UUIDOID);

bool
variant_claim_end(const NullableDatum *key)
{
	return statement_run(&end_claim, key) > 0;
}

STATEMENT(row_of_variant, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.variants WHERE hash = $1 AND variant = $2",
		  BYTEAOID, TEXTOID);

bool
variant_exists(const NullableDatum *key)
{
	return statement_run(&row_of_variant, key) > 0;
}

/*
 * A worker stores the variant before it ends its claim.  It may do both between
 * our check and our claim.  So the variant must be checked again after claiming.
 */
static const char *
claim_variant(FunctionCallInfo fcinfo, const NullableDatum *args)
{
	if (variant_exists(args))
		return "exists";
	if (statement_run(&store_claim, args) == 0)
	{
		if (!hash_exists(args[0]))
			parent_missing(fcinfo, 0);
		return "busy";
	}
	if (variant_exists(args))
	{
		variant_claim_end(args);
		return "exists";
	}
	return "claimed";
}

PG_FUNCTION_INFO_V1(pictrepo_claim_variant_processing_rights);

/*
 * claim_variant_processing_rights(hash bytea, variant text, worker uuid) -> text
 *
 * Claim the right to make a variant.  worker NULL: session_worker().  Returns
 * 'claimed', 'exists' (the variant exists), or 'busy' (another worker holds the
 * claim).  Error 23503 if the hash does not exist.
 */
Datum
pictrepo_claim_variant_processing_rights(PG_FUNCTION_ARGS)
{
	RepoCall	call;
	const char *answer;
	NullableDatum args[] = {
		hash_argument(fcinfo, 0), variant_argument(fcinfo, 1),
		worker_argument(fcinfo, 2), claim_cutoff(), claim_ahead()
	};

	repo_call_begin(&call, fcinfo);
	answer = claim_variant(fcinfo, args);
	repo_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(answer));
}

PG_FUNCTION_INFO_V1(pictrepo_variant_heartbeat);

STATEMENT(refresh_claim, STMT_READ_WRITE,
		  "UPDATE pictrepo.variant_claims SET heartbeat = clock_timestamp()"
		  " WHERE hash = $1 AND variant = $2 AND worker = $3",
		  BYTEAOID, TEXTOID, UUIDOID);

/*
 * variant_heartbeat(hash bytea, variant text, worker uuid) -> bool
 *
 * Renew a claim.  worker NULL: session_worker().  False: the worker does not hold
 * the claim.
 */
Datum
pictrepo_variant_heartbeat(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &refresh_claim,
						ARGS(hash_argument(fcinfo, 0), variant_argument(fcinfo, 1),
							 worker_argument(fcinfo, 2)));
}

PG_FUNCTION_INFO_V1(pictrepo_notify_variant);

/*
 * notify_variant(hash bytea, variant text, worker uuid) -> bool
 *
 * End a claim, which wakes the sessions that wait for the variant.  worker NULL:
 * session_worker().  False: the worker does not hold the claim.
 */
Datum
pictrepo_notify_variant(PG_FUNCTION_ARGS)
{
	return return_found(fcinfo, &end_claim,
						ARGS(hash_argument(fcinfo, 0), variant_argument(fcinfo, 1),
							 worker_argument(fcinfo, 2)));
}

PG_FUNCTION_INFO_V1(pictrepo_variant_waiter);

/* The variant, or its claim if that has not expired; no row: neither exists. */
STATEMENT(state_of_variant, STMT_READ_WRITE,
		  "SELECT identifier, NULL::timestamptz FROM pictrepo.variants WHERE hash = $1 AND variant = $2"
		  " UNION ALL"
		  " SELECT NULL, heartbeat FROM pictrepo.variant_claims"
		  " WHERE hash = $1 AND variant = $2 AND NOT " EXPIRED("heartbeat", "$3", "$4"),
		  BYTEAOID, TEXTOID, TIMESTAMPTZOID, INTERVALOID);

typedef struct AwaitedVariant
{
	NullableDatum hash;
	NullableDatum variant;
	NullableDatum identifier;
} AwaitedVariant;

/*
 * When to look at a live claim again.  A claim that looks old stays until a step of
 * the clock is a timeout ago.
 */
static MonotonicTime
when_it_may_expire(TimestampTz heartbeat)
{
	int64		left = heartbeat + claim_timeout_us() - GetCurrentTimestamp();

	if (left < 0)
		left = RETRY_INTERVAL;
	return monotonic_now() + Min(left, claim_timeout_us()) + 1;
}

/*
 * The wait ends if the variant exists or no worker holds a claim.  The expiry of
 * a claim wakes nobody, so the check must run again at that time.
 */
static bool
check_variant(void *what, MonotonicTime *again)
{
	AwaitedVariant *awaited = what;

	if (statement_run(&state_of_variant,
					  ARGS(awaited->hash, awaited->variant, claim_cutoff(), claim_ahead())) == 0)
		return true;
	awaited->identifier = result_value_copy(0, 1);
	if (!awaited->identifier.isnull)
		return true;
	*again = when_it_may_expire(DatumGetTimestampTz(result_value(0, 2).value));
	return false;
}

/*
 * variant_waiter(hash bytea, variant text, timeout interval) -> text
 *
 * Wait until the variant exists, or no worker holds a claim on it, or the time is
 * up.  Returns the identifier of the variant's file.  NULL: the variant does not
 * exist.
 */
Datum
pictrepo_variant_waiter(PG_FUNCTION_ARGS)
{
	AwaitedVariant awaited = {
		hash_argument(fcinfo, 0), variant_argument(fcinfo, 1), NULL_ARG
	};
	WaitSpec	spec = {
		.what = WAIT_FOR_VARIANT,
		.memory = CurrentMemoryContext,
		.microseconds = duration_argument(fcinfo, 2),
		.key = variant_wait_key(awaited.hash.value, awaited.variant.value),
		.name = awaited.variant,
		.hash = awaited.hash
	};
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	(void) wait_until(&spec, check_variant, &awaited);
	repo_call_end(&call);
	if (awaited.identifier.isnull)
		PG_RETURN_NULL();
	return awaited.identifier.value;
}

/* ----- for the background worker ----- */

STATEMENT(delete_expired_claims, STMT_READ_WRITE,
		  "DELETE FROM pictrepo.variant_claims WHERE ctid = ANY (ARRAY(SELECT old.ctid FROM"
		  " (SELECT tableoid, ctid FROM pictrepo.variant_claims WHERE " EXPIRED("heartbeat", "$1", "$2")
		  " ORDER BY ctid OFFSET 0) old WHERE " TRY_LOCK("old") " LIMIT $3 OFFSET $4))",
		  TIMESTAMPTZOID, INTERVALOID, INT4OID, INT4OID);

/* Expired claims count as ended anyway.  Deleting them wakes the waiters. */
uint64
expire_variant_claims(void)
{
	return row_batch_run(&delete_expired_claims, ARGS(claim_cutoff(), claim_ahead()), TASK_BATCH, NULL);
}
