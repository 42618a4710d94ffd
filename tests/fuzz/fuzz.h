/*
 * fuzz.h
 *	  What fuzz targets share.  A target is a property of one parser, written as
 *	  LLVMFuzzerTestOneInput(); it is linked to libFuzzer for live fuzzing, and to
 *	  driver.c for replaying a corpus.
 *
 * REQUIRE() ends the process, which is how a fuzzer learns of a finding.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "test.h"
#include "model/gguf.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(cond) \
	do { \
		if (!(cond)) \
		{ \
			fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #cond); \
			abort(); \
		} \
	} while (0)

/* A failed parse has a message that may stand in a log, and has kept nothing. */
static inline void
require_error(const test_host_state *state, const ie_error *err, ie_code code, long n_live)
{
	REQUIRE(err->code == code);
	REQUIRE(err->message[0] != '\0');
	for (const char *p = err->message; *p != '\0'; p++)
		REQUIRE(*p >= ' ' && *p <= '~');
	for (const char *p = err->detail; *p != '\0'; p++)
		REQUIRE(*p >= ' ' && *p <= '~');
	REQUIRE(state->n_live == n_live);
}

#endif							/* FUZZ_H */
