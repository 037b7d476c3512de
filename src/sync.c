/*-------------------------------------------------------------------------
 *
 * sync.c
 *	  What the modes that go on from an earlier run have in common.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "sync.h"

void
sync_note(Run *run, const char *format,...)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(run->context);
	StringInfoData text;
	char	   *note;
	ListCell   *lc;
	bool		known = false;	/* from an earlier look */

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
	note = pg_server_to_any(text.data, text.len, PG_UTF8);
	foreach(lc, run->notes)
		known = known || strcmp((char *) lfirst(lc), note) == 0;
	if (!known)
		run->notes = lappend(run->notes, note);
	MemoryContextSwitchTo(oldcontext);
}

bool
sync_same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

void
sync_check_owner(const Run *run, const TargetState *state)
{
	const RunIdentity *identity = &run->finish.identity;

	if (strcmp(state->system_identifier, identity->system_identifier) != 0 ||
		strcmp(state->database, identity->database) != 0 ||
		!sync_same_text(state->job, identity->job))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"%s\" of the file is kept in sync by somebody else",
						slot_text(state->table_name)),
				 state->job ?
				 errdetail("It belongs to job \"%s\" of database \"%s\", system identifier %s.",
						   slot_text(state->job), slot_text(state->database),
						   state->system_identifier) :
				 errdetail("It belongs to database \"%s\", system identifier %s, without a job.",
						   slot_text(state->database), state->system_identifier),
				 errhint("Choose another file or \"table_name\", or take it over with lfsync_reset_job() or mode => 'full'.")));
}

bool
sync_can_go_on(Run *run)
{
	ListCell   *lc;

	/* a dimension without the rows that refer to it is no use, and vice versa */
	if (run->disposition == DISPOSITION_BUILD || run->order->reset)
		return false;
	foreach(lc, run->tables)
	{
		const RunTable *table = (RunTable *) lfirst(lc);
		const TargetState *state = table->state;

		if (table->mapping->table->rowless)
			continue;
		if (state == NULL || strcmp(state->mode, "full") == 0)
			return false;
		sync_check_owner(run, state);
		if (!sync_same_text(state->source, table->mapping->table->source))
		{
			sync_note(run, "table %s had another source (%s): it is loaded anew",
					  slot_text(state->table_name), slot_text(state->source));
			return false;
		}
	}
	return true;
}

static void
set_apply(TargetTable *table, ApplyKind apply)
{
	table->apply = apply;
	table->rows = -1;
}

bool
sync_begin_table(Run *run, RunTable *table, ApplyKind apply)
{
	StringInfoData message;
	TableReply	reply;
	MemoryContext oldcontext = MemoryContextSwitchTo(run->look);
	ListCell   *lc;

	set_apply(table->mapping->table, apply);
	foreach(lc, table->mapping->table->dimensions)
		set_apply((TargetTable *) lfirst(lc), apply);
	channel_begin(run->channel, MESSAGE_TABLE);
	message_put_table(&run->channel->message, table->mapping->table);
	channel_send(run->channel);
	channel_await(run->channel, MESSAGE_TABLE_READY, &message);
	message_get_table_ready(&message, &reply);
	table->sums = reply.sums;
	table->sums_len = reply.sums_len;
	table->has_rejects = reply.has_rejects;
	table->reject_keys = reply.reject_keys;
	run->not_carried = list_concat(run->not_carried, reply.notes);
	MemoryContextSwitchTo(oldcontext);
	return reply.altered;
}

const char *
sync_position_lost(const Run *run, const RunTable *table, const Position *position,
				   const char *basis)
{
	const TargetTable *target = table->mapping->table;

	if (position->basis == NULL)
		return "the position is lost";
	if (position->timeline != (uint64) run->finish.identity.timeline)
		return "the server is on another timeline: it was restored, or a standby was promoted";
	if (strcmp(position->basis, basis) != 0 ||
		!sync_same_text(table->state->fingerprint, target->fingerprint))
		return "the structure of the source, or what the job makes of it, has changed";
	if (position->merged)
		return "the last full comparison was broken off";
	return NULL;
}

void
sync_end_prepare(Run *run)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(run->look);
	ListCell   *lc;

	foreach(lc, run->tables)
	{
		RunTable   *table = (RunTable *) lfirst(lc);
		TargetTable *target = table->mapping->table;

		if (table->source == NULL)
			continue;			/* what its rows become is said elsewhere */
		if (!target->rowless)
			sync_require_key(table, run->order->mode);
		target->fingerprint = psprintf("%s-%s", target->fingerprint,
									   options_fingerprint(&run->order->options,
														   run->order->filter));
	}
	MemoryContextSwitchTo(oldcontext);
}

void
sync_end_table(Run *run, RunTable *table, bool complete)
{
	StringInfoData message;
	TableCounts counts;
	ListCell   *lc;

	channel_begin(run->channel, MESSAGE_COUNT);
	message_put_int(&run->channel->message, complete);
	channel_send(run->channel);
	channel_await(run->channel, MESSAGE_COUNTED, &message);
	message_get_bytes(&message, &counts, sizeof(counts));
	if (table->mapping->table->apply != APPLY_FILL)
		table->counts = counts;
	foreach(lc, run->tables)
	{
		RunTable   *dimension = (RunTable *) lfirst(lc);

		if (dimension->source)
			continue;
		message_get_bytes(&message, &dimension->counts, sizeof(counts));
		if (dimension->mapping->table->apply == APPLY_FILL)
			dimension->mapping->table->rows = dimension->counts.rows;
	}
}

void
sync_count_source(Run *run, RunTable *table, int64 rows)
{
	if (rows < table->state->rows)
		sync_note(run, "the source of table %s has " INT64_FORMAT " rows less than at the last run: an adopted table keeps what is gone there",
				  slot_text(table->state->table_name), table->state->rows - rows);
	table->mapping->table->rows = rows;
}

void
sync_set_position(Run *run, RunTable *table, const Position *position)
{
	/* the end comes after the transaction that reads, and its memory */
	table->mapping->table->position = MemoryContextStrdup(run->look,
														  position_to_utf8(position));
}

void
sync_set_sums(Run *run, RunTable *table, const RangeTracker *sums)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(run->look);
	TargetTable *target = table->mapping->table;

	target->sums = rangesum_format(sums, &target->sums_len);
	MemoryContextSwitchTo(oldcontext);
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

/* The context that is not in use takes the new key. */
void
kept_key_keep(KeptKey *kept, const ImageValue *row)
{
	MemoryContext oldcontext;

	kept->current = 1 - kept->current;
	MemoryContextReset(kept->contexts[kept->current]);
	oldcontext = MemoryContextSwitchTo(kept->contexts[kept->current]);
	kept->values = palloc(kept->n * sizeof(ImageValue));
	for (int i = 0; i < kept->n; i++)
	{
		ImageValue *value = &kept->values[i];

		*value = row[kept->columns ? kept->columns[i] : i];
		if (value->kind == IMAGE_TEXT || value->kind == IMAGE_BLOB)
		{
			char	   *copy = palloc(value->len + 1);

			memcpy(copy, value->u.data, value->len);
			value->u.data = copy;
		}
	}
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
