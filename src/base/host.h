/*
 * host.h
 *	  The host's services as the engine uses them.  Engine files never call
 *	  malloc() and friends: everything on the heap comes from the host.
 */
#ifndef IE_HOST_H
#define IE_HOST_H

#include "base/status.h"

#include <string.h>

static inline void *
ie_alloc(const ie_host *host, size_t size)
{
	return host->alloc(host->arg, size > 0 ? size : 1);
}

static inline void *
ie_alloc0(const ie_host *host, size_t size)
{
	void	   *p = ie_alloc(host, size);

	if (p != NULL)
		memset(p, 0, size);
	return p;
}

static inline void
ie_release(const ie_host *host, void *p)
{
	if (p != NULL)
		host->free(host->arg, p);
}

static inline bool
ie_should_stop(const ie_host *host)
{
	return host->should_stop != NULL && host->should_stop(host->arg);
}

/* IE_CANCELED with the message every poll uses. */
static inline ie_code
ie_poll(const ie_host *host, ie_error *err)
{
	if (ie_should_stop(host))
		return ie_fail(err, IE_CANCELED, "canceled");
	return IE_OK;
}

#endif							/* IE_HOST_H */
