/*-------------------------------------------------------------------------
 *
 * schedule.h
 *	  When a job is due: arithmetic on times, nothing else.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_SCHEDULE_H
#define LFSYNC_SCHEDULE_H

#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/date.h"

#include "options.h"

/* Either an interval, or times of day to try at, or nothing. */
typedef struct Schedule
{
	const Interval *interval;
	int			nattempts;
	TimeADT    *attempts_at;	/* in order; the first opens a cycle */
	pg_tz	   *timezone;
	bool		daily;			/* starts are allowed in a part of the day */
	TimeADT		opens;
	TimeADT		closes;			/* before opens: on the next day */
	TimestampTz not_before;		/* and between these */
	TimestampTz not_after;
} Schedule;

/* What has been, as far as a schedule asks; 0: never. */
typedef struct ScheduleTimes
{
	TimestampTz created;		/* the job */
	TimestampTz anchor;			/* the first time of an interval */
	TimestampTz served;			/* the last time that was served by a start */
	TimestampTz success;		/* the last one, its end */
} ScheduleTimes;

/* An error (22023) with a hint if the parts make no schedule. */
extern void schedule_make(Schedule *schedule, const Interval *interval,
						  const JobOptions *options);

/* Is there anything to do without being told? */
extern bool schedule_is_automatic(const Schedule *schedule);

/* Do its times depend on where they are? */
extern bool schedule_is_local(const Interval *interval,
							  const JobOptions *options);

/*
 * The first time that no start has served yet; it may be past.  DT_NOEND if
 * there is none.
 */
extern TimestampTz schedule_next(const Schedule *schedule,
								 const ScheduleTimes *times, TimestampTz now);

/*
 * A start at "now" serves every time up to now: times missed are made up for
 * once.  Sets anchor and served.
 */
extern void schedule_serve(const Schedule *schedule, ScheduleTimes *times,
						   TimestampTz now);

/* The first moment from t on at which a start is allowed; DT_NOEND: none. */
extern TimestampTz schedule_open(const Schedule *schedule, TimestampTz t);

#endif							/* LFSYNC_SCHEDULE_H */
