/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What a run says of itself: its counts, notes and result.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/json.h"

#include "runner.h"

void
run_count_oddities(Run *run, const Source *source)
{
	for (int i = 0; i < source->ncolumns; i++)
	{
		run->nan_values += source->values[i].nan_count;
		run->negative_zeros += source->values[i].negative_zero_count;
		run->cut_fractions += source->values[i].cut_fraction_count;
	}
}

void
run_add_counts(Run *run)
{
	ListCell   *lc;

	run->counts.rows_inserted = run->counts.rows_updated = run->counts.rows_deleted = 0;
	run->counts.rows_rejected = 0;
	foreach(lc, run->tables)
	{
		RunTable   *table = (RunTable *) lfirst(lc);

		/* the writer has counted those of a table kept in sync */
		if (table->mapping->table->apply != APPLY_SYNC)
			table->counts.rejected = table->nrejected;
		run->counts.rows_rejected += table->counts.rejected;
		run->counts.rows_inserted += table->counts.inserted;
		run->counts.rows_updated += table->counts.updated;
		run->counts.rows_deleted += table->counts.deleted;
		if (table->source)
			run->position_to = table->mapping->table->position;
	}
	pg_atomic_write_u64(&run->slot->rows_read, run->counts.rows_read);
}

/* What the writer has found that SQLite refuses of a table that was filled. */
void
run_count_refused(Run *run, const TargetTable *target, int refused)
{
	ListCell   *lc;

	foreach(lc, run->tables)
	{
		RunTable   *table = (RunTable *) lfirst(lc);

		if (table->mapping->table != target)
			continue;
		table->counts.inserted -= refused;
		table->counts.rejected += refused;
	}
	run->counts.rows_inserted -= refused;
	run->counts.rows_rejected += refused;
}

static void
put_texts(StringInfo json, const char *name, List *texts)
{
	ListCell   *lc;

	if (texts == NIL)
		return;
	appendStringInfo(json, ", \"%s\": [", name);
	foreach(lc, texts)
	{
		if (lc != list_head(texts))
			appendStringInfoString(json, ", ");
		escape_json(json, slot_text((char *) lfirst(lc)));
	}
	appendStringInfoChar(json, ']');
}

/* Every loss or oddity, counted; empty if there was none. */
char *
run_notes_json(Run *run)
{
	StringInfoData json;
	List	   *structure;

	initStringInfo(&json);
	if (run->nan_values > 0)
		appendStringInfo(&json, ", \"nan\": " INT64_FORMAT, run->nan_values);
	if (run->negative_zeros > 0)
		appendStringInfo(&json, ", \"negative_zero\": " INT64_FORMAT, run->negative_zeros);
	if (run->cut_fractions > 0)
		appendStringInfo(&json, ", \"fraction_of_second\": " INT64_FORMAT, run->cut_fractions);
	if (run->largest_batch > run->smallest_batch)
		appendStringInfo(&json, ", \"batch_rows\": {\"smallest\": %d, \"largest\": %d}",
						 run->smallest_batch, run->largest_batch);
	if (run->flush_reason)
		appendStringInfo(&json, ", \"flush_reason\": \"%s\"", run->flush_reason);
	put_texts(&json, "run", run->notes);
	structure = list_concat_copy(run->not_carried, run->writer_notes);
	if (structure)
		appendStringInfo(&json, ", \"structure_count\": %d", list_length(structure));
	put_texts(&json, "structure", structure);
	return psprintf("{%s}", json.len > 0 ? json.data + 2 : "");
}

/* Counts per target table, for the caller. */
char *
run_tables_json(Run *run)
{
	bool		compared = find_mode(run->order->mode)->compares;
	StringInfoData json;
	ListCell   *lc;

	initStringInfo(&json);
	foreach(lc, run->tables)
	{
		RunTable   *table = (RunTable *) lfirst(lc);
		const TableCounts *counts = &table->counts;
		int64		rows_read = table->mapping->table->apply == APPLY_FILL ?
			counts->inserted + counts->rejected : run->counts.rows_read;

		if (table->mapping->table->rowless)
			continue;
		/* as many as the source would make, whatever it has read for them */
		if (compared && table->source == NULL)
			rows_read = table->mapping->table->apply == APPLY_SYNC ? counts->rows :
				counts->rows + counts->inserted - counts->deleted;
		appendStringInfoString(&json, json.len ? ", " : "{");
		escape_json(&json, slot_text(table->mapping->table->name));
		if (compared)
			appendStringInfo(&json, ": {\"rows_source\": " INT64_FORMAT ", \"rows_target\": " INT64_FORMAT
							 ", \"missing\": " INT64_FORMAT ", \"extra\": " INT64_FORMAT
							 ", \"different\": " INT64_FORMAT "}",
							 rows_read, rows_read - counts->inserted + counts->deleted,
							 counts->inserted, counts->deleted, counts->updated);
		else
			appendStringInfo(&json, ": {\"rows_read\": " INT64_FORMAT ", \"rows_inserted\": " INT64_FORMAT
							 ", \"rows_updated\": " INT64_FORMAT ", \"rows_deleted\": " INT64_FORMAT "%s}",
							 rows_read, counts->inserted, counts->updated, counts->deleted,
							 counts->rejected == 0 ? "" :
							 psprintf(", \"rows_rejected\": " INT64_FORMAT, counts->rejected));
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}
