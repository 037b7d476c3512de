/*-------------------------------------------------------------------------
 *
 * order.c
 *	  What a run is asked to do, on its way from the caller to the runner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "message.h"
#include "order.h"

/* Room for the counts of one target table in the result. */
#define RESULT_PER_TABLE	2048

static void
put_oids(StringInfo message, List *oids)
{
	ListCell   *lc;

	message_put_int(message, list_length(oids));
	foreach(lc, oids)
		message_put_int(message, lfirst_oid(lc));
}

static List *
get_oids(StringInfo message)
{
	int64		n = message_get_int(message);
	List	   *oids = NIL;

	while (n-- > 0)
		oids = lappend_oid(oids, (Oid) message_get_int(message));
	return oids;
}

dsm_segment *
order_send(const SyncOrder *order)
{
	StringInfoData message;
	dsm_segment *segment;
	OrderSegment *shared;
	Size		result_size;

	initStringInfo(&message);
	message_put_text(&message, order->job);
	message_put_int(&message, order->job_id);
	message_put_int(&message, order->scheduled);
	message_put_int(&message, order->attempt);
	message_put_text(&message, order->condition);
	message_put_text(&message, order->timezone);
	message_put_text(&message, order->event);
	message_put_text(&message, order->on_event);
	message_put_text(&message, order->mode);
	put_oids(&message, order->sources);
	message_put_texts(&message, order->table_names);
	message_put_text(&message, order->query);
	message_put_text(&message, order->file);
	message_put_texts(&message, order->key_columns);
	message_put_text(&message, order->filter);
	message_put_texts(&message, order->cursor_columns);
	message_put_text(&message, order->mapping);
	message_put_int(&message, order->reset);
	message_put_text(&message, order->search_path);
	message_put_text(&message, order->export_directory);
	message_put_int(&message, order->batch_bytes);
	message_put_int(&message, order->busy_timeout);
	message_put_bytes(&message, &order->options, sizeof(order->options));
	message_put_bytes(&message, &order->flush, sizeof(order->flush));
	put_oids(&message, order->held);

	result_size = RESULT_PER_TABLE * (list_length(order->table_names) + 1);
	segment = dsm_create(offsetof(OrderSegment, data) + message.len + result_size,
						 0);
	shared = dsm_segment_address(segment);
	shared->order_len = message.len;
	shared->result_size = result_size;
	shared->result_len = 0;
	memcpy(shared->data, message.data, message.len);
	return segment;
}

SyncOrder *
order_receive(dsm_handle handle, dsm_segment **segment)
{
	SyncOrder  *order;
	OrderSegment *shared;
	StringInfoData message;

	*segment = dsm_attach(handle);
	if (*segment == NULL)
		return NULL;
	shared = dsm_segment_address(*segment);
	message.data = shared->data;
	message.len = message.maxlen = shared->order_len;
	message.cursor = 0;

	order = palloc0(sizeof(SyncOrder));
	order->job = message_get_text(&message);
	order->job_id = message_get_int(&message);
	order->scheduled = message_get_int(&message) != 0;
	order->attempt = (int) message_get_int(&message);
	order->condition = message_get_text(&message);
	order->timezone = message_get_text(&message);
	order->event = message_get_text(&message);
	order->on_event = message_get_text(&message);
	order->mode = message_get_text(&message);
	order->sources = get_oids(&message);
	order->table_names = message_get_texts(&message);
	order->query = message_get_text(&message);
	order->file = message_get_text(&message);
	order->key_columns = message_get_texts(&message);
	order->filter = message_get_text(&message);
	order->cursor_columns = message_get_texts(&message);
	order->mapping = message_get_text(&message);
	order->reset = message_get_int(&message) != 0;
	order->search_path = message_get_text(&message);
	order->export_directory = message_get_text(&message);
	order->batch_bytes = (int) message_get_int(&message);
	order->busy_timeout = (int) message_get_int(&message);
	message_get_bytes(&message, &order->options, sizeof(order->options));
	message_get_bytes(&message, &order->flush, sizeof(order->flush));
	order->held = get_oids(&message);
	return order;
}

bool
order_goes_on(const SyncOrder *order)
{
	return order->mode != NULL && strcmp(order->mode, "full") != 0;
}

void
order_add_first_position(SyncOrder *order)
{
	char	   *condition;

	if (order->options.start_after[0] == '\0' || order->cursor_columns == NIL)
		return;
	condition = psprintf("%s > %s", quote_identifier(linitial(order->cursor_columns)),
						 quote_literal_cstr(order->options.start_after));
	order->filter = order->filter == NULL ? condition :
		psprintf("(%s\n) AND %s", order->filter, condition);
}

void
order_refuse_held(List *held, Oid relid)
{
	if (list_member_oid(held, relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" has been changed by the calling transaction",
						get_rel_name(relid)),
				 errdetail("A run reads committed rows only."),
				 errhint("Commit first, then start the run.")));
}

void
order_set_result(dsm_segment *segment, const char *result)
{
	OrderSegment *shared = dsm_segment_address(segment);
	Size		len = strlen(result);

	/* names are bounded (options.c), so that this cannot happen */
	if (len > shared->result_size)
		elog(ERROR, "result of %zu bytes does not fit", len);
	memcpy(shared->data + shared->order_len, result, len);
	shared->result_len = len;
}

char *
order_get_result(dsm_segment *segment)
{
	OrderSegment *shared = dsm_segment_address(segment);

	if (shared->result_len == 0)
		return NULL;
	return pnstrdup(shared->data + shared->order_len, shared->result_len);
}
