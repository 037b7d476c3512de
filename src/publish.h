/*-------------------------------------------------------------------------
 *
 * publish.h
 *	  A new file: built under a temporary name, then published under its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_PUBLISH_H
#define LFSYNC_PUBLISH_H

#include "options.h"
#include "path.h"

typedef struct NewFile
{
	int			fd;
	uint32		page_size;
	char		name[NAME_MAX + 1]; /* in the target's directory */
	char		path[MAXPGPATH];
} NewFile;

/* Removes what killed runs have left beside the target; raises nothing. */
extern void newfile_remove_orphans(const TargetPath *target);

/* Creates the temporary file beside the target. */
extern NewFile *newfile_create(const TargetPath *target, uint32 page_size);

/* Writes pages at their place; first_page counts from 1. */
extern void newfile_write(NewFile *file, const void *pages, uint32 first_page,
						  uint32 npages);

/* Cuts off what lies beyond the last page of the finished database. */
extern void newfile_truncate(NewFile *file, uint32 page_count);

/*
 * Makes the file durable and gives it its name.  A file that is already there
 * is replaced by rename if nobody has it open, and else overwritten in one
 * SQLite transaction, so that open readers see the new content or the old.
 */
extern void newfile_publish(NewFile *file, TargetPath *target,
							const SyncOptions *options);

/*
 * Removes a file that target_examine() has seen and that nobody has open; an
 * error (55006) if somebody has, or if that cannot be known.
 */
extern void publish_remove(const TargetPath *target);

/* Removes the temporary file.  Never raises an error. */
extern void newfile_discard(NewFile *file, const TargetPath *target);

#endif							/* LFSYNC_PUBLISH_H */
