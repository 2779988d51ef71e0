/*-------------------------------------------------------------------------
 *
 * details_check.c
 *		Check the details of a stored file.
 *
 * Details are an object.  pict-rs reads the members listed below.  Each of them
 * may be missing.  Other members may have any value.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <string.h>

#include <json-c/json.h>

#include "json/json_check.h"

typedef bool (*MemberCheck) (json_object *value);

static bool
is_pixels(json_object *value)
{
	return json_is_whole(value, 1, UINT16_MAX);
}

static bool
is_frames(json_object *value)
{
	return value == NULL || json_is_whole(value, 1, UINT32_MAX);
}

/* The length of the token at the start of the text, as RFC 9110 defines tokens. */
static size_t
token_length(const char *text)
{
	size_t		length = 0;

	while (isalnum((unsigned char) text[length]) ||
		   (text[length] != '\0' && strchr("!#$%&'*+-.^_`|~", text[length]) != NULL))
		length++;
	return length;
}

/* A media type: type/subtype, and optional parameters after a semicolon */
static bool
is_content_type(json_object *value)
{
	const char *rest;
	size_t		length;

	rest = json_c_string(value);
	if (rest == NULL || !json_is_text(value, 3, 255))
		return false;
	length = token_length(rest);
	if (length == 0 || rest[length] != '/')
		return false;
	rest += length + 1;
	length = token_length(rest);
	rest += length;
	rest += strspn(rest, " ");
	return length > 0 && (*rest == '\0' || *rest == ';');
}

/* The number that the first count digits make, or -1. */
static int
digits(const char *text, int count)
{
	int			number = 0;

	for (int i = 0; i < count; i++)
	{
		if (!isdigit((unsigned char) text[i]))
			return -1;
		number = number * 10 + (text[i] - '0');
	}
	return number;
}

static int
days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool		leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

/* Does the text begin with YYYY-MM-DD? */
static bool
is_date(const char *text)
{
	int			year = digits(text, 4);
	int			month;
	int			day;

	if (year < 0 || text[4] != '-')
		return false;
	month = digits(text + 5, 2);
	if (month < 1 || month > 12 || text[7] != '-')
		return false;
	day = digits(text + 8, 2);
	return day >= 1 && day <= days_in_month(year, month);
}

/* Does the text begin with HH:MM? */
static bool
is_clock(const char *text)
{
	int			hour = digits(text, 2);

	if (hour < 0 || hour > 23 || text[2] != ':')
		return false;
	return digits(text + 3, 2) >= 0 && digits(text + 3, 2) <= 59;
}

/* Is the text Z or +HH:MM? */
static bool
is_offset(const char *text)
{
	if (*text == 'Z' || *text == 'z')
		return text[1] == '\0';
	return (*text == '+' || *text == '-') && is_clock(text + 1) && text[6] == '\0';
}

/*
 * An RFC 3339 time, as far as pict-rs can read it: it stores no leap seconds, and
 * wants a T between date and time.
 */
static bool
is_rfc3339(json_object *value)
{
	const char *text;
	int			second;

	text = json_c_string(value);
	if (text == NULL || !json_is_text(value, 20, 64))
		return false;
	if (!is_date(text) || (text[10] != 'T' && text[10] != 't') ||
		!is_clock(text + 11) || text[16] != ':')
		return false;
	second = digits(text + 17, 2);
	if (second < 0 || second > 59)
		return false;
	text += 19;
	if (*text == '.')
	{
		size_t		fraction = strspn(text + 1, "0123456789");

		if (fraction == 0)
			return false;
		text += 1 + fraction;
	}
	return is_offset(text);
}

/* An object such as {"Image": "png"}: the member is the kind, its value the format */
static bool
is_format(json_object *value)
{
	static const struct
	{
		const char *kind;
		const char *formats[6];
	}			kinds[] = {
		{"Image", {"avif", "jpeg", "jxl", "png", "webp"}},
		{"Animation", {"apng", "avif", "gif", "webp"}},
		{"Video", {"Mp4", "Webm"}},
	};

	if (!json_object_is_type(value, json_type_object) || json_object_object_length(value) != 1)
		return false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
	{
		json_object *format;

		if (!json_object_object_get_ex(value, kinds[i].kind, &format) || !json_is_text(format, 1, 16))
			continue;
		for (const char *const *known = kinds[i].formats; *known != NULL; known++)
			if (strcmp(json_object_get_string(format), *known) == 0)
				return true;
	}
	return false;
}

bool
check_details(json_object *document, JsonCheckError *error)
{
	static const struct
	{
		const char *name;
		MemberCheck check;
		const char *must;
	}			members[] = {
		{"width", is_pixels, "a whole number from 1 to 65535"},
		{"height", is_pixels, "a whole number from 1 to 65535"},
		{"frames", is_frames, "null or a whole number from 1 to 4294967295"},
		{"content_type", is_content_type, "a media type such as \"image/png\""},
		{"created_at", is_rfc3339, "a time as in RFC 3339, such as \"2024-02-29T12:00:00Z\""},
		{"format", is_format, "an object such as {\"Image\": \"png\"}, {\"Animation\": \"gif\"} or {\"Video\": \"Mp4\"}"},
	};

	if (!json_object_is_type(document, json_type_object))
		return json_bad_public_member(error, NULL, "an object", document);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
	{
		json_object *value;

		if (json_object_object_get_ex(document, members[i].name, &value) &&
			!members[i].check(value))
			return json_bad_public_member(error, members[i].name, members[i].must, value);
	}
	return true;
}
