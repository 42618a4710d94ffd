/*
 * random.h
 *	  Random numbers by counter: a value is a function of its key and number, so
 *	  that whatever is computed twice, in whatever order, is the same.
 *
 * SplitMix64 (Steele, Lea and Flood 2014).
 */
#ifndef IE_RANDOM_H
#define IE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* What a key is for: keys of different use are independent */
enum
{
	IE_RANDOM_PARAMS = 1, IE_RANDOM_BATCH, IE_RANDOM_DROPOUT
};

static inline uint64_t
ie_random_at(uint64_t key, uint64_t number)
{
	uint64_t	z = key + (number + 1) * 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* A key made of a key and a number */
static inline uint64_t
ie_random_key(uint64_t key, uint64_t number)
{
	return ie_random_at(key ^ 0xd1b54a32d192ed03, number);
}

/* Numbers one after another */
typedef struct ie_random
{
	uint64_t	key;
	uint64_t	number;
} ie_random;

static inline uint64_t
ie_random_next(ie_random *random)
{
	return ie_random_at(random->key, random->number++);
}

/* 0 .. n - 1, n at most 2^32: the bias is below 2^-32 */
static inline size_t
ie_random_below(ie_random *random, size_t n)
{
	return (size_t) ((ie_random_next(random) >> 32) * n >> 32);
}

/* [0, 1) */
static inline double
ie_random_unit(ie_random *random)
{
	return (double) (ie_random_next(random) >> 11) * 0x1p-53;
}

/* Nearly normal, mean 0 and variance 1: the sum of 12 uniform numbers less 6 */
static inline double
ie_random_normal(ie_random *random)
{
	double		sum = -6.0;

	for (int i = 0; i < 12; i++)
		sum += ie_random_unit(random);
	return sum;
}

#endif							/* IE_RANDOM_H */
