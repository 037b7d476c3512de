/*-------------------------------------------------------------------------
 *
 * path.h
 *	  Where a file may go.
 *
 * Two halves.  path_resolve() runs where the catalogs can be read and decides
 * by role and name: relative names below lfsync.export_directory for everyone,
 * absolute ones for members of pg_write_server_files.  path_open_target() runs
 * in the writer and walks the directories one by one without following a
 * symbolic link, holding the last one open, so that what was checked is what
 * is used.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_PATH_H
#define LFSYNC_PATH_H

#include <limits.h>
#include <sys/stat.h>

/*
 * What an unfinished file beside its target has in its name, in the form
 * ".<name>.lfsync-<random>".  PATH_RESERVE is the room that this and the
 * ending of its journal need beyond the target's own name.
 */
#define PATH_TEMP_INFIX		".lfsync-"
#define PATH_RESERVE		48

/* Bytes in a name; and in a path, of which SQLite opens no more than 504. */
#define PATH_MAX_NAME		(255 - PATH_RESERVE)
#define PATH_MAX_PATH		(504 - PATH_RESERVE)

/* Directories that no target may lie in, by what stat() says of them. */
#define PATH_MAX_FORBIDDEN	64

typedef struct ForbiddenDirectories
{
	int			count;
	struct
	{
		dev_t		dev;
		ino_t		ino;
	}			dir[PATH_MAX_FORBIDDEN];
} ForbiddenDirectories;

/* An opened place for a file: its directory and its name there. */
typedef struct TargetPath
{
	int			dirfd;			/* O_DIRECTORY, counted with fd.c */
	char		path[MAXPGPATH];	/* absolute, no symbolic link, no dots */
	char		name[NAME_MAX + 1]; /* last component */
	struct stat dirstat;
	bool		exists;			/* a regular file of ours is there ... */
	struct stat filestat;		/* ... and this is it */
} TargetPath;

/*
 * The absolute path that "file" means for role roleid.  Refuses (with the
 * SQLSTATE and a hint that names the next step): a role without the right,
 * an empty export_directory, "..", "." or empty components, control
 * characters, a "file:" URI, ":memory:", a trailing slash, a path or name
 * above the limit, a name like those of SQLite's side files or our own
 * temporary files.
 * The result is palloc'd.
 */
extern char *path_resolve(const char *file, Oid roleid);

/*
 * The data directory, every tablespace, the log, socket and WAL directory, as
 * far as they exist.  To be filled in by a process that has the settings, and
 * handed to path_open_target().  Tablespaces beyond the room here are no gap,
 * since path_open_target() also knows them, and other servers' data
 * directories, by what they contain.
 */
extern void path_forbidden(ForbiddenDirectories *forbidden);

/*
 * Walks an absolute path that path_resolve() gave, component by component
 * with O_NOFOLLOW.  Every directory must be owned by root or by the server's
 * user and be writable by neither group nor others (an ancestor, not the
 * file's own directory, may be so if it is sticky), and none may be
 * forbidden; in the last one we must be able to write.  An existing file must
 * be a regular file of ours with one link; its side files (-journal, -wal,
 * -shm) too.  Raises an error otherwise, and then nothing is left open.
 *
 * The file itself is looked at but never opened: closing it would drop the
 * locks that SQLite holds on it in this process.
 */
extern void path_open_target(const char *path,
							 const ForbiddenDirectories *forbidden,
							 TargetPath *target);

/*
 * Looks at the file again: true if its path still leads to what
 * path_open_target() saw, that is the same directory and there the same device
 * and inode, or still nothing.
 */
extern bool path_unchanged(const TargetPath *target);

/* True if the file has a side file ("-journal", "-wal" or "-shm"). */
extern bool path_has_side_file(const TargetPath *target);

/*
 * Refuses (55000) a journal or WAL whose database is gone: SQLite would take it
 * for that of a new database of this name, and roll it back into that.
 */
extern void path_refuse_stray(const TargetPath *target);

/*
 * True if the directory is on a network or user-space file system, whose locks
 * SQLite cannot rely on.  Whether that is refused is the caller's decision.
 */
extern bool path_is_network(const TargetPath *target);

extern void path_close_target(TargetPath *target);

#endif							/* LFSYNC_PATH_H */
