/*
 * pictrepo from C with libpq, and json-c for the documents: the scenario that
 * all clients run.  A worker is in worker.c.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>
#include <libpq-fe.h>

/* ------------------------------------------------------------------------
 * Calls
 * ------------------------------------------------------------------------ */

typedef struct Bytes
{
	const void *data;
	int			length;
} Bytes;

/* Text goes as text, whatever its type in SQL is, and bytes go as they are. */
typedef struct Param
{
	const char *value;
	int			length;
	int			format;
} Param;

#define TEXT(text) ((Param){.value = (text)})
#define BYTES(bytes) ((Param){(bytes).data, (bytes).length, 1})

/* query(db, sql, TEXT("..."), ...) */
#define query(db, ...) query_params(db, __VA_ARGS__, (Param){.format = -1})

static PGresult *
query_params(PGconn *db, const char *sql, ...)
{
	const char *values[16];
	int			lengths[16],
				formats[16],
				count = 0;
	va_list		params;
	Param		param;

	va_start(params, sql);
	while ((param = va_arg(params, Param)).format >= 0)
	{
		values[count] = param.value;
		lengths[count] = param.length;
		formats[count++] = param.format;
	}
	va_end(params);
	return PQexecParams(db, sql, count, NULL, values, lengths, formats, 0);
}

static bool
has_row(PGresult *result)
{
	return PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0;
}

/* ------------------------------------------------------------------------
 * The scenario.  It is over soon, and frees nothing.
 * ------------------------------------------------------------------------ */

#define DETAILS "{\"width\": 640, \"height\": 480, \"format\": {\"Image\": \"png\"}}"
#define NOON 1577880000			/* 2020-01-01 12:00:00 UTC */

static PGconn *
connection(void)
{
	PGconn	   *db = PQconnectdb("");

	if (PQstatus(db) != CONNECTION_OK)
	{
		fputs(PQerrorMessage(db), stderr);
		exit(1);
	}
	return db;
}

/* A result with a row, or the end. */
static PGresult *
row(PGresult *result)
{
	if (!has_row(result))
	{
		fprintf(stderr, "no row: %s\n", PQresultErrorMessage(result));
		exit(1);
	}
	return result;
}

static char *
field(PGresult *result, const char *name)
{
	int			column = PQfnumber(result, name);

	return PQgetisnull(result, 0, column) ? NULL : PQgetvalue(result, 0, column);
}

#define value(...) PQgetvalue(row(query(__VA_ARGS__)), 0, 0)

static Bytes
bytes(const char *hex)
{
	size_t		length;
	void	   *data = PQunescapeBytea((const unsigned char *) hex, &length);

	return (Bytes){data, length};
}

static bool
same_bytes(Bytes a, Bytes b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static bool
same_json(const char *a, const char *b)
{
	return json_object_equal(json_tokener_parse(a), json_tokener_parse(b));
}

static bool
same(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static void
check(const char *step, bool good, const char *got)
{
	if (good)
		printf("ok - %s\n", step);
	else
		printf("not ok - %s: %s\n", step, got);
	fflush(stdout);
}

static void
check_text(const char *step, const char *got, const char *wanted)
{
	check(step, same(got, wanted), got);
}

static void
check_json(const char *step, const char *got, const char *wanted)
{
	check(step, same_json(got, wanted), got);
}

/* libpq has no digests; the server has. */
static Bytes
make_hash(PGconn *db, const char *content)
{
	return bytes(value(db, "SELECT pictrepo.make_hash(sha256($1), length($1), 'png')",
					   BYTES(((Bytes){content, strlen(content)}))));
}

static char *
ingest(PGconn *db, Bytes hash, const char *identifier, const char *alias)
{
	return value(db, "SELECT outcome FROM pictrepo.ingest($1, $2, $3, $4, $5)",
				 BYTES(hash), TEXT(identifier), TEXT(DETAILS), TEXT(alias), TEXT("token"));
}

static void
pictures(PGconn *db, Bytes hash)
{
	PGresult   *served;
	unsigned char every_byte[256];
	Bytes		all = {every_byte, sizeof(every_byte)};

	check_text("ingest: created", ingest(db, hash, "cat.png", "cat-1.png"), "created");
	check_text("ingest: duplicate", ingest(db, hash, "again.png", "cat-2.png"), "duplicate");
	served = row(query(db, "SELECT hash, identifier, details, fallback FROM pictrepo.serve($1)", TEXT("cat-2.png")));
	check("serve: the file and its details",
		  same_bytes(bytes(field(served, "hash")), hash) && same(field(served, "identifier"), "cat.png") &&
		  same_json(field(served, "details"), DETAILS) && same(field(served, "fallback"), "f"),
		  field(served, "details"));

	for (int byte = 0; byte < 256; byte++)
		every_byte[byte] = byte;
	value(db, "SELECT pictrepo.set($1, $2)", TEXT("bytes"), BYTES(all));
	check("set, get: any bytes",
		  same_bytes(bytes(value(db, "SELECT pictrepo.get($1)", TEXT("bytes"))), all), "others");

	/* A time_t is seconds since 1970. */
	value(db, "SELECT pictrepo.set_accessed_alias($1, to_timestamp($2))", TEXT("cat-1.png"), TEXT("1577880000"));
	check("set_accessed_alias, alias_accessed_at: the same time",
		  atol(value(db, "SELECT extract(epoch FROM pictrepo.alias_accessed_at($1))", TEXT("cat-1.png"))) == NOON,
		  "another");
}

/* libpq leaves an array in one piece, so the server takes it apart. */
static PGresult *
page_at(PGconn *db, const char *slug)
{
	return row(query(db, "SELECT prev, next, hash FROM pictrepo.hash_page($1, $2), unnest(hashes) AS hash",
					 TEXT(slug), TEXT("2")));
}

static void
pages(PGconn *db, Bytes newest)
{
	Bytes		wanted[6] = {newest};
	PGresult   *page,
			   *first;
	char	   *slug = NULL;
	int			got = 0;
	bool		good = true;

	for (int number = 1; number <= 5; number++)
	{
		char		name[16],
					seconds[16];

		snprintf(name, sizeof(name), "page-%d.png", number);
		snprintf(seconds, sizeof(seconds), "%d", NOON - 60 * number);
		wanted[number] = make_hash(db, name);
		value(db, "SELECT outcome FROM pictrepo.ingest($1, $2, $3, $4, $5, to_timestamp($6))",
			  BYTES(wanted[number]), TEXT(name), TEXT(DETAILS), TEXT(name), TEXT("token"), TEXT(seconds));
	}

	first = page_at(db, NULL);
	do
	{
		page = page_at(db, slug);
		for (int line = 0; line < PQntuples(page); line++, got++)
			good = good && got < 6 && same_bytes(bytes(PQgetvalue(page, line, 2)), wanted[got]);
		slug = field(page, "next");
	} while (slug);
	check("hash_page: all hashes by its slugs, newest first", good && got == 6, "others");
	while ((slug = field(page, "prev")))
		page = page_at(db, slug);
	check_text("hash_page: prev leads back", field(page, "hash"), field(first, "hash"));
}

static char *
push(PGconn *db, const char *queue, const char *job)
{
	return value(db, "SELECT pictrepo.push($1, $2)", TEXT(queue), TEXT(job));
}

static char *
new_uuid(PGconn *db)
{
	return value(db, "SELECT gen_random_uuid()");
}

static char *
complete(PGconn *db, const char *worker, const char *id)
{
	return value(db, "SELECT pictrepo.complete_job($1, $2, $3, attempt => $4)",
				 TEXT("jobs"), TEXT(worker), TEXT(id), TEXT("1"));
}

static PGresult *
pop_wait(PGconn *db, const char *worker, const char *timeout)
{
	return row(query(db, "CALL pictrepo.pop_wait($1, $2, $3)",
					 TEXT("jobs"), TEXT(worker), TEXT(timeout)));
}

/*
 * What waits is on a connection of its own, which is asked for the result later.
 * It has two parameters or three, of which the first may be bytes.
 */
static PGconn *
begin_to_wait(const char *sql, Param first, const char *second, const char *third)
{
	PGconn	   *other = connection();
	const char *values[] = {first.value, second, third};
	int			lengths[] = {first.length, 0, 0},
				formats[] = {first.format, 0, 0};

	PQsendQueryParams(other, sql, third ? 3 : 2, NULL, values, lengths, formats, 0);
	usleep(500000);
	return other;
}

static PGresult *
waited_for(PGconn *other)
{
	PGresult   *result = row(PQgetResult(other));

	PQgetResult(other);
	return result;
}

static PGconn *
listening(const char *sql)
{
	PGconn	   *db = connection();

	query(db, sql);
	return db;
}

static bool
ends_with(const char *text, const char *ending)
{
	size_t		length = strlen(text),
				wanted = strlen(ending);

	return length >= wanted && same(text + length - wanted, ending);
}

static bool
hears(PGconn *db, const char *ending)
{
	for (int second = 0; second < 10; second++)
	{
		int			socket = PQsocket(db);
		struct timeval timeout = {.tv_sec = 1};
		fd_set		readable;
		PGnotify   *notify;

		FD_ZERO(&readable);
		FD_SET(socket, &readable);
		select(socket + 1, &readable, NULL, NULL, &timeout);
		PQconsumeInput(db);
		while ((notify = PQnotifies(db)))
		{
			if (ends_with(notify->extra, ending))
				return true;
		}
	}
	return false;
}

static void
jobs(PGconn *db)
{
	PGconn	   *other;
	char	   *worker = new_uuid(db),
			   *pushed,
			   *id;
	PGresult   *job,
			   *ids,
			   *ended;

	pushed = push(db, "jobs", "{\"number\": 1}");
	job = row(query(db, "SELECT id, job, attempt, extract(epoch FROM queue_time) AS since FROM pictrepo.pop($1, $2)",
					TEXT("jobs"), TEXT(worker)));
	check("push, pop: the job, its attempt and its time",
		  same(field(job, "id"), pushed) && same_json(field(job, "job"), "{\"number\": 1}") &&
		  atoi(field(job, "attempt")) == 1 && labs(atol(field(job, "since")) - time(NULL)) < 60,
		  field(job, "job"));
	complete(db, worker, pushed);

	other = begin_to_wait("SELECT id, job FROM pictrepo.pop($1, $2, wait => $3)", TEXT("jobs"), worker, "10 s");
	push(db, "jobs", "{\"number\": 2}");
	job = waited_for(other);
	check_json("pop with wait: what another connection pushes meanwhile", field(job, "job"), "{\"number\": 2}");

	check_text("heartbeat: held",
			   value(db, "SELECT pictrepo.heartbeat($1, $2, $3, $4)",
					 TEXT("jobs"), TEXT(worker), TEXT(field(job, "id")), TEXT("1")), "t");
	push(db, "jobs", "{\"number\": 3}");
	job = row(query(db, "SELECT outcome, id, job FROM pictrepo.complete_and_pop($1, $2, $3)",
					TEXT("jobs"), TEXT(worker), TEXT(field(job, "id"))));
	check("complete_and_pop: completed, and the next job",
		  same(field(job, "outcome"), "completed") && same_json(field(job, "job"), "{\"number\": 3}"),
		  field(job, "outcome"));
	id = field(job, "id");
	check_text("complete_job: completed", complete(db, worker, id), "completed");
	check_text("complete_job: lost the second time", complete(db, worker, id), "lost");

	/* Nor has it a way to make an array, but SQL has. */
	ids = query(db, "SELECT id FROM unnest(pictrepo.push_many($1, ARRAY[$2, $3, $4]::jsonb[], ARRAY[$5, NULL, $5])) AS id",
				TEXT("jobs"), TEXT("{\"number\": 4}"), TEXT("{\"number\": 5}"), TEXT("{\"number\": 6}"), TEXT("a"));
	check("push_many: ids, and NULL where the key is held",
		  PQntuples(ids) == 3 && !PQgetisnull(ids, 0, 0) && !PQgetisnull(ids, 1, 0) && PQgetisnull(ids, 2, 0),
		  PQresultErrorMessage(ids));
	query(db, "SELECT * FROM pictrepo.pop($1, $2, $3)", TEXT("jobs"), TEXT(worker), TEXT("10"));
	ended = query(db, "SELECT ended FROM unnest(pictrepo.complete_many($1, $2, ARRAY[$3, $4, $2]::uuid[])) AS ended",
				  TEXT("jobs"), TEXT(worker), TEXT(PQgetvalue(ids, 0, 0)), TEXT(PQgetvalue(ids, 1, 0)));
	check("complete_many: completed, and lost",
		  PQntuples(ended) == 3 && same(PQgetvalue(ended, 0, 0), "completed") &&
		  same(PQgetvalue(ended, 1, 0), "completed") && same(PQgetvalue(ended, 2, 0), "lost"),
		  PQresultErrorMessage(ended));

	job = pop_wait(db, worker, "50 ms");
	check("pop_wait: NULLs when the time is up",
		  !field(job, "id") && !field(job, "job") && !field(job, "attempt") && !field(job, "queue_time"), "a job");
	push(db, "jobs", "{\"number\": 7}");
	check_json("pop_wait: a job", field(pop_wait(db, worker, "10 s"), "job"), "{\"number\": 7}");

	other = listening("LISTEN queue_status_channel");
	push(db, "heard", "{\"number\": 8}");
	check("LISTEN: the push is heard with its queue", hears(other, " heard"), "nothing");
}

static char *
claim_variant(PGconn *db, Bytes hash, const char *worker)
{
	return value(db, "SELECT pictrepo.claim_variant_processing_rights($1, $2, $3)",
				 BYTES(hash), TEXT("thumbnail"), TEXT(worker));
}

static void
variants(PGconn *db, Bytes hash)
{
	char	   *ours = new_uuid(db),
			   *theirs = new_uuid(db);
	PGconn	   *listener = listening("LISTEN keyed_notification_channel"),
			   *waiting;
	PGresult   *served;

	check("claim_variant_processing_rights: claimed, busy for another",
		  same(claim_variant(db, hash, ours), "claimed") && same(claim_variant(db, hash, theirs), "busy"), "others");
	waiting = begin_to_wait("SELECT pictrepo.variant_waiter($1, $2, $3)", BYTES(hash), "thumbnail", "10 s");
	value(db, "SELECT pictrepo.finish_variant($1, $2, $3, $4, $5)",
		  BYTES(hash), TEXT("thumbnail"), TEXT(ours), TEXT("cat-128.webp"), TEXT("{\"width\": 128}"));
	check_text("finish_variant, variant_waiter: what one connection waits for while the other stores it",
			   PQgetvalue(waited_for(waiting), 0, 0), "cat-128.webp");
	/* Nor has it base64. */
	check("LISTEN: the variant is heard with its hash",
		  hears(listener, value(db, "SELECT encode($1, 'base64') || $2", BYTES(hash), TEXT("thumbnail"))), "nothing");
	served = row(query(db, "SELECT identifier, details, original_identifier FROM pictrepo.serve_variant($1, $2)",
					   TEXT("cat-1.png"), TEXT("thumbnail")));
	check("serve_variant: its file",
		  same(field(served, "identifier"), "cat-128.webp") && same_json(field(served, "details"), "{\"width\": 128}") &&
		  same(field(served, "original_identifier"), "cat.png"), field(served, "details"));
}

static char *
claim_upload(PGconn *db, const char *upload)
{
	return value(db, "SELECT pictrepo.claim($1)", TEXT(upload));
}

static char *
delete(PGconn *db, const char *token)
{
	return value(db, "SELECT pictrepo.delete_alias($1, $2)", TEXT("dog.png"), TEXT(token));
}

static void
upload_and_delete(PGconn *db)
{
	char	   *worker = new_uuid(db),
			   *upload = value(db, "SELECT pictrepo.create_upload()"),
			   *job;
	PGconn	   *listener = listening("LISTEN upload_completion_channel"),
			   *waiting;
	PGresult   *files;

	value(db, "SELECT pictrepo.push($1, $2, upload => $3)",
		  TEXT("process"), TEXT("{\"Ingest\": {\"identifier\": \"dog.png\"}}"), TEXT(upload));
	job = value(db, "SELECT id FROM pictrepo.pop($1, $2)", TEXT("process"), TEXT(worker));
	waiting = begin_to_wait("SELECT pictrepo.wait($1, $2)", TEXT(upload), "10 s", NULL);
	row(query(db, "SELECT * FROM pictrepo.finish_ingest($1, $2, $3, $4, $5, $6, $7, $8, $9)",
			  TEXT("process"), TEXT(worker), TEXT(job), TEXT(upload),
			  BYTES(make_hash(db, "dog")), TEXT("dog.png"), TEXT(DETAILS), TEXT("dog.png"), TEXT("token")));
	check_json("finish_ingest, wait: what one connection waits for while the other brings it",
			   PQgetvalue(waited_for(waiting), 0, 0),
			   "{\"Success\": {\"alias\": \"dog.png\", \"token\": \"token\"}}");
	check("LISTEN: the upload is heard", hears(listener, upload), "nothing");
	check("claim: once", same(claim_upload(db, upload), "t") && same(claim_upload(db, upload), "f"), "otherwise");

	check_text("delete_alias: forbidden with another token", delete(db, "wrong"), "forbidden");
	check_text("delete_alias: deleted", delete(db, "token"), "deleted");
	files = query(db, "SELECT job FROM pictrepo.pop($1, max_jobs => $2)", TEXT("cleanup"), TEXT("10"));
	check("cleanup: the files that nothing needs any more",
		  PQntuples(files) == 2 &&
		  same_json(PQgetvalue(files, 0, 0), "{\"Identifier\": {\"identifier\": \"again.png\"}}") &&
		  same_json(PQgetvalue(files, 1, 0), "{\"Identifier\": {\"identifier\": \"dog.png\"}}"),
		  PQresultErrorMessage(files));
}

/* A step is named after the error that is wanted. */
static void
fails(const char *step, PGresult *result)
{
	char	   *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	check(step, state && strncmp(state, step, 5) == 0, state ? state : "success");
}

static void
errors(PGconn *db, Bytes hash)
{
	const char *create_alias = "SELECT pictrepo.create_alias($1, $2, $3)";
	char		too_long[301] = "",
			   *upload = value(db, "SELECT pictrepo.create_upload()");

	memset(too_long, 'a', 300);
	fails("22004: a hash that is NULL", query(db, create_alias, TEXT("new.png"), TEXT("token"), TEXT(NULL)));
	fails("22023: a bad slug", query(db, "SELECT pictrepo.hash_page($1)", TEXT("no slug")));
	fails("22001: an alias that is too long", query(db, create_alias, TEXT(too_long), TEXT("token"), BYTES(hash)));
	fails("23503: an alias of an unknown hash",
		  query(db, create_alias, TEXT("new.png"), TEXT("token"), BYTES(make_hash(db, "unknown"))));
	fails("22P02: malformed JSON", query(db, "SELECT pictrepo.push($1, $2)", TEXT("jobs"), TEXT("{")));
	fails("42501: what takes an admin", query(db, "SELECT pictrepo.pause_queue($1)", TEXT("jobs")));

	query(db, "SET default_transaction_read_only = on");
	fails("25006: a write while transactions are read-only",
		  query(db, "SELECT pictrepo.push($1, $2)", TEXT("jobs"), TEXT("1")));
	query(db, "SET default_transaction_read_only = off");
	claim_upload(db, upload);
	fails("P0002: an upload that was claimed", query(db, "SELECT pictrepo.wait($1, $2)", TEXT(upload), TEXT("10 s")));
	query(db, "BEGIN");
	fails("2D000: pop_wait in a transaction", query(db, "CALL pictrepo.pop_wait($1)", TEXT("empty")));
	query(db, "ROLLBACK");
	query(db, "SET statement_timeout = '100ms'");
	fails("57014: a pop that waits for longer than statement_timeout",
		  query(db, "SELECT pictrepo.pop($1, wait => $2)", TEXT("empty"), TEXT("10 s")));
	query(db, "SET statement_timeout = 0");
	query(db, "BEGIN ISOLATION LEVEL REPEATABLE READ");
	value(db, "SELECT pictrepo.get($1)", TEXT("bytes"));
	value(connection(), "SELECT pictrepo.create_hash('later', 'later.png')");
	fails("40001: an alias of a hash that is newer than the snapshot",
		  query(db, "SELECT pictrepo.create_alias('later.png', 'token', 'later')"));
	query(db, "ROLLBACK");
	check_text("after errors: the connection goes on",
			   value(db, "SELECT pictrepo.identifier($1)", BYTES(hash)), "cat.png");
}

int
main(void)
{
	PGconn	   *db = connection();
	Bytes		hash = make_hash(db, "cat");

	pictures(db, hash);
	pages(db, hash);
	jobs(db);
	variants(db, hash);
	upload_and_delete(db);
	errors(db, hash);
	PQfinish(db);
	return 0;
}
