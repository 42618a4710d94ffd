/*
 * worker.c
 *	  The background workers: one in each database that has rows in its queue, and
 *	  the launcher, which starts them with the server.
 *
 * A batch is one transaction: rows of the queue are locked, embedded, written
 * and taken out of the queue, or nothing of it happens.  So a crash loses nothing
 * and repeats nothing.  What a batch does is SQL, instemb_work_batch(); it runs
 * as the owner of the table, in a security-restricted operation unless that is a
 * superuser, as logical replication applies changes: the table's triggers are
 * code of its owner, not to be run with this process's rights.
 *
 * An unexpected ERROR ends the process, and the postmaster starts it again after
 * a pause.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "common/relpath.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "pg/embed.h"
#include "pg/queue.h"

/* A worker that has had nothing to do for so long ends, so that its database can be dropped. */
#define IDLE_MS 3000

/* A new worker tries again: the lock may be held by a session that looks for a worker. */
#define LOCK_TRIES 5
#define LOCK_PAUSE_MS 10

/* While there is no free slot for a worker. */
#define LAUNCH_PAUSE_MS 1000

PGDLLEXPORT void instemb_worker_main(Datum arg);
PGDLLEXPORT void instemb_launcher_main(Datum arg);

/* False if it was woken before. */
static bool
pause_ms(long ms)
{
	const int	events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
								   PG_WAIT_EXTENSION);

	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	return (events & WL_LATCH_SET) == 0;
}

static void
handle_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/* A worker whose database was dropped is started again as long as it fails. */
static bool
database_exists(const WorkerPlace *place)
{
	char		path[MAXPGPATH];
	struct stat st;

	snprintf(path, sizeof(path), "%s/PG_VERSION",
			 GetDatabasePath(place->database, place->tablespace));
	return stat(path, &st) == 0 || errno != ENOENT;
}

static bool
try_lock(QueueLock lock)
{
	LOCKTAG		tag;

	queue_lock_tag(&tag, lock);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
unlock(QueueLock lock)
{
	LOCKTAG		tag;

	queue_lock_tag(&tag, lock);
	LockRelease(&tag, ExclusiveLock, true);
}

/* True once this is the database's only worker. */
static bool
become_worker(void)
{
	for (int i = 0; i < LOCK_TRIES; i++)
	{
		if (try_lock(QUEUE_LOCK_WORKER))
			return true;
		pause_ms(LOCK_PAUSE_MS);
	}
	return false;
}

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end_transaction(void)
{
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(true);
}

/* The extension's schema, quoted; NULL if it is not here, or has no queue. */
static char *
find_schema(void)
{
	if (SPI_execute("SELECT pg_catalog.quote_ident(n.nspname) "
					"FROM pg_catalog.pg_extension AS e "
					"JOIN pg_catalog.pg_class AS c ON c.relnamespace = e.extnamespace "
					"JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace "
					"WHERE e.extname = 'instemb' AND c.relname = 'instemb_queue'",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for the extension");
	if (SPI_processed == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* A column that has rows to be embedded now. */
typedef struct Column
{
	Datum		relation;
	Datum		target;
	Oid			owner;			/* InvalidOid: the table is gone */
} Column;

static bool
find_column(const char *schema, Column *column)
{
	char	   *sql = psprintf("SELECT q.relation, q.target, c.relowner FROM %s.instemb_queue AS q "
							   "LEFT JOIN pg_catalog.pg_class AS c ON c.oid = q.relation "
							   "WHERE q.next_at IS NULL OR q.next_at <= pg_catalog.now() "
							   "LIMIT 1 FOR UPDATE OF q SKIP LOCKED", schema);
	HeapTuple	row;
	TupleDesc	desc;
	Datum		owner;
	bool		isnull;

	if (SPI_execute(sql, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the queue");
	if (SPI_processed == 0)
		return false;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	column->relation = SPI_getbinval(row, desc, 1, &isnull);
	column->target = SPI_getbinval(row, desc, 2, &isnull);
	owner = SPI_getbinval(row, desc, 3, &isnull);
	column->owner = isnull ? InvalidOid : DatumGetObjectId(owner);
	return true;
}

/* Run a statement with parameters $1 relation, $2 target, $3 the size of a batch. */
static void
run_for_column(const char *sql, const Column *column)
{
	Oid			types[] = {OIDOID, INT2OID, INT4OID};
	Datum		values[] = {column->relation, column->target, Int32GetDatum(EMBED_BATCH)};

	if (SPI_execute_with_args(sql, lengthof(types), types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not run: %s", sql);
}

static void
work_as_owner(const char *schema, const Column *column)
{
	Oid			user;
	int			context;
	int			level = NewGUCNestLevel();
	int			restricted = superuser_arg(column->owner) ? 0 : SECURITY_RESTRICTED_OPERATION;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(column->owner,
						   context | SECURITY_LOCAL_USERID_CHANGE | restricted);
	run_for_column(psprintf("SELECT %s.instemb_work_batch($1, $2, $3, "
							"pg_catalog.current_setting('search_path'))", schema), column);
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
}

/* One batch; false if there is nothing to be done now, or no extension any more. */
static bool
work(bool *is_installed)
{
	Column		column;
	char	   *schema;
	bool		found = false;

	begin_transaction();
	schema = find_schema();
	*is_installed = schema != NULL;
	if (schema != NULL && find_column(schema, &column))
	{
		found = true;
		pgstat_report_activity(STATE_RUNNING, "embedding rows of the queue");
		if (OidIsValid(column.owner))
			work_as_owner(schema, &column);
		else
			run_for_column(psprintf("DELETE FROM %s.instemb_queue WHERE relation = $1 "
									"AND $2 IS NOT NULL AND $3 > 0", schema), &column);
	}
	end_transaction();
	pgstat_report_activity(STATE_IDLE, NULL);
	return found;
}

/* Milliseconds until a row of the queue is due; -1 if none will be. */
static int64
next_due(void)
{
	char	   *schema;
	bool		isnull = true;
	Datum		ms = (Datum) 0;

	begin_transaction();
	schema = find_schema();
	if (schema != NULL)
	{
		/* one that is due, but was not found, is being worked on elsewhere */
		char	   *sql = psprintf("SELECT pg_catalog.ceil(1000 * pg_catalog.min(greatest(1, "
								   "extract(epoch FROM q.next_at - pg_catalog.clock_timestamp()))))"
								   "::pg_catalog.int8 FROM %s.instemb_queue AS q "
								   "WHERE q.next_at IS NULL OR q.next_at < 'infinity'", schema);

		if (SPI_execute(sql, false, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not read the queue");
		ms = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	}
	end_transaction();
	return isnull ? -1 : DatumGetInt64(ms);
}

/*
 * End, unless rows came meanwhile.  No transaction that put some into the queue
 * is between looking for this worker and its commit.
 */
static void
end_if_idle(void)
{
	if (!try_lock(QUEUE_LOCK_FILLING))
		return;
	if (next_due() < 0)
		proc_exit(0);
	unlock(QUEUE_LOCK_FILLING);
}

void
instemb_worker_main(Datum arg)
{
	WorkerPlace place;
	bool		is_installed;

	memcpy(&place, MyBgworkerEntry->bgw_extra, sizeof(place));
	handle_signals();
	if (!database_exists(&place))
		proc_exit(0);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET,
					PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	BackgroundWorkerInitializeConnectionByOid(place.database, InvalidOid, 0);
	if (!become_worker())
		proc_exit(0);
	for (;;)
	{
		int64		due;

		CHECK_FOR_INTERRUPTS();
		if (work(&is_installed))
			continue;
		if (!is_installed)
			proc_exit(0);
		due = next_due();
		if (pause_ms(due < 0 ? IDLE_MS : due) && due < 0)
			end_if_idle();
	}
}

/* The databases that can be connected to, as WorkerPlace. */
static List *
list_databases(void)
{
	List	   *places = NIL;
	MemoryContext context = CurrentMemoryContext;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old_context;
		WorkerPlace *place;

		if (!database->datallowconn || database->datistemplate)
			continue;
		old_context = MemoryContextSwitchTo(context);
		place = palloc(sizeof(WorkerPlace));
		place->database = database->oid;
		place->tablespace = database->dattablespace;
		places = lappend(places, place);
		MemoryContextSwitchTo(old_context);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return places;
}

/* Start a worker in each database; those that find nothing to do end at once. */
void
instemb_launcher_main(Datum arg)
{
	ListCell   *cell;

	handle_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	foreach(cell, list_databases())
	{
		const WorkerPlace *place = lfirst(cell);

		while (!queue_start_worker(place->database, place->tablespace))
			pause_ms(LAUNCH_PAUSE_MS);
	}
	proc_exit(0);
}
