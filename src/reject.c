/*-------------------------------------------------------------------------
 *
 * reject.c
 *	  What a target demands of rows, and what becomes of those that do not
 *	  meet it.
 *
 * With on_row_error => 'skip' such a row is left out of the table and goes to
 * _lfsync_rejects instead, by the writer: in a table kept in sync with the batch
 * under way, in one that is filled when it is complete.
 *
 * Nothing is caught for that.  Converters raise no error for a value that SQLite
 * cannot hold, but give a reason, so that no transaction has to be rolled back
 * for a row.  What the executor or an output function raises ends the run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "reject.h"
#include "staging.h"

/* The writer keeps those of a table that is filled in memory. */
#define MAX_REJECTS		100000

static ImageValue *
copy_key(const TargetTable *target, const ImageValue *row)
{
	ImageValue *key = palloc(target->nkeys * sizeof(ImageValue));

	for (int i = 0; i < target->nkeys; i++)
	{
		key[i] = row[target->keys[i]];
		if (key[i].kind == IMAGE_TEXT || key[i].kind == IMAGE_BLOB)
			key[i].u.data = memcpy(palloc(key[i].len + 1), key[i].u.data, key[i].len);
	}
	return key;
}

static char *
to_utf8(const char *text)
{
	char	   *utf8 = pg_server_to_any(text, strlen(text), PG_UTF8);

	return utf8 == text ? pstrdup(text) : utf8;
}

static void
leave_out(RunTable *table, const ValueError *error, int column,
		  const ImageValue *values, bool again)
{
	Run		   *run = table->run;
	TargetTable *target = table->mapping->table;
	MemoryContext oldcontext = CurrentMemoryContext;
	Reject	   *reject;

	if (++table->nrejected > MAX_REJECTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more than %d rows of %s cannot be kept", MAX_REJECTS,
						table->source->description),
				 errdetail_internal("The last one: %s.", error->message),
				 errhint("The option on_row_error => 'skip' is for exceptions. %s", error->hint)));
	pg_atomic_fetch_add_u64(&run->slot->rows_rejected, 1);
	if (target->apply == APPLY_VERIFY)
		return;

	if (target->apply == APPLY_FILL)
		MemoryContextSwitchTo(run->look);
	reject = palloc0(sizeof(Reject));
	if (target->nkeys > 0)
		reject->key = copy_key(target, values);
	if (column >= 0)
		reject->column = to_utf8(table->source->columns[column].name);
	reject->again = again;
	reject->sqlerrcode = error->sqlerrcode;
	reject->message = to_utf8(error->message);
	/* where no table has the source's rows, one of its others has the rejects */
	if (target->rowless)
		target = linitial(target->dimensions);
	if (target->apply == APPLY_FILL)
		target->rejects = lappend(target->rejects, reject);
	else
	{
		/* goes to the writer, who has to know the table by then */
		if (staging_holds(run))
			staging_write(run, "a row is left out");
		channel_begin(run->channel, MESSAGE_REJECT);
		message_put_reject(&run->channel->message, reject, target->nkeys);
		channel_send(run->channel);
	}
	MemoryContextSwitchTo(oldcontext);
}

/* A SourceReject. */
static void
reject_row(void *arg, const ValueError *error, int column, const ImageValue *values)
{
	RunTable   *table = (RunTable *) arg;

	if (column >= 0)
		table->run->counts.rows_read++; /* nobody has received it */
	leave_out(table, error, column, values, false);
}

void
reject_describe(RunTable *table, Source *source)
{
	const Mapping *mapping = table->mapping;

	for (int i = 0; i < source->ncolumns; i++)
		source->columns[i].not_null = mapping->not_null[i];
	source->nkeys = mapping->table->nkeys;
	source->keys = mapping->table->keys;
	if (table->run->order->options.on_row_error == ROW_ERROR_SKIP)
	{
		source->reject = reject_row;
		source->reject_arg = table;
	}
}

void
reject_duplicate(RunTable *table, Source *source, const ImageValue *values,
				 const ValueError *error)
{
	if (source->reject == NULL)
		value_raise(error);
	leave_out(table, error, -1, values, true);
}

void
reject_forget(RunTable *table)
{
	table->run->counts.rows_read -= table->nrejected;
	table->nrejected = 0;
	table->mapping->table->rejects = NIL;	/* never rowless: it has pages */
}

List *
reject_complete_keys(List *keys)
{
	List	   *complete = NIL;
	ListCell   *lc;

	foreach(lc, keys)
	{
		char	   *text = (char *) lfirst(lc);
		Jsonb	   *json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															  CStringGetDatum(pg_any_to_server(text, strlen(text), PG_UTF8))));
		JsonbIterator *it = JsonbIteratorInit(&json->root);
		JsonbIteratorToken token;
		JsonbValue	value;
		bool		has_null = false;

		while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
			has_null = has_null || (token == WJB_VALUE && value.type == jbvNull);
		if (!has_null)
			complete = lappend(complete, text);
	}
	return complete;
}

/*
 * A column of the key as a value of the source's type again.  A run stops at a
 * text that is none, so only types whose texts are known are read back.
 */
static char *
key_expression(const RunTable *table, int key)
{
	const SourceColumn *column = &table->source->columns[key];
	const char *name = table->mapping->table->columns[key].name;
	char	   *text = psprintf("(reject OPERATOR(pg_catalog.->>) %s)",
								quote_literal_cstr(pg_any_to_server(name, strlen(name), PG_UTF8)));
	char	   *type = format_type_extended(column->typid, column->typmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	switch (getBaseType(column->typid))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case NUMERICOID:
		case BOOLOID:
		case TEXTOID:
		case VARCHAROID:
		case UUIDOID:
			return psprintf("CAST(%s AS %s)", text, type);
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			/* not what is before Christ, nor a number of seconds */
			return psprintf("CASE WHEN %s OPERATOR(pg_catalog.~) '^[0-9]+-[0-9-]+( |$)' THEN CAST(%s AS %s) END",
							text, text, type);
		default:
			return NULL;
	}
}

char *
reject_condition(const RunTable *table, List *keys)
{
	const Mapping *mapping = table->mapping;
	StringInfoData columns;
	StringInfoData values;
	StringInfoData texts;
	ListCell   *lc;

	initStringInfo(&columns);
	initStringInfo(&values);
	initStringInfo(&texts);
	for (int i = 0; i < mapping->table->nkeys; i++)
	{
		int			key = mapping->table->keys[i];
		char	   *expression = key_expression(table, key);

		if (expression == NULL)
			return NULL;
		appendStringInfo(&columns, "%s%s", i ? ", " : "", mapping->sql_of[key]);
		appendStringInfo(&values, "%s%s", i ? ", " : "", expression);
	}
	foreach(lc, keys)
	{
		char	   *text = (char *) lfirst(lc);

		appendStringInfo(&texts, "%s%s", lc == list_head(keys) ? "" : ", ",
						 quote_literal_cstr(pg_any_to_server(text, strlen(text), PG_UTF8)));
	}
	return psprintf("(%s) IN (SELECT %s FROM pg_catalog.unnest(ARRAY[%s]::pg_catalog.jsonb[]) AS reject)",
					columns.data, values.data, texts.data);
}

void
reject_retried(Run *run, List *keys)
{
	channel_begin(run->channel, MESSAGE_RETRIED);
	message_put_texts(&run->channel->message, keys);
	channel_send(run->channel);
}
