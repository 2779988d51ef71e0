/*-------------------------------------------------------------------------
 *
 * injection_points.c
 *		What happens at an injection point, in a build that has them.
 *
 * The end of a process happens once: the file ENDED in the data directory, which
 * takes the point's name, says that it has.  Else a setting in the server's
 * configuration would bring every new worker down.  Who removes the file arms it
 * again.
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

#define ENDED "pictrepo_ended"

StaticAssertDecl(POINT_duty_sweep - POINT_duty_rescue == MAINTENANCE_TASKS - 1,
				 "each duty has an injection point");

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

/* What is to happen at a point, in a value of the setting; NULL: nothing. */
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

/* As pg_advisory_lock(hashtext(name)); the wait itself has no limit. */
static void
wait_at(const char *name)
{
	int64		key = (int32) hash_bytes((const unsigned char *) name, strlen(name));
	int			limit = LockTimeout;
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key, 1);
	LockTimeout = 0;
	PG_TRY();
	{
		(void) LockAcquire(&tag, ShareLock, true, false);
	}
	PG_FINALLY();
	{
		LockTimeout = limit;
	}
	PG_END_TRY();
	LockRelease(&tag, ShareLock, true);
}

/* False: it was another time. */
static bool
is_first_end(const char *name)
{
	int			file = open(ENDED, O_WRONLY | O_CREAT | O_EXCL, 0600);
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
	DefineCustomStringVariable("pictrepo.injection", "What happens at which injection point.",
							   NULL, &injection, "", PGC_SUSET, 0, check_injection, NULL, NULL);
	DefineCustomStringVariable("pictrepo.injection_points", "All injection points.",
							   NULL, &all_points, all_points, PGC_INTERNAL, 0, NULL, NULL, NULL);
}

#endif
