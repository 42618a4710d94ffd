/*
 * kernels.h
 *	  The inner loops, one table per instruction set.
 *
 * kernels_ref.c is the definition: plain C that says in which order every
 * rounding happens.  Each faster table computes the same bits.  That is
 * possible because
 *	- integer sums are exact, so their order is free;
 *	- fp32 sums run either along the lanes (each lane one output, its terms in
 *	  ascending order), or over 16 lanes by index % 16 with a fixed tree
 *	  (l[i] += l[i+8], then +4, +2, +1);
 *	- multiply-add is explicit, fmaf() or an FMA instruction on every level,
 *	  and nothing is contracted (-ffp-contract=off);
 *	- exp, sin, cos are ours.
 *
 * Shapes are row-major.  No pointer needs alignment unless stated; outputs do
 * not alias inputs unless stated.
 */
#ifndef IE_KERNELS_H
#define IE_KERNELS_H

#include "base/cpu.h"
#include "math/quant.h"

/*
 * A panel: IE_PANEL_ROWS rows of a weight matrix (outputs), re-laid so that 16
 * outputs lie side by side.  Weights are packed panel by panel into scratch
 * right before use and serve all rows of the activations, or lie in a packed
 * model file as S8 panels, which are used in place.
 */
#define IE_PANEL_ROWS 16

/* Of S8 panels in files; to be raised when they change */
#define IE_PANEL_LAYOUT 1

/* 32 columns of a panel of quantised weights */
typedef struct ie_panel_block
{
	uint8_t		q[IE_QK / 4][IE_PANEL_ROWS][4];	/* [column / 4][row][column % 4] */
	float		d[IE_PANEL_ROWS];	/* scale of each row's block */
	float		m[IE_PANEL_ROWS];	/* min of each row's block; a block of S8 ends before it */
} ie_panel_block;

#define IE_PANEL_S8_BYTES offsetof(ie_panel_block, m)

typedef enum ie_panel_kind
{
	IE_PANEL_U8,				/* q in 0..31 unsigned, w = d q + m: Q4_0 (m = -8 d), Q4_1, Q5_0, Q5_1 */
	IE_PANEL_S8,				/* q in -127..127 signed, w = d q: Q8_0 (-128 is read as -127) */
	IE_PANEL_F32				/* float w[n_in][IE_PANEL_ROWS]: F32, F16, BF16, and any type under
								 * IE_COMPUTE_F32 */
} ie_panel_kind;

/* Block b of a panel of quantised weights */
static inline const ie_panel_block *
ie_panel_at(ie_panel_kind kind, const ie_panel_block *panel, size_t b)
{
	const size_t bytes = kind == IE_PANEL_U8 ? sizeof(*panel) : IE_PANEL_S8_BYTES;

	return (const ie_panel_block *) ((const uint8_t *) panel + b * bytes);
}

/*
 * Activations quantised for the integer kernels, 8 rows by 32 columns to a
 * tile, so that an inner loop reads all of it behind one pointer.  Per row:
 * d = max|x| / 127, q = x * (127 / max|x|) rounded to the nearest integer (ties
 * to even), sum = sum of q, s = d * (float) sum.  All are 0 when max|x| is
 * below 1e-30.  Where an x is infinite or NaN, q = 0 and d = s = NaN, so that
 * the result shows it.
 *
 * Language models have a few activations that are many times larger than the
 * rest, and a scale that fits them would leave little of their neighbours.
 * Those beyond IE_OUTLIER times their row's root mean square,
 * sqrtf(dot(x, x) / n_cols), therefore stay what they are, in a list of their
 * own, and count as 0 in the tile.  The lists of the 8 rows lie side by side; a
 * list that has ended has x = 0, which adds nothing.  Measured on the default
 * model against fp32: 0.6 to 0.8 % of the activations, and 1 - cosine is 4.0e-5
 * in the mean instead of 2.0e-4.
 */
#define IE_TILE_ROWS 8
#define IE_OUTLIER 4.0f

typedef struct ie_qtile
{
	int8_t		q[IE_TILE_ROWS][IE_QK];	/* -127..127 */
	float		d[IE_TILE_ROWS];
	float		s[IE_TILE_ROWS];
	int32_t		sum[IE_TILE_ROWS];
} ie_qtile;

/* An outlier of each of 8 rows */
typedef struct ie_outliers
{
	uint32_t	column[IE_TILE_ROWS];	/* ascending in a row's list; 0 after its end */
	float		x[IE_TILE_ROWS];
} ie_outliers;

/* Storage: ie_qrows_take() in gemm.h.  What is there for rows >= T has no meaning. */
typedef struct ie_qrows
{
	size_t		n_cols;			/* % IE_QK == 0 */
	ie_qtile   *tiles;			/* [ceil(T / 8), n_cols / IE_QK] */
	uint32_t   *n_outliers;		/* [ceil(T / 8)]: of the row that has most */
	ie_outliers *outliers;		/* [ceil(T / 8), ie_max_outliers(n_cols)] */
} ie_qrows;

/*
 * At most n / IE_OUTLIER^2 numbers can exceed their root mean square by that
 * factor; twice as many leave room for rounding.
 */
static inline size_t
ie_max_outliers(size_t n_cols)
{
	return n_cols / 8;
}

/* What a product with a panel needs besides its two factors */
typedef struct ie_panel_args
{
	float	   *y;				/* the 16 outputs of row t: y[t * ldy + r] for r < n_rows */
	size_t		ldy;
	size_t		n_rows;			/* 1..16 */
	bool		add;			/* y + sum instead of sum */
	const uint8_t *next;		/* memory to bring into the caches meanwhile, the next panel's weights: */
	size_t		next_bytes;		/* a hint.  0 = nothing, next is not NULL even then */
} ie_panel_args;

/*
 * A weight matrix inside the mapping: n_out rows of n_in elements.  Of type
 * ie_type_panels_s8: panels, one after the other, the last one filled up with 0.
 */
typedef struct ie_matrix
{
	const ie_type_traits *type;
	const uint8_t *data;		/* any alignment; panels: 64 bytes */
	size_t		row_bytes;		/* panels: a panel's bytes / IE_PANEL_ROWS */
	size_t		n_in;			/* % type->block_len == 0 */
	size_t		n_out;
} ie_matrix;

/*
 * Pack rows row0 .. row0 + 15 of w; rows from w->n_out on become 0.
 * panel: [n_in / IE_QK] blocks, or [n_in, 16] f32 for IE_PANEL_F32; 64-byte
 * aligned.
 */
typedef void (*ie_pack_fn) (const ie_matrix *w, size_t row0, void *panel);

typedef struct ie_pack
{
	ie_panel_kind kind;			/* IE_PANEL_F32 for the float types */
	ie_pack_fn	pack;			/* NULL: w has such panels already, at row0 * row_bytes */
} ie_pack;

/* Keys and values of consecutive positions, of one key/value head */
typedef struct ie_kv_span
{
	const float *kt;			/* [D, ld_k]: keys transposed; ld_k % 16 == 0, 64-byte aligned, columns
								 * n .. round_up(n, 16) - 1 readable, their content is ignored */
	size_t		ld_k;
	const float *v;				/* [n, D] with row stride ld_v */
	size_t		ld_v;
	size_t		n;				/* positions */
} ie_kv_span;

typedef struct ie_attend_args
{
	const float *q;				/* [n_q, D]: the queries of one position that share this k/v head */
	size_t		n_q;			/* H / G */
	size_t		head_dim;		/* D, a multiple of 8 */
	float		scale;			/* 1 / sqrt(D) */
	ie_kv_span	span[2];		/* cached prefix (n may be 0), then the sequence's own positions */
	float	   *scores;			/* scratch: [n_q, ld_scores], 64-byte aligned */
	size_t		ld_scores;		/* % 16 == 0, >= round_up(span[0].n, 16) + round_up(span[1].n, 16) */
	float	   *out;			/* [n_q, D]; may alias q */
} ie_attend_args;

typedef struct ie_kernels
{
	ie_cpu_level_id level;

	/* Quantise T rows of out->n_cols columns; x has row stride ldx. */
	void		(*quantize_rows) (const float *x, size_t ldx, size_t T, const ie_qrows *out);

	/*
	 * 16 outputs of T activation rows against one packed panel.  Per block, in
	 * ascending order, starting from acc = 0:
	 *		isum = sum over 32 of w.q * x.q					exact int32
	 *		acc = fmaf((float) isum, panel.d[r] * x.d, acc)
	 *		acc = fmaf(panel.m[r], x.s, acc)				U8 only
	 * and then per outlier of the row, in the list's order:
	 *		w = fmaf(panel.d[r], (float) w.q, panel.m[r])	U8
	 *		w = panel.d[r] * (float) w.q					S8
	 *		acc = fmaf(x, w, acc)
	 */
	void		(*panel_u8) (const ie_panel_block *panel, const ie_qrows *x, size_t T,
							 const ie_panel_args *args);
	void		(*panel_s8) (const ie_panel_block *panel, const ie_qrows *x, size_t T,
							 const ie_panel_args *args);

	/* acc = fmaf(x[t][k], w[k][r], acc) for ascending k; w: [n_in, 16], x has row stride ldx */
	void		(*panel_f32) (const float *w, size_t n_in, const float *x, size_t ldx, size_t T,
							  const ie_panel_args *args);

	/*
	 * y = (x * r) * weight, r = 1 / sqrtf(sum(x^2) / n + eps), the sum over 16
	 * lanes; y may be x.										(Zhang & Sennrich 2019)
	 */
	void		(*rms_norm) (const float *x, const float *weight, float eps, size_t n, float *y);

	/* gate[i] = (gate[i] / (1 + ie_expf(-gate[i]))) * up[i] */
	void		(*silu_mul) (float *gate, const float *up, size_t n);

	/*
	 * Rotate adjacent pairs (x[2i], x[2i+1]) of n_heads heads of one position
	 * in place by the angle whose cos and sin are given ([D / 2] each):
	 *		x' = fmaf(x0, c, -(x1 * s)), fmaf(x0, s, x1 * c)		(Su et al. 2021)
	 */
	void		(*rope) (float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin);

	/*
	 * Causal attention of one position:  out = softmax(scale q K^T) V.
	 * score = (sum over d ascending, fmaf) * scale; m = max; p = ie_expf(score - m);
	 * total = 16 lanes by position % 16 (positions counted over both spans), tree;
	 * out[d] = (sum over positions ascending, fmaf(p, v)) * (1 / total).
	 */
	void		(*attend) (const ie_attend_args *args);

	/* sum of a[i] * b[i], 16 lanes of fmaf, tree */
	float		(*dot) (const float *a, const float *b, size_t n);

	/* How a type is packed; f32 asks for an IE_PANEL_F32 panel of whatever type. */
	ie_pack		(*pack_for) (const ie_type_traits *type, bool f32);
} ie_kernels;

/* The table of a level; NULL if this build or machine lacks it. */
const ie_kernels *ie_kernels_get(ie_cpu_level_id level);

/* The table of ie_cpu_detect(). */
const ie_kernels *ie_kernels_select(void);

/* exp(x) for fp32: |relative error| < 2e-7, 0 below -87.3, no NaN for finite x (mathfun.c) */
float		ie_expf(float x);

/* cos and sin of position * theta^(-2i/D) for i < D / 2, computed in double without libm */
void		ie_rope_table(uint32_t position, float theta, size_t head_dim, float *cos, float *sin);

/*
 * In double, for sums over few numbers: log(x) of normal x > 0; exp(x), 0 below
 * -690 and exp(690) above 690; cos(x) of 0 <= x < 2^20.
 */
double		ie_log(double x);
double		ie_exp(double x);
double		ie_cos(double x);

#endif							/* IE_KERNELS_H */
