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
#include <stdint.h>

#include <json-c/json.h>

#include "json/json_check.h"

/* as in common/limits.h, which needs the server */
#define ALIAS_MAX 255
#define TOKEN_MAX 255

/* Is the value an object whose members first and second are strings? */
static bool
has_texts(json_object *value, const char *first, size_t first_most,
		  const char *second, size_t second_most)
{
	json_object *text;

	if (!json_object_is_type(value, json_type_object))
		return false;
	return json_object_object_get_ex(value, first, &text) && json_is_text(text, 1, first_most) &&
		json_object_object_get_ex(value, second, &text) && json_is_text(text, 1, second_most);
}

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
	if (succeeded && !has_texts(success, "alias", ALIAS_MAX, "token", TOKEN_MAX))
		return json_bad_member(error, "Success",
							   "an object with strings \"alias\" and \"token\" of 1 to 255 bytes");
	if (failed && !has_texts(failure, "message", SIZE_MAX, "code", SIZE_MAX))
		return json_bad_member(error, "Failure",
							   "an object with strings \"message\" and \"code\"");
	return true;
}
