/*-------------------------------------------------------------------------
 *
 * ingest.c
 *		Operations: storing images after their upload, and variants.
 *
 * An ingestion locks the hash before it stores the alias.  A removal locks the hash
 * before it looks for other aliases, see delete.c.  So the two wait for each other,
 * and the second one sees what the first one has committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/injection_points.h"
#include "images/details.h"
#include "images/hashes.h"
#include "images/uploads.h"
#include "images/variants.h"
#include "json/json_check.h"
#include "operations/operations.h"
#include "queue/job_end.h"
#include "sqlfunc/args.h"
#include "sqlfunc/result.h"
#include "sqlfunc/statement.h"
#include "sqlfunc/tagged_jsonb.h"

typedef struct Ingestion
{
	NullableDatum hash;
	NullableDatum identifier;
	NullableDatum details;
	NullableDatum alias;
	NullableDatum token;
	NullableDatum created_at;

	/* the result */
	const char *outcome;
	NullableDatum stored_identifier;
	NullableDatum stored_details;
} Ingestion;

static const char created[] = "created";
static const char duplicate[] = "duplicate";
static const char alias_exists[] = "alias_exists";
static const char blocked[] = "blocked";
static const char lost[] = "lost";

/* The arguments of ingest, which begin with argument n of the call. */
static Ingestion
ingestion_arguments(FunctionCallInfo fcinfo, int n)
{
	Ingestion	ingestion = {
		.hash = hash_argument(fcinfo, n),
		.identifier = identifier_argument(fcinfo, n + 1),
		.details = checked_document_argument(fcinfo, n + 2, check_details),
		.alias = alias_argument(fcinfo, n + 3),
		.token = token_argument(fcinfo, n + 4),
		.created_at = PG_ARGISNULL(n + 5) ? NULL_ARG : time_argument(fcinfo, n + 5),
		.stored_identifier = NULL_ARG,
		.stored_details = NULL_ARG
	};

	return ingestion;
}

/* ----- the content ----- */

STATEMENT(hold_hash, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.hashes WHERE hash = $1 FOR KEY SHARE", BYTEAOID);

/*
 * This is not part of hold_hash.  If the image's file moved while hold_hash waited
 * for the lock, that statement would return the new identifier with the details of
 * the old one.
 */
STATEMENT(stored_content, STMT_READ_WRITE,
		  "SELECT h.identifier, d.details FROM pictrepo.hashes h"
		  " LEFT JOIN pictrepo.details d ON d.identifier = h.identifier WHERE h.hash = $1",
		  BYTEAOID);

/*
 * Store the hash, or lock it if it exists.  Either way, no other session can remove
 * it until this transaction ends.
 */
static const char *
hold_content(Ingestion *ingestion)
{
	for (;;)
	{
		if (hash_insert(ingestion->hash, ingestion->identifier, ingestion->created_at))
			return created;
		if (statement_run(&hold_hash, &ingestion->hash) > 0)
			break;
		/* another session has removed it since the INSERT */
		CHECK_FOR_INTERRUPTS();
	}
	statement_run(&stored_content, &ingestion->hash);
	ingestion->stored_identifier = result_value_copy(0, 1);
	ingestion->stored_details = result_value_copy(0, 2);
	return duplicate;
}

STATEMENT(block_of_hash, STMT_READ_WRITE,
		  "SELECT FROM pictrepo.blocked WHERE hash = $1", BYTEAOID);

/*
 * The caller holds the content.  So this sees the block of a purge that committed
 * while the caller waited for the lock.
 */
static bool
is_blocked(NullableDatum hash)
{
	return statement_run(&block_of_hash, &hash) > 0;
}

/* ----- the alias and the details ----- */

STATEMENT(insert_alias, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.aliases (alias, delete_token, hash) VALUES ($1, $2, $3)"
		  " ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID, BYTEAOID);

STATEMENT(hold_details, STMT_READ_WRITE,
		  "SELECT details FROM pictrepo.details WHERE identifier = $1 FOR KEY SHARE", TEXTOID);

/*
 * Store the details of a file, unless it has some.  Returns the stored ones.
 *
 * If the file has details, other images may refer to it, and another session may be
 * removing the last of these references.  The lock on the details makes its release
 * of the file wait for this transaction, and then see the new reference.
 */
static NullableDatum
store_details(NullableDatum identifier, NullableDatum details)
{
	for (;;)
	{
		if (details_insert(identifier, details))
			return details;
		if (statement_run(&hold_details, &identifier) > 0)
			return result_value_copy(0, 1);
		/* another session has released the file, and deleted its details */
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Store the image and its alias, and set the outcome.  If the uploaded file is not
 * needed, because the content exists, the content is blocked or the alias exists,
 * release it.  The caller is in a repo call.
 */
static void
run_ingestion(Ingestion *ingestion)
{
	const char *refusal = NULL;

	ingestion->outcome = hold_content(ingestion);
	INJECT(content_held);
	if (is_blocked(ingestion->hash))
		refusal = blocked;
	else if (statement_run(&insert_alias,
						   ARGS(ingestion->alias, ingestion->token, ingestion->hash)) == 0)
		refusal = alias_exists;
	INJECT(alias_stored);

	if (refusal != NULL)
	{
		if (ingestion->outcome == created)
			hash_delete(ingestion->hash);
		ingestion->outcome = refusal;
		ingestion->stored_identifier = ingestion->stored_details = NULL_ARG;
	}
	if (ingestion->outcome == created)
	{
		ingestion->stored_identifier = ingestion->identifier;
		ingestion->stored_details = store_details(ingestion->identifier, ingestion->details);
		INJECT(details_stored);
	}
	else
		release_file(ingestion->identifier);
}

static Datum
ingestion_row(FunctionCallInfo fcinfo, const Ingestion *ingestion)
{
	return form_row(fcinfo, ARGS(not_null(CStringGetTextDatum(ingestion->outcome)),
								 ingestion->stored_identifier, ingestion->stored_details));
}

PG_FUNCTION_INFO_V1(pictrepo_ingest);

/*
 * ingest(hash bytea, identifier text, details jsonb, alias text,
 *		  delete_token text, created_at timestamptz)
 *		-> (outcome text, identifier text, details jsonb)
 *
 * Store an image and its alias.  created_at NULL: now.
 *
 * Returns the outcome "created", "duplicate", "alias_exists" or "blocked".
 * identifier and details are those of the image that the alias now serves.  NULL:
 * the alias was not stored.
 */
Datum
pictrepo_ingest(PG_FUNCTION_ARGS)
{
	Ingestion	ingestion = ingestion_arguments(fcinfo, 0);
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	run_ingestion(&ingestion);
	repo_call_end(&call);
	return ingestion_row(fcinfo, &ingestion);
}

/* ----- ingestion at the end of a job ----- */

static NullableDatum
upload_failure(const char *message, const char *code)
{
	return TAGGED_JSONB("Failure", {"message", CStringGetTextDatum(message)}, {"code", CStringGetTextDatum(code)});
}

/* The result that wait() returns to the client of the upload */
static NullableDatum
upload_result(const Ingestion *ingestion)
{
	if (ingestion->outcome == blocked)
		return upload_failure("the content is blocked", "blocked");
	if (ingestion->outcome == alias_exists)
		return upload_failure("the alias exists", "alias-exists");
	return TAGGED_JSONB("Success", {"alias", ingestion->alias.value}, {"token", ingestion->token.value});
}

/* The caller is in a repo call.  False: the worker does not hold the job. */
static bool
complete_job(const EndedClaims *claim)
{
	JobEnd		success = {.result = RESULT_SUCCESS, .error = NULL_ARG};

	return strcmp(end_job(&success, claim), "completed") == 0;
}

/*
 * Does a string in the job equal the file's identifier?  Then the worker that
 * holds the job now, or the next one, needs the file.
 */
STATEMENT(job_contains_file, STMT_READ_WRITE,
		  "SELECT FROM (SELECT id, job FROM pictrepo.job_queue UNION ALL SELECT id, job FROM pictrepo.dead_jobs) j"
		  " WHERE j.id = $1 AND jsonb_path_exists(j.job, 'strict $.** ? (@ == $file)',"
		  " jsonb_build_object('file', $2), true)",
		  UUIDOID, TEXTOID);

PG_FUNCTION_INFO_V1(pictrepo_finish_ingest);

/*
 * finish_ingest(queue text, worker uuid, job_id uuid, upload uuid, and as ingest,
 *				 attempt int)
 *		-> (outcome text, identifier text, details jsonb)
 *
 * Complete a job, store its image as ingest does, and store the result of the
 * upload, in one transaction.  worker NULL: session_worker().  upload NULL: the job
 * has no upload.  attempt: of the claim; NULL: whichever claim the worker has.
 *
 * Returns the outcomes of ingest, and "lost": the worker does not hold the job
 * by this claim.  Then the file is released, unless the job itself contains the file's identifier.
 */
Datum
pictrepo_finish_ingest(PG_FUNCTION_ARGS)
{
	EndedClaims claim = claim_arguments(fcinfo, 10);
	NullableDatum upload = fcinfo->args[3];
	Ingestion	ingestion = ingestion_arguments(fcinfo, 4);
	bool		completed;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	completed = complete_job(&claim);
	INJECT(ingest_job_ended);
	if (completed)
	{
		run_ingestion(&ingestion);
		INJECT(ingest_stored);
		if (!upload.isnull)
			upload_set_result(upload, upload_result(&ingestion));
	}
	else
	{
		ingestion.outcome = lost;
		if (statement_run(&job_contains_file, ARGS(claim.job, ingestion.identifier)) == 0)
			release_file(ingestion.identifier);
	}
	repo_call_end(&call);
	return ingestion_row(fcinfo, &ingestion);
}

/* ----- variants ----- */

STATEMENT(insert_variant, STMT_READ_WRITE,
		  "INSERT INTO pictrepo.variants (hash, variant, identifier) VALUES ($1, $2, $3)"
		  " ON CONFLICT DO NOTHING",
		  BYTEAOID, TEXTOID, TEXTOID);

/* Returns the outcome.  The caller is in a repo call. */
static const char *
store_variant(const NullableDatum *key, NullableDatum identifier, NullableDatum details)
{
	if (statement_run(&hold_hash, key) == 0)
		return lost;
	if (!variant_claim_end(key))
		return variant_exists(key) ? "exists" : lost;
	INJECT(variant_claim_ended);
	if (statement_run(&insert_variant, ARGS(key[0], key[1], identifier)) == 0)
		return "exists";
	INJECT(variant_stored);
	store_details(identifier, details);
	return "stored";
}

PG_FUNCTION_INFO_V1(pictrepo_finish_variant);

/*
 * finish_variant(hash bytea, variant text, worker uuid, identifier text,
 *				  details jsonb) -> text
 *
 * End a claim, and store the variant that the worker made.  worker NULL:
 * session_worker().
 *
 * Returns "stored", "exists" (the variant exists), or "lost" (the hash does not
 * exist, or the worker does not hold the claim).  If the variant was not stored,
 * its file is released.
 */
Datum
pictrepo_finish_variant(PG_FUNCTION_ARGS)
{
	NullableDatum key[] = {
		hash_argument(fcinfo, 0), variant_argument(fcinfo, 1), worker_argument(fcinfo, 2)
	};
	NullableDatum identifier = identifier_argument(fcinfo, 3);
	NullableDatum details = checked_document_argument(fcinfo, 4, check_details);
	const char *outcome;
	RepoCall	call;

	repo_call_begin(&call, fcinfo);
	outcome = store_variant(key, identifier, details);
	if (strcmp(outcome, "stored") != 0)
		release_file(identifier);
	repo_call_end(&call);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}
