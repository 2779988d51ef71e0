/*-------------------------------------------------------------------------
 *
 * tagged_jsonb.c
 *		JSON in the form that pict-rs gives to its enums: {"Tag": {"name": "text"}}.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/jsonb.h"

#include "common/compat.h"
#include "sqlfunc/args.h"
#include "sqlfunc/tagged_jsonb.h"

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *bytes, int length)
{
	JsonbValue	string = {.type = jbvString};

	string.val.string.val = unconstify(char *, bytes);
	string.val.string.len = length;
	(void) pushJsonbValue(state, token, &string);
}

NullableDatum
tagged_jsonb(const char *tag, const JsonMember *members, int count)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, WJB_KEY, tag, strlen(tag));
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < count; i++)
	{
		text	   *value = DatumGetTextPP(members[i].value);

		push_string(&state, WJB_KEY, members[i].name, strlen(members[i].name));
		push_string(&state, WJB_VALUE, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	}
	(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return not_null(JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL))));
}
