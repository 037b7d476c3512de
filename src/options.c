/*-------------------------------------------------------------------------
 *
 * options.c
 *	  The validated options of a run.
 *
 * One table names every option, its kind and its values; parsing, validation
 * and the lists in error messages all come from it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "image.h"
#include "lfsync.h"
#include "options.h"

typedef enum OptionKind
{
	OPTION_ENUM,
	OPTION_BOOL,
	OPTION_INTEGER,
	OPTION_PAGE_SIZE,
	OPTION_MODE,				/* permission bits, octal text */
	OPTION_DURATION,			/* stored in ms */
	OPTION_SCALAR,				/* text or number, kept as text */
	OPTION_LIST,				/* an array of text */
	OPTION_TEXT_POINTER			/* text of any length */
} OptionKind;

typedef struct OptionSpec
{
	const char *name;
	OptionKind	kind;
	size_t		offset;			/* in SyncOptions or JobOptions */
	const char *values[5];		/* of an enum, in its order */
} OptionSpec;

#define FIELD(name) offsetof(SyncOptions, name)

static const OptionSpec option_specs[] = {
	{"batch_rows", OPTION_INTEGER, FIELD(batch_rows), {NULL}},
	{"check", OPTION_ENUM, FIELD(check), {"count", "quick", "full", "none", NULL}},
	{"deletes", OPTION_ENUM, FIELD(deletes), {"auto", "ignore", NULL}},
	{"existing_table", OPTION_ENUM, FIELD(existing_table), {"own", "adopt", NULL}},
	{"file_mode", OPTION_MODE, FIELD(file_mode), {NULL}},
	{"foreign_keys", OPTION_BOOL, FIELD(foreign_keys), {NULL}},
	{"fts", OPTION_LIST, FIELD(fts), {NULL}},
	{"indexes", OPTION_BOOL, FIELD(indexes), {NULL}},
	{"journal_mode", OPTION_ENUM, FIELD(journal_mode), {"delete", "wal", NULL}},
	{"lookback", OPTION_SCALAR, FIELD(lookback), {NULL}},
	{"nan", OPTION_ENUM, FIELD(nan), {"null", "text", "error", NULL}},
	{"numeric", OPTION_ENUM, FIELD(numeric), {"text", "real", NULL}},
	{"on_row_error", OPTION_ENUM, FIELD(on_row_error), {"stop", "skip", NULL}},
	{"on_schema_change", OPTION_ENUM, FIELD(on_schema_change), {"alter", "error", NULL}},
	{"page_size", OPTION_PAGE_SIZE, FIELD(page_size), {NULL}},
	{"row_security", OPTION_BOOL, FIELD(row_security), {NULL}},
	{"run_timeout", OPTION_DURATION, FIELD(run_timeout), {NULL}},
	{"start_after", OPTION_SCALAR, FIELD(start_after), {NULL}},
	{"strict", OPTION_BOOL, FIELD(strict), {NULL}},
	{"synchronous", OPTION_ENUM, FIELD(synchronous), {"extra", "full", "normal", NULL}},
	{"timestamps", OPTION_ENUM, FIELD(timestamps), {"text", "unix", "unix_us", NULL}},
	{"uuid", OPTION_ENUM, FIELD(uuid), {"text", "blob", NULL}},
};

#define JOB_FIELD(name) offsetof(JobOptions, name)

static const OptionSpec job_option_specs[] = {
	{"attempts_at", OPTION_LIST, JOB_FIELD(attempts_at), {NULL}},
	{"backoff", OPTION_DURATION, JOB_FIELD(backoff), {NULL}},
	{"condition", OPTION_TEXT_POINTER, JOB_FIELD(condition), {NULL}},
	{"flush_interval", OPTION_DURATION, JOB_FIELD(flush_interval), {NULL}},
	{"flush_rows", OPTION_INTEGER, JOB_FIELD(flush_rows), {NULL}},
	{"max_attempts", OPTION_INTEGER, JOB_FIELD(max_attempts), {NULL}},
	{"max_pending_rows", OPTION_INTEGER, JOB_FIELD(max_pending_rows), {NULL}},
	{"not_after", OPTION_TEXT_POINTER, JOB_FIELD(not_after), {NULL}},
	{"not_before", OPTION_TEXT_POINTER, JOB_FIELD(not_before), {NULL}},
	{"on_event", OPTION_TEXT_POINTER, JOB_FIELD(on_event), {NULL}},
	{"timezone", OPTION_TEXT_POINTER, JOB_FIELD(timezone), {NULL}},
};

#define DEFAULT_MAX_ATTEMPTS	3
#define DEFAULT_BACKOFF_MS		4000

static void
options_default(SyncOptions *options)
{
	memset(options, 0, sizeof(SyncOptions));
	options->indexes = true;
	options->foreign_keys = true;
	options->page_size = IMAGE_DEFAULT_PAGE_SIZE;
	options->file_mode = lfsync_file_mode;
	options->run_timeout = lfsync_run_timeout;
}

static const OptionSpec *
find_option(const OptionSpec *specs, size_t nspecs, const char *name)
{
	for (size_t i = 0; i < nspecs; i++)
	{
		if (strcmp(specs[i].name, name) == 0)
			return &specs[i];
	}
	return NULL;
}

static void
refuse_unknown(const char *name, bool of_job)
{
	StringInfoData list;

	initStringInfo(&list);
	for (size_t i = 0; i < lengthof(option_specs); i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "", option_specs[i].name);
	for (size_t i = 0; of_job && i < lengthof(job_option_specs); i++)
		appendStringInfo(&list, ", %s", job_option_specs[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown option \"%s\"", name),
			 find_option(job_option_specs, lengthof(job_option_specs), name) ?
			 errdetail("It says when a job runs by itself, and does not go with a single run.") : 0,
			 errhint("Valid options are: %s.", list.data)));
}

/* The text of a json scalar, without a string's quotes. */
static char *
scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvNull:
			return pstrdup("null");
		default:
			return pstrdup("an object or array");
	}
}

static void
wrong_value(const OptionSpec *spec, const JsonbValue *value)
{
	StringInfoData valid;

	initStringInfo(&valid);
	switch (spec->kind)
	{
		case OPTION_ENUM:
			for (int i = 0; spec->values[i]; i++)
				appendStringInfo(&valid, "%s\"%s\"", i ? ", " : "", spec->values[i]);
			break;
		case OPTION_BOOL:
			appendStringInfoString(&valid, "true, false");
			break;
		case OPTION_INTEGER:
			appendStringInfo(&valid, "whole numbers from 0 to %d", INT_MAX);
			break;
		case OPTION_PAGE_SIZE:
			appendStringInfo(&valid, "powers of two from %d to %d",
							 IMAGE_MIN_PAGE_SIZE, IMAGE_MAX_PAGE_SIZE);
			break;
		case OPTION_MODE:
			appendStringInfoString(&valid, "octal text from \"0600\" to \"0777\"");
			break;
		case OPTION_DURATION:
			appendStringInfoString(&valid, "an interval such as \"10 min\", or a number of seconds, up to 24 days");
			break;
		case OPTION_SCALAR:
			appendStringInfo(&valid, "text of 1 to %d bytes, numbers", OPTION_TEXT - 1);
			break;
		case OPTION_LIST:
			appendStringInfo(&valid, "an array of text, of %d bytes together at most", OPTION_NAMES - 1);
			break;
		case OPTION_TEXT_POINTER:
			appendStringInfoString(&valid, "text that is not empty");
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": %s", spec->name,
					scalar_text(value)),
			 errhint("Valid values are: %s.", valid.data)));
}

/* A whole number, or -1. */
static int64
whole_number(const JsonbValue *value)
{
	char	   *end;
	char	   *text;
	int64		number;

	if (value->type != jbvNumeric)
		return -1;
	text = scalar_text(value);
	errno = 0;
	number = strtoll(text, &end, 10);
	return (*end == '\0' && errno == 0) ? number : -1;
}

static int64
duration_ms(const JsonbValue *value)
{
	if (value->type == jbvNumeric)
	{
		int64		seconds = whole_number(value);

		return seconds < 0 || seconds > INT_MAX / 1000 ? -1 : seconds * 1000;
	}
	if (value->type == jbvString)
	{
		Interval   *interval;

		interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
														 CStringGetDatum(scalar_text(value)),
														 ObjectIdGetDatum(InvalidOid),
														 Int32GetDatum(-1)));
		if (interval->month == 0 && interval->day >= 0 && interval->day <= 24)
			return interval->day * (USECS_PER_DAY / 1000) + interval->time / 1000;
	}
	return -1;
}

/* Each name with the byte 0x01 behind it, which no name has. */
#define NAME_END	'\1'

/* False if it is no array of names, or if they are too long. */
static bool
join_names(const JsonbValue *value, char *to)
{
	JsonbIterator *it;
	JsonbValue	element;
	JsonbIteratorToken token;
	StringInfoData names;

	if (value->type != jbvBinary)
		return false;
	initStringInfo(&names);
	it = JsonbIteratorInit(value->val.binary.data);
	if (JsonbIteratorNext(&it, &element, true) != WJB_BEGIN_ARRAY)
		return false;
	while ((token = JsonbIteratorNext(&it, &element, true)) == WJB_ELEM)
	{
		if (element.type != jbvString || element.val.string.len == 0 ||
			memchr(element.val.string.val, NAME_END, element.val.string.len))
			return false;
		appendBinaryStringInfo(&names, element.val.string.val, element.val.string.len);
		appendStringInfoChar(&names, NAME_END);
	}
	if (names.len == 0 || names.len >= OPTION_NAMES)
		return false;
	strcpy(to, names.data);
	return true;
}

List *
options_names(const char *value)
{
	List	   *names = NIL;
	const char *end;

	for (; (end = strchr(value, NAME_END)) != NULL; value = end + 1)
		names = lappend(names, pnstrdup(value, end - value));
	return names;
}

static void
set_option(void *options, const OptionSpec *spec, const JsonbValue *value)
{
	int		   *field = (int *) ((char *) options + spec->offset);
	int64		number;

	switch (spec->kind)
	{
		case OPTION_BOOL:
			if (value->type != jbvBool)
				wrong_value(spec, value);
			*(bool *) ((char *) options + spec->offset) = value->val.boolean;
			break;

		case OPTION_ENUM:
			for (int i = 0; spec->values[i]; i++)
			{
				if (value->type == jbvString &&
					strcmp(scalar_text(value), spec->values[i]) == 0)
				{
					*field = i;
					return;
				}
			}
			wrong_value(spec, value);
			break;

		case OPTION_INTEGER:
			number = whole_number(value);
			if (number < 0 || number > INT_MAX)
				wrong_value(spec, value);
			*field = (int) number;
			break;

		case OPTION_PAGE_SIZE:
			number = whole_number(value);
			if (number < IMAGE_MIN_PAGE_SIZE || number > IMAGE_MAX_PAGE_SIZE ||
				(number & (number - 1)) != 0)
				wrong_value(spec, value);
			*field = (int) number;
			break;

		case OPTION_MODE:
			{
				char	   *end;
				char	   *text = scalar_text(value);

				number = strtol(text, &end, 8);
				if (value->type != jbvString || *text == '\0' || *end != '\0' ||
					number < 0 || number > 0777 || (number & 0600) != 0600)
					wrong_value(spec, value);
				*field = (int) number;
			}
			break;

		case OPTION_DURATION:
			number = duration_ms(value);
			if (number < 0 || number > INT_MAX)
				wrong_value(spec, value);
			*field = (int) number;
			break;

		case OPTION_SCALAR:
			{
				char	   *text = scalar_text(value);

				if ((value->type != jbvString && value->type != jbvNumeric) ||
					*text == '\0' || strlen(text) >= OPTION_TEXT)
					wrong_value(spec, value);
				strcpy((char *) field, text);
			}
			break;

		case OPTION_LIST:
			if (!join_names(value, (char *) field))
				wrong_value(spec, value);
			break;

		case OPTION_TEXT_POINTER:
			if (value->type != jbvString || value->val.string.len == 0)
				wrong_value(spec, value);
			*(char **) field = scalar_text(value);
			break;
	}
}

void
options_parse(Jsonb *json, SyncOptions *options, JobOptions *job)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	options_default(options);
	if (job)
	{
		memset(job, 0, sizeof(JobOptions));
		job->max_attempts = DEFAULT_MAX_ATTEMPTS;
		job->backoff = DEFAULT_BACKOFF_MS;
		job->flush_rows = job->flush_interval = job->max_pending_rows = NOT_GIVEN;
	}
	if (json == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a json object"),
				 errhint("For example: options => '{\"indexes\": false}'.")));

	it = JsonbIteratorInit(&json->root);
	(void) JsonbIteratorNext(&it, &key, true);	/* the object's start */
	while ((token = JsonbIteratorNext(&it, &key, true)) == WJB_KEY)
	{
		const char *name = scalar_text(&key);
		const OptionSpec *spec = find_option(option_specs, lengthof(option_specs), name);
		const OptionSpec *job_spec = job == NULL ? NULL :
			find_option(job_option_specs, lengthof(job_option_specs), name);

		(void) JsonbIteratorNext(&it, &value, true);
		if (spec)
			set_option(options, spec, &value);
		else if (job_spec)
			set_option(job, job_spec, &value);
		else
			refuse_unknown(name, job != NULL);
	}
	Assert(token == WJB_END_OBJECT);

	if (options->strict && options->nan == NAN_TEXT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"strict\" and \"nan\" contradict each other"),
				 errdetail("A REAL column of a STRICT table cannot hold the text 'NaN'."),
				 errhint("Use nan => \"null\" or nan => \"error\".")));
}

char *
options_fingerprint(const SyncOptions *options, const char *filter)
{
	const char *text = psprintf("%d %d %d %d %s", options->timestamps, options->uuid,
								options->numeric, options->nan, filter ? filter : "");

	return psprintf("%016llx",
					(unsigned long long) DatumGetUInt64(hash_any_extended((const unsigned char *) text,
																		  strlen(text), 0)));
}
