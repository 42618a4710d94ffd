/*
 * sha256.h
 *	  SHA-256 (FIPS 180-4) of files and streams: what identifies a model.
 */
#ifndef IE_SHA256_H
#define IE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define IE_SHA256_HEX_SIZE 65	/* with the terminating NUL */

typedef struct ie_sha256
{
	uint32_t	state[8];
	uint64_t	n_bytes;
	uint8_t		block[64];
} ie_sha256;

void		ie_sha256_init(ie_sha256 *s);
void		ie_sha256_update(ie_sha256 *s, const void *data, size_t size);

/* Ends the stream; hex: [IE_SHA256_HEX_SIZE], lower case. */
void		ie_sha256_final_hex(ie_sha256 *s, char *hex);

#endif							/* IE_SHA256_H */
