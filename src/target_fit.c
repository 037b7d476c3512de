/*-------------------------------------------------------------------------
 *
 * target_fit.c
 *	  Making a table of ours fit what is to come.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target.h"

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
bool
target_fit_columns(sqlite3 *db, const TargetTable *table, const SyncOptions *options,
				   bool *appendable, List **notes)
{
	static const char what[] = "reading its schema";
	char	   *info = psprintf("PRAGMA main.table_info(%s)", message_quote_name(table->name));
	sqlite3_stmt *stmt = target_prepare(db, info, what);
	bool	   *found = palloc0(table->ncolumns * sizeof(bool));
	int			nkeys = 0;
	int			ncolumns = 0;
	bool		altered = false;
	int			rc;

	*appendable = true;
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
		if (column != ncolumns++)
			*appendable = false;
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
List *
target_fit_indexes(sqlite3 *db, const TargetTable *table, const SyncOptions *options)
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
	notes = target_create_indexes(db, &missing, table->name, options, true);
	target_record_indexes(db, table->name, theirs);
	return notes;
}
