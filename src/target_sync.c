/*-------------------------------------------------------------------------
 *
 * target_sync.c
 *	  Tables that are kept in sync where they are.
 *
 * Every batch is one transaction: rows, the number of rows, the position and
 * the table's generation commit together.  Rows that are as they should be are
 * not written, and a batch that finds nothing to write commits nothing.
 *
 * The generation is this run's to count: if it is not what it was after our
 * last batch, somebody else writes the table, who is told apart by nothing
 * else when he belongs to another server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target.h"

/* The table that batches arrive for; one at a time. */
typedef struct SyncedTable
{
	const TargetTable *table;
	TableCounts *counts;		/* of the table, then of its dimensions */
	int64		generation;
	bool		appendable;		/* its columns are an image's, in their order */
	sqlite3_stmt *append;		/* of rows behind all others */
	sqlite3_stmt *upsert;
	sqlite3_stmt *compare;
	sqlite3_stmt *state;
} SyncedTable;

static SyncedTable synced;

/* Counted by the hook below since the batch began; in the order of counts. */
typedef struct WrittenRows
{
	const char *table_name;
	int64		inserted;
	int64		updated;
	int64		deleted;
} WrittenRows;

static WrittenRows *written;
static int	nwritten = 0;

/* Called by SQLite for each row that it writes. */
static void
count_row(void *arg, int operation, const char *database, const char *table,
		  sqlite3_int64 rowid)
{
	WrittenRows *rows = written;

	while (sqlite3_stricmp(table, rows->table_name) != 0)
	{
		if (++rows == written + nwritten)
			return;
	}
	if (operation == SQLITE_INSERT)
		rows->inserted++;
	else if (operation == SQLITE_UPDATE)
		rows->updated++;
	else
		rows->deleted++;
}

static bool
is_written(const WrittenRows *rows)
{
	return rows->inserted + rows->updated + rows->deleted > 0;
}

/*-------------------------------------------------------------------------
 * Statements
 *-------------------------------------------------------------------------
 */

static bool
is_key(const TargetTable *table, int column)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		if (table->keys[i] == column)
			return true;
	}
	return false;
}

/*
 * A column's name where it is compared.  In an adopted table it may compare
 * otherwise than byte by byte, and would hide an update from us.
 */
static char *
compared(const TargetTable *table, int column)
{
	const TargetColumn *c = &table->columns[column];
	bool		collated = table->adopted && strcmp(c->sqlite_type, "TEXT") == 0;

	return psprintf("%s%s", message_quote_name(c->name), collated ? " COLLATE BINARY" : "");
}

/* "a", "b" of the key, in its order. */
static char *
key_list(const TargetTable *table)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "", compared(table, table->keys[i]));
	return list.data;
}

static char *
all_list(const TargetTable *table)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < table->ncolumns; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "", message_quote_name(table->columns[i].name));
	return list.data;
}

/* Columns beside the key, each behind a prefix; empty if there are none. */
static char *
other_list(const TargetTable *table, const char *prefix)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (!is_key(table, i))
			appendStringInfo(&list, "%s%s%s", list.len ? ", " : "", prefix, compared(table, i));
	}
	return list.data;
}

/*
 * INSERT ... SELECT ... WHERE true ON CONFLICT: without the WHERE SQLite's
 * parser takes ON for a join's.  OR ABORT overrules what an adopted table's
 * constraints may say, such as to replace other rows.
 */
static char *
upsert_sql(const TargetTable *table)
{
	StringInfoData sql;
	char	   *columns = all_list(table);
	bool		first = true;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT OR ABORT INTO main.%s AS old (%s) SELECT %s FROM %s "
					 "WHERE true ON CONFLICT (%s) DO ",
					 message_quote_name(table->name), columns, columns,
					 target_image_rows(table), key_list(table));
	if (table->nkeys == table->ncolumns)
	{
		appendStringInfoString(&sql, "NOTHING");
		return sql.data;
	}
	appendStringInfoString(&sql, "UPDATE SET ");
	for (int i = 0; i < table->ncolumns; i++)
	{
		char	   *name;

		if (is_key(table, i))
			continue;
		name = message_quote_name(table->columns[i].name);
		appendStringInfo(&sql, "%s%s = excluded.%s", first ? "" : ", ", name, name);
		first = false;
	}
	appendStringInfo(&sql, " WHERE (%s) IS NOT (%s)",
					 other_list(table, "old."), other_list(table, "excluded."));
	return sql.data;
}

/* Rows of the image that the table lacks, and those that it has otherwise. */
static char *
compare_sql(const TargetTable *table)
{
	StringInfoData sql;
	const char *key = message_quote_name(table->columns[table->keys[0]].name);

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT sum(old.%s IS NULL), ", key);
	if (table->nkeys == table->ncolumns)
		appendStringInfoString(&sql, "0");
	else
		appendStringInfo(&sql, "sum(old.%s IS NOT NULL AND (%s) IS NOT (%s))", key,
						 other_list(table, "old."), other_list(table, "new."));
	appendStringInfo(&sql, " FROM %s AS new LEFT JOIN main.%s AS old ON ",
					 target_image_rows(table), message_quote_name(table->name));
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(&sql, "%sold.%s = new.%s", i ? " AND " : "",
						 compared(table, table->keys[i]),
						 message_quote_name(table->columns[table->keys[i]].name));
	return sql.data;
}

/* The condition of a range, with its values as parameters. */
static char *
range_condition(const TargetTable *table, const BatchEnd *end)
{
	StringInfoData sql;
	StringInfoData parameters;
	char	   *keys = key_list(table);

	initStringInfo(&parameters);
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfoString(&parameters, i ? ", ?" : "?");
	initStringInfo(&sql);
	appendStringInfoString(&sql, "true");
	if (!end->after.open)
		appendStringInfo(&sql, " AND (%s) > (%s)", keys, parameters.data);
	if (!end->to.open)
		appendStringInfo(&sql, " AND (%s) <= (%s)", keys, parameters.data);
	return sql.data;
}

static void
bind_bound(sqlite3_stmt *stmt, const KeyBound *bound, int nkeys, int *n)
{
	for (int i = 0; i < nkeys && !bound->open; i++)
	{
		const ImageValue *value = &bound->values[i];

		switch (value->kind)
		{
			case IMAGE_NULL:
				sqlite3_bind_null(stmt, ++*n);
				break;
			case IMAGE_INTEGER:
				sqlite3_bind_int64(stmt, ++*n, value->u.i);
				break;
			case IMAGE_REAL:
				sqlite3_bind_double(stmt, ++*n, value->u.r);
				break;
			case IMAGE_TEXT:
				sqlite3_bind_text(stmt, ++*n, value->u.data, value->len, SQLITE_STATIC);
				break;
			case IMAGE_BLOB:
				sqlite3_bind_blob(stmt, ++*n, value->u.data, value->len, SQLITE_STATIC);
				break;
		}
	}
}

/* A statement about a range, stepped once. */
static sqlite3_stmt *
step_range(sqlite3 *db, const TargetTable *table, const BatchEnd *end,
		   const char *sql, const char *what)
{
	sqlite3_stmt *stmt = target_prepare(db, sql, what);
	int			n = 0;
	int			rc;

	bind_bound(stmt, &end->after, table->nkeys, &n);
	bind_bound(stmt, &end->to, table->nkeys, &n);
	rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		target_error(db, rc, what);
	return stmt;
}

static int64
count_range(sqlite3 *db, const TargetTable *table, const BatchEnd *end)
{
	sqlite3_stmt *stmt = step_range(db, table, end,
									psprintf("SELECT count(*) FROM main.%s WHERE %s",
											 message_quote_name(table->name),
											 range_condition(table, end)),
									"counting the rows of a range");
	int64		rows = sqlite3_column_int64(stmt, 0);

	sqlite3_finalize(stmt);
	return rows;
}

static void
step_done(sqlite3 *db, sqlite3_stmt *stmt, const char *what)
{
	int			rc = sqlite3_step(stmt);

	if (rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_reset(stmt);
}

/*-------------------------------------------------------------------------
 * The table as it is found
 *-------------------------------------------------------------------------
 */

pg_noreturn static void
refuse_structure(const TargetTable *table, char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("table \"%s\" of the file does not fit its source any more", table->name),
			 errdetail_internal("%s", detail),
			 errhint("Start it from nothing with lfsync_reset_job(), or with mode => 'full'.")));
}

/*
 * Compares the columns with what a run is about to write.  True if some had to
 * be added, or if with verify some are missing.
 */
static bool
fit_columns(sqlite3 *db, const TargetTable *table, const SyncOptions *options,
			List **notes)
{
	static const char what[] = "reading its schema";
	char	   *info = psprintf("PRAGMA main.table_info(%s)", message_quote_name(table->name));
	sqlite3_stmt *stmt = target_prepare(db, info, what);
	bool	   *found = palloc0(table->ncolumns * sizeof(bool));
	int			nkeys = 0;
	int			ncolumns = 0;
	bool		altered = false;
	int			rc;

	if (table == synced.table)
		synced.appendable = true;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
	{
		const char *name = (const char *) sqlite3_column_text(stmt, 1);
		const char *type = (const char *) sqlite3_column_text(stmt, 2);
		int			key = sqlite3_column_int(stmt, 5);
		int			column = -1;

		for (int i = 0; i < table->ncolumns; i++)
		{
			if (pg_strcasecmp(table->columns[i].name, name) == 0)
				column = i;
		}
		if (column != ncolumns++ && table == synced.table)
			synced.appendable = false;
		if (key > 0 && (key > table->nkeys || table->keys[key - 1] != column))
			refuse_structure(table, psprintf("Its key has another column: \"%s\".", name));
		nkeys += key > 0;
		if (column < 0)
		{
			*notes = lappend(*notes, psprintf("column %s of table %s is not in the source: it keeps what it has",
											  name, table->name));
			continue;
		}
		found[column] = true;
		if (pg_strcasecmp(type, table->columns[column].sqlite_type) != 0)
			refuse_structure(table, psprintf("Column \"%s\" is %s there and would be %s.",
											 name, type, table->columns[column].sqlite_type));
	}
	if (rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_finalize(stmt);
	if (nkeys != table->nkeys)
		refuse_structure(table, psprintf("Its key has %d columns and would have %d.",
										 nkeys, table->nkeys));

	for (int i = 0; i < table->ncolumns; i++)
	{
		if (found[i])
			continue;
		if (options->on_schema_change == SCHEMA_CHANGE_ERROR || table->apply == APPLY_VERIFY)
			refuse_structure(table, psprintf("Column \"%s\" is missing.", table->columns[i].name));
		target_run(db, psprintf("ALTER TABLE main.%s ADD COLUMN %s %s",
								message_quote_name(table->name),
								message_quote_name(table->columns[i].name),
								table->columns[i].sqlite_type),
				   "adding a column");
		*notes = lappend(*notes, psprintf("column %s was added to table %s",
										  table->columns[i].name, table->name));
		altered = true;
	}
	return altered;
}

/*
 * Whatever its name: it is another one than the source's where that was taken,
 * as it is by the old table's when a new one is put in place.
 */
static bool
is_index_over(const char *sql, const TargetIndex *index)
{
	const char *columns = psprintf(" (%s)", index->columns);
	size_t		len = strlen(columns);

	return strlen(sql) > len && strcmp(sql + strlen(sql) - len, columns) == 0;
}

/*
 * Indexes that are new at the source, or that somebody has dropped, are made;
 * those of ours that have gone from the source go.
 */
static List *
fit_indexes(sqlite3 *db, const TargetTable *table)
{
	List	   *theirs = target_user_objects(db, table->name);
	List	   *sqls;
	List	   *names = target_own_indexes(db, table->name, &sqls);
	TargetTable missing = *table;
	bool		dropped = false;
	List	   *notes;
	ListCell   *name;
	ListCell   *sql;

	missing.indexes = list_copy(table->indexes);
	forboth(name, names, sql, sqls)
	{
		bool		wanted = false;
		ListCell   *lc;

		foreach(lc, table->indexes)
		{
			if (!is_index_over((char *) lfirst(sql), (TargetIndex *) lfirst(lc)))
				continue;
			wanted = true;
			missing.indexes = list_delete_ptr(missing.indexes, lfirst(lc));
		}
		if (wanted)
			continue;
		target_run(db, psprintf("DROP INDEX main.%s", message_quote_name((char *) lfirst(name))),
				   "dropping an index");
		dropped = true;
	}
	if (!dropped && missing.indexes == NIL)
		return NIL;
	notes = target_create_indexes(db, &missing, table->name, true);
	target_record_indexes(db, table->name, theirs);
	return notes;
}

static int64
read_generation(sqlite3 *db, const TargetTable *table)
{
	char	   *sql = sqlite3_mprintf("SELECT generation FROM main._lfsync_state "
									  "WHERE table_name = %Q COLLATE NOCASE", table->name);
	int64		generation = target_query_int(db, sql, "reading _lfsync_state", -1);

	sqlite3_free(sql);
	return generation;
}

static int64
read_rows(sqlite3 *db, const TargetTable *table)
{
	char	   *sql = sqlite3_mprintf("SELECT rows FROM main._lfsync_state WHERE table_name = %Q COLLATE NOCASE",
									  table->name);
	int64		rows = target_query_int(db, sql, "reading _lfsync_state", 0);

	sqlite3_free(sql);
	return rows;
}

static void
forget_table(void)
{
	sqlite3_finalize(synced.append);
	sqlite3_finalize(synced.upsert);
	sqlite3_finalize(synced.compare);
	sqlite3_finalize(synced.state);
	memset(&synced, 0, sizeof(synced));
}

void
target_begin_sync(sqlite3 *db, const TargetTable *table,
				  const SyncOptions *options, TableReply *reply)
{
	List	   *tables = lcons(unconstify(TargetTable *, table), list_copy(table->dimensions));
	ListCell   *lc;

	forget_table();
	synced.table = table;
	synced.counts = palloc0(list_length(tables) * sizeof(TableCounts));
	nwritten = list_length(tables);
	written = palloc0(nwritten * sizeof(WrittenRows));

	if (table->apply != APPLY_VERIFY && !table->adopted)
		target_begin_write(db);
	if (table->apply == APPLY_SYNC)
		reply->sums = target_read_sums(db, table->name, &reply->sums_len);
	foreach(lc, tables)
	{
		TargetTable *one = (TargetTable *) lfirst(lc);

		written[foreach_current_index(lc)].table_name = one->name;
		synced.counts[foreach_current_index(lc)].rows = read_rows(db, one);
		if (table->adopted)
			target_check_adopted(db, table);
		else if (fit_columns(db, one, options, &reply->notes))
			reply->altered = true;
		if (table->apply != APPLY_VERIFY && !table->adopted)
		{
			reply->notes = list_concat(reply->notes, fit_indexes(db, one));
			target_fit_extras(db, one, false);
		}
		if (one->nfts > 0 && table->apply == APPLY_SYNC)
			target_begin_fts(db);
	}
	if (table->apply != APPLY_VERIFY && !table->adopted)
		target_commit(db);
	synced.generation = read_generation(db, table);
	target_begin_dimensions(db, table);
	sqlite3_update_hook(db, count_row, NULL);
}

/*-------------------------------------------------------------------------
 * Batches
 *-------------------------------------------------------------------------
 */

void
target_check_generation(sqlite3 *db, const TargetTable *table)
{
	if (synced.table == NULL || strcmp(synced.table->name, table->name) != 0)
		return;
	if (read_generation(db, synced.table) != synced.generation)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"%s\" is being written by somebody else", synced.table->name),
				 errdetail("Its generation in _lfsync_state is not the one that this run has written."),
				 errhint("Another server may keep the same file in sync: give it a file of its own.")));
}

/*
 * A transaction that holds the file's write lock, on the table as our last
 * batch has left it.
 */
static void
begin_batch(sqlite3 *db)
{
	for (int i = 0; i < nwritten; i++)
		written[i].inserted = written[i].updated = written[i].deleted = 0;
	target_begin_write(db);
	target_check_generation(db, synced.table);
}

/* What _lfsync_state says of one table of a batch. */
static void
write_state(sqlite3 *db, const WrittenRows *rows, TableCounts *counts, const char *position)
{
	static const char what[] = "writing the position";

	counts->rows += rows->inserted - rows->deleted;
	counts->inserted += rows->inserted;
	counts->updated += rows->updated;
	counts->deleted += rows->deleted;
	if (synced.state == NULL)
		synced.state = target_prepare(db, "UPDATE main._lfsync_state SET generation = generation + 1, rows = ?1, "
									  "position = coalesce(?2, position), "
									  "updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') "
									  "WHERE table_name = ?3 COLLATE NOCASE", what);
	sqlite3_bind_int64(synced.state, 1, counts->rows);
	if (position)
		sqlite3_bind_text(synced.state, 2, position, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(synced.state, 2);
	sqlite3_bind_text(synced.state, 3, rows->table_name, -1, SQLITE_STATIC);
	step_done(db, synced.state, what);
}

/*
 * Position and counts go with the rows; nothing written, nothing committed but
 * what temporary tables hold.
 */
static bool
end_batch(sqlite3 *db, const char *position)
{
	bool		some = false;

	for (int i = 0; i < nwritten; i++)
		some = some || is_written(&written[i]);
	if (!some && nwritten == 1)
	{
		target_run(db, "ROLLBACK", "letting go of the file");
		target_lock_taken();
		return false;
	}
	for (int i = 0; i < nwritten && some; i++)
	{
		/* the table itself has the position and the generation of all */
		if (i == 0 || is_written(&written[i]))
			write_state(db, &written[i], &synced.counts[i], i == 0 ? position : NULL);
	}
	/* an adopted table has no state before its first run has ended */
	if (some && synced.generation >= 0)
		synced.generation++;
	target_commit(db);
	return some;
}

/* Do all rows of the image come behind those that the table has? */
static bool
is_behind(sqlite3 *db)
{
	const char *name = message_quote_name(synced.table->name);

	return target_query_int(db, psprintf("SELECT (SELECT min(rowid) FROM image.%s) > "
										 "coalesce((SELECT max(rowid) FROM main.%s), -9223372036854775807)",
										 name, name),
							"reading a batch", 0) == 1;
}

static void
write_rows(sqlite3 *db, bool keyed)
{
	const char *name = message_quote_name(synced.table->name);

	if (keyed && synced.appendable && is_behind(db))
	{
		/* nothing but these words lets SQLite copy whole records */
		if (synced.append == NULL)
			synced.append = target_prepare(db, psprintf("INSERT INTO main.%s SELECT * FROM %s", name,
													target_image_rows(synced.table)),
									   "inserting rows");
		step_done(db, synced.append, "inserting rows");
		return;
	}
	if (synced.upsert == NULL)
		synced.upsert = target_prepare(db, upsert_sql(synced.table), "upserting rows");
	step_done(db, synced.upsert, "upserting rows");
}

/* Rows that will be new, or have other words than before. */
static void
note_changed(sqlite3 *db)
{
	const TargetTable *table = synced.table;
	const char *key = message_quote_name(table->columns[table->keys[0]].name);

	target_note_changed(db, psprintf("SELECT new.%s FROM %s AS new LEFT JOIN main.%s AS old ON old.%s = new.%s "
									 "WHERE old.%s IS NULL OR %s", key, target_image_rows(table),
									 message_quote_name(table->name), key, key, key,
									 target_fts_differs(table, "old.", "new.")));
	target_unindex_changed(db, table);
}

/* Rows are written, and the full-text index follows them. */
static void
write_rows_and_words(sqlite3 *db, bool keyed)
{
	bool		has_words = synced.table->nfts > 0;

	if (has_words)
		note_changed(db);
	write_rows(db, keyed);
	if (has_words)
		target_index_changed(db, synced.table);
}

/* What the range holds and the image does not is gone at the source. */
static void
delete_missing(sqlite3 *db, const BatchEnd *end, int64 nrows)
{
	const TargetTable *table = synced.table;
	char	   *keys = key_list(table);
	char	   *others;

	if (count_range(db, table, end) == nrows)
		return;
	others = nrows == 0 ? "" :
		psprintf(" AND (%s) NOT IN (SELECT %s FROM image.%s)", keys, keys,
				 message_quote_name(table->name));
	if (table->nfts > 0)
	{
		sqlite3_finalize(step_range(db, table, end,
									psprintf(TARGET_NOTE_CHANGED " SELECT %s FROM main.%s WHERE %s%s",
											 keys, message_quote_name(table->name),
											 range_condition(table, end), others),
									"noting rows"));
		target_unindex_changed(db, table);
		target_forget_changed(db);
	}
	sqlite3_finalize(step_range(db, table, end,
								psprintf("DELETE FROM main.%s WHERE %s%s",
										 message_quote_name(table->name),
										 range_condition(table, end), others),
								"deleting rows"));
}

static void
compare_rows(sqlite3 *db, const BatchEnd *end, int64 nrows)
{
	int64		missing = 0;

	if (nrows > 0)
	{
		int			rc;

		if (synced.compare == NULL)
			synced.compare = target_prepare(db, compare_sql(synced.table), "comparing rows");
		rc = sqlite3_step(synced.compare);
		if (rc != SQLITE_ROW)
			target_error(db, rc, "comparing rows");
		missing = sqlite3_column_int64(synced.compare, 0);
		synced.counts->updated += sqlite3_column_int64(synced.compare, 1);
		sqlite3_reset(synced.compare);
	}
	synced.counts->inserted += missing;
	if (end->range)
		synced.counts->deleted += count_range(db, synced.table, end) - (nrows - missing);
}

bool
target_sync_batch(sqlite3 *db, void *image, sqlite3_int64 size, int64 nrows,
				  bool keyed, const BatchEnd *end)
{
	bool		some = false;

	/* deserialize outside of transactions, one image in each */
	if (image)
		target_attach_image(db, image, size);
	/* in a comparison it is for temporary tables only */
	if (synced.table->apply == APPLY_VERIFY)
		target_run(db, "BEGIN", "beginning a transaction");
	else
		begin_batch(db);
	if (end->range && end->after.open)
		target_begin_merging(db);
	if (image)
		target_apply_dimensions(db, end->range);
	if (synced.table->apply == APPLY_VERIFY)
	{
		compare_rows(db, end, nrows);
		target_run(db, "COMMIT", "comparing rows");
	}
	else
	{
		if (image)
			write_rows_and_words(db, keyed);
		if (end->range)
			delete_missing(db, end, nrows);
		if (end->range && end->to.open)
			target_end_merging(db);
		some = end_batch(db, end->position);
	}
	if (image)
		target_detach_image(db);
	return some;
}

void
target_sync_counts(sqlite3 *db, const TargetTable *table, TableCounts *counts)
{
	if (table->apply != APPLY_FILL)
		memcpy(counts, synced.counts, nwritten * sizeof(TableCounts));
	for (int i = 0; i < list_length(table->dimensions); i++)
		target_count_dimension(db, i, &counts[i + 1]);
}

void
target_end_sync(sqlite3 *db)
{
	forget_table();
	sqlite3_update_hook(db, NULL, NULL);
}
