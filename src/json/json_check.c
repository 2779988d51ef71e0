/*-------------------------------------------------------------------------
 *
 * json_check.c
 *		Strict parsing of JSON with json-c.
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "json/json_check.h"

/* characters of a value that an error shows; they fit into JsonCheckError */
#define SHOWN_MAX 60

static bool
malformed(JsonCheckError *error, size_t position, const char *why)
{
	error->malformed = true;
	error->too_long = false;
	snprintf(error->message, sizeof(error->message), "At byte %zu: %s.", position, why);
	return false;
}

bool
json_bad_member(JsonCheckError *error, const char *member, const char *must)
{
	error->malformed = error->too_long = false;
	snprintf(error->message, sizeof(error->message), "Member \"%s\" must be %s.",
			 member, must);
	return false;
}

/* How many bytes of UTF-8 make at most so many characters? */
static int
clip(const char *text, int characters)
{
	int			bytes = 0;

	while (text[bytes] != '\0' && ((text[bytes] & 0xC0) == 0x80 || characters-- > 0))
		bytes++;
	return bytes;
}

bool
json_bad_public_member(JsonCheckError *error, const char *member, const char *must, json_object *value)
{
	const char *json = json_object_to_json_string_ext(value,
													  JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	error->malformed = error->too_long = false;
	snprintf(error->message, sizeof(error->message), "Member \"%s\" must be %s, not %.*s.",
			 member, must, clip(json, SHOWN_MAX), json);
	return false;
}

bool
json_is_text(json_object *value, size_t least, size_t most)
{
	size_t		length;

	if (!json_object_is_type(value, json_type_string))
		return false;
	length = json_object_get_string_len(value);
	return length >= least && length <= most;
}

/* Does json-c with these flags take the document? */
static bool
takes(const char *json, int flags)
{
	json_tokener *tokener = json_tokener_new();
	bool		taken;

	if (tokener == NULL)
		return false;
	json_tokener_set_flags(tokener, flags);
	json_object_put(json_tokener_parse_ex(tokener, json, (int) strlen(json)));
	taken = json_tokener_get_error(tokener) == json_tokener_success;
	json_tokener_free(tokener);
	return taken;
}

/*
 * Strict, where json-c's strict mode is right.  That of 0.18 refuses all that
 * is not ASCII, and numbers beyond 64 bits; there it has to do that documents
 * come out of jsonb, which is as strict.
 */
static int
parser_flags(void)
{
	static int	flags = 0;

	if (flags == 0)
	{
		flags = JSON_TOKENER_VALIDATE_UTF8;
		if (takes("[\"\xc3\xbc\", 99999999999999999999]", flags | JSON_TOKENER_STRICT))
			flags |= JSON_TOKENER_STRICT;
	}
	return flags;
}

/* Where json-c's strictness cannot be had, it stops at the end of the first value. */
static bool
check_end(const JsonSource *source, size_t end, JsonCheckError *error)
{
	while (end < source->length && strchr(" \t\r\n", source->json[end]) != NULL)
		end++;
	if (end < source->length)
		return malformed(error, end, "unexpected character");
	return true;
}

/*
 * Parse the whole input; false with the error filled in.  JSON null is a
 * document like any other, and a NULL pointer in json-c's eyes.
 */
static bool
parse(json_tokener *tokener, const JsonSource *source,
	  json_object **document, JsonCheckError *error)
{
	int			flags = parser_flags();
	bool		whole;

	if (source->any_bytes)
		flags &= ~JSON_TOKENER_VALIDATE_UTF8;
	json_tokener_set_flags(tokener, flags);
	*document = json_tokener_parse_ex(tokener, source->json, (int) source->length);

	/* a number or a literal ends only where something follows it */
	whole = json_tokener_get_error(tokener) == json_tokener_continue;
	if (whole)
		*document = json_tokener_parse_ex(tokener, "", 1);

	if (json_tokener_get_error(tokener) != json_tokener_success)
		return malformed(error, whole ? source->length : json_tokener_get_parse_end(tokener),
						 json_tokener_error_desc(json_tokener_get_error(tokener)));
	return whole || check_end(source, json_tokener_get_parse_end(tokener), error);
}

/* Parse a document and hand it to the reader, whose answer is ours. */
bool
json_read(const JsonSource *source, JsonReader reader, void *found,
		  JsonCheckError *error)
{
	json_tokener *tokener;
	json_object *document = NULL;
	bool		good;

	if (source->length >= INT_MAX)
		return malformed(error, 0, "the document is too large");

	/* json-c takes a zero byte for the end of its input */
	if (memchr(source->json, '\0', source->length) != NULL)
		return malformed(error, strlen(source->json), "zero byte");

	tokener = json_tokener_new_ex(source->max_depth);
	if (tokener == NULL)
		return malformed(error, 0, "out of memory");

	good = parse(tokener, source, &document, error) && reader(document, found, error);

	json_object_put(document);
	json_tokener_free(tokener);
	return good;
}

static bool
run_check(json_object *document, void *check, JsonCheckError *error)
{
	return (*(JsonCheck *) check) (document, error);
}

/* Parse and check a document; length is without a terminator. */
bool
json_check(const char *json, size_t length, JsonCheck check, JsonCheckError *error)
{
	JsonSource	source = {.json = json, .length = length, .max_depth = JSON_MAX_DEPTH};

	return json_read(&source, run_check, &check, error);
}
