/*-------------------------------------------------------------------------
 *
 * dictionary.c
 *	  The rows of other tables that the rows of an image refer to.
 *
 * The source's row names an artist; the target's row has the artist's number.
 * Who has which number only the target knows, so an image carries, beside its
 * rows, each artist once under a number of its own, and the rows refer to that.
 * The writer looks each of them up once and puts the rows in by number.
 *
 * It knows the rows of one image and no more, however many there are in all.
 *
 * Rows of one key may come with different values in other columns.  The last
 * one that is not NULL stays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "dictionary.h"

#define FIRST_SLOTS		1024

/* What a row takes in its page beside its values, at most. */
#define CELL_OVERHEAD	32

typedef struct Entry
{
	uint32		hash;
	ImageValue	values[FLEXIBLE_ARRAY_MEMBER];	/* per column but the first */
} Entry;

/* One table. */
typedef struct DictionaryTable
{
	const MappingDimension *dimension;
	int			ncolumns;		/* without the surrogate key */
	int			nentries;
	int			max_entries;
	Entry	  **entries;		/* by number, which counts from 1 */
	uint32		nslots;			/* a power of two */
	uint32	   *slots;			/* numbers by hash; 0: free */
	ImageValue *values;			/* of the row at hand */
	int64		number;			/* of the row at hand; 0: it has none */
	uint64		small_bytes;	/* of rows that share pages ... */
	uint64		large_pages;	/* ... and pages of those that may not */
} DictionaryTable;

struct Dictionary
{
	const Mapping *mapping;
	uint32		page_size;
	MemoryContext context;		/* of the entries */
	int			ntables;
	DictionaryTable *tables;
	ImageValue *row;			/* as it goes into the image */
};

Dictionary *
dictionary_create(const Mapping *mapping, uint32 page_size)
{
	Dictionary *dictionary = palloc0(sizeof(Dictionary));
	ListCell   *lc;

	dictionary->mapping = mapping;
	dictionary->page_size = page_size;
	/* what it takes it gives back all at once; no room is lost to rounding */
	dictionary->context = GenerationContextCreate(CurrentMemoryContext, "lfsync dictionary",
												  ALLOCSET_DEFAULT_SIZES);
	dictionary->ntables = list_length(mapping->dimensions);
	dictionary->tables = palloc0(dictionary->ntables * sizeof(DictionaryTable));
	dictionary->row = palloc0(mapping->nselected * sizeof(ImageValue));
	foreach(lc, mapping->dimensions)
	{
		DictionaryTable *table = &dictionary->tables[foreach_current_index(lc)];

		table->dimension = (MappingDimension *) lfirst(lc);
		table->ncolumns = table->dimension->table->ncolumns - 1;
		table->max_entries = FIRST_SLOTS / 2;
		table->entries = palloc(table->max_entries * sizeof(Entry *));
		table->nslots = FIRST_SLOTS;
		table->slots = palloc0(table->nslots * sizeof(uint32));
		table->values = palloc0(table->ncolumns * sizeof(ImageValue));
	}
	return dictionary;
}

void
dictionary_reset(Dictionary *dictionary)
{
	MemoryContextReset(dictionary->context);
	for (int i = 0; i < dictionary->ntables; i++)
	{
		DictionaryTable *table = &dictionary->tables[i];

		if (table->nentries > 0)
			memset(table->slots, 0, table->nslots * sizeof(uint32));
		table->nentries = 0;
		table->small_bytes = table->large_pages = 0;
	}
}

/*-------------------------------------------------------------------------
 * Finding rows
 *-------------------------------------------------------------------------
 */

static inline Size
value_size(const ImageValue *value)
{
	if (value->kind == IMAGE_NULL)
		return 0;
	return value->kind >= IMAGE_TEXT ? value->len : 8;
}

static inline bool
same_value(const ImageValue *a, const ImageValue *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind)
	{
		case IMAGE_NULL:
			return true;
		case IMAGE_INTEGER:
			return a->u.i == b->u.i;
		case IMAGE_REAL:
			return a->u.r == b->u.r;
		case IMAGE_TEXT:
		case IMAGE_BLOB:
			break;
	}
	return a->len == b->len && memcmp(a->u.data, b->u.data, a->len) == 0;
}

/* Values that same_value() holds for one have one hash. */
static inline uint32
hash_value(const ImageValue *value)
{
	switch (value->kind)
	{
		case IMAGE_NULL:
			break;
		case IMAGE_INTEGER:
			return hash_bytes_uint32((uint32) value->u.i ^ (uint32) (value->u.i >> 32));
		case IMAGE_REAL:
			return hash_bytes((const unsigned char *) &value->u.r, sizeof(double));
		case IMAGE_TEXT:
		case IMAGE_BLOB:
			return hash_bytes(value->u.data, value->len);
	}
	return 0;
}

static inline bool
same_key(const DictionaryTable *table, const ImageValue *a, const ImageValue *b)
{
	const TargetTable *target = table->dimension->table;

	for (int i = 0; i < target->nnatural; i++)
	{
		int			column = target->natural[i] - 1;

		if (!same_value(&a[column], &b[column]))
			return false;
	}
	return true;
}

static void
grow_slots(DictionaryTable *table)
{
	table->max_entries *= 2;
	table->entries = repalloc(table->entries, table->max_entries * sizeof(Entry *));
	table->nslots *= 2;
	table->slots = repalloc(table->slots, table->nslots * sizeof(uint32));
	memset(table->slots, 0, table->nslots * sizeof(uint32));
	for (int i = 0; i < table->nentries; i++)
	{
		uint32		slot = table->entries[i]->hash & (table->nslots - 1);

		while (table->slots[slot] != 0)
			slot = (slot + 1) & (table->nslots - 1);
		table->slots[slot] = i + 1;
	}
}

/*-------------------------------------------------------------------------
 * Taking rows
 *-------------------------------------------------------------------------
 */

/* A value whose bytes live as long as the entry. */
static void
keep_value(ImageValue *to, const ImageValue *from, char *bytes)
{
	*to = *from;
	if (from->kind >= IMAGE_TEXT)
	{
		memcpy(bytes, from->u.data, from->len);
		to->u.data = bytes;
	}
}

static inline bool
is_large(uint32 page_size, Size size)
{
	return size > page_size / 4;
}

/* The pages of an image that a row of this size takes for itself. */
static inline uint32
pages_of_large(uint32 page_size, Size size)
{
	return (uint32) (size / (page_size - 64)) + 2;
}

static void
account(DictionaryTable *table, uint32 page_size, Size size)
{
	if (is_large(page_size, size))
		table->large_pages += pages_of_large(page_size, size);
	else
		table->small_bytes += size;
}

static Entry *
add_entry(Dictionary *dictionary, DictionaryTable *table, uint32 hash)
{
	Size		header = offsetof(Entry, values) + table->ncolumns * sizeof(ImageValue);
	Size		size = 0;
	Entry	   *entry;
	char	   *bytes;

	for (int i = 0; i < table->ncolumns; i++)
		size += value_size(&table->values[i]);
	entry = MemoryContextAllocHuge(dictionary->context, header + size);
	entry->hash = hash;
	bytes = (char *) entry + header;
	for (int i = 0; i < table->ncolumns; i++)
	{
		keep_value(&entry->values[i], &table->values[i], bytes);
		bytes += value_size(&table->values[i]);
	}
	account(table, dictionary->page_size,
			size + CELL_OVERHEAD + 5 * table->ncolumns);
	return entry;
}

/* A later row of the same key: what it has takes the place of the old. */
static void
update_entry(Dictionary *dictionary, DictionaryTable *table, Entry *entry)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		const ImageValue *value = &table->values[i];

		if (value->kind == IMAGE_NULL || same_value(value, &entry->values[i]))
			continue;
		keep_value(&entry->values[i], value,
				   value->kind >= IMAGE_TEXT ?
				   MemoryContextAllocHuge(dictionary->context, value->len) : NULL);
		/* as if it came on top, since the row may be larger now */
		account(table, dictionary->page_size, value_size(value));
	}
}

/* The number of the row at hand. */
static int64
find_or_add(Dictionary *dictionary, DictionaryTable *table)
{
	const TargetTable *target = table->dimension->table;
	uint32		hash = 0;
	uint32		slot;

	for (int i = 0; i < target->nnatural; i++)
		hash = hash_combine(hash, hash_value(&table->values[target->natural[i] - 1]));
	slot = hash & (table->nslots - 1);
	for (; table->slots[slot] != 0; slot = (slot + 1) & (table->nslots - 1))
	{
		Entry	   *entry = table->entries[table->slots[slot] - 1];

		if (entry->hash == hash && same_key(table, entry->values, table->values))
		{
			if (table->dimension->has_values)
				update_entry(dictionary, table, entry);
			return table->slots[slot];
		}
	}
	table->slots[slot] = table->nentries + 1;
	table->entries[table->nentries++] = add_entry(dictionary, table, hash);
	if (table->nentries == table->max_entries)
		grow_slots(table);
	return table->nentries;
}

static void
set_number(ImageValue *value, int64 number)
{
	value->kind = number == 0 ? IMAGE_NULL : IMAGE_INTEGER;
	value->u.i = number;
}

/*
 * The dimension's row of a row of the SELECT.  There is none if a part of the
 * key is missing, but for a reference, or if nothing of it is there.
 */
static bool
take_values(const Dictionary *dictionary, DictionaryTable *table, const ImageValue *row)
{
	const TargetTable *target = table->dimension->table;
	bool		some = false;

	for (int i = 0; i < table->ncolumns; i++)
	{
		int			parent = target->parents[i + 1];

		if (parent >= 0)
			set_number(&table->values[i], dictionary->tables[parent].number);
		else
			table->values[i] = row[table->dimension->inputs[i + 1]];
	}
	for (int i = 0; i < target->nnatural; i++)
	{
		if (table->values[target->natural[i] - 1].kind != IMAGE_NULL)
			some = true;
		else if (target->parents[target->natural[i]] < 0)
			return false;
	}
	return some;
}

const ImageValue *
dictionary_put(Dictionary *dictionary, const ImageValue *row)
{
	const TargetTable *target = dictionary->mapping->table;

	for (int i = 0; i < dictionary->ntables; i++)
	{
		DictionaryTable *table = &dictionary->tables[i];

		table->number = take_values(dictionary, table, row) ?
			find_or_add(dictionary, table) : 0;
	}
	for (int i = 0; i < target->ncolumns; i++)
	{
		if (target->parents[i] >= 0)
			set_number(&dictionary->row[i], dictionary->tables[target->parents[i]].number);
		else
			dictionary->row[i] = row[i];
	}
	return dictionary->row;
}

/*-------------------------------------------------------------------------
 * Into the image
 *-------------------------------------------------------------------------
 */

/*
 * Rows below a quarter of a page leave less than that free in any leaf.  A
 * table has a leaf that is not full, a root, and between them few pages: an
 * interior page leads to 16 others at least.
 */
uint32
dictionary_pages(const Dictionary *dictionary)
{
	uint64		pages = 0;

	for (int i = 0; i < dictionary->ntables; i++)
	{
		const DictionaryTable *table = &dictionary->tables[i];

		pages += table->small_bytes * 4 / (3 * (dictionary->page_size - 100)) +
			table->large_pages + 2;
	}
	return (uint32) (pages + pages / 16);
}

uint32
dictionary_pages_of_row(const Dictionary *dictionary, const ImageValue *row)
{
	Size		size = 0;

	for (int i = 0; i < dictionary->mapping->nselected; i++)
		size += value_size(&row[i]);
	return dictionary->ntables *
		(is_large(dictionary->page_size, size) ? pages_of_large(dictionary->page_size, size) : 1);
}

int
dictionary_schema(const Dictionary *dictionary, ImageSchemaEntry *entries)
{
	for (int i = 0; i < dictionary->ntables; i++)
	{
		const MappingDimension *dimension = dictionary->tables[i].dimension;

		entries[i].type = "table";
		entries[i].name = entries[i].tbl_name = dimension->table->name;
		entries[i].root = 0;
		entries[i].sql = dimension->image_sql;
	}
	return dictionary->ntables;
}

ImageResult
dictionary_build(Dictionary *dictionary, ImageBuilder *builder,
				 ImageSchemaEntry *entries)
{
	ImageResult result = IMAGE_OK;

	for (int i = 0; i < dictionary->ntables && result == IMAGE_OK; i++)
	{
		DictionaryTable *table = &dictionary->tables[i];

		image_begin_table(builder);
		for (int number = 1; number <= table->nentries && result == IMAGE_OK; number++)
			result = image_add_row(builder, number, table->entries[number - 1]->values,
								   table->ncolumns);
		if (result == IMAGE_OK)
			result = image_end_table(builder, &entries[i].root);
	}
	return result;
}
