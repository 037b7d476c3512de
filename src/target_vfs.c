/*-------------------------------------------------------------------------
 *
 * target_vfs.c
 *	  Writing neighbours together.
 *
 * SQLite writes page by page, and its rollback journal in three pieces for each
 * of them, which the kernel takes longer over than over the bytes.  This VFS
 * (https://www.sqlite.org/vfs.html) keeps what is written to the database and
 * its journal as long as each piece goes on where the last one ended, and hands
 * it to SQLite's own VFS before anybody could tell the difference: before it is
 * read, synced, truncated, mapped or unlocked, and before its size is asked.
 *
 * The system is told to begin with what has been handed to it, when that is
 * much, so that a sync has less to wait for.
 *
 * SQLite orders the writes of two files by syncing the first, and so does this.
 * What fails late is the failure of the call that it was due before; where SQLite
 * would not listen, of the next one as well.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "target.h"

#define VFS_NAME		"lfsync"

/* SQLite's own VFS passes on 17 bits of a length, and cuts longer ones. */
#define GATHERED_SIZE	(124 * 1024)

/* Begun with as a whole: each time takes the kernel a while. */
#define WRITEBACK_SIZE	(1024 * 1024)

typedef struct GatheringFile
{
	sqlite3_file base;			/* must be first */
	sqlite3_file *real;			/* behind this struct */
	int			fd;				/* another descriptor of a database, or -1 */
	sqlite3_int64 offset;		/* of what has been gathered */
	int			len;
	int			error;			/* that nobody has heard of yet, or SQLITE_OK */
	char	   *data;
	sqlite3_int64 handed_on;	/* where what has not been begun with begins */
	int			handed_len;
} GatheringFile;

static sqlite3_vfs gathering_vfs;
static sqlite3_vfs *real_vfs = NULL;

/* One database and its journal are open at a time. */
static char gathered[2][GATHERED_SIZE];

/* Not more than a hint: what is left over is the sync's, which tells what fails. */
static void
begin_writeback(GatheringFile *file)
{
#ifdef HAVE_SYNC_FILE_RANGE
	if (file->fd < 0)
		return;
	if (file->offset != file->handed_on + file->handed_len)
	{
		file->handed_on = file->offset;
		file->handed_len = 0;
	}
	file->handed_len += file->len;
	if (file->handed_len < WRITEBACK_SIZE)
		return;
	(void) sync_file_range(file->fd, file->handed_on, file->handed_len, SYNC_FILE_RANGE_WRITE);
	file->handed_on += file->handed_len;
	file->handed_len = 0;
#endif
}

static void
hand_on(GatheringFile *file)
{
	if (file->len > 0 && file->error == SQLITE_OK)
	{
		file->error = file->real->pMethods->xWrite(file->real, file->data, file->len, file->offset);
		begin_writeback(file);
	}
	file->len = 0;
}

/* The same for a caller who listens. */
static int
hand_on_and_tell(GatheringFile *file)
{
	int			rc;

	hand_on(file);
	rc = file->error;
	file->error = SQLITE_OK;
	return rc;
}

static int
vfs_close(sqlite3_file *base)
{
	GatheringFile *file = (GatheringFile *) base;
	int			rc = hand_on_and_tell(file);
	int			closed = file->real->pMethods->xClose(file->real);

	/* not earlier: to close any descriptor of a file gives its locks back */
	if (file->fd >= 0)
		close(file->fd);
	return rc != SQLITE_OK ? rc : closed;
}

static int
vfs_read(sqlite3_file *base, void *data, int len, sqlite3_int64 offset)
{
	GatheringFile *file = (GatheringFile *) base;
	int			rc = SQLITE_OK;

	/* what could not be written must not be read as it was before */
	if (file->error != SQLITE_OK ||
		(offset < file->offset + file->len && file->offset < offset + len))
		rc = hand_on_and_tell(file);
	if (rc != SQLITE_OK)
		return rc;
	return file->real->pMethods->xRead(file->real, data, len, offset);
}

static int
vfs_write(sqlite3_file *base, const void *data, int len, sqlite3_int64 offset)
{
	GatheringFile *file = (GatheringFile *) base;
	int			rc = SQLITE_OK;

	if (file->error != SQLITE_OK ||
		offset != file->offset + file->len || file->len + len > GATHERED_SIZE)
		rc = hand_on_and_tell(file);
	if (rc != SQLITE_OK)
		return rc;
	if (len > GATHERED_SIZE)
		return file->real->pMethods->xWrite(file->real, data, len, offset);
	if (file->len == 0)
		file->offset = offset;
	memcpy(file->data + file->len, data, len);
	file->len += len;
	return SQLITE_OK;
}

/* The other methods: first what has been gathered, then what SQLite does. */
#define HANDED_ON(method, parameters, ...) \
static int \
vfs_##method parameters \
{ \
	GatheringFile *file = (GatheringFile *) base; \
	int			rc = hand_on_and_tell(file); \
	if (rc != SQLITE_OK) \
		return rc; \
	return file->real->pMethods->x##method(file->real, ##__VA_ARGS__); \
}

HANDED_ON(Truncate, (sqlite3_file *base, sqlite3_int64 size), size)
HANDED_ON(Sync, (sqlite3_file *base, int flags), flags)
HANDED_ON(FileSize, (sqlite3_file *base, sqlite3_int64 *size), size)
HANDED_ON(Lock, (sqlite3_file *base, int level), level)
HANDED_ON(CheckReservedLock, (sqlite3_file *base, int *reserved), reserved)
HANDED_ON(ShmMap, (sqlite3_file *base, int page, int size, int extend, void volatile **at), page, size, extend, at)
HANDED_ON(ShmLock, (sqlite3_file *base, int offset, int n, int flags), offset, n, flags)
HANDED_ON(Fetch, (sqlite3_file *base, sqlite3_int64 offset, int len, void **at), offset, len, at)

/* A lock has to go whatever has failed. */
static int
vfs_Unlock(sqlite3_file *base, int level)
{
	GatheringFile *file = (GatheringFile *) base;
	int			unlocked;

	hand_on(file);
	unlocked = file->real->pMethods->xUnlock(file->real, level);
	return file->error != SQLITE_OK ? file->error : unlocked;
}

/* Of most SQLite does not want to know whether they worked. */
static int
vfs_FileControl(sqlite3_file *base, int op, void *arg)
{
	GatheringFile *file = (GatheringFile *) base;
	int			rc;

	hand_on(file);
	rc = file->error;
	if (op == SQLITE_FCNTL_SYNC)
		file->error = SQLITE_OK;
	if (rc != SQLITE_OK)
		return rc;
	return file->real->pMethods->xFileControl(file->real, op, arg);
}

static int
vfs_Unfetch(sqlite3_file *base, sqlite3_int64 offset, void *at)
{
	GatheringFile *file = (GatheringFile *) base;

	return file->real->pMethods->xUnfetch(file->real, offset, at);
}

static int
vfs_ShmUnmap(sqlite3_file *base, int delete)
{
	GatheringFile *file = (GatheringFile *) base;

	return file->real->pMethods->xShmUnmap(file->real, delete);
}

static void
vfs_ShmBarrier(sqlite3_file *base)
{
	GatheringFile *file = (GatheringFile *) base;

	file->real->pMethods->xShmBarrier(file->real);
}

static int
vfs_SectorSize(sqlite3_file *base)
{
	GatheringFile *file = (GatheringFile *) base;

	return file->real->pMethods->xSectorSize(file->real);
}

static int
vfs_DeviceCharacteristics(sqlite3_file *base)
{
	GatheringFile *file = (GatheringFile *) base;

	return file->real->pMethods->xDeviceCharacteristics(file->real);
}

static const sqlite3_io_methods gathering_methods = {
	.iVersion = 3,
	.xClose = vfs_close,
	.xRead = vfs_read,
	.xWrite = vfs_write,
	.xTruncate = vfs_Truncate,
	.xSync = vfs_Sync,
	.xFileSize = vfs_FileSize,
	.xLock = vfs_Lock,
	.xUnlock = vfs_Unlock,
	.xCheckReservedLock = vfs_CheckReservedLock,
	.xFileControl = vfs_FileControl,
	.xSectorSize = vfs_SectorSize,
	.xDeviceCharacteristics = vfs_DeviceCharacteristics,
	.xShmMap = vfs_ShmMap,
	.xShmLock = vfs_ShmLock,
	.xShmBarrier = vfs_ShmBarrier,
	.xShmUnmap = vfs_ShmUnmap,
	.xFetch = vfs_Fetch,
	.xUnfetch = vfs_Unfetch,
};

static int
vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out_flags)
{
	GatheringFile *file = (GatheringFile *) base;
	int			rc;

	/* temporary files and write-ahead logs are none of ours */
	if ((flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL)) == 0)
		return real_vfs->xOpen(real_vfs, name, base, flags, out_flags);
	memset(file, 0, sizeof(*file));
	file->real = (sqlite3_file *) (file + 1);
	file->data = gathered[(flags & SQLITE_OPEN_MAIN_JOURNAL) != 0];
	file->fd = -1;
	rc = real_vfs->xOpen(real_vfs, name, file->real, flags, out_flags);
	if (rc == SQLITE_OK && (flags & SQLITE_OPEN_MAIN_DB))
		file->fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (file->real->pMethods)
		file->base.pMethods = &gathering_methods;
	return rc;
}

int
target_descriptor(sqlite3 *db)
{
	sqlite3_file *file;

	if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
		file->pMethods != &gathering_methods)
		return -1;
	return ((GatheringFile *) file)->fd;
}

const char *
target_vfs(void)
{
	if (real_vfs == NULL)
	{
		real_vfs = sqlite3_vfs_find("unix");
		gathering_vfs = *real_vfs;
		gathering_vfs.zName = VFS_NAME;
		gathering_vfs.pNext = NULL;
		gathering_vfs.szOsFile = sizeof(GatheringFile) + real_vfs->szOsFile;
		gathering_vfs.xOpen = vfs_open;
		if (sqlite3_vfs_register(&gathering_vfs, 0) != SQLITE_OK)
			return "unix";
	}
	return VFS_NAME;
}
