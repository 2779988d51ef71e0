/*-------------------------------------------------------------------------
 *
 * json_stack.c
 *		Does the stack have room for parsing a document with json-c?
 *
 * json-c recurses without looking at the stack.  So look before it begins.  It needs
 * less of the stack than the server's own parser.  Therefore this refuses no document
 * that the server could parse in the same place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "sqlfunc/json_stack.h"

/* less than what the server keeps free beyond max_stack_depth */
#define STEP_BYTES (16 * 1024)

/* Is the stack not too deep after so many further steps? */
static bool
stack_has_room(int steps)
{
	volatile char step[STEP_BYTES];

	step[0] = 0;
	if (stack_is_too_deep())
		return false;

	/* with a use of the array after the call, it cannot become a jump */
	return steps == 0 || (stack_has_room(steps - 1) && step[0] == 0);
}

bool
json_fits_stack(const char *json, size_t length, JsonCheckError *error)
{
	int			levels = json_nesting(json, length);

	if (stack_has_room((int64) levels * JSON_STACK_PER_LEVEL / STEP_BYTES))
		return true;
	(void) json_error(error, "Parsing failed: %d levels of nesting need more stack than \"max_stack_depth\" allows.",
					  levels);
	error->malformed = true;
	return false;
}
