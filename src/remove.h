/*-------------------------------------------------------------------------
 *
 * remove.h
 *	  Removing the file of a job that is dropped.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_REMOVE_H
#define LFSYNC_REMOVE_H

#include "postmaster/bgworker.h"

#include "progress.h"

/* In the segment of whoever asks; text is UTF-8, as in the file. */
typedef struct RemoveRequest
{
	int			busy_timeout;	/* ms */
	char		path[MAXPGPATH];
	char		job[SLOT_MESSAGE];
	char		owner[SLOT_TEXT];
} RemoveRequest;

/*
 * Registers the worker for a claimed slot, whose "order" is the request; false
 * if none is free.  Refuses a file that holds anything but tables of this job
 * and owner, and one that somebody has open.  It is no error if there is none.
 */
extern bool remover_start(const SlotHandle *handle,
						  BackgroundWorkerHandle **worker);

#endif							/* LFSYNC_REMOVE_H */
