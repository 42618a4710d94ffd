/*
 * verify.h
 *	  Checks of a file's body, which opening leaves out: checksums and scales.
 *	  All of them read every byte and poll should_stop on the way.
 */
#ifndef IE_VERIFY_H
#define IE_VERIFY_H

#include "base/file.h"
#include "base/sha256.h"
#include "model/gguf.h"

/*
 * What ie_model_verify() does, for the file that was parsed from map.
 * hex: [IE_SHA256_HEX_SIZE], written on IE_OK: the SHA-256 of the whole file.
 *
 * Errors: IE_FORMAT (instemb.data_sha256 differs, or a scale is not finite),
 * IE_CANCELED.
 */
ie_code		ie_verify_body(const gguf_file *file, const ie_mapping *map, char *hex,
						   ie_error *err);

/* Is every scale (of float types: every value) of a tensor finite?  IE_FORMAT if not. */
ie_code		ie_verify_finite(const ie_host *host, const gguf_tensor *t, ie_error *err);

/* Hash size bytes into sha, polling.  Errors: IE_CANCELED. */
ie_code		ie_hash_bytes(const ie_host *host, ie_sha256 *sha, const uint8_t *bytes,
						  size_t size, ie_error *err);

#endif							/* IE_VERIFY_H */
