/*
 * embed.h
 *	  Texts to vectors: the one way from the SQL face into the engine.
 *
 *		embed_begin(&call, model_get(name), instruction);
 *		embed_texts(&call, inputs, n, vectors);		-- as often as needed
 *		embed_end(&call);
 */
#ifndef INSTEMB_EMBED_H
#define INSTEMB_EMBED_H

#include "portability/instr_time.h"

#include "pg/models.h"
#include "pg/stats.h"

/*
 * Texts given to the engine at a time: a pass that is given up for a harmless
 * interrupt has to be computed again, so a pass should not be too long.
 */
#define EMBED_BATCH 64

typedef struct EmbedCall
{
	Model	   *model;			/* borrowed: no other model may be opened meanwhile */
	ie_text		instruction;
	const int  *elements;		/* [n] of embed_texts(): places in the user's array, from 1;
								 * NULL = there is none */
	bool		of_statement;	/* they are rows of the statement instead */
	CallStats	stats;
	instr_time	start;
} EmbedCall;

extern void embed_begin(EmbedCall *call, Model *model, ie_text instruction);

/*
 * Embed n <= EMBED_BATCH texts into vectors [n, model->info.n_embd].  Looks
 * into the cache of embeddings first, obeys instemb.on_overflow and handles
 * interrupts.  ERROR on failure, also if a text is empty.
 */
extern void embed_texts(EmbedCall *call, const ie_text *inputs, int n, float *vectors);

/* Count and log the call. */
extern void embed_end(EmbedCall *call);

#endif							/* INSTEMB_EMBED_H */
