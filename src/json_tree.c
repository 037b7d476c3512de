/*-------------------------------------------------------------------------
 *
 * json_tree.c
 *	  A json text as a tree that keeps its order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "utils/jsonfuncs.h"

#include "compat.h"
#include "json_tree.h"

typedef struct TreeBuilder
{
	const char *root_path;
	JsonNode   *root;
	List	   *open;			/* objects and arrays, the innermost last */
	char	   *name;			/* of the value that comes next in an object */
} TreeBuilder;

/* A name as a path shows it: one with a dot or the like between quotes. */
static char *
path_step(const char *name)
{
	if (name[0] != '\0' && strpbrk(name, ".[]\" ") == NULL)
		return psprintf(".%s", name);
	return psprintf(".\"%s\"", name);
}

static JsonNode *
add_node(TreeBuilder *builder, JsonNodeKind kind)
{
	JsonNode   *node = palloc0(sizeof(JsonNode));
	JsonNode   *parent = builder->open ? llast(builder->open) : NULL;

	node->kind = kind;
	if (parent == NULL)
	{
		node->path = pstrdup(builder->root_path);
		builder->root = node;
		return node;
	}
	if (parent->kind == JSON_NODE_OBJECT)
	{
		node->name = builder->name;
		node->path = psprintf("%s%s", parent->path, path_step(node->name));
	}
	else
		node->path = psprintf("%s[%d]", parent->path, list_length(parent->children));
	parent->children = lappend(parent->children, node);
	return node;
}

static JsonActionResult
object_start(void *state)
{
	TreeBuilder *builder = (TreeBuilder *) state;

	builder->open = lappend(builder->open, add_node(builder, JSON_NODE_OBJECT));
	JSON_ACTION_DONE;
}

static JsonActionResult
array_start(void *state)
{
	TreeBuilder *builder = (TreeBuilder *) state;

	builder->open = lappend(builder->open, add_node(builder, JSON_NODE_ARRAY));
	JSON_ACTION_DONE;
}

static JsonActionResult
end(void *state)
{
	TreeBuilder *builder = (TreeBuilder *) state;

	builder->open = list_delete_last(builder->open);
	JSON_ACTION_DONE;
}

static JsonActionResult
field_start(void *state, char *name, bool isnull)
{
	TreeBuilder *builder = (TreeBuilder *) state;
	JsonNode   *object = llast(builder->open);

	if (json_tree_member(object, name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s%s comes twice", object->path, path_step(name)),
				 errhint("Write each key of an object once.")));
	builder->name = name;
	JSON_ACTION_DONE;
}

static JsonActionResult
scalar(void *state, char *token, JsonTokenType type)
{
	TreeBuilder *builder = (TreeBuilder *) state;
	JsonNode   *node = add_node(builder, type == JSON_TOKEN_STRING ?
								JSON_NODE_STRING : JSON_NODE_OTHER);

	node->text = token;
	JSON_ACTION_DONE;
}

JsonNode *
json_tree_parse(const char *json, const char *root)
{
	TreeBuilder builder;
	JsonSemAction actions;

	memset(&builder, 0, sizeof(builder));
	builder.root_path = root;
	memset(&actions, 0, sizeof(actions));
	actions.semstate = &builder;
	actions.object_start = object_start;
	actions.object_end = end;
	actions.array_start = array_start;
	actions.array_end = end;
	actions.object_field_start = field_start;
	actions.scalar = scalar;
	pg_parse_json_or_ereport(makeJsonLexContextCstring(json), &actions);
	return builder.root;
}

JsonNode *
json_tree_member(const JsonNode *object, const char *name)
{
	ListCell   *lc;

	foreach(lc, object->children)
	{
		JsonNode   *node = (JsonNode *) lfirst(lc);

		if (strcmp(node->name, name) == 0)
			return node;
	}
	return NULL;
}
