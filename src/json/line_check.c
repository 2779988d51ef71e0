/*-------------------------------------------------------------------------
 *
 * line_check.c
 *		Check a line of an export.
 *
 * A line is an object with one member.  The name of the member is the kind of
 * the line.  The tables below list the members of each kind.  Errors show no
 * values, because a value may be a delete token.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "common/limits.h"
#include "json/json_check.h"
#include "json/line_check.h"

#define PATH_MAX_BYTES 160

#define TEXT_OF(number) #number
#define NUMBER_TEXT(number) TEXT_OF(number)

typedef enum LineMemberType
{
	IS_TEXT,
	IS_HEX,
	IS_UUID,
	IS_TIME,
	IS_TIME_OR_INFINITY,
	IS_INTERVAL,
	IS_WHOLE,
	IS_BOOL,
	IS_DETAILS,
	IS_UPLOAD_RESULT,
	IS_VERSION,
	IS_ANYTHING,
	IS_LIST,
} LineMemberType;

typedef struct LineMember
{
	const char *name;
	LineMemberType type;
	bool		required;		/* if not, it may be null or missing */
	int64_t		least;			/* limits of the size in bytes, or of the
								 * number */
	int64_t		most;
	const struct LineMember *members;	/* of the objects in a list */
	size_t		counter;		/* offset of their count in ExportLine */
} LineMember;

#define REQUIRED true
#define TEXT(name, required, most) {name, IS_TEXT, required, 1, most}
#define HEX(name, required, least, most) {name, IS_HEX, required, least, most}
#define WHOLE(name, required, least, most) {name, IS_WHOLE, required, least, most}
#define LIST(name, members, counter) {name, IS_LIST, false, 0, 0, members, offsetof(ExportLine, counter)}

static const LineMember url_members[] = {
	TEXT("url", REQUIRED, URL_MAX),
	{"accessed", IS_TIME},
	{NULL}
};

static const LineMember alias_members[] = {
	TEXT("alias", REQUIRED, ALIAS_MAX),
	TEXT("delete_token", REQUIRED, TOKEN_MAX),
	{"created_at", IS_TIME},
	{"accessed", IS_TIME},
	LIST("urls", url_members, urls),
	{NULL}
};

static const LineMember variant_members[] = {
	TEXT("variant", REQUIRED, VARIANT_MAX),
	TEXT("identifier", REQUIRED, IDENTIFIER_MAX),
	{"accessed", IS_TIME},
	{"details", IS_DETAILS},
	{NULL}
};

static const LineMember header_members[] = {
	{"version", IS_VERSION, REQUIRED},
	{NULL}
};

static const LineMember image_members[] = {
	HEX("hash", REQUIRED, 1, HASH_MAX),
	{"created_at", IS_TIME},
	TEXT("identifier", REQUIRED, IDENTIFIER_MAX),
	TEXT("motion_identifier", false, IDENTIFIER_MAX),
	TEXT("blurhash", false, IDENTIFIER_MAX),
	{"details", IS_DETAILS},
	{"motion_details", IS_DETAILS},
	LIST("aliases", alias_members, aliases),
	LIST("variants", variant_members, variants),
	{NULL}
};

static const LineMember details_members[] = {
	TEXT("identifier", REQUIRED, IDENTIFIER_MAX),
	{"details", IS_DETAILS, REQUIRED},
	{NULL}
};

static const LineMember setting_members[] = {
	TEXT("key", REQUIRED, KEY_MAX),
	HEX("value", REQUIRED, 0, SETTING_MAX),
	{NULL}
};

static const LineMember migration_members[] = {
	TEXT("old_identifier", REQUIRED, IDENTIFIER_MAX),
	TEXT("new_identifier", REQUIRED, IDENTIFIER_MAX),
	{NULL}
};

static const LineMember upload_members[] = {
	{"id", IS_UUID, REQUIRED},
	{"created_at", IS_TIME_OR_INFINITY},
	{"result", IS_UPLOAD_RESULT},
	{NULL}
};

static const LineMember queue_members[] = {
	TEXT("queue", REQUIRED, KEY_MAX),
	WHOLE("retries", false, 0, INT_MAX),
	{"backoff", IS_INTERVAL},
	{"backoff_max", IS_INTERVAL},
	WHOLE("max_running", false, 0, INT_MAX),
	{"paused", IS_BOOL},
	{NULL}
};

static const LineMember schedule_members[] = {
	TEXT("name", REQUIRED, SCHEDULE_NAME_MAX),
	TEXT("queue", REQUIRED, KEY_MAX),
	{"job", IS_ANYTHING, REQUIRED},
	{"every", IS_INTERVAL},
	TEXT("cron", false, CRON_MAX),
	TEXT("time_zone", REQUIRED, TIME_ZONE_MAX),
	WHOLE("priority", false, INT_MIN, INT_MAX),
	WHOLE("retry", false, 0, INT_MAX),
	{"first_run", IS_TIME, REQUIRED},
	{"next_run", IS_TIME_OR_INFINITY, REQUIRED},
	{"last_run", IS_TIME_OR_INFINITY},
	{"error", IS_TEXT, false, 0, INT_MAX},
	{NULL}
};

static const LineMember job_members[] = {
	{"id", IS_UUID, REQUIRED},
	TEXT("queue", REQUIRED, KEY_MAX),
	{"job", IS_ANYTHING, REQUIRED},
	WHOLE("priority", false, INT_MIN, INT_MAX),
	{"run_at", IS_TIME_OR_INFINITY},
	{"queue_time", IS_TIME_OR_INFINITY},
	WHOLE("attempt", false, INT_MIN, INT_MAX),
	WHOLE("retry", false, 0, INT_MAX),
	WHOLE("failures", false, INT_MIN, INT_MAX),
	TEXT("unique_key", false, KEY_MAX),
	{"upload", IS_UUID},
	{"error", IS_TEXT, false, 0, INT_MAX},
	{NULL}
};

static const LineMember dead_job_members[] = {
	{"id", IS_UUID, REQUIRED},
	TEXT("queue", REQUIRED, KEY_MAX),
	{"job", IS_ANYTHING, REQUIRED},
	WHOLE("priority", false, INT_MIN, INT_MAX),
	{"queue_time", IS_TIME_OR_INFINITY},
	{"died_at", IS_TIME_OR_INFINITY},
	WHOLE("attempt", false, INT_MIN, INT_MAX),
	TEXT("unique_key", false, KEY_MAX),
	{"upload", IS_UUID},
	{"error", IS_TEXT, false, 0, INT_MAX},
	{NULL}
};

static const LineMember blocked_members[] = {
	HEX("hash", REQUIRED, 1, HASH_MAX),
	{"blocked_at", IS_TIME_OR_INFINITY},
	{NULL}
};

/* what a line of kind bytes has instead of members */
static const LineMember bytes_value = HEX("bytes", REQUIRED, 0, INT_MAX);

static const struct
{
	const char *name;
	const LineMember *members;
}			kinds[LINE_KINDS] = {
	[LINE_HEADER] = {"pictrepo", header_members},
	[LINE_BYTES] = {"bytes", NULL},
	[LINE_IMAGE] = {"image", image_members},
	[LINE_DETAILS] = {"details", details_members},
	[LINE_SETTING] = {"setting", setting_members},
	[LINE_MIGRATION] = {"migration", migration_members},
	[LINE_UPLOAD] = {"upload", upload_members},
	[LINE_QUEUE] = {"queue", queue_members},
	[LINE_SCHEDULE] = {"schedule", schedule_members},
	[LINE_JOB] = {"job", job_members},
	[LINE_DEAD_JOB] = {"dead_job", dead_job_members},
	[LINE_BLOCKED] = {"blocked", blocked_members},
};

/* Context of a check */
typedef struct LineWalk
{
	const ExportLineSource *source;
	ExportLine *line;
	JsonCheckError *error;
} LineWalk;

const char *
line_kind_name(ExportLineKind kind)
{
	return kinds[kind].name;
}

/* ----- values ----- */

static bool
too_long(LineWalk *walk, const char *path, const char *must)
{
	json_bad_member(walk->error, path, must);
	walk->error->too_long = true;
	return false;
}

/*
 * The size of a string in the server's encoding: in bytes if it is known, else
 * in characters, which are never more.
 */
static int64_t
stored_length(const LineWalk *walk, json_object *text)
{
	if (walk->source->count_characters)
		return (int64_t) json_characters(text);
	return json_object_get_string_len(text);
}

static bool
check_text_member(LineWalk *walk, const char *path, const LineMember *member, json_object *value)
{
	char		must[64];

	snprintf(must, sizeof(must), "a string of %d to %d bytes", (int) member->least, (int) member->most);
	if (!json_object_is_type(value, json_type_string) ||
		json_object_get_string_len(value) < member->least)
		return json_bad_member(walk->error, path, must);
	if (stored_length(walk, value) > member->most)
		return too_long(walk, path, must);
	return true;
}

static bool
check_hex_member(LineWalk *walk, const char *path, const LineMember *member, json_object *value)
{
	char		must[64];
	const char *digits;
	int64_t		length;

	snprintf(must, sizeof(must), "%d to %d bytes in hex", (int) member->least, (int) member->most);
	if (!json_object_is_type(value, json_type_string))
		return json_bad_member(walk->error, path, must);
	digits = json_object_get_string(value);
	length = json_object_get_string_len(value);
	for (int64_t i = 0; i < length; i++)
		if (!isxdigit((unsigned char) digits[i]))
			return json_bad_member(walk->error, path, must);
	if (length % 2 != 0 || length < 2 * member->least)
		return json_bad_member(walk->error, path, must);
	if (length / 2 > member->most)
		return too_long(walk, path, must);
	return true;
}

/*
 * Match the start of the text with a pattern.  In the pattern, 0 matches a
 * digit, x matches a hex digit, and other characters match themselves.
 * Returns the rest of the text, or NULL without a match.
 */
static const char *
after_pattern(const char *text, const char *pattern)
{
	for (; *pattern != '\0'; pattern++, text++)
	{
		if (*pattern == '0' ? !isdigit((unsigned char) *text) :
			*pattern == 'x' ? !isxdigit((unsigned char) *text) : *pattern != *text)
			return NULL;
	}
	return text;
}

static bool
is_uuid(json_object *value)
{
	const char *text = json_c_string(value);

	text = text != NULL ? after_pattern(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") : NULL;
	return text != NULL && *text == '\0';
}

/*
 * A time as in RFC 3339.  The server's range of years also needs up to six
 * digits, and " BC" at the end.  The server checks later that the date exists.
 */
static bool
is_time(json_object *value)
{
	const char *text = json_c_string(value);
	size_t		digits;

	if (text == NULL)
		return false;
	digits = strspn(text, "0123456789");
	if (digits < 4 || digits > 6)
		return false;
	text = after_pattern(text + digits, "-00-00T00:00:00");
	if (text == NULL)
		return false;
	if (*text == '.')
	{
		digits = strspn(text + 1, "0123456789");
		if (digits < 1 || digits > 9)
			return false;
		text += 1 + digits;
	}
	if (*text == 'Z')
		text++;
	else if (*text == '+')
		text = after_pattern(text, "+00:00");
	else
		text = after_pattern(text, "-00:00");
	return text != NULL && (*text == '\0' || strcmp(text, " BC") == 0);
}

static bool
is_time_or_infinity(json_object *value)
{
	const char *text = json_c_string(value);

	return text != NULL && (strcmp(text, "infinity") == 0 || strcmp(text, "-infinity") == 0 ||
							is_time(value));
}

/* Characters of an ISO 8601 interval; the server parses it later. */
static bool
is_interval(json_object *value)
{
	const char *text = json_c_string(value);

	return text != NULL && text[0] == 'P' && strlen(text) <= 100 &&
		text[strspn(text, "PYMWDTHS0123456789.-")] == '\0';
}

/* Check an embedded document as the SQL functions check it. */
static bool
check_embedded(LineWalk *walk, const char *path, JsonCheck check, json_object *value)
{
	JsonCheckError inner;

	if (check(value, &inner))
		return true;
	return json_error(walk->error, "In member \"%s\": %.*s",
					  path, (int) (sizeof(walk->error->message) - PATH_MAX_BYTES - 32), inner.message);
}

/* ----- members ----- */

static bool check_object(LineWalk *walk, const char *path, const LineMember *members, json_object *object);

static bool
check_list(LineWalk *walk, const char *path, const LineMember *member, json_object *value)
{
	size_t		length;

	if (!json_object_is_type(value, json_type_array))
		return json_bad_member(walk->error, path, "a list");
	length = json_object_array_length(value);
	*(size_t *) ((char *) walk->line + member->counter) += length;
	for (size_t i = 0; i < length; i++)
	{
		char		element[PATH_MAX_BYTES];

		snprintf(element, sizeof(element), "%.100s[%zu]", path, i + 1);
		if (!check_object(walk, element, member->members, json_object_array_get_idx(value, i)))
			return false;
	}
	return true;
}

static bool
check_whole(LineWalk *walk, const char *path, const LineMember *member, json_object *value)
{
	char		must[64];

	if (json_is_whole(value, member->least, member->most))
		return true;
	snprintf(must, sizeof(must), "a whole number from %d to %d", (int) member->least, (int) member->most);
	return json_bad_member(walk->error, path, must);
}

static bool
check_member(LineWalk *walk, const char *path, const LineMember *member, json_object *value)
{
	switch (member->type)
	{
		case IS_TEXT:
			return check_text_member(walk, path, member, value);
		case IS_HEX:
			return check_hex_member(walk, path, member, value);
		case IS_UUID:
			return is_uuid(value) || json_bad_member(walk->error, path, "a UUID");
		case IS_TIME:
			return is_time(value) ||
				json_bad_member(walk->error, path, "a time such as \"2024-02-29T12:00:00.000000Z\"");
		case IS_TIME_OR_INFINITY:
			return is_time_or_infinity(value) ||
				json_bad_member(walk->error, path, "a time such as \"2024-02-29T12:00:00.000000Z\", or \"infinity\"");
		case IS_INTERVAL:
			return is_interval(value) ||
				json_bad_member(walk->error, path, "an interval such as \"P1DT2H30M\"");
		case IS_WHOLE:
			return check_whole(walk, path, member, value);
		case IS_BOOL:
			return json_object_is_type(value, json_type_boolean) ||
				json_bad_member(walk->error, path, "true or false");
		case IS_DETAILS:
			walk->line->details++;
			return check_embedded(walk, path, check_details, value);
		case IS_UPLOAD_RESULT:
			return check_embedded(walk, path, check_upload_result, value);
		case IS_VERSION:
			return json_is_whole(value, LINES_VERSION, LINES_VERSION) ||
				json_bad_member(walk->error, path, NUMBER_TEXT(LINES_VERSION));
		case IS_ANYTHING:
			return true;
		case IS_LIST:
			return check_list(walk, path, member, value);
	}
	return false;
}

/* Does the object have only members that the table lists? */
static bool
check_names(LineWalk *walk, const char *path, const LineMember *members, json_object *object)
{
	json_object_object_foreach(object, name, value)
	{
		const LineMember *member = members;

		(void) value;
		while (member->name != NULL && strcmp(member->name, name) != 0)
			member++;
		if (member->name == NULL)
			return json_error(walk->error, "Member \"%s\" has an unknown member.", path);
	}
	return true;
}

static bool
check_object(LineWalk *walk, const char *path, const LineMember *members, json_object *object)
{
	if (!json_object_is_type(object, json_type_object))
		return json_bad_member(walk->error, path, "an object");
	if (!check_names(walk, path, members, object))
		return false;
	for (const LineMember *member = members; member->name != NULL; member++)
	{
		char		inner[PATH_MAX_BYTES];
		json_object *value;
		bool		there = json_object_object_get_ex(object, member->name, &value);

		snprintf(inner, sizeof(inner), "%.120s.%s", path, member->name);
		if (!there && member->required)
			return json_error(walk->error, "Member \"%s\" is missing.", inner);

		/* null is a value for a required member, and means missing otherwise */
		if (there && (value != NULL || member->required) &&
			!check_member(walk, inner, member, value))
			return false;
	}
	return true;
}

/* Find the kind of the line, and check its content. */
static bool
check_kind(json_object *document, void *found, JsonCheckError *error)
{
	LineWalk   *walk = found;

	walk->error = error;
	if (!json_object_is_type(document, json_type_object) || json_object_object_length(document) != 1)
		return json_bad_member(error, NULL, "an object with one member, such as \"image\"");
	for (int kind = 0; kind < LINE_KINDS; kind++)
	{
		json_object *value;

		if (!json_object_object_get_ex(document, kinds[kind].name, &value))
			continue;
		walk->line->kind = kind;
		if (kind == LINE_BYTES)
			return check_member(walk, kinds[kind].name, &bytes_value, value);
		return check_object(walk, kinds[kind].name, kinds[kind].members, value);
	}
	return json_bad_member(error, NULL,
						   "an object with one member: pictrepo, image, details, setting, migration, upload,"
						   " queue, schedule, job, dead_job, blocked or bytes");
}

bool
line_check(const ExportLineSource *source, ExportLine *line, JsonCheckError *error)
{
	JsonSource	document = {
		.json = source->json,
		.length = source->length,
		.any_bytes = source->any_bytes
	};
	LineWalk	walk = {.source = source, .line = line};

	memset(line, 0, sizeof(*line));
	return json_read(&document, check_kind, &walk, error);
}
