/*
 * blas.c
 *	  Loading OpenBLAS: see blas.h.
 *
 * Its constructor starts threads unless OPENBLAS_NUM_THREADS says 1, which the
 * SQL face has set.  Whoever did not gets them under a full signal mask, so that
 * they never run a handler of the host.
 */
#include "math/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#define LIBRARY "libopenblas.so.0"

static void *
load(void)
{
	sigset_t	all;
	sigset_t	saved;
	void	   *library;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	return library;
}

/* *function = the library's function of that name; false if it has none */
static bool
find(void *library, const char *name, void *function)
{
	void	   *symbol = dlsym(library, name);

	memcpy(function, &symbol, sizeof(symbol));
	return symbol != NULL;
}

ie_code
ie_blas_open(ie_blas *blas, ie_error *err)
{
	void	   *library = load();
	void		(*set_num_threads) (int);
	ie_code		code = IE_OK;

	if (library == NULL)
	{
		ie_fail(err, IE_UNSUPPORTED, "could not load library \"%s\"", LIBRARY);
		ie_detail(err, "Training multiplies matrices with OpenBLAS.");
		return ie_hint(err, "Install OpenBLAS; on Debian, the package libopenblas0-pthread.");
	}
	if (find(library, "cblas_sgemm", &blas->sgemm) && find(library, "cblas_dgemm", &blas->dgemm) &&
		find(library, "openblas_set_num_threads", &set_num_threads))
		set_num_threads(1);
	else
		code = ie_fail(err, IE_UNSUPPORTED, "library \"%s\" lacks a function", LIBRARY);
	dlclose(library);			/* stays loaded: RTLD_NODELETE */
	return code;
}
