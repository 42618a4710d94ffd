/*
 * install.h
 *	  Making model files in instemb.data_model_dir: see install_fn.c.
 */
#ifndef INSTEMB_INSTALL_H
#define INSTEMB_INSTALL_H

#include "pg/model_file.h"

typedef struct InstallRequest
{
	const char *name;			/* of the new model */
	const ModelFile *base;
	const ModelFile *adapter;	/* NULL = none */
	const ie_metadata *definition;	/* [n_definition] takes the place of the files' own */
	size_t		n_definition;
	bool		replace;
} InstallRequest;

/* ERROR if there is no such directory and it cannot be made. */
extern void install_make_directory(void);

/* Installations wait for each other, until the end of the transaction. */
extern void install_take_lock(void);

/* ERROR if the name is "default", or there is a model of that name and it may not be replaced. */
extern void install_check_name(const char *name, bool replace);

/* The model as a whole or, by ERROR, not at all.  sha256: [65], hash of its file. */
extern void install_model(const InstallRequest *request, char *sha256);

#endif							/* INSTEMB_INSTALL_H */
