/*-------------------------------------------------------------------------
 *
 * image.c
 *	  The pages of a SQLite database file, built bottom-up.
 *
 * A table's b-tree grows along its right edge.  Open are the leaf that takes
 * rows and, above it, one interior page per level; everything to their left
 * is finished and gone.  A page gets its number when it is handed out, so
 * numbers ascend and children come before their parents.
 *
 * The leaf is built where it will stay, in the memory that next_page gave for
 * the next number.  Only a row that needs overflow pages disturbs this: its
 * chain is written at once, and of all pages given only the last may still be
 * written.  So the leaf moves to private memory, the chain starts on the page
 * that was meant for it, and the leaf takes a number when it is finished.
 *
 * Section numbers in parentheses are those of
 * https://www.sqlite.org/fileformat2.html.
 *
 *-------------------------------------------------------------------------
 */
#include "image.h"

#include <string.h>

#include "record.h"

/* B-tree pages (1.6) */
#define INDEX_LEAF				0x0a
#define TABLE_INTERIOR			0x05
#define TABLE_LEAF				0x0d
#define LEAF_HEADER_SIZE		8
#define INTERIOR_HEADER_SIZE	12
#define CELL_POINTER_SIZE		2

#define FILE_HEADER_SIZE		100 /* the start of page 1 (1.3) */
#define PGNO_SIZE				4
#define MAX_PGNO				UINT32_C(4294967294)

/*
 * Interior levels that can be open at once.  The least fan-out is that of the
 * schema's tree in pages of 512 bytes, which are used up to 412: 26 cells of
 * at most 15 bytes with their pointers, and the right-most child.  27^7 is
 * above 2^32.
 */
#define MAX_LEVELS				7

/* What stays of a payload in its cell: all up to X, then at least M (1.6). */
#define MAX_LOCAL(page_size)	((page_size) - 35)
#define MIN_LOCAL(page_size)	(((page_size) - 12) * 32 / 255 - 23)

/* A serial type takes 5 bytes at most, as lengths have 32 bits. */
#define MAX_SERIAL_TYPES_SIZE	(IMAGE_MAX_COLUMNS * 5)

/* A page that takes cells: pointers grow up to lower, cells down to upper. */
typedef struct OpenPage
{
	uint8_t    *bytes;			/* NULL if none is open */
	uint32_t	lower;
	uint32_t	upper;
	uint32_t	reserved;		/* bytes to be left free between them */
} OpenPage;

typedef struct Child
{
	uint32_t	pgno;
	int64_t		key;			/* the largest rowid below it */
} Child;

/*
 * The open interior page of one level.  A page needs a cell beside its
 * right-most pointer, so a full one is kept until two more children are
 * known; if only one comes, the last cell moves over to it.
 */
typedef struct Level
{
	OpenPage	page;
	Child		in_cell;		/* the child in the last cell */
	Child		right;			/* the right-most child so far */
	Child		waiting;		/* found the page full, if has_waiting */
	bool		has_waiting;
} Level;

struct ImageBuilder
{
	ImageNextPage next_page;
	void	   *arg;
	uint32_t	page_size;
	uint32_t	page_limit;
	uint32_t	lock_page;
	uint32_t	max_local;
	uint32_t	min_local;

	uint32_t	last_pgno;		/* given last; 1 before any */
	uint8_t    *spare;			/* its page, if the leaf moved away from it */
	bool		lost;			/* IMAGE_NO_PAGES was returned */

	/* the tree under construction */
	bool		is_schema;
	bool		has_rows;
	int64_t		last_rowid;
	OpenPage	leaf;
	int			nlevels;
	Level		levels[MAX_LEVELS];

	uint8_t    *private_pages;	/* one for the leaf, then one per level */

	/* of the row at hand */
	uint8_t		serial_types[MAX_SERIAL_TYPES_SIZE];
};

/* The parts of a row, in bytes, and its overflow pages. */
typedef struct RowSize
{
	uint32_t	types;			/* the record's serial types */
	uint32_t	header;			/* its header, with them */
	uint64_t	payload;		/* all of it */
	uint32_t	local;			/* of that, what the cell holds */
	uint32_t	cell;
	uint64_t	overflow;
} RowSize;

/* Where the next bytes of a cell go. */
typedef struct CellWriter
{
	uint8_t    *at;
	uint8_t    *end;			/* of the room in this page */
	uint8_t    *link;			/* where the next page's number goes */
} CellWriter;

/*
 * The sizes of a row, and its serial types into the builder.  A payload above
 * X leaves K or M bytes in the cell, the rest to overflow pages (1.6).
 */
static inline RowSize
measure_row(ImageBuilder *builder, int64_t rowid,
			const ImageValue *values, int nvalues)
{
	uint8_t    *types = builder->serial_types;
	uint64_t	body = 0;
	RowSize		row;

	for (int i = 0; i < nvalues; i++)
	{
		uint32_t	size;

		types = put_varint(types, serial_type(&values[i], &size));
		body += size;
	}
	row.types = (uint32_t) (types - builder->serial_types);
	/* The header counts itself; IMAGE_MAX_COLUMNS never need three bytes. */
	row.header = row.types + (row.types < 0x7f ? 1 : 2);
	row.payload = row.header + body;

	row.local = (uint32_t) row.payload;
	row.overflow = 0;
	if (row.payload > builder->max_local)
	{
		uint32_t	room = builder->page_size - PGNO_SIZE;
		uint32_t	min_local = builder->min_local;
		uint64_t	k = min_local + (row.payload - min_local) % room;

		row.local = k <= builder->max_local ? (uint32_t) k : min_local;
		row.overflow = (row.payload - row.local + room - 1) / room;
	}
	row.cell = varint_size(row.payload) + varint_size((uint64_t) rowid) +
		row.local + (row.overflow > 0 ? PGNO_SIZE : 0);
	return row;
}

uint32_t
image_lock_byte_page(uint32_t page_size)
{
	return (UINT32_C(1) << 30) / page_size + 1;
}

/* The number of the page that take_page() will give. */
static uint32_t
coming_pgno(const ImageBuilder *builder)
{
	uint32_t	pgno = builder->last_pgno;

	if (builder->spare == NULL)
		pgno += pgno + 1 == builder->lock_page ? 2 : 1;
	return pgno;
}

/* The next page; its number is then last_pgno.  NULL: the image is lost. */
static uint8_t *
take_page(ImageBuilder *builder)
{
	uint8_t    *page = builder->spare;
	uint32_t	pgno = coming_pgno(builder);

	builder->spare = NULL;
	if (page == NULL && !builder->lost && pgno <= MAX_PGNO)
		page = builder->next_page(builder->arg, pgno);
	if (page == NULL)
	{
		builder->lost = true;
		builder->leaf.bytes = NULL;
		return NULL;
	}
	builder->last_pgno = pgno;
	return page;
}

static void
open_page(const ImageBuilder *builder, OpenPage *page, uint8_t *bytes,
		  uint32_t header_size)
{
	page->bytes = bytes;
	page->lower = header_size;
	page->upper = builder->page_size;
	/* Any page of the schema's tree may become its root, on page 1. */
	page->reserved = builder->is_schema ? FILE_HEADER_SIZE : 0;
}

static inline bool
has_room(const OpenPage *page, uint32_t cell_size)
{
	return page->upper - page->lower >=
		cell_size + CELL_POINTER_SIZE + page->reserved;
}

/* Room for a cell, which has_room() said is there. */
static inline uint8_t *
add_cell(OpenPage *page, uint32_t cell_size)
{
	page->upper -= cell_size;
	put_big_endian(page->bytes + page->lower, page->upper, 2);
	page->lower += CELL_POINTER_SIZE;
	return page->bytes + page->upper;
}

/*
 * Finishes a page: it goes to where it will stay, if it was not built there,
 * gets its page header (1.6), and shows no old memory in its gap.  On page 1
 * the header and the pointers come after the file header.
 */
static void
seal_page(const ImageBuilder *builder, const OpenPage *page, uint8_t type,
		  uint32_t right_pgno, uint8_t *dest, uint32_t pgno)
{
	uint32_t	start = pgno == 1 ? FILE_HEADER_SIZE : 0;
	uint32_t	size = type == TABLE_INTERIOR ?
		INTERIOR_HEADER_SIZE : LEAF_HEADER_SIZE;
	uint32_t	pointers = page->lower - size;
	uint8_t    *header = dest + start;

	if (dest != page->bytes)
	{
		memcpy(header + size, page->bytes + size, pointers);
		memcpy(dest + page->upper, page->bytes + page->upper,
			   builder->page_size - page->upper);
	}
	memset(header + page->lower, 0, page->upper - page->lower - start);

	header[0] = type;
	put_big_endian(header + 1, 0, 2);	/* no freeblock */
	put_big_endian(header + 3, pointers / CELL_POINTER_SIZE, 2);
	put_big_endian(header + 5, page->upper, 2); /* 65536 becomes 0 */
	header[7] = 0;				/* no fragments */
	if (type == TABLE_INTERIOR)
		put_big_endian(header + 8, right_pgno, PGNO_SIZE);
}

static bool
add_child_cell(Level *level, Child child)
{
	uint32_t	size = PGNO_SIZE + varint_size((uint64_t) child.key);
	uint8_t    *cell;

	if (!has_room(&level->page, size))
		return false;
	cell = add_cell(&level->page, size);
	put_big_endian(cell, child.pgno, PGNO_SIZE);
	put_varint(cell + PGNO_SIZE, (uint64_t) child.key);
	level->in_cell = child;
	return true;
}

/* Writes the page of a level, as *child for the level above, and empties it. */
static bool
flush_level(ImageBuilder *builder, Level *level, Child *child)
{
	uint8_t    *dest = take_page(builder);

	if (dest == NULL)
		return false;
	seal_page(builder, &level->page, TABLE_INTERIOR, level->right.pgno,
			  dest, builder->last_pgno);
	child->pgno = builder->last_pgno;
	child->key = level->right.key;
	open_page(builder, &level->page, level->page.bytes, INTERIOR_HEADER_SIZE);
	return true;
}

/* Puts a finished page into a level, and the pages this fills above that. */
static bool
add_child(ImageBuilder *builder, int depth, Child child)
{
	Level	   *level = &builder->levels[depth];
	Child		flushed;

	if (depth == builder->nlevels)
	{
		builder->nlevels++;
		open_page(builder, &level->page, builder->private_pages +
				  (size_t) (depth + 1) * builder->page_size,
				  INTERIOR_HEADER_SIZE);
		level->right = child;
		level->has_waiting = false;
	}
	else if (level->has_waiting)
	{
		if (!flush_level(builder, level, &flushed) ||
			!add_child(builder, depth + 1, flushed))
			return false;
		add_child_cell(level, level->waiting);
		level->right = child;
		level->has_waiting = false;
	}
	else if (add_child_cell(level, level->right))
		level->right = child;
	else
	{
		level->waiting = child;
		level->has_waiting = true;
	}
	return true;
}

/*
 * Writes the interior pages, after the last leaf, but for the topmost.  Where a
 * child waits for a second page, the first page's last cell moves there.
 */
static bool
finish_levels(ImageBuilder *builder)
{
	for (int depth = 0;; depth++)
	{
		Level	   *level = &builder->levels[depth];
		Child		right = level->right;
		Child		flushed;

		if (level->has_waiting)
		{
			level->page.lower -= CELL_POINTER_SIZE;
			level->page.upper += PGNO_SIZE +
				varint_size((uint64_t) level->in_cell.key);
			level->right = level->in_cell;
			if (!flush_level(builder, level, &flushed) ||
				!add_child(builder, depth + 1, flushed))
				return false;
			add_child_cell(level, right);
			level->right = level->waiting;
			level->has_waiting = false;
		}
		if (depth == builder->nlevels - 1)
			return true;
		if (!flush_level(builder, level, &flushed) ||
			!add_child(builder, depth + 1, flushed))
			return false;
	}
}

/* Writes the open leaf. */
static bool
finish_leaf(ImageBuilder *builder, Child *child)
{
	OpenPage   *leaf = &builder->leaf;
	uint8_t    *dest = leaf->bytes;

	if (dest == builder->private_pages)
		dest = take_page(builder);
	if (dest == NULL)
		return false;
	seal_page(builder, leaf, TABLE_LEAF, 0, dest, builder->last_pgno);
	leaf->bytes = NULL;
	child->pgno = builder->last_pgno;
	child->key = builder->last_rowid;
	return true;
}

/* Whether the next npages numbers are within page_limit. */
static bool
pages_left(const ImageBuilder *builder, uint64_t npages)
{
	uint64_t	last = builder->last_pgno + npages;

	if (builder->last_pgno < builder->lock_page && last >= builder->lock_page)
		last++;
	return last <= builder->page_limit;
}

/*
 * Sees to it that the open leaf has room for a row that does not simply fit.
 * Only such a row changes how many pages the table will have, so only here
 * the limit is looked at.
 */
static ImageResult
make_room(ImageBuilder *builder, const RowSize *row)
{
	OpenPage   *leaf = &builder->leaf;
	bool		is_full = leaf->bytes != NULL && !has_room(leaf, row->cell);
	uint64_t	npages = row->overflow;
	Child		child;

	if (builder->lost)
		return IMAGE_NO_PAGES;

	/*
	 * What would still need a number if the table ended after this row: the
	 * overflow chain; the leaf, if it has none (one built in place gives its
	 * own to the chain, and takes another); a new leaf after a full one.
	 * Above them, two pages a level and a new root always suffice: the one or
	 * two new leaves fill at most one page of a level, which leaves that page
	 * and a fresh one.
	 */
	if (leaf->bytes == NULL || leaf->bytes == builder->private_pages)
		npages++;
	if (is_full)
		npages++;
	if (is_full || builder->nlevels > 0)
		npages += 2 * (uint64_t) builder->nlevels + 1;
	if (!pages_left(builder, npages))
		return IMAGE_FULL;

	if (is_full &&
		(!finish_leaf(builder, &child) || !add_child(builder, 0, child)))
		return IMAGE_NO_PAGES;

	if (row->overflow > 0 || builder->is_schema)
	{
		uint8_t    *private_leaf = builder->private_pages;

		if (leaf->bytes == NULL)
			open_page(builder, leaf, private_leaf, LEAF_HEADER_SIZE);
		else if (leaf->bytes != private_leaf)
		{
			memcpy(private_leaf, leaf->bytes, leaf->lower);
			memcpy(private_leaf + leaf->upper, leaf->bytes + leaf->upper,
				   builder->page_size - leaf->upper);
			builder->spare = leaf->bytes;
			leaf->bytes = private_leaf;
		}
	}
	else
	{
		uint8_t    *page = take_page(builder);

		if (page == NULL)
			return IMAGE_NO_PAGES;
		open_page(builder, leaf, page, LEAF_HEADER_SIZE);
	}
	return IMAGE_OK;
}

/* Goes on with a cell's payload on overflow pages (1.6). */
static bool
write_overflow(ImageBuilder *builder, CellWriter *writer,
			   const uint8_t *from, size_t len)
{
	for (;;)
	{
		size_t		part = (size_t) (writer->end - writer->at);
		uint8_t    *page;

		if (part > len)
			part = len;
		memcpy(writer->at, from, part);
		writer->at += part;
		from += part;
		len -= part;
		if (len == 0)
			return true;

		/* The link first: once another is asked for, this page is gone. */
		put_big_endian(writer->link, coming_pgno(builder), PGNO_SIZE);
		page = take_page(builder);
		if (page == NULL)
			return false;
		writer->link = page;
		writer->at = page + PGNO_SIZE;
		writer->end = page + builder->page_size;
	}
}

static inline bool
write_bytes(ImageBuilder *builder, CellWriter *writer,
			const uint8_t *from, size_t len)
{
	if (len > (size_t) (writer->end - writer->at))
		return write_overflow(builder, writer, from, len);
	if (len > 0)
		memcpy(writer->at, from, len);
	writer->at += len;
	return true;
}

/* Writes a row into the open leaf, straight from its values. */
static inline bool
write_row(ImageBuilder *builder, int64_t rowid,
		  const ImageValue *values, int nvalues, const RowSize *row)
{
	uint8_t    *cell = add_cell(&builder->leaf, row->cell);
	uint8_t		bytes[MAX_VARINT_SIZE];
	CellWriter	writer;

	writer.at = put_varint(cell, row->payload);
	writer.at = put_varint(writer.at, (uint64_t) rowid);
	writer.end = writer.link = writer.at + row->local;

	if (!write_bytes(builder, &writer, bytes,
					 (size_t) (put_varint(bytes, row->header) - bytes)) ||
		!write_bytes(builder, &writer, builder->serial_types, row->types))
		return false;
	for (int i = 0; i < nvalues; i++)
	{
		const ImageValue *value = &values[i];
		const uint8_t *data = value->u.data;
		uint32_t	size;

		serial_type(value, &size);
		if (value->kind < IMAGE_TEXT && size > 0)
		{
			uint64_t	bits = (uint64_t) value->u.i;

			if (value->kind == IMAGE_REAL)
				memcpy(&bits, &value->u.r, sizeof(bits));
			/* SQLite stores -0.0 as 0.0, and so does this. */
			if (value->kind == IMAGE_REAL && value->u.r == 0.0)
				bits = 0;
			put_big_endian(bytes, bits, size);
			data = bytes;
		}
		if (!write_bytes(builder, &writer, data, size))
			return false;
	}

	if (row->overflow > 0)
	{
		put_big_endian(writer.link, 0, PGNO_SIZE);
		memset(writer.at, 0, (size_t) (writer.end - writer.at));
	}
	return true;
}

size_t
image_builder_size(uint32_t page_size)
{
	return sizeof(ImageBuilder) + (size_t) page_size * (1 + MAX_LEVELS);
}

ImageBuilder *
image_init(void *memory, uint32_t page_size, uint32_t page_limit,
		   ImageNextPage next_page, void *arg)
{
	ImageBuilder *builder = memory;

	memset(builder, 0, sizeof(*builder));
	builder->next_page = next_page;
	builder->arg = arg;
	builder->page_size = page_size;
	builder->page_limit = page_limit == 0 || page_limit > MAX_PGNO ?
		MAX_PGNO : page_limit;
	builder->lock_page = image_lock_byte_page(page_size);
	builder->max_local = MAX_LOCAL(page_size);
	builder->min_local = MIN_LOCAL(page_size);
	builder->last_pgno = 1;
	builder->private_pages = (uint8_t *) (builder + 1);
	return builder;
}

void
image_begin_table(ImageBuilder *builder)
{
	builder->has_rows = false;
	builder->leaf.bytes = NULL;
	builder->nlevels = 0;
}

ImageResult
image_add_row(ImageBuilder *builder, int64_t rowid,
			  const ImageValue *values, int nvalues)
{
	static const ImageValue null_value = {.kind = IMAGE_NULL};
	RowSize		row;

	/* A record without a column makes SQLite say that the file is damaged. */
	if (nvalues == 0)
	{
		values = &null_value;
		nvalues = 1;
	}
	if (builder->has_rows && rowid <= builder->last_rowid)
		return IMAGE_ORDER;
	if (nvalues > IMAGE_MAX_COLUMNS)
		return IMAGE_TOO_LARGE;
	row = measure_row(builder, rowid, values, nvalues);
	if (row.payload > IMAGE_MAX_RECORD)
		return IMAGE_TOO_LARGE;

	if (builder->leaf.bytes == NULL || row.overflow > 0 ||
		!has_room(&builder->leaf, row.cell))
	{
		ImageResult result = make_room(builder, &row);

		if (result != IMAGE_OK)
			return result;
	}
	if (!write_row(builder, rowid, values, nvalues, &row))
		return IMAGE_NO_PAGES;
	builder->has_rows = true;
	builder->last_rowid = rowid;
	return IMAGE_OK;
}

/* A b-tree without entries is an empty leaf. */
static ImageResult
add_empty_tree(ImageBuilder *builder, uint8_t type, uint32_t *root)
{
	OpenPage	page;
	uint8_t    *dest = take_page(builder);

	if (dest == NULL)
		return IMAGE_NO_PAGES;
	open_page(builder, &page, dest, LEAF_HEADER_SIZE);
	seal_page(builder, &page, type, 0, dest, builder->last_pgno);
	*root = builder->last_pgno;
	return IMAGE_OK;
}

ImageResult
image_end_table(ImageBuilder *builder, uint32_t *root)
{
	Child		top;

	if (!builder->has_rows)
		return add_empty_tree(builder, TABLE_LEAF, root);
	if (!finish_leaf(builder, &top))
		return IMAGE_NO_PAGES;
	if (builder->nlevels > 0 &&
		(!add_child(builder, 0, top) || !finish_levels(builder) ||
		 !flush_level(builder, &builder->levels[builder->nlevels - 1], &top)))
		return IMAGE_NO_PAGES;
	*root = top.pgno;
	return IMAGE_OK;
}

ImageResult
image_empty_index(ImageBuilder *builder, uint32_t *root)
{
	return add_empty_tree(builder, INDEX_LEAF, root);
}

/*
 * Rows at their largest, as their roots are not known yet; and of the interior
 * pages, which have far more than eight children each, the root is page 1.
 */
uint32_t
image_schema_pages(uint32_t page_size,
				   const ImageSchemaEntry *entries, int nentries)
{
	uint64_t	room = page_size - FILE_HEADER_SIZE - LEAF_HEADER_SIZE;
	uint64_t	max_local = MAX_LOCAL(page_size);
	uint64_t	used = 0;
	uint64_t	leaves = 1;
	uint64_t	pages = 0;

	for (int i = 0; i < nentries; i++)
	{
		const ImageSchemaEntry *entry = &entries[i];
		uint64_t	cell = strlen(entry->type) + strlen(entry->name) +
			strlen(entry->tbl_name) +
			(entry->sql == NULL ? 0 : strlen(entry->sql));

		cell += 32;				/* the record's header, and the root */
		if (cell > max_local)
		{
			pages += (cell - MIN_LOCAL(page_size)) /
				(page_size - PGNO_SIZE) + 1;
			cell = max_local;
		}
		cell += 20;				/* its size, the rowid, a link, a pointer */
		if (used + cell > room)
		{
			leaves++;
			used = 0;
		}
		used += cell;
	}
	if (leaves > 1)
		pages += leaves + leaves / 8;
	return (uint32_t) pages;
}

static ImageValue
text_value(const char *text)
{
	ImageValue	value;
	size_t		len = text == NULL ? 0 : strlen(text);

	value.kind = text == NULL ? IMAGE_NULL : IMAGE_TEXT;
	/* What this cuts off is above IMAGE_MAX_RECORD either way. */
	value.len = len > UINT32_MAX ? UINT32_MAX : (uint32_t) len;
	value.u.data = text;
	return value;
}

/* The file header (1.3). */
static void
put_file_header(const ImageBuilder *builder, uint8_t *to,
				uint32_t schema_cookie)
{
	memset(to, 0, FILE_HEADER_SIZE);
	memcpy(to, "SQLite format 3", 16);
	put_big_endian(to + 16, builder->page_size == IMAGE_MAX_PAGE_SIZE ?
				   1 : builder->page_size, 2);
	to[18] = 1;					/* writing takes a rollback journal */
	to[19] = 1;					/* reading too */
	to[21] = 64;				/* payload fractions, which are fixed */
	to[22] = 32;
	to[23] = 32;
	put_big_endian(to + 24, schema_cookie, 4);	/* file change counter */
	put_big_endian(to + 28, builder->last_pgno, 4); /* size in pages */
	put_big_endian(to + 40, schema_cookie, 4);
	put_big_endian(to + 44, 4, 4);	/* schema format: serial types 8 and 9 */
	put_big_endian(to + 56, 1, 4);	/* UTF-8 */
	put_big_endian(to + 92, schema_cookie, 4);	/* change counter again: the
												 * size is valid */
	put_big_endian(to + 96, 3037000, 4);	/* SQLite's version */
}

ImageResult
image_finish(ImageBuilder *builder,
			 const ImageSchemaEntry *entries, int nentries,
			 uint32_t schema_cookie, uint32_t *page_count)
{
	OpenPage   *leaf = &builder->leaf;
	const OpenPage *root = leaf;
	uint8_t		type = TABLE_LEAF;
	uint32_t	right_pgno = 0;
	uint8_t    *page1 = NULL;

	image_begin_table(builder);
	builder->is_schema = true;
	builder->page_limit = MAX_PGNO;
	for (int i = 0; i < nentries; i++)
	{
		ImageValue	row[5];		/* the columns of sqlite_schema (2.6) */
		ImageResult result;

		row[0] = text_value(entries[i].type);
		row[1] = text_value(entries[i].name);
		row[2] = text_value(entries[i].tbl_name);
		row[3].kind = IMAGE_INTEGER;
		row[3].u.i = entries[i].root;
		row[4] = text_value(entries[i].sql);
		result = image_add_row(builder, i + 1, row, 5);
		if (result != IMAGE_OK)
			return result == IMAGE_FULL ? IMAGE_NO_PAGES : result;
	}

	/*
	 * The root is page 1: the only leaf, if it fits there, else the interior
	 * page on top.  That one has no cell if there is but one row and only
	 * page 1 is too small for it; SQLite does the same, and allows it for
	 * page 1 alone.
	 */
	if (leaf->bytes == NULL)
		open_page(builder, leaf, builder->private_pages, LEAF_HEADER_SIZE);
	if (builder->nlevels > 0 || leaf->upper - leaf->lower < FILE_HEADER_SIZE)
	{
		Child		child;
		Level	   *top;

		if (!finish_leaf(builder, &child) || !add_child(builder, 0, child) ||
			!finish_levels(builder))
			return IMAGE_NO_PAGES;
		top = &builder->levels[builder->nlevels - 1];
		root = &top->page;
		type = TABLE_INTERIOR;
		right_pgno = top->right.pgno;
	}

	if (!builder->lost)
		page1 = builder->next_page(builder->arg, 1);
	if (page1 == NULL)
	{
		builder->lost = true;
		return IMAGE_NO_PAGES;
	}
	seal_page(builder, root, type, right_pgno, page1, 1);
	put_file_header(builder, page1, schema_cookie);
	*page_count = builder->last_pgno;
	return IMAGE_OK;
}
