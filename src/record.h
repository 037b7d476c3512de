/*-------------------------------------------------------------------------
 *
 * record.h
 *	  What SQLite's records are made of.
 *
 * Big-endian numbers, varints and serial types, inline because every value
 * that is exported comes by here.  Like image.h plain C11; section numbers in
 * parentheses are those of https://www.sqlite.org/fileformat2.html.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_RECORD_H
#define LFSYNC_RECORD_H

#include "image.h"

#define MAX_VARINT_SIZE			9

/* The low size bytes of v, most significant first. */
static inline void
put_big_endian(uint8_t *to, uint64_t v, uint32_t size)
{
	while (size > 0)
	{
		to[--size] = (uint8_t) v;
		v >>= 8;
	}
}

static inline uint32_t
varint_size(uint64_t v)
{
	uint32_t	size = 1;

	while (v >= 0x80 && size < MAX_VARINT_SIZE)
	{
		v >>= 7;
		size++;
	}
	return size;
}

/* A varint (1.6): seven bits a byte, but eight in a ninth.  Returns its end. */
static inline uint8_t *
put_varint(uint8_t *to, uint64_t v)
{
	uint32_t	size;
	uint32_t	i;

	if (v < 0x80)
	{
		*to = (uint8_t) v;
		return to + 1;
	}
	i = size = varint_size(v);
	if (size == MAX_VARINT_SIZE)
	{
		to[--i] = (uint8_t) v;
		v >>= 8;
	}
	else
	{
		to[--i] = (uint8_t) (v & 0x7f);
		v >>= 7;
	}
	while (i > 0)
	{
		to[--i] = (uint8_t) (v | 0x80);
		v >>= 7;
	}
	return to + size;
}

/* The serial type of a value (2.1), and the bytes it has in the record. */
static inline uint64_t
serial_type(const ImageValue *value, uint32_t *size)
{
	static const uint8_t integer_size[] = {0, 1, 2, 3, 4, 6, 8};
	uint64_t	magnitude;
	uint32_t	type = 1;

	if (value->kind >= IMAGE_TEXT)
	{
		*size = value->len;
		return (uint64_t) value->len * 2 +
			(value->kind == IMAGE_TEXT ? 13 : 12);
	}
	*size = 0;
	if (value->kind == IMAGE_NULL)
		return 0;
	if (value->kind == IMAGE_REAL)
	{
		*size = 8;
		return 7;
	}

	magnitude = (uint64_t) (value->u.i < 0 ? ~value->u.i : value->u.i);
	if (magnitude <= 1 && value->u.i >= 0)
		return 8 + magnitude;
	while (type < 6 && magnitude >> (integer_size[type] * 8 - 1) != 0)
		type++;
	*size = integer_size[type];
	return type;
}

#endif							/* LFSYNC_RECORD_H */
