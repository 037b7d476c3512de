/*-------------------------------------------------------------------------
 *
 * schedule.c
 *	  When a job is due: arithmetic on times, nothing else.
 *
 * Times of an interval are anchor + n * interval, so that they neither drift
 * with the length of runs nor slide from the 31st to the 28th.  Days, months
 * and times of day are those of the schedule's time zone: a time that a change
 * to summer time leaves out comes an hour later, one that comes twice is served
 * once.
 *
 * A clock that was set back would leave "served" in the future, and the job
 * asleep until then; a schedule that sees that begins anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "schedule.h"

/*-------------------------------------------------------------------------
 * What was given
 *-------------------------------------------------------------------------
 */

static void
refuse_option(const char *name, const char *value, const char *valid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": %s", name, value),
			 errhint("Valid values are: %s.", valid)));
}

/* HH:MM or HH:MM:SS */
static bool
parse_time_of_day(const char *text, TimeADT *time)
{
	int			hour,
				minute,
				second = 0,
				length = 0;

	if (sscanf(text, "%2d:%2d%n", &hour, &minute, &length) < 2)
		return false;
	if (text[length] == ':')
	{
		int			more = 0;

		if (sscanf(text + length, ":%2d%n", &second, &more) < 1)
			return false;
		length += more;
	}
	if (text[length] != '\0' || hour < 0 || hour > 23 || minute < 0 ||
		minute > 59 || second < 0 || second > 59)
		return false;
	*time = ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC;
	return true;
}

/* A point in time, in the schedule's zone if it names none. */
static TimestampTz
parse_moment(const Schedule *schedule, const char *text)
{
	pg_tz	   *save_timezone = session_timezone;
	TimestampTz moment;

	session_timezone = schedule->timezone;
	PG_TRY();
	{
		moment = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
														 CStringGetDatum(text),
														 ObjectIdGetDatum(InvalidOid),
														 Int32GetDatum(-1)));
	}
	PG_FINALLY();
	{
		session_timezone = save_timezone;
	}
	PG_END_TRY();
	return moment;
}

/* How long after the first attempt of its cycle one comes. */
static TimeADT
since_opening(const Schedule *schedule, int n)
{
	TimeADT		offset = schedule->attempts_at[n] - schedule->attempts_at[0];

	return offset < 0 ? offset + USECS_PER_DAY : offset;
}

static void
make_attempts(Schedule *schedule, List *attempts_at)
{
	ListCell   *lc;

	schedule->attempts_at = palloc(list_length(attempts_at) * sizeof(TimeADT));
	foreach(lc, attempts_at)
	{
		const char *text = (const char *) lfirst(lc);
		int			n = schedule->nattempts;

		if (!parse_time_of_day(text, &schedule->attempts_at[n]))
			refuse_option("attempts_at", text, "times of day such as \"20:00\"");
		if (n > 0 && since_opening(schedule, n) <= since_opening(schedule, n - 1))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"attempts_at\" is not in order at \"%s\"", text),
					 errdetail("The first time opens a cycle, which lasts until it returns; the others follow in it."),
					 errhint("For example: [\"20:00\", \"22:00\", \"08:00\"].")));
		schedule->nattempts++;
	}
}

static void
make_window(Schedule *schedule, const JobOptions *options)
{
	static const char valid[] = "a time of day such as \"22:00\", a point in time such as \"2030-01-01 08:00\"";

	schedule->not_before = DT_NOBEGIN;
	schedule->not_after = DT_NOEND;
	schedule->opens = 0;
	schedule->closes = USECS_PER_DAY;
	if (options->not_before)
	{
		if (parse_time_of_day(options->not_before, &schedule->opens))
			schedule->daily = true;
		else if (strlen(options->not_before) < 8)
			refuse_option("not_before", options->not_before, valid);
		else
			schedule->not_before = parse_moment(schedule, options->not_before);
	}
	if (options->not_after)
	{
		if (parse_time_of_day(options->not_after, &schedule->closes))
			schedule->daily = true;
		else if (strlen(options->not_after) < 8)
			refuse_option("not_after", options->not_after, valid);
		else
			schedule->not_after = parse_moment(schedule, options->not_after);
	}
	if (schedule->not_after < schedule->not_before)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"not_after\" is before \"not_before\""),
				 errhint("Leave out one of the two, or exchange them.")));
}

/* A month as 30 days: how long an interval is about. */
static int64
about(const Interval *interval)
{
	return (interval->month * (int64) DAYS_PER_MONTH + interval->day) * USECS_PER_DAY +
		interval->time;
}

static void
check_interval(const Interval *interval, const JobOptions *options)
{
	if (INTERVAL_NOT_FINITE(interval) || about(interval) < USECS_PER_SEC ||
		about(interval) > 100 * 366 * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid schedule: %s",
						DatumGetCString(DirectFunctionCall1(interval_out,
															PointerGetDatum(interval)))),
				 errdetail("A schedule is the time from one start to the next, from a second to a hundred years."),
				 errhint("Give a positive interval such as '10 min'.")));
	if (options->attempts_at[0] != '\0' && about(interval) != USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a schedule of %s and option \"attempts_at\" contradict each other",
						DatumGetCString(DirectFunctionCall1(interval_out,
															PointerGetDatum(interval)))),
				 errdetail("With \"attempts_at\" a job runs once a day."),
				 errhint("Leave out one of the two, or use a schedule of '1 day'.")));
}

void
schedule_make(Schedule *schedule, const Interval *interval,
			  const JobOptions *options)
{
	const char *timezone = options->timezone ? options->timezone : "UTC";

	memset(schedule, 0, sizeof(Schedule));
	schedule->timezone = pg_tzset(timezone);
	if (schedule->timezone == NULL || !pg_tz_acceptable(schedule->timezone))
		refuse_option("timezone", timezone, "names from pg_timezone_names such as \"Europe/Berlin\"");
	if (interval)
		check_interval(interval, options);
	if (options->attempts_at[0] != '\0')
		make_attempts(schedule, options_names(options->attempts_at));
	else
		schedule->interval = interval;
	make_window(schedule, options);
}

bool
schedule_is_automatic(const Schedule *schedule)
{
	return schedule->interval != NULL || schedule->nattempts > 0;
}

bool
schedule_is_local(const Interval *interval, const JobOptions *options)
{
	return (interval != NULL && (interval->month != 0 || interval->day != 0)) ||
		options->attempts_at[0] != '\0' || options->not_before || options->not_after;
}

/*-------------------------------------------------------------------------
 * Local time
 *-------------------------------------------------------------------------
 */

/* Splits a moment into date and time of day, as clocks on the wall show them. */
static void
to_local(const Schedule *schedule, TimestampTz t, int *date, TimeADT *time)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;

	if (timestamp2tm(t, &offset, &tm, &fsec, NULL, schedule->timezone) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	*date = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);
	*time = ((tm.tm_hour * 60 + tm.tm_min) * 60 + tm.tm_sec) * USECS_PER_SEC + fsec;
}

static TimestampTz
from_local(const Schedule *schedule, int date, TimeADT time)
{
	struct pg_tm tm;
	fsec_t		fsec = (fsec_t) (time % USECS_PER_SEC);
	int			seconds = (int) (time / USECS_PER_SEC);
	int			offset;
	TimestampTz result;

	memset(&tm, 0, sizeof(tm));
	j2date(date, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	tm.tm_hour = seconds / SECS_PER_HOUR;
	tm.tm_min = seconds / SECS_PER_MINUTE % MINS_PER_HOUR;
	tm.tm_sec = seconds % SECS_PER_MINUTE;
	offset = DetermineTimeZoneOffset(&tm, schedule->timezone);
	if (tm2timestamp(&tm, fsec, &offset, &result) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return result;
}

/*-------------------------------------------------------------------------
 * An interval
 *-------------------------------------------------------------------------
 */

/* The anchor and n intervals. */
static TimestampTz
nth_time(const Schedule *schedule, TimestampTz anchor, int64 n)
{
	const Interval *interval = schedule->interval;
	TimestampTz result = anchor;

	if (interval->month != 0 || interval->day != 0)
	{
		int			date;
		int			year,
					month,
					day;
		int64		months;
		TimeADT		time;

		to_local(schedule, anchor, &date, &time);
		j2date(date, &year, &month, &day);
		months = year * (int64) MONTHS_PER_YEAR + month - 1 + n * interval->month;
		year = (int) (months / MONTHS_PER_YEAR);
		month = (int) (months % MONTHS_PER_YEAR) + 1;
		day = Min(day, day_tab[isleap(year)][month - 1]);
		result = from_local(schedule, date2j(year, month, day) + (int) (n * interval->day),
							time);
	}
	return result + n * interval->time;
}

/* How many intervals after the anchor the first time behind t is. */
static int64
times_until(const Schedule *schedule, TimestampTz anchor, TimestampTz t)
{
	int64		n = Max(0, (t - anchor) / about(schedule->interval));

	while (n > 0 && nth_time(schedule, anchor, n) > t)
		n--;
	while (nth_time(schedule, anchor, n) <= t)
		n++;
	return n;
}

/*-------------------------------------------------------------------------
 * Times of day
 *-------------------------------------------------------------------------
 */

/* An attempt of the cycle that opens on a day. */
static TimestampTz
attempt_time(const Schedule *schedule, int date, int n)
{
	if (schedule->attempts_at[n] < schedule->attempts_at[0])
		date++;
	return from_local(schedule, date, schedule->attempts_at[n]);
}

/* The day on which the cycle opened that t lies in. */
static int
cycle_of(const Schedule *schedule, TimestampTz t)
{
	int			date;
	TimeADT		time;

	to_local(schedule, t, &date, &time);
	while (attempt_time(schedule, date, 0) > t)
		date--;
	return date;
}

/* The first attempt behind t. */
static TimestampTz
attempt_after(const Schedule *schedule, TimestampTz t)
{
	int			date = cycle_of(schedule, t);

	for (int n = 1; n < schedule->nattempts; n++)
	{
		TimestampTz attempt = attempt_time(schedule, date, n);

		if (attempt > t)
			return attempt;
	}
	return attempt_time(schedule, date + 1, 0);
}

/* The last one up to t. */
static TimestampTz
attempt_before(const Schedule *schedule, TimestampTz t)
{
	int			date = cycle_of(schedule, t);
	TimestampTz last = attempt_time(schedule, date, 0);

	for (int n = 1; n < schedule->nattempts; n++)
	{
		TimestampTz attempt = attempt_time(schedule, date, n);

		if (attempt <= t)
			last = attempt;
	}
	return last;
}

/*-------------------------------------------------------------------------
 * The schedule
 *-------------------------------------------------------------------------
 */

/* Does "served" lie further ahead than any clock that goes right would put it? */
static bool
clock_was_set_back(const Schedule *schedule, const ScheduleTimes *times,
				   TimestampTz now)
{
	int64		period = schedule->interval ? about(schedule->interval) : USECS_PER_DAY;

	return times->served > now + period;
}

TimestampTz
schedule_next(const Schedule *schedule, const ScheduleTimes *times,
			  TimestampTz now)
{
	TimestampTz next;

	if (!schedule_is_automatic(schedule))
		return DT_NOEND;
	if (schedule->interval)
	{
		if (times->served == 0)
			return Min(times->created, now);
		if (clock_was_set_back(schedule, times, now))
			return now;
		return nth_time(schedule, times->anchor,
						times_until(schedule, times->anchor, times->served));
	}

	if (times->served == 0)
		next = attempt_after(schedule, times->created <= now ? times->created :
							 now - USECS_PER_DAY);
	else if (clock_was_set_back(schedule, times, now))
		next = attempt_after(schedule, now);
	else
		next = attempt_after(schedule, times->served);
	/* what has succeeded has done so for the whole cycle */
	if (times->success != 0 && times->success <= now + USECS_PER_DAY &&
		times->success >= attempt_time(schedule, cycle_of(schedule, next), 0))
		next = attempt_time(schedule, cycle_of(schedule, times->success) + 1, 0);
	return next;
}

void
schedule_serve(const Schedule *schedule, ScheduleTimes *times, TimestampTz now)
{
	if (schedule->interval)
	{
		if (times->served == 0 || clock_was_set_back(schedule, times, now))
			times->anchor = times->served = now;
		else if (times->anchor <= now)
			times->served = Max(times->served,
								nth_time(schedule, times->anchor,
										 times_until(schedule, times->anchor, now) - 1));
	}
	else if (schedule->nattempts > 0)
	{
		TimestampTz last = attempt_before(schedule, now);

		times->served = clock_was_set_back(schedule, times, now) ? last :
			Max(times->served, last);
	}
}

static bool
is_inside(const Schedule *schedule, TimeADT time)
{
	return schedule->opens <= schedule->closes ?
		time >= schedule->opens && time <= schedule->closes :
		time >= schedule->opens || time <= schedule->closes;
}

TimestampTz
schedule_open(const Schedule *schedule, TimestampTz t)
{
	if (t >= DT_NOEND)
		return DT_NOEND;
	if (t < schedule->not_before)
		t = schedule->not_before;
	if (schedule->daily)
	{
		int			date;
		TimeADT		time;

		to_local(schedule, t, &date, &time);
		if (!is_inside(schedule, time))
			t = from_local(schedule, time < schedule->opens ? date : date + 1,
						   schedule->opens);
	}
	return t > schedule->not_after ? DT_NOEND : t;
}
