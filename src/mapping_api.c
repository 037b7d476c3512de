/*-------------------------------------------------------------------------
 *
 * mapping_api.c
 *	  The SQL functions about mappings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "args.h"
#include "mapping.h"
#include "precheck.h"
#include "progress.h"

PG_FUNCTION_INFO_V1(lfsync_preview);
PG_FUNCTION_INFO_V1(lfsync_lastfm_mapping);

/*-------------------------------------------------------------------------
 * Preview
 *-------------------------------------------------------------------------
 */

static void
put_preview(ReturnSetInfo *rsinfo, const char *table, const TargetColumn *column,
			const char *note)
{
	Datum		values[6];
	bool		nulls[6];

	memset(nulls, true, sizeof(nulls));
	values[0] = CStringGetTextDatum(slot_text(table));
	nulls[0] = false;
	if (column)
	{
		values[1] = CStringGetTextDatum(slot_text(column->name));
		values[2] = CStringGetTextDatum(slot_text(column->expression));
		values[3] = CStringGetTextDatum(slot_text(column->source_type));
		values[4] = CStringGetTextDatum(column->sqlite_type);
		memset(nulls, false, 5 * sizeof(bool));
	}
	if (note)
	{
		values[5] = CStringGetTextDatum(slot_text(note));
		nulls[5] = false;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* What there is to know of a dimension's column, and of its type. */
static const char *
dimension_note(const MappingDimension *dimension, int column)
{
	const char *note = dimension->column_notes[column];
	const char *role = "if rows disagree, that of the highest source key, NULL aside; mode \"incremental\" may hold an earlier one";

	if (column == 0)
		return "INTEGER PRIMARY KEY";
	if (message_is_natural(dimension->table, column))
		role = "natural key";
	return note ? psprintf("%s; %s", role, note) : role;
}

static void
preview_rows(ReturnSetInfo *rsinfo, const Mapping *mapping)
{
	const TargetTable *table = mapping->table;
	ListCell   *lc;

	if (table->rowless)
		return;
	for (int i = 0; i < table->ncolumns; i++)
		put_preview(rsinfo, table->name, &table->columns[i],
					i == mapping->rowid_column ? "INTEGER PRIMARY KEY" :
					mapping->column_notes[i]);
	foreach(lc, mapping->notes)
		put_preview(rsinfo, table->name, NULL, (char *) lfirst(lc));
	if (table->view_name)
		put_preview(rsinfo, table->view_name, NULL, "view that joins the tables again");
}

/*
 * lfsync_preview(source regclass, mapping json, options jsonb)
 *
 * A row per target column, and one without a column for each note on a table as
 * a whole.
 */
Datum
lfsync_preview(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SyncOrder	order;
	Mapping    *mapping;
	Oid			relid;
	char	   *relname;
	ListCell   *lc;
	Relation	rel;

	memset(&order, 0, sizeof(order));
	relid = required_relation_arg(fcinfo, 0, "source", &relname);
	precheck_source(relid, NIL);
	order.mapping = text_arg(fcinfo, 1);
	options_parse(PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2), &order.options, NULL);
	order.sources = list_make1_oid(relid);
	order.table_names = mapping_target_names(order.mapping, NULL, relname);

	rel = table_open(relid, AccessShareLock);
	mapping_check_table_name(linitial(order.table_names));
	mapping = mapping_check(relid, NULL, &order);
	table_close(rel, NoLock);

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, mapping->dimensions)
	{
		MappingDimension *dimension = (MappingDimension *) lfirst(lc);

		for (int i = 0; i < dimension->table->ncolumns; i++)
			put_preview(rsinfo, dimension->table->name, &dimension->table->columns[i],
						dimension_note(dimension, i));
	}
	preview_rows(rsinfo, mapping);
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 * Last.fm
 *-------------------------------------------------------------------------
 */

#define LASTFM_SOURCE	"music_scrobble_records"

/* The columns of a table of scrobbles, as far as a source has them. */
enum
{
	SCROBBLE_ID,
	SCROBBLE_NAME,
	SCROBBLE_ARTIST,
	SCROBBLE_ALBUM,
	SCROBBLE_IMAGE,
	SCROBBLE_MBID,
	SCROBBLE_URL,
	SCROBBLE_DATE,
	SCROBBLE_COLUMNS
};

static const char *const scrobble_columns[SCROBBLE_COLUMNS] = {
	"id", "name", "artist", "album", "image", "mbid", "url", "date"
};

/* What a scrobble that has none of it may say with '' instead of NULL. */
static bool
may_be_empty(Oid relid, int column)
{
	char		category;
	bool		preferred;

	if (column != SCROBBLE_ALBUM && column != SCROBBLE_IMAGE &&
		column != SCROBBLE_MBID && column != SCROBBLE_URL)
		return false;
	get_type_category_preferred(getBaseType(get_atttype(relid, get_attnum(relid, scrobble_columns[column]))),
								&category, &preferred);
	return category == TYPCATEGORY_STRING;
}

/* "target": what it comes from, behind a comma. */
static void
put_column(StringInfo json, Oid relid, const char *target, int column)
{
	if (json->data[json->len - 1] != '{')
		appendStringInfoString(json, ", ");
	escape_json(json, target);
	if (may_be_empty(relid, column))
		appendStringInfo(json, ": {\"expr\": \"nullif(%s, '')\"}", scrobble_columns[column]);
	else
		appendStringInfo(json, ": \"%s\"", scrobble_columns[column]);
}

static void
put_reference(StringInfo json, const char *table)
{
	appendStringInfo(json, "%s\"%s_id\": {\"references\": \"%s\"}",
					 json->data[json->len - 1] == '{' ? "" : ", ", table, table);
}

/* A table of titles, each of them some artist's where there are artists. */
static void
put_titles(StringInfo json, Oid relid, const char *table, int title, int mbid,
		   bool has_artist)
{
	appendStringInfo(json, " \"%s\": {\"columns\": {", table);
	put_column(json, relid, "title", title);
	if (mbid >= 0)
		put_column(json, relid, "mbid", mbid);
	if (has_artist)
		put_reference(json, "artist");
	appendStringInfo(json, "}, \"key\": [%s\"title\"]},\n", has_artist ? "\"artist_id\", " : "");
}

static void
put_scrobble(StringInfo json, Oid relid, const bool *has)
{
	appendStringInfoString(json, " \"scrobble\": {\"columns\": {");
	if (has[SCROBBLE_ID])
		put_column(json, relid, "id", SCROBBLE_ID);
	if (has[SCROBBLE_DATE])
		put_column(json, relid, "played_at", SCROBBLE_DATE);
	if (has[SCROBBLE_URL])
		put_column(json, relid, "url", SCROBBLE_URL);
	if (has[SCROBBLE_IMAGE])
		put_column(json, relid, "image", SCROBBLE_IMAGE);
	if (has[SCROBBLE_MBID] && !has[SCROBBLE_NAME])
		put_column(json, relid, "mbid", SCROBBLE_MBID);
	if (has[SCROBBLE_NAME])
		put_reference(json, "track");
	if (has[SCROBBLE_ALBUM])
		put_reference(json, "album");
	if (has[SCROBBLE_ARTIST] && !has[SCROBBLE_NAME])
		put_reference(json, "artist");
	appendStringInfoString(json, "},\n              ");
	if (has[SCROBBLE_ID])
		appendStringInfoString(json, "\"key\": [\"id\"], ");
	appendStringInfo(json, "\"indexes\": [%s%s%s]}",
					 has[SCROBBLE_DATE] ? "[\"played_at\"]" : "",
					 has[SCROBBLE_DATE] && has[SCROBBLE_NAME] ? ", " : "",
					 has[SCROBBLE_NAME] ? "[\"track_id\"]" : "");
}

/* Where the view finds a column of the source again. */
static const char *
flat_path(int column, const bool *has)
{
	switch (column)
	{
		case SCROBBLE_NAME:
			return "track_id.title";
		case SCROBBLE_ARTIST:
			return has[SCROBBLE_NAME] ? "track_id.artist_id.name" : "artist_id.name";
		case SCROBBLE_ALBUM:
			return "album_id.title";
		case SCROBBLE_MBID:
			return has[SCROBBLE_NAME] ? "track_id.mbid" : "mbid";
		case SCROBBLE_DATE:
			return "played_at";
		default:
			return scrobble_columns[column];
	}
}

static Oid
lastfm_source(FunctionCallInfo fcinfo)
{
	Oid			relid;

	if (!PG_ARGISNULL(0))
		return PG_GETARG_OID(0);
	relid = RelnameGetRelid(LASTFM_SOURCE);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist", LASTFM_SOURCE),
				 errdetail("It is what lfsync_lastfm_mapping() looks for when no source is given."),
				 errhint("Name the table of scrobbles.")));
	return relid;
}

/* lfsync_lastfm_mapping(source regclass) returns json */
Datum
lfsync_lastfm_mapping(PG_FUNCTION_ARGS)
{
	Oid			relid = lastfm_source(fcinfo);
	bool		has[SCROBBLE_COLUMNS];
	int			nfound = 0;
	StringInfoData json;

	for (int i = 0; i < SCROBBLE_COLUMNS; i++)
	{
		has[i] = get_attnum(relid, scrobble_columns[i]) > 0;
		nfound += has[i];
	}
	if (nfound == 0 || get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the source has none of the columns of scrobbles"),
				 errdetail("They are id, name, artist, album, image, mbid, url and date."),
				 errhint("Write a mapping by hand: see the README.")));

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	if (has[SCROBBLE_ARTIST])
	{
		appendStringInfoString(&json, "\"artist\": {\"columns\": {");
		put_column(&json, relid, "name", SCROBBLE_ARTIST);
		appendStringInfoString(&json, "}, \"key\": [\"name\"]},\n");
	}
	if (has[SCROBBLE_ALBUM])
		put_titles(&json, relid, "album", SCROBBLE_ALBUM, -1, has[SCROBBLE_ARTIST]);
	if (has[SCROBBLE_NAME])
		put_titles(&json, relid, "track", SCROBBLE_NAME,
				   has[SCROBBLE_MBID] ? SCROBBLE_MBID : -1, has[SCROBBLE_ARTIST]);
	put_scrobble(&json, relid, has);

	appendStringInfoString(&json, ",\n \"$flat\": {\"scrobble_flat\": {");
	for (int i = 0; i < SCROBBLE_COLUMNS; i++)
	{
		if (!has[i])
			continue;
		appendStringInfo(&json, "%s\"%s\": \"%s\"",
						 json.data[json.len - 1] == '{' ? "" : ", ",
						 scrobble_columns[i], flat_path(i, has));
	}
	appendStringInfoString(&json, "}}}");
	PG_RETURN_TEXT_P(cstring_to_text(json.data));
}
