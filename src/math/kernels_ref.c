/*
 * kernels_ref.c
 *	  The readable kernels: the definition of every result.  Each rounding
 *	  happens where kernels.h says, one operation to a statement.
 */
#include "math/kernel_tables.h"

#define N_LANES 16

/* The tree: l[i] += l[i + 8], then + 4, + 2, + 1 */
static float
sum_lanes(float *l)
{
	for (int half = N_LANES / 2; half >= 1; half /= 2)
		for (int i = 0; i < half; i++)
			l[i] = l[i] + l[i + half];
	return l[0];
}

static float
ref_dot(const float *a, const float *b, size_t n)
{
	float		l[N_LANES] = {0};

	for (size_t i = 0; i < n; i++)
		l[i % N_LANES] = fmaf(a[i], b[i], l[i % N_LANES]);
	return sum_lanes(l);
}

/* --------------------------------------------------------------- activations */

/* One row of one tile; x: [IE_QK] */
static void
quantize_block(const float *x, ie_qtile *tile, size_t row)
{
	uint32_t	max_bits = 0;
	float		max,
				inverse;
	int32_t		sum = 0;

	/* ordered as integers, magnitudes go up to infinity and then NaN */
	for (int i = 0; i < IE_QK; i++)
	{
		uint32_t	bits;

		memcpy(&bits, &x[i], sizeof(bits));
		bits &= 0x7fffffff;
		max_bits = bits > max_bits ? bits : max_bits;
	}
	memcpy(&max, &max_bits, sizeof(max));
	if (!(max >= IE_QUANT_MIN && max < INFINITY))
	{
		ie_quantize_special(max, tile, row);
		return;
	}
	inverse = 127.0f / max;
	for (int i = 0; i < IE_QK; i++)
	{
		int32_t		q = (int32_t) nearbyintf(x[i] * inverse);

		tile->q[row][i] = (int8_t) q;
		sum += q;
	}
	tile->d[row] = max / 127.0f;
	tile->s[row] = tile->d[row] * (float) sum;
	tile->sum[row] = sum;
}

static void
ref_quantize_rows(const float *x, size_t ldx, size_t T, const ie_qrows *out)
{
	const size_t n_blocks = out->n_cols / IE_QK;
	const size_t max_outliers = ie_max_outliers(out->n_cols);

	for (size_t t = 0; t < T; t++, x += ldx)
	{
		const size_t row = t % IE_TILE_ROWS;
		ie_qtile   *tiles = out->tiles + t / IE_TILE_ROWS * n_blocks;
		uint32_t   *n_outliers = out->n_outliers + t / IE_TILE_ROWS;
		ie_outliers *outliers = out->outliers + t / IE_TILE_ROWS * max_outliers;
		const float limit = ie_outlier_limit(ref_dot(x, x, out->n_cols), out->n_cols);
		uint32_t	n = 0;

		if (row == 0)
		{
			memset(outliers, 0, max_outliers * sizeof(*outliers));
			*n_outliers = 0;
		}
		for (size_t b = 0; b < n_blocks; b++)
		{
			float		rest[IE_QK];

			for (size_t i = 0; i < IE_QK; i++)
			{
				rest[i] = x[b * IE_QK + i];
				if (fabsf(rest[i]) > limit)
				{
					outliers[n].column[row] = (uint32_t) (b * IE_QK + i);
					outliers[n].x[row] = rest[i];
					rest[i] = 0.0f;
					n++;
				}
			}
			quantize_block(rest, &tiles[b], row);
		}
		*n_outliers = n > *n_outliers ? n : *n_outliers;
	}
}

/* ------------------------------------------------------------------- panels */

static void
store(const ie_panel_args *args, size_t t, size_t r, float sum)
{
	float	   *y = &args->y[t * args->ldy + r];

	*y = args->add ? *y + sum : sum;
}

/* Weight of a column as the integer kernels see it */
static int
weight(ie_panel_kind kind, const ie_panel_block *w, size_t r, size_t i)
{
	uint8_t		q = w->q[i / 4][r][i % 4];

	return kind == IE_PANEL_U8 ? q : (int8_t) q;
}

/* Output r of row t */
static float
panel_sum(ie_panel_kind kind, const ie_panel_block *panel, const ie_qrows *x, size_t t, size_t r)
{
	const size_t n_blocks = x->n_cols / IE_QK;
	const ie_qtile *tiles = x->tiles + t / IE_TILE_ROWS * n_blocks;
	const ie_outliers *outliers = x->outliers + t / IE_TILE_ROWS * ie_max_outliers(x->n_cols);
	const size_t row = t % IE_TILE_ROWS;
	float		acc = 0.0f;

	for (size_t b = 0; b < n_blocks; b++)
	{
		const ie_panel_block *block = ie_panel_at(kind, panel, b);
		int32_t		isum = 0;

		for (size_t i = 0; i < IE_QK; i++)
			isum += weight(kind, block, r, i) * tiles[b].q[row][i];
		acc = fmaf((float) isum, block->d[r] * tiles[b].d[row], acc);
		if (kind == IE_PANEL_U8)
			acc = fmaf(block->m[r], tiles[b].s[row], acc);
	}
	for (size_t i = 0; i < x->n_outliers[t / IE_TILE_ROWS]; i++)
	{
		const size_t column = outliers[i].column[row];
		const ie_panel_block *block = ie_panel_at(kind, panel, column / IE_QK);
		float		q = (float) weight(kind, block, r, column % IE_QK);
		float		w = kind == IE_PANEL_U8 ? fmaf(block->d[r], q, block->m[r]) : block->d[r] * q;

		acc = fmaf(outliers[i].x[row], w, acc);
	}
	return acc;
}

static void
ref_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	for (size_t t = 0; t < T; t++)
		for (size_t r = 0; r < args->n_rows; r++)
			store(args, t, r, panel_sum(IE_PANEL_U8, panel, x, t, r));
}

static void
ref_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T, const ie_panel_args *args)
{
	for (size_t t = 0; t < T; t++)
		for (size_t r = 0; r < args->n_rows; r++)
			store(args, t, r, panel_sum(IE_PANEL_S8, panel, x, t, r));
}

static void
ref_panel_f32(const float *w, size_t n_in, const float *x, size_t ldx, size_t T,
			  const ie_panel_args *args)
{
	for (size_t t = 0; t < T; t++)
		for (size_t r = 0; r < args->n_rows; r++)
		{
			float		acc = 0.0f;

			for (size_t k = 0; k < n_in; k++)
				acc = fmaf(x[t * ldx + k], w[k * IE_PANEL_ROWS + r], acc);
			store(args, t, r, acc);
		}
}

/* -------------------------------------------------------------- element-wise */

static void
ref_rms_norm(const float *x, const float *weight, float eps, size_t n, float *y)
{
	float		mean = ref_dot(x, x, n) / (float) n;
	float		r = 1.0f / sqrtf(mean + eps);

	for (size_t i = 0; i < n; i++)
		y[i] = (x[i] * r) * weight[i];
}

static void
ref_silu_mul(float *gate, const float *up, size_t n)
{
	for (size_t i = 0; i < n; i++)
		gate[i] = (gate[i] / (1.0f + ie_expf(-gate[i]))) * up[i];
}

void
ie_ref_rope(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin)
{
	for (size_t h = 0; h < n_heads; h++, x += head_dim)
		for (size_t i = 0; i < head_dim / 2; i++)
		{
			float		x0 = x[2 * i];
			float		x1 = x[2 * i + 1];

			x[2 * i] = fmaf(x0, cos[i], -(x1 * sin[i]));
			x[2 * i + 1] = fmaf(x0, sin[i], x1 * cos[i]);
		}
}

/* ---------------------------------------------------------------- attention */

/* scores[j] = q . k_j * scale for the span's positions */
static void
score_span(const ie_kv_span *span, const float *q, size_t head_dim, float scale, float *scores)
{
	for (size_t j = 0; j < span->n; j++)
	{
		float		sum = 0.0f;

		for (size_t d = 0; d < head_dim; d++)
			sum = fmaf(q[d], span->kt[d * span->ld_k + j], sum);
		scores[j] = sum * scale;
	}
}

/* scores become exp(score - max); returns 1 / their sum */
static float
softmax_weights(float *scores, size_t n)
{
	float		l[N_LANES] = {0};
	float		max = scores[0];

	for (size_t j = 1; j < n; j++)
		max = scores[j] > max ? scores[j] : max;
	for (size_t j = 0; j < n; j++)
	{
		scores[j] = ie_expf(scores[j] - max);
		l[j % N_LANES] = l[j % N_LANES] + scores[j];
	}
	return 1.0f / sum_lanes(l);
}

static void
ref_attend(const ie_attend_args *a)
{
	size_t		n0 = a->span[0].n;
	size_t		n = n0 + a->span[1].n;

	/* all scores before any output, which may lie over the queries */
	for (size_t h = 0; h < a->n_q; h++)
		for (int s = 0; s < 2; s++)
			score_span(&a->span[s], a->q + h * a->head_dim, a->head_dim, a->scale,
					   a->scores + h * a->ld_scores + (s == 0 ? 0 : n0));
	for (size_t h = 0; h < a->n_q; h++)
	{
		float	   *p = a->scores + h * a->ld_scores;
		float		inverse = softmax_weights(p, n);

		for (size_t d = 0; d < a->head_dim; d++)
		{
			float		acc = 0.0f;

			for (size_t j = 0; j < n; j++)
			{
				const ie_kv_span *span = &a->span[j < n0 ? 0 : 1];

				acc = fmaf(p[j], span->v[(j < n0 ? j : j - n0) * span->ld_v + d], acc);
			}
			a->out[h * a->head_dim + d] = acc * inverse;
		}
	}
}

const ie_kernels ie_kernels_ref = {
	.level = IE_CPU_REF,
	.quantize_rows = ref_quantize_rows,
	.panel_u8 = ref_panel_u8,
	.panel_s8 = ref_panel_s8,
	.panel_f32 = ref_panel_f32,
	.rms_norm = ref_rms_norm,
	.silu_mul = ref_silu_mul,
	.rope = ie_ref_rope,
	.attend = ref_attend,
	.dot = ref_dot,
	.pack_for = ie_pack_for_ref
};
