/*
 * exp_terms.h
 *	  exp(x) for fp32 in steps that every instruction set has, shared by the
 *	  scalar function in mathfun.c and the vector ones in kernels_*.c.
 *
 *		x = min(x, IE_EXP_MAX)
 *		z = fmaf(x, IE_LOG2E, IE_EXP_MAGIC)				low bits: n = round(x log2 e)
 *		n = z - IE_EXP_MAGIC
 *		r = fmaf(n, -IE_LN2_LOW, fmaf(n, -IE_LN2_HIGH, x))		|r| <= ln 2 / 2
 *		p = C6;  p = fmaf(p, r, C5) ... fmaf(p, r, C2)
 *		p = fmaf(fmaf(p, r, 1), r, 1)
 *		result = p * 2^n, where 2^n has the bits (bits(z) << 23) + 0x3f800000
 *		and 0 where x < IE_EXP_MIN
 *
 * Adding 1.5 * 2^23 rounds to the nearest integer.  C2 .. C6 are a minimax
 * fit of relative error 1e-8; the steps' roundings bring it to 1e-7.
 */
#ifndef IE_EXP_TERMS_H
#define IE_EXP_TERMS_H

#define IE_EXP_MIN (-87.33654f)	/* ln 2^-126: results stay normal */
#define IE_EXP_MAX 88.37626f	/* ln 2^127.5: n <= 127 */
#define IE_EXP_MAGIC 12582912.0f
#define IE_LOG2E 0x1.715476p+0f
#define IE_LN2_HIGH 0x1.62e4p-1f	/* 15 bits: n * high is exact */
#define IE_LN2_LOW 0x1.7f7d1cp-20f

#define IE_EXP_C2 0x1.fffffcp-2f
#define IE_EXP_C3 0x1.555492p-3f
#define IE_EXP_C4 0x1.5558f2p-5f
#define IE_EXP_C5 0x1.123a20p-7f
#define IE_EXP_C6 0x1.6a23d0p-10f

#endif							/* IE_EXP_TERMS_H */
