/*-------------------------------------------------------------------------
 *
 * documents.c
 *		Fuzz target: JSON that the extension must understand.  The first byte
 *		says by which check; the rest is the document.
 *
 * What the library does not take for JSON is written to the file that REFUSED
 * names, in hex: it must not be JSON to the server either.  (The other way
 * round the server has the last word: json-c takes control characters.)
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "json/json_check.h"
#include "json/line_check.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is refused is refused with a reason, which is terminated. */
static void
must(bool condition)
{
	if (!condition)
		abort();
}

static bool
any_document(struct json_object *document, JsonCheckError *error)
{
	return true;
}

static bool
line_is_good(const char *json, size_t length, bool any_bytes, bool count_characters, JsonCheckError *error)
{
	ExportLineSource	source = {json, length, any_bytes, count_characters};
	ExportLine		line = {0};
	bool		good = line_check(&source, &line, error);

	if (good)
	{
		must(line.kind <= LINE_BLOCKED && line_kind_name(line.kind) != NULL);
		must(line.aliases + line.urls + line.variants + line.details <= length);
	}
	return good;
}

static void
note_refused(const char *json, size_t length)
{
	static FILE *file = NULL;

	if (file == NULL && getenv("REFUSED") != NULL)
		file = fopen(getenv("REFUSED"), "a");
	if (file == NULL)
		return;
	for (size_t i = 0; i < length; i++)
		fprintf(file, "%02x", (unsigned char) json[i]);
	fputc('\n', file);
	fflush(file);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	JsonCheckError error = {0};
	size_t		length = size > 0 ? size - 1 : 0;
	char	   *json;
	bool		good;
	int			which;

	if (size == 0)
		return 0;
	which = data[0] % 6;
	/* no terminator, and nothing behind it that may be read */
	json = malloc(length > 0 ? length : 1);
	memcpy(json, data + 1, length);

	memset(error.message, 'x', sizeof(error.message));
	if (which == 0)
		good = json_check(json, length, any_document, &error);
	else if (which == 1)
		good = json_check(json, length, check_details, &error);
	else if (which == 2)
		good = json_check(json, length, check_upload_result, &error);
	else
		good = line_is_good(json, length, which == 4, which == 5, &error);

	if (!good)
		must(memchr(error.message, '\0', sizeof(error.message)) != NULL && error.message[0] != '\0');
	if (!good && which == 0)
		note_refused(json, length);
	free(json);
	return 0;
}
