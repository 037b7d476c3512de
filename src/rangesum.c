/*-------------------------------------------------------------------------
 *
 * rangesum.c
 *	  Checksums of ranges of keys.
 *
 * They are of this machine alone, as the position is: numbers lie in its own
 * byte order.  Two ranges are the same if they begin and end at the same keys
 * and their rows have the same sum of 64-bit hashes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"

#include "rangesum.h"

/*
 * Rows in a range, on average, and how many ranges there may be: some 20 MB of
 * memory.  If one of a hundred rows has changed, three of four ranges of 32 have
 * not.
 */
#define FEWEST_ROWS		32
#define MOST_RANGES		262144

typedef struct KnownEnd
{
	uint64		end;
	int			at;
	char		status;
} KnownEnd;

/* The lower bits of an end are those of the modulus. */
#define SH_PREFIX		ends
#define SH_ELEMENT_TYPE KnownEnd
#define SH_KEY_TYPE		uint64
#define SH_KEY			end
#define SH_HASH_KEY(table, key) ((uint32) ((key) >> 32))
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * A step of 64 bits as MurmurHash64A takes it: whatever the hash was, two numbers
 * never lead to the same one.  PostgreSQL's hash_bytes_extended() reads what is
 * not aligned byte by byte, and a merge took 6 % longer with it.
 */
static inline uint64
mix(uint64 hash, uint64 number)
{
	hash = (hash ^ number) * UINT64CONST(0xc6a4a7935bd1e995);
	return hash ^ (hash >> 47);
}

static uint64
hash_value(uint64 hash, const ImageValue *value)
{
	const char *data;
	uint32		len;
	uint64		number = 0;

	/* 1, 1.0 and '1' are not the same */
	switch (value->kind)
	{
		case IMAGE_NULL:
			return mix(hash, IMAGE_NULL);
		case IMAGE_INTEGER:
			return mix(mix(hash, IMAGE_INTEGER), (uint64) value->u.i);
		case IMAGE_REAL:
			memcpy(&number, &value->u.r, sizeof(number));
			return mix(mix(hash, IMAGE_REAL), number);
		case IMAGE_TEXT:
		case IMAGE_BLOB:
			break;
	}
	data = value->u.data;
	len = value->len;
	hash = mix(hash, ((uint64) len << 8) + value->kind);
	for (; len >= sizeof(number); data += sizeof(number), len -= sizeof(number))
	{
		memcpy(&number, data, sizeof(number));
		hash = mix(hash, number);
	}
	number = 0;
	memcpy(&number, data, len);
	return len > 0 ? mix(hash, number) : hash;
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
	tracker->ends = ends_create(CurrentMemoryContext, tracker->known.n, NULL);
	for (int i = 0; i < tracker->known.n; i++)
	{
		bool		found;

		/* what lies in the file may be made to collide */
		CHECK_FOR_INTERRUPTS();
		ends_insert(tracker->ends, tracker->known.sums[i].end, &found)->at = i;
	}
}

int64
rangesum_rows(const RangeTracker *tracker)
{
	return tracker->found.modulus;
}

bool
rangesum_add(RangeTracker *tracker, const ImageValue *values, int ncolumns,
			 const int *keys, int nkeys)
{
	uint64		key = tracker->seed;
	uint64		all;

	for (int i = 0; i < nkeys; i++)
		key = hash_value(key, &values[keys[i]]);
	key = mix(key, 0);
	all = key;
	for (int i = 0; i < ncolumns; i++)
		all = hash_value(all, &values[i]);
	tracker->current.sum += mix(all, 0);
	if (key == 0 || key % tracker->found.modulus != 0)
		return false;
	tracker->current.end = key;
	return true;
}

bool
rangesum_end(RangeTracker *tracker)
{
	const RangeSum *known = tracker->known.sums;
	const KnownEnd *end = tracker->ends ? ends_lookup(tracker->ends, tracker->current.end) : NULL;
	uint64		begin = tracker->found.n == 0 ? 0 :
		tracker->found.sums[tracker->found.n - 1].end;
	bool		same = end != NULL &&
		(end->at == 0 ? 0 : known[end->at - 1].end) == begin &&
		known[end->at].sum == tracker->current.sum;

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
