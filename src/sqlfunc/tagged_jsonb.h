/*-------------------------------------------------------------------------
 *
 * tagged_jsonb.h
 *		JSON in the form that pict-rs gives to its enums: {"Tag": {"name": "text"}}.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_TAGGED_JSONB_H
#define PICTREPO_TAGGED_JSONB_H

#include "fmgr.h"

typedef struct JsonMember
{
	const char *name;
	Datum		value;			/* text */
} JsonMember;

/* TAGGED_JSONB(tag, {name, text}...) */
#define TAGGED_JSONB(tag, ...) \
	tagged_jsonb((tag), (const JsonMember[]) {__VA_ARGS__}, \
				 sizeof((const JsonMember[]) {__VA_ARGS__}) / sizeof(JsonMember))

extern NullableDatum tagged_jsonb(const char *tag, const JsonMember *members, int count);

#endif
