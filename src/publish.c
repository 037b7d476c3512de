/*-------------------------------------------------------------------------
 *
 * publish.c
 *	  A new file: built under a temporary name, then published under its own.
 *
 * Replacing a file by rename is safe only if nobody has the old one open: an
 * old handle would look for its journal by name and find the new file's, take
 * it for its own and roll it back into the old inode.  A write lease on the
 * old file (fcntl(2), F_SETLEASE) tells: the kernel grants it only while no
 * other descriptor of the file exists, and holds up whoever opens the file
 * until it is given back.  Where no lease is to be had the new content is
 * copied over the old in one SQLite transaction, which any reader survives.
 *
 * The temporary file is locked with flock(2) as long as its writer lives.
 * That is how a later run knows an orphan from a neighbour's file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "publish.h"
#include "target.h"

#define TEMP_RANDOM		8		/* digits behind the infix */

/* What the system said about a file, with the next step. */
static void
refuse(int errnum, const char *message)
{
	bool		full = errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG;

	errno = errnum;
	ereport(ERROR,
			(full ? errcode(ERRCODE_DISK_FULL) : errcode_for_file_access(),
			 errmsg("%s: %m", message),
			 full ? errhint("Free some room on the file system of the target, or choose another one.") :
			 errhint("Look at the directory, its file system and the system's log, or choose another file.")));
}

/* Hidden, beside the target, recognisable as ours and as this target's. */
static void
temp_prefix(const TargetPath *target, char *prefix, size_t size)
{
	snprintf(prefix, size, ".%s" PATH_TEMP_INFIX, target->name);
}

/* The prefix, TEMP_RANDOM hexadecimal digits, and no more. */
static bool
is_temp_name(const char *name, const char *prefix)
{
	size_t		len = strlen(prefix);

	return strncmp(name, prefix, len) == 0 &&
		strlen(name + len) == TEMP_RANDOM &&
		strspn(name + len, "0123456789abcdef") == TEMP_RANDOM;
}

/* The side files first: without the file itself nobody would find them. */
static bool
remove_with_side_files(int dirfd, const char *name)
{
	static const char *const suffixes[] = {"-journal", "-wal", "-shm"};
	char		side[NAME_MAX + 1];

	for (size_t i = 0; i < lengthof(suffixes); i++)
	{
		snprintf(side, sizeof(side), "%s%s", name, suffixes[i]);
		(void) unlinkat(dirfd, side, 0);
	}
	return unlinkat(dirfd, name, 0) == 0;
}

/*
 * SQLite sorts in files that it removes as soon as they are open.  One that is
 * there and empty was left between the two by a process that was killed; if it
 * is somebody's who is about to remove it, it may as well go now.
 */
static bool
is_sort_file(int dirfd, const char *name)
{
	struct stat st;

	return strncmp(name, "etilqs_", 7) == 0 &&
		fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISREG(st.st_mode) && st.st_size == 0 && st.st_uid == geteuid();
}

/* Removes what killed runs have left; failures are for the log only. */
void
newfile_remove_orphans(const TargetPath *target)
{
	char		prefix[NAME_MAX + 32];
	int			fd = openat(target->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR		   *dir;
	struct dirent *entry;

	if (fd < 0)
		return;
	dir = fdopendir(fd);
	if (dir == NULL)
	{
		close(fd);
		return;
	}
	temp_prefix(target, prefix, sizeof(prefix));
	while ((entry = readdir(dir)) != NULL)
	{
		int			orphan;

		if (is_sort_file(target->dirfd, entry->d_name))
			(void) unlinkat(target->dirfd, entry->d_name, 0);
		if (!is_temp_name(entry->d_name, prefix))
			continue;
		orphan = openat(target->dirfd, entry->d_name,
						O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (orphan < 0)
			continue;
		if (flock(orphan, LOCK_EX | LOCK_NB) == 0 &&
			remove_with_side_files(target->dirfd, entry->d_name))
			ereport(LOG,
					(errmsg("removed \"%s\", which an interrupted run had left beside \"%s\"",
							entry->d_name, target->path)));
		close(orphan);
	}
	closedir(dir);
}

NewFile *
newfile_create(const TargetPath *target, uint32 page_size)
{
	NewFile    *file = palloc0(sizeof(NewFile));
	char		prefix[NAME_MAX + 32];
	pg_prng_state prng;
	struct stat st;

	if (!target->exists)
		path_refuse_stray(target);
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not reserve a file descriptor for \"%s\"",
						target->path),
				 errhint("Raise max_files_per_process.")));

	file->page_size = page_size;
	temp_prefix(target, prefix, sizeof(prefix));
	pg_prng_seed(&prng, GetCurrentTimestamp() ^ ((uint64) MyProcPid << 32));
	do
	{
		snprintf(file->name, sizeof(file->name), "%s%08x", prefix,
				 pg_prng_uint32(&prng));
		snprintf(file->path, sizeof(file->path), "%.*s%s",
				 (int) (strlen(target->path) - strlen(target->name)),
				 target->path, file->name);
		file->fd = openat(target->dirfd, file->name,
						  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
						  S_IRUSR | S_IWUSR);
		if (file->fd < 0)
		{
			int			errnum = errno;

			if (errnum == EEXIST)
				continue;
			ReleaseExternalFD();
			refuse(errnum, psprintf("could not create a file in the directory of \"%s\"",
									target->path));
		}

		/*
		 * Another run's clean-up may have been faster than our lock.  On a
		 * file system without such locks it gets none either, and then
		 * removes nothing.
		 */
		while (flock(file->fd, LOCK_EX) != 0 && errno == EINTR)
			;
		if (fstat(file->fd, &st) == 0 && st.st_nlink == 0)
		{
			close(file->fd);
			file->fd = -1;
		}
	} while (file->fd < 0);
	return file;
}

void
newfile_write(NewFile *file, const void *pages, uint32 first_page,
			  uint32 npages)
{
	const char *data = pages;
	size_t		left = (size_t) npages * file->page_size;
	off_t		offset = (off_t) (first_page - 1) * file->page_size;

	while (left > 0)
	{
		ssize_t		written = pwrite(file->fd, data, left, offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			refuse(written == 0 ? ENOSPC : errno,
				   psprintf("could not write to \"%s\"", file->path));
		data += written;
		left -= written;
		offset += written;
	}
	/* let the disk begin now, so that fsync has less to wait for at the end */
	pg_flush_data(file->fd, (off_t) (first_page - 1) * file->page_size,
				  (off_t) npages * file->page_size);
}

void
newfile_truncate(NewFile *file, uint32 page_count)
{
	if (ftruncate(file->fd, (off_t) page_count * file->page_size) != 0)
		refuse(errno, psprintf("could not truncate \"%s\"", file->path));
}

static void
sync_or_throw(int fd, const char *path)
{
	if (pg_fsync(fd) != 0)
		refuse(errno, psprintf("could not fsync \"%s\"", path));
}

/* Gives a name that nobody has yet; false if somebody has. */
static bool
rename_no_replace(const TargetPath *target, const char *from)
{
#ifdef RENAME_NOREPLACE
	if (renameat2(target->dirfd, from, target->dirfd, target->name,
				  RENAME_NOREPLACE) == 0)
		return true;
	if (errno == EEXIST)
		return false;
	if (errno != EINVAL && errno != ENOSYS)
		refuse(errno, psprintf("could not rename \"%s\" to \"%s\"", from, target->path));
#endif
	/* a file system without the flag: link and unlink come to the same */
	if (linkat(target->dirfd, from, target->dirfd, target->name, 0) != 0)
	{
		if (errno == EEXIST)
			return false;
		refuse(errno, psprintf("could not link \"%s\" to \"%s\"", from, target->path));
	}
	(void) unlinkat(target->dirfd, from, 0);
	return true;
}

/*
 * Renames over a file that nobody has open, or removes it ("from" is NULL);
 * false if somebody has, or if that cannot be known.
 */
static bool
replace_unused(const TargetPath *target, const char *from)
{
	bool		replaced = false;
	bool		changed = false;
	int			old = openat(target->dirfd, target->name,
							 O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (old < 0)
		return false;
	if (fcntl(old, F_SETLEASE, F_WRLCK) == 0)
	{
		/* with side files somebody's transaction may still be under way */
		bool		sole = !path_has_side_file(target) && path_unchanged(target);

		changed = sole && target_schema_changed(NULL, old);

		/*
		 * Who tries to open the file now gets the old one when the lease
		 * ends: asked last, so that there is next to no time for that.
		 */
		if (sole && !changed && fcntl(old, F_GETLEASE) == F_WRLCK)
		{
			if ((from ? renameat(target->dirfd, from, target->dirfd, target->name) :
				 unlinkat(target->dirfd, target->name, 0)) != 0)
			{
				int			errnum = errno;

				close(old);
				refuse(errnum, from ?
					   psprintf("could not rename \"%s\" to \"%s\"", from, target->path) :
					   psprintf("could not remove \"%s\"", target->path));
			}
			replaced = true;
		}
		(void) fcntl(old, F_SETLEASE, F_UNLCK);
	}
	close(old);
	if (changed)
		target_refuse_changed(target->path);
	return replaced;
}

void
newfile_publish(NewFile *file, TargetPath *target, const SyncOptions *options)
{
	if (fchmod(file->fd, options->file_mode) != 0)
		refuse(errno, psprintf("could not set the mode of \"%s\"", file->path));
	sync_or_throw(file->fd, file->path);

	if (!target->exists)
	{
		path_refuse_stray(target);
		if (!rename_no_replace(target, file->name))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_FILE),
					 errmsg("file \"%s\" has appeared while it was being built",
							target->path),
					 errhint("Remove it, or run again to replace it if it is lfsync's.")));
	}
	else if (!replace_unused(target, file->name))
	{
		if (!path_unchanged(target))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("file \"%s\" was replaced or removed by somebody else during the run",
							target->path),
					 errhint("Run again.")));
		target_copy_over(file->path, target, options);
		/* one in WAL mode was read through side files of its own */
		(void) remove_with_side_files(target->dirfd, file->name);
	}
	sync_or_throw(target->dirfd, target->path);
	close(file->fd);
	ReleaseExternalFD();
	file->fd = -1;
}

void
publish_remove(const TargetPath *target)
{
	if (!replace_unused(target, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("file \"%s\" is in use", target->path),
				 errdetail("Somebody has it open, or its file system cannot tell whether anybody has."),
				 errhint("Try again when nobody reads it, or drop the job without its file and remove that by hand.")));
	sync_or_throw(target->dirfd, target->path);
}

void
newfile_discard(NewFile *file, const TargetPath *target)
{
	if (file->fd < 0)
		return;
	(void) remove_with_side_files(target->dirfd, file->name);
	close(file->fd);
	ReleaseExternalFD();
	file->fd = -1;
}
