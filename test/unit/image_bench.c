/*-------------------------------------------------------------------------
 *
 * image_bench.c
 *	  How many rows a second image.c lays out: test/unit/run bench
 *
 * Rows like a listening history's: the rowid's alias, five texts of 12 to 40
 * bytes, three UUIDs, 0 or 1, a timestamp.  There are enough different ones
 * that their lengths cannot be learned by the branch predictor.  Pages go
 * round in 8 MB.
 *
 *-------------------------------------------------------------------------
 */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE_SIZE	4096
#define PAGES		2048
#define KINDS		32768		/* different rows */
#define COLUMNS		11

static uint8_t pages[PAGES][PAGE_SIZE];
static uint32_t last_pgno;
static ImageValue rows[KINDS][COLUMNS];
static char text[16 << 20];

static void *
next_page(void *arg, uint32_t pgno)
{
	(void) arg;
	last_pgno = pgno;
	return pages[pgno % PAGES];
}

static void
make_rows(void)
{
	static const uint32_t lengths[COLUMNS] = {0, 0, 0, 0, 0, 0, 36, 36, 36, 0, 19};
	uint32_t	state = 1;
	size_t		used = 0;

	memset(text, 'x', sizeof(text));
	for (int r = 0; r < KINDS; r++)
		for (int c = 0; c < COLUMNS; c++)
		{
			ImageValue *value = &rows[r][c];

			state = state * 1103515245 + 12345;
			value->kind = c == 0 ? IMAGE_NULL : c == 9 ? IMAGE_INTEGER : IMAGE_TEXT;
			if (c == 9)
				value->u.i = state >> 31;
			if (value->kind != IMAGE_TEXT)
				continue;
			value->len = lengths[c] != 0 ? lengths[c] : 12 + (state >> 16) % 29;
			value->u.data = text + used;
			used = (used + value->len) % (sizeof(text) - 100);
		}
}

int
main(int argc, char **argv)
{
	long		nrows = argc > 1 ? atol(argv[1]) : 2000000;
	void	   *memory = malloc(image_builder_size(PAGE_SIZE));
	double		best = 0;

	if (memory == NULL)
		return 2;
	make_rows();
	for (int round = 0; round < 7; round++)
	{
		ImageBuilder *builder = image_init(memory, PAGE_SIZE, 0, next_page, NULL);
		struct timespec start;
		struct timespec end;
		double		seconds;
		uint32_t	root;

		clock_gettime(CLOCK_MONOTONIC, &start);
		image_begin_table(builder);
		for (long r = 0; r < nrows; r++)
			if (image_add_row(builder, r + 1, rows[r % KINDS], COLUMNS) != IMAGE_OK)
				return 1;
		if (image_end_table(builder, &root) != IMAGE_OK)
			return 1;
		clock_gettime(CLOCK_MONOTONIC, &end);
		seconds = (double) (end.tv_sec - start.tv_sec) +
			(double) (end.tv_nsec - start.tv_nsec) / 1e9;
		if (nrows / seconds > best)
			best = nrows / seconds;
	}
	printf("%.1f million rows/s, %.0f bytes a row, %.0f MB/s\n", best / 1e6,
		   (double) last_pgno * PAGE_SIZE / nrows,
		   best * ((double) last_pgno * PAGE_SIZE / nrows) / 1e6);
	free(memory);
	return 0;
}
