/*-------------------------------------------------------------------------
 *
 * order.h
 *	  What a run is asked to do, on its way from the caller to the runner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_ORDER_H
#define LFSYNC_ORDER_H

#include "nodes/pg_list.h"
#include "storage/dsm.h"

#include "options.h"

/* When what waits in memory is written. */
typedef struct FlushBounds
{
	bool		staged;			/* false: nothing waits */
	int			rows;
	int			interval;		/* ms */
	int			max_pending_rows;	/* in the middle of a look, too */
	int			look_every;		/* ms */
} FlushBounds;

typedef struct SyncOrder
{
	char	   *job;			/* NULL: a one-off run */
	int64		job_id;			/* 0: not a run that counts as the job's */
	bool		scheduled;		/* started by the scheduler ... */
	int			attempt;		/* ... for which time, from 1 */
	char	   *condition;		/* SQL: run only if it is true; NULL: always */
	char	   *timezone;		/* for the condition; NULL: UTC */
	char	   *event;			/* json: call "on_event" with it, no more */
	char	   *on_event;
	char	   *mode;
	List	   *sources;		/* OIDs; empty if there is a query */
	List	   *table_names;	/* one per source, or the query's one */
	char	   *query;			/* NULL: the sources are relations */
	char	   *file;			/* as given */
	List	   *key_columns;	/* char *; NIL: the primary key */
	char	   *filter;			/* NULL: all rows */
	List	   *cursor_columns; /* char *; NIL: none */
	char	   *mapping;		/* json text, NULL: none */
	bool		reset;			/* start from nothing */
	char	   *search_path;	/* for names in query and filter */
	char	   *export_directory;	/* the caller's settings: a session may have */
	int			batch_bytes;	/* its own */
	int			busy_timeout;
	SyncOptions options;
	FlushBounds flush;
	List	   *held;			/* relations that the caller has changed */
	bool		in_place;		/* set by the runner: the file holds other
								 * tables, which stay */
} SyncOrder;

/*
 * The caller's segment carries the order one way and the run's result, a json
 * object of counts per target table, the other.
 */
typedef struct OrderSegment
{
	Size		order_len;
	Size		result_size;	/* room for the result */
	Size		result_len;
	char		data[FLEXIBLE_ARRAY_MEMBER];	/* order, then result */
} OrderSegment;

/* Does the run's mode leave a table for later runs to go on with? */
extern bool order_goes_on(const SyncOrder *order);

/*
 * Option "start_after" is a filter over the first cursor column, for good: a run
 * adds it before it prepares anything.
 */
extern void order_add_first_position(SyncOrder *order);

/* Creates the segment; it goes with the current resource owner. */
extern dsm_segment *order_send(const SyncOrder *order);

/* Reads the order; NULL if the caller is gone already. */
extern SyncOrder *order_receive(dsm_handle handle, dsm_segment **segment);

/*
 * Refuses (55000) a relation that the caller's transaction has changed: a run
 * sees none of that, and must not.
 */
extern void order_refuse_held(List *held, Oid relid);

extern void order_set_result(dsm_segment *segment, const char *result);
extern char *order_get_result(dsm_segment *segment);

#endif							/* LFSYNC_ORDER_H */
