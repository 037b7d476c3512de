/*
 * faults.c
 *	  A file system that fails where a test wants it to.
 *
 * Preloaded into a server (LD_PRELOAD), this counts the calls that change or
 * lock a file below one directory, and lets some of them fail, or kills the
 * process at one of them.  A file that LFSYNC_FAULTS names is mapped and says
 * which; the test writes to it while the server runs.  Each process counts its
 * own calls.  No fsync is passed on: these tests are not about a loss of power.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum action
{
	COUNT,						/* do nothing */
	FAIL,						/* calls first to last fail */
	KILL,						/* the process ends before call first */
	LIMIT						/* files may not grow beyond limit bytes */
};

enum kind
{
	WRITE = 1, SYNC = 2, TRUNCATE = 4, CREATE = 8, RENAME = 16, UNLINK = 32, LOCK = 64
};

struct control
{
	int32_t		action;
	int32_t		kinds;			/* of calls that count */
	int32_t		first;
	int32_t		last;
	int32_t		count;			/* out: calls of the last process */
	int32_t		unused;
	int64_t		limit;
	char		directory[512];
};

static struct control *control;
static int32_t calls;

static void __attribute__((constructor))
map_control(void)
{
	const char *path = getenv("LFSYNC_FAULTS");
	int			fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (control == MAP_FAILED)
		control = NULL;
	close(fd);
}

static int
below(const char *path)
{
	size_t		len = strlen(control->directory);

	return len > 0 && strncmp(path, control->directory, len) == 0 && path[len] == '/';
}

/* Bytes of all files in the directory. */
static int64_t
used(void)
{
	DIR		   *dir = opendir(control->directory);
	struct dirent *entry;
	struct stat st;
	int64_t		bytes = 0;

	if (dir == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL)
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			bytes += st.st_size;
	closedir(dir);
	return bytes;
}

/* True if a call on this file is to fail, with errno set. */
static int
fails(int kind, const char *path, int64_t growth)
{
	if (control == NULL || (control->kinds & kind) == 0 || !below(path))
		return 0;
	calls++;
	control->count = calls;
	if (control->action == KILL && calls == control->first)
		kill(getpid(), SIGKILL);
	if ((control->action == FAIL && calls >= control->first && calls <= control->last) ||
		(control->action == LIMIT && growth > 0 && used() + growth > control->limit))
	{
		if (kind == LOCK)
			errno = ENOLCK;
		else
			errno = kind == WRITE || kind == CREATE || control->action == LIMIT ? ENOSPC : EIO;
		return 1;
	}
	return 0;
}

static int
fd_fails(int kind, int fd, int64_t end)
{
	char		link[64];
	char		path[PATH_MAX];
	struct stat st;
	ssize_t		len;
	int			save_errno = errno;
	int			result;

	if (control == NULL || (control->kinds & kind) == 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return 0;
	path[len] = '\0';
	/* a directory that is synced lies "below" itself */
	if (strcmp(path, control->directory) == 0)
		strcat(path, "/.");
	result = fails(kind, path, end > 0 && fstat(fd, &st) == 0 ? end - st.st_size : 0);
	if (!result)
		errno = save_errno;
	return result;
}

static int
at_fails(int kind, int dirfd, const char *name)
{
	char		link[64];
	char		path[PATH_MAX + 256];
	ssize_t		len = 0;

	if (control == NULL || (control->kinds & kind) == 0)
		return 0;
	if (name[0] == '/' || dirfd == AT_FDCWD)
		return fails(kind, name, 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
	len = readlink(link, path, PATH_MAX - 1);
	if (len < 0)
		return 0;
	snprintf(path + len, sizeof(path) - len, "/%.200s", name);
	return fails(kind, path, 0);
}

#define REAL(name) \
	static __typeof__(&name) real; \
	if (real == NULL) \
		real = (__typeof__(&name)) dlsym(RTLD_NEXT, #name)

#define WRAP_PWRITE(name, offset_type) \
ssize_t name(int fd, const void *data, size_t size, offset_type offset) \
{ \
	REAL(name); \
	return fd_fails(WRITE, fd, offset + size) ? -1 : real(fd, data, size, offset); \
}
WRAP_PWRITE(pwrite, off_t)
WRAP_PWRITE(pwrite64, off64_t)

#define WRAP_SYNC(name) \
int name(int fd) \
{ \
	REAL(name); \
	return fd_fails(SYNC, fd, 0) ? -1 : control ? 0 : real(fd); \
}
WRAP_SYNC(fsync)
WRAP_SYNC(fdatasync)

int
flock(int fd, int operation)
{
	REAL(flock);
	return fd_fails(LOCK, fd, 0) ? -1 : real(fd, operation);
}

#define WRAP_TRUNCATE(name, offset_type) \
int name(int fd, offset_type size) \
{ \
	REAL(name); \
	return fd_fails(TRUNCATE, fd, size) ? -1 : real(fd, size); \
}
WRAP_TRUNCATE(ftruncate, off_t)
WRAP_TRUNCATE(ftruncate64, off64_t)

#define WRAP_ALLOCATE(name, offset_type) \
int name(int fd, offset_type offset, offset_type size) \
{ \
	REAL(name); \
	return fd_fails(WRITE, fd, offset + size) ? errno : real(fd, offset, size); \
}
WRAP_ALLOCATE(posix_fallocate, off_t)
WRAP_ALLOCATE(posix_fallocate64, off64_t)

#define WRAP_OPENAT(name) \
int name(int dirfd, const char *path, int flags, ...) \
{ \
	va_list ap; \
	mode_t mode; \
	REAL(name); \
	va_start(ap, flags); \
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0; \
	va_end(ap); \
	if ((flags & O_CREAT) != 0 && at_fails(CREATE, dirfd, path)) \
		return -1; \
	return real(dirfd, path, flags, mode); \
}
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

#define WRAP_OPEN(name) \
int name(const char *path, int flags, ...) \
{ \
	va_list ap; \
	mode_t mode; \
	REAL(name); \
	va_start(ap, flags); \
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0; \
	va_end(ap); \
	if ((flags & O_CREAT) != 0 && at_fails(CREATE, AT_FDCWD, path)) \
		return -1; \
	return real(path, flags, mode); \
}
WRAP_OPEN(open)
WRAP_OPEN(open64)

int
renameat(int olddir, const char *old, int newdir, const char *new)
{
	REAL(renameat);
	return at_fails(RENAME, newdir, new) ? -1 : real(olddir, old, newdir, new);
}

int
renameat2(int olddir, const char *old, int newdir, const char *new, unsigned int flags)
{
	REAL(renameat2);
	return at_fails(RENAME, newdir, new) ? -1 : real(olddir, old, newdir, new, flags);
}

int
unlink(const char *path)
{
	REAL(unlink);
	return at_fails(UNLINK, AT_FDCWD, path) ? -1 : real(path);
}

int
unlinkat(int dirfd, const char *path, int flags)
{
	REAL(unlinkat);
	return at_fails(UNLINK, dirfd, path) ? -1 : real(dirfd, path, flags);
}
