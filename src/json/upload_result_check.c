/*-------------------------------------------------------------------------
 *
 * upload_result_check.c
 *		Check the result of an upload.
 *
 * The result is any JSON but null.  In an object, the members Success and
 * Failure must be as pict-rs writes them.
 *
 *-------------------------------------------------------------------------
 */
#include <assert.h>
#include <stdint.h>

#include <json-c/json.h>

#include "common/limits.h"
#include "json/json_check.h"

/*
 * Is the value a string?  Limits are in characters: in an encoding that is not UTF-8,
 * an alias has fewer bytes than here.
 */
static bool
is_string(json_object *value, size_t least, size_t most)
{
	return json_object_is_type(value, json_type_string) &&
		json_characters(value) >= least && json_characters(value) <= most;
}

/* Is the value an object whose members first and second are strings? */
static bool
has_strings(json_object *value, const char *first, const char *second, size_t least, size_t most)
{
	json_object *text;

	if (!json_object_is_type(value, json_type_object))
		return false;
	return json_object_object_get_ex(value, first, &text) && is_string(text, least, most) &&
		json_object_object_get_ex(value, second, &text) && is_string(text, least, most);
}

/* one limit for both */
static_assert(ALIAS_MAX == TOKEN_MAX, "the limits of aliases and tokens differ");

bool
check_upload_result(json_object *document, JsonCheckError *error)
{
	json_object *success;
	json_object *failure;
	bool		succeeded;
	bool		failed;

	if (document == NULL)
		return json_error(error, "The document must not be null.");
	if (!json_object_is_type(document, json_type_object))
		return true;

	succeeded = json_object_object_get_ex(document, "Success", &success);
	failed = json_object_object_get_ex(document, "Failure", &failure);
	if (succeeded && failed)
		return json_error(error, "The document must not have both \"Success\" and \"Failure\".");
	if (succeeded && !has_strings(success, "alias", "token", 1, ALIAS_MAX))
		return json_bad_member(error, "Success",
							   "an object with strings \"alias\" and \"token\" of 1 to 255 characters");
	if (failed && !has_strings(failure, "message", "code", 0, SIZE_MAX))
		return json_bad_member(error, "Failure",
							   "an object with strings \"message\" and \"code\"");
	return true;
}
