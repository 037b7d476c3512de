/*-------------------------------------------------------------------------
 *
 * rangesum.c
 *	  Checksums of ranges of keys.
 *
 * They are of this machine alone, as the position is: numbers lie in its own
 * byte order.  Two ranges are the same if they begin and end at the same keys
 * and have as many rows with the same sum of 64-bit hashes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "rangesum.h"

/* Rows in a range, on average, and how many ranges there may be. */
#define FEWEST_ROWS		1024
#define MOST_RANGES		16384

static uint64
hash_value(uint64 seed, const ImageValue *value)
{
	/* 1, 1.0 and '1' are not the same */
	seed += value->kind;
	switch (value->kind)
	{
		case IMAGE_NULL:
			break;
		case IMAGE_INTEGER:
			return hash_bytes_extended((const unsigned char *) &value->u.i,
									   sizeof(value->u.i), seed);
		case IMAGE_REAL:
			return hash_bytes_extended((const unsigned char *) &value->u.r,
									   sizeof(value->u.r), seed);
		case IMAGE_TEXT:
		case IMAGE_BLOB:
			return hash_bytes_extended(value->u.data, (int) value->len, seed);
	}
	return hash_combine64(seed, seed);
}

static void
append(RangeSums *sums, const RangeSum *sum)
{
	if (sums->n == sums->size)
	{
		sums->size = Max(64, 2 * sums->size);
		sums->sums = sums->sums == NULL ?
			MemoryContextAlloc(sums->context, sums->size * sizeof(RangeSum)) :
			repalloc(sums->sums, sums->size * sizeof(RangeSum));
	}
	sums->sums[sums->n++] = *sum;
}

void
rangesum_begin(RangeTracker *tracker, const void *known, Size len, double rows,
			   const char *structure)
{
	memset(tracker, 0, sizeof(*tracker));
	tracker->seed = hash_bytes_extended((const unsigned char *) structure,
										(int) strlen(structure), 0);
	tracker->found.context = CurrentMemoryContext;
	/* powers of two, so that a table may grow for long before all is new */
	tracker->found.modulus = FEWEST_ROWS;
	while (tracker->found.modulus * (double) MOST_RANGES < rows)
		tracker->found.modulus *= 2;
	if (known == NULL || len < sizeof(uint64) || (len - sizeof(uint64)) % sizeof(RangeSum) != 0)
		return;
	memcpy(&tracker->known.modulus, known, sizeof(uint64));
	if (tracker->known.modulus < tracker->found.modulus / 2 ||
		tracker->known.modulus > tracker->found.modulus * 4)
		return;
	tracker->found.modulus = tracker->known.modulus;
	tracker->known.n = (len - sizeof(uint64)) / sizeof(RangeSum);
	tracker->known.sums = palloc(tracker->known.n * sizeof(RangeSum) + 1);
	memcpy(tracker->known.sums, (const char *) known + sizeof(uint64),
		   tracker->known.n * sizeof(RangeSum));
}

bool
rangesum_add(RangeTracker *tracker, const ImageValue *row, int ncolumns,
			 const int *keys, int nkeys)
{
	uint64		key = tracker->seed;
	uint64		all;

	for (int i = 0; i < nkeys; i++)
		key = hash_value(key, &row[keys[i]]);
	all = key;
	for (int i = 0; i < ncolumns; i++)
		all = hash_value(all, &row[i]);
	tracker->current.sum += all;
	tracker->current.rows++;
	if (key == 0 || key % tracker->found.modulus != 0)
		return false;
	tracker->current.end = key;
	return true;
}

bool
rangesum_end(RangeTracker *tracker)
{
	const RangeSums *known = &tracker->known;
	uint64		begin = tracker->found.n == 0 ? 0 :
		tracker->found.sums[tracker->found.n - 1].end;
	bool		same = false;

	for (int i = tracker->at; i < known->n; i++)
	{
		const RangeSum *sum = &known->sums[i];

		if (sum->end != tracker->current.end)
			continue;
		same = (i == 0 ? 0 : known->sums[i - 1].end) == begin &&
			sum->sum == tracker->current.sum && sum->rows == tracker->current.rows;
		tracker->at = i + 1;
		break;
	}
	append(&tracker->found, &tracker->current);
	memset(&tracker->current, 0, sizeof(RangeSum));
	return same;
}

void *
rangesum_format(const RangeTracker *tracker, Size *len)
{
	char	   *data;

	*len = sizeof(uint64) + tracker->found.n * sizeof(RangeSum);
	data = palloc(*len);
	memcpy(data, &tracker->found.modulus, sizeof(uint64));
	memcpy(data + sizeof(uint64), tracker->found.sums,
		   tracker->found.n * sizeof(RangeSum));
	return data;
}
