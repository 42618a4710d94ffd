/*
 * kernels_neon.c
 *	  ARM's Advanced SIMD with the dot product instructions of ARMv8.2.
 *
 * SDOT multiplies signed bytes and adds four products to an int32.  A group of
 * four columns of a panel is four registers of four outputs; the activations of
 * 16 columns are one register, of which SDOT takes a group by its number.
 * Packing and rotation are the portable ones.
 */
#include "math/kernel_tables.h"

#if defined(__aarch64__)

#include "base/bytes.h"
#include "math/exp_terms.h"

#include <arm_neon.h>

#define NEON __attribute__((target("arch=armv8.2-a+dotprod")))
#define NEON_INLINE NEON static inline __attribute__((always_inline))

#define N_LANES 16
#define N_REGS 4				/* of four lanes each: 16 lanes, or the outputs of a panel */
#define MAX_ROWS 4				/* rows of activations side by side */

/* The 16-lane tree of kernels.h */
NEON_INLINE float
sum_lanes(const float32x4_t *l)
{
	const float32x4_t l4 = vaddq_f32(vaddq_f32(l[0], l[2]), vaddq_f32(l[1], l[3]));
	const float32x2_t l2 = vadd_f32(vget_low_f32(l4), vget_high_f32(l4));

	return vget_lane_f32(l2, 0) + vget_lane_f32(l2, 1);
}

/* ie_expf() of 4 values */
NEON_INLINE float32x4_t
exp4(float32x4_t x)
{
	const float32x4_t magic = vdupq_n_f32(IE_EXP_MAGIC);
	const float32x4_t one = vdupq_n_f32(1.0f);
	const uint32x4_t tiny = vcltq_f32(x, vdupq_n_f32(IE_EXP_MIN));
	float32x4_t z,
				n,
				r,
				p;
	int32x4_t	scale;

	x = vminq_f32(x, vdupq_n_f32(IE_EXP_MAX));
	z = vfmaq_f32(magic, x, vdupq_n_f32(IE_LOG2E));
	n = vsubq_f32(z, magic);
	r = vfmaq_f32(x, n, vdupq_n_f32(-IE_LN2_HIGH));
	r = vfmaq_f32(r, n, vdupq_n_f32(-IE_LN2_LOW));
	p = vdupq_n_f32(IE_EXP_C6);
	p = vfmaq_f32(vdupq_n_f32(IE_EXP_C5), p, r);
	p = vfmaq_f32(vdupq_n_f32(IE_EXP_C4), p, r);
	p = vfmaq_f32(vdupq_n_f32(IE_EXP_C3), p, r);
	p = vfmaq_f32(vdupq_n_f32(IE_EXP_C2), p, r);
	p = vfmaq_f32(one, vfmaq_f32(one, p, r), r);
	scale = vaddq_s32(vshlq_n_s32(vreinterpretq_s32_f32(z), 23), vdupq_n_s32(0x3f800000));
	p = vmulq_f32(p, vreinterpretq_f32_s32(scale));
	return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(p), tiny));
}

/* --------------------------------------------------------------- activations */

NEON static float
neon_dot(const float *a, const float *b, size_t n)
{
	float		l[N_LANES];
	float32x4_t sum[N_REGS];
	size_t		i;

	UNROLL(4)
	for (int v = 0; v < N_REGS; v++)
		sum[v] = vdupq_n_f32(0.0f);
	for (i = 0; i + N_LANES <= n; i += N_LANES)
		UNROLL(4)
		for (int v = 0; v < N_REGS; v++)
			sum[v] = vfmaq_f32(sum[v], vld1q_f32(a + i + 4 * v), vld1q_f32(b + i + 4 * v));
	UNROLL(4)
	for (int v = 0; v < N_REGS; v++)
		vst1q_f32(l + 4 * v, sum[v]);
	for (; i < n; i++)
		l[i % N_LANES] = fmaf(a[i], b[i], l[i % N_LANES]);
	UNROLL(4)
	for (int v = 0; v < N_REGS; v++)
		sum[v] = vld1q_f32(l + 4 * v);
	return sum_lanes(sum);
}

/* The largest magnitude of 32 floats; as integers NaN is the largest of all */
NEON_INLINE float
magnitude(const float *x)
{
	uint32x4_t	max = vdupq_n_u32(0);
	uint32_t	bits;
	float		result;

	UNROLL(8)
	for (int i = 0; i < IE_QK; i += 4)
		max = vmaxq_u32(max, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
	bits = vmaxvq_u32(max);
	memcpy(&result, &bits, sizeof(result));
	return result;
}

/* One row of one tile; x: [IE_QK], max: max|x| */
NEON_INLINE void
quantize_block(const float *x, float max, ie_qtile *tile, size_t row)
{
	int32x4_t	sum = vdupq_n_s32(0);
	int32x4_t	v[IE_QK / 4];

	if (!(max >= IE_QUANT_MIN && max < INFINITY))
	{
		ie_quantize_special(max, tile, row);
		return;
	}
	UNROLL(8)
	for (int i = 0; i < IE_QK / 4; i++)
	{
		v[i] = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4 * i), 127.0f / max));
		sum = vaddq_s32(sum, v[i]);
	}
	UNROLL(4)
	for (int i = 0; i < IE_QK / 8; i++)
		vst1_s8(tile->q[row] + 8 * i, vqmovn_s16(vcombine_s16(vqmovn_s32(v[2 * i]),
															  vqmovn_s32(v[2 * i + 1]))));
	tile->sum[row] = vaddvq_s32(sum);
	tile->d[row] = max / 127.0f;
	tile->s[row] = tile->d[row] * (float) tile->sum[row];
}

/* Move a row's outliers among 32 floats, from column on, to its list; rest: the others */
static uint32_t
split_outliers(const float *x, uint32_t column, float limit, float *rest, ie_outliers *outliers,
			   size_t row, uint32_t n)
{
	for (uint32_t i = 0; i < IE_QK; i++)
	{
		const bool	is_outlier = fabsf(x[i]) > limit;

		if (is_outlier)
		{
			outliers[n].column[row] = column + i;
			outliers[n++].x[row] = x[i];
		}
		rest[i] = is_outlier ? 0.0f : x[i];
	}
	return n;
}

NEON static void
neon_quantize_rows(const float *x, size_t ldx, size_t T, const ie_qrows *out)
{
	const size_t n_blocks = out->n_cols / IE_QK;
	const size_t max_outliers = ie_max_outliers(out->n_cols);

	for (size_t t = 0; t < T; t++, x += ldx)
	{
		const size_t row = t % IE_TILE_ROWS;
		ie_qtile   *tiles = out->tiles + t / IE_TILE_ROWS * n_blocks;
		uint32_t   *n_outliers = out->n_outliers + t / IE_TILE_ROWS;
		ie_outliers *outliers = out->outliers + t / IE_TILE_ROWS * max_outliers;
		const float limit = ie_outlier_limit(neon_dot(x, x, out->n_cols), out->n_cols);
		uint32_t	n = 0;

		if (row == 0)
		{
			memset(outliers, 0, max_outliers * sizeof(*outliers));
			*n_outliers = 0;
		}
		for (size_t b = 0; b < n_blocks; b++)
		{
			const float *from = x + b * IE_QK;
			float		max = magnitude(from);
			float		rest[IE_QK];

			if (max > limit)
			{
				n = split_outliers(from, (uint32_t) (b * IE_QK), limit, rest, outliers, row, n);
				from = rest;
				max = magnitude(from);
			}
			quantize_block(from, max, &tiles[b], row);
		}
		*n_outliers = n > *n_outliers ? n : *n_outliers;
	}
}

/* --------------------------------------------------------- quantised products */

/* The 16 outputs of row t */
NEON_INLINE void
store16(const ie_panel_args *args, size_t t, const float32x4_t *sum)
{
	float	   *y = args->y + t * args->ldy;
	float		l[IE_PANEL_ROWS];

	UNROLL(4)
	for (int v = 0; v < N_REGS; v++)
		vst1q_f32(l + 4 * v, sum[v]);
	for (size_t r = 0; r < args->n_rows; r++)
		y[r] = args->add ? y[r] + l[r] : l[r];
}

/* acc, and x times the weights of a column */
NEON_INLINE void
add_outlier(const ie_panel_kind kind, const ie_panel_block *panel, uint32_t column, float x,
			float32x4_t *acc)
{
	const ie_panel_block *block = ie_panel_at(kind, panel, column / IE_QK);
	const int8_t *q = (const int8_t *) block->q[column % IE_QK / 4][0] + column % 4;

	UNROLL(4)
	for (int v = 0; v < N_REGS; v++, q += 16)
	{
		const int32x4_t bytes = {q[0], q[4], q[8], q[12]};
		const float32x4_t d = vld1q_f32(block->d + 4 * v);
		float32x4_t w = vcvtq_f32_s32(bytes);

		w = kind == IE_PANEL_U8 ? vfmaq_f32(vld1q_f32(block->m + 4 * v), d, w) : vmulq_f32(d, w);
		acc[v] = vfmaq_n_f32(acc[v], w, x);
	}
}

/* isum of four columns, the numbered group of 16, in n rows */
#define DOT_GROUP(group) \
	do { \
		UNROLL(4) \
		for (int v = 0; v < N_REGS; v++) \
		{ \
			const int8x16_t w = vld1q_s8((const int8_t *) block->q[4 * half + (group)][4 * v]); \
			UNROLL(4) \
			for (int i = 0; i < n; i++) \
				isum[i][v] = vdotq_laneq_s32(isum[i][v], w, x16[i], group); \
		} \
	} while (0)

/* n rows from row t on, which lie in one tile */
NEON_INLINE void
multiply_rows(const ie_panel_kind kind, const int n, const ie_panel_block *panel,
			  const ie_qrows *x, size_t t, const ie_panel_args *args)
{
	const size_t n_blocks = x->n_cols / IE_QK;
	const size_t row = t % IE_TILE_ROWS;
	const ie_qtile *tile = x->tiles + t / IE_TILE_ROWS * n_blocks;
	const ie_outliers *outliers = x->outliers + t / IE_TILE_ROWS * ie_max_outliers(x->n_cols);
	const uint32_t n_outliers = x->n_outliers[t / IE_TILE_ROWS];
	float32x4_t acc[MAX_ROWS][N_REGS];

	UNROLL(4)
	for (int i = 0; i < n; i++)
		UNROLL(4)
		for (int v = 0; v < N_REGS; v++)
			acc[i][v] = vdupq_n_f32(0.0f);
	for (size_t b = 0; b < n_blocks; b++, tile++)
	{
		const ie_panel_block *block = ie_panel_at(kind, panel, b);
		int32x4_t	isum[MAX_ROWS][N_REGS];

		UNROLL(4)
		for (int i = 0; i < n; i++)
			UNROLL(4)
			for (int v = 0; v < N_REGS; v++)
				isum[i][v] = vdupq_n_s32(0);
		UNROLL(2)
		for (int half = 0; half < 2; half++)
		{
			int8x16_t	x16[MAX_ROWS];

			UNROLL(4)
			for (int i = 0; i < n; i++)
				x16[i] = vld1q_s8(tile->q[row + (size_t) i] + 16 * half);
			DOT_GROUP(0);
			DOT_GROUP(1);
			DOT_GROUP(2);
			DOT_GROUP(3);
		}
		UNROLL(4)
		for (int i = 0; i < n; i++)
			UNROLL(4)
			for (int v = 0; v < N_REGS; v++)
			{
				const float32x4_t d = vmulq_n_f32(vld1q_f32(block->d + 4 * v),
												  tile->d[row + (size_t) i]);

				acc[i][v] = vfmaq_f32(acc[i][v], vcvtq_f32_s32(isum[i][v]), d);
				if (kind == IE_PANEL_U8)
					acc[i][v] = vfmaq_n_f32(acc[i][v], vld1q_f32(block->m + 4 * v),
											tile->s[row + (size_t) i]);
			}
	}
	for (uint32_t o = 0; o < n_outliers; o++)
		UNROLL(4)
		for (int i = 0; i < n; i++)
			add_outlier(kind, panel, outliers[o].column[row + (size_t) i],
						outliers[o].x[row + (size_t) i], acc[i]);
	UNROLL(4)
	for (int i = 0; i < n; i++)
		store16(args, t + (size_t) i, acc[i]);
}

NEON_INLINE void
multiply(const ie_panel_kind kind, const ie_panel_block *panel, const ie_qrows *x, size_t T,
		 const ie_panel_args *args)
{
	for (size_t t = 0; t < T; t += MAX_ROWS)
		switch (T - t)
		{
			case 1:
				multiply_rows(kind, 1, panel, x, t, args);
				break;
			case 2:
				multiply_rows(kind, 2, panel, x, t, args);
				break;
			case 3:
				multiply_rows(kind, 3, panel, x, t, args);
				break;
			default:
				multiply_rows(kind, 4, panel, x, t, args);
				break;
		}
}

/* Weights of 0 .. 31 are the same signed and unsigned. */
NEON static void
neon_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	multiply(IE_PANEL_U8, panel, x, T, args);
}

NEON static void
neon_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	multiply(IE_PANEL_S8, panel, x, T, args);
}

/* ------------------------------------------------------------ float products */

NEON_INLINE void
multiply_rows_f32(const int n, const float *w, size_t n_in, const float *x, size_t ldx, size_t t,
				  const ie_panel_args *args)
{
	float32x4_t acc[MAX_ROWS][N_REGS];

	UNROLL(4)
	for (int i = 0; i < n; i++)
		UNROLL(4)
		for (int v = 0; v < N_REGS; v++)
			acc[i][v] = vdupq_n_f32(0.0f);
	for (size_t k = 0; k < n_in; k++, w += IE_PANEL_ROWS)
		UNROLL(4)
		for (int v = 0; v < N_REGS; v++)
		{
			const float32x4_t w4 = vld1q_f32(w + 4 * v);

			UNROLL(4)
			for (int i = 0; i < n; i++)
				acc[i][v] = vfmaq_n_f32(acc[i][v], w4, x[(size_t) i * ldx + k]);
		}
	UNROLL(4)
	for (int i = 0; i < n; i++)
		store16(args, t + (size_t) i, acc[i]);
}

NEON static void
neon_panel_f32(const float *w, size_t n_in, const float *x, size_t ldx, size_t T,
			   const ie_panel_args *args)
{
	size_t		t = 0;

	for (; t + MAX_ROWS <= T; t += MAX_ROWS)
		multiply_rows_f32(MAX_ROWS, w, n_in, x + t * ldx, ldx, t, args);
	for (; t < T; t++)
		multiply_rows_f32(1, w, n_in, x + t * ldx, ldx, t, args);
}

/* -------------------------------------------------------------- element-wise */

NEON static void
neon_rms_norm(const float *x, const float *weight, float eps, size_t n, float *y)
{
	const float mean = neon_dot(x, x, n) / (float) n;
	const float r = 1.0f / sqrtf(mean + eps);
	size_t		i;

	for (i = 0; i + 4 <= n; i += 4)
		vst1q_f32(y + i, vmulq_f32(vmulq_n_f32(vld1q_f32(x + i), r), vld1q_f32(weight + i)));
	for (; i < n; i++)
		y[i] = (x[i] * r) * weight[i];
}

NEON static void
neon_silu_mul(float *gate, const float *up, size_t n)
{
	size_t		i;

	for (i = 0; i + 4 <= n; i += 4)
	{
		const float32x4_t g = vld1q_f32(gate + i);
		const float32x4_t e = exp4(vnegq_f32(g));

		vst1q_f32(gate + i, vmulq_f32(vdivq_f32(g, vaddq_f32(vdupq_n_f32(1.0f), e)),
									  vld1q_f32(up + i)));
	}
	for (; i < n; i++)
		gate[i] = (gate[i] / (1.0f + ie_expf(-gate[i]))) * up[i];
}

/* ---------------------------------------------------------------- attention */

/* scores[j] = q . k_j * scale, 16 positions at a time, also of those behind the span's end */
NEON_INLINE void
score_span(const ie_kv_span *span, const float *q, size_t head_dim, float scale, float *scores)
{
	for (size_t j = 0; j < span->n; j += N_LANES)
	{
		float32x4_t sum[N_REGS];

		UNROLL(4)
		for (int v = 0; v < N_REGS; v++)
			sum[v] = vdupq_n_f32(0.0f);
		for (size_t d = 0; d < head_dim; d++)
			UNROLL(4)
			for (int v = 0; v < N_REGS; v++)
				sum[v] = vfmaq_n_f32(sum[v], vld1q_f32(span->kt + d * span->ld_k + j + 4 * v), q[d]);
		UNROLL(4)
		for (int v = 0; v < N_REGS; v++)
			vst1q_f32(scores + j + 4 * v, vmulq_n_f32(sum[v], scale));
	}
}

/* Scores become exp(score - max); returns 1 / their sum.  p: [round_up(n, 16)] */
NEON_INLINE float
softmax_weights(float *p, size_t n)
{
	const size_t n_padded = ie_round_up(n, N_LANES);
	float32x4_t max4 = vdupq_n_f32(-INFINITY);
	float32x4_t total[N_REGS];
	float		max;

	for (size_t j = n; j < n_padded; j++)
		p[j] = -INFINITY;		/* adds exp(-infinity) = 0 */
	for (size_t j = 0; j < n_padded; j += 4)
		max4 = vmaxnmq_f32(max4, vld1q_f32(p + j));
	max = vmaxnmvq_f32(max4);
	UNROLL(4)
	for (int v = 0; v < N_REGS; v++)
		total[v] = vdupq_n_f32(0.0f);
	for (size_t j = 0; j < n_padded; j += N_LANES)
		UNROLL(4)
		for (int v = 0; v < N_REGS; v++)
		{
			const float32x4_t e = exp4(vsubq_f32(vld1q_f32(p + j + 4 * v), vdupq_n_f32(max)));

			vst1q_f32(p + j + 4 * v, e);
			total[v] = vaddq_f32(total[v], e);
		}
	return 1.0f / sum_lanes(total);
}

/* out[0 .. 7] = sum of p[j] v_j over both spans, times inverse; v at column d */
NEON_INLINE void
mix8(const ie_attend_args *a, const float *p, float inverse, size_t d, float *out)
{
	float32x4_t sum[2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};

	for (int s = 0; s < 2; p += a->span[s].n, s++)
		for (size_t j = 0; j < a->span[s].n; j++)
		{
			const float *v = a->span[s].v + j * a->span[s].ld_v + d;

			sum[0] = vfmaq_n_f32(sum[0], vld1q_f32(v), p[j]);
			sum[1] = vfmaq_n_f32(sum[1], vld1q_f32(v + 4), p[j]);
		}
	vst1q_f32(out, vmulq_n_f32(sum[0], inverse));
	vst1q_f32(out + 4, vmulq_n_f32(sum[1], inverse));
}

NEON static void
neon_attend(const ie_attend_args *a)
{
	const size_t n = a->span[0].n + a->span[1].n;

	/* all scores before any output, which may lie over the queries */
	for (size_t h = 0; h < a->n_q; h++)
		for (int s = 0; s < 2; s++)
			score_span(&a->span[s], a->q + h * a->head_dim, a->head_dim, a->scale,
					   a->scores + h * a->ld_scores + (s == 0 ? 0 : a->span[0].n));
	for (size_t h = 0; h < a->n_q; h++)
	{
		float	   *p = a->scores + h * a->ld_scores;
		const float inverse = softmax_weights(p, n);

		for (size_t d = 0; d < a->head_dim; d += 8)
			mix8(a, p, inverse, d, a->out + h * a->head_dim + d);
	}
}

const ie_kernels ie_kernels_neon = {
	.level = IE_CPU_DOTPROD,
	.quantize_rows = neon_quantize_rows,
	.panel_u8 = neon_panel_u8,
	.panel_s8 = neon_panel_s8,
	.panel_f32 = neon_panel_f32,
	.rms_norm = neon_rms_norm,
	.silu_mul = neon_silu_mul,
	.rope = ie_ref_rope,
	.attend = neon_attend,
	.dot = neon_dot,
	.pack_for = ie_pack_for_ref
};

#endif							/* __aarch64__ */
