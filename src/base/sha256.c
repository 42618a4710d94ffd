/*
 * sha256.c
 *	  FIPS 180-4, section 6.2, written plainly: it runs over a file once, at
 *	  install or on demand, at the speed of a disk.
 */
#include "base/sha256.h"

#include <string.h>

static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};

static inline uint32_t
rotr(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

/*
 * Round number j modulo 8.  Instead of moving a..h along, their roles move: a
 * is v[-j], b is v[1 - j] and so on, modulo 8.  Unrolled eight times every
 * index is a constant, and v stays in registers.
 */
static inline void
one_round(uint32_t *v, int j, uint32_t k_plus_w)
{
	const uint32_t a = v[(8 - j) & 7];
	const uint32_t b = v[(9 - j) & 7];
	const uint32_t c = v[(10 - j) & 7];
	const uint32_t e = v[(12 - j) & 7];
	const uint32_t f = v[(13 - j) & 7];
	const uint32_t g = v[(14 - j) & 7];
	const uint32_t s1 = rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25);
	const uint32_t ch = g ^ (e & (f ^ g));
	const uint32_t t1 = v[(15 - j) & 7] + s1 + ch + k_plus_w;
	const uint32_t s0 = rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22);
	const uint32_t maj = (a & b) | (c & (a | b));

	v[(11 - j) & 7] += t1;
	v[(15 - j) & 7] = t1 + s0 + maj;
}

static void
compress(uint32_t *state, const uint8_t *block)
{
	uint32_t	w[64];
	uint32_t	v[8];

	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t) block[4 * i] << 24 | (uint32_t) block[4 * i + 1] << 16 |
			(uint32_t) block[4 * i + 2] << 8 | (uint32_t) block[4 * i + 3];
	for (int i = 16; i < 64; i++)
	{
		uint32_t	s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t	s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;

		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
	memcpy(v, state, sizeof(v));
	for (int i = 0; i < 64; i += 8)
#pragma GCC unroll 8
		for (int j = 0; j < 8; j++)
			one_round(v, j, round_constants[i + j] + w[i + j]);
	for (int i = 0; i < 8; i++)
		state[i] += v[i];
}

void
ie_sha256_init(ie_sha256 *s)
{
	static const uint32_t initial[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
	};

	memcpy(s->state, initial, sizeof(initial));
	s->n_bytes = 0;
}

void
ie_sha256_update(ie_sha256 *s, const void *data, size_t size)
{
	const uint8_t *p = data;
	size_t		fill = (size_t) (s->n_bytes % 64);

	s->n_bytes += size;
	while (size > 0)
	{
		size_t		n = 64 - fill;

		if (fill == 0 && size >= 64)
		{
			compress(s->state, p);
			p += 64;
			size -= 64;
			continue;
		}
		if (n > size)
			n = size;
		memcpy(s->block + fill, p, n);
		p += n;
		size -= n;
		fill += n;
		if (fill == 64)
		{
			compress(s->state, s->block);
			fill = 0;
		}
	}
}

void
ie_sha256_final_hex(ie_sha256 *s, char *hex)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t	n_bits = s->n_bytes * 8;
	uint8_t		tail[72] = {0x80};
	size_t		pad = (119 - (size_t) (s->n_bytes % 64)) % 64 + 1;

	for (int i = 0; i < 8; i++)
		tail[pad + (size_t) i] = (uint8_t) (n_bits >> (56 - 8 * i));
	ie_sha256_update(s, tail, pad + 8);
	for (int i = 0; i < 64; i++)
		hex[i] = digits[s->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
	hex[64] = '\0';
}
