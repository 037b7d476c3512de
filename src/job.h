/*-------------------------------------------------------------------------
 *
 * job.h
 *	  Stored jobs: rows of lfsync_jobs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_JOB_H
#define LFSYNC_JOB_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "order.h"
#include "schedule.h"

/* NULL and NIL stand for the default, as they do in the table. */
typedef struct Job
{
	int64		id;				/* 0: not stored yet */
	char	   *name;
	char	   *owner;			/* the role, by name ... */
	Oid			owner_oid;		/* ... and told apart from another of it */
	char	   *source;			/* qualified and quoted; NULL: a query */
	char	   *query;
	char	   *file;
	char	   *mode;
	char	   *table_name;		/* NULL: the source's */
	List	   *key_columns;	/* char * */
	List	   *cursor_columns; /* char * */
	char	   *filter;
	char	   *mapping;		/* json text */
	Interval   *schedule;
	bool		enabled;		/* counts in the job's own cluster only */
	Jsonb	   *options;
	char	   *search_path;	/* for names in query, filter and mapping */
	char	   *system_identifier;	/* the cluster that it belongs to */
	bool		reset;			/* the next run starts from nothing */
	TimestampTz created_at;		/* set by the table ... */
	TimestampTz updated_at;		/* ... each time the job is changed */
} Job;

/*
 * The job of this name.  An error unless it exists and the current user may
 * steer it: its owner, a member of that role, or a superuser.  for_update locks
 * the row until the end of the transaction.
 */
extern Job *job_get(const char *name, bool for_update);

/* Names, sorted, of the enabled jobs that the current user may run. */
extern List *job_names_enabled(void);

/* All jobs by id, in CurrentMemoryContext.  List of Job. */
extern List *job_list(void);

/* Is it a job of this cluster?  In another one it does nothing. */
extern bool job_is_at_home(const Job *job);

/* The role whose members see and steer a job; InvalidOid: superusers only. */
extern Oid	job_steering_role(const Job *job);

/* Stores a new job, under a name that no other has, and sets its id. */
extern void job_insert(Job *job);

/* Stores what has been changed in a job that was got for update. */
extern void job_update(const Job *job);
extern void job_delete(const Job *job);

/*
 * Refuses (55000) a job of another cluster, and one whose owner is not the role
 * that stored it any more.
 */
extern void job_check_owner(const Job *job);

/* How long its rows may wait in memory, when it runs by itself. */
extern FlushBounds job_flush_bounds(const Job *job, const JobOptions *options);

/*
 * Makes the job one of this cluster and of a role; or of the role that its
 * owner is by now, here.
 */
extern void job_give(Job *job, Oid role);
extern void job_adopt(Job *job);

/* What the job says of when it runs by itself; an error if that is no sense. */
extern void job_schedule(const Job *job, Schedule *schedule,
						 JobOptions *options);

/* What a run of the job is asked to do; its source is looked up by name. */
extern void job_order(const Job *job, SyncOrder *order);

/*
 * Whether the job can be run as it stands, as far as can be said without
 * reading the source.  Chooses a mode if there is none.  (job_check.c)
 */
extern void job_validate(Job *job);

/*
 * For the runner, in a transaction of its own: a run whose order said "reset"
 * has started from nothing and succeeded.
 */
extern void job_clear_reset(const char *name);

#endif							/* LFSYNC_JOB_H */
