/*-------------------------------------------------------------------------
 *
 * json_tree.h
 *	  A json text as a tree that keeps its order.
 *
 * Neither json_each() nor jsonb will do where the order of keys counts and a
 * key that comes twice is a mistake.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_JSON_TREE_H
#define LFSYNC_JSON_TREE_H

#include "nodes/pg_list.h"

typedef enum JsonNodeKind
{
	JSON_NODE_OBJECT,
	JSON_NODE_ARRAY,
	JSON_NODE_STRING,
	JSON_NODE_OTHER				/* a number, true, false, null */
} JsonNodeKind;

typedef struct JsonNode
{
	JsonNodeKind kind;
	char	   *path;			/* from the root, for messages */
	char	   *name;			/* in an object, else NULL */
	char	   *text;			/* of a string or another scalar */
	List	   *children;		/* of JsonNode, in their order */
} JsonNode;

/*
 * "root" is what paths begin with.  Raises 22P02 for what is no json, and
 * 22023 for a key that comes twice.
 */
extern JsonNode *json_tree_parse(const char *json, const char *root);

/* The member of an object, or NULL. */
extern JsonNode *json_tree_member(const JsonNode *object, const char *name);

#endif							/* LFSYNC_JSON_TREE_H */
