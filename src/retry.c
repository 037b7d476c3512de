/*-------------------------------------------------------------------------
 *
 * retry.c
 *	  What follows a failure: another try, and when.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "datatype/timestamp.h"

#include "retry.h"

/* However often it has failed, it is tried again after this. */
#define LONGEST_PAUSE	USECS_PER_HOUR

/* Jobs that failed together should not all come back together. */
#define JITTER			0.13

/*
 * Whole classes and single states.  What is not here is permanent: rights, the
 * schema, values that do not fit, a corrupt file.
 */
static const char *const transient_states[] = {
	"08",						/* connection to a foreign server */
	"40",						/* serialization, deadlock, recovery conflict */
	"53",						/* disk full, memory, no free worker or slot */
	"55006",					/* the file is being written or in use */
	"55P03",					/* a lock on the source or on the file */
	"57014",					/* took longer than it may */
	"57P",						/* the server is shutting down, or crashed */
	"58",						/* I/O; a worker that went without a word */
};

bool
retry_is_transient(const char *sqlstate)
{
	/* one that ended without a word */
	if (sqlstate == NULL)
		return true;
	for (size_t i = 0; i < lengthof(transient_states); i++)
	{
		if (strncmp(sqlstate, transient_states[i], strlen(transient_states[i])) == 0)
			return true;
	}
	return false;
}

int64
retry_pause(int attempt, int backoff_ms)
{
	double		pause = ldexp((double) backoff_ms * 1000, Min(Max(attempt, 1) - 1, 64));
	double		jitter = 1 + JITTER * (2 * pg_prng_double(&pg_global_prng_state) - 1);

	return (int64) (Min(pause, (double) LONGEST_PAUSE) * jitter);
}
