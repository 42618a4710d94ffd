/*
 * simd_avx512.h
 *	  What the AVX-512 files share; see simd_avx2.h for the manner.
 */
#ifndef IE_SIMD_AVX512_H
#define IE_SIMD_AVX512_H

#include "math/kernel_tables.h"

#if defined(__x86_64__)

#include "math/exp_terms.h"

#include <immintrin.h>

#define AVX512 \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#define AVX512_INLINE AVX512 static inline __attribute__((always_inline))

/* The mask of lanes below n */
AVX512_INLINE __mmask16
lanes_below(size_t n)
{
	return n < 16 ? (__mmask16) ((1u << n) - 1) : (__mmask16) 0xffff;
}

#endif							/* __x86_64__ */
#endif							/* IE_SIMD_AVX512_H */
