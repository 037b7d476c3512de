/*-------------------------------------------------------------------------
 *
 * sync.c
 *	  What the modes that go on from an earlier run have in common.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "sync.h"

void
sync_note(Run *run, const char *format,...)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(run->context);
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&text, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	run->notes = lappend(run->notes, pg_server_to_any(text.data, text.len, PG_UTF8));
	MemoryContextSwitchTo(oldcontext);
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool
sync_can_go_on(Run *run, const RunTable *table)
{
	const TargetState *state = table->state;
	const RunIdentity *identity = &run->finish.identity;

	if (run->disposition == DISPOSITION_BUILD || run->order->reset || state == NULL ||
		strcmp(state->mode, "full") == 0)
		return false;
	if (strcmp(state->system_identifier, identity->system_identifier) != 0 ||
		strcmp(state->database, identity->database) != 0 ||
		!same(state->job, identity->job))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"%s\" of the file is kept in sync by somebody else",
						state->table_name),
				 state->job ?
				 errdetail("It belongs to job \"%s\" of database \"%s\", system identifier %s.",
						   state->job, state->database, state->system_identifier) :
				 errdetail("It belongs to database \"%s\", system identifier %s, without a job.",
						   state->database, state->system_identifier),
				 errhint("Choose another file or \"table_name\", or take it over with lfsync_reset_job() or mode => 'full'.")));
	if (!same(state->source, table->mapping->table->source))
	{
		sync_note(run, "table %s had another source (%s): it is loaded anew",
				  state->table_name, state->source);
		return false;
	}
	return true;
}

bool
sync_begin_table(Run *run, RunTable *table, ApplyKind apply)
{
	StringInfoData message;
	TableReply	reply;
	MemoryContext oldcontext = MemoryContextSwitchTo(run->context);

	table->mapping->table->apply = apply;
	table->mapping->table->rows = -1;
	channel_begin(run->channel, MESSAGE_TABLE);
	message_put_table(&run->channel->message, table->mapping->table);
	channel_send(run->channel);
	channel_await(run->channel, MESSAGE_TABLE_READY, &message);
	message_get_table_ready(&message, &reply);
	run->not_carried = list_concat(run->not_carried, reply.notes);
	MemoryContextSwitchTo(oldcontext);
	return reply.altered;
}

void
sync_end_table(Run *run, RunTable *table)
{
	StringInfoData message;
	TableCounts *counts = &table->counts;

	channel_begin(run->channel, MESSAGE_COUNT);
	channel_send(run->channel);
	channel_await(run->channel, MESSAGE_COUNTED, &message);
	message_get_bytes(&message, counts, sizeof(*counts));
}

void
sync_count_source(Run *run, RunTable *table, int64 rows)
{
	if (!table->mapping->table->adopted)
		return;
	if (rows < table->state->rows)
		sync_note(run, "the source of table %s has " INT64_FORMAT " rows less than at the last run: an adopted table keeps what is gone there",
				  table->state->table_name, table->state->rows - rows);
	table->mapping->table->rows = rows;
}

void
sync_require_key(const RunTable *table, const char *mode)
{
	if (table->mapping->table->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("mode \"%s\" needs a key, and %s has none", mode,
						table->source->description),
				 errhint("Give \"key_columns\" that tell the rows apart, add a primary key, or use mode \"full\".")));
}

ImageValue *
copy_key_values(const ImageValue *values, int n)
{
	ImageValue *copy = palloc(n * sizeof(ImageValue));

	memcpy(copy, values, n * sizeof(ImageValue));
	for (int i = 0; i < n; i++)
	{
		if (copy[i].kind == IMAGE_TEXT || copy[i].kind == IMAGE_BLOB)
		{
			copy[i].u.data = palloc(copy[i].len + 1);
			memcpy((char *) copy[i].u.data, values[i].u.data, copy[i].len);
		}
	}
	return copy;
}

void
kept_key_init(KeptKey *kept, int n, const int *columns)
{
	memset(kept, 0, sizeof(*kept));
	kept->n = n;
	kept->columns = columns;
	for (int i = 0; i < 2; i++)
		kept->contexts[i] = AllocSetContextCreate(CurrentMemoryContext, "lfsync key",
												  ALLOCSET_SMALL_SIZES);
}

void
kept_key_set(KeptKey *kept, const ImageValue *row)
{
	MemoryContext oldcontext;
	ImageValue *values;

	kept->current = 1 - kept->current;
	MemoryContextReset(kept->contexts[kept->current]);
	oldcontext = MemoryContextSwitchTo(kept->contexts[kept->current]);
	values = palloc(kept->n * sizeof(ImageValue));
	for (int i = 0; i < kept->n; i++)
		values[i] = row[kept->columns[i]];
	kept->values = copy_key_values(values, kept->n);
	MemoryContextSwitchTo(oldcontext);
}

char *
sync_keyset_condition(List *expressions, const char *operator, List *literals)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfoChar(&sql, '(');
	foreach(lc, expressions)
		appendStringInfo(&sql, "%s%s", lc == list_head(expressions) ? "" : ", ",
						 (char *) lfirst(lc));
	appendStringInfo(&sql, ") %s (", operator);
	foreach(lc, literals)
		appendStringInfo(&sql, "%s%s", lc == list_head(literals) ? "" : ", ",
						 (char *) lfirst(lc));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}
