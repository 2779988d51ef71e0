/*-------------------------------------------------------------------------
 *
 * clock_shim.c
 *		A wall clock that a test can set, for a server that preloads this.
 *
 * What reads the wall clock gets the time plus an offset, in us, from the file
 * that CLOCK_OFFSET names.  The monotonic clock goes on.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset;

__attribute__((constructor)) static void
begin(void)
{
	int			file = open(getenv("CLOCK_OFFSET"), O_RDONLY);

	offset = mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (offset == MAP_FAILED)
		abort();
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	long long	ns;

	if (syscall(SYS_clock_gettime, clock, now) != 0)
		return -1;
	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
	{
		ns = now->tv_sec * 1000000000LL + now->tv_nsec + *offset * 1000;
		now->tv_sec = ns / 1000000000;
		now->tv_nsec = ns % 1000000000;
	}
	return 0;
}

int
gettimeofday(struct timeval *now, void *zone)
{
	struct timespec precise;

	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}
