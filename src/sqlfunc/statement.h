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

typedef struct Statement
{
	const char *sql;
	bool		reads;			/* as of the caller's snapshot */
	bool		whole_table;	/* not a few rows by an index */
	int			nargs;
	Oid			argtypes[STATEMENT_MAX_ARGS];
	SPIPlanPtr	plan;			/* made by the first run in this backend */
} Statement;

/*
 * READS(name, sql, type oids...) and WRITES(...) define a static Statement.
 * READS_NOW is for writers that look first: it sees what others have committed
 * and what the caller's own query has done so far.  READS_ALL is for the few
 * that go through a whole table; all others go by an index, however small the
 * tables were when they were planned.
 */
#define STATEMENT(name, is_reading, is_whole, text, ...) \
	static Statement name = { \
		.sql = (text), .reads = (is_reading), .whole_table = (is_whole), \
		.nargs = sizeof((Oid[]) {__VA_ARGS__}) / sizeof(Oid), \
		.argtypes = {__VA_ARGS__} \
	}
#define READS(name, ...) STATEMENT(name, true, false, __VA_ARGS__)
#define READS_NOW(name, ...) STATEMENT(name, false, false, __VA_ARGS__)
#define WRITES(name, ...) STATEMENT(name, false, false, __VA_ARGS__)
#define READS_ALL(name, ...) STATEMENT(name, true, true, __VA_ARGS__)

/* What a call changes for its duration, to be put back at its end */
typedef struct RepoCall
{
	Oid			caller;
	int			caller_context;
	int			guc_level;		/* 0: no settings */
} RepoCall;

extern void begin_call(RepoCall *call, FunctionCallInfo fcinfo);
extern void begin_call_with_path(RepoCall *call, FunctionCallInfo fcinfo);
extern void end_call(RepoCall *call);
extern void forget_plan(Statement *statement);
extern uint64 run_statement(Statement *statement, const NullableDatum *args);
extern uint64 run_latest(Statement *statement, const NullableDatum *args);
extern Portal open_portal(Statement *statement, const NullableDatum *args);
extern void look_again(void);

#endif
