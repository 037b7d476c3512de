/*-------------------------------------------------------------------------
 *
 * value.c
 *	  One PostgreSQL value as a SQLite value, under the type policy.
 *
 * The converters come first, the policy that chooses one of them last.  The
 * common types are read from the datum without an output function; text and
 * bytea are not even copied where the server's encoding allows it.  All other
 * types go through their output function, whose result depends on settings:
 * value.h names those that must be pinned.
 *
 * SQLite's text is UTF-8.  Text of a UTF8 database was checked on its way in
 * and is handed on as it is.  Text of another encoding is converted.  A
 * SQL_ASCII database says nothing about its bytes, so they are checked.  What
 * output functions return is checked as well: it may be any extension's work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "compat.h"
#include "datetime.h"
#include "value.h"

/* Decimal digits that every int64 has room for. */
#define INT64_SAFE_DIGITS	18

/* What a type becomes. */
typedef struct ValuePolicy
{
	Oid			type;
	ValueConvert convert;
	const char *sqlite_type;
	const char *note;
} ValuePolicy;


/* ----------------------------------------------------------------
 *						Shared by the converters
 * ----------------------------------------------------------------
 */

void
value_refuse(ValueColumn *column, ImageValue *out, int sqlerrcode,
			 const char *message, const char *detail, const char *hint)
{
	column->error = palloc(sizeof(ValueError));
	column->error->sqlerrcode = sqlerrcode;
	column->error->message = message;
	column->error->detail = detail;
	column->error->hint = hint;
	out->kind = IMAGE_NULL;
}

void
value_raise(const ValueError *error)
{
	ereport(ERROR,
			(errcode(error->sqlerrcode),
			 errmsg_internal("%s", error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 errhint("%s", error->hint)));
}

static void
set_nan(ValueColumn *column, ImageValue *out)
{
	if (column->nan_as_text)
		set_bytes(out, IMAGE_TEXT, "NaN", 3);
	else if (column->nan_as_null)
		out->kind = IMAGE_NULL;
	else
	{
		value_refuse(column, out, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
					 psprintf("NaN cannot be stored in SQLite's type %s",
							  column->sqlite_type),
					 NULL, "Set option \"nan\" to \"null\" or \"text\".");
		return;
	}
	column->nan_count++;
}

static void
set_real(ValueColumn *column, ImageValue *out, double value)
{
	if (unlikely(isnan(value)))
	{
		set_nan(column, out);
		return;
	}

	/*
	 * SQLite stores a bound -0.0 as integer 0; only a record copied as it is
	 * would keep the sign, and then the modes of a run would disagree.
	 */
	if (unlikely(value == 0.0 && signbit(value)))
	{
		value = 0.0;
		column->negative_zero_count++;
	}

	out->kind = IMAGE_REAL;
	out->u.r = value;
}

/* False, and a reason, if text is not valid UTF-8. */
static bool
check_utf8(ValueColumn *column, ImageValue *out, const char *text, size_t len)
{
	int			valid = pg_encoding_verifymbstr(PG_UTF8, text, (int) len);

	if (likely((size_t) valid == len))
		return true;

	value_refuse(column, out, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
				 psprintf("invalid byte sequence for encoding \"UTF8\": 0x%02x at byte %d",
						  (unsigned char) text[valid], valid + 1),
				 psprintf("SQLite stores text as UTF-8, and the encoding of this database is %s.",
						  GetDatabaseEncodingName()),
				 "Export its bytes with convert_to(column, 'SQL_ASCII'), or convert them in a view or query, for example from LATIN1 with convert_from(convert(convert_to(column, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'SQL_ASCII').");
	return false;
}

/*
 * Text of another encoding in UTF-8; NULL, and a reason, if a character has no
 * place there.
 */
static char *
convert_encoding(ValueColumn *column, ImageValue *out, const char *text, size_t len)
{
	int			encoding = GetDatabaseEncoding();
	Size		size = len * MAX_CONVERSION_GROWTH + 1;
	char	   *converted;
	int			done;

	/* this way knows the conversion, and stops at what it cannot convert */
	if (column->options->on_row_error == ROW_ERROR_STOP)
		return pg_server_to_any(text, (int) len, PG_UTF8);

	converted = MemoryContextAllocHuge(CurrentMemoryContext, size);
	done = pg_do_encoding_conversion_buf(FindDefaultConversionProc(encoding, PG_UTF8),
										 encoding, PG_UTF8,
										 (unsigned char *) text, (int) len,
										 (unsigned char *) converted,
										 (int) Min(size, INT_MAX), true);
	if (done == (int) len)
		return converted;
	value_refuse(column, out, ERRCODE_UNTRANSLATABLE_CHARACTER,
				 psprintf("the character at byte %d has no equivalent in encoding \"UTF8\"",
						  done + 1),
				 psprintf("The encoding of this database is %s.", GetDatabaseEncodingName()),
				 "Convert the column in a view or query.");
	return NULL;
}

/*
 * Text in the server's encoding, checked or converted.  The encodings a server
 * may use all hold ASCII as it is, so most text needs no conversion.
 */
static void
set_server_text(ValueColumn *column, ImageValue *out, const char *text, size_t len)
{
	int			encoding = GetDatabaseEncoding();

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
	{
		if (!check_utf8(column, out, text, len))
			return;
	}
	else
	{
		size_t		i = 0;

		while (i < len && !IS_HIGHBIT_SET(text[i]))
			i++;
		if (i < len)
		{
			text = convert_encoding(column, out, text, len);
			if (text == NULL)
				return;
			len = strlen(text);
		}
	}
	set_bytes(out, IMAGE_TEXT, text, len);
}

/* A varlena whose bytes can be read, copied only if it must be detoasted. */
static inline struct varlena *
packed_varlena(Datum datum)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(datum);

	if (VARATT_IS_COMPRESSED(value) || VARATT_IS_EXTERNAL(value))
		value = pg_detoast_datum_packed(value);
	return value;
}


/* ----------------------------------------------------------------
 *						Numbers
 * ----------------------------------------------------------------
 */

static void
convert_bool(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_integer(out, DatumGetBool(datum) ? 1 : 0);
}

static void
convert_int2(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_integer(out, DatumGetInt16(datum));
}

static void
convert_int4(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_integer(out, DatumGetInt32(datum));
}

static void
convert_int8(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_integer(out, DatumGetInt64(datum));
}

static void
convert_oid(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_integer(out, (int64) DatumGetObjectId(datum));
}

/* The double that equals the float4; not the one its decimals would give. */
static void
convert_float4(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_real(column, out, (double) DatumGetFloat4(datum));
}

static void
convert_float8(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_real(column, out, DatumGetFloat8(datum));
}

static bool
fits_int64(Datum numeric)
{
	return DatumGetBool(DirectFunctionCall2(numeric_ge, numeric,
											NumericGetDatum(int64_to_numeric(PG_INT64_MIN)))) &&
		DatumGetBool(DirectFunctionCall2(numeric_le, numeric,
										 NumericGetDatum(int64_to_numeric(PG_INT64_MAX))));
}

static void
convert_numeric_integer(ValueColumn *column, Datum datum, ImageValue *out)
{
	Numeric		value = DatumGetNumeric(datum);
	Datum		plain = NumericGetDatum(value);

	if (numeric_is_nan(value))
	{
		set_nan(column, out);
		return;
	}

	/*
	 * The type modifier promises an integer.  numeric_int8() would round a
	 * value of a source that does not keep that promise, such as a foreign
	 * table, so look.
	 */
	if (numeric_is_inf(value) ||
		(DatumGetInt32(DirectFunctionCall1(numeric_scale, plain)) != 0 &&
		 DatumGetInt32(DirectFunctionCall1(numeric_min_scale, plain)) != 0))
	{
		value_refuse(column, out, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
					 psprintf("value \"%s\" of a numeric column without decimal places is not an integer",
							  DatumGetCString(DirectFunctionCall1(numeric_out, plain))),
					 NULL, "Cast the column to numeric in a view or query, so that it is stored as text.");
		return;
	}

	/* nor may it keep its promise of digits: numeric_int8() would raise */
	if (column->options->on_row_error == ROW_ERROR_SKIP && !fits_int64(plain))
	{
		value_refuse(column, out, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
					 "numeric value is out of range for INTEGER", NULL,
					 "Cast the column to numeric in a view or query, so that it is stored as text.");
		return;
	}
	set_integer(out, DatumGetInt64(DirectFunctionCall1(numeric_int8, plain)));
}

static void
convert_numeric_real(ValueColumn *column, Datum datum, ImageValue *out)
{
	Numeric		value = DatumGetNumeric(datum);
	Datum		plain = NumericGetDatum(value);
	double		real;

	real = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
											  plain));

	/* rounding is what the option asks for, losing the magnitude is not */
	if ((isinf(real) && !numeric_is_inf(value)) ||
		(real == 0.0 &&
		 DatumGetBool(DirectFunctionCall2(numeric_ne, plain,
										  NumericGetDatum(int64_to_numeric(0))))))
	{
		value_refuse(column, out, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
					 "numeric value is out of range for a double", NULL,
					 "Set option \"numeric\" to \"text\".");
		return;
	}

	set_real(column, out, real);
}

static void
convert_numeric_text(ValueColumn *column, Datum datum, ImageValue *out)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, datum));

	set_bytes(out, IMAGE_TEXT, text, strlen(text));
}


/* ----------------------------------------------------------------
 *						Text and bytes
 * ----------------------------------------------------------------
 */

/* Text of a UTF8 database. */
static void
convert_text(ValueColumn *column, Datum datum, ImageValue *out)
{
	struct varlena *value = packed_varlena(datum);

	set_bytes(out, IMAGE_TEXT, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/* Text of any other database. */
static void
convert_text_encoded(ValueColumn *column, Datum datum, ImageValue *out)
{
	struct varlena *value = packed_varlena(datum);

	set_server_text(column, out, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static void
convert_name(ValueColumn *column, Datum datum, ImageValue *out)
{
	const char *name = NameStr(*DatumGetName(datum));

	set_server_text(column, out, name, strnlen(name, NAMEDATALEN));
}

/* The label, as enum_out() finds it, without its copy. */
static void
convert_enum(ValueColumn *column, Datum datum, ImageValue *out)
{
	Oid			value = DatumGetObjectId(datum);
	HeapTuple	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));

	StaticAssertStmt(sizeof(column->scratch) >= NAMEDATALEN,
					 "scratch must hold an enum label");

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid internal value for enum: %u", value)));
	strlcpy(column->scratch,
			NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel),
			sizeof(column->scratch));
	ReleaseSysCache(tuple);

	set_server_text(column, out, column->scratch, strlen(column->scratch));
}

static void
convert_bytea(ValueColumn *column, Datum datum, ImageValue *out)
{
	struct varlena *value = packed_varlena(datum);

	set_bytes(out, IMAGE_BLOB, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * Four bytes as eight hexadecimal digits, all at once: spread the nibbles over
 * the bytes of a word, then add '0', and 39 more to those that are letters.
 */
static inline void
put_hex(char *dst, const uint8 *src)
{
	uint64		x = (uint32) src[0] << 24 | (uint32) src[1] << 16 |
		(uint32) src[2] << 8 | src[3];
	uint64		letters;

	x = (x << 16 | x) & UINT64CONST(0x0000ffff0000ffff);
	x = (x << 8 | x) & UINT64CONST(0x00ff00ff00ff00ff);
	x = (x << 4 | x) & UINT64CONST(0x0f0f0f0f0f0f0f0f);
	letters = ((x + UINT64CONST(0x0606060606060606)) >> 4) &
		UINT64CONST(0x0101010101010101);
	x = pg_hton64(x + UINT64CONST(0x3030303030303030) + letters * ('a' - '0' - 10));
	memcpy(dst, &x, sizeof(x));
}

static void
convert_uuid_text(ValueColumn *column, Datum datum, ImageValue *out)
{
	const uint8 *src = DatumGetUUIDP(datum)->data;
	char	   *p = column->scratch;
	char		middle[16];

	/* 8-4-4-4-12 */
	put_hex(p, src);
	put_hex(middle, src + 4);
	put_hex(middle + 8, src + 8);
	p[8] = p[13] = p[18] = p[23] = '-';
	memcpy(p + 9, middle, 4);
	memcpy(p + 14, middle + 4, 4);
	memcpy(p + 19, middle + 8, 4);
	memcpy(p + 24, middle + 12, 4);
	put_hex(p + 28, src + 12);
	set_scratch(column, out, p + 36);
}

static void
convert_uuid_blob(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_bytes(out, IMAGE_BLOB, DatumGetUUIDP(datum)->data, UUID_LEN);
}


/* ----------------------------------------------------------------
 *						Everything else
 * ----------------------------------------------------------------
 */

static void
set_json(ValueColumn *column, ImageValue *out, Datum json)
{
	text	   *value = DatumGetTextPP(json);

	set_server_text(column, out, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static void
convert_array(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_json(column, out, DirectFunctionCall1(array_to_json, datum));
}

static void
convert_composite(ValueColumn *column, Datum datum, ImageValue *out)
{
	set_json(column, out, DirectFunctionCall1(row_to_json, datum));
}

static void
convert_output(ValueColumn *column, Datum datum, ImageValue *out)
{
	char	   *text = OutputFunctionCall(&column->output, datum);

	set_server_text(column, out, text, strlen(text));
}


/* ----------------------------------------------------------------
 *						The policy
 * ----------------------------------------------------------------
 */

/* Types that no option changes. */
static const ValuePolicy plain_policies[] = {
	{BOOLOID, convert_bool, "INTEGER", "0 or 1"},
	{INT2OID, convert_int2, "INTEGER", NULL},
	{INT4OID, convert_int4, "INTEGER", NULL},
	{INT8OID, convert_int8, "INTEGER", NULL},
	{OIDOID, convert_oid, "INTEGER", NULL},
	{FLOAT4OID, convert_float4, "REAL", NULL},
	{FLOAT8OID, convert_float8, "REAL", NULL},
	{TEXTOID, convert_text, "TEXT", NULL},
	{VARCHAROID, convert_text, "TEXT", NULL},
	/* as its output function prints it; a cast to text would strip */
	{BPCHAROID, convert_text, "TEXT", "padded with spaces"},
	{NAMEOID, convert_name, "TEXT", NULL},
	{CHAROID, convert_output, "TEXT", NULL},
	{BYTEAOID, convert_bytea, "BLOB", NULL},
	{DATEOID, convert_date, "TEXT", NULL},
	{TIMEOID, convert_time, "TEXT", NULL},
	{TIMETZOID, convert_timetz, "TEXT", NULL},
	{INTERVALOID, convert_output, "TEXT", "ISO 8601 duration"},
	{JSONOID, convert_text, "TEXT", NULL},
	{JSONBOID, convert_output, "TEXT", NULL},
	{ANYARRAYOID, convert_array, "TEXT", "JSON"},
	{MONEYOID, convert_output, "TEXT", "as printed under lc_monetary"},
};

static ValuePolicy
make_policy(ValueConvert convert, const char *sqlite_type, const char *note)
{
	ValuePolicy policy = {InvalidOid, convert, sqlite_type, note};

	return policy;
}

/*
 * numeric(p,s) bounds its values to p - s digits before the decimal point, and
 * has none after it if s is not positive.
 */
static ValuePolicy
numeric_policy(int32 typmod, const SyncOptions *options)
{
	if (typmod >= (int32) VARHDRSZ)
	{
		/* how numeric.c packs them; s has 11 bits, the upper one its sign */
		int			precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
		int			scale = (((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024;

		if (scale <= 0 && precision - scale <= INT64_SAFE_DIGITS)
			return make_policy(convert_numeric_integer, "INTEGER", NULL);
	}

	if (options->numeric == NUMERIC_REAL)
		return make_policy(convert_numeric_real, "REAL",
						   "rounded to the nearest double");

	return make_policy(convert_numeric_text, "TEXT",
					   "exact, but compares as text in SQLite; option numeric => 'real' stores doubles");
}

static ValuePolicy
timestamp_policy(bool is_timestamptz, const SyncOptions *options)
{
	switch (options->timestamps)
	{
		case TIMESTAMPS_UNIX:
			return make_policy(convert_timestamp_unix, "INTEGER",
							   is_timestamptz ?
							   "seconds since 1970, fractions cut off" :
							   "seconds since 1970, taken as UTC, fractions cut off");
		case TIMESTAMPS_UNIX_US:
			return make_policy(convert_timestamp_unix_us, "INTEGER",
							   is_timestamptz ?
							   "microseconds since 1970" :
							   "microseconds since 1970, taken as UTC");
		case TIMESTAMPS_TEXT:
			break;
	}
	return make_policy(convert_timestamp_text, "TEXT",
					   is_timestamptz ? "UTC" : NULL);
}

/* Types known by their kind, not by their name. */
static ValuePolicy
catalog_policy(Oid basetype)
{
	Oid			output;
	bool		is_varlena;
	FmgrInfo	finfo;

	if (type_is_enum(basetype))
		return make_policy(convert_enum, "TEXT",
						   "compares as text in SQLite");

	/* true arrays only: point has elements too, but not an array's layout */
	if (OidIsValid(get_element_type(basetype)))
		return make_policy(convert_array, "TEXT", "JSON");
	if (type_is_rowtype(basetype))
		return make_policy(convert_composite, "TEXT", "JSON");

	/*
	 * A type that prints with text's own function is laid out like text.
	 * That is how citext is found, whatever its OID is here.
	 */
	getTypeOutputInfo(basetype, &output, &is_varlena);
	fmgr_info(output, &finfo);
	if (is_varlena && finfo.fn_addr == textout)
		return make_policy(convert_text, "TEXT",
						   "compares byte by byte in SQLite");

	return make_policy(convert_output, "TEXT", "as PostgreSQL prints it");
}

static ValuePolicy
value_policy(Oid basetype, int32 typmod, const SyncOptions *options)
{
	if (basetype == NUMERICOID)
		return numeric_policy(typmod, options);
	if (basetype == TIMESTAMPOID || basetype == TIMESTAMPTZOID)
		return timestamp_policy(basetype == TIMESTAMPTZOID, options);
	if (basetype == UUIDOID)
		return options->uuid == UUID_BLOB ?
			make_policy(convert_uuid_blob, "BLOB", "16 bytes") :
			make_policy(convert_uuid_text, "TEXT", NULL);

	for (size_t i = 0; i < lengthof(plain_policies); i++)
	{
		if (plain_policies[i].type == basetype)
			return plain_policies[i];
	}
	return catalog_policy(basetype);
}

/*
 * Whether the type may hold NaN and SQLite's type may not.  A STRICT table
 * refuses text in such a column, and it would do so at the first NaN, perhaps
 * hours into a run, so that is refused here.
 */
static bool
policy_has_nan(const ValuePolicy *policy, const SyncOptions *options)
{
	if (policy->convert != convert_float4 &&
		policy->convert != convert_float8 &&
		policy->convert != convert_numeric_integer &&
		policy->convert != convert_numeric_real)
		return false;

	if (options->nan == NAN_TEXT && options->strict)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"nan\" cannot be \"text\" in a STRICT table"),
				 errdetail("A column that may hold NaN is declared %s, and a STRICT table takes no text in it.",
						   policy->sqlite_type),
				 errhint("Set option \"nan\" to \"null\" or \"error\", or option \"strict\" to false.")));
	return true;
}

/* Types whose text has colons, letters or more than one dash in it. */
static bool
is_never_number(Oid basetype)
{
	switch (basetype)
	{
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case TIMEOID:
		case TIMETZOID:
		case INTERVALOID:
		case UUIDOID:
			return true;
		default:
			return false;
	}
}

void
value_prepare(ValueColumn *column, Oid typid, int32 typmod,
			  SyncOptions *options)
{
	ValuePolicy policy;

	memset(column, 0, sizeof(*column));
	column->typid = typid;
	column->typmod = typmod;
	column->basetype = getBaseTypeAndTypmod(typid, &column->typmod);
	column->options = options;

	policy = value_policy(column->basetype, column->typmod, options);
	column->convert = policy.convert;
	column->sqlite_type = policy.sqlite_type;
	column->note = policy.note;
	column->never_number = is_never_number(column->basetype) &&
		strcmp(policy.sqlite_type, "TEXT") == 0;

	if (policy_has_nan(&policy, options))
	{
		column->nan_as_null = options->nan == NAN_NULL;
		column->nan_as_text = options->nan == NAN_TEXT;
		if (column->note == NULL)
			column->note = column->nan_as_null ? "NaN becomes NULL" :
				column->nan_as_text ? "NaN becomes text" : "NaN is an error";
	}

	if (policy.convert == convert_text && GetDatabaseEncoding() != PG_UTF8)
		column->convert = convert_text_encoded;

	if (policy.convert == convert_output)
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(column->basetype, &output, &is_varlena);
		fmgr_info(output, &column->output);
	}
}

const char *
value_sqlite_type(Oid typid, int32 typmod, const SyncOptions *options)
{
	Oid			basetype = getBaseTypeAndTypmod(typid, &typmod);
	ValuePolicy policy = value_policy(basetype, typmod, options);

	(void) policy_has_nan(&policy, options);	/* for its check */
	return policy.sqlite_type;
}
