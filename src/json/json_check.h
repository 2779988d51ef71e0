/*-------------------------------------------------------------------------
 *
 * json_check.h
 *		Parse and check the JSON documents that pictrepo reads, with json-c.
 *
 * The files in json/ do not use the server, so that a fuzzer can run them
 * alone.  They return errors instead of raising them, so that json-c's memory
 * is always freed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_JSON_CHECK_H
#define PICTREPO_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* json-c's header declares a function that the server's headers declare, too */
struct json_object;

typedef struct JsonCheckError
{
	bool		malformed;		/* the input is not JSON */
	bool		too_long;		/* a member is longer than its limit */
	char		message[768];	/* in UTF-8 */
} JsonCheckError;

/* Checks a parsed document.  False: it does not pass, and error is set. */
typedef bool (*JsonCheck) (struct json_object *document, JsonCheckError *error);

/*
 * json-c recurses for each level of nesting, and does not limit its stack.  A caller
 * that does not know the document makes sure that the stack has room.
 */
#define JSON_STACK_PER_LEVEL 128

extern int	json_nesting(const char *json, size_t length);
extern bool json_check(const char *json, size_t length, JsonCheck check,
					   JsonCheckError *error);

/* Input for json_read */
typedef struct JsonSource
{
	const char *json;
	size_t		length;			/* without a terminator */
	bool		any_bytes;		/* strings need not be UTF-8 */
} JsonSource;

/* A check that also stores what it finds */
typedef bool (*JsonReader) (struct json_object *document, void *found, JsonCheckError *error);

extern bool json_read(const JsonSource *source, JsonReader reader, void *found,
					  JsonCheckError *error);

/* The checks of whole documents */
extern bool check_details(struct json_object *document, JsonCheckError *error);
extern bool check_upload_result(struct json_object *document, JsonCheckError *error);

/*
 * For the checks: set the error, and return false.  A member of NULL means the
 * whole document.  Only the error for a public member shows its value.
 */
extern bool json_error(JsonCheckError *error, const char *format,...) __attribute__((format(printf, 2, 3)));
extern bool json_bad_member(JsonCheckError *error, const char *member, const char *must);
extern bool json_bad_public_member(JsonCheckError *error, const char *member, const char *must,
								   struct json_object *value);
extern bool json_is_text(struct json_object *value, size_t least, size_t most);
extern bool json_is_whole(struct json_object *value, int64_t least, int64_t most);

/* The number of characters in a string */
extern size_t json_characters(struct json_object *text);

/* The string without zero bytes, or NULL */
extern const char *json_c_string(struct json_object *value);

#endif
