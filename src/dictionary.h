/*-------------------------------------------------------------------------
 *
 * dictionary.h
 *	  The rows of other tables that the rows of an image refer to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_DICTIONARY_H
#define LFSYNC_DICTIONARY_H

#include "mapping.h"

typedef struct Dictionary Dictionary;

/* For the dimensions of a mapping, in CurrentMemoryContext. */
extern Dictionary *dictionary_create(const Mapping *mapping, uint32 page_size);

/* Forgets all rows: the next image begins. */
extern void dictionary_reset(Dictionary *dictionary);

/*
 * A row of the SELECT as it goes into the image: its references are numbers of
 * rows in the dictionary, which takes those that it lacks.  Lives until the next
 * call.
 */
extern const ImageValue *dictionary_put(Dictionary *dictionary,
										const ImageValue *row);

/* At most as many pages will the dictionary take in an image ... */
extern uint32 dictionary_pages(const Dictionary *dictionary);

/* ... and as many more with this row. */
extern uint32 dictionary_pages_of_row(const Dictionary *dictionary,
									  const ImageValue *row);

/*
 * What an image's schema says of the dictionary's tables; their roots are known
 * after dictionary_build().  Returns how many entries.
 */
extern int	dictionary_schema(const Dictionary *dictionary,
							  ImageSchemaEntry *entries);

/* Adds the tables to an image. */
extern ImageResult dictionary_build(Dictionary *dictionary,
									ImageBuilder *builder,
									ImageSchemaEntry *entries);

#endif							/* LFSYNC_DICTIONARY_H */
