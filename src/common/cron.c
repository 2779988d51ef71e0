/*-------------------------------------------------------------------------
 *
 * cron.c
 *		Compute the next time of a cron schedule or of an interval.
 *
 * A cron text lists the matching values of five fields.  An interval defines
 * times at equal distances from a first time.  Both use the local time of a
 * time zone.
 *
 * When clocks go forward, times in the gap move to the end of the gap.  When
 * clocks go back, times in the repeated hour match only once, the first time.
 * A cron text that matches every hour is an exception: it matches twice in the
 * repeated hour, and its times in the gap do not move.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/int.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "common/cron.h"
#include "common/shown_text.h"

/* seconds from 1970 to 2000, and from 1970 to the end of timestamptz */
#define UNIX_TO_POSTGRES_EPOCH \
	((pg_time_t) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)
#define END_TIME (END_TIMESTAMP / USECS_PER_SEC + UNIX_TO_POSTGRES_EPOCH)

/* the mean length of a month in the Gregorian calendar */
#define USECS_PER_MONTH (30.436875 * USECS_PER_DAY)

#define BLANKS " \t\r\n"
#define BIT(n) (UINT64CONST(1) << (n))
#define ALL_HOURS (BIT(HOURS_PER_DAY) - 1)

typedef struct CronFieldRule
{
	const char *name;
	int			least;
	int			most;
	const char *const *names;	/* of three letters, for values from least on */
	const char *range;			/* for error messages */
} CronFieldRule;

static const char *const month_names[] = {
	"jan", "feb", "mar", "apr", "may", "jun",
	"jul", "aug", "sep", "oct", "nov", "dec", NULL
};
static const char *const weekday_names[] = {
	"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL
};

static const CronFieldRule fields[CRON_FIELDS] = {
	[CRON_MINUTE] = {"minute", 0, 59, NULL, "0 to 59"},
	[CRON_HOUR] = {"hour", 0, 23, NULL, "0 to 23"},
	[CRON_DAY] = {"day of month", 1, 31, NULL, "1 to 31"},
	[CRON_MONTH] = {"month", 1, 12, month_names, "1 to 12, or jan to dec"},
	[CRON_WEEKDAY] = {"day of week", 0, 7, weekday_names, "0 to 7, or sun to sat"},
};

static const char *const shorthands[][2] = {
	{"@hourly", "0 * * * *"},
	{"@daily", "0 0 * * *"},
	{"@weekly", "0 0 * * 0"},
	{"@monthly", "0 0 1 * *"},
	{"@yearly", "0 0 1 1 *"},
};

/* ----- parsing ----- */

/* Parse a number of one or two digits. */
static bool
number_of(const char *text, int *number)
{
	size_t		digits = strspn(text, "0123456789");

	if (digits < 1 || digits > 2 || text[digits] != '\0')
		return false;
	*number = atoi(text);
	return true;
}

/* Parse a number or a name that is valid in the field. */
static bool
value_of(const char *text, const CronFieldRule *field, int *value)
{
	if (field->names != NULL)
		for (int i = 0; field->names[i] != NULL; i++)
			if (pg_strcasecmp(text, field->names[i]) == 0)
			{
				*value = field->least + i;
				return true;
			}
	return number_of(text, value) && *value >= field->least && *value <= field->most;
}

/*
 * Parse one element of a list: a value, a range or *.  A range or * may have a
 * step.  Adds the matching values to allowed.  Returns NULL, or what is wrong.
 */
static const char *
parse_element(char *text, const CronFieldRule *field, uint64 *allowed)
{
	bool		star;
	int			from = field->least;
	int			to = field->most;
	int			step = 1;
	char	   *step_text = strchr(text, '/');
	char	   *to_text;

	if (step_text != NULL)
		*step_text++ = '\0';
	to_text = strchr(text, '-');
	if (to_text != NULL)
		*to_text++ = '\0';
	star = strcmp(text, "*") == 0 && to_text == NULL;

	if (!star && (!value_of(text, field, &from) ||
				  (to_text != NULL && !value_of(to_text, field, &to))))
		return psprintf("allowed values are %s", field->range);
	if (step_text != NULL)
	{
		if (!star && to_text == NULL)
			return "a step must follow \"*\" or a range";
		if (!number_of(step_text, &step) || step < 1 || step > field->most)
			return psprintf("the step must be between 1 and %d", field->most);
	}
	if (!star && to_text == NULL)
		to = from;

	/* at the end of a range, Sunday may be 0 or sun */
	if (field == &fields[CRON_WEEKDAY] && to == 0 && from > to)
		to = 7;
	if (from > to)
		return "the range ends before it begins";
	for (int i = from; i <= to; i += step)
		*allowed |= BIT(i);
	return NULL;
}

/*
 * Parse a field: elements separated by commas.  star says whether the field
 * contains a *, for either_day.
 */
static const char *
parse_field(const char *list, int length, const CronFieldRule *field, uint64 *allowed, bool *star)
{
	const char *end = list + length;

	*allowed = 0;
	*star = memchr(list, '*', length) != NULL;
	while (list <= end)
	{
		const char *comma = memchr(list, ',', end - list);
		int			element = (comma != NULL ? comma : end) - list;
		const char *wrong = parse_element(pnstrdup(list, element), field, allowed);

		if (wrong != NULL)
			return psprintf("Field \"%s\" contains \"%s\"; %s.",
							field->name, shown_text(list, element), wrong);
		list += element + 1;
	}
	return NULL;
}

/* Does the text match any date?  29 February is one. */
static bool
matches_any_date(const Cron *cron)
{
	if (cron->either_day)
		return true;
	for (int month = 1; month <= MONTHS_PER_YEAR; month++)
		if ((cron->allowed[CRON_MONTH] & BIT(month)) &&
			(cron->allowed[CRON_DAY] & (BIT(day_tab[1][month - 1] + 1) - 1)))
			return true;
	return false;
}

const char *
cron_parse(const char *cron_text, Cron *cron)
{
	bool		star[CRON_FIELDS];
	int			count = 0;

	cron_text += strspn(cron_text, BLANKS);
	if (*cron_text == '@')
	{
		int			length = strcspn(cron_text, BLANKS);
		const char *name = cron_text;

		cron_text = NULL;
		for (int i = 0; i < (int) lengthof(shorthands); i++)
			if (pg_strncasecmp(name, shorthands[i][0], length) == 0 &&
				shorthands[i][0][length] == '\0' &&
				name[length + strspn(name + length, BLANKS)] == '\0')
				cron_text = shorthands[i][1];
		if (cron_text == NULL)
			return psprintf("\"%s\" is not a shorthand; the shorthands are @hourly, @daily, @weekly, @monthly"
							" and @yearly.", shown_text(name, strlen(name)));
	}

	while (*cron_text != '\0')
	{
		int			length = strcspn(cron_text, BLANKS);

		if (count < CRON_FIELDS)
		{
			const char *wrong = parse_field(cron_text, length, &fields[count],
											&cron->allowed[count], &star[count]);

			if (wrong != NULL)
				return wrong;
		}
		count++;
		cron_text += length;
		cron_text += strspn(cron_text, BLANKS);
	}
	if (count < CRON_FIELDS)
		return psprintf("Field \"%s\" is missing.", fields[count].name);
	if (count > CRON_FIELDS)
		return psprintf("The text has %d fields; it must have %d.", count, CRON_FIELDS);

	/* 0 and 7 are Sunday */
	if (cron->allowed[CRON_WEEKDAY] & BIT(7))
		cron->allowed[CRON_WEEKDAY] |= BIT(0);
	cron->either_day = !star[CRON_DAY] && !star[CRON_WEEKDAY];
	if (!matches_any_date(cron))
		return "Fields \"day of month\" and \"month\" match no date.";
	return NULL;
}

/* ----- the next time of a cron schedule ----- */

/* Does the cron text match this day, counted from 1970? */
static bool
matches_day(const Cron *cron, pg_time_t days)
{
	int			julian = days + UNIX_EPOCH_JDATE;
	int			year;
	int			month;
	int			day;
	bool		by_date;
	bool		by_weekday;

	j2date(julian, &year, &month, &day);
	if (!(cron->allowed[CRON_MONTH] & BIT(month)))
		return false;
	by_date = (cron->allowed[CRON_DAY] & BIT(day)) != 0;
	by_weekday = (cron->allowed[CRON_WEEKDAY] & BIT(j2day(julian))) != 0;
	return cron->either_day ? by_date || by_weekday : by_date && by_weekday;
}

static pg_time_t
floor_div(pg_time_t dividend, pg_time_t divisor)
{
	return dividend / divisor - (dividend % divisor < 0 ? 1 : 0);
}

/*
 * The first matching full minute at or after from and before to, or else to.
 * All are local times, in a stretch without clock changes.
 */
static pg_time_t
first_match(const Cron *cron, pg_time_t from, pg_time_t to)
{
	pg_time_t	minutes = -floor_div(-from, SECS_PER_MINUTE);
	pg_time_t	day = floor_div(minutes, MINS_PER_HOUR * HOURS_PER_DAY);
	int			minute = minutes - day * MINS_PER_HOUR * HOURS_PER_DAY;

	for (; day * SECS_PER_DAY < to; day++)
	{
		if (matches_day(cron, day))
			for (; minute < MINS_PER_HOUR * HOURS_PER_DAY; minute++)
				if ((cron->allowed[CRON_HOUR] & BIT(minute / MINS_PER_HOUR)) &&
					(cron->allowed[CRON_MINUTE] & BIT(minute % MINS_PER_HOUR)))
					return Min(day * SECS_PER_DAY + minute * SECS_PER_MINUTE, to);
		minute = 0;
	}
	return to;
}

/*
 * Go through the stretches of time between clock changes.  Whether a local time
 * is a repeated one depends on the change before it.  No change is longer than
 * a day, so the search begins two days before.
 */
TimestampTz
cron_next(const Cron *cron, TimestampTz after, pg_tz *zone)
{
	pg_time_t	least = floor_div(after, USECS_PER_SEC) + UNIX_TO_POSTGRES_EPOCH + 1;
	pg_time_t	begin = least - 2 * SECS_PER_DAY;
	pg_time_t	end;
	pg_time_t	found = END_TIME;
	bool		all_hours = cron->allowed[CRON_HOUR] == ALL_HOURS;
	pg_time_t	passed = PG_INT64_MAX;	/* local times before this have passed */

	for (; begin < END_TIME; begin = end)
	{
		long		offset = 0;
		long		next_offset;
		int			is_dst;
		pg_time_t	from;

		if (pg_next_dst_boundary(&begin, &offset, &is_dst, &end,
								 &next_offset, &is_dst, zone) <= 0 || end > END_TIME)
			end = END_TIME;

		from = begin + offset;
		if (passed == PG_INT64_MAX)
			passed = from;
		if (!all_hours)
		{
			if (begin >= least && first_match(cron, passed, from) < from)
			{
				found = begin;
				break;
			}
			from = Max(from, passed);
		}
		from = Max(from, least + offset);
		found = first_match(cron, from, end + offset) - offset;
		if (found < end)
			break;
		passed = Max(passed, end + offset);
	}
	if (found >= END_TIME)
		return DT_NOEND;
	return (found - UNIX_TO_POSTGRES_EPOCH) * USECS_PER_SEC;
}

/* ----- the next time of an interval ----- */

/*
 * The nth time: first + n * every.  Months and days follow the calendar and the
 * local time, as in timestamptz + interval, but in the given time zone.  The
 * sum starts from the first time: if that is 31 January, each month has its
 * last day, also after a shorter month.
 */
static TimestampTz
nth_time(const Interval *every, TimestampTz first, int64 n, pg_tz *zone)
{
	TimestampTz result = first;
	int64		time;

	if (every->month != 0 || every->day != 0)
	{
		struct pg_tm tm;
		fsec_t		fsec;
		int			offset;
		int64		months;
		int64		julian;

		if (timestamp2tm(first, &offset, &tm, &fsec, NULL, zone) != 0)
			return DT_NOEND;
		months = (int64) tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon - 1 + n * every->month;
		tm.tm_year = floor_div(months, MONTHS_PER_YEAR);
		tm.tm_mon = months - (int64) tm.tm_year * MONTHS_PER_YEAR + 1;
		tm.tm_mday = Min(tm.tm_mday, day_tab[isleap(tm.tm_year)][tm.tm_mon - 1]);
		julian = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) + n * every->day;
		if (julian < 0 || julian > TIMESTAMP_END_JULIAN)
			return julian < 0 ? DT_NOBEGIN : DT_NOEND;
		j2date(julian, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		offset = DetermineTimeZoneOffset(&tm, zone);
		if (tm2timestamp(&tm, fsec, &offset, &result) != 0)
			return julian == 0 ? DT_NOBEGIN : DT_NOEND;
	}
	if (pg_mul_s64_overflow(n, every->time, &time) ||
		pg_add_s64_overflow(result, time, &result) || !IS_VALID_TIMESTAMP(result))
		return n < 0 ? DT_NOBEGIN : DT_NOEND;
	return result;
}

/*
 * n may be negative: after a system clock was set far back, the next time may
 * be before the first.  No field of the interval may be negative.
 */
TimestampTz
interval_next(const Interval *every, TimestampTz first, TimestampTz after, pg_tz *zone)
{
	double		length = every->month * USECS_PER_MONTH +
		(double) every->day * USECS_PER_DAY + every->time;
	int64		n = floor(((double) after - (double) first) / length);
	TimestampTz next;

	/* the estimate is off by a few at most */
	while (nth_time(every, first, n - 1, zone) > after)
		n--;
	while ((next = nth_time(every, first, n, zone)) <= after)
		n++;
	return next;
}
