/*-------------------------------------------------------------------------
 *
 * datetime.c
 *	  Dates and times as SQLite values.
 *
 * They become text that SQLite's date functions read and whose order is the
 * order of time for the years 1 to 9999: a fraction of a second has six digits
 * or is absent.  By option timestamps become integers instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "datetime.h"

/* From 1970, where Unix starts to count, to 2000, where PostgreSQL does. */
#define EPOCH_DIFF_SECS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/*
 * Formats the day, counted from 2000, at the start of the column's scratch.
 * Rows that follow each other often fall on one day, so what is there already
 * is kept.
 */
static char *
put_day(ValueColumn *column, int day)
{
	char	   *p = column->scratch;

	if (column->scratch_day_len == 0 || column->scratch_day != day)
	{
		int			year,
					month,
					mday;

		j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);

		/* year 0 is 1 BC, as in ISO 8601 */
		if (year < 0)
		{
			*p++ = '-';
			year = -year;
		}
		p = pg_ultostr_zeropad(p, year, 4);
		*p++ = '-';
		p = pg_ultostr_zeropad(p, month, 2);
		*p++ = '-';
		p = pg_ultostr_zeropad(p, mday, 2);
		column->scratch_day = day;
		column->scratch_day_len = p - column->scratch;
	}
	return column->scratch + column->scratch_day_len;
}

static char *
put_time(char *p, TimeADT time)
{
	int			hour,
				min,
				sec;
	fsec_t		fsec;

	/* 24:00:00 is a value of its own and stays */
	dt2time(time, &hour, &min, &sec, &fsec);

	p = pg_ultostr_zeropad(p, hour, 2);
	*p++ = ':';
	p = pg_ultostr_zeropad(p, min, 2);
	*p++ = ':';
	p = pg_ultostr_zeropad(p, sec, 2);
	if (fsec != 0)
	{
		*p++ = '.';
		p = pg_ultostr_zeropad(p, fsec, 6);
	}
	return p;
}

static void
set_infinity(ImageValue *out, bool negative)
{
	if (negative)
		set_bytes(out, IMAGE_TEXT, EARLY, strlen(EARLY));
	else
		set_bytes(out, IMAGE_TEXT, LATE, strlen(LATE));
}

void
convert_date(ValueColumn *column, Datum datum, ImageValue *out)
{
	DateADT		date = DatumGetDateADT(datum);

	if (DATE_NOT_FINITE(date))
		set_infinity(out, DATE_IS_NOBEGIN(date));
	else
		set_scratch(column, out, put_day(column, date));
}

/* timestamptz counts from 2000 in UTC, so both types print alike. */
void
convert_timestamp_text(ValueColumn *column, Datum datum, ImageValue *out)
{
	Timestamp	timestamp = DatumGetTimestamp(datum);
	int64		day = timestamp / USECS_PER_DAY;
	int64		time = timestamp % USECS_PER_DAY;
	char	   *p;

	if (TIMESTAMP_NOT_FINITE(timestamp))
	{
		set_infinity(out, TIMESTAMP_IS_NOBEGIN(timestamp));
		return;
	}

	if (time < 0)
	{
		day--;
		time += USECS_PER_DAY;
	}
	p = put_day(column, (int) day);
	*p++ = ' ';
	set_scratch(column, out, put_time(p, time));
}

/* False, and a reason, for what no integer can hold. */
static bool
is_finite(ValueColumn *column, ImageValue *out, Timestamp timestamp,
		  const char *option)
{
	if (!TIMESTAMP_NOT_FINITE(timestamp))
		return true;
	value_refuse(column, out, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
				 psprintf("timestamp \"%s\" cannot be stored under option \"timestamps\" = \"%s\"",
						  TIMESTAMP_IS_NOBEGIN(timestamp) ? EARLY : LATE, option),
				 NULL, "Set option \"timestamps\" to \"text\".");
	return false;
}

/* Rounds down, before 1970 too, so that the order of time is kept. */
void
convert_timestamp_unix(ValueColumn *column, Datum datum, ImageValue *out)
{
	Timestamp	timestamp = DatumGetTimestamp(datum);
	int64		seconds = timestamp / USECS_PER_SEC;
	int64		fraction = timestamp % USECS_PER_SEC;

	if (!is_finite(column, out, timestamp, "unix"))
		return;
	if (fraction != 0)
	{
		if (fraction < 0)
			seconds--;
		column->cut_fraction_count++;
	}
	set_integer(out, seconds + EPOCH_DIFF_SECS);
}

void
convert_timestamp_unix_us(ValueColumn *column, Datum datum, ImageValue *out)
{
	int64		timestamp = DatumGetTimestamp(datum);

	if (!is_finite(column, out, timestamp, "unix_us"))
		return;
	/* the last 29 years of PostgreSQL's range are above 64 bits from 1970 */
	if (pg_add_s64_overflow(timestamp, EPOCH_DIFF_SECS * USECS_PER_SEC,
							&timestamp))
	{
		value_refuse(column, out, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE,
					 "timestamp out of range for option \"timestamps\" = \"unix_us\"",
					 NULL, "Set option \"timestamps\" to \"unix\" or \"text\".");
		return;
	}
	set_integer(out, timestamp);
}

void
convert_time(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_scratch(column, out,
				put_time(column->scratch, DatumGetTimeADT(datum)));
}

void
convert_timetz(ValueColumn *column, Datum datum, ImageValue *out)
{
	TimeTzADT  *value = DatumGetTimeTzADTP(datum);
	char	   *p = put_time(column->scratch, value->time);
	int			offset = -value->zone;	/* zone counts westwards */

	*p++ = offset < 0 ? '-' : '+';
	offset = abs(offset);
	p = pg_ultostr_zeropad(p, offset / SECS_PER_HOUR, 2);
	*p++ = ':';
	p = pg_ultostr_zeropad(p, offset / SECS_PER_MINUTE % MINS_PER_HOUR, 2);
	if (offset % SECS_PER_MINUTE != 0)
	{
		*p++ = ':';
		p = pg_ultostr_zeropad(p, offset % SECS_PER_MINUTE, 2);
	}
	set_scratch(column, out, p);
}
