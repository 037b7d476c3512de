/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  What the benchmark's C programs share.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rows.h"

#define COPY_SIGNATURE	"PGCOPY\n\377\r\n"
#define COPY_HEADER		19		/* signature, flags, length of extension */

void
die(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

void
run_sql(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		die("%s: %s", sql, sqlite3_errmsg(db));
}

sqlite3_stmt *
prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		die("%s: %s", sql, sqlite3_errmsg(db));
	return stmt;
}

void
sync_file(const char *path)
{
	int			fd = open(path, O_RDWR);

	if (fd < 0 || fsync(fd) != 0 || close(fd) != 0)
		die("could not fsync \"%s\"", path);
}

/* All of standard input, in one piece. */
static char *
read_input(size_t *size)
{
	size_t		room = 1 << 26;
	char	   *data = malloc(room);
	ssize_t		n;

	*size = 0;
	while (data != NULL && (n = read(STDIN_FILENO, data + *size, room - *size)) != 0)
	{
		if (n < 0)
			die("could not read standard input");
		*size += n;
		if (*size == room)
			data = realloc(data, room *= 2);
	}
	if (data == NULL)
		die("out of memory");
	return data;
}

static int32_t
get_int(const char **p, int size)
{
	uint32_t	v = 0;

	memcpy((char *) &v + sizeof(v) - size, *p, size);
	*p += size;
	v = ntohl(v);
	return size == 2 ? (int16_t) v : (int32_t) v;
}

Row *
read_rows(size_t *nrows)
{
	size_t		size;
	const char *p = read_input(&size);
	const char *end = p + size;
	size_t		room = 1 << 16;
	Row		   *rows = malloc(room * sizeof(Row));
	char	   *text;

	if (size < COPY_HEADER || memcmp(p, COPY_SIGNATURE, sizeof(COPY_SIGNATURE) - 1) != 0)
		die("standard input is not the binary output of COPY");

	/* the text is moved together in place, over the lengths between it */
	text = (char *) p;
	p += COPY_HEADER;
	*nrows = 0;
	while (p + 2 <= end && get_int(&p, 2) == TEXT_COLUMNS + 1)
	{
		Row		   *row;
		uint32_t	high;

		if (*nrows == room)
			rows = realloc(rows, (room *= 2) * sizeof(Row));
		if (rows == NULL)
			die("out of memory");
		row = &rows[(*nrows)++];

		if (get_int(&p, 4) != 8)
			die("the first column is not int8");
		high = get_int(&p, 4);
		row->id = (int64_t) ((uint64_t) high << 32 | (uint32_t) get_int(&p, 4));

		row->text = text;
		for (int i = 0; i < TEXT_COLUMNS; i++)
		{
			int32_t		len = get_int(&p, 4);

			row->len[i] = len;
			if (len > 0)
			{
				memmove(text, p, len);
				text += len;
				p += len;
			}
		}
	}
	return rows;
}
