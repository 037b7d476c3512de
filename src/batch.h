/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Rows of one table on their way to the writer, as images.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_BATCH_H
#define LFSYNC_BATCH_H

#include "dictionary.h"
#include "runner.h"

typedef enum BatchForm
{
	BATCH_KEYED,				/* as in the target: whole records can be
								 * copied; rows in ascending rowid order */
	BATCH_NUMBERED				/* in any order, the key is a value like any
								 * other */
} BatchForm;

typedef struct Batch Batch;

/*
 * Fills in what goes with an image of a table kept in sync, as it is about to
 * leave; false if it need not, since the target has its rows as they are.
 */
typedef bool (*BatchDescribe) (void *arg, BatchEnd *end);

struct Batch
{
	Run		   *run;
	Source	   *source;
	const Mapping *mapping;
	BatchForm	form;
	Dictionary *dictionary;		/* of what the rows refer to, or NULL */
	int			nentries;		/* tables of an image */
	ImageSchemaEntry *entries;
	BatchDescribe describe;		/* NULL in a table that is filled */
	void	   *arg;
	int			nrows;			/* in the image being built */
	int			max_rows;		/* adapts to the writer's speed */

	/* the image being built */
	ImageBuilder *builder;
	void	   *builder_memory;
	char	   *pages;			/* NULL: none */
	uint32		buffer;
	uint32		npages;			/* handed out */
	uint32		max_pages;
	dsm_segment *wide;			/* a segment for one row, or NULL */

	/* over all images, for the mean row */
	int64		total_rows;
	int64		total_pages;
};

extern Batch *batch_create(Run *run);

/* The rows that follow are for this table; tells the writer nothing. */
extern void batch_begin_table(Batch *batch, Source *source,
							  const Mapping *mapping, BatchForm form,
							  BatchDescribe describe, void *arg);

/*
 * Adds a row; whenever the image is full it is sent first.  A numbered batch
 * needs no rowid.  In a keyed one the alias is NULL in values.  Where the
 * result is not IMAGE_OK the row is not in it, for batch_refuse_row() to say.
 */
extern ImageResult batch_add_row(Batch *batch, int64 rowid,
								 const ImageValue *values);

/* Do so many rows fit into the image that is open, if they are like its others? */
extern bool batch_has_room(const Batch *batch, int64 rows);

/* Sends what there is, if there is anything. */
extern void batch_send(Batch *batch);

/* As many rows as there is room for, waiting for some: for SourceBeforeFetch. */
extern long batch_before_fetch(Batch *batch);

/*
 * A result other than IMAGE_OK for a row: rejects the row, or raises the error.
 * Without values it is the file that is at its end.
 */
extern void batch_refuse_row(Source *source, ImageResult result,
							 const ImageValue *values);

#endif							/* LFSYNC_BATCH_H */
