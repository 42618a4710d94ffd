/*
 * simd_avx2.h
 *	  What the AVX2 files share.
 *
 * AVX2_INLINE functions are written once for a number of rows or heads that is
 * constant where they are used; UNROLL makes the compiler keep their arrays in
 * registers.
 */
#ifndef IE_SIMD_AVX2_H
#define IE_SIMD_AVX2_H

#include "math/kernel_tables.h"

#if defined(__x86_64__)

#include "math/exp_terms.h"

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX2_INLINE AVX2 static inline __attribute__((always_inline))

/*
 * Integer sums may be made in any order, and the compiler makes them as trees,
 * for which there are not enough registers.  This keeps them as written.
 */
#define KEEP_ORDER(vector) __asm__("" : "+x" (vector))

/* All bits set in lanes below n */
AVX2_INLINE __m256i
lanes_below(size_t n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int) n : 8),
							  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#endif							/* __x86_64__ */
#endif							/* IE_SIMD_AVX2_H */
