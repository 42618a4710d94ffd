/*
 * provenance.h
 *	  What made an embedding: model, instruction and time, as jsonb.
 *
 *		{"model": "name", "sha256": "9f86d081884c7d65", "instruction": "md5", "at": "time"}
 *
 * sha256 has the first 16 digits of the hash of the model's file: what counts,
 * as a file may be replaced under its name.  instruction is md5() of it.
 */
#ifndef INSTEMB_PROVENANCE_H
#define INSTEMB_PROVENANCE_H

#include "pg/models.h"

#define PROVENANCE_DIGITS 16

/* The column's value for embeddings made now, a jsonb Datum. */
extern Datum provenance_create(Model *model, const char *instruction);

/* ERROR unless the hash of the model's file begins with these digits. */
extern void provenance_check(Model *model, const char *sha256);

#endif							/* INSTEMB_PROVENANCE_H */
