/*-------------------------------------------------------------------------
 *
 * json_check.h
 *		JSON that pictrepo must understand: parsing and checking, on json-c.
 *
 * Nothing here needs the server, so that the checks can be fuzzed alone; and
 * nothing raises an error while json-c holds memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_JSON_CHECK_H
#define PICTREPO_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* json-c's; its header cannot be included beside the server's, which have a
 * function of that name */
struct json_object;

/* nesting that a document may have */
#define JSON_MAX_DEPTH 64

typedef struct JsonCheckError
{
	bool		malformed;		/* not JSON at all, rather than a bad member */
	bool		too_long;		/* a member that would be good if it were
								 * shorter */
	char		message[768];	/* in UTF-8 */
} JsonCheckError;

/* A check of a parsed document; false with the error filled in. */
typedef bool (*JsonCheck) (struct json_object *document, JsonCheckError *error);

extern bool json_check(const char *json, size_t length, JsonCheck check,
					   JsonCheckError *error);

/* What is parsed, and how strictly, for a check that notes what it finds */
typedef struct JsonSource
{
	const char *json;
	size_t		length;			/* without a terminator */
	int			max_depth;
	bool		any_bytes;		/* texts need not be UTF-8 */
} JsonSource;

typedef bool (*JsonReader) (struct json_object *document, void *found, JsonCheckError *error);

extern bool json_read(const JsonSource *source, JsonReader reader, void *found,
					  JsonCheckError *error);

/* The checks */
extern bool check_details(struct json_object *document, JsonCheckError *error);
extern bool check_upload_result(struct json_object *document, JsonCheckError *error);

/* For the checks: says what a member must be, and what a public one is; always false */
extern bool json_bad_member(JsonCheckError *error, const char *member, const char *must);
extern bool json_bad_public_member(JsonCheckError *error, const char *member, const char *must,
								   struct json_object *value);
extern bool json_is_text(struct json_object *value, size_t least, size_t most);

#endif
