/*-------------------------------------------------------------------------
 *
 * image_test.c
 *	  Unit tests of image.c; see image_check.h for how an image is judged.
 *
 * Rows are made from a seed and their number alone, so that they need not be
 * kept.  Prints TAP; the status is 0 only if every test passed.
 *
 *-------------------------------------------------------------------------
 */
#include "image_check.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_TABLES	400
#define COUNT(array) ((int) (sizeof(array) / sizeof((array)[0])))

static const uint32_t all_page_sizes[] = {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};


/* ----------
 * TAP
 * ----------
 */

static int	ntests;
static int	nfailed;
static bool failed;				/* the test at hand */

#define CHECK(condition) check(condition, #condition, __LINE__)

static bool
check(bool condition, const char *what, int line)
{
	if (!condition)
	{
		if (!failed)
			printf("# line %d: %s\n", line, what);
		failed = true;
	}
	return condition;
}

static void
check_message(const char *problem, int line)
{
	if (problem != NULL)
		check(false, problem, line);
}

static void
end_test(const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", failed ? "not " : "", ++ntests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	nfailed += failed;
	failed = false;
}


/* ----------
 * Rows out of nothing
 * ----------
 */

/* splitmix64 */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint32_t
below(uint64_t *state, uint32_t n)
{
	return (uint32_t) (next_random(state) % n);
}

/* What values point to: any text of up to this size. */
#define POOL_SIZE	(4 << 20)
static uint8_t *pool;

static void
make_pool(void)
{
	uint64_t	state = 42;

	pool = malloc(POOL_SIZE);
	if (pool == NULL)
		exit(2);
	for (size_t i = 0; i < POOL_SIZE; i++)
		pool[i] = (uint8_t) (' ' + next_random(&state) % 95);
}

static ImageValue
bytes_value(ImageKind kind, const void *data, uint32_t len)
{
	ImageValue	value;

	value.kind = kind;
	value.len = len;
	value.u.data = len == 0 ? NULL : data;
	return value;
}

static ImageValue
integer_value(int64_t i)
{
	ImageValue	value;

	value.kind = IMAGE_INTEGER;
	value.len = 0;
	value.u.i = i;
	return value;
}

static ImageValue
real_value(double r)
{
	ImageValue	value;

	value.kind = IMAGE_REAL;
	value.len = 0;
	value.u.r = r;
	return value;
}

/* Around 0 and around every power of two, where serial types and varints end. */
static int64_t
odd_integer(uint64_t *state)
{
	uint64_t	power = UINT64_C(1) << below(state, 64);
	uint64_t	v = power - 2 + below(state, 4);

	return (int64_t) (below(state, 2) ? v : -v);
}

/* A length near something: the ends of varints, of pages, of X and M. */
static uint32_t
odd_length(uint64_t *state, uint32_t page_size)
{
	const uint32_t near[] = {
		2, 57, 8185, page_size - 35, ((page_size - 12) * 32 / 255) - 23,
		page_size, page_size - 4 + ((page_size - 12) * 32 / 255) - 23,
		2 * page_size - 39, 5 * page_size
	};
	uint32_t	wobble = below(state, 13);
	uint32_t	len = near[below(state, COUNT(near))];

	return len + wobble > 6 ? len + wobble - 6 : 0;
}

typedef struct Maker
{
	uint64_t	seed;
	uint32_t	page_size;
	int			ncolumns;
	int			alias;
	bool		ragged;			/* rows may end early */
	int			long_one_in;	/* a value in so many has an odd length */
	uint32_t	short_len;		/* others are shorter than this */
	int64_t    *rowids;
} Maker;

static void
make_row(void *arg, int64_t n, int64_t *rowid, ImageValue *values, int *nvalues)
{
	const Maker *maker = arg;
	uint64_t	state = maker->seed * 1000003 + (uint64_t) n;

	*rowid = maker->rowids == NULL ? n + 1 : maker->rowids[n];
	*nvalues = maker->ncolumns;
	if (maker->ragged && below(&state, 3) == 0)
		*nvalues = (int) below(&state, (uint32_t) maker->ncolumns + 1);
	for (int i = 0; i < *nvalues; i++)
	{
		uint32_t	len = below(&state, maker->short_len);

		if (i == maker->alias)
		{
			values[i].kind = IMAGE_NULL;
			continue;
		}
		if (maker->long_one_in > 0 && below(&state, (uint32_t) maker->long_one_in) == 0)
			len = odd_length(&state, maker->page_size);
		switch (below(&state, 8))
		{
			case 0:
				values[i].kind = IMAGE_NULL;
				break;
			case 1:
				values[i] = integer_value((int64_t) below(&state, 5) - 1);
				break;
			case 2:
				values[i] = integer_value(odd_integer(&state));
				break;
			case 3:
				values[i] = real_value(below(&state, 4) == 0 ? -0.0 :
									   (double) odd_integer(&state) / 8);
				break;
			case 4:
			case 5:
			case 6:
				values[i] = bytes_value(IMAGE_TEXT, pool + below(&state, POOL_SIZE / 2), len);
				break;
			case 7:
				values[i] = bytes_value(IMAGE_BLOB, pool + below(&state, POOL_SIZE / 2), len);
				break;
		}
	}
}

enum
{
	ROWIDS_COUNT, ROWIDS_SPARSE, ROWIDS_FROM_MIN, ROWIDS_TO_MAX, ROWIDS_ODD, ROWIDS_KINDS
};

static int
compare_rowids(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return x < y ? -1 : x > y;
}

/* Ascending rowids of some kind; *n is lowered if there are not so many. */
static int64_t *
make_rowids(int kind, uint64_t *state, int64_t *n)
{
	int64_t    *rowids = malloc((size_t) (*n + 1) * sizeof(int64_t));
	int64_t		kept = 0;

	if (rowids == NULL)
		exit(2);
	for (int64_t i = 0; i < *n; i++)
		switch (kind)
		{
			case ROWIDS_COUNT:
				rowids[i] = i + 1;
				break;
			case ROWIDS_SPARSE:
				rowids[i] = (int64_t) next_random(state);
				break;
			case ROWIDS_FROM_MIN:
				rowids[i] = INT64_MIN + i;
				break;
			case ROWIDS_TO_MAX:
				rowids[i] = INT64_MAX - i;
				break;
			case ROWIDS_ODD:
				rowids[i] = odd_integer(state);
				break;
		}
	qsort(rowids, (size_t) *n, sizeof(int64_t), compare_rowids);
	for (int64_t i = 0; i < *n; i++)
		if (kept == 0 || rowids[i] != rowids[kept - 1])
			rowids[kept++] = rowids[i];
	*n = kept;
	return rowids;
}

/* CREATE TABLE for columns c0, c1, ...; SQL is malloc'd. */
static char *
make_sql(const char *name, int ncolumns, int alias)
{
	size_t		size = (size_t) ncolumns * 28 + strlen(name) + 100;
	char	   *sql = malloc(size);
	size_t		len;

	if (sql == NULL)
		exit(2);
	len = (size_t) snprintf(sql, size, "CREATE TABLE %s(", name);
	for (int i = 0; i < ncolumns; i++)
		len += (size_t) snprintf(sql + len, size - len, "%sc%d%s", i > 0 ? "," : "", i,
								 i == alias ? " INTEGER PRIMARY KEY" : "");
	snprintf(sql + len, size - len, ")");
	return sql;
}


/* The same for one column, len bytes long. */
static char *
make_long_sql(int table, size_t len)
{
	char	   *sql = malloc(len + 1);
	char		start[30];

	if (sql == NULL)
		exit(2);
	snprintf(start, sizeof(start), "CREATE TABLE t%d(c", table);
	memset(sql, ' ', len);
	memcpy(sql, start, strlen(start));
	sql[len - 1] = ')';
	sql[len] = '\0';
	return sql;
}


/* ----------
 * One image
 * ----------
 */

typedef struct Image
{
	Sink		sink;
	ImageBuilder *builder;
	Expected	expected;
	ImageSchemaEntry entries[MAX_TABLES];
	ExpectedTable tables[MAX_TABLES];
	char	   *sqls[MAX_TABLES];
	char		names[MAX_TABLES][16];
} Image;

static ImageValue row_values[IMAGE_MAX_COLUMNS];

static Image *
open_image(uint32_t page_size, uint32_t page_limit, int fd)
{
	Image	   *image = calloc(1, sizeof(Image));
	void	   *memory = malloc(image_builder_size(page_size));

	if (image == NULL || memory == NULL)
		exit(2);
	memset(memory, 0xa5, image_builder_size(page_size));
	sink_open(&image->sink, page_size, fd);
	image->builder = image_init(memory, page_size, page_limit, sink_next_page, &image->sink);
	image->expected.page_size = page_size;
	image->expected.entries = image->entries;
	image->expected.tables = image->tables;
	return image;
}

static void
close_image(Image *image)
{
	for (int i = 0; i < image->expected.nentries; i++)
		free(image->sqls[i]);
	free(image->builder);
	sink_close(&image->sink);
	free(image);
}

/* Names a table and what it should hold; sql is taken over. */
static void
expect_table(Image *image, uint32_t root, const ExpectedTable *table, char *sql)
{
	int			i = image->expected.nentries++;
	ImageSchemaEntry *entry = &image->entries[i];

	snprintf(image->names[i], sizeof(image->names[i]), "t%d", i);
	image->sqls[i] = sql != NULL ? sql : make_sql(image->names[i], table->ncolumns, table->alias);
	entry->type = "table";
	entry->name = image->names[i];
	entry->tbl_name = image->names[i];
	entry->root = root;
	entry->sql = image->sqls[i];
	image->tables[i] = *table;
}

/* Adds rows up to the first that is not taken; returns how many were. */
static int64_t
add_rows(Image *image, const ExpectedTable *table, ImageResult *result)
{
	*result = IMAGE_OK;
	for (int64_t i = 0; i < table->nrows; i++)
	{
		int64_t		rowid;
		int			nvalues;

		table->row(table->arg, i, &rowid, row_values, &nvalues);
		*result = image_add_row(image->builder, rowid, row_values, nvalues);
		if (*result != IMAGE_OK)
			return i;
	}
	return table->nrows;
}

/* A whole table; sql as for expect_table(). */
static void
add_table_as(Image *image, const ExpectedTable *table, char *sql)
{
	ImageResult result;
	uint32_t	root = 0;

	image_begin_table(image->builder);
	add_rows(image, table, &result);
	CHECK(result == IMAGE_OK);
	CHECK(image_end_table(image->builder, &root) == IMAGE_OK);
	expect_table(image, root, table, sql);
}

static void
add_table(Image *image, const ExpectedTable *table)
{
	add_table_as(image, table, NULL);
}

static void
finish_image(Image *image)
{
	static uint32_t cookie = 0x80000000;
	Expected   *expected = &image->expected;

	expected->schema_cookie = cookie++;
	CHECK(image_finish(image->builder, expected->entries, expected->nentries,
					   expected->schema_cookie, &expected->page_count) == IMAGE_OK);
	sink_settle(&image->sink);
	CHECK(image->sink.open_pgno == 1);
	CHECK(image->sink.last_pgno == expected->page_count);
	check_message(image->sink.fault, __LINE__);
}

/* Finishes an image in memory and judges it. */
static Seen
judge_image(Image *image, bool with_sqlite)
{
	Seen		seen = {0};

	finish_image(image);
	if (failed)
		return seen;
	check_message(check_pages(image->sink.bytes, &image->expected, &seen), __LINE__);
	if (with_sqlite && !failed)
		check_message(check_deserialized(image->sink.bytes, &image->expected), __LINE__);
	CHECK(seen.schema_pages <= image_schema_pages(image->expected.page_size,
												  image->entries, image->expected.nentries));
	return seen;
}

static ExpectedTable
made_table(Maker *maker, int64_t nrows)
{
	ExpectedTable table;

	table.ncolumns = maker->ncolumns;
	table.alias = maker->alias;
	table.nrows = nrows;
	table.row = make_row;
	table.arg = maker;
	return table;
}


/* ----------
 * Tests
 * ----------
 */

static void
test_random_images(uint64_t first, uint64_t last)
{
	for (uint64_t seed = first; seed <= last && !failed; seed++)
	{
		uint64_t	state = seed;
		uint32_t	page_size = all_page_sizes[below(&state, COUNT(all_page_sizes))];
		Image	   *image = open_image(page_size, 0, -1);
		int			ntables = (int) below(&state, 5) + 1;
		Maker		makers[5];

		for (int i = 0; i < ntables; i++)
		{
			Maker	   *maker = &makers[i];
			int64_t		nrows = below(&state, 4) == 0 ? below(&state, 3) : below(&state, 600);
			ExpectedTable table;

			memset(maker, 0, sizeof(*maker));
			maker->seed = next_random(&state);
			maker->page_size = page_size;
			maker->ncolumns = 1 + (int) below(&state, below(&state, 10) == 0 ? 300 : 12);
			maker->alias = below(&state, 2) ? (int) below(&state, (uint32_t) maker->ncolumns) : -1;
			maker->ragged = below(&state, 2);
			maker->long_one_in = below(&state, 3) == 0 ? 0 : 2 + (int) below(&state, 200);
			maker->short_len = 1 + below(&state, 60);
			maker->rowids = make_rowids((int) below(&state, ROWIDS_KINDS), &state, &nrows);
			table = made_table(maker, nrows);
			add_table(image, &table);
		}
		judge_image(image, true);
		if (failed)
			printf("# seed %" PRIu64 ", page size %u\n", seed, page_size);
		for (int i = 0; i < ntables; i++)
			free(makers[i].rowids);
		close_image(image);
	}
	end_test("random tables, seeds %" PRIu64 " to %" PRIu64, first, last);
}

/* A table of one blob column; row n is lengths[n] long. */
static void
blob_row(void *arg, int64_t n, int64_t *rowid, ImageValue *values, int *nvalues)
{
	const uint32_t *lengths = arg;

	*rowid = n + 1;
	values[0] = bytes_value(n % 2 ? IMAGE_BLOB : IMAGE_TEXT, pool + n, lengths[n]);
	*nvalues = 1;
}

static void
test_lengths(uint32_t page_size)
{
	Image	   *image = open_image(page_size, 0, -1);
	uint32_t	m = (page_size - 12) * 32 / 255 - 23;
	uint32_t   *lengths = calloc(40000, sizeof(uint32_t));
	ExpectedTable table = {1, -1, 0, blob_row, lengths};
	int64_t		n = 0;

	/* Every length of up to three pages, or those where something changes. */
	for (uint32_t len = 0; len < 20000 && (page_size > 1024 || len <= 3 * page_size); len++)
	{
		const uint32_t near[] = {57, 8185, page_size - 35, m};
		bool		wanted = page_size <= 1024 || len < 10;

		for (int i = 0; i < COUNT(near); i++)
			for (uint32_t pages = 0; pages < 3; pages++)
				if (len + 8 >= near[i] + pages * (page_size - 4) &&
					len <= near[i] + pages * (page_size - 4) + 8)
					wanted = true;
		if (wanted)
			lengths[n++] = len;
	}
	for (uint32_t k = 20; k > 0; k--)
		lengths[n++] = 10 * (page_size - 4) + m + 10 - k;
	for (uint32_t k = 20; k > 0; k--)
		lengths[n++] = page_size - 35 + 10 - k;
	lengths[n++] = 1 << 20;
	lengths[n++] = (2 << 20) + 1;
	for (int i = 0; i < 100; i++)
		lengths[n++] = (uint32_t) i;
	table.nrows = n;
	add_table(image, &table);
	judge_image(image, true);
	close_image(image);
	free(lengths);
	end_test("lengths around every limit, page size %u", page_size);
}

/* All columns NULL but the last; row n has n columns of as many as fit. */
static void
wide_row(void *arg, int64_t n, int64_t *rowid, ImageValue *values, int *nvalues)
{
	const int  *counts = arg;

	*rowid = n;
	*nvalues = counts[n];
	for (int i = 0; i < counts[n]; i++)
		values[i].kind = IMAGE_NULL;
	if (counts[n] > 0)
		values[counts[n] - 1] = integer_value(n * 100000);
}

static void
test_columns(void)
{
	static const int counts[] = {
		0, 0, 1, 2, 0, 3, 63, 64, 124, 125, 126, 127, 128, 129, 130, 0, 500, 1000,
		1999, 2000, 2000, 0, 1, 0
	};
	ExpectedTable table = {IMAGE_MAX_COLUMNS, -1, COUNT(counts), wide_row, (void *) counts};

	for (int p = 0; p < COUNT(all_page_sizes); p++)
	{
		Image	   *image = open_image(all_page_sizes[p], 0, -1);
		Maker		maker = {.seed = 7,.page_size = all_page_sizes[p],.ncolumns = IMAGE_MAX_COLUMNS,
			.alias = 1999,.ragged = true,.long_one_in = 300,.short_len = 10
		};
		ExpectedTable random_table = made_table(&maker, 12);

		add_table(image, &table);
		add_table(image, &random_table);
		judge_image(image, true);
		close_image(image);
	}
	end_test("0 to %d columns", IMAGE_MAX_COLUMNS);
}

/* Integers as value and as rowid: around every power of two, and the ends. */
static void
number_row(void *arg, int64_t n, int64_t *rowid, ImageValue *values, int *nvalues)
{
	const int64_t *numbers = arg;

	*rowid = numbers[n];
	values[0] = integer_value(numbers[n]);
	values[1] = integer_value(-(numbers[n] / 2));
	values[2] = real_value((double) numbers[n]);
	values[3] = real_value(numbers[n] == 0 ? -0.0 : numbers[n] < 0 ? -INFINITY : 1e-310);
	*nvalues = 4;
}

static void
test_numbers(void)
{
	int64_t		numbers[64 * 8 + 8];
	int			n = 0;
	int			kept = 0;

	for (int bit = 0; bit < 64; bit++)
		for (uint64_t i = 0; i < 4; i++)
		{
			uint64_t	v = (UINT64_C(1) << bit) - 2 + i;

			numbers[n++] = (int64_t) v;
			numbers[n++] = (int64_t) -v;
		}
	qsort(numbers, (size_t) n, sizeof(int64_t), compare_rowids);
	for (int i = 0; i < n; i++)
		if (kept == 0 || numbers[i] != numbers[kept - 1])
			numbers[kept++] = numbers[i];
	CHECK(numbers[0] == INT64_MIN && numbers[kept - 1] == INT64_MAX);
	for (int p = 0; p < COUNT(all_page_sizes); p++)
	{
		Image	   *image = open_image(all_page_sizes[p], 0, -1);
		ExpectedTable table = {4, -1, kept, number_row, numbers};

		add_table(image, &table);
		judge_image(image, true);
		close_image(image);
	}
	end_test("integers, reals and rowids around every power of two");
}

/* One row to a leaf of 512 bytes, and keys of nine bytes: 34 children. */
static void
leaf_row(void *arg, int64_t n, int64_t *rowid, ImageValue *values, int *nvalues)
{
	*rowid = INT64_MIN / 2 + n * 3;
	values[0] = bytes_value(IMAGE_BLOB, arg, 400);
	*nvalues = 1;
}

static void
test_widths(void)
{
	const int64_t fan_out = 34;
	const int64_t around[] = {
		fan_out * fan_out, 2 * fan_out * fan_out, fan_out * fan_out + fan_out,
		fan_out * fan_out * fan_out, fan_out * fan_out * fan_out + fan_out
	};
	int64_t		widths[300];
	int			nwidths = 0;
	int			deepest = 0;

	for (int64_t n = 0; n <= 2 * fan_out; n++)
		widths[nwidths++] = n;
	for (int64_t k = 3; k <= 6; k++)
		for (int64_t n = k * fan_out - 2; n <= k * fan_out + 3; n++)
			widths[nwidths++] = n;
	for (int i = 0; i < COUNT(around); i++)
		for (int64_t n = around[i] - 1; n <= around[i] + 3; n += n > 10000 ? 2 : 1)
			widths[nwidths++] = n;
	for (int i = 0; i < nwidths && !failed; i++)
	{
		Image	   *image = open_image(512, 0, -1);
		ExpectedTable table = {1, -1, widths[i], leaf_row, pool};
		Seen		seen;
		int64_t		wanted = 0;

		add_table(image, &table);
		seen = judge_image(image, widths[i] < 5000 || i == nwidths - 1);
		for (int64_t n = widths[i]; n > 1;)
		{
			n = (n + fan_out - 1) / fan_out;
			wanted += n;
		}
		CHECK(seen.leaves == (widths[i] == 0 ? 1 : widths[i]));
		CHECK(seen.interiors == wanted);
		if (failed)
			printf("# %" PRId64 " leaves\n", widths[i]);
		if (seen.depth > deepest)
			deepest = seen.depth;
		close_image(image);
	}
	CHECK(deepest == 5);
	end_test("trees of every width, %d levels deep", deepest);
}

static void
test_empty(void)
{
	for (int p = 0; p < COUNT(all_page_sizes); p++)
	{
		Image	   *image = open_image(all_page_sizes[p], 0, -1);
		Maker		maker = {.ncolumns = 3,.alias = 0,.short_len = 5};
		ExpectedTable none = made_table(&maker, 0);
		ExpectedTable one = made_table(&maker, 1);

		judge_image(image, true);
		CHECK(image->expected.page_count == 1);
		close_image(image);

		image = open_image(all_page_sizes[p], 0, -1);
		add_table(image, &none);
		add_table(image, &one);
		add_table(image, &none);
		judge_image(image, true);
		CHECK(image->expected.page_count == 4);
		close_image(image);
	}
	end_test("no table, tables without rows");
}

/* sqlite_schema: one row of every size, long ones, many. */
static void
test_schema(void)
{
	Maker		maker = {.ncolumns = 1,.alias = -1,.short_len = 5};
	ExpectedTable table = made_table(&maker, 2);
	uint32_t	most = 0;

	for (int p = 0; p < COUNT(all_page_sizes) && !failed; p++)
	{
		uint32_t	page_size = all_page_sizes[p];
		uint32_t	x = page_size - 35;

		for (uint32_t len = 30; len < 3 * page_size; len++)
		{
			for (int ntables = 1; ntables <= 2; ntables++)
			{
				Image	   *image;
				Seen		seen;

				/* In larger pages only around what page 1 and a cell hold. */
				if (page_size > 512 && (len < x - 180 || len > x + 20))
					continue;
				image = open_image(page_size, 0, -1);
				for (int i = 0; i < ntables; i++)
					add_table_as(image, &table, make_long_sql(i, len));
				seen = judge_image(image, len % 16 == 0 || (len > x - 5 && len < x));
				/* One row of 100 bytes less than a page belongs on page 1. */
				if (ntables == 1 && len < page_size - 108 - 30)
					CHECK(seen.schema_pages == 0);
				if (failed)
					printf("# page size %u, %d rows with %u bytes\n", page_size, ntables, len);
				close_image(image);
				if (failed)
					break;
			}
		}
	}
	end_test("schema rows of every size");

	for (int p = 0; p < COUNT(all_page_sizes); p++)
	{
		Image	   *image = open_image(all_page_sizes[p], 0, -1);
		uint64_t	state = 5;

		for (int i = 0; i < 300; i++)
		{
			Maker		wide = {.ncolumns = 1,.alias = -1,.short_len = 5};
			ExpectedTable empty;

			wide.ncolumns = 1 + (int) below(&state, i % 50 == 3 ? 2000 : 20);
			empty = made_table(&wide, 0);
			empty.arg = NULL;
			add_table(image, &empty);
		}
		most = judge_image(image, true).schema_pages;
		/* The bound must not be a waste either. */
		CHECK(image_schema_pages(all_page_sizes[p], image->entries, 300) <= 2 * most + 2);
		close_image(image);
	}
	end_test("300 tables");

	for (int p = 0; p < COUNT(all_page_sizes); p++)
	{
		Image	   *image = open_image(all_page_sizes[p], 0, -1);

		for (int i = 0; i < 3; i++)
			add_table_as(image, &table, make_long_sql(i, 100000));
		judge_image(image, true);
		close_image(image);
	}
	end_test("100 KB of SQL");
}

/*
 * Every limit for tables of several shapes: what was taken can be finished
 * within it, what was refused left no trace, and not much room is lost.
 */
static void
test_page_limit(void)
{
	for (uint32_t limit = 2; limit < 330 && !failed; limit += limit < 120 ? 1 : 7)
		for (uint64_t shape = 0; shape < 4 && !failed; shape++)
		{
			Maker		maker = {.seed = shape * 77,.page_size = 512,.ncolumns = 3,.alias = -1,
				.long_one_in = shape == 0 ? 0 : 2 + 20 * (int) shape,.short_len = 20 + 50 * (uint32_t) shape
			};
			Image	   *image = open_image(512, limit, -1);
			Image	   *again = open_image(512, 0, -1);
			int64_t		nrows = 20000;
			uint64_t	state = shape;
			ExpectedTable table;
			uint32_t	root;
			int64_t		rowid;
			int			nvalues;
			int			refused = 0;
			int64_t		taken = 0;

			maker.rowids = make_rowids(shape == 3 ? ROWIDS_FROM_MIN : ROWIDS_COUNT, &state, &nrows);
			image_begin_table(image->builder);
			image_begin_table(again->builder);
			for (int64_t i = 0; i < nrows && refused < 30; i++)
			{
				ImageResult result;

				make_row(&maker, i, &rowid, row_values, &nvalues);
				result = image_add_row(image->builder, rowid, row_values, nvalues);
				if (result == IMAGE_OK)
				{
					CHECK(image_add_row(again->builder, rowid, row_values, nvalues) == IMAGE_OK);
					taken++;
				}
				else
				{
					CHECK(result == IMAGE_FULL);
					refused++;
				}
			}
			CHECK(refused > 0);
			CHECK(image_end_table(image->builder, &root) == IMAGE_OK);
			CHECK(image_end_table(again->builder, &root) == IMAGE_OK);

			/* Rows are made from their number, so judge by the other image. */
			table = made_table(&maker, taken);
			expect_table(image, root, &table, NULL);
			expect_table(again, root, &table, NULL);
			finish_image(image);
			finish_image(again);
			if (taken > 0)
				CHECK(image->expected.page_count <= limit);
			CHECK(image->expected.page_count + 8 > limit);
			CHECK(image->expected.page_count == again->expected.page_count);
			/* All but the file header with its cookie. */
			CHECK(memcmp(image->sink.bytes + 100, again->sink.bytes + 100,
						 (size_t) image->expected.page_count * 512 - 100) == 0);
			if (failed)
				printf("# limit %u, shape %d: %u pages\n", limit, (int) shape,
					   image->expected.page_count);
			close_image(image);
			close_image(again);
			free(maker.rowids);
		}
	end_test("page_limit is kept, and refused rows leave no trace");

	/* The same with what was refused last, judged in full. */
	for (uint32_t limit = 2; limit < 60 && !failed; limit++)
	{
		Maker		maker = {.seed = limit,.page_size = 1024,.ncolumns = 4,.alias = 0,
			.long_one_in = 30,.short_len = 60
		};
		Image	   *image = open_image(1024, limit, -1);
		ExpectedTable table = made_table(&maker, 100000);
		ImageResult result;
		uint32_t	root;

		image_begin_table(image->builder);
		table.nrows = add_rows(image, &table, &result);
		CHECK(result == IMAGE_FULL);
		CHECK(image_end_table(image->builder, &root) == IMAGE_OK);
		expect_table(image, root, &table, NULL);
		judge_image(image, true);
		CHECK(image->expected.page_count <= limit || table.nrows == 0);
		close_image(image);
	}
	end_test("an image is good after IMAGE_FULL");
}

static void
short_row(void *arg, int64_t n, int64_t *rowid, ImageValue *values, int *nvalues)
{
	*rowid = n + 1;
	values[0].kind = IMAGE_NULL;
	values[1] = bytes_value(IMAGE_TEXT, (uint8_t *) arg + n % 1000, 190);
	*nvalues = 2;
}

static void
test_fill(void)
{
	for (int p = 0; p < COUNT(all_page_sizes); p++)
	{
		const uint32_t bytes = 8 << 20;
		uint32_t	page_size = all_page_sizes[p];
		Image	   *image = open_image(page_size, bytes / page_size, -1);
		ExpectedTable table = {2, 0, 1000000, short_row, pool};
		ImageResult result;
		uint32_t	root;
		Seen		seen;

		image_begin_table(image->builder);
		table.nrows = add_rows(image, &table, &result);
		CHECK(result == IMAGE_FULL);
		image_end_table(image->builder, &root);
		expect_table(image, root, &table, NULL);
		seen = judge_image(image, page_size == 4096);
		CHECK(image->expected.page_count <= bytes / page_size);
		CHECK(image->expected.page_count > (uint64_t) bytes / page_size * 96 / 100);
		/* Rows of 200 bytes do not always divide a page. */
		if (page_size >= 4096)
			CHECK(seen.gaps < bytes / 20);
		if (failed)
			printf("# page size %u: %u pages\n", page_size, image->expected.page_count);
		close_image(image);
	}
	end_test("8 MB are filled");
}

static void
test_refusals(void)
{
	Maker		maker = {.seed = 3,.page_size = 512,.ncolumns = 2,.alias = -1,.long_one_in = 20,.short_len = 50};
	ExpectedTable table = made_table(&maker, 500);
	Image	   *image = open_image(512, 0, -1);
	Image	   *again = open_image(512, 0, -1);
	ImageValue *huge = calloc(IMAGE_MAX_COLUMNS + 1, sizeof(ImageValue));
	int64_t		rowid;
	int			nvalues;
	uint32_t	root;

	for (int i = 0; i <= IMAGE_MAX_COLUMNS; i++)
		huge[i] = bytes_value(IMAGE_BLOB, pool, UINT32_MAX);
	image_begin_table(image->builder);
	for (int64_t i = 0; i < table.nrows; i++)
	{
		CHECK(image_add_row(image->builder, i + 1, huge, 1) == IMAGE_TOO_LARGE);
		make_row(&maker, i, &rowid, row_values, &nvalues);
		CHECK(image_add_row(image->builder, rowid, row_values, nvalues) == IMAGE_OK);
		CHECK(image_add_row(image->builder, rowid, row_values, nvalues) == IMAGE_ORDER);
		CHECK(image_add_row(image->builder, rowid - 1, row_values, nvalues) == IMAGE_ORDER);
		CHECK(image_add_row(image->builder, INT64_MIN, row_values, nvalues) == IMAGE_ORDER);
		CHECK(image_add_row(image->builder, rowid + 1, huge, IMAGE_MAX_COLUMNS) == IMAGE_TOO_LARGE);
	}
	huge[0] = bytes_value(IMAGE_BLOB, pool, IMAGE_MAX_RECORD - 5);	/* header: 6 */
	CHECK(image_add_row(image->builder, 1000, huge, 1) == IMAGE_TOO_LARGE);
	for (int i = 0; i <= IMAGE_MAX_COLUMNS; i++)
		huge[i].kind = IMAGE_NULL;
	CHECK(image_add_row(image->builder, 1000, huge, IMAGE_MAX_COLUMNS + 1) == IMAGE_TOO_LARGE);
	CHECK(image_end_table(image->builder, &root) == IMAGE_OK);
	expect_table(image, root, &table, NULL);
	judge_image(image, true);
	add_table(again, &table);
	finish_image(again);
	CHECK(memcmp(image->sink.bytes + 100, again->sink.bytes + 100,
				 (size_t) again->expected.page_count * 512 - 100) == 0);
	close_image(again);
	close_image(image);
	end_test("IMAGE_ORDER and IMAGE_TOO_LARGE change nothing");

	/* The last rowid that there is, and the first in the next table. */
	image = open_image(512, 0, -1);
	for (int i = 0; i < 2; i++)
	{
		ExpectedTable one = {1, -1, 2, number_row, NULL};
		static int64_t ends[] = {INT64_MIN, INT64_MAX};

		one.ncolumns = 4;
		one.arg = ends;
		add_table(image, &one);
	}
	judge_image(image, true);
	close_image(image);
	free(huge);
	end_test("each table starts with any rowid");
}

static jmp_buf leave;

static void *
leaving_next_page(void *arg, uint32_t pgno)
{
	uint32_t   *left = arg;

	static uint8_t page[512];

	(void) pgno;
	if ((*left)-- == 0)
		longjmp(leave, 1);
	return page;
}

static void
test_no_pages(void)
{
	Maker		maker = {.seed = 9,.page_size = 512,.ncolumns = 2,.alias = -1,.long_one_in = 15,.short_len = 90};
	ExpectedTable table = made_table(&maker, 900);
	uint32_t	npages = 0;

	for (uint32_t fail_at = 2; npages == 0 && !failed; fail_at++)
	{
		Image	   *image = open_image(512, 0, -1);
		ImageResult result;
		ImageResult end_result;
		ImageValue	values[2];
		uint32_t	root;
		uint32_t	count;

		image->sink.fail_at = fail_at;
		image_begin_table(image->builder);
		add_rows(image, &table, &result);
		if (result != IMAGE_OK)
		{
			/* It stays lost, even if there are pages again. */
			image->sink.fail_at = 0;
			CHECK(result == IMAGE_NO_PAGES);
			values[0].kind = values[1].kind = IMAGE_NULL;
			CHECK(image_add_row(image->builder, INT64_MAX, values, 2) == IMAGE_NO_PAGES);
		}
		end_result = image_end_table(image->builder, &root);
		if (result != IMAGE_OK)
			CHECK(end_result == IMAGE_NO_PAGES);
		if (end_result == IMAGE_OK && image_empty_index(image->builder, &root) == IMAGE_OK &&
			image_finish(image->builder, image->entries, 0, 1, &count) == IMAGE_OK)
			npages = count;
		else
		{
			image->sink.fail_at = 0;
			CHECK(image_empty_index(image->builder, &root) == IMAGE_NO_PAGES);
			CHECK(image_finish(image->builder, image->entries, 0, 1, &count) == IMAGE_NO_PAGES);
		}
		close_image(image);
	}
	CHECK(npages > 100);
	end_test("IMAGE_NO_PAGES at any of %u pages", npages);

	for (uint32_t n = 0; n < 50; n++)
	{
		void	   *memory = malloc(image_builder_size(512));
		volatile bool left = false;
		uint32_t	pages_left = n;

		if (setjmp(leave) != 0)
			left = true;
		else
		{
			ImageBuilder *builder = image_init(memory, 512, 0, leaving_next_page, &pages_left);

			image_begin_table(builder);
			for (int64_t i = 0; i < 900; i++)
			{
				int64_t		rowid;
				int			nvalues;

				make_row(&maker, i, &rowid, row_values, &nvalues);
				image_add_row(builder, rowid, row_values, nvalues);
			}
		}
		CHECK(left);
		free(memory);
	}
	end_test("next_page may leave by longjmp");
}

/* A key other than an integer: its index is empty until REINDEX. */
static void
text_key_row(void *arg, int64_t n, int64_t *rowid, ImageValue *values, int *nvalues)
{
	*rowid = n + 1;
	values[0] = bytes_value(IMAGE_TEXT, (uint8_t *) arg + n * 10, 10);
	values[1] = integer_value(n);
	*nvalues = 2;
}

static void
test_empty_index(const char *path)
{
	int			fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	Image	   *image = open_image(4096, 0, fd);
	ExpectedTable table = {2, -1, 2000, text_key_row, pool};
	ExpectedTable index = {0, -1, 0, NULL, NULL};
	ImageResult result;
	uint32_t	root;
	const char *bytes;

	image_begin_table(image->builder);
	add_rows(image, &table, &result);
	image_end_table(image->builder, &root);
	expect_table(image, root, &table, strdup("CREATE TABLE t0(k TEXT PRIMARY KEY NOT NULL, v)"));
	CHECK(image_empty_index(image->builder, &root) == IMAGE_OK);
	expect_table(image, root, &index, NULL);
	image->entries[1].type = "index";
	image->entries[1].name = "sqlite_autoindex_t0_1";
	image->entries[1].tbl_name = "t0";
	image->entries[1].sql = NULL;
	finish_image(image);
	bytes = mmap(NULL, (size_t) image->expected.page_count * 4096, PROT_READ, MAP_SHARED, fd, 0);
	check_message(check_pages((const uint8_t *) bytes, &image->expected, NULL), __LINE__);
	check_message(check_file(path, &image->expected, "REINDEX"), __LINE__);
	munmap((void *) bytes, (size_t) image->expected.page_count * 4096);
	close_image(image);
	close(fd);
	unlink(path);
	end_test("an empty index, filled by REINDEX");
}

/* Rows of zeros, then rows of the pool; arg says how long. */
typedef struct Bulk
{
	const uint8_t *data;
	uint32_t	lengths[64];
} Bulk;

static void
bulk_row(void *arg, int64_t n, int64_t *rowid, ImageValue *values, int *nvalues)
{
	const Bulk *bulk = arg;

	*rowid = n + 1;
	values[0] = bytes_value(IMAGE_BLOB, bulk->data, bulk->lengths[n]);
	*nvalues = 1;
}

/*
 * The page at 2^30 and what lies across it.  The bulk before it is zeros, and
 * holes in the file; it is made once, and every variant goes on from a copy
 * of the builder as it was then.
 */
static void
test_lock_byte(const char *path)
{
	static const struct
	{
		const char *what;
		uint32_t	before;		/* free pages up to the lock-byte page */
		int			nrows;		/* of a last table */
		uint32_t	row_pages;	/* of overflow in each */
		size_t		sql_len;
		uint32_t	last;		/* pages beyond the lock-byte page */
	}			variants[] = {
		{"an overflow chain", 2, 1, 6, 30, 5},
		{"an overflow chain's start", 0, 1, 6, 30, 7},
		{"leaves", 2, 20, 0, 30, 19},
		{"an interior page", 5, 5, 0, 30, 1},
		{"the schema's pages", 4, 1, 0, 400000, 3},
		{"nothing, it ends before", 1, 1, 0, 30, 0}
	};
	const uint32_t page_size = 65536;
	const uint32_t lock = image_lock_byte_page(page_size);
	const uint32_t bulk_size = 1000 * (page_size - 4);
	int			fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	Image	   *image = open_image(page_size, 0, fd);
	Image	   *image_copy = malloc(sizeof(Image));
	void	   *builder_copy = malloc(image_builder_size(page_size));
	uint8_t    *bytes = mmap(NULL, (size_t) (lock + 100) * page_size, PROT_READ, MAP_SHARED, fd, 0);
	uint8_t    *zeros = mmap(NULL, bulk_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	Bulk		bulk = {.data = zeros};
	ExpectedTable bulk_table = {1, -1, 17, bulk_row, &bulk};

	if (fd < 0 || image_copy == NULL || builder_copy == NULL ||
		bytes == MAP_FAILED || zeros == MAP_FAILED)
		exit(2);
	CHECK(lock == 16385 && image_lock_byte_page(512) == 2097153);
	for (int i = 0; i < 16; i++)
		bulk.lengths[i] = bulk_size;
	bulk.lengths[16] = 350 * (page_size - 4);
	add_table(image, &bulk_table);
	CHECK(image->sink.last_pgno < lock - 10 && image->sink.last_pgno > lock - 50);
	sink_settle(&image->sink);
	*image_copy = *image;
	memcpy(builder_copy, image->builder, image_builder_size(page_size));

	for (int v = 0; v < COUNT(variants); v++)
	{
		Bulk		filler = {.data = pool};
		Bulk		last = {.data = pool};
		ExpectedTable filler_table = {1, -1, 1, bulk_row, &filler};
		ExpectedTable last_table = {1, -1, variants[v].nrows, bulk_row, &last};

		*image = *image_copy;
		memcpy(image->builder, builder_copy, image_builder_size(page_size));
		if (ftruncate(fd, (off_t) image->sink.last_pgno * page_size) != 0)
			exit(2);

		/* A chain and its leaf up to the pages that should be left. */
		filler.lengths[0] = (lock - 1 - image->sink.last_pgno - variants[v].before - 1) *
			(page_size - 4);
		add_table(image, &filler_table);
		CHECK(image->sink.last_pgno == lock - 1 - variants[v].before);
		for (int i = 0; i < variants[v].nrows; i++)
			last.lengths[i] = variants[v].row_pages > 0 ?
				variants[v].row_pages * (page_size - 4) : page_size - 100;
		add_table_as(image, &last_table, make_long_sql(2, variants[v].sql_len));
		finish_image(image);

		CHECK(image->expected.page_count ==
			  (variants[v].last > 0 ? lock + variants[v].last : lock - 1));
		/* The last page may end in a hole. */
		if (ftruncate(fd, (off_t) image->expected.page_count * page_size) != 0)
			exit(2);
		check_message(check_pages(bytes, &image->expected, NULL), __LINE__);
		check_message(check_file(path, &image->expected, NULL), __LINE__);
		for (int i = 1; i < image->expected.nentries; i++)
			free(image->sqls[i]);
		image->expected.nentries = 1;
		end_test("across the lock-byte page: %s", variants[v].what);
	}

	munmap(bytes, (size_t) (lock + 100) * page_size);
	munmap(zeros, bulk_size);
	free(image_copy);
	free(builder_copy);
	close_image(image);
	close(fd);
	unlink(path);
}

/* A record of exactly the largest size, without keeping its pages. */
static void
test_largest_record(void)
{
	Image	   *image = open_image(65536, 0, -1);
	uint8_t    *zeros = mmap(NULL, IMAGE_MAX_RECORD, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ImageValue	value = bytes_value(IMAGE_BLOB, zeros, IMAGE_MAX_RECORD - 6);
	uint32_t	root;

	image->sink.discard = true;
	image_begin_table(image->builder);
	CHECK(image_add_row(image->builder, 1, &value, 1) == IMAGE_OK);
	value.len++;
	CHECK(image_add_row(image->builder, 2, &value, 1) == IMAGE_TOO_LARGE);
	CHECK(image_end_table(image->builder, &root) == IMAGE_OK);
	CHECK(root == 2 + (IMAGE_MAX_RECORD - 1) / 65532);
	munmap(zeros, IMAGE_MAX_RECORD);
	close_image(image);
	end_test("the largest record");
}

/* A limit at and beyond the lock-byte page, which is no room for a row. */
static void
test_lock_byte_limit(void)
{
	const uint32_t page_size = 65536;
	const uint32_t lock = image_lock_byte_page(page_size);
	const uint32_t bulk_pages = 5461;
	const size_t bulk_size = (size_t) bulk_pages * (page_size - 4);
	uint8_t    *zeros = mmap(NULL, bulk_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static const uint32_t beyond[] = {0, 3};

	if (zeros == MAP_FAILED)
		exit(2);
	for (int i = 0; i < COUNT(beyond); i++)
	{
		uint32_t	limit = lock + beyond[i];
		Image	   *image = open_image(page_size, limit, -1);
		ImageValue	value = bytes_value(IMAGE_BLOB, zeros, (uint32_t) bulk_size);
		uint32_t	left;
		uint32_t	root;

		/* Up to a few pages before it; then one page too many, and just enough. */
		image->sink.discard = true;
		image_begin_table(image->builder);
		CHECK(image_add_row(image->builder, 1, &value, 1) == IMAGE_OK);
		CHECK(image_add_row(image->builder, 2, &value, 1) == IMAGE_OK);
		value.len -= 8 * page_size;
		CHECK(image_add_row(image->builder, 3, &value, 1) == IMAGE_OK);
		CHECK(image_end_table(image->builder, &root) == IMAGE_OK);
		CHECK(root == image->sink.last_pgno && root < lock - 3 && root > lock - 12);
		left = limit - 1 - root;
		image_begin_table(image->builder);
		value.len = left * (page_size - 4);
		CHECK(image_add_row(image->builder, 1, &value, 1) == IMAGE_FULL);
		value.len = (left - 1) * (page_size - 4);
		CHECK(image_add_row(image->builder, 1, &value, 1) == IMAGE_OK);
		CHECK(image_end_table(image->builder, &root) == IMAGE_OK);
		CHECK(root == (beyond[i] == 0 ? lock - 1 : limit));
		close_image(image);
	}
	munmap(zeros, bulk_size);
	end_test("page_limit counts no lock-byte page");
}

int
main(void)
{
	const char *tmpdir = getenv("TMPDIR");
	char		path[1000];

	snprintf(path, sizeof(path), "%s/image_test_%d.db", tmpdir != NULL ? tmpdir : "/tmp", (int) getpid());
	make_pool();

	test_empty();
	test_numbers();
	test_columns();
	for (int p = 0; p < COUNT(all_page_sizes); p++)
		test_lengths(all_page_sizes[p]);
	for (uint64_t seed = 1; seed < 200; seed += 50)
		test_random_images(seed, seed + 49);
	test_widths();
	test_schema();
	test_page_limit();
	test_fill();
	test_refusals();
	test_no_pages();
	test_empty_index(path);
	test_largest_record();
	test_lock_byte(path);
	test_lock_byte_limit();

	printf("1..%d\n", ntests);
	return nfailed == 0 ? 0 : 1;
}
