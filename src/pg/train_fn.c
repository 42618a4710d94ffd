/*
 * train_fn.c
 *	  instemb_train(), and instemb_train_start() with its background worker.
 *
 * The worker's session is that of the caller's session user, in his database,
 * with his search_path and the parameters that say where models are; the query
 * runs as the role that called.  It is in no transaction while it trains, so it
 * holds back no vacuum.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "pg/guc.h"
#include "pg/train.h"
#include "pg/train_args.h"

#define POLL_MS 10				/* for the worker to have taken its order */

PG_FUNCTION_INFO_V1(instemb_train);
Datum
instemb_train(PG_FUNCTION_ARGS)
{
	TrainSettings settings;
	char	   *query = train_args(fcinfo, &settings);
	char		sha256[65];

	train_run(&settings, query, InvalidOid, sha256);
	PG_RETURN_TEXT_P(cstring_to_text(sha256));
}

/* ---------------------------------------------------------------- the order */

/* Parameters that a worker takes over from the session that starts it */
static const char *const parameters[] = {
	"search_path", "instemb.data_model_dir", "instemb.model_dir", "instemb.max_model_memory"
};

/* In shared memory: then follow the query and the parameters' values, each with its NUL */
typedef struct Order
{
	pg_atomic_uint32 worker;	/* its process ID, once it is connected and has a copy */
	Oid			database;
	Oid			session_role;
	Oid			role;
	TrainSettings settings;
	char		texts[FLEXIBLE_ARRAY_MEMBER];
} Order;

static dsm_segment *
write_order(const TrainSettings *settings, const char *query)
{
	const char *texts[1 + lengthof(parameters)] = {query};
	Size		size = offsetof(Order, texts);
	dsm_segment *segment;
	Order	   *order;
	char	   *to;

	for (int i = 0; i < lengthof(parameters); i++)
		texts[i + 1] = GetConfigOption(parameters[i], false, false);
	for (int i = 0; i < lengthof(texts); i++)
		size += strlen(texts[i]) + 1;
	segment = dsm_create(size, 0);
	order = dsm_segment_address(segment);
	pg_atomic_init_u32(&order->worker, 0);
	order->database = MyDatabaseId;
	order->session_role = GetSessionUserId();
	order->role = GetUserId();
	order->settings = *settings;
	to = order->texts;
	for (int i = 0; i < lengthof(texts); i++)
		to = stpcpy(to, texts[i]) + 1;
	return segment;
}

/* A copy of the query, in the current context; the parameters are set. */
static char *
read_texts(const char *texts)
{
	char	   *query = pstrdup(texts);

	for (int i = 0; i < lengthof(parameters); i++)
	{
		texts += strlen(texts) + 1;
		SetConfigOption(parameters[i], texts, PGC_SUSET, PGC_S_SESSION);
	}
	return query;
}

/* ---------------------------------------------------------------- the worker */

extern PGDLLEXPORT void instemb_train_main(Datum arg);

void
instemb_train_main(Datum arg)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "instemb train",
												  ALLOCSET_DEFAULT_SIZES);
	dsm_segment *segment;
	Order	   *order;
	TrainSettings settings;
	Oid			role;
	char	   *query;
	char		sha256[65];

	/* as in a session: a cancel is an ERROR, a shutdown is noticed where it does no harm */
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	BackgroundWorkerUnblockSignals();

	segment = dsm_attach(DatumGetUInt32(arg));
	if (segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not map dynamic shared memory segment")));
	order = dsm_segment_address(segment);
	BackgroundWorkerInitializeConnectionByOid(order->database, order->session_role, 0);

	MemoryContextSwitchTo(context);
	query = read_texts(order->texts);
	settings = order->settings;
	role = order->role;
	pg_atomic_write_u32(&order->worker, MyProcPid);
	dsm_detach(segment);

	pgstat_report_activity(STATE_RUNNING, query);
	train_run(&settings, query, role, sha256);
	pgstat_report_activity(STATE_IDLE, NULL);
	ereport(LOG,
			(errmsg("model \"%s\" was trained", settings.name)));
}

/* ----------------------------------------------------------------- the start */

static BackgroundWorkerHandle *
launch(const TrainSettings *settings, dsm_segment *segment)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "instemb",
		.bgw_function_name = "instemb_train_main",
		.bgw_type = "instemb train",
		.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment)),
		.bgw_notify_pid = MyProcPid
	};
	BackgroundWorkerHandle *handle;

	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "instemb train %s", settings->name);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a background worker"),
				 errhint("You may need to increase max_worker_processes.")));
	return handle;
}

/*
 * Until the worker has what it needs: then it does not need this session any
 * more.  Gives its process ID.
 */
static int
wait_until_taken(BackgroundWorkerHandle *handle, Order *order)
{
	for (;;)
	{
		pid_t		pid;
		BgwHandleStatus status = GetBackgroundWorkerPid(handle, &pid);
		const uint32 worker = pg_atomic_read_u32(&order->worker);

		if (worker != 0)
			return worker;
		if (status == BGWH_STOPPED || status == BGWH_POSTMASTER_DIED)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("background worker for training could not connect"),
					 errhint("The server's log says why.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

PG_FUNCTION_INFO_V1(instemb_train_start);
Datum
instemb_train_start(PG_FUNCTION_ARGS)
{
	TrainSettings settings;
	char	   *query = train_args(fcinfo, &settings);
	dsm_segment *segment;
	BackgroundWorkerHandle *handle;
	int			pid = 0;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("recovery is in progress"),
				 errdetail("A background worker cannot train during recovery."),
				 errhint("Call instemb_train() instead.")));
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot start a training within security-restricted operation")));
	train_check(&settings);
	segment = write_order(&settings, query);
	handle = launch(&settings, segment);
	PG_TRY();
	{
		pid = wait_until_taken(handle, dsm_segment_address(segment));
	}
	PG_CATCH();
	{
		TerminateBackgroundWorker(handle);
		PG_RE_THROW();
	}
	PG_END_TRY();
	dsm_detach(segment);
	PG_RETURN_INT32(pid);
}
