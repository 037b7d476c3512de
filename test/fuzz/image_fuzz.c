/*-------------------------------------------------------------------------
 *
 * image_fuzz.c
 *	  Images of image.c from arbitrary bytes.
 *
 * The input is read as orders: page size, page limit, tables, rowid steps,
 * values, and now and then something that must be refused.  What the builder
 * took is kept, and held against the image by the page walker and by SQLite
 * (see test/unit/image_check.h).  Where the input ends, zeros follow, and
 * those end every list.
 *
 * With libFuzzer this is LLVMFuzzerTestOneInput().  With -DSTANDALONE there is
 * a main() that feeds it random bytes: image_fuzz RUNS SEED.
 *
 *-------------------------------------------------------------------------
 */
#include "image_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TABLES		4
#define MAX_ROWS		5000	/* of all tables together */
#define MAX_BYTES		(1 << 20)	/* of all values together */
#define POOL_SIZE		(1 << 20)

/* A row as it was given; its values follow in a list of their own. */
typedef struct FuzzRow
{
	int64_t		rowid;
	int			nvalues;
	size_t		first_value;
} FuzzRow;

typedef struct FuzzTable
{
	FuzzRow    *rows;
	const ImageValue *values;
} FuzzTable;

typedef struct Input
{
	const uint8_t *at;
	const uint8_t *end;
} Input;

static uint8_t pool[POOL_SIZE];
static FuzzRow all_rows[MAX_ROWS];
static ImageValue all_values[MAX_ROWS * 16 + 4 * IMAGE_MAX_COLUMNS];

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) require((condition) ? NULL : #condition, __LINE__)

static void
require(const char *problem, int line)
{
	if (problem == NULL)
		return;
	fprintf(stderr, "line %d: %s\n", line, problem);
	abort();
}

static uint32_t
take_byte(Input *input)
{
	return input->at < input->end ? *input->at++ : 0;
}

static uint32_t
take_short(Input *input)
{
	uint32_t	high = take_byte(input);

	return high << 8 | take_byte(input);
}

/* Any 64-bit integer, small ones and those around powers of two at low cost. */
static uint64_t
take_integer(Input *input)
{
	uint32_t	how = take_byte(input);
	uint64_t	v = 0;

	if (how < 128)
		return how;
	if (how < 192)
		return (UINT64_C(1) << (how & 63)) + take_byte(input) - 128;
	if (how < 224)
		return take_short(input);
	for (int i = 0; i < 8; i++)
		v = v << 8 | take_byte(input);
	return v;
}

/* A length; some are given relative to what matters to a page. */
static uint32_t
take_length(Input *input, uint32_t page_size)
{
	uint32_t	how = take_byte(input);
	uint32_t	m = (page_size - 12) * 32 / 255 - 23;
	uint32_t	base = 0;

	if (how < 160)
		return how / 2;
	switch (how % 8)
	{
		case 0:
			return take_short(input);
		case 1:
			base = page_size - 35;
			break;
		case 2:
			base = m;
			break;
		case 3:
			base = page_size - 4 + m;
			break;
		case 4:
			base = 2 * (page_size - 4) - 31;
			break;
		case 5:
			base = 4 * (page_size - 4) + m;
			break;
		case 6:
			base = 57;
			break;
		case 7:
			base = 8185;
			break;
	}
	base += take_byte(input) % 32;
	return base > 20 ? base - 20 : 0;
}

/* A dozen columns at most, as a rule; or around 126; or any number. */
static int
take_columns(Input *input, uint32_t shape)
{
	if (shape < 224)
		return 1 + (int) (shape % 12);
	if (shape < 240)
		return 120 + (int) (take_byte(input) % 12);
	return 1 + (int) (take_short(input) % IMAGE_MAX_COLUMNS);
}

static ImageValue
take_value(Input *input, uint32_t page_size, size_t *bytes_left)
{
	ImageValue	value = {.kind = IMAGE_NULL};
	uint32_t	kind = take_byte(input);
	uint64_t	bits;

	switch (kind % 5)
	{
		case 0:
			break;
		case 1:
			value.kind = IMAGE_INTEGER;
			value.u.i = (int64_t) (kind & 128 ? -take_integer(input) : take_integer(input));
			break;
		case 2:
			value.kind = IMAGE_REAL;
			bits = take_integer(input) << (kind & 128 ? 48 : 0);
			memcpy(&value.u.r, &bits, sizeof(bits));
			if (isnan(value.u.r))
				value.u.r = -0.0;
			break;
		default:
			value.kind = kind % 5 == 3 ? IMAGE_TEXT : IMAGE_BLOB;
			value.len = take_length(input, page_size);
			if (value.len > *bytes_left)
				value.len = 0;
			*bytes_left -= value.len;
			value.u.data = value.len == 0 ? NULL : pool + kind * 1000;
			break;
	}
	return value;
}

static void
fuzz_row(void *arg, int64_t n, int64_t *rowid, ImageValue *values, int *nvalues)
{
	const FuzzTable *table = arg;
	const FuzzRow *row = &table->rows[n];

	*rowid = row->rowid;
	*nvalues = row->nvalues;
	if (row->nvalues > 0)
		memcpy(values, table->values + row->first_value,
			   (size_t) row->nvalues * sizeof(ImageValue));
}

/* SQL with a comment of the wanted length at its end. */
static char *
make_sql(const char *name, int ncolumns, int alias, uint32_t comment)
{
	size_t		size = (size_t) ncolumns * 28 + comment + 100;
	char	   *sql = malloc(size);
	size_t		len;

	if (sql == NULL)
		abort();
	len = (size_t) snprintf(sql, size, "CREATE TABLE %s(", name);
	for (int i = 0; i < ncolumns; i++)
		len += (size_t) snprintf(sql + len, size - len, "%sc%d%s", i > 0 ? "," : "", i,
								 i == alias ? " INTEGER PRIMARY KEY" : "");
	len += (size_t) snprintf(sql + len, size - len, ")--");
	memset(sql + len, 'x', comment);
	sql[len + comment] = '\0';
	return sql;
}

/* Adds a row; true if it was taken, and it may be refused only for a reason. */
static bool
try_row(ImageBuilder *builder, int64_t rowid, const ImageValue *values, int nvalues,
		const FuzzRow *last, uint32_t page_limit)
{
	ImageResult result = image_add_row(builder, rowid, values, nvalues);

	if (last != NULL && rowid <= last->rowid)
		REQUIRE(result == IMAGE_ORDER);
	else if (result != IMAGE_OK)
	{
		REQUIRE(result == IMAGE_FULL);
		REQUIRE(page_limit != 0);
	}
	return result == IMAGE_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const ImageValue huge = {.kind = IMAGE_BLOB,.len = IMAGE_MAX_RECORD,.u.data = pool};
	Input		input = {data, data + size};
	uint32_t	page_size = 512u << take_byte(&input) % 8;
	uint32_t	page_limit = take_byte(&input);
	int			ntables = (int) (take_byte(&input) % (MAX_TABLES + 1));
	ImageSchemaEntry entries[MAX_TABLES];
	ExpectedTable tables[MAX_TABLES];
	FuzzTable	fuzz_tables[MAX_TABLES];
	char		names[MAX_TABLES][16];
	char	   *sqls[MAX_TABLES];
	size_t		nrows = 0;
	size_t		nvalues = 0;
	size_t		bytes_left = MAX_BYTES;
	uint32_t	rowless = 0;
	uint32_t	pages_of_rows;
	Seen		seen;
	Sink		sink;
	ImageBuilder *builder;
	Expected	expected = {page_size, 0, take_byte(&input), ntables, entries, tables};

	if (pool[0] == 0)
		for (size_t i = 0; i < POOL_SIZE; i++)
			pool[i] = (uint8_t) (i % 251 + 1);
	builder = malloc(image_builder_size(page_size));
	if (builder == NULL)
		abort();
	if (page_limit >= 200)
		page_limit = 0;
	sink_open(&sink, page_size, -1);
	builder = image_init(builder, page_size, page_limit, sink_next_page, &sink);

	for (int t = 0; t < ntables; t++)
	{
		uint32_t	shape = take_byte(&input);
		int			ncolumns = take_columns(&input, shape);
		int			alias = (int) (take_byte(&input) % ((uint32_t) ncolumns + 1)) - 1;
		int64_t		rowid = (int64_t) (take_integer(&input) * (shape & 16 ? UINT64_MAX : 1));
		uint32_t	order;
		FuzzRow    *rows = &all_rows[nrows];
		int64_t		taken = 0;

		image_begin_table(builder);
		while ((order = take_byte(&input)) != 0 && nrows < MAX_ROWS &&
			   nvalues + (size_t) ncolumns <= sizeof(all_values) / sizeof(all_values[0]))
		{
			ImageValue *values = &all_values[nvalues];
			uint32_t	repeat = order & 1 ? 1 : 1 + take_byte(&input);
			uint64_t	step = order & 2 ? 1 : take_integer(&input);
			int			n = order & 4 ? (int) take_byte(&input) % (ncolumns + 1) : ncolumns;
			size_t		bytes_before = bytes_left;
			size_t		row_bytes;

			for (int i = 0; i < n; i++)
			{
				values[i] = take_value(&input, page_size, &bytes_left);
				if (i == alias)
					values[i].kind = IMAGE_NULL;
			}
			nvalues += (size_t) n;
			row_bytes = bytes_before - bytes_left;
			if (order & 8)
				REQUIRE(image_add_row(builder, INT64_MAX, &huge, 1) == IMAGE_TOO_LARGE ||
						(taken > 0 && rows[taken - 1].rowid == INT64_MAX));

			for (; repeat > 0 && nrows < MAX_ROWS && row_bytes <= bytes_left; repeat--)
			{
				rowid = (int64_t) ((uint64_t) rowid + step);
				if (!try_row(builder, rowid, values, n, taken > 0 ? &rows[taken - 1] : NULL, page_limit))
					continue;
				rows[taken].rowid = rowid;
				rows[taken].nvalues = n;
				rows[taken].first_value = (size_t) (values - all_values);
				taken++;
				nrows++;
				bytes_left -= row_bytes;
			}
		}

		entries[t].type = "table";
		REQUIRE(image_end_table(builder, &entries[t].root) == IMAGE_OK);
		rowless += taken == 0;
		if (page_limit != 0)
			REQUIRE(entries[t].root <= page_limit + rowless);
		snprintf(names[t], sizeof(names[t]), "t%d", t);
		entries[t].name = entries[t].tbl_name = names[t];
		sqls[t] = make_sql(names[t], ncolumns, alias, take_length(&input, page_size));
		entries[t].sql = sqls[t];
		fuzz_tables[t].rows = rows;
		fuzz_tables[t].values = all_values;
		tables[t].ncolumns = ncolumns;
		tables[t].alias = alias;
		tables[t].nrows = taken;
		tables[t].row = fuzz_row;
		tables[t].arg = &fuzz_tables[t];
	}

	pages_of_rows = sink.last_pgno;
	REQUIRE(image_finish(builder, entries, ntables, expected.schema_cookie,
						 &expected.page_count) == IMAGE_OK);
	sink_settle(&sink);
	require(sink.fault, __LINE__);
	REQUIRE(expected.page_count == sink.last_pgno);
	REQUIRE(expected.page_count - pages_of_rows <=
			image_schema_pages(page_size, entries, ntables));
	require(check_pages(sink.bytes, &expected, &seen), __LINE__);
	require(check_deserialized(sink.bytes, &expected), __LINE__);

	for (int t = 0; t < ntables; t++)
		free(sqls[t]);
	free(builder);
	sink_close(&sink);
	return 0;
}

#ifdef STANDALONE
int
main(int argc, char **argv)
{
	long		runs = argc > 1 ? atol(argv[1]) : 20000;
	uint64_t	state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	uint8_t		bytes[4096];

	for (long run = 0; run < runs; run++)
	{
		size_t		size;

		for (size_t i = 0; i < sizeof(bytes); i++)
		{
			state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			bytes[i] = (uint8_t) (state >> 56);
		}
		/* Mostly short inputs, as libFuzzer's are. */
		size = (bytes[4095] << 8 | bytes[4094]) % (run % 16 == 0 ? sizeof(bytes) - 1 : 200);
		LLVMFuzzerTestOneInput(bytes, size);
	}
	printf("Done %ld runs\n", runs);
	return 0;
}
#endif
