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
	ie_tokens	suffix;			/* definition.suffix */
	ie_model_info info;			/* its strings lie in strings */
	char	   *strings;
};

#endif							/* IE_MODEL_H */
