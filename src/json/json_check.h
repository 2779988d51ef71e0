/*-------------------------------------------------------------------------
 *
 * json_check.h
 *		JSON that pictrepo must understand: parsing and checking, on json-c.
 *
 * Nothing here needs the server, so that the checks can be fuzzed alone; and
 * nothing raises an error while json-c holds memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_JSON_CHECK_H
#define PICTREPO_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* json-c's; its header cannot be included beside the server's, which have a
 * function of that name */
struct json_object;

/* nesting that a document may have */
#define DOCUMENT_MAX_DEPTH 64

typedef struct DocumentError
{
	bool		malformed;		/* not JSON at all, rather than a bad member */
	bool		too_long;		/* a member that would be good if it were shorter */
	char		message[768];	/* in UTF-8 */
} DocumentError;

/* A check of a parsed document; false with the error filled in. */
typedef bool (*DocumentCheck) (struct json_object *document, DocumentError *error);

extern bool check_document(const char *json, size_t length, DocumentCheck check,
						   DocumentError *error);

/* What is parsed, and how strictly, for a check that notes what it finds */
typedef struct DocumentSource
{
	const char *json;
	size_t		length;			/* without a terminator */
	int			max_depth;
	bool		any_bytes;		/* texts need not be UTF-8 */
} DocumentSource;

typedef bool (*DocumentReader) (struct json_object *document, void *found, DocumentError *error);

extern bool read_document(const DocumentSource *source, DocumentReader reader, void *found,
						  DocumentError *error);

/* The checks */
extern bool check_details(struct json_object *document, DocumentError *error);
extern bool check_upload_result(struct json_object *document, DocumentError *error);

/* For the checks: says what a member must be, and what a public one is; always false */
extern bool bad_member(DocumentError *error, const char *member, const char *must);
extern bool bad_public_member(DocumentError *error, const char *member, const char *must,
							  struct json_object *value);
extern bool is_text(struct json_object *value, size_t least, size_t most);

#endif
