/*-------------------------------------------------------------------------
 *
 * json_check.c
 *		Parse JSON strictly with json-c.
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "json/json_check.h"

/* characters of a value that an error message shows; they fit into JsonCheckError */
#define SHOWN_MAX 60

bool
json_error(JsonCheckError *error, const char *format,...)
{
	va_list		args;

	error->malformed = error->too_long = false;
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return false;
}

static bool
malformed(JsonCheckError *error, size_t position, const char *why)
{
	(void) json_error(error, "Parsing failed at byte %zu: %s.", position, why);
	error->malformed = true;
	return false;
}

bool
json_bad_member(JsonCheckError *error, const char *member, const char *must)
{
	if (member == NULL)
		return json_error(error, "The document must be %s.", must);
	return json_error(error, "Member \"%s\" must be %s.", member, must);
}

/* The length in bytes of the first characters of a UTF-8 text. */
static int
clipped_length(const char *text, int characters)
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
	int			length = clipped_length(json, SHOWN_MAX);

	if (member == NULL)
		return json_error(error, "The document must be %s, not %.*s.", must, length, json);
	return json_error(error, "Member \"%s\" must be %s, not %.*s.", member, must, length, json);
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

bool
json_is_whole(json_object *value, int64_t least, int64_t most)
{
	return json_object_is_type(value, json_type_int) &&
		json_object_get_int64(value) >= least &&
		json_object_get_int64(value) <= most;
}

size_t
json_characters(json_object *text)
{
	const char *bytes = json_object_get_string(text);
	int			length = json_object_get_string_len(text);
	size_t		characters = 0;

	for (int i = 0; i < length; i++)
		characters += (bytes[i] & 0xC0) != 0x80;
	return characters;
}

const char *
json_c_string(json_object *value)
{
	const char *text;

	if (!json_object_is_type(value, json_type_string))
		return NULL;
	text = json_object_get_string(value);
	return strlen(text) == (size_t) json_object_get_string_len(value) ? text : NULL;
}

/* The position of the quote that ends the string, which begins at start. */
static size_t
string_end(const char *json, size_t length, size_t start)
{
	size_t		at = start + 1;

	while (at < length && json[at] != '"')
		at += json[at] == '\\' ? 2 : 1;
	return at;
}

/* How deeply is the document nested?  Any number if it is not JSON. */
int
json_nesting(const char *json, size_t length)
{
	int			depth = 0;
	int			deepest = 0;

	for (size_t at = 0; at < length; at++)
	{
		if (json[at] == '"')
			at = string_end(json, length, at);
		else if (json[at] == '[' || json[at] == '{')
			deepest = ++depth > deepest ? depth : deepest;
		else if (json[at] == ']' || json[at] == '}')
			depth--;
	}
	return deepest;
}

/* Does json-c parse the document with these flags? */
static bool
parses(const char *json, int flags)
{
	json_tokener *tokener = json_tokener_new();
	bool		parsed;

	if (tokener == NULL)
		return false;
	json_tokener_set_flags(tokener, flags);
	json_object_put(json_tokener_parse_ex(tokener, json, (int) strlen(json)));
	parsed = json_tokener_get_error(tokener) == json_tokener_success;
	json_tokener_free(tokener);
	return parsed;
}

/*
 * Use json-c's strict mode if it works.  In json-c 0.18 the strict mode rejects
 * characters beyond ASCII and numbers beyond 64 bits.  Without it, documents
 * are still valid JSON, because they come from jsonb.
 */
static int
parser_flags(void)
{
	static int	flags = 0;

	if (flags == 0)
	{
		flags = JSON_TOKENER_VALIDATE_UTF8;
		if (parses("[\"\xc3\xbc\", 99999999999999999999]", flags | JSON_TOKENER_STRICT))
			flags |= JSON_TOKENER_STRICT;
	}
	return flags;
}

/* Without its strict mode, json-c ignores what follows the first value. */
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
 * Parse the whole input.  False: error is set.  json-c represents JSON null, a
 * valid document, by a NULL pointer.
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

	/* a number or a literal ends only before another byte */
	whole = json_tokener_get_error(tokener) == json_tokener_continue;
	if (whole)
		*document = json_tokener_parse_ex(tokener, "", 1);

	if (json_tokener_get_error(tokener) != json_tokener_success)
		return malformed(error, whole ? source->length : json_tokener_get_parse_end(tokener),
						 json_tokener_error_desc(json_tokener_get_error(tokener)));
	return whole || check_end(source, json_tokener_get_parse_end(tokener), error);
}

/* Parse a document, and return what the reader returns for it. */
bool
json_read(const JsonSource *source, JsonReader reader, void *found,
		  JsonCheckError *error)
{
	json_tokener *tokener;
	json_object *document = NULL;
	bool		good;

	if (source->length >= INT_MAX)
		return malformed(error, 0, "the document is too large");

	/* json-c ends its input at a zero byte */
	if (memchr(source->json, '\0', source->length) != NULL)
		return malformed(error, strlen(source->json), "zero byte");

	tokener = json_tokener_new_ex(json_nesting(source->json, source->length) + 1);
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

/* Parse and check a document of length bytes; no terminator is needed. */
bool
json_check(const char *json, size_t length, JsonCheck check, JsonCheckError *error)
{
	JsonSource	source = {.json = json, .length = length};

	return json_read(&source, run_check, &check, error);
}
