/*
 * model.h
 *	  What an opened model is made of.  Immutable after ie_model_open().
 */
#ifndef IE_MODEL_H
#define IE_MODEL_H

#include "base/file.h"
#include "model/definition.h"
#include "model/weights.h"

struct ie_model
{
	const ie_host *host;
	ie_mapping	map;
	gguf_file	file;			/* borrows from map */
	ie_vocab   *vocab;
	ie_config	config;
	ie_weights	weights;		/* borrows from map */
	ie_definition definition;	/* borrows from map */
	ie_tokens	suffix;			/* definition.suffix; empty if that has the instruction in it */
	ie_model_info info;			/* its strings lie in strings */
	char	   *strings;
};

/*
 * Append what a sequence begins with: [BOS] prefix(instruction), or prefix_empty
 * where there is no instruction (prompt.c).  Errors: as ie_vocab_encode().
 */
ie_code		ie_prompt_prefix(const ie_model *model, ie_text instruction, ie_tokens *tokens,
							 ie_error *err);

#endif							/* IE_MODEL_H */
