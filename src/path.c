/*-------------------------------------------------------------------------
 *
 * path.c
 *	  Where a file may go.
 *
 * SQLite trusts whatever lies beside a database: a journal planted there is
 * rolled back into it, and may name another file to be deleted.  So it is not
 * enough that a file is where the administrator allows; nobody but root and
 * the server's user may be able to put anything beside it, or to exchange a
 * directory on the way to it.  The walk from "/" checks just that, one open
 * directory after the other, and what it has checked it holds open.
 *
 * Every refusal of a directory hints at a command that makes a good one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/vfs.h>
#endif

#include "catalog/pg_authid.h"
#include "common/relpath.h"
#include "lfsync.h"
#include "miscadmin.h"
#include "path.h"
#include "postmaster/postmaster.h"
#include "postmaster/syslogger.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

/* Passing through a directory needs no right to read it. */
#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

/* What to suggest where the directory that was named is beyond repair. */
#define GOOD_DIRECTORY	"/var/lib/lfsync"

/* Endings of what SQLite puts beside a database. */
static const char *const side_files[] = {"-journal", "-wal", "-shm"};

/*
 * Raises an error.  All of this file's go through here, built by psprintf(),
 * so that each has a detail and a hint; errnum, if not 0, is the errno that
 * gives the SQLSTATE and ends the message.
 */
static void
refuse(int sqlerrcode, int errnum, const char *message, const char *detail,
	   const char *hint)
{
	errno = errnum;
	ereport(ERROR,
			(errnum != 0 ? errcode_for_file_access() : errcode(sqlerrcode),
			 errnum != 0 ? errmsg("%s: %m", message) : errmsg("%s", message),
			 errdetail_internal("%s", detail),
			 errhint("%s", hint)));
}

/* The text as one word of a shell command. */
static char *
shell_word(const char *text)
{
	StringInfoData word;

	if (text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-")] == '\0')
		return pstrdup(text);

	initStringInfo(&word);
	appendStringInfoChar(&word, '\'');
	for (const char *c = text; *c; c++)
	{
		if (*c == '\'')
			appendStringInfoString(&word, "'\\''");
		else
			appendStringInfoChar(&word, *c);
	}
	appendStringInfoChar(&word, '\'');
	return word.data;
}

/* A user's name, or the number where there is none, as in some containers. */
static char *
user_name(uid_t uid)
{
	struct passwd *pw = getpwuid(uid);

	return pw ? pstrdup(pw->pw_name) : psprintf("%u", (unsigned) uid);
}

/* The command that makes a good directory. */
static char *
install_command(const char *dir)
{
	struct group *gr = getgrgid(getegid());
	char	   *group = gr ? pstrdup(gr->gr_name) : psprintf("%u", (unsigned) getegid());

	return psprintf("install -d -o %s -g %s -m 2750 %s",
					user_name(geteuid()), group, shell_word(dir));
}

/*
 * Names: what can be decided without looking at the disk.
 */

/*
 * Refuses what is no plain name of a file.  The length and the control
 * characters come first, so that the other messages can show the name.
 */
static void
check_name(const char *file)
{
	char	   *invalid;
	const char *reserved;
	size_t		length = strlen(file);
	const char *component;
	const char *slash;

	if (length > PATH_MAX_PATH)
		refuse(ERRCODE_PROGRAM_LIMIT_EXCEEDED, 0, "file name is too long",
			   psprintf("With its directories it has %zu bytes, and the limit is %d.",
						length, PATH_MAX_PATH),
			   "Choose a shorter name, or a directory nearer to the root.");
	for (const char *c = file; *c; c++)
	{
		if ((unsigned char) *c < 0x20 || *c == 0x7f)
			refuse(ERRCODE_INVALID_NAME, 0,
				   "file name contains a control character",
				   psprintf("The character is 0x%02x, at byte %d of the name.",
							(unsigned char) *c, (int) (c - file) + 1),
				   "Look for a line break or a tab in the name, and remove it.");
	}

	invalid = psprintf("invalid file name \"%s\"", file);

	for (component = file[0] == '/' ? file + 1 : file;; component = slash + 1)
	{
		size_t		len;
		size_t		limit;

		slash = strchr(component, '/');
		len = slash ? (size_t) (slash - component) : strlen(component);
		limit = slash ? NAME_MAX : PATH_MAX_NAME;

		/* we never give these to SQLite, but who opens the file there would */
		if (pg_strncasecmp(component, "file:", 5) == 0 ||
			strcmp(component, ":memory:") == 0)
			refuse(ERRCODE_INVALID_NAME, 0, invalid,
				   "SQLite gives \"file:\" and \":memory:\" a meaning of their own.",
				   "Give the path of the file alone.");
		if (len == 0)
			refuse(ERRCODE_INVALID_NAME, 0, invalid,
				   slash ? "It contains an empty component."
				   : "It ends where the name of a file should be.",
				   slash ? "Write one slash between two names."
				   : "Name a file, such as \"music.db\".");
		if (len <= 2 && strncmp(component, "..", len) == 0)
			refuse(ERRCODE_INVALID_NAME, 0, invalid,
				   psprintf("It contains the component \"%.*s\".",
							(int) len, component),
				   "Write the path without \".\" and \"..\".");
		if (len > limit)
			refuse(ERRCODE_PROGRAM_LIMIT_EXCEEDED, 0, "file name is too long",
				   psprintf("A component of it has %zu bytes, and the limit is %zu.",
							len, limit),
				   "Choose a shorter name.");
		if (slash == NULL)
			break;
	}

	reserved = strstr(component, PATH_TEMP_INFIX) ? PATH_TEMP_INFIX : NULL;
	for (size_t i = 0; i < lengthof(side_files); i++)
	{
		size_t		len = strlen(component);
		size_t		ending = strlen(side_files[i]);

		/* ignoring case, as some file systems do */
		if (len >= ending &&
			pg_strcasecmp(component + len - ending, side_files[i]) == 0)
			reserved = side_files[i];
	}
	if (reserved)
		refuse(ERRCODE_INVALID_NAME, 0, invalid,
			   psprintf("Names with \"%s\" are kept for files that go with a database.",
						reserved),
			   "Choose a name that ends with \".db\".");
}

char *
path_resolve(const char *file, Oid roleid)
{
	char		base[MAXPGPATH];
	char	   *path;

	check_name(file);

	if (is_absolute_path(file))
	{
		if (!has_privs_of_role(roleid, ROLE_PG_WRITE_SERVER_FILES))
			refuse(ERRCODE_INSUFFICIENT_PRIVILEGE, 0,
				   psprintf("permission denied to write file \"%s\"", file),
				   "Only roles with privileges of the \"pg_write_server_files\" role may name an absolute path.",
				   psprintf("Name a file relative to \"lfsync.export_directory\", or let a superuser run:\n"
							"    GRANT pg_write_server_files TO %s;",
							quote_identifier(GetUserNameFromId(roleid, false))));
		return pstrdup(file);
	}

	strlcpy(base, lfsync_export_directory ? lfsync_export_directory : "",
			sizeof(base));
	canonicalize_path(base);
	if (!is_absolute_path(base))
		refuse(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, 0,
			   psprintf("there is no directory for file \"%s\"", file),
			   base[0] == '\0'
			   ? "The setting \"lfsync.export_directory\" is empty."
			   : "The setting \"lfsync.export_directory\" is not an absolute path.",
			   psprintf("Make a directory as root in a shell of the server:\n"
						"    %s\n"
						"and tell the server of it as a superuser:\n"
						"    ALTER SYSTEM SET lfsync.export_directory = '%s';\n"
						"    SELECT pg_reload_conf();",
						install_command(GOOD_DIRECTORY), GOOD_DIRECTORY));

	path = psprintf("%s/%s", strcmp(base, "/") == 0 ? "" : base, file);
	check_name(path);
	return path;
}

/*
 * The server's own directories.
 */

/*
 * A directory that is open to everyone, such as /tmp for the sockets, stays
 * allowed as an ancestor; as the file's own it is refused for its mode.
 */
static void
forbid(ForbiddenDirectories *forbidden, const char *path)
{
	struct stat st;

	if (forbidden->count == PATH_MAX_FORBIDDEN || stat(path, &st) != 0 ||
		!S_ISDIR(st.st_mode) || (st.st_mode & S_ISVTX) != 0)
		return;
	forbidden->dir[forbidden->count].dev = st.st_dev;
	forbidden->dir[forbidden->count].ino = st.st_ino;
	forbidden->count++;
}

void
path_forbidden(ForbiddenDirectories *forbidden)
{
	char		path[MAXPGPATH];
	List	   *sockets;
	ListCell   *lc;
	DIR		   *dir;
	struct dirent *de;

	/* stat() follows the symbolic link that each of these may be */
	forbidden->count = 0;
	forbid(forbidden, DataDir);
	join_path_components(path, DataDir, "pg_wal");
	forbid(forbidden, path);
	if (is_absolute_path(Log_directory))
		strlcpy(path, Log_directory, sizeof(path));
	else
		join_path_components(path, DataDir, Log_directory);
	forbid(forbidden, path);

	if (SplitDirectoriesString(pstrdup(Unix_socket_directories), ',', &sockets))
	{
		foreach(lc, sockets)
			forbid(forbidden, lfirst(lc));
	}

	join_path_components(path, DataDir, "pg_tblspc");
	dir = AllocateDir(path);
	while ((de = ReadDir(dir, path)) != NULL)
	{
		char		tablespace[MAXPGPATH];

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		join_path_components(tablespace, path, de->d_name);
		forbid(forbidden, tablespace);
	}
	FreeDir(dir);
}

/*
 * Directories.
 */

/* Which directory to use instead of a refused one. */
typedef enum Remedy
{
	REPAIR_IT,					/* it is ours */
	MAKE_IT,
	MAKE_ONE_IN_IT,				/* it is unsafe for files alone */
	MAKE_ANOTHER
} Remedy;

static void
refuse_directory(int sqlerrcode, int errnum, const char *message,
				 const char *detail, const char *dir, Remedy remedy)
{
	const char *command;

	if (remedy == REPAIR_IT)
		command = psprintf("chmod u+rwx,go-w %s", shell_word(dir));
	else if (remedy == MAKE_IT)
		command = install_command(dir);
	else if (remedy == MAKE_ONE_IN_IT && strcmp(dir, "/") != 0)
		command = install_command(psprintf("%s/lfsync", dir));
	else
		command = install_command(GOOD_DIRECTORY);

	refuse(sqlerrcode, errnum, message, detail,
		   psprintf("Make a good directory as root in a shell of the server:\n"
					"    %s\n"
					"and name a file there, or set \"lfsync.export_directory\" to it.",
					command));
}

/* Says why a directory on the target's path could not be opened. */
static void
refuse_unopened(const TargetPath *target, const char *name, const char *dir,
				int errnum)
{
	struct stat st;
	char	   *message = psprintf("could not open directory \"%s\"", dir);
	char	   *detail = psprintf("File \"%s\" would lie in it.", target->path);

	if (errnum == EMFILE || errnum == ENFILE)
		refuse(0, errnum, message, detail,
			   "Try again later, or raise \"max_files_per_process\".");

	if ((errnum == ENOTDIR || errnum == ELOOP) &&
		fstatat(target->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISLNK(st.st_mode))
	{
		char	   *real = realpath(dir, NULL);

		if (real)
			detail = psprintf("No symbolic link is followed; the real path is \"%s\".", real);
		free(real);
		refuse_directory(ERRCODE_WRONG_OBJECT_TYPE, 0,
						 psprintf("\"%s\" is a symbolic link", dir), detail,
						 dir, MAKE_ANOTHER);
	}

	if (errnum == ENOENT)
		refuse_directory(0, errnum, message, detail,
						 pnstrdup(target->path, strrchr(target->path, '/') - target->path),
						 MAKE_IT);
	refuse_directory(0, errnum, message, detail, dir, MAKE_ANOTHER);
}

/* True if the open directory is the server's or another server's. */
static bool
is_forbidden(int fd, const struct stat *st,
			 const ForbiddenDirectories *forbidden)
{
	struct stat mark;

	for (int i = 0; i < forbidden->count; i++)
	{
		if (forbidden->dir[i].dev == st->st_dev &&
			forbidden->dir[i].ino == st->st_ino)
			return true;
	}
	return fstatat(fd, "PG_VERSION", &mark, AT_SYMLINK_NOFOLLOW) == 0 ||
		fstatat(fd, TABLESPACE_VERSION_DIRECTORY, &mark, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Checks the directory that was just opened. */
static void
check_directory(TargetPath *target, const char *dir, bool last,
				const ForbiddenDirectories *forbidden)
{
	struct stat *st = &target->dirstat;
	bool		ours;
	bool		sticky;

	if (fstat(target->dirfd, st) != 0)
		refuse_unopened(target, dir, dir, errno);
	ours = st->st_uid == geteuid();
	sticky = (st->st_mode & S_ISVTX) != 0;

	if (is_forbidden(target->dirfd, st, forbidden))
		refuse_directory(ERRCODE_INSUFFICIENT_PRIVILEGE, 0,
						 psprintf("directory \"%s\" belongs to a PostgreSQL server", dir),
						 "No target may lie in a data directory, a tablespace, or a server's log, socket or WAL directory.",
						 dir, MAKE_ANOTHER);

	if (!ours && st->st_uid != 0)
		refuse_directory(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, 0,
						 psprintf("directory \"%s\" is owned by user \"%s\"",
								  dir, user_name(st->st_uid)),
						 psprintf("Only root and the server's user \"%s\" may be able to change what lies on the way to a target.",
								  user_name(geteuid())),
						 dir, MAKE_ANOTHER);

	if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0 && (last || !sticky))
		refuse_directory(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, 0,
						 psprintf("directory \"%s\" is writable by others", dir),
						 psprintf("Its mode is %04o, so others could exchange files in it or plant a journal.",
								  (unsigned) st->st_mode & 07777),
						 dir, last && sticky ? MAKE_ONE_IN_IT :
						 ours ? REPAIR_IT : MAKE_ANOTHER);

	if (last && faccessat(target->dirfd, ".", W_OK | X_OK, 0) != 0)
	{
		int			errnum = errno;

		refuse_directory(0, errnum,
						 psprintf("could not write in directory \"%s\"", dir),
						 psprintf("It is owned by user \"%s\" and its mode is %04o.",
								  user_name(st->st_uid), (unsigned) st->st_mode & 07777),
						 dir, errnum == EROFS ? MAKE_ANOTHER :
						 ours ? REPAIR_IT : MAKE_ONE_IN_IT);
	}
}

static int
open_directory(int parent, const char *name, bool last)
{
	int			fd;
	int			errnum;

	if (!AcquireExternalFD())
		return -1;
	/* fsync() needs more than O_PATH, so the last one is really opened */
	fd = openat(parent, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC |
				(last ? O_RDONLY : O_PATH));
	errnum = errno;
	if (fd < 0)
		ReleaseExternalFD();
	errno = errnum;
	return fd;
}

/*
 * Walks from "/" to the target's directory.  At any moment target->dirfd is
 * what the caller has to close if there is an error.
 */
static void
walk(TargetPath *target, const ForbiddenDirectories *forbidden)
{
	const char *component = target->path + 1;
	const char *slash = strchr(component, '/');

	target->dirfd = open_directory(AT_FDCWD, "/", slash == NULL);
	if (target->dirfd < 0)
		refuse_unopened(target, "/", "/", errno);
	check_directory(target, "/", slash == NULL, forbidden);

	while (slash != NULL)
	{
		const char *next = strchr(slash + 1, '/');
		char	   *name = pnstrdup(component, slash - component);
		char	   *dir = pnstrdup(target->path, slash - target->path);
		int			fd = open_directory(target->dirfd, name, next == NULL);

		if (fd < 0)
			refuse_unopened(target, name, dir, errno);
		path_close_target(target);
		target->dirfd = fd;
		check_directory(target, dir, next == NULL, forbidden);

		component = slash + 1;
		slash = next;
	}
	strlcpy(target->name, component, sizeof(target->name));
}

/*
 * Files.
 */

/* Looks at the target, or with an ending at what lies beside it. */
static bool
stat_file(const TargetPath *target, const char *ending, struct stat *st)
{
	char		name[NAME_MAX + 1];
	int			errnum;

	snprintf(name, sizeof(name), "%s%s", target->name, ending);
	if (fstatat(target->dirfd, name, st, AT_SYMLINK_NOFOLLOW) == 0)
		return true;
	errnum = errno;
	if (errnum != ENOENT)
		refuse(0, errnum,
			   psprintf("could not stat file \"%s%s\"", target->path, ending),
			   "It cannot be told whether the file exists.",
			   "Look at the file system that holds it, or name another file.");
	return false;
}

/* The same, and refuses what is not a regular file of ours under one name. */
static bool
check_file(const TargetPath *target, const char *ending, struct stat *st)
{
	bool		beside = ending[0] != '\0';
	char	   *path = psprintf("%s%s", target->path, ending);
	const char *stray = "Find out who put it beside the database, and move it away.";

	if (!stat_file(target, ending, st))
		return false;

	if (!S_ISREG(st->st_mode))
		refuse(ERRCODE_WRONG_OBJECT_TYPE, 0,
			   psprintf("\"%s\" is %s", path,
						S_ISDIR(st->st_mode) ? "a directory" :
						S_ISLNK(st->st_mode) ? "a symbolic link" :
						S_ISFIFO(st->st_mode) ? "a named pipe" :
						S_ISSOCK(st->st_mode) ? "a socket" : "a device"),
			   beside
			   ? psprintf("SQLite would use it with database \"%s\".", target->path)
			   : "A target is a regular file.",
			   beside ? stray : "Name another file, or move this one away.");

	if (st->st_uid != geteuid())
		refuse(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, 0,
			   psprintf("file \"%s\" is owned by user \"%s\"", path,
						user_name(st->st_uid)),
			   psprintf("A target and what lies beside it belong to the server's user \"%s\".",
						user_name(geteuid())),
			   beside ? stray
			   : psprintf("Name another file, or run as root in a shell of the server:\n"
						  "    chown %s %s",
						  user_name(geteuid()), shell_word(path)));

	if (st->st_nlink != 1)
		refuse(ERRCODE_WRONG_OBJECT_TYPE, 0,
			   psprintf("file \"%s\" has %lu hard links", path,
						(unsigned long) st->st_nlink),
			   "Whoever opens it under another name would not find its journal.",
			   psprintf("Name another file, or find the other names and remove them:\n"
						"    find / -samefile %s", shell_word(path)));
	return true;
}

void
path_open_target(const char *path, const ForbiddenDirectories *forbidden,
				 TargetPath *target)
{
	/* a walk is only as good as its names, so they are looked at again */
	check_name(path);
	if (!is_absolute_path(path))
		elog(ERROR, "target path \"%s\" is not absolute", path);

	memset(target, 0, sizeof(*target));
	target->dirfd = -1;
	strlcpy(target->path, path, sizeof(target->path));

	PG_TRY();
	{
		struct stat st;

		walk(target, forbidden);
		target->exists = check_file(target, "", &target->filestat);
		for (size_t i = 0; i < lengthof(side_files); i++)
			(void) check_file(target, side_files[i], &st);
	}
	PG_CATCH();
	{
		path_close_target(target);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

bool
path_unchanged(const TargetPath *target)
{
	char		dir[MAXPGPATH];
	struct stat st;

	/* the directory may have been renamed with the file in it */
	strlcpy(dir, target->path, sizeof(dir));
	get_parent_directory(dir);
	if (stat(dir, &st) != 0 ||
		st.st_dev != target->dirstat.st_dev ||
		st.st_ino != target->dirstat.st_ino)
		return false;

	if (!stat_file(target, "", &st))
		return !target->exists;
	return target->exists &&
		st.st_dev == target->filestat.st_dev &&
		st.st_ino == target->filestat.st_ino;
}

bool
path_has_side_file(const TargetPath *target)
{
	struct stat st;

	for (size_t i = 0; i < lengthof(side_files); i++)
	{
		if (stat_file(target, side_files[i], &st))
			return true;
	}
	return false;
}

void
path_refuse_stray(const TargetPath *target)
{
	static const char *const journals[] = {"-journal", "-wal"};
	struct stat st;

	for (size_t i = 0; i < lengthof(journals); i++)
	{
		/* an empty one says nothing */
		if (stat_file(target, journals[i], &st) && st.st_size > 0)
			refuse(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, 0,
				   psprintf("file \"%s%s\" is there, but its database is not",
							target->path, journals[i]),
				   "SQLite would apply it to the new file. It may hold what is missing in the old one.",
				   "Put the old file back, or remove the journal if nobody needs that any more.");
	}
}

bool
path_is_network(const TargetPath *target)
{
#ifdef __linux__
	static const uint32 network[] = {
		0x6969,					/* NFS */
		0x517B, 0xFF534D42, 0xFE534D42, /* SMB, CIFS, SMB2 */
		0x65735546,				/* FUSE */
		0x01021997,				/* 9P */
		0x5346414F, 0x6B414653, /* AFS */
		0x73757245				/* Coda */
	};
	struct statfs fs;

	if (fstatfs(target->dirfd, &fs) != 0)
		return true;			/* nothing is known of it that is good */
	for (size_t i = 0; i < lengthof(network); i++)
	{
		if ((uint32) fs.f_type == network[i])
			return true;
	}
#endif
	return false;
}

void
path_close_target(TargetPath *target)
{
	if (target->dirfd < 0)
		return;
	close(target->dirfd);
	ReleaseExternalFD();
	target->dirfd = -1;
}
