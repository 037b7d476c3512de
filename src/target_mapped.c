/*-------------------------------------------------------------------------
 *
 * target_mapped.c
 *	  Reading a whole file through a mapping.
 *
 * That saves a copy of every page, and with it most of what counting rows takes.
 * The sizes of all cells are not looked at either: a count asks for none, and a
 * file that nobody else knows has none that somebody has made up.
 *
 * What cannot be read of a mapping comes as SIGBUS, and would take the server
 * down: so a page of zeros takes its place, SQLite goes on, and the run fails
 * with the I/O error that it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target.h"

static volatile sig_atomic_t unreadable = 0;
static struct sigaction default_action;
static uintptr_t page_size;

static void
bus_error(int signo, siginfo_t *info, void *context)
{
	uintptr_t	page = (uintptr_t) info->si_addr & ~(page_size - 1);

	unreadable = 1;
	if (mmap((void *) page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			 -1, 0) == MAP_FAILED)
		(void) sigaction(SIGBUS, &default_action, NULL);
}

void
target_begin_mapped(sqlite3 *db)
{
	struct sigaction action;

	page_size = (uintptr_t) sysconf(_SC_PAGESIZE);
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = bus_error;
	action.sa_flags = SA_SIGINFO | SA_RESTART;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, &default_action) != 0)
		return;
	/* as much as SQLite was compiled to map: 2 GB, unless told otherwise */
	target_run(db, psprintf("PRAGMA cell_size_check = OFF; PRAGMA main.mmap_size = " INT64_FORMAT,
							PG_INT64_MAX),
			   "reading the file");
}

bool
target_unreadable(void)
{
	return unreadable != 0;
}

void
target_check_readable(sqlite3 *db)
{
	if (unreadable)
		target_error(db, SQLITE_IOERR_MMAP, "reading the file");
}

void
target_end_mapped(sqlite3 *db)
{
	target_run(db, "PRAGMA main.mmap_size = 0; PRAGMA cell_size_check = ON", "reading the file");
	(void) sigaction(SIGBUS, &default_action, NULL);
	target_check_readable(db);
}
