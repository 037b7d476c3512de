/*-------------------------------------------------------------------------
 *
 * image.h
 *	  The pages of a SQLite database file, built bottom-up.
 *
 * Rows arrive in ascending rowid order and leave as finished pages, each
 * written once and in page order; page 1, which needs to know where every
 * b-tree is rooted, comes last.  The file format is the one documented at
 * https://www.sqlite.org/fileformat2.html; section numbers in image.c are
 * those of that page.
 *
 * This room is plain C11: no PostgreSQL header, no sqlite3 header, no
 * allocation, no I/O.  Its memory and its pages come from the caller, so it
 * can be tested and fuzzed alone, and a caller may leave by longjmp from
 * inside next_page without leaking anything.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_IMAGE_H
#define LFSYNC_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_MIN_PAGE_SIZE		512
#define IMAGE_MAX_PAGE_SIZE		65536
#define IMAGE_DEFAULT_PAGE_SIZE 4096
#define IMAGE_MAX_COLUMNS		2000	/* SQLite's SQLITE_MAX_COLUMN */
#define IMAGE_MAX_RECORD		1000000000	/* SQLite's default length limit */

typedef enum ImageKind
{
	IMAGE_NULL,
	IMAGE_INTEGER,
	IMAGE_REAL,
	IMAGE_TEXT,					/* UTF-8, not terminated */
	IMAGE_BLOB
} ImageKind;

typedef struct ImageValue
{
	ImageKind	kind;
	uint32_t	len;			/* bytes of text or blob */
	union
	{
		int64_t		i;
		double		r;			/* never NaN: SQLite has none; -0.0 is stored
								 * as 0.0, as SQLite does */
		const void *data;
	}			u;
} ImageValue;

typedef enum ImageResult
{
	IMAGE_OK,
	IMAGE_FULL,					/* the row does not fit below page_limit;
								 * nothing was changed */
	IMAGE_ORDER,				/* rowid is not above the last one; nothing
								 * was changed */
	IMAGE_TOO_LARGE,			/* record above IMAGE_MAX_RECORD or
								 * IMAGE_MAX_COLUMNS; nothing was changed */
	IMAGE_NO_PAGES				/* page numbers are used up, or next_page gave
								 * NULL; the image is lost */
} ImageResult;

/*
 * Room for page pgno, page_size bytes of any content.  Called with ascending
 * numbers from 2 (the lock-byte page is skipped: its number never comes), and
 * at the very end once with 1.  The page given before is complete when the
 * next one is asked for, or when image_finish() returns.
 */
typedef void *(*ImageNextPage) (void *arg, uint32_t pgno);

/* One row of sqlite_schema (section 2.6 of the file format). */
typedef struct ImageSchemaEntry
{
	const char *type;			/* "table" or "index" */
	const char *name;
	const char *tbl_name;
	uint32_t	root;
	const char *sql;			/* NULL for an automatic index */
} ImageSchemaEntry;

typedef struct ImageBuilder ImageBuilder;

/* Bytes of memory, aligned as for malloc, that image_init() needs. */
extern size_t image_builder_size(uint32_t page_size);

/*
 * Starts an image in the memory given.  page_size is a power of two within
 * the bounds above.
 *
 * page_limit is the largest page number that rows may lead to, 0 for no limit
 * beyond the format's own.  After every row that was taken the table can be
 * ended within it.  Not within it need be what no row asks for: the page of a
 * table without rows, of an empty index, and what image_finish() writes
 * beside page 1.  A caller whose room ends at page n gives n less a page for
 * each table and index to come, less image_schema_pages().
 */
extern ImageBuilder *image_init(void *memory, uint32_t page_size,
								uint32_t page_limit,
								ImageNextPage next_page, void *arg);

/*
 * A table's b-tree: begin, its rows in ascending rowid order, end.  One table
 * is open at a time.  The record of a column that is the rowid's alias is
 * NULL (section 2.3); that is the caller's to give.  Columns after the last
 * value read as their default; a row of no values is written as one NULL.
 */
extern void image_begin_table(ImageBuilder *builder);
extern ImageResult image_add_row(ImageBuilder *builder, int64_t rowid,
								 const ImageValue *values, int nvalues);
extern ImageResult image_end_table(ImageBuilder *builder, uint32_t *root);

/* An index b-tree without entries, for REINDEX to fill. */
extern ImageResult image_empty_index(ImageBuilder *builder, uint32_t *root);

/*
 * The most pages that image_finish() will need for these entries beside page
 * 1: mostly none.  Their roots need not be known yet.
 */
extern uint32_t image_schema_pages(uint32_t page_size,
								   const ImageSchemaEntry *entries,
								   int nentries);

/*
 * The schema and page 1.  Any result but IMAGE_OK means that the image is
 * lost.  schema_cookie must differ between two images that one connection
 * sees one after the other.  *page_count is the size of the database in
 * pages.
 */
extern ImageResult image_finish(ImageBuilder *builder,
								const ImageSchemaEntry *entries, int nentries,
								uint32_t schema_cookie, uint32_t *page_count);

/* The page that holds the lock byte at 2^30 and must stay unused (1.6). */
extern uint32_t image_lock_byte_page(uint32_t page_size);

#endif							/* LFSYNC_IMAGE_H */
