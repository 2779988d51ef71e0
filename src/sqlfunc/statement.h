/*-------------------------------------------------------------------------
 *
 * statement.h
 *		SQL statements with saved plans, run with the extension owner's rights.
 *
 * A repo function reads: take the arguments, run one statement, give the
 * answer.  For most, one of the functions in result.h is the whole body.
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
	SPIPlanPtr	plan;			/* made by the first run in this backend */
} SqlStatement;

/*
 * STATEMENT(name, flags, sql, type oids...) defines a static SqlStatement.
 *
 * Without STMT_WHOLE_TABLE the plan goes by an index, however small the tables
 * are when it is made.
 */
#define STMT_READ_WRITE		0x00	/* takes a new snapshot; may lock and
									 * write rows */
#define STMT_READ_ONLY		0x01	/* as SPI's read_only: sees what the
									 * caller's query sees */
#define STMT_WHOLE_TABLE	0x02	/* goes through a whole table */

#define STATEMENT(name, statement_flags, text, ...) \
	static SqlStatement name = { \
		.sql = (text), .flags = (statement_flags), \
		.nargs = sizeof((Oid[]) {__VA_ARGS__}) / sizeof(Oid), \
		.argtypes = {__VA_ARGS__} \
	}

/* What a call changes for its duration, to be put back at its end */
typedef struct RepoCall
{
	Oid			caller;
	int			caller_context;
	int			guc_level;		/* 0: no settings */
} RepoCall;

extern void repo_call_begin(RepoCall *call, FunctionCallInfo fcinfo);
extern void repo_call_begin_with_path(RepoCall *call, FunctionCallInfo fcinfo);
extern void repo_call_end(RepoCall *call);
extern void statement_forget_plan(SqlStatement *statement);
extern uint64 statement_run(SqlStatement *statement, const NullableDatum *args);
extern uint64 statement_run_latest(SqlStatement *statement, const NullableDatum *args);
extern Portal statement_open_portal(SqlStatement *statement, const NullableDatum *args);
extern void check_can_retry(void);

/* until the innermost GUC nest level ends */
extern void set_safe_search_path(void);

#endif
