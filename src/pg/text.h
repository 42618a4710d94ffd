/*
 * text.h
 *	  Text and vectors between the server's forms and the engine's.
 */
#ifndef INSTEMB_TEXT_H
#define INSTEMB_TEXT_H

#include "instemb.h"
#include "utils/array.h"

/*
 * Bytes in the server's encoding as the engine's UTF-8.  A view of the same
 * bytes where they are UTF-8 already, else a palloc'd conversion.
 */
extern ie_text text_to_utf8(const char *data, int len);

/* The same for a text Datum's content; t is detoasted, and is borrowed. */
extern ie_text text_view(const text *t);

/*
 * A string of unknown origin (a model file, a path) as text that is safe in
 * the server's encoding: the string itself, or a palloc'd copy in which every
 * byte over 127 is '?'.
 */
extern const char *text_mask(const char *string);

/* A new real[] of n elements; *values is where they go. */
extern ArrayType *vector_create(int n, float **values);

/*
 * The elements of a real[] that is a vector: ERROR unless it has one
 * dimension, at least one element and no NULL.  Borrowed.
 */
extern const float *vector_view(ArrayType *array, int *n);

#endif							/* INSTEMB_TEXT_H */
