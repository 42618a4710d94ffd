/*
 * definition.h
 *	  How a model is prompted and pooled: data of the file, never compiled in.
 *
 * A sequence is  [BOS] prefix(instruction)  body(input)  suffix  then the K
 * look-ahead vectors.  The three parts are tokenised separately and
 * concatenated, so that the keys and values of a prefix can be reused exactly.
 *
 * Metadata keys
 *	  instemb.template.prefix		contains {instruction} once
 *	  instemb.template.prefix_empty	used when the instruction is empty
 *	  instemb.template.body			ends with {input}; default "{input}"
 *	  instemb.template.suffix		may be empty
 *	  instemb.pooling				last, mean, lookahead, daap; default last
 *	  instemb.lookahead_count		K; default: the rows of instemb.lookahead
 *
 * prefix, prefix_empty and suffix come together or not at all; files without
 * them get the template of their chat family, recognised by its control
 * tokens.  A placeholder is {name} of lower-case letters and underscores; one
 * that has no meaning where it stands is an error, other braces are literal.
 */
#ifndef IE_DEFINITION_H
#define IE_DEFINITION_H

#include "model/vocab.h"

typedef enum ie_pooling
{
	IE_POOL_LAST,				/* h_last: state at the last token before the look-ahead */
	IE_POOL_MEAN,				/* mean of the states at the body's tokens */
	IE_POOL_LOOKAHEAD,			/* mean(h_1 .. h_K): states at the look-ahead vectors */
	IE_POOL_DAAP				/* n(n(h_last) + n(mean(h_1 .. h_K))), n = unit norm */
} ie_pooling;

typedef struct ie_definition
{
	ie_text		prefix;			/* borrowed from the file, or constant */
	ie_text		prefix_empty;
	ie_text		body;
	ie_text		suffix;
	ie_pooling	pooling;
	uint32_t	lookahead_count;	/* K */
} ie_definition;

/*
 * lookahead_rows: rows of the tensor instemb.lookahead, 0 if there is none.
 *
 * Errors: IE_FORMAT (a key of the wrong type, text that is not UTF-8 or holds a
 * NUL, placeholders, lookahead_count other than lookahead_rows, pooling that
 * needs look-ahead vectors without any), IE_UNSUPPORTED (pooling: named, with
 * the list).
 */
ie_code		ie_definition_load(const gguf_file *file, const ie_vocab *vocab,
							   uint32_t lookahead_rows, ie_definition *definition,
							   ie_error *err);

const char *ie_pooling_name(ie_pooling pooling);

#endif							/* IE_DEFINITION_H */
