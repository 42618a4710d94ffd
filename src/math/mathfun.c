/*
 * mathfun.c
 *	  Elementary functions from IEEE 754 basic operations alone, so that their
 *	  bits depend neither on the C library nor on the instruction set.
 */
#include "math/exp_terms.h"
#include "math/kernels.h"

#include <math.h>
#include <string.h>

float
ie_expf(float x)
{
	float		z,
				n,
				r,
				p,
				scale;
	uint32_t	bits;

	if (x < IE_EXP_MIN)
		return 0.0f;
	if (x > IE_EXP_MAX)			/* false for NaN, which passes through */
		x = IE_EXP_MAX;
	z = fmaf(x, IE_LOG2E, IE_EXP_MAGIC);
	n = z - IE_EXP_MAGIC;
	r = fmaf(n, -IE_LN2_LOW, fmaf(n, -IE_LN2_HIGH, x));
	p = IE_EXP_C6;
	p = fmaf(p, r, IE_EXP_C5);
	p = fmaf(p, r, IE_EXP_C4);
	p = fmaf(p, r, IE_EXP_C3);
	p = fmaf(p, r, IE_EXP_C2);
	p = fmaf(fmaf(p, r, 1.0f), r, 1.0f);
	memcpy(&bits, &z, sizeof(bits));
	bits = (bits << 23) + 0x3f800000;
	memcpy(&scale, &bits, sizeof(scale));
	return p * scale;
}

/*
 * log2(x) for normal x > 0: x = m 2^e with m in [sqrt 1/2, sqrt 2), then
 * log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172.
 */
static double
log2_of(double x)
{
	uint64_t	bits;
	int			e;
	double		m,
				s,
				s2,
				sum = 0.0;

	memcpy(&bits, &x, sizeof(bits));
	e = (int) (bits >> 52) - 1023;
	bits = (bits & 0xfffffffffffff) | 0x3ff0000000000000;
	memcpy(&m, &bits, sizeof(m));
	if (m >= 0x1.6a09e667f3bcdp+0)
	{
		m *= 0.5;
		e++;
	}
	s = (m - 1.0) / (m + 1.0);
	s2 = s * s;
	for (int k = 23; k >= 1; k -= 2)	/* the first term left out is below 1e-19 */
		sum = sum * s2 + 1.0 / k;
	return e + 2.0 * s * sum * 0x1.71547652b82fep+0;
}

/* 2^x for |x| < 1000 */
static double
exp2_of(double x)
{
	int			n = (int) (x + (x < 0.0 ? -0.5 : 0.5));
	double		r = (x - n) * 0x1.62e42fefa39efp-1;
	double		sum = 1.0;
	double		scale;
	uint64_t	bits = (uint64_t) (n + 1023) << 52;

	for (int k = 14; k >= 1; k--)	/* Taylor, |r| <= 0.347: error below 1e-19 */
		sum = sum * r / k + 1.0;
	memcpy(&scale, &bits, sizeof(scale));
	return sum * scale;
}

/*
 * sin and cos of 0 <= x < 2^20: reduced by a multiple of pi/2 held in two
 * parts, then the polynomials of fdlibm's k_sin.c and k_cos.c (Sun, 1993).
 */
static void
sin_cos(double x, double *sin_x, double *cos_x)
{
	int64_t		n = (int64_t) (x * 0x1.45f306dc9c883p-1 + 0.5);
	double		r = (x - (double) n * 0x1.921fb544p+0) - (double) n * 0x1.0b4611a626331p-34;
	double		z = r * r;
	double		s,
				c;

	s = 1.58969099521155010221e-10;
	s = s * z - 2.50507602534068634195e-08;
	s = s * z + 2.75573137070700676789e-06;
	s = s * z - 1.98412698298579493134e-04;
	s = s * z + 8.33333333332248946124e-03;
	s = s * z - 1.66666666666666324348e-01;
	s = r + r * z * s;
	c = -1.13596475577881948265e-11;
	c = c * z + 2.08757232129817482790e-09;
	c = c * z - 2.75573143513906633035e-07;
	c = c * z + 2.48015872894767294178e-05;
	c = c * z - 1.38888888888741095749e-03;
	c = c * z + 4.16666666666666019037e-02;
	c = 1.0 - (0.5 * z - z * z * c);
	*sin_x = (n & 1) == 0 ? s : c;
	*cos_x = (n & 1) == 0 ? c : s;
	if ((n & 2) != 0)
		*sin_x = -*sin_x;
	if (((n + 1) & 2) != 0)
		*cos_x = -*cos_x;
}

void
ie_rope_table(uint32_t position, float theta, size_t head_dim, float *cos, float *sin)
{
	double		step = -2.0 * log2_of(theta) / (double) head_dim;

	for (size_t i = 0; i < head_dim / 2; i++)
	{
		double		s,
					c;

		sin_cos(position * exp2_of((double) i * step), &s, &c);
		cos[i] = (float) c;
		sin[i] = (float) s;
	}
}

double
ie_log(double x)
{
	return log2_of(x) * 0x1.62e42fefa39efp-1;
}

double
ie_exp(double x)
{
	return x < -690.0 ? 0.0 : exp2_of((x > 690.0 ? 690.0 : x) * 0x1.71547652b82fep+0);
}

double
ie_cos(double x)
{
	double		s,
				c;

	sin_cos(x, &s, &c);
	return c;
}
