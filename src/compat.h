/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between the supported server versions.
 *
 * Each gate maps the older server to the newer one, so that the code reads as
 * written for the newest.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_COMPAT_H
#define LFSYNC_COMPAT_H

#include "replication/message.h"

#if PG_VERSION_NUM < 150000
#error lfsync needs PostgreSQL 15 or newer
#endif

/* The flush flag came with 17; we flush by ourselves on every version. */
#if PG_VERSION_NUM >= 170000
#define LogLogicalMessageNoFlush(prefix, message, size) \
	LogLogicalMessage(prefix, message, size, false, false)
#else
#define LogLogicalMessageNoFlush(prefix, message, size) \
	LogLogicalMessage(prefix, message, size, false)
#endif

/* Before 18 the attribute was written behind the declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* The VARATT and VARDATA macros moved out of postgres.h in 16. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* One function for every kind of object came with 16; we ask of databases. */
#if PG_VERSION_NUM < 160000
#define object_aclcheck(classid, objectid, roleid, mode) \
	pg_database_aclcheck(objectid, roleid, mode)
#endif

/* Rights moved from the range table to a list of their own in 16. */
#if PG_VERSION_NUM >= 160000
#define check_plan_rights(stmt) \
	((void) ExecCheckPermissions((stmt)->rtable, (stmt)->permInfos, true))
#else
#define check_plan_rights(stmt) \
	((void) ExecCheckRTPerms((stmt)->rtable, true))
#endif

/* Intervals were finite before 17. */
#if PG_VERSION_NUM < 170000
#define INTERVAL_NOT_FINITE(interval) false
#endif

/*
 * Declared in libpq/libpq.h, which wants GSSAPI headers that a plain
 * installation does not have.
 */
extern bool pq_check_connection(void);

/* Backends became processes' numbers in 17. */
#if PG_VERSION_NUM >= 170000
#define VXID_PROC(vxid) ((vxid).procNumber)
#else
#define VXID_PROC(vxid) ((vxid).backendId)
#endif

/* Actions of the json parser can say that they failed from 16 on. */
#if PG_VERSION_NUM >= 160000
#define JsonActionResult	JsonParseErrorType
#define JSON_ACTION_DONE	return JSON_SUCCESS
#else
#define JsonActionResult	void
#define JSON_ACTION_DONE	return
#endif

/* The lexer's state may be the caller's since 17. */
#if PG_VERSION_NUM >= 170000
#define makeJsonLexContextCstring(text) \
	makeJsonLexContextCstringLen(NULL, (text), strlen(text), GetDatabaseEncoding(), true)
#else
#define makeJsonLexContextCstring(text) \
	makeJsonLexContextCstringLen((char *) (text), strlen(text), GetDatabaseEncoding(), true)
#endif

#endif							/* LFSYNC_COMPAT_H */
