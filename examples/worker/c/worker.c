/*
 * A worker of pictrepo: does the jobs of a queue until SIGTERM.
 *
 *		worker QUEUE
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>
#include <libpq-fe.h>

#define WAIT "CALL pictrepo.pop_wait($1, $2, '10 s')"
#define END_AND_NEXT "SELECT id, job, attempt, outcome FROM pictrepo.complete_and_pop($1, $2, $3, $5, $6, $4)"
#define END "SELECT NULL, NULL, NULL, pictrepo.complete_job($1, $2, $3, $5, $6, $4)"

/* Seconds between heartbeats, a quarter of pictrepo.heartbeat_timeout. */
static int	beat_every = 30;

static volatile sig_atomic_t stopping = 0;
static PGconn *db;
static const char *arguments[6];	/* queue, worker, job, attempt, result, reason */
static char worker[37];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool busy;
static atomic_bool lost;		/* another worker has the job */

/*
 * Does one job: your work goes here.  NULL: done; else why not, and it is tried
 * again.  Once the job is lost it should return.
 */
static const char *
handle(json_object *job)
{
	int			seconds = json_object_get_int(json_object_object_get(job, "seconds"));

	if (seconds < 0)
		return "no job takes less than no time";
	while (seconds-- > 0 && !lost)
		sleep(1);
	return NULL;
}

static PGresult *
call(const char *sql, int count)
{
	return PQexecParams(db, sql, count, NULL, arguments, NULL, NULL, 0);
}

/* Sends heartbeats on the worker's connection, which is idle while it works. */
static void *
beat(void *unused)
{
	struct timespec next;

	clock_gettime(CLOCK_REALTIME, &next);
	pthread_mutex_lock(&lock);
	while (busy && !lost)
	{
		next.tv_sec += beat_every;
		while (busy && pthread_cond_timedwait(&changed, &lock, &next) == 0)
			;
		if (busy)
		{
			PGresult   *held = call("SELECT pictrepo.heartbeat($1, $2, $3, $4)", 4);

			lost = PQntuples(held) == 0 || strcmp(PQgetvalue(held, 0, 0), "t") != 0;
			PQclear(held);
		}
	}
	pthread_mutex_unlock(&lock);
	return unused;
}

static const char *
handle_beating(json_object *job)
{
	pthread_t	heart;
	const char *reason;

	busy = true;
	lost = false;
	if (pthread_create(&heart, NULL, beat, NULL) != 0)
		abort();
	reason = handle(job);
	pthread_mutex_lock(&lock);
	busy = false;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
	pthread_join(heart, NULL);
	return reason;
}

/* Does a job and ends it; the next one comes along, unless the worker is to stop. */
static PGresult *
do_job(const char *id, const char *text, const char *attempt)
{
	json_object *job = json_tokener_parse(text);
	const char *reason;
	PGresult   *next;

	arguments[2] = id;
	arguments[3] = attempt;
	reason = handle_beating(job);
	json_object_put(job);
	if (lost)
	{
		fprintf(stderr, "job %s is lost\n", id);
		return call(WAIT, 2);
	}
	arguments[4] = reason ? "failure" : "success";
	arguments[5] = reason;
	next = call(stopping ? END : END_AND_NEXT, 6);
	if (PQntuples(next) == 1 && strcmp(PQgetvalue(next, 0, 3), "completed") != 0)
		fprintf(stderr, "job %s is %s: %s\n", id, PQgetvalue(next, 0, 3), reason ? reason : "");
	return next;
}

/* Until it is to stop or a call fails. */
static void
work(void)
{
	PGresult   *next = call(WAIT, 2);

	while (PQntuples(next) == 1 && !(stopping && PQgetisnull(next, 0, 0)))
	{
		PGresult   *last = next;

		/* pop_wait commits by itself, so there is no transaction around it */
		if (PQgetisnull(last, 0, 0))
			next = call(WAIT, 2);
		else
			next = do_job(PQgetvalue(last, 0, 0), PQgetvalue(last, 0, 1), PQgetvalue(last, 0, 2));
		PQclear(last);
	}
	PQclear(next);
}

static void
connect_as_worker(void)
{
	char		application[100];
	const char *names[] = {"application_name", NULL};
	const char *values[] = {application, NULL};
	PGresult   *made;

	snprintf(application, sizeof(application), "imagehost worker: %s", arguments[0]);
	db = PQconnectdbParams(names, values, 0);
	if (!*worker)
	{
		made = PQexec(db, "SELECT gen_random_uuid()");
		if (PQntuples(made) == 1)
			snprintf(worker, sizeof(worker), "%s", PQgetvalue(made, 0, 0));
		PQclear(made);
	}
}

static void
stop(int number)
{
	stopping = number;
}

int
main(int count, char **words)
{
	if (count != 2)
		return 2;
	if (getenv("HEARTBEAT_SECONDS"))
		beat_every = atoi(getenv("HEARTBEAT_SECONDS"));
	arguments[0] = words[1];
	arguments[1] = worker;
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	while (!stopping)
	{
		connect_as_worker();
		work();
		if (!stopping)
		{
			fprintf(stderr, "connecting again: %s", PQerrorMessage(db));
			sleep(1);
		}
		PQfinish(db);
	}
	return 0;
}
