/*
 * host.h
 *	  What the engine borrows from the backend: memory and the interrupt poll.
 */
#ifndef INSTEMB_HOST_H
#define INSTEMB_HOST_H

#include "instemb.h"

typedef struct Host
{
	ie_host		services;		/* hand &host->services to the engine */
	MemoryContext context;		/* where the engine's memory comes from */
	int			n_repeats;		/* passes of this call that were given up */
} Host;

extern void host_init(Host *host, MemoryContext context);

/*
 * Drive a call of the engine that may answer IE_CANCELED:
 *
 *		host_begin(host);
 *		do
 *			code = api->embed(...);
 *		while (host_again(host, code));
 *
 * host_again() handles the pending interrupt, which usually raises an ERROR,
 * and is true if it was a harmless one after which the call must be repeated.
 */
extern void host_begin(Host *host);
extern bool host_again(Host *host, ie_code code);

#endif							/* INSTEMB_HOST_H */
