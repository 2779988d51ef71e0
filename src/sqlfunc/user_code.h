/*-------------------------------------------------------------------------
 *
 * user_code.h
 *		Is there code of others on a table?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_USER_CODE_H
#define PICTREPO_USER_CODE_H

extern bool has_foreign_code(Oid table);
extern uint64 tables_version(void);

#endif
