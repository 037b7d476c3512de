/*-------------------------------------------------------------------------
 *
 * value.h
 *	  One PostgreSQL value as a SQLite value, under the type policy.
 *
 * The policy is the README's type table: lossless or refused.  What a column
 * becomes is decided once, by value_prepare(); each value then goes through
 * one function pointer.
 *
 * Output functions depend on settings.  So that a file does not depend on who
 * makes it, a run pins
 *
 *	  DateStyle = ISO				ranges of dates; types of extensions
 *	  IntervalStyle = iso_8601		interval
 *	  TimeZone = UTC				timestamptz in ranges, arrays, composites
 *	  extra_float_digits = 1		floats in arrays, points, cubes and so on
 *	  bytea_output = hex			bytea in arrays and composites
 *	  quote_all_identifiers = off	regclass and its kin
 *	  search_path					the same: what it shows loses its schema
 *	  client_encoding = UTF8		speed only: the server then keeps the
 *									conversion from its encoding at hand
 *
 * lc_monetary stays as the role and the database set it: money is a number of
 * cents, pennies or yen, and only that setting says which.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_VALUE_H
#define LFSYNC_VALUE_H

#include "compat.h"
#include "fmgr.h"
#include "image.h"
#include "options.h"

typedef struct ValueColumn ValueColumn;

/* Why SQLite cannot hold a value, or a row. */
typedef struct ValueError
{
	int			sqlerrcode;
	const char *message;
	const char *detail;			/* may be NULL */
	const char *hint;
} ValueError;

/*
 * Converts a value that is not NULL.  Where SQLite cannot hold it the converter
 * raises nothing, since it is not for it to say whether the run stops: *out is
 * NULL then, and column->error set, for the caller to take away.  What out->u.data points to lives until
 * the next call for this column or the next reset of CurrentMemoryContext,
 * whichever is first.
 */
typedef void (*ValueConvert) (ValueColumn *column, Datum datum,
							  ImageValue *out);

struct ValueColumn
{
	/* set by value_prepare() */
	ValueConvert convert;
	const char *sqlite_type;	/* INTEGER, REAL, TEXT or BLOB */
	const char *note;			/* what the type policy changes, for
								 * lfsync_preview(); NULL if nothing */
	Oid			typid;			/* as given */
	Oid			basetype;		/* domains looked through */
	int32		typmod;
	SyncOptions *options;
	FmgrInfo	output;			/* where an output function is used */
	ValueError *error;			/* of the value converted last, or NULL */
	bool		never_number;	/* text that no column takes for a number,
								 * whatever it is declared as */
	bool		nan_as_text;	/* may hold text that is not sqlite_type */
	bool		nan_as_null;	/* may hold NULL where the source has none, so
								 * NOT NULL cannot be carried */

	/* counted, for the run's notes */
	uint64		nan_count;		/* NaN stored as NULL or text */
	uint64		negative_zero_count;	/* -0.0 stored as 0.0 */
	uint64		cut_fraction_count; /* timestamps => 'unix': fractions of a
									 * second cut off */

	char		scratch[64];	/* short text is formatted here */
	int			scratch_day;	/* the day that scratch begins with ... */
	int			scratch_day_len;	/* ... and its length, 0 if none */
};

/* What a converter leaves in *out. */
static inline void
set_integer(ImageValue *out, int64 value)
{
	out->kind = IMAGE_INTEGER;
	out->u.i = value;
}

static inline void
set_bytes(ImageValue *out, ImageKind kind, const void *data, size_t len)
{
	out->kind = kind;
	out->len = (uint32) len;
	out->u.data = data;
}

/* What was formatted into the column's scratch, up to end. */
static inline void
set_scratch(ValueColumn *column, ImageValue *out, const char *end)
{
	set_bytes(out, IMAGE_TEXT, column->scratch, end - column->scratch);
}

/* What a converter leaves where SQLite cannot hold a value; texts are kept. */
extern void value_refuse(ValueColumn *column, ImageValue *out, int sqlerrcode,
						 const char *message, const char *detail,
						 const char *hint);
pg_noreturn extern void value_raise(const ValueError *error);

/*
 * Decides how a column of this type is stored.  Everything it allocates lives
 * in CurrentMemoryContext; options must live as long as the column.
 */
extern void value_prepare(ValueColumn *column, Oid typid, int32 typmod,
						  SyncOptions *options);

/*
 * SQLite's declared type alone, without preparing: the same answer as
 * value_prepare() leaves in sqlite_type.
 */
extern const char *value_sqlite_type(Oid typid, int32 typmod,
									 const SyncOptions *options);

#endif							/* LFSYNC_VALUE_H */
