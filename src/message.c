/*-------------------------------------------------------------------------
 *
 * message.c
 *	  What a caller, a runner and a writer say to each other.
 *
 * Each message has one put and one get function, side by side, that name the
 * same fields in the same order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq/pqformat.h"

#include "message.h"

void
message_put_int(StringInfo message, int64 value)
{
	pq_sendint64(message, value);
}

int64
message_get_int(StringInfo message)
{
	return pq_getmsgint64(message);
}

/*
 * Not pq_sendcountedtext(), which converts to the client's encoding; a worker
 * has no client.
 */
void
message_put_text(StringInfo message, const char *text)
{
	if (text == NULL)
	{
		message_put_int(message, -1);
		return;
	}
	message_put_int(message, strlen(text));
	message_put_bytes(message, text, strlen(text));
}

char *
message_get_text(StringInfo message)
{
	int64		len = message_get_int(message);

	if (len < 0)
		return NULL;
	return pnstrdup(pq_getmsgbytes(message, len), len);
}

void
message_put_texts(StringInfo message, List *texts)
{
	ListCell   *lc;

	message_put_int(message, list_length(texts));
	foreach(lc, texts)
		message_put_text(message, (char *) lfirst(lc));
}

List *
message_get_texts(StringInfo message)
{
	int64		n = message_get_int(message);
	List	   *texts = NIL;

	while (n-- > 0)
		texts = lappend(texts, message_get_text(message));
	return texts;
}

void
message_put_bytes(StringInfo message, const void *data, Size len)
{
	appendBinaryStringInfo(message, data, len);
}

void
message_get_bytes(StringInfo message, void *data, Size len)
{
	memcpy(data, pq_getmsgbytes(message, len), len);
}

/* NULL stays NULL. */
static void
put_blob(StringInfo message, const void *data, Size len)
{
	message_put_int(message, data ? (int64) len : -1);
	if (data)
		message_put_bytes(message, data, len);
}

static void *
get_blob(StringInfo message, Size *len)
{
	int64		size = message_get_int(message);
	void	   *data;

	*len = 0;
	if (size < 0)
		return NULL;
	*len = (Size) size;
	data = palloc(size + 1);
	message_get_bytes(message, data, size);
	return data;
}

void
message_put_table(StringInfo message, const TargetTable *table)
{
	ListCell   *lc;

	message_put_text(message, table->name);
	message_put_text(message, table->body);
	message_put_int(message, table->strict);
	message_put_int(message, table->auto_index);
	message_put_int(message, table->apply);
	message_put_int(message, table->adopted);
	message_put_int(message, table->ncolumns);
	for (int i = 0; i < table->ncolumns; i++)
	{
		message_put_text(message, table->columns[i].name);
		message_put_text(message, table->columns[i].sqlite_type);
		message_put_text(message, table->columns[i].source_type);
		message_put_text(message, table->columns[i].expression);
		message_put_text(message, table->columns[i].comment);
		message_put_int(message, table->columns[i].never_number);
	}
	message_put_int(message, table->nkeys);
	message_put_bytes(message, table->keys, table->nkeys * sizeof(int));
	message_put_int(message, list_length(table->indexes));
	foreach(lc, table->indexes)
	{
		TargetIndex *index = (TargetIndex *) lfirst(lc);

		message_put_text(message, index->name);
		message_put_text(message, index->columns);
		message_put_int(message, index->unique);
	}
	message_put_int(message, table->rowless);
	message_put_int(message, list_length(table->dimensions));
	foreach(lc, table->dimensions)
		message_put_table(message, (TargetTable *) lfirst(lc));
	message_put_bytes(message, table->parents, table->ncolumns * sizeof(int));
	message_put_int(message, table->nnatural);
	message_put_bytes(message, table->natural, table->nnatural * sizeof(int));
	message_put_int(message, table->nfts);
	message_put_bytes(message, table->fts, table->nfts * sizeof(int));
	message_put_text(message, table->view_name);
	message_put_text(message, table->view_sql);
	message_put_text(message, table->comment);
	message_put_text(message, table->source);
	message_put_text(message, table->fingerprint);
	message_put_int(message, list_length(table->rejects));
	foreach(lc, table->rejects)
		message_put_reject(message, (Reject *) lfirst(lc), table->nkeys);
	message_put_int(message, table->rows);
	message_put_text(message, table->position);
	put_blob(message, table->sums, table->sums_len);
}

static int *
get_ints(StringInfo message, int n)
{
	int		   *ints = palloc(n * sizeof(int));

	message_get_bytes(message, ints, n * sizeof(int));
	return ints;
}

TargetTable *
message_get_table(StringInfo message)
{
	TargetTable *table = palloc0(sizeof(TargetTable));
	int			nindexes;
	int			ndimensions;
	int64		nrejects;

	table->name = message_get_text(message);
	table->body = message_get_text(message);
	table->strict = message_get_int(message) != 0;
	table->auto_index = message_get_int(message) != 0;
	table->apply = (ApplyKind) message_get_int(message);
	table->adopted = message_get_int(message) != 0;
	table->ncolumns = (int) message_get_int(message);
	table->columns = palloc0(table->ncolumns * sizeof(TargetColumn));
	for (int i = 0; i < table->ncolumns; i++)
	{
		table->columns[i].name = message_get_text(message);
		table->columns[i].sqlite_type = message_get_text(message);
		table->columns[i].source_type = message_get_text(message);
		table->columns[i].expression = message_get_text(message);
		table->columns[i].comment = message_get_text(message);
		table->columns[i].never_number = message_get_int(message) != 0;
	}
	table->nkeys = (int) message_get_int(message);
	table->keys = get_ints(message, table->nkeys);
	nindexes = (int) message_get_int(message);
	for (int i = 0; i < nindexes; i++)
	{
		TargetIndex *index = palloc0(sizeof(TargetIndex));

		index->name = message_get_text(message);
		index->columns = message_get_text(message);
		index->unique = message_get_int(message) != 0;
		table->indexes = lappend(table->indexes, index);
	}
	table->rowless = message_get_int(message) != 0;
	ndimensions = (int) message_get_int(message);
	while (ndimensions-- > 0)
		table->dimensions = lappend(table->dimensions, message_get_table(message));
	table->parents = get_ints(message, table->ncolumns);
	table->nnatural = (int) message_get_int(message);
	table->natural = get_ints(message, table->nnatural);
	table->nfts = (int) message_get_int(message);
	table->fts = get_ints(message, table->nfts);
	table->view_name = message_get_text(message);
	table->view_sql = message_get_text(message);
	table->comment = message_get_text(message);
	table->source = message_get_text(message);
	table->fingerprint = message_get_text(message);
	nrejects = message_get_int(message);
	while (nrejects-- > 0)
		table->rejects = lappend(table->rejects, message_get_reject(message, table->nkeys));
	table->rows = message_get_int(message);
	table->position = message_get_text(message);
	table->sums = get_blob(message, &table->sums_len);
	return table;
}

void
message_put_open(StringInfo message, const OpenRequest *request)
{
	message_put_text(message, request->path);
	message_put_bytes(message, &request->forbidden, sizeof(request->forbidden));
	message_put_bytes(message, &request->options, sizeof(request->options));
	message_put_int(message, request->busy_timeout);
	message_put_texts(message, request->tables);
	message_put_int(message, request->keep);
}

void
message_get_open(StringInfo message, OpenRequest *request)
{
	request->path = message_get_text(message);
	message_get_bytes(message, &request->forbidden, sizeof(request->forbidden));
	message_get_bytes(message, &request->options, sizeof(request->options));
	request->busy_timeout = (int) message_get_int(message);
	request->tables = message_get_texts(message);
	request->keep = message_get_int(message) != 0;
}

void
message_put_opened(StringInfo message, const OpenReply *reply)
{
	ListCell   *lc;

	message_put_int(message, reply->disposition);
	message_put_texts(message, reply->owners);
	message_put_int(message, list_length(reply->states));
	foreach(lc, reply->states)
	{
		TargetState *state = (TargetState *) lfirst(lc);

		message_put_text(message, state->table_name);
		message_put_text(message, state->job);
		message_put_text(message, state->mode);
		message_put_text(message, state->source);
		message_put_text(message, state->fingerprint);
		message_put_text(message, state->system_identifier);
		message_put_int(message, state->timeline);
		message_put_text(message, state->database);
		message_put_text(message, state->position);
		message_put_int(message, state->rows);
		message_put_int(message, state->adopted);
	}
}

void
message_get_opened(StringInfo message, OpenReply *reply)
{
	int64		nstates;

	reply->disposition = (Disposition) message_get_int(message);
	reply->owners = message_get_texts(message);
	reply->states = NIL;
	nstates = message_get_int(message);
	while (nstates-- > 0)
	{
		TargetState *state = palloc0(sizeof(TargetState));

		state->table_name = message_get_text(message);
		state->job = message_get_text(message);
		state->mode = message_get_text(message);
		state->source = message_get_text(message);
		state->fingerprint = message_get_text(message);
		state->system_identifier = message_get_text(message);
		state->timeline = (int) message_get_int(message);
		state->database = message_get_text(message);
		state->position = message_get_text(message);
		state->rows = message_get_int(message);
		state->adopted = message_get_int(message) != 0;
		reply->states = lappend(reply->states, state);
	}
}

void
message_put_table_ready(StringInfo message, const TableReply *reply)
{
	message_put_int(message, reply->altered);
	put_blob(message, reply->sums, reply->sums_len);
	message_put_int(message, reply->has_rejects);
	message_put_texts(message, reply->reject_keys);
	message_put_texts(message, reply->notes);
}

void
message_get_table_ready(StringInfo message, TableReply *reply)
{
	reply->altered = message_get_int(message) != 0;
	reply->sums = get_blob(message, &reply->sums_len);
	reply->has_rejects = message_get_int(message) != 0;
	reply->reject_keys = message_get_texts(message);
	reply->notes = message_get_texts(message);
}

static void
put_values(StringInfo message, const ImageValue *values, int n)
{
	for (int i = 0; i < n; i++)
	{
		message_put_bytes(message, &values[i], sizeof(ImageValue));
		if (values[i].kind == IMAGE_TEXT || values[i].kind == IMAGE_BLOB)
			message_put_bytes(message, values[i].u.data, values[i].len);
	}
}

/* Text and blobs stay where they are in the message. */
static ImageValue *
get_values(StringInfo message, int n)
{
	ImageValue *values = palloc(n * sizeof(ImageValue));

	for (int i = 0; i < n; i++)
	{
		message_get_bytes(message, &values[i], sizeof(ImageValue));
		if (values[i].kind == IMAGE_TEXT || values[i].kind == IMAGE_BLOB)
			values[i].u.data = pq_getmsgbytes(message, values[i].len);
	}
	return values;
}

static void
put_bound(StringInfo message, const KeyBound *bound, int nkeys)
{
	message_put_int(message, bound->open);
	if (!bound->open)
		put_values(message, bound->values, nkeys);
}

static void
get_bound(StringInfo message, KeyBound *bound, int nkeys)
{
	bound->open = message_get_int(message) != 0;
	bound->values = bound->open ? NULL : get_values(message, nkeys);
}

void
message_put_reject(StringInfo message, const Reject *reject, int nkeys)
{
	message_put_int(message, reject->key != NULL);
	if (reject->key)
		put_values(message, reject->key, nkeys);
	message_put_int(message, reject->again);
	message_put_text(message, reject->column);
	message_put_int(message, reject->sqlerrcode);
	message_put_text(message, reject->message);
}

/* Nothing of it stays in the message: it waits for its batch. */
Reject *
message_get_reject(StringInfo message, int nkeys)
{
	Reject	   *reject = palloc0(sizeof(Reject));

	if (message_get_int(message) != 0)
	{
		reject->key = get_values(message, nkeys);
		for (int i = 0; i < nkeys; i++)
		{
			ImageValue *value = &reject->key[i];

			if (value->kind == IMAGE_TEXT || value->kind == IMAGE_BLOB)
				value->u.data = memcpy(palloc(value->len + 1), value->u.data, value->len);
		}
	}
	reject->again = message_get_int(message) != 0;
	reject->column = message_get_text(message);
	reject->sqlerrcode = (int) message_get_int(message);
	reject->message = message_get_text(message);
	return reject;
}

void
message_put_batch_end(StringInfo message, const BatchEnd *end, int nkeys)
{
	message_put_int(message, end->range);
	if (end->range)
	{
		put_bound(message, &end->after, nkeys);
		put_bound(message, &end->to, nkeys);
		message_put_int(message, end->begins);
		message_put_int(message, end->comes_round);
		message_put_int(message, end->ends);
		message_put_int(message, end->npieces);
		if (end->npieces > 0)
			message_put_bytes(message, end->pieces, end->npieces * sizeof(ImagePiece));
	}
	message_put_text(message, end->position);
}

void
message_get_batch_end(StringInfo message, BatchEnd *end, int nkeys)
{
	memset(end, 0, sizeof(*end));
	end->range = message_get_int(message) != 0;
	if (end->range)
	{
		get_bound(message, &end->after, nkeys);
		get_bound(message, &end->to, nkeys);
		end->begins = message_get_int(message) != 0;
		end->comes_round = message_get_int(message) != 0;
		end->ends = message_get_int(message) != 0;
		end->npieces = (int) message_get_int(message);
		end->pieces = palloc(end->npieces * sizeof(ImagePiece) + 1);
		message_get_bytes(message, end->pieces, end->npieces * sizeof(ImagePiece));
	}
	end->position = message_get_text(message);
}

void
message_put_finish(StringInfo message, const FinishRequest *request)
{
	ListCell   *lc;

	message_put_int(message, request->page_count);
	message_put_text(message, request->identity.job);
	message_put_text(message, request->identity.mode);
	message_put_text(message, request->identity.owner);
	message_put_text(message, request->identity.system_identifier);
	message_put_int(message, request->identity.timeline);
	message_put_text(message, request->identity.database);
	message_put_int(message, list_length(request->tables));
	foreach(lc, request->tables)
		message_put_table(message, (TargetTable *) lfirst(lc));
}

void
message_get_finish(StringInfo message, FinishRequest *request)
{
	int			ntables;

	request->page_count = (uint32) message_get_int(message);
	request->identity.job = message_get_text(message);
	request->identity.mode = message_get_text(message);
	request->identity.owner = message_get_text(message);
	request->identity.system_identifier = message_get_text(message);
	request->identity.timeline = (int) message_get_int(message);
	request->identity.database = message_get_text(message);
	ntables = (int) message_get_int(message);
	request->tables = NIL;
	while (ntables-- > 0)
		request->tables = lappend(request->tables, message_get_table(message));
}

void
message_put_done(StringInfo message, const FinishReply *reply)
{
	ListCell   *lc;

	message_put_int(message, reply->bytes_written);
	message_put_int(message, reply->write_us);
	message_put_int(message, list_length(reply->refused));
	foreach(lc, reply->refused)
		message_put_int(message, lfirst_int(lc));
	message_put_texts(message, reply->notes);
}

void
message_get_done(StringInfo message, FinishReply *reply)
{
	int64		ntables;

	reply->bytes_written = message_get_int(message);
	reply->write_us = message_get_int(message);
	reply->refused = NIL;
	ntables = message_get_int(message);
	while (ntables-- > 0)
		reply->refused = lappend_int(reply->refused, (int) message_get_int(message));
	reply->notes = message_get_texts(message);
}

bool
message_is_natural(const TargetTable *table, int column)
{
	for (int i = 0; i < table->nnatural; i++)
	{
		if (table->natural[i] == column)
			return true;
	}
	return false;
}

char *
message_quote_name(const char *name)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '"');
	for (; *name; name++)
	{
		if (*name == '"')
			appendStringInfoChar(&buf, '"');
		appendStringInfoChar(&buf, *name);
	}
	appendStringInfoChar(&buf, '"');
	return buf.data;
}
