/*-------------------------------------------------------------------------
 *
 * reorder.c
 *	  Rows that come before their turn, held until it is theirs.
 *
 * PostgreSQL fills the gap at the end of a page with whatever small row comes
 * by later.  So a table that was filled row by row, in the order of its key,
 * has every here and there a row that belongs some hundred or thousand rows
 * further on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/binaryheap.h"
#include "utils/memutils.h"

#include "reorder.h"

/* What may be held at once; memory is bounded by it. */
#define MAX_HELD_ROWS	4096
#define MAX_HELD_BYTES	(4 * 1024 * 1024)

/* A row, with its texts and blobs behind the values. */
typedef struct HeldRow
{
	int64		rowid;
	Size		size;
	ImageValue	values[FLEXIBLE_ARRAY_MEMBER];
} HeldRow;

struct Reorder
{
	MemoryContext context;
	int			ncolumns;
	binaryheap *rows;			/* the lowest rowid first */
	Size		bytes;
	HeldRow    *taken;			/* last one taken */
};

static int
compare_rows(Datum a, Datum b, void *arg)
{
	int64		x = ((HeldRow *) DatumGetPointer(a))->rowid;
	int64		y = ((HeldRow *) DatumGetPointer(b))->rowid;

	return x < y ? 1 : x > y ? -1 : 0;
}

Reorder *
reorder_create(int ncolumns)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "lfsync held rows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	Reorder    *reorder = palloc0(sizeof(Reorder));

	reorder->context = context;
	reorder->ncolumns = ncolumns;
	reorder->rows = binaryheap_allocate(MAX_HELD_ROWS, compare_rows, NULL);
	MemoryContextSwitchTo(oldcontext);
	return reorder;
}

void
reorder_destroy(Reorder *reorder)
{
	MemoryContextDelete(reorder->context);
}

bool
reorder_hold(Reorder *reorder, int64 rowid, const ImageValue *values)
{
	Size		size = offsetof(HeldRow, values) + reorder->ncolumns * sizeof(ImageValue);
	HeldRow    *row;
	char	   *data;

	for (int i = 0; i < reorder->ncolumns; i++)
	{
		if (values[i].kind >= IMAGE_TEXT)
			size += values[i].len;
	}
	row = MemoryContextAllocHuge(reorder->context, size);
	row->rowid = rowid;
	row->size = size;
	data = (char *) &row->values[reorder->ncolumns];
	for (int i = 0; i < reorder->ncolumns; i++)
	{
		row->values[i] = values[i];
		if (values[i].kind >= IMAGE_TEXT)
		{
			memcpy(data, values[i].u.data, values[i].len);
			row->values[i].u.data = data;
			data += values[i].len;
		}
	}
	binaryheap_add(reorder->rows, PointerGetDatum(row));
	reorder->bytes += size;
	return reorder_count(reorder) < MAX_HELD_ROWS && reorder->bytes < MAX_HELD_BYTES;
}

ImageValue *
reorder_take(Reorder *reorder, int64 limit, int64 *rowid)
{
	HeldRow    *row;

	if (reorder->taken)
		pfree(reorder->taken);
	reorder->taken = NULL;
	if (reorder_count(reorder) == 0)
		return NULL;
	row = (HeldRow *) DatumGetPointer(binaryheap_first(reorder->rows));
	if (row->rowid > limit)
		return NULL;
	(void) binaryheap_remove_first(reorder->rows);
	reorder->bytes -= row->size;
	reorder->taken = row;
	*rowid = row->rowid;
	return row->values;
}

int
reorder_count(const Reorder *reorder)
{
	return reorder->rows->bh_size;
}
