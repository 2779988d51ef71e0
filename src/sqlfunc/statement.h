/*-------------------------------------------------------------------------
 *
 * statement.h
 *		SQL statements with saved plans, run with the extension owner's rights.
 *
 * The C code of an SQL function checks its arguments, runs one statement and
 * returns the result.  For most functions, one call of a function in result.h
 * does the last two.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_STATEMENT_H
#define PICTREPO_STATEMENT_H

#include "executor/spi.h"
#include "fmgr.h"

#define STATEMENT_MAX_ARGS 10

typedef struct SqlStatement
{
	const char *sql;
	int			flags;			/* STMT_* */
	int			nargs;
	Oid			argtypes[STATEMENT_MAX_ARGS];
	SPIPlanPtr	plan;			/* NULL until the first run in this backend */
	struct FailureCauses *failures; /* of the last run, for row_batch.c */
} SqlStatement;

/*
 * STATEMENT(name, flags, sql, type oids...) defines a static SqlStatement.
 *
 * The planner may use sequential scans only with STMT_WHOLE_TABLE.  Otherwise
 * the plan uses an index even if the tables are small at planning time.
 */
#define STMT_READ_WRITE		0x00	/* sees what is committed now; may lock and
									 * write rows */
#define STMT_READ_ONLY		0x01	/* SPI's read_only: the snapshot of the
									 * calling query */
#define STMT_WHOLE_TABLE	0x02	/* reads a whole table */

#define STATEMENT(name, statement_flags, text, ...) \
	static SqlStatement name = { \
		.sql = (text), .flags = (statement_flags), \
		.nargs = sizeof((Oid[]) {__VA_ARGS__}) / sizeof(Oid), \
		.argtypes = {__VA_ARGS__} \
	}

/* The state of the session that repo_call_begin changes and repo_call_end restores */
typedef struct RepoCall
{
	Oid			caller;
	int			caller_context;
	int			search_path;	/* see search_path.h */
} RepoCall;

extern void repo_call_begin(RepoCall *call, FunctionCallInfo fcinfo);
extern void repo_call_begin_fast(RepoCall *call, FunctionCallInfo fcinfo);
extern void repo_call_end(RepoCall *call);
extern void statement_forget_plan(SqlStatement *statement);
extern uint64 statement_run(SqlStatement *statement, const NullableDatum *args);
extern Portal statement_open_portal(SqlStatement *statement, const NullableDatum *args);

#endif
