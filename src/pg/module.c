/*
 * module.c
 *	  Loading of instemb.so, and its version.
 *
 * The library is thin on purpose: it may be loaded into the postmaster
 * (shared_preload_libraries), where no thread may be started and no model be
 * opened.  So _PG_init() defines parameters, and opens models only in a
 * session that asks for it; the engine is a module of its own (engine.c).
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/engine.h"
#include "pg/guc.h"
#include "pg/models.h"
#include "pg/queue.h"

#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = "instemb", .version = INSTEMB_VERSION);
#else
PG_MODULE_MAGIC;
#endif

extern void _PG_init(void);

void
_PG_init(void)
{
	guc_init();
	if (process_shared_preload_libraries_in_progress)
		queue_register_launcher();
	model_preload();
}

PG_FUNCTION_INFO_V1(instemb_version);
Datum
instemb_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("instemb %s, %s kernels", INSTEMB_VERSION,
											  engine_api()->cpu_level())));
}
