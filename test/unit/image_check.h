/*-------------------------------------------------------------------------
 *
 * image_check.h
 *	  What the unit tests and the fuzzer of image.c hold an image against.
 *
 * A sink collects the pages that a builder asks for, and notices a builder
 * that breaks the rules of ImageNextPage.  The image is then judged twice: by
 * a page walker that knows the file format's document and nothing of image.c,
 * and by SQLite's integrity_check and its reading of every value.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IMAGE_CHECK_H
#define IMAGE_CHECK_H

#include "image.h"

/* Where the pages go: to memory, or to a file that may have holes. */
typedef struct Sink
{
	uint32_t	page_size;
	int			fd;				/* -1: to memory */
	uint8_t    *bytes;			/* all pages, in memory */
	size_t		capacity;

	uint8_t    *open;			/* the page given last */
	uint32_t	open_pgno;
	uint32_t	last_pgno;		/* the highest number given */
	uint32_t	fail_at;		/* give NULL from this number on, if not 0 */
	bool		discard;		/* keep nothing */
	const char *fault;			/* the first rule that was broken */
} Sink;

extern void sink_open(Sink *sink, uint32_t page_size, int fd);
extern void *sink_next_page(void *sink, uint32_t pgno);
extern void sink_settle(Sink *sink);	/* takes the page given last */
extern void sink_close(Sink *sink);

/*
 * What an image should hold.  row() gives the row of a table; pointers in
 * values are good until it is called again.  Values that it leaves out, and
 * the one at alias (the rowid's alias, -1 if none), are NULL in the record.
 */
typedef struct ExpectedTable
{
	int			ncolumns;
	int			alias;
	int64_t		nrows;
	void		(*row) (void *arg, int64_t n, int64_t *rowid,
						ImageValue *values, int *nvalues);
	void	   *arg;
} ExpectedTable;

typedef struct Expected
{
	uint32_t	page_size;
	uint32_t	page_count;
	uint32_t	schema_cookie;
	int			nentries;
	const ImageSchemaEntry *entries;
	const ExpectedTable *tables;	/* parallel to entries; nothing is
									 * expected in an index */
} Expected;

/* What the walker saw. */
typedef struct Seen
{
	int			depth;			/* of the deepest tree, 1 if all are leaves */
	uint32_t	schema_pages;	/* beside page 1 */
	uint32_t	leaves;			/* of tables */
	uint64_t	gaps;			/* bytes in the gaps of those leaves */
	uint32_t	interiors;		/* of tables */
} Seen;

/* NULL if all is well, or what is wrong (good until the next check). */
extern const char *check_pages(const uint8_t *bytes, const Expected *expected,
							   Seen *seen);
extern const char *check_deserialized(uint8_t *bytes,
									  const Expected *expected);
extern const char *check_file(const char *path, const Expected *expected,
							  const char *first_sql);

#endif							/* IMAGE_CHECK_H */
