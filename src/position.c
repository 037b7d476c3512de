/*-------------------------------------------------------------------------
 *
 * position.c
 *	  Where a run of a mode left off.
 *
 * Anybody who may write the file may write anything here, so what is read is
 * taken for no more than it is: text goes into SQL as literals of the columns'
 * types, and a position that is wrong costs rows that are read again, or an
 * error, never somebody else's data.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "compat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "position.h"

static JsonbValue *
field(JsonbContainer *object, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = (char *) name;
	key.val.string.len = strlen(name);
	return findJsonbValueFromContainer(object, JB_FOBJECT, &key);
}

static char *
string_of(const JsonbValue *value)
{
	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* 64-bit numbers travel as strings: json's are not that wide everywhere. */
static uint64
number_field(JsonbContainer *object, const char *name)
{
	char	   *text = string_of(field(object, name));

	return text ? strtoull(text, NULL, 10) : 0;
}

static JsonbContainer *
container_field(JsonbContainer *object, const char *name, bool array)
{
	JsonbValue *value = field(object, name);
	JsonbContainer *container;

	if (value == NULL || value->type != jbvBinary)
		return NULL;
	container = value->val.binary.data;
	if (array ? !JsonContainerIsArray(container) : !JsonContainerIsObject(container))
		return NULL;
	return container;
}

/* A list of strings; NIL if it is anything else. */
static List *
strings_field(JsonbContainer *object, const char *name)
{
	JsonbContainer *array = container_field(object, name, true);
	List	   *strings = NIL;

	for (uint32 i = 0; array && i < JsonContainerSize(array); i++)
	{
		char	   *string = string_of(getIthJsonbValueFromContainer(array, i));

		if (string == NULL)
			return NIL;
		strings = lappend(strings, string);
	}
	return strings;
}

/*
 * "i:5", "r:1.5", "t:text", "x:text in hex", "b:blob in hex": SQLite's types
 * are not json's, nor is its encoding always the server's.
 */
static bool
parse_value(char *text, ImageValue *value)
{
	char	   *rest = text ? text + 2 : NULL;

	memset(value, 0, sizeof(*value));
	if (text == NULL || text[0] == '\0' || text[1] != ':')
		return false;
	switch (text[0])
	{
		case 'i':
			value->kind = IMAGE_INTEGER;
			value->u.i = strtoll(rest, NULL, 10);
			return true;
		case 'r':
			value->kind = IMAGE_REAL;
			value->u.r = strtod(rest, NULL);
			return true;
		case 't':
			value->kind = IMAGE_TEXT;
			value->u.data = rest;
			value->len = strlen(rest);
			return true;
		case 'b':
		case 'x':
			if (strlen(rest) % 2 != 0 || strspn(rest, "0123456789abcdef") != strlen(rest))
				return false;
			value->kind = text[0] == 'b' ? IMAGE_BLOB : IMAGE_TEXT;
			value->len = strlen(rest) / 2;
			value->u.data = palloc(value->len + 1);
			(void) hex_decode(rest, strlen(rest), (char *) value->u.data);
			return true;
		default:
			return false;
	}
}

static bool
is_plain(const char *text, uint32 len)
{
	for (uint32 i = 0; i < len; i++)
	{
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	}
	return true;
}

static char *
format_value(const ImageValue *value)
{
	char	   *text;

	switch (value->kind)
	{
		case IMAGE_INTEGER:
			return psprintf("i:" INT64_FORMAT, value->u.i);
		case IMAGE_REAL:
			return psprintf("r:%.17g", value->u.r);
		case IMAGE_TEXT:
		case IMAGE_BLOB:
			if (value->kind == IMAGE_TEXT && is_plain(value->u.data, value->len))
				return psprintf("t:%.*s", (int) value->len, (const char *) value->u.data);
			text = palloc(2 + 2 * value->len + 1);
			strcpy(text, value->kind == IMAGE_TEXT ? "x:" : "b:");
			text[2 + hex_encode(value->u.data, value->len, text + 2)] = '\0';
			return text;
		case IMAGE_NULL:
			break;
	}
	elog(ERROR, "a key value is NULL");
}

static Candidate *
parse_candidate(JsonbContainer *object)
{
	Candidate  *candidate;

	if (object == NULL)
		return NULL;
	candidate = palloc0(sizeof(Candidate));
	candidate->bound = strings_field(object, "bound");
	candidate->open = strings_field(object, "open");
	candidate->xmin = number_field(object, "xmin");
	candidate->xmax = number_field(object, "xmax");
	candidate->started = (int64) number_field(object, "started");
	return candidate->bound && candidate->xmax > 0 ? candidate : NULL;
}

/* Asked before, since jsonb's input function raises an error if not. */
static bool
is_json(const char *text)
{
	JsonLexContext *lex = makeJsonLexContextCstring(text);

	return pg_parse_json(lex, &nullSemAction) == JSON_SUCCESS;
}

Position *
position_from_utf8(const char *json)
{
	Position   *position = palloc0(sizeof(Position));
	Jsonb	   *jsonb;
	JsonbContainer *root;
	List	   *merged;

	if (json == NULL || json[0] != '{' ||
		!pg_verify_mbstr(PG_UTF8, json, strlen(json), true))
		return position;
	json = pg_any_to_server(json, strlen(json), PG_UTF8);
	if (!is_json(json))
		return position;
	jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	root = &jsonb->root;
	position->timeline = number_field(root, "timeline");
	position->basis = string_of(field(root, "basis"));
	position->xmin = number_field(root, "xmin");
	position->stable = strings_field(root, "stable");
	position->candidate = parse_candidate(container_field(root, "candidate", false));
	position->reached = strings_field(root, "reached");
	merged = strings_field(root, "merged");
	if (merged)
	{
		ListCell   *lc;

		position->merged = palloc(list_length(merged) * sizeof(ImageValue));
		foreach(lc, merged)
		{
			if (!parse_value((char *) lfirst(lc), &position->merged[position->nmerged++]))
			{
				position->merged = NULL;
				position->nmerged = 0;
				break;
			}
		}
	}
	return position;
}

static void
put_strings(StringInfo json, const char *name, List *strings)
{
	ListCell   *lc;

	appendStringInfo(json, "%s\"%s\": [", json->data[json->len - 1] == '{' ? "" : ", ", name);
	foreach(lc, strings)
	{
		if (lc != list_head(strings))
			appendStringInfoString(json, ", ");
		escape_json(json, (char *) lfirst(lc));
	}
	appendStringInfoChar(json, ']');
}

static void
put_string(StringInfo json, const char *name, const char *string)
{
	appendStringInfo(json, "%s\"%s\": ", json->data[json->len - 1] == '{' ? "" : ", ", name);
	escape_json(json, string);
}

static void
put_number(StringInfo json, const char *name, uint64 number)
{
	appendStringInfo(json, "%s\"%s\": \"" UINT64_FORMAT "\"",
					 json->data[json->len - 1] == '{' ? "" : ", ", name, number);
}

char *
position_to_utf8(const Position *position)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	if (position->timeline > 0)
		put_number(&json, "timeline", position->timeline);
	if (position->basis)
		put_string(&json, "basis", position->basis);
	if (position->xmin > 0)
		put_number(&json, "xmin", position->xmin);
	if (position->stable)
		put_strings(&json, "stable", position->stable);
	if (position->candidate)
	{
		const Candidate *candidate = position->candidate;

		appendStringInfo(&json, "%s\"candidate\": {", json.len > 1 ? ", " : "");
		put_strings(&json, "bound", candidate->bound);
		put_strings(&json, "open", candidate->open);
		put_number(&json, "xmin", candidate->xmin);
		put_number(&json, "xmax", candidate->xmax);
		put_number(&json, "started", (uint64) candidate->started);
		appendStringInfoChar(&json, '}');
	}
	if (position->reached)
		put_strings(&json, "reached", position->reached);
	if (position->merged)
	{
		List	   *merged = NIL;

		for (int i = 0; i < position->nmerged; i++)
			merged = lappend(merged, format_value(&position->merged[i]));
		put_strings(&json, "merged", merged);
	}
	appendStringInfoChar(&json, '}');
	return pg_server_to_any(json.data, json.len, PG_UTF8);
}
