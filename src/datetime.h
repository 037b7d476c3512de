/*-------------------------------------------------------------------------
 *
 * datetime.h
 *	  Dates and times as SQLite values, for value.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_DATETIME_H
#define LFSYNC_DATETIME_H

#include "value.h"

/* Each is a ValueConvert. */
extern void convert_date(ValueColumn *column, Datum datum, ImageValue *out);
extern void convert_time(ValueColumn *column, Datum datum, ImageValue *out);
extern void convert_timetz(ValueColumn *column, Datum datum, ImageValue *out);

/* timestamp and timestamptz, by what the option "timestamps" says */
extern void convert_timestamp_text(ValueColumn *column, Datum datum,
								   ImageValue *out);
extern void convert_timestamp_unix(ValueColumn *column, Datum datum,
								   ImageValue *out);
extern void convert_timestamp_unix_us(ValueColumn *column, Datum datum,
									  ImageValue *out);

#endif							/* LFSYNC_DATETIME_H */
