/*-------------------------------------------------------------------------
 *
 * image_upsert.c
 *	  The upsert of rows that are in memory already, by way of images: each
 *	  batch becomes a small SQLite database in memory, and one statement
 *	  applies it.  The counterpart of "bind_step upsert".
 *
 * Usage: image_upsert FILE < rows
 *
 * Prints the seconds from opening the file to having it closed and on disk.
 * The image is built on this clock too, although the extension builds the next
 * one in another process meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/image.h"
#include "rows.h"

#define PAGE_SIZE	IMAGE_DEFAULT_PAGE_SIZE

static char *pages;
static size_t npages;

static void *
next_page(void *arg, uint32_t pgno)
{
	(void) arg;
	return pgno <= npages ? pages + (pgno - 1) * PAGE_SIZE : NULL;
}

/* An image of n rows, in pages; returns its size in bytes. */
static sqlite3_int64
build_image(void *memory, const Row *rows, size_t n, uint32_t cookie)
{
	ImageBuilder *builder = image_init(memory, PAGE_SIZE, 0, next_page, NULL);
	ImageSchemaEntry table = {"table", "bench", "bench", 0, CREATE_TABLE};
	uint32_t	count;

	image_begin_table(builder);
	for (size_t r = 0; r < n; r++)
	{
		ImageValue	values[TEXT_COLUMNS + 1] = {{.kind = IMAGE_NULL}};
		const char *text = rows[r].text;

		for (int i = 0; i < TEXT_COLUMNS; i++)
		{
			ImageValue *value = &values[i + 1];
			int			len = rows[r].len[i];

			if (len < 0)
				continue;
			if (i == LOVED)
			{
				value->kind = IMAGE_INTEGER;
				value->u.i = *text == '1';
			}
			else
			{
				value->kind = IMAGE_TEXT;
				value->len = len;
				value->u.data = text;
			}
			text += len;
		}
		if (image_add_row(builder, rows[r].id, values, TEXT_COLUMNS + 1) != IMAGE_OK)
			die("could not add row %lld to the image", (long long) rows[r].id);
	}
	if (image_end_table(builder, &table.root) != IMAGE_OK
		|| image_finish(builder, &table, 1, cookie, &count) != IMAGE_OK)
		die("could not finish the image");
	return (sqlite3_int64) count * PAGE_SIZE;
}

int
main(int argc, char **argv)
{
	const char *path = argv[1];
	size_t		nrows;
	Row		   *rows;
	void	   *memory = malloc(image_builder_size(PAGE_SIZE));
	sqlite3    *db;
	sqlite3_stmt *stmt = NULL;
	double		start;

	if (argc != 2)
		die("usage: image_upsert FILE < rows");
	rows = read_rows(&nrows);
	npages = (size_t) BATCH * 1024 / PAGE_SIZE;
	pages = malloc(npages * PAGE_SIZE);
	if (memory == NULL || pages == NULL)
		die("out of memory");

	start = now();
	if (sqlite3_open(path, &db) != SQLITE_OK)
		die("%s: %s", path, sqlite3_errmsg(db));
	run_sql(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA secure_delete = OFF; "
			"PRAGMA synchronous = FULL; ATTACH ':memory:' AS image");
	run_sql(db, CREATE_TABLE);
	for (size_t r = 0; r < nrows; r += BATCH)
	{
		size_t		n = nrows - r < BATCH ? nrows - r : BATCH;
		sqlite3_int64 size = build_image(memory, rows + r, n, 1 + r / BATCH);

		if (sqlite3_deserialize(db, "image", (unsigned char *) pages, size, size,
								SQLITE_DESERIALIZE_READONLY) != SQLITE_OK)
			die("deserialize: %s", sqlite3_errmsg(db));
		if (stmt == NULL)
			stmt = prepare(db, "INSERT INTO main.bench SELECT * FROM image.bench WHERE true"
						   UPSERT_ROW);
		run_sql(db, "BEGIN");
		if (sqlite3_step(stmt) != SQLITE_DONE)
			die("upsert: %s", sqlite3_errmsg(db));
		sqlite3_reset(stmt);
		run_sql(db, "COMMIT");
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	printf("%.3f\n", now() - start);
	return 0;
}
