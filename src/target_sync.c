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
#include "utils/memutils.h"

/* The table that batches arrive for; one at a time. */
typedef struct SyncedTable
{
	const TargetTable *table;
	TableCounts *counts;		/* of the table, then of its dimensions */
	int64		generation;
	bool		appendable;		/* its columns are an image's, in their order */
	bool		skip;			/* rows that are refused are left out */
	bool		recorded;		/* the batch has changed _lfsync_rejects */
	int64		set_aside;		/* rows in RETRIED */
	sqlite3_stmt *append;		/* of rows behind all others */
	sqlite3_stmt *upsert;
	sqlite3_stmt *upsert_piece;
	sqlite3_stmt *piece_key;
	sqlite3_stmt *count;		/* of a range with two ends */
	sqlite3_stmt *compare;
	sqlite3_stmt *state;
} SyncedTable;

static SyncedTable synced;

/* Of the runner, until the batch that they belong to. */
static List *rejects = NIL;
static MemoryContext rejects_context = NULL;

/* Rows that were refused, as they came: they may pass when the others are there. */
#define RETRIED		"temp._lfsync_retried"
#define RETRIED_ROW	"(SELECT * FROM " RETRIED " WHERE rowid = ?1)"

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

/* The name that SQLite gave last, which is the same pointer for row after row. */
static const char *last_name = NULL;
static WrittenRows *last_written;

/* Called by SQLite for each row that it writes. */
static void
count_row(void *arg, int operation, const char *database, const char *table,
		  sqlite3_int64 rowid)
{
	WrittenRows *rows = table == last_name ? last_written : written;

	while (table != last_name && sqlite3_stricmp(table, rows->table_name) != 0)
	{
		if (++rows == written + nwritten)
			return;
	}
	last_name = table;
	last_written = rows;
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

static void
step_in_range(sqlite3 *db, sqlite3_stmt *stmt, const TargetTable *table,
			  const BatchEnd *end, const char *what)
{
	int			n = 0;
	int			rc;

	bind_bound(stmt, &end->after, table->nkeys, &n);
	bind_bound(stmt, &end->to, table->nkeys, &n);
	rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		target_error(db, rc, what);
}

static void
run_in_range(sqlite3 *db, const TargetTable *table, const BatchEnd *end,
			 const char *sql, const char *what)
{
	sqlite3_stmt *stmt = target_prepare(db, sql, what);

	step_in_range(db, stmt, table, end, what);
	sqlite3_finalize(stmt);
}

static int64
count_range(sqlite3 *db, const TargetTable *table, const BatchEnd *end)
{
	static const char what[] = "counting the rows of a range";
	bool		keep = !end->after.open && !end->to.open;
	sqlite3_stmt *stmt = keep ? synced.count : NULL;
	int64		rows;

	if (stmt == NULL)
		stmt = target_prepare(db, psprintf("SELECT count(*) FROM main.%s WHERE %s",
										   message_quote_name(table->name),
										   target_sql_in_range(table, end)), what);
	if (keep)
		synced.count = stmt;
	step_in_range(db, stmt, table, end, what);
	rows = sqlite3_column_int64(stmt, 0);
	if (keep)
		sqlite3_reset(stmt);
	else
		sqlite3_finalize(stmt);
	return rows;
}

/*-------------------------------------------------------------------------
 * The table as it is found
 *-------------------------------------------------------------------------
 */

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
	sqlite3_finalize(synced.upsert_piece);
	sqlite3_finalize(synced.piece_key);
	sqlite3_finalize(synced.count);
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
	synced.skip = options->on_row_error == ROW_ERROR_SKIP;
	synced.counts = palloc0(list_length(tables) * sizeof(TableCounts));
	nwritten = list_length(tables);
	written = palloc0(nwritten * sizeof(WrittenRows));

	if (table->apply != APPLY_VERIFY && !table->adopted)
		target_begin_write(db);
	if (table->apply == APPLY_SYNC)
		reply->sums = target_read_sums(db, table->name, &reply->sums_len);
	if (table->apply == APPLY_SYNC && target_has_rejects(db))
		reply->reject_keys = target_reject_keys(db, table->name);
	reply->has_rejects = reply->reject_keys != NIL;
	foreach(lc, tables)
	{
		TargetTable *one = (TargetTable *) lfirst(lc);
		bool		appendable = false;

		written[foreach_current_index(lc)].table_name = one->name;
		synced.counts[foreach_current_index(lc)].rows = read_rows(db, one);
		if (table->adopted)
			target_check_adopted(db, table);
		else if (target_fit_columns(db, one, options, &appendable, &reply->notes))
			reply->altered = true;
		if (one == table)
			synced.appendable = appendable;
		if (table->apply != APPLY_VERIFY && !table->adopted)
		{
			reply->notes = list_concat(reply->notes, target_fit_indexes(db, one, options));
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
	synced.recorded = false;
	last_name = NULL;			/* a schema that is read again has others */
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
	target_bind_text(synced.state, 2, position);
	target_bind_text(synced.state, 3, rows->table_name);
	target_step(db, synced.state, what);
}

/*
 * Position and counts go with the rows; nothing written, nothing committed but
 * what temporary tables hold.
 */
static bool
end_batch(sqlite3 *db, const char *position)
{
	bool		some = synced.recorded;

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

/*
 * A row that is left out is not there as it was before, either: what the table
 * has is what the source has.  An adopted table keeps its rows.
 */
static void
delete_row(sqlite3 *db, const Reject *reject)
{
	static const char what[] = "deleting a row that is left out";
	const TargetTable *table = synced.table;
	KeyBound	key = {false, reject->key};
	StringInfoData sql;
	sqlite3_stmt *stmt;
	int			n = 0;

	if (table->adopted || reject->again || !target_key_is_complete(table, reject))
		return;
	if (table->nfts > 0)
		target_unindex_row(db, table, reject->key[0].u.i);
	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM main.%s", message_quote_name(table->name));
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(&sql, "%s %s = ?", i ? " AND" : " WHERE",
						 target_sql_column(table, table->keys[i]));
	stmt = target_prepare(db, sql.data, what);
	bind_bound(stmt, &key, table->nkeys, &n);
	target_step(db, stmt, what);
	sqlite3_finalize(stmt);
}

static void
record_rejects(sqlite3 *db, List *list)
{
	ListCell   *lc;

	if (list == NIL)
		return;
	target_add_rejects(db, synced.table, list);
	foreach(lc, list)
		delete_row(db, (Reject *) lfirst(lc));
	synced.recorded = true;
}

/* What the runner has rejected goes with its batch. */
static void
record_runners_rejects(sqlite3 *db)
{
	record_rejects(db, rejects);
	rejects = NIL;
	if (rejects_context)
		MemoryContextReset(rejects_context);
}

/* As the table would have it: what the image's numbers stand for goes with it. */
static void
set_aside(sqlite3 *db, sqlite3_int64 rowid)
{
	static const char what[] = "setting a row aside";
	sqlite3_stmt *stmt;

	if (synced.set_aside++ == 0)
		target_run(db, psprintf("CREATE TABLE IF NOT EXISTS " RETRIED " AS SELECT * FROM %s WHERE false",
								target_image_rows(synced.table)), what);
	stmt = target_prepare(db, psprintf("INSERT INTO " RETRIED " SELECT * FROM %s",
									   target_image_row(synced.table)), what);
	sqlite3_bind_int64(stmt, 1, rowid);
	target_step(db, stmt, what);
	sqlite3_finalize(stmt);
}

/* A row that was set aside has passed. */
static void
forget_refusal(sqlite3 *db, sqlite3_int64 rowid)
{
	const TargetTable *table = synced.table;
	Reject	   *reject = target_reject_row(db, table, RETRIED_ROW, rowid, 0, "");

	target_forget_reject(db, table, reject);
	if (table->nfts > 0)
		target_index_row(db, table, reject->key[0].u.i);
}

/*
 * The rows of an image, or those that had been set aside, each by itself: all
 * but those that are refused.
 */
static void
write_one_by_one(sqlite3 *db, bool again)
{
	static const char what[] = "upserting rows one by one";
	const TargetTable *table = synced.table;
	const char *row = again ? RETRIED_ROW : target_image_row(table);
	sqlite3_stmt *rows = target_prepare(db, again ? "SELECT rowid FROM " RETRIED :
										target_image_rowids(table), what);
	sqlite3_stmt *one = target_prepare(db, target_sql_upsert(table, row), what);
	int			rc;

	while ((rc = sqlite3_step(rows)) == SQLITE_ROW)
	{
		sqlite3_int64 rowid = sqlite3_column_int64(rows, 0);
		WrittenRows before = written[0];

		sqlite3_bind_int64(one, 1, rowid);
		rc = sqlite3_step(one);
		if (target_is_refusal(rc))
		{
			char	   *message = target_message(db);

			sqlite3_reset(one);
			written[0] = before;
			if (again)
				continue;
			record_rejects(db, list_make1(target_reject_row(db, table, row, rowid, rc, message)));
			set_aside(db, rowid);
			continue;
		}
		if (rc != SQLITE_DONE)
			target_error(db, rc, what);
		sqlite3_reset(one);
		if (again)
			forget_refusal(db, rowid);
	}
	if (rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_finalize(rows);
	sqlite3_finalize(one);
}

/* Once all others are there, rows that had been refused may pass. */
static void
retry_set_aside(sqlite3 *db)
{
	if (synced.set_aside == 0)
		return;
	write_one_by_one(db, true);
	target_run(db, "DROP TABLE " RETRIED, "letting go of rows");
	synced.set_aside = 0;
	synced.recorded = true;		/* that table is to be gone, too */
}

/* All rows of the image, or none: false if one of them is refused. */
static bool
write_at_once(sqlite3 *db, sqlite3_stmt *stmt, const char *what)
{
	WrittenRows before = written[0];
	int			rc = sqlite3_step(stmt);

	if (rc != SQLITE_DONE && !(synced.skip && target_is_refusal(rc)))
		target_error(db, rc, what);
	sqlite3_reset(stmt);
	if (rc == SQLITE_DONE)
		return true;
	written[0] = before;
	return false;
}

/* The words of a whole image are looked at. */
static bool
is_in_pieces(const BatchEnd *end)
{
	return end->npieces > 0 && synced.table->nfts == 0;
}

static bool
upsert_pieces(sqlite3 *db, const BatchEnd *end)
{
	static const char what[] = "upserting rows";
	bool		complete = true;

	if (synced.upsert_piece == NULL)
		synced.upsert_piece = target_prepare(db, target_sql_upsert(synced.table, target_image_piece(synced.table)),
											 what);
	for (int i = 0; i < end->npieces && complete; i++)
	{
		sqlite3_bind_int64(synced.upsert_piece, 1, end->pieces[i].first);
		sqlite3_bind_int64(synced.upsert_piece, 2, end->pieces[i].last);
		complete = write_at_once(db, synced.upsert_piece, what);
	}
	return complete;
}

static void
write_rows(sqlite3 *db, bool keyed, const BatchEnd *end)
{
	char	   *image = target_image_rows(synced.table);
	bool		complete;

	if (keyed && synced.appendable && is_behind(db))
	{
		/* nothing but these words lets SQLite copy whole records */
		if (synced.append == NULL)
			synced.append = target_prepare(db, psprintf("INSERT INTO main.%s SELECT * FROM %s",
														message_quote_name(synced.table->name), image),
										   "inserting rows");
		complete = write_at_once(db, synced.append, "inserting rows");
	}
	else if (is_in_pieces(end))
		complete = upsert_pieces(db, end);
	else
	{
		if (synced.upsert == NULL)
			synced.upsert = target_prepare(db, target_sql_upsert(synced.table, image), "upserting rows");
		complete = write_at_once(db, synced.upsert, "upserting rows");
	}
	if (!complete)
		write_one_by_one(db, false);
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
write_rows_and_words(sqlite3 *db, bool keyed, const BatchEnd *end)
{
	bool		has_words = synced.table->nfts > 0;

	if (has_words)
		note_changed(db);
	write_rows(db, keyed, end);
	if (has_words)
		target_index_changed(db, synced.table);
}

/* What the range holds and these rows of the image do not is gone at the source. */
static void
delete_missing(sqlite3 *db, const BatchEnd *end, const ImagePiece *piece)
{
	const TargetTable *table = synced.table;
	char	   *keys = target_sql_keys(table);
	char	   *others;

	if (count_range(db, table, end) == piece->nrows)
		return;
	others = piece->nrows == 0 ? "" :
		psprintf(" AND (%s) NOT IN (SELECT %s FROM image.%s WHERE %s BETWEEN " INT64_FORMAT " AND " INT64_FORMAT ")",
				 keys, keys, message_quote_name(table->name), target_rowid(table),
				 piece->first, piece->last);
	if (table->nfts > 0)
	{
		run_in_range(db, table, end,
					 psprintf(TARGET_NOTE_CHANGED " SELECT %s FROM main.%s WHERE %s%s",
							  keys, message_quote_name(table->name),
							  target_sql_in_range(table, end), others),
					 "noting rows");
		target_unindex_changed(db, table);
		target_forget_changed(db);
	}
	run_in_range(db, table, end,
				 psprintf("DELETE FROM main.%s WHERE %s%s",
						  message_quote_name(table->name),
						  target_sql_in_range(table, end), others),
				 "deleting rows");
}

/* An end of a piece that is none of the batch's. */
static KeyBound
piece_bound(sqlite3 *db, int64 rowid)
{
	static const char what[] = "reading a batch";
	KeyBound	bound = {false, NULL};

	if (synced.piece_key == NULL)
		synced.piece_key = target_prepare(db, target_sql_image_key(synced.table, target_image_row(synced.table)),
										  what);
	bound.values = target_read_key(db, synced.table, synced.piece_key, rowid, what);
	return bound;
}

/* A piece begins behind the row before it, and ends with its last row. */
static void
delete_missing_in_pieces(sqlite3 *db, const BatchEnd *end, int64 nrows)
{
	if (!is_in_pieces(end))
	{
		ImagePiece	all = {PG_INT64_MIN, PG_INT64_MAX, nrows};

		delete_missing(db, end, &all);
		return;
	}
	for (int i = 0; i < end->npieces; i++)
	{
		const ImagePiece *piece = &end->pieces[i];
		BatchEnd	part = *end;

		if (piece->first != PG_INT64_MIN)
			part.after = piece_bound(db, piece->first - 1);
		if (piece->last != PG_INT64_MAX)
			part.to = piece_bound(db, piece->last);
		delete_missing(db, &part, piece);
	}
}

static void
compare_rows(sqlite3 *db, const BatchEnd *end, int64 nrows)
{
	int64		missing = 0;

	if (nrows > 0)
	{
		int			rc;

		if (synced.compare == NULL)
			synced.compare = target_prepare(db, target_sql_compare(synced.table), "comparing rows");
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
	if (end->range && end->begins)
		target_begin_merging(db);
	if (end->range && end->comes_round)
		target_come_round(db);
	if (image)
		target_apply_dimensions(db, end->range);
	if (synced.table->apply == APPLY_VERIFY)
	{
		compare_rows(db, end, nrows);
		target_run(db, "COMMIT", "comparing rows");
	}
	else
	{
		record_runners_rejects(db);
		if (image)
			write_rows_and_words(db, keyed, end);
		if (end->range)
			delete_missing_in_pieces(db, end, nrows);
		if (end->range && end->ends)
			target_end_merging(db);
		some = end_batch(db, end->position);
	}
	if (image)
		target_detach_image(db);
	return some;
}

void
target_reject(StringInfo message)
{
	MemoryContext oldcontext;

	if (rejects_context == NULL)
		rejects_context = AllocSetContextCreate(TopMemoryContext, "lfsync rejects",
												ALLOCSET_DEFAULT_SIZES);
	oldcontext = MemoryContextSwitchTo(rejects_context);
	rejects = lappend(rejects, message_get_reject(message, synced.table->nkeys));
	MemoryContextSwitchTo(oldcontext);
}

void
target_retried(sqlite3 *db, List *keys)
{
	begin_batch(db);
	synced.recorded = target_forget_keys(db, synced.table->name, keys) > 0;
	(void) end_batch(db, NULL);
}

/* Nothing more comes: what the rejects of this table are. */
static void
settle_rejects(sqlite3 *db, bool complete)
{
	bool		have_rejects = target_has_rejects(db);

	if (rejects != NIL || synced.set_aside > 0 || (complete && have_rejects))
	{
		begin_batch(db);
		record_runners_rejects(db);
		retry_set_aside(db);
		if (complete && have_rejects &&
			target_forget_earlier(db, synced.table->name) > 0)
			synced.recorded = true;
		(void) end_batch(db, NULL);
	}
	target_count_rejects(db, synced.table->name, &synced.counts->rejected,
						 &synced.counts->rejects);
}

void
target_sync_counts(sqlite3 *db, const TargetTable *table, bool complete,
				   TableCounts *counts)
{
	if (table->apply == APPLY_SYNC)
		settle_rejects(db, complete);
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
