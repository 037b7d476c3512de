/*-------------------------------------------------------------------------
 *
 * image_check.c
 *	  What the unit tests and the fuzzer of image.c hold an image against.
 *
 * The page walker is written from https://www.sqlite.org/fileformat2.html
 * alone; section numbers are those of that page.  Beyond the format it asks
 * for what image.c promises: no unused page, no byte that is not accounted
 * for, shortest serial types and varints, leaves as full as the rows allow.
 *
 *-------------------------------------------------------------------------
 */
#include "image_check.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char message[1000];

static bool
wrong(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	return false;
}

static void *
need(void *memory)
{
	if (memory == NULL)
	{
		perror("out of memory");
		exit(2);
	}
	return memory;
}


/* ----------
 * The sink
 * ----------
 */

void
sink_open(Sink *sink, uint32_t page_size, int fd)
{
	memset(sink, 0, sizeof(*sink));
	sink->page_size = page_size;
	sink->fd = fd;
	sink->last_pgno = 1;
}

/*
 * Moves the page given last to the image.  Its own memory is freed, so that
 * AddressSanitizer sees a builder that still writes to it.
 */
void
sink_settle(Sink *sink)
{
	uint32_t	size = sink->page_size;
	size_t		offset;

	if (sink->open == NULL)
		return;
	offset = (size_t) (sink->open_pgno - 1) * size;
	if (sink->discard)
		;
	else if (sink->fd >= 0)
	{
		const uint32_t block = 512;

		/* Blocks of zeros become holes, but page 1 may have been there before. */
		for (uint32_t at = 0; at < size; at += block)
		{
			const uint8_t *from = sink->open + at;

			if (sink->open_pgno != 1 && from[0] == 0 && memcmp(from, from + 1, block - 1) == 0)
				continue;
			if (pwrite(sink->fd, from, block, (off_t) (offset + at)) != (ssize_t) block)
			{
				perror("pwrite");
				exit(2);
			}
		}
	}
	else
	{
		while (offset + size > sink->capacity)
		{
			size_t		more = sink->capacity == 0 ? 16 * size : sink->capacity;

			sink->bytes = need(realloc(sink->bytes, sink->capacity + more));
			memset(sink->bytes + sink->capacity, 0, more);
			sink->capacity += more;
		}
		memcpy(sink->bytes + offset, sink->open, size);
	}
	free(sink->open);
	sink->open = NULL;
}

void *
sink_next_page(void *arg, uint32_t pgno)
{
	Sink	   *sink = arg;
	uint32_t	due = sink->last_pgno + 1;

	if (due == (1u << 30) / sink->page_size + 1)
		due++;
	sink_settle(sink);
	if (sink->fault == NULL && sink->open_pgno == 1)
		sink->fault = "a page was asked for after page 1";
	if (sink->fault == NULL && pgno != 1 && pgno != due)
		sink->fault = "a page number is out of order";
	if (sink->fail_at != 0 && (pgno == 1 ? due : pgno) >= sink->fail_at)
		return NULL;

	sink->open = need(malloc(sink->page_size));
	memset(sink->open, 0xa5, sink->page_size);
	sink->open_pgno = pgno;
	if (pgno != 1)
		sink->last_pgno = pgno;
	return sink->open;
}

void
sink_close(Sink *sink)
{
	free(sink->open);
	free(sink->bytes);
	memset(sink, 0, sizeof(*sink));
}


/* ----------
 * The page walker
 * ----------
 */

typedef struct Walk
{
	const uint8_t *bytes;
	const Expected *expected;
	uint8_t    *reached;		/* per page */
	Seen	   *seen;

	/* the tree being walked */
	int			entry;			/* -1 for sqlite_schema */
	int			leaf_depth;		/* 0 before the first leaf */
	int64_t		nrows;
	bool		has_last;
	int64_t		last_rowid;
	uint32_t	last_gap;		/* of the leaf before; 0 for none */

	ImageValue *values;			/* of the row expected */
	uint8_t    *payload;
	uint64_t	payload_capacity;
} Walk;

static uint32_t
get_number(const uint8_t *from, int size)
{
	uint32_t	v = 0;

	while (size-- > 0)
		v = v << 8 | *from++;
	return v;
}

/* Reads a varint (1.6), which must be in its shortest form. */
static bool
get_varint(const uint8_t **from, const uint8_t *end, uint64_t *v)
{
	const uint8_t *start = *from;

	*v = 0;
	for (int i = 0; i < 8; i++)
	{
		if (*from >= end)
			return wrong("a varint leaves its page or record");
		*v = *v << 7 | (**from & 0x7f);
		if ((*(*from)++ & 0x80) == 0)
		{
			if (i > 0 && *start == 0x80)
				return wrong("a varint is not in its shortest form");
			return true;
		}
	}
	if (*from >= end)
		return wrong("a varint leaves its page or record");
	*v = *v << 8 | *(*from)++;
	if (*v >> 56 == 0)
		return wrong("a varint is not in its shortest form");
	return true;
}

static const uint8_t *
reach(Walk *walk, uint32_t pgno)
{
	uint32_t	page_size = walk->expected->page_size;

	if (pgno < 1 || pgno > walk->expected->page_count ||
		pgno == (1u << 30) / page_size + 1)
	{
		wrong("page %u does not exist", pgno);
		return NULL;
	}
	if (walk->reached[pgno]++ != 0)
	{
		wrong("page %u is reached twice", pgno);
		return NULL;
	}
	return walk->bytes + (size_t) (pgno - 1) * page_size;
}

static bool
all_zero(const uint8_t *from, size_t size)
{
	return size == 0 || (from[0] == 0 && memcmp(from, from + 1, size - 1) == 0);
}

/* The serial type a value should have, and its bytes (2.1). */
static uint64_t
expected_type(const ImageValue *value, uint8_t *number, const uint8_t **data,
			  uint32_t *size)
{
	static const struct
	{
		int64_t		max;
		uint32_t	size;
	}			integers[] = {
		{INT8_MAX, 1}, {INT16_MAX, 2}, {8388607, 3}, {INT32_MAX, 4},
		{INT64_C(140737488355327), 6}, {INT64_MAX, 8}
	};
	uint64_t	bits = 0;
	uint64_t	type = 0;

	*data = number;
	*size = 0;
	switch (value->kind)
	{
		case IMAGE_NULL:
			return 0;
		case IMAGE_TEXT:
		case IMAGE_BLOB:
			*data = value->u.data;
			*size = value->len;
			return (value->kind == IMAGE_TEXT ? 13 : 12) + 2 * (uint64_t) value->len;
		case IMAGE_REAL:
			{
				double		r = value->u.r == 0 ? 0.0 : value->u.r;

				memcpy(&bits, &r, 8);
				*size = 8;
				type = 7;
				break;
			}
		case IMAGE_INTEGER:
			if (value->u.i == 0)
				return 8;
			if (value->u.i == 1)
				return 9;
			bits = (uint64_t) value->u.i;
			for (int i = 5; i >= 0; i--)
				if (value->u.i <= integers[i].max && value->u.i >= -integers[i].max - 1)
				{
					type = (uint64_t) i + 1;
					*size = integers[i].size;
				}
			break;
	}
	for (uint32_t i = 0; i < *size; i++)
		number[i] = (uint8_t) (bits >> 8 * (*size - 1 - i));
	return type;
}

/* The row that comes next in the tree being walked. */
static bool
expected_row(Walk *walk, int64_t *rowid, int *nvalues)
{
	const Expected *expected = walk->expected;
	const ImageSchemaEntry *entry;
	const char *texts[5];

	if (walk->entry >= 0)
	{
		const ExpectedTable *table = &expected->tables[walk->entry];

		if (walk->nrows >= table->nrows)
			return wrong("more than %" PRId64 " rows", table->nrows);
		table->row(table->arg, walk->nrows, rowid, walk->values, nvalues);
		/* SQLite itself cannot read a record without columns. */
		if (*nvalues == 0)
			walk->values[(*nvalues)++].kind = IMAGE_NULL;
		return true;
	}

	if (walk->nrows >= expected->nentries)
		return wrong("more than %d schema rows", expected->nentries);
	entry = &expected->entries[walk->nrows];
	texts[0] = entry->type;
	texts[1] = entry->name;
	texts[2] = entry->tbl_name;
	texts[4] = entry->sql;
	for (int i = 0; i < 5; i++)
	{
		ImageValue *value = &walk->values[i];

		if (i == 3)
		{
			value->kind = IMAGE_INTEGER;
			value->u.i = entry->root;
		}
		else if (texts[i] == NULL)
			value->kind = IMAGE_NULL;
		else
		{
			value->kind = IMAGE_TEXT;
			value->len = (uint32_t) strlen(texts[i]);
			value->u.data = texts[i];
		}
	}
	*rowid = walk->nrows + 1;
	*nvalues = 5;
	return true;
}

static bool
check_record(Walk *walk, int64_t rowid, const uint8_t *record, uint64_t size)
{
	const uint8_t *end = record + size;
	const uint8_t *at = record;
	const uint8_t *body;
	uint64_t	header;
	int64_t		wanted_rowid;
	int			nvalues;

	if (!expected_row(walk, &wanted_rowid, &nvalues))
		return false;
	if (rowid != wanted_rowid)
		return wrong("rowid %" PRId64 " instead of %" PRId64, rowid, wanted_rowid);
	if (!get_varint(&at, end, &header))
		return false;
	if (header > size)
		return wrong("a record header is longer than the record");
	body = record + header;
	for (int i = 0; i < nvalues; i++)
	{
		uint8_t		number[8];
		const uint8_t *data;
		uint32_t	len;
		uint64_t	type;
		uint64_t	wanted = expected_type(&walk->values[i], number, &data, &len);

		if (!get_varint(&at, record + header, &type))
			return false;
		if (type != wanted)
			return wrong("row %" PRId64 " column %d: serial type %" PRIu64 " instead of %" PRIu64,
						 rowid, i, type, wanted);
		if (len > (uint64_t) (end - body))
			return wrong("row %" PRId64 " column %d: beyond the record", rowid, i);
		if (len > 0 && memcmp(body, data, len) != 0)
			return wrong("row %" PRId64 " column %d: another value", rowid, i);
		body += len;
	}
	if (at != record + header || body != end)
		return wrong("row %" PRId64 ": bytes left over in the record", rowid);
	return true;
}

/* The payload of a cell, put together, and the end of the cell (1.6). */
static bool
get_payload(Walk *walk, const uint8_t **from, const uint8_t *end, uint64_t size)
{
	uint64_t	u = walk->expected->page_size;	/* U: no reserved space */
	uint64_t	x = u - 35;
	uint64_t	m = ((u - 12) * 32 / 255) - 23;
	uint64_t	k = size < m ? 0 : m + ((size - m) % (u - 4));
	uint64_t	local = size <= x ? size : k <= x ? k : m;
	uint64_t	done = local;
	uint32_t	pgno;

	if (size > walk->payload_capacity)
	{
		walk->payload_capacity = size * 2;
		walk->payload = need(realloc(walk->payload, size * 2));
	}
	if (local + (size > local ? 4 : 0) > (uint64_t) (end - *from))
		return wrong("a cell leaves its page");
	memcpy(walk->payload, *from, local);
	*from += local;
	if (size == local)
		return true;

	pgno = get_number(*from, 4);
	*from += 4;
	while (pgno != 0)
	{
		const uint8_t *page = reach(walk, pgno);
		uint64_t	part = size - done < u - 4 ? size - done : u - 4;

		if (page == NULL)
			return false;
		if (walk->entry < 0)
			walk->seen->schema_pages++;
		if (part == 0)
			return wrong("an overflow chain is too long");
		memcpy(walk->payload + done, page + 4, part);
		done += part;
		if (!all_zero(page + 4 + part, u - 4 - part))
			return wrong("the tail of overflow page %u is not zero", pgno);
		pgno = get_number(page, 4);
	}
	if (done != size)
		return wrong("an overflow chain is too short");
	return true;
}

/*
 * Walks a page and what is below it.  Cells fill the content area from its
 * end without a gap, the last one lowest.
 */
static bool
walk_page(Walk *walk, uint32_t pgno, int depth, bool has_max, int64_t max)
{
	uint32_t	page_size = walk->expected->page_size;
	const uint8_t *page = reach(walk, pgno);
	const uint8_t *header;
	const uint8_t *end;
	const uint8_t *pointers;
	uint32_t	ncells;
	uint32_t	content;
	uint32_t	gap;
	bool		interior;

	if (page == NULL)
		return false;
	if (walk->entry < 0 && pgno != 1)
		walk->seen->schema_pages++;
	if (depth > walk->seen->depth)
		walk->seen->depth = depth;

	header = page + (pgno == 1 ? 100 : 0);
	end = page + page_size;
	if (header[0] == 0x0a && walk->entry >= 0 && depth == 1 &&
		strcmp(walk->expected->entries[walk->entry].type, "index") == 0)
		;
	else if (header[0] != 0x05 && header[0] != 0x0d)
		return wrong("page %u has type %d", pgno, header[0]);
	interior = header[0] == 0x05;
	pointers = header + (interior ? 12 : 8);
	if (get_number(header + 1, 2) != 0 || header[7] != 0)
		return wrong("page %u has free blocks or fragments", pgno);
	ncells = get_number(header + 3, 2);
	content = get_number(header + 5, 2);
	if (content == 0)
		content = 65536;
	if (content > page_size || pointers + 2 * ncells > page + content)
		return wrong("page %u: the content area is misplaced", pgno);
	gap = (uint32_t) (page + content - pointers) - 2 * ncells;
	if (!all_zero(pointers + 2 * ncells, gap))
		return wrong("page %u: the gap is not zero", pgno);
	if (interior && ncells == 0 && (pgno != 1 || walk->expected->nentries != 1))
		return wrong("interior page %u has no cell", pgno);
	if (!interior)
	{
		if (walk->leaf_depth == 0)
			walk->leaf_depth = depth;
		if (walk->leaf_depth != depth)
			return wrong("leaf %u is at depth %d, others at %d", pgno, depth, walk->leaf_depth);
		if (depth > 1 && ncells == 0)
			return wrong("leaf %u is empty", pgno);
	}
	if (walk->entry >= 0 && interior)
		walk->seen->interiors++;
	else if (walk->entry >= 0)
	{
		walk->seen->leaves++;
		walk->seen->gaps += gap;
	}

	for (uint32_t i = 0; i < ncells; i++)
	{
		const uint8_t *cell = page + get_number(pointers + 2 * i, 2);
		const uint8_t *at = cell;
		uint64_t	size;
		uint64_t	key;
		int64_t		rowid;

		if (cell < page + content || cell >= end)
			return wrong("page %u: cell %u lies outside", pgno, i);
		if (interior)
		{
			if (end - cell < 5)
				return wrong("page %u: cell %u lies outside", pgno, i);
			at += 4;
			if (!get_varint(&at, end, &key))
				return false;
			rowid = (int64_t) key;
			if (!walk_page(walk, get_number(cell, 4), depth + 1, true, rowid))
				return false;
		}
		else
		{
			if (!get_varint(&at, end, &size) || !get_varint(&at, end, &key) ||
				!get_payload(walk, &at, end, size))
				return false;
			rowid = (int64_t) key;
			if (walk->has_last && rowid <= walk->last_rowid)
				return wrong("page %u: rowid %" PRId64 " is out of order", pgno, rowid);
			if (!check_record(walk, rowid, walk->payload, size))
				return false;
			if (i == 0 && walk->last_gap >=
				(uint32_t) (at - cell) + 2 + (walk->entry < 0 ? 100 : 0))
				return wrong("the leaf before %u had room for one more row", pgno);
			walk->nrows++;
			walk->has_last = true;
			walk->last_rowid = rowid;
		}
		if (has_max && rowid > max)
			return wrong("page %u: key %" PRId64 " is above its parent's", pgno, rowid);
		if (at != end)
			return wrong("page %u: cell %u does not reach up to the one before", pgno, i);
		end = cell;
	}
	if (end != page + content)
		return wrong("page %u: something lies below the last cell", pgno);
	if (!interior)
	{
		walk->last_gap = gap;
		return true;
	}
	return walk_page(walk, get_number(header + 8, 4), depth + 1, has_max, max);
}

static bool
walk_tree(Walk *walk, int entry, uint32_t root, int64_t nrows)
{
	walk->entry = entry;
	walk->leaf_depth = 0;
	walk->nrows = 0;
	walk->has_last = false;
	walk->last_gap = 0;
	if (!walk_page(walk, root, 1, false, 0))
		return false;
	if (walk->nrows != nrows)
		return wrong("%" PRId64 " rows instead of %" PRId64, walk->nrows, nrows);
	return true;
}

/* The file header, field by field (1.3). */
static bool
check_header(const uint8_t *bytes, const Expected *expected)
{
	uint32_t	page_size = expected->page_size;
	const struct
	{
		int			offset;
		int			size;
		uint32_t	value;
	}			fields[] = {
		{16, 2, page_size == 65536 ? 1 : page_size},
		{18, 1, 1}, {19, 1, 1}, {20, 1, 0}, {21, 1, 64}, {22, 1, 32}, {23, 1, 32},
		{24, 4, get_number(bytes + 92, 4)}, {28, 4, expected->page_count},
		{32, 4, 0}, {36, 4, 0}, {40, 4, expected->schema_cookie}, {44, 4, 4},
		{48, 4, 0}, {52, 4, 0}, {56, 4, 1}, {60, 4, 0}, {64, 4, 0}, {68, 4, 0},
		{96, 4, 3037000}
	};

	if (memcmp(bytes, "SQLite format 3", 16) != 0)
		return wrong("the magic string is missing");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (get_number(bytes + fields[i].offset, fields[i].size) != fields[i].value)
			return wrong("the header has %u at offset %d, not %u",
						 get_number(bytes + fields[i].offset, fields[i].size),
						 fields[i].offset, fields[i].value);
	if (!all_zero(bytes + 72, 20))
		return wrong("the header's reserved bytes are not zero");
	return true;
}

static bool
walk_image(Walk *walk)
{
	const Expected *expected = walk->expected;

	if (!check_header(walk->bytes, expected) ||
		!walk_tree(walk, -1, 1, expected->nentries))
		return false;
	for (int i = 0; i < expected->nentries; i++)
		if (!walk_tree(walk, i, expected->entries[i].root, expected->tables[i].nrows))
			return false;
	for (uint32_t pgno = 1; pgno <= expected->page_count; pgno++)
		if (walk->reached[pgno] == 0 &&
			pgno != (1u << 30) / expected->page_size + 1)
			return wrong("page %u is not used", pgno);
	return true;
}

const char *
check_pages(const uint8_t *bytes, const Expected *expected, Seen *seen)
{
	Seen		unused;
	Walk		walk = {0};
	bool		good;

	walk.bytes = bytes;
	walk.expected = expected;
	walk.seen = seen == NULL ? &unused : seen;
	memset(walk.seen, 0, sizeof(*walk.seen));
	walk.reached = need(calloc(expected->page_count + 1, 1));
	walk.values = need(calloc(IMAGE_MAX_COLUMNS, sizeof(ImageValue)));
	good = walk_image(&walk);
	free(walk.reached);
	free(walk.values);
	free(walk.payload);
	return good ? NULL : message;
}


/* ----------
 * SQLite
 * ----------
 */

static bool
sqlite_wrong(sqlite3 *db, const char *what)
{
	return wrong("%s: %s", what, sqlite3_errmsg(db));
}

static bool
check_column(sqlite3_stmt *stmt, int column, const ImageValue *value)
{
	static const int types[] = {SQLITE_NULL, SQLITE_INTEGER, SQLITE_FLOAT, SQLITE_TEXT, SQLITE_BLOB};

	if (sqlite3_column_type(stmt, column) != types[value->kind])
		return false;
	switch (value->kind)
	{
		case IMAGE_NULL:
			return true;
		case IMAGE_INTEGER:
			return sqlite3_column_int64(stmt, column) == value->u.i;
		case IMAGE_REAL:
			{
				double		found = sqlite3_column_double(stmt, column);
				double		r = value->u.r == 0 ? 0.0 : value->u.r;

				return memcmp(&found, &r, sizeof(r)) == 0;
			}
		case IMAGE_TEXT:
		case IMAGE_BLOB:
			{
				const void *found = sqlite3_column_blob(stmt, column);

				return (uint32_t) sqlite3_column_bytes(stmt, column) == value->len &&
					(value->len == 0 || memcmp(found, value->u.data, value->len) == 0);
			}
	}
	return false;
}

/* Rowids and values come from two statements: 2,000 columns is all one takes. */
static bool
compare_table(sqlite3 *db, const ExpectedTable *table, ImageValue *values,
			  sqlite3_stmt *rows, sqlite3_stmt *rowids)
{
	for (int64_t n = 0;; n++)
	{
		int			more = sqlite3_step(rows);
		int64_t		rowid;
		int			nvalues;

		if (sqlite3_step(rowids) != more || (more != SQLITE_ROW && more != SQLITE_DONE))
			return sqlite_wrong(db, "reading rows");
		if ((more == SQLITE_ROW) != (n < table->nrows))
			return wrong("SQLite sees another number of rows, %" PRId64 " at least", n);
		if (more == SQLITE_DONE)
			return true;

		table->row(table->arg, n, &rowid, values, &nvalues);
		if (sqlite3_column_int64(rowids, 0) != rowid)
			return wrong("SQLite sees rowid %" PRId64, (int64_t) sqlite3_column_int64(rowids, 0));
		while (nvalues < table->ncolumns)
			values[nvalues++].kind = IMAGE_NULL;
		if (table->alias >= 0)
		{
			values[table->alias].kind = IMAGE_INTEGER;
			values[table->alias].u.i = rowid;
		}
		for (int i = 0; i < table->ncolumns; i++)
			if (!check_column(rows, i, &values[i]))
				return wrong("SQLite sees another value in row %" PRId64 " column %d", rowid, i);
	}
}

static bool
check_table(sqlite3 *db, const char *name, const ExpectedTable *table)
{
	sqlite3_stmt *rows = NULL;
	sqlite3_stmt *rowids = NULL;
	ImageValue *values = need(calloc(IMAGE_MAX_COLUMNS, sizeof(ImageValue)));
	char	   *sql = sqlite3_mprintf("SELECT * FROM \"%w\" ORDER BY rowid", name);
	char	   *rowid_sql = sqlite3_mprintf("SELECT rowid FROM \"%w\" ORDER BY rowid", name);
	bool		good;

	if (sqlite3_prepare_v2(db, sql, -1, &rows, NULL) != SQLITE_OK ||
		sqlite3_prepare_v2(db, rowid_sql, -1, &rowids, NULL) != SQLITE_OK)
		good = sqlite_wrong(db, "preparing");
	else if (sqlite3_column_count(rows) != table->ncolumns)
		good = wrong("SQLite sees %d columns", sqlite3_column_count(rows));
	else
		good = compare_table(db, table, values, rows, rowids);
	sqlite3_finalize(rows);
	sqlite3_finalize(rowids);
	sqlite3_free(sql);
	sqlite3_free(rowid_sql);
	free(values);
	return good;
}

static bool
check_integrity(sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;
	bool		good = false;

	if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL) != SQLITE_OK ||
		sqlite3_step(stmt) != SQLITE_ROW)
		sqlite_wrong(db, "integrity_check");
	else if (strcmp((const char *) sqlite3_column_text(stmt, 0), "ok") == 0)
		good = true;
	else
		wrong("integrity_check: %s", (const char *) sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	return good;
}

static const char *
check_database(sqlite3 *db, const Expected *expected)
{
	bool		good = check_integrity(db);

	for (int i = 0; good && i < expected->nentries; i++)
		if (strcmp(expected->entries[i].type, "table") == 0)
			good = check_table(db, expected->entries[i].name, &expected->tables[i]);
	sqlite3_close(db);
	return good ? NULL : message;
}

const char *
check_deserialized(uint8_t *bytes, const Expected *expected)
{
	sqlite3    *db = NULL;
	sqlite3_int64 size = (sqlite3_int64) expected->page_count * expected->page_size;

	if (sqlite3_open(":memory:", &db) != SQLITE_OK ||
		sqlite3_deserialize(db, "main", bytes, size, size,
							SQLITE_DESERIALIZE_READONLY) != SQLITE_OK)
	{
		sqlite_wrong(db, "deserialize");
		sqlite3_close(db);
		return message;
	}
	return check_database(db, expected);
}

/* The same for a file, after first_sql (NULL for none) was run on it. */
const char *
check_file(const char *path, const Expected *expected, const char *first_sql)
{
	sqlite3    *db = NULL;

	if (sqlite3_open(path, &db) != SQLITE_OK ||
		(first_sql != NULL && sqlite3_exec(db, first_sql, NULL, NULL, NULL) != SQLITE_OK))
	{
		sqlite_wrong(db, "opening the file");
		sqlite3_close(db);
		return message;
	}
	return check_database(db, expected);
}
