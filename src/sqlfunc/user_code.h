/*-------------------------------------------------------------------------
 *
 * user_code.h
 *		Does a table call functions of users?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_USER_CODE_H
#define PICTREPO_USER_CODE_H

extern bool table_has_user_code(Oid table);
extern bool repo_has_user_code(void);
extern uint64 user_code_version(void);

#endif
