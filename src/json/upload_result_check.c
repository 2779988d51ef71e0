/*-------------------------------------------------------------------------
 *
 * upload_result_check.c
 *		The result of an upload: anything but null; what pict-rs calls Success
 *		and Failure is checked.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>

#include <json-c/json.h>

#include "json/json_check.h"

/* sizes as for the arguments of the same names */
#define ALIAS_MAX 255
#define TOKEN_MAX 255

/* Is the value an object in which the two members are texts? */
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
		return json_bad_member(error, "$", "anything but null");
	if (!json_object_is_type(document, json_type_object))
		return true;

	succeeded = json_object_object_get_ex(document, "Success", &success);
	failed = json_object_object_get_ex(document, "Failure", &failure);
	if (succeeded && failed)
		return json_bad_member(error, "$", "a Success or a Failure, not both");
	if (succeeded && !has_texts(success, "alias", ALIAS_MAX, "token", TOKEN_MAX))
		return json_bad_member(error, "Success",
							   "an object with the texts \"alias\" and \"token\" of 1 to 255 bytes");
	if (failed && !has_texts(failure, "message", SIZE_MAX, "code", SIZE_MAX))
		return json_bad_member(error, "Failure",
							   "an object with the texts \"message\" and \"code\"");
	return true;
}
