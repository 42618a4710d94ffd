/*
 * engine.h
 *	  The engine's module, opened at first use.
 */
#ifndef INSTEMB_ENGINE_H
#define INSTEMB_ENGINE_H

#include "pg/failure.h"

/* The engine's functions; ERROR if the module cannot be opened. */
extern const ie_api *engine_api(void);

/* The same without raising: NULL and *failure. */
extern const ie_api *engine_open(Failure *failure);

#endif							/* INSTEMB_ENGINE_H */
