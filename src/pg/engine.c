/*
 * engine.c
 *	  Opening instemb_engine.so, as PostgreSQL opens its JIT provider.
 *
 * The engine starts threads, and may bring OpenBLAS, which starts some from its
 * constructor.  So neither may be a dependency of this library, which the
 * postmaster loads if it is named in shared_preload_libraries: a thread there
 * would leave every forked child with a team that does not exist.  The module
 * is opened in the backend, with signals blocked, so that a thread born in a
 * constructor inherits a full mask and never runs one of the backend's handlers.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <signal.h>

#include "miscadmin.h"

#include "pg/engine.h"

#ifndef DLSUFFIX
#define DLSUFFIX ".so"
#endif

static const ie_api *engine;

/* The engine lies beside this library, wherever that was installed. */
static bool
engine_path(char *path, Failure *failure)
{
	Dl_info		info;

	if (dladdr((const void *) engine_open, &info) == 0 || info.dli_fname == NULL)
		return failure_set(failure, ERRCODE_INTERNAL_ERROR,
						   "could not find the directory of library \"instemb\"");
	strlcpy(path, info.dli_fname, MAXPGPATH);
	get_parent_directory(path);
	join_path_components(path, path, "instemb_engine" DLSUFFIX);
	return true;
}

static void *
open_masked(const char *path)
{
	sigset_t	all;
	sigset_t	old;
	void	   *module;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	setenv("OPENBLAS_NUM_THREADS", "1", 0);
	module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return module;
}

const ie_api *
engine_open(Failure *failure)
{
	char		path[MAXPGPATH];
	void	   *module;
	ie_engine_fn entry;
	const ie_api *api;

	if (engine != NULL)
		return engine;
	if (IsPostmasterEnvironment && !IsUnderPostmaster)
	{
		failure_set(failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"the embedding engine cannot be loaded in the postmaster");
		return NULL;
	}
	if (!engine_path(path, failure))
		return NULL;
	module = open_masked(path);
	if (module == NULL)
	{
		failure_set(failure, ERRCODE_UNDEFINED_FILE, "could not load library \"%s\": %s",
					path, dlerror());
		return NULL;
	}
	entry = (ie_engine_fn) dlsym(module, IE_ENGINE_SYMBOL);
	api = entry != NULL ? entry() : NULL;
	if (api == NULL || api->version != IE_API_VERSION)
	{
		dlclose(module);
		failure_set(failure, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"library \"%s\" does not belong to this version of instemb", path);
		strlcpy(failure->error.hint, "Install instemb again.", sizeof(failure->error.hint));
		return NULL;
	}
	engine = api;
	return engine;
}

const ie_api *
engine_api(void)
{
	Failure		failure;

	if (engine_open(&failure) == NULL)
		failure_report(ERROR, &failure);
	return engine;
}
