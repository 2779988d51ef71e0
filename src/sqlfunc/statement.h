/*-------------------------------------------------------------------------
 *
 * statements.h
 *		SQL statements with saved plans, run with the extension owner's rights.
 *
 * A repo function reads: take the arguments, run one statement, give the
 * answer.  For most, one of the answer_* functions below is the whole body.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_STATEMENTS_H
#define PICTREPO_STATEMENTS_H

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
	struct CachedPlan *ready;	/* what it was made of, held; NULL: nothing yet */
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

#define ARGS(...) ((NullableDatum[]) {__VA_ARGS__})
#define NULL_ARG ((NullableDatum) {.isnull = true})

static inline NullableDatum
given(Datum value)
{
	NullableDatum result = {.value = value};

	return result;
}

extern void begin_call(RepoCall *call, FunctionCallInfo fcinfo);
extern void begin_call_with_path(RepoCall *call, FunctionCallInfo fcinfo);
extern void end_call(RepoCall *call);
extern void forget_plan(Statement *statement);
extern uint64 run_statement(Statement *statement, const NullableDatum *args);
extern uint64 run_latest(Statement *statement, const NullableDatum *args);
extern void look_again(void);
extern NullableDatum result_value(uint64 row, int column);
extern NullableDatum kept_value(uint64 row, int column);

/* Whole calls: connect, run, answer */
extern Datum answer_whether(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args);
extern Datum answer_count(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args);
extern Datum answer_value(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args);
extern Datum answer_row(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args);
extern Datum answer_rows(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args);

/*
 * For statements on several rows below a parent, which the first of the
 * arguments names: the count, after a statement that locks the parent.  So no
 * two lock each other out; and as it is a statement of its own, the next one
 * sees what they did who had the parent before.
 */
extern Datum answer_count_locked(FunctionCallInfo fcinfo, Statement *lock, Statement *statement,
								 const NullableDatum *args);

/*
 * For statements that insert a row below a parent, in the form INSERT ...
 * SELECT ... FROM parent FOR KEY SHARE ON CONFLICT DO NOTHING: true, false (it
 * exists), or 23503 when the parent that argument n names is not there.
 */
extern Datum answer_created(FunctionCallInfo fcinfo, Statement *statement, const NullableDatum *args,
							Statement *parent_exists, int n);

/* The pieces of a set-returning call that does more than run one statement */
extern void begin_rows(FunctionCallInfo fcinfo);
extern void give_result_rows(FunctionCallInfo fcinfo);
extern void give_row(FunctionCallInfo fcinfo, const NullableDatum *columns);
extern Datum form_row(FunctionCallInfo fcinfo, const NullableDatum *columns);

#endif
