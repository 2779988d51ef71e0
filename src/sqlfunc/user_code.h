/*-------------------------------------------------------------------------
 *
 * user_code.h
 *		Is there code of others on a table?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PICTREPO_USER_CODE_H
#define PICTREPO_USER_CODE_H

extern bool table_has_user_code(Oid table);
extern uint64 user_code_version(void);

#endif
