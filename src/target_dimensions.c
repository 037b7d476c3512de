/*-------------------------------------------------------------------------
 *
 * target_dimensions.c
 *	  Tables whose rows the rows of another table refer to.
 *
 * An image brings, beside its rows, the rows of these tables that they refer
 * to, each once, under numbers of its own.  They are looked up by their natural
 * key, those that are missing are inserted, and from then on the statements
 * that write rows ask lfsync_id() which surrogate key a number stands for: an
 * array, so that nothing is looked up once per row.
 *
 * Where all rows of a source come by (APPLY_FILL, a merge, APPLY_VERIFY) it is
 * known in the end which rows are referred to and which values have won.  A
 * merge notes both in temporary tables, since a table of a million rows does
 * not belong into memory, and settles what differs in its last batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "target.h"

/* What a number within the image stands for. */
typedef struct Resolved
{
	sqlite3_int64 id;			/* 0: not known yet */
	bool		exists;			/* in the table, and not only in the old one */
} Resolved;

typedef struct Dimension
{
	const TargetTable *table;
	char	   *name;			/* of the table that is written, quoted */
	bool		has_values;		/* columns beside the keys */
	bool		has_old;		/* the same table as it was: keys stay what they
								 * were */
	bool		has_words;		/* a full-text index is to be kept right */
	sqlite3_int64 next_id;
	int64		nresolved;
	int64		max_resolved;
	Resolved   *resolved;		/* by number less 1 */
} Dimension;

static struct
{
	const TargetTable *rows;	/* NULL: none are open */
	int			n;
	Dimension  *dimensions;
}			open_set;

/*-------------------------------------------------------------------------
 * Functions for SQL: no memory is taken in them, and no error raised
 *-------------------------------------------------------------------------
 */

static Resolved *
resolved_of(sqlite3_value **argv, Dimension **dimension)
{
	int			n = sqlite3_value_int(argv[0]);
	sqlite3_int64 number = sqlite3_value_int64(argv[1]);

	if (n < 0 || n >= open_set.n || number < 1 ||
		number > open_set.dimensions[n].nresolved)
		return NULL;
	*dimension = &open_set.dimensions[n];
	return &open_set.dimensions[n].resolved[number - 1];
}

/* lfsync_id(dimension, number): the surrogate key; NULL if there is none */
static void
sql_id(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	Dimension  *dimension;
	Resolved   *resolved = resolved_of(argv, &dimension);

	if (resolved && resolved->id != 0)
		sqlite3_result_int64(context, resolved->id);
}

/* lfsync_found(dimension, number, id, exists): it is that one */
static void
sql_found(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	Dimension  *dimension;
	Resolved   *resolved = resolved_of(argv, &dimension);

	if (resolved)
	{
		resolved->id = sqlite3_value_int64(argv[2]);
		resolved->exists = sqlite3_value_int(argv[3]) != 0;
	}
}

/* lfsync_exists(dimension, number): does the table have it? */
static void
sql_exists(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	Dimension  *dimension;
	Resolved   *resolved = resolved_of(argv, &dimension);

	sqlite3_result_int(context, resolved && resolved->exists);
}

/* lfsync_new_id(dimension, number): as lfsync_id(), or else the next one */
static void
sql_new_id(sqlite3_context *context, int argc, sqlite3_value **argv)
{
	Dimension  *dimension;
	Resolved   *resolved = resolved_of(argv, &dimension);

	if (resolved == NULL)
		return;
	if (resolved->id == 0)
	{
		resolved->id = dimension->next_id;
		/* in a comparison keys that the table lacks are below 0 */
		dimension->next_id += open_set.rows->apply == APPLY_VERIFY ? -1 : 1;
	}
	resolved->exists = true;
	sqlite3_result_int64(context, resolved->id);
}

static void
create_functions(sqlite3 *db)
{
	static const struct
	{
		const char *name;
		int			nargs;
		void		(*function) (sqlite3_context *, int, sqlite3_value **);
	}			functions[] = {
		{"lfsync_id", 2, sql_id},
		{"lfsync_found", 4, sql_found},
		{"lfsync_exists", 2, sql_exists},
		{"lfsync_new_id", 2, sql_new_id},
	};

	/* not for what a file's schema may say */
	for (size_t i = 0; i < lengthof(functions); i++)
	{
		int			rc = sqlite3_create_function(db, functions[i].name, functions[i].nargs,
												 SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL,
												 functions[i].function, NULL, NULL);

		if (rc != SQLITE_OK)
			target_error(db, rc, "preparing the file");
	}
}

/*-------------------------------------------------------------------------
 * Pieces of SQL
 *-------------------------------------------------------------------------
 */

static char *
quoted(const TargetTable *table, int column)
{
	return message_quote_name(table->columns[column].name);
}

/* A column of a row "s" of the image, as the table has it. */
static char *
image_value(const TargetTable *table, int column)
{
	if (table->parents[column] < 0)
		return psprintf("s.%s", quoted(table, column));
	return psprintf("lfsync_id(%d, s.%s)", table->parents[column], quoted(table, column));
}

/* Columns of a table but its surrogate key; each through a function. */
static char *
listed(const TargetTable *table, bool natural, bool values, const char *prefix,
	   char *(*show) (const TargetTable *table, int column))
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 1; i < table->ncolumns; i++)
	{
		if (message_is_natural(table, i) ? natural : values)
			appendStringInfo(&list, "%s%s%s", list.len ? ", " : "", prefix, show(table, i));
	}
	return list.data;
}

/* The same row "t" of the table; a reference may be NULL. */
static char *
matches(const TargetTable *table)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < table->nnatural; i++)
	{
		int			column = table->natural[i];

		appendStringInfo(&sql, "%st.%s %s %s", i ? " AND " : "", quoted(table, column),
						 table->parents[column] < 0 ? "=" : "IS",
						 image_value(table, column));
	}
	return sql.data;
}

static char *
assign_kept(const TargetTable *table, int column)
{
	char	   *name = quoted(table, column);

	return psprintf("%s = coalesce(excluded.%s, old.%s)", name, name, name);
}

static char *
kept(const TargetTable *table, int column)
{
	char	   *name = quoted(table, column);

	return psprintf("coalesce(excluded.%s, old.%s)", name, name);
}

static char *
assign_seen(const TargetTable *table, int column)
{
	char	   *name = quoted(table, column);

	return psprintf("%s = seen.%s", name, name);
}

static char *
image_rows(const TargetTable *table, const char *condition)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "(SELECT ");
	for (int i = 0; i < table->ncolumns; i++)
		appendStringInfo(&sql, "%s%s AS %s", i ? ", " : "",
						 table->dimensions == NIL ? psprintf("s.%s", quoted(table, i)) :
						 image_value(table, i),
						 quoted(table, i));
	appendStringInfo(&sql, " FROM image.%s AS s%s)", message_quote_name(table->name), condition);
	return sql.data;
}

char *
target_image_rows(const TargetTable *table)
{
	return table->dimensions == NIL ? psprintf("image.%s", message_quote_name(table->name)) :
		image_rows(table, "");
}

char *
target_image_row(const TargetTable *table)
{
	return image_rows(table, psprintf(" WHERE s.%s = ?1", target_rowid(table)));
}

char *
target_image_piece(const TargetTable *table)
{
	return image_rows(table, psprintf(" WHERE s.%s BETWEEN ?1 AND ?2", target_rowid(table)));
}

char *
target_image_rowids(const TargetTable *table)
{
	return psprintf("SELECT %s FROM image.%s", target_rowid(table),
					message_quote_name(table->name));
}

/*-------------------------------------------------------------------------
 * Beginning
 *-------------------------------------------------------------------------
 */

/* May the keys of the table that is there stay what they are? */
static bool
same_table_there(sqlite3 *db, const TargetTable *table)
{
	char	   *sql;
	bool		there;

	if (!target_own_table_exists(db, "_lfsync_state", target_state_sql))
		return false;
	sql = sqlite3_mprintf("SELECT 1 FROM main._lfsync_state JOIN main.sqlite_schema "
						  "ON type = 'table' AND name = table_name COLLATE NOCASE "
						  "WHERE table_name = %Q COLLATE NOCASE AND source_fingerprint = %Q",
						  table->name, table->fingerprint);
	there = target_query_int(db, sql, "reading _lfsync_state", 0) != 0;
	sqlite3_free(sql);
	return there;
}

static void
begin_notes(sqlite3 *db, const Dimension *dimension, int n)
{
	const TargetTable *table = dimension->table;
	char	   *values = listed(table, false, true, "", quoted);

	target_run(db, psprintf("CREATE TEMP TABLE IF NOT EXISTS lfsync_seen_%d (id INTEGER PRIMARY KEY%s%s); "
							"CREATE TEMP TABLE IF NOT EXISTS lfsync_seen_first_%d (id INTEGER PRIMARY KEY%s%s)",
							n, values[0] ? ", " : "", values, n, values[0] ? ", " : "", values),
			   "preparing the file");
	if (open_set.rows->apply == APPLY_VERIFY)
		target_run(db, psprintf("CREATE TEMP TABLE IF NOT EXISTS lfsync_missing_%d (id INTEGER PRIMARY KEY, %s, UNIQUE (%s))",
								n, listed(table, true, true, "", quoted),
								listed(table, true, false, "", quoted)),
				   "preparing the file");
}

/* The one behind all that a table has. */
static sqlite3_int64
next_id(sqlite3 *db, const char *name)
{
	int64		highest = target_query_int(db, psprintf("SELECT coalesce(max(id), 0) FROM main.%s", name),
										   "reading a table", 0);

	if (highest > PG_INT64_MAX / 2)
		ereport(ERROR,
				(errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
				 errmsg("table %s of the file has no ids left", name),
				 errdetail("Its highest is " INT64_FORMAT ", which lfsync has not given.", highest),
				 errhint("Start from nothing with lfsync_reset_job(), in another file.")));
	return Max(highest, 0) + 1;
}

void
target_begin_dimensions(sqlite3 *db, const TargetTable *rows)
{
	ListCell   *lc;

	open_set.rows = rows;
	open_set.n = list_length(rows->dimensions);
	open_set.dimensions = palloc0(open_set.n * sizeof(Dimension));
	if (open_set.n > 0)
		create_functions(db);
	foreach(lc, rows->dimensions)
	{
		int			n = foreach_current_index(lc);
		Dimension  *dimension = &open_set.dimensions[n];
		char	   *highest = NULL;

		dimension->table = (TargetTable *) lfirst(lc);
		for (int i = 1; i < dimension->table->ncolumns; i++)
			dimension->has_values = dimension->has_values || !message_is_natural(dimension->table, i);
		if (rows->apply == APPLY_FILL)
		{
			dimension->name = message_quote_name(target_filled_name(dimension->table->name));
			dimension->has_old = same_table_there(db, dimension->table);
			if (dimension->has_old)
				highest = message_quote_name(dimension->table->name);
		}
		else
		{
			dimension->name = highest = message_quote_name(dimension->table->name);
			begin_notes(db, dimension, n);
		}
		dimension->has_words = rows->apply == APPLY_SYNC && dimension->table->nfts > 0;
		dimension->next_id = rows->apply == APPLY_VERIFY ? -1 :
			highest ? next_id(db, highest) : 1;
	}
}

/*-------------------------------------------------------------------------
 * A batch
 *-------------------------------------------------------------------------
 */

/* Nothing is known of the numbers of a new image. */
static void
forget_numbers(sqlite3 *db, Dimension *dimension)
{
	int64		n = target_query_int(db, psprintf("SELECT coalesce(max(rowid), 0) FROM image.%s",
												  message_quote_name(dimension->table->name)),
									 "reading a batch", 0);

	if (n > dimension->max_resolved)
	{
		if (dimension->resolved)
			pfree(dimension->resolved);
		dimension->max_resolved = Max(n, 2 * dimension->max_resolved);
		dimension->resolved = MemoryContextAllocHuge(TopMemoryContext,
													 dimension->max_resolved * sizeof(Resolved));
	}
	dimension->nresolved = n;
	memset(dimension->resolved, 0, n * sizeof(Resolved));
}

/* Looks rows of the image up in a table, which may be one that they only were in. */
static void
look_up(sqlite3 *db, const Dimension *dimension, int n, const char *there, bool exists)
{
	const TargetTable *table = dimension->table;

	(void) target_query_int(db, psprintf("SELECT count(lfsync_found(%d, s.rowid, t.id, %d)) "
										 "FROM image.%s AS s CROSS JOIN %s AS t ON %s "
										 "WHERE lfsync_id(%d, s.rowid) IS NULL",
										 n, exists, message_quote_name(table->name), there,
										 matches(table), n),
							"looking up keys", 0);
}

static void
insert_missing(sqlite3 *db, const Dimension *dimension, int n, const char *into)
{
	const TargetTable *table = dimension->table;

	target_run(db, psprintf("INSERT INTO %s (id, %s) SELECT lfsync_new_id(%d, s.rowid), %s "
							"FROM image.%s AS s WHERE NOT lfsync_exists(%d, s.rowid)",
							into, listed(table, true, true, "", quoted), n,
							listed(table, true, true, "", image_value),
							message_quote_name(table->name), n),
			   "inserting rows");
}

/* A value that came takes the place of the one that is there. */
static void
upsert(sqlite3 *db, const Dimension *dimension, int n)
{
	const TargetTable *table = dimension->table;

	target_run(db, psprintf("INSERT INTO main.%s AS old (id, %s) SELECT lfsync_new_id(%d, s.rowid), %s "
							"FROM image.%s AS s WHERE true ON CONFLICT (id) DO UPDATE SET %s "
							"WHERE (%s) IS NOT (%s)",
							dimension->name, listed(table, true, true, "", quoted), n,
							listed(table, true, true, "", image_value),
							message_quote_name(table->name),
							listed(table, false, true, "", assign_kept),
							listed(table, false, true, "", kept),
							listed(table, false, true, "old.", quoted)),
			   "upserting rows");
}

/* Rows that have words that they will not keep. */
static void
note_words(sqlite3 *db, const Dimension *dimension, int n)
{
	const TargetTable *table = dimension->table;
	StringInfoData differs;

	initStringInfo(&differs);
	for (int i = 0; i < table->nfts; i++)
	{
		char	   *name = quoted(table, table->fts[i]);

		if (!message_is_natural(table, table->fts[i]))
			appendStringInfo(&differs, "%scoalesce(s.%s, old.%s) IS NOT old.%s",
							 differs.len ? " OR " : "", name, name, name);
	}
	if (differs.len > 0)
		target_note_changed(db, psprintf("SELECT old.id FROM image.%s AS s JOIN main.%s AS old "
										 "ON old.id = lfsync_id(%d, s.rowid) WHERE %s",
										 message_quote_name(table->name), dimension->name, n,
										 differs.data));
	target_unindex_changed(db, table);
}

static void
write_rows(sqlite3 *db, const Dimension *dimension, int n, bool merging)
{
	bool		upserts = dimension->has_values && !merging;
	sqlite3_int64 first_new = dimension->next_id;

	if (dimension->has_words && upserts)
		note_words(db, dimension, n);
	if (upserts)
		upsert(db, dimension, n);
	else
		insert_missing(db, dimension, n, psprintf("main.%s", dimension->name));
	if (!dimension->has_words)
		return;
	target_note_changed(db, psprintf("SELECT id FROM main.%s WHERE id >= %lld",
									 dimension->name, (long long) first_new));
	target_index_changed(db, dimension->table);
}

/* For the end of a merge: this row is referred to, and these are its values. */
static void
note_seen(sqlite3 *db, const Dimension *dimension, int n)
{
	const TargetTable *table = dimension->table;
	char	   *values = listed(table, false, true, "", quoted);

	if (!dimension->has_values)
		target_run(db, psprintf("INSERT OR IGNORE INTO temp.lfsync_seen_%d SELECT lfsync_id(%d, s.rowid) FROM image.%s AS s",
								n, n, message_quote_name(table->name)),
				   "noting keys");
	else
		target_run(db, psprintf("INSERT INTO temp.lfsync_seen_%d AS old (id, %s) SELECT lfsync_id(%d, s.rowid), %s "
								"FROM image.%s AS s WHERE true ON CONFLICT (id) DO UPDATE SET %s",
								n, values, n, listed(table, false, true, "", image_value),
								message_quote_name(table->name),
								listed(table, false, true, "", assign_kept)),
				   "noting keys");
}

void
target_apply_dimensions(sqlite3 *db, bool merging)
{
	ApplyKind	apply = open_set.rows->apply;

	for (int n = 0; n < open_set.n; n++)
	{
		Dimension  *dimension = &open_set.dimensions[n];

		forget_numbers(db, dimension);
		look_up(db, dimension, n, psprintf("main.%s", dimension->name), true);
		if (dimension->has_old)
			look_up(db, dimension, n,
					psprintf("main.%s", message_quote_name(dimension->table->name)), false);
		if (apply == APPLY_VERIFY)
		{
			char	   *missing = psprintf("temp.lfsync_missing_%d", n);

			look_up(db, dimension, n, missing, true);
			insert_missing(db, dimension, n, missing);
		}
		else
			write_rows(db, dimension, n, merging);
		if (merging)
			note_seen(db, dimension, n);
	}
}

/*-------------------------------------------------------------------------
 * A merge as a whole
 *-------------------------------------------------------------------------
 */

void
target_begin_merging(sqlite3 *db)
{
	for (int n = 0; n < open_set.n; n++)
		target_run(db, psprintf("DELETE FROM temp.lfsync_seen_%d; DELETE FROM temp.lfsync_seen_first_%d", n, n),
				   "noting keys");
}

/* What has been seen has the higher keys, and wins though it came first. */
void
target_come_round(sqlite3 *db)
{
	for (int n = 0; n < open_set.n; n++)
		target_run(db, psprintf("INSERT INTO temp.lfsync_seen_first_%d SELECT * FROM temp.lfsync_seen_%d; "
								"DELETE FROM temp.lfsync_seen_%d", n, n, n),
				   "noting keys");
}

static void
join_seen(sqlite3 *db, const Dimension *dimension, int n)
{
	if (dimension->has_values)
		target_run(db, psprintf("INSERT INTO temp.lfsync_seen_%d AS old SELECT * FROM temp.lfsync_seen_first_%d "
								"WHERE true ON CONFLICT (id) DO UPDATE SET %s",
								n, n, listed(dimension->table, false, true, "", assign_kept)),
				   "noting keys");
	else
		target_run(db, psprintf("INSERT OR IGNORE INTO temp.lfsync_seen_%d SELECT * FROM temp.lfsync_seen_first_%d",
								n, n),
				   "noting keys");
}

/* Further conditions: a row has other words than the ones that have won. */
static char *
seen_words_differ(const TargetTable *table)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < table->nfts; i++)
	{
		char	   *name = quoted(table, table->fts[i]);

		if (!message_is_natural(table, table->fts[i]))
			appendStringInfo(&sql, " OR seen.%s IS NOT old.%s", name, name);
	}
	return sql.data;
}

void
target_end_merging(sqlite3 *db)
{
	for (int n = open_set.n - 1; n >= 0; n--)
	{
		const Dimension *dimension = &open_set.dimensions[n];
		const TargetTable *table = dimension->table;

		join_seen(db, dimension, n);
		if (dimension->has_words)
		{
			target_note_changed(db, psprintf("SELECT old.id FROM main.%s AS old LEFT JOIN temp.lfsync_seen_%d AS seen "
											 "ON seen.id = old.id WHERE seen.id IS NULL%s", dimension->name, n,
											 seen_words_differ(table)));
			target_unindex_changed(db, table);
		}
		if (dimension->has_values)
			target_run(db, psprintf("UPDATE main.%s AS old SET %s FROM temp.lfsync_seen_%d AS seen "
									"WHERE seen.id = old.id AND (%s) IS NOT (%s)",
									dimension->name, listed(table, false, true, "", assign_seen), n,
									listed(table, false, true, "seen.", quoted),
									listed(table, false, true, "old.", quoted)),
					   "updating rows");
		target_run(db, psprintf("DELETE FROM main.%s WHERE id NOT IN (SELECT id FROM temp.lfsync_seen_%d)",
								dimension->name, n),
				   "deleting rows");
		if (dimension->has_words)
			target_index_changed(db, table);
	}
}

/* What a comparison has found of a dimension. */
static void
compare_counts(sqlite3 *db, const Dimension *dimension, int n, TableCounts *counts)
{
	static const char what[] = "comparing rows";
	const TargetTable *table = dimension->table;

	counts->inserted = target_query_int(db, psprintf("SELECT count(*) FROM temp.lfsync_missing_%d", n), what, 0);
	counts->deleted = target_query_int(db, psprintf("SELECT count(*) FROM main.%s WHERE id NOT IN (SELECT id FROM temp.lfsync_seen_%d)",
													dimension->name, n), what, 0);
	if (dimension->has_values)
		counts->updated = target_query_int(db, psprintf("SELECT count(*) FROM main.%s AS old JOIN temp.lfsync_seen_%d AS seen USING (id) "
														"WHERE (%s) IS NOT (%s)", dimension->name, n,
														listed(table, false, true, "seen.", quoted),
														listed(table, false, true, "old.", quoted)),
										   what, 0);
}

void
target_count_dimension(sqlite3 *db, int n, TableCounts *counts)
{
	const Dimension *dimension = &open_set.dimensions[n];

	if (open_set.rows->apply == APPLY_SYNC)
		return;					/* its batches have counted */
	counts->rows = target_query_int(db, psprintf("SELECT count(*) FROM main.%s", dimension->name),
									"counting the rows", 0);
	if (open_set.rows->apply == APPLY_FILL)
		counts->inserted = counts->rows;
	else
		compare_counts(db, dimension, n, counts);
}
