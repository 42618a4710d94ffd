/*
 * host.c
 *	  Allocator over a memory context, and the interrupt poll.
 *
 * Neither callback may raise: the allocator answers NULL instead of an ERROR,
 * and the poll only looks.  Interrupts are handled in host_again(), when the
 * engine's frames are gone.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/host.h"

/*
 * Some interrupts end nothing: a barrier, a request to log memory use, the
 * check of client_connection_check_interval.  A pass stopped for one has to be
 * computed again, so a call yields to them a few times only; after that it
 * stops for a cancel, a timeout or a termination alone, and could not be kept
 * from ending by an interrupt that comes at shorter intervals than a pass takes.
 */
#define MAX_REPEATS 2

static void *
host_alloc(void *arg, size_t size)
{
	const Host *host = arg;

	if (!AllocHugeSizeIsValid(size))
		return NULL;
	return MemoryContextAllocExtended(host->context, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
}

static void
host_free(void *arg, void *ptr)
{
	pfree(ptr);
}

static bool
host_should_stop(void *arg)
{
	const Host *host = arg;

	if (!InterruptPending || !INTERRUPTS_CAN_BE_PROCESSED())
		return false;
#if PG_VERSION_NUM >= 170000
	if (TransactionTimeoutPending)
		return true;
#endif
	return host->n_repeats < MAX_REPEATS || QueryCancelPending || ProcDiePending;
}

void
host_init(Host *host, MemoryContext context)
{
	host->services.arg = host;
	host->services.alloc = host_alloc;
	host->services.free = host_free;
	host->services.should_stop = host_should_stop;
	host->context = context;
	host->n_repeats = 0;
}

void
host_begin(Host *host)
{
	host->n_repeats = 0;
}

bool
host_again(Host *host, ie_code code)
{
	if (code != IE_CANCELED)
		return false;
	CHECK_FOR_INTERRUPTS();
	host->n_repeats++;
	return true;
}
