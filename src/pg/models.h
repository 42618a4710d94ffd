/*
 * models.h
 *	  The models that this backend has open.
 */
#ifndef INSTEMB_MODELS_H
#define INSTEMB_MODELS_H

#include "lib/ilist.h"

#include "pg/host.h"
#include "pg/model_file.h"

/*
 * An open model.  Borrowed from the cache by every caller, and valid until the
 * next call of a function of this header.
 */
typedef struct Model
{
	dlist_node	node;			/* in the cache, most recently used first */
	ModelFile	file;
	MemoryContext context;		/* holds this struct and all the engine allocates */
	Host		host;
	ie_model   *handle;
	ie_model_info info;			/* strings borrowed from handle */
	ie_session *session;		/* NULL until model_session() */
	uint32		session_threads;
	size_t		session_limit;
	char		digits[17];		/* see provenance.c; '' = not computed */
} Model;

/*
 * The model of that name (valid, may be MODEL_DEFAULT), opened if it is not,
 * or opened again if its file has been replaced: since an earlier statement, or
 * a second ago in this one.  ERROR if that fails.
 */
extern Model *model_get(const char *name);

/* The session of a model, made anew if the parameters that shape it changed. */
extern ie_session *model_session(Model *model);

/* The open model with this very file, or NULL. */
extern const Model *model_find_open(const ModelFile *file);

/* Close a model; false if it is not open. */
extern bool model_close(const char *name);

/*
 * Open a file beside the cache, in a child of parent that model_discard()
 * deletes.  False and *failure if it is not a usable model.
 */
extern bool model_open(const ModelFile *file, MemoryContext parent, Model **model,
					   Failure *failure);
extern void model_discard(Model *model);

/* Private memory a model holds, in bytes; the mapped file is not counted. */
extern int64 model_private_bytes(const Model *model);

/* Open the models of instemb.preload; problems are warnings. */
extern void model_preload(void);

#endif							/* INSTEMB_MODELS_H */
