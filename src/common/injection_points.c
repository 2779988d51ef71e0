/*-------------------------------------------------------------------------
 *
 * injection_points.c
 *		Injection points of debug builds.
 *
 * The actions fatal and crash work only once.  Otherwise a setting in
 * postgresql.conf would end every new worker.  The first of them writes the
 * name of its point to the file ENDED_FILE in the data directory.  A test
 * removes the file to enable them again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef PICTREPO_INJECTION

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/guc.h"

#include "common/injection_points.h"
#include "common/maintenance_tasks.h"

#define ENDED_FILE "pictrepo_ended"

StaticAssertDecl(POINT_duty_sweep - POINT_duty_rescue == MAINTENANCE_TASKS - 1,
				 "each maintenance task has an injection point");

typedef struct Point
{
	const char *name;
	bool		fails;
} Point;

#define FAILING_POINT(point) {#point, true},
#define RUNNING_POINT(point) {#point, false},
static const Point points[POINTS] = {INJECTION_POINTS(FAILING_POINT, RUNNING_POINT)};

#define NAME_OF_POINT(point) #point " "
static char *all_points = INJECTION_POINTS(NAME_OF_POINT, NAME_OF_POINT);

static char *injection = "";

/* The action for a point in a value of the setting, or NULL. */
static const char *
action_at(InjectionPoint point, const char *setting)
{
	size_t		length = strlen(points[point].name);

	if (strncmp(setting, points[point].name, length) != 0 || setting[length] != ':')
		return NULL;
	return setting + length + 1;
}

static bool
check_injection(char **value, void **extra, GucSource source)
{
	if (**value == '\0')
		return true;
	for (int i = 0; i < POINTS; i++)
	{
		const char *action = action_at(i, *value);

		if (action != NULL)
			return strcmp(action, "wait") == 0 || strcmp(action, "crash") == 0 ||
				((strcmp(action, "error") == 0 || strcmp(action, "fatal") == 0) && points[i].fails);
	}
	return false;
}

/* Wait like pg_advisory_lock_shared(hashtext(name)), but without lock_timeout. */
static void
wait_at(const char *name)
{
	int64		key = (int32) hash_bytes((const unsigned char *) name, strlen(name));
	int			saved_timeout = LockTimeout;
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key, 1);
	LockTimeout = 0;
	PG_TRY();
	{
		(void) LockAcquire(&tag, ShareLock, true, false);
	}
	PG_FINALLY();
	{
		LockTimeout = saved_timeout;
	}
	PG_END_TRY();
	LockRelease(&tag, ShareLock, true);
}

/* Create the file.  False: a process was ended before. */
static bool
is_first_end(const char *name)
{
	int			file = open(ENDED_FILE, O_WRONLY | O_CREAT | O_EXCL, 0600);
	bool		first = file >= 0 && write(file, name, strlen(name)) >= 0;

	if (file >= 0)
		close(file);
	return first;
}

static void
crash(void)
{
	kill(MyProcPid, SIGKILL);
	pause();
}

void
inject(InjectionPoint point)
{
	const char *action = action_at(point, injection);

	if (action == NULL)
		return;
	if (strcmp(action, "wait") == 0)
		wait_at(points[point].name);
	else if (strcmp(action, "error") == 0)
		ereport(ERROR,
				errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				errmsg("injected error at %s", points[point].name));
	else if (!is_first_end(points[point].name))
		return;
	else if (strcmp(action, "crash") == 0)
		crash();
	else
		ereport(FATAL,
				errcode(ERRCODE_ADMIN_SHUTDOWN),
				errmsg("injected end at %s", points[point].name));
}

void
define_injection(void)
{
	DefineCustomStringVariable("pictrepo.injection", "Injection point and action.",
							   NULL, &injection, "", PGC_SUSET, 0, check_injection, NULL, NULL);
	DefineCustomStringVariable("pictrepo.injection_points", "Names of the injection points.",
							   NULL, &all_points, all_points, PGC_INTERNAL, 0, NULL, NULL, NULL);
}

#endif
