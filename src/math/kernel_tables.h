/*
 * kernel_tables.h
 *	  What the files of src/math share.  Users include kernels.h.
 */
#ifndef IE_KERNEL_TABLES_H
#define IE_KERNEL_TABLES_H

#include "math/kernels.h"

#include <math.h>
#include <string.h>

/* Below this magnitude a block of activations counts as 0: 127 / max stays finite */
#define IE_QUANT_MIN 1e-30f

/* A row of a tile whose largest magnitude is tiny, infinite or NaN */
static inline void
ie_quantize_special(float max, ie_qtile *tile, size_t row)
{
	memset(tile->q[row], 0, IE_QK);
	tile->d[row] = max < IE_QUANT_MIN ? 0.0f : NAN;
	tile->s[row] = tile->d[row];
	tile->sum[row] = 0;
}

/*
 * The magnitude beyond which a row's element is an outlier.  Infinity, and so
 * none, where the sum is not finite, or so small that squares were lost and
 * the bound on their number would not hold.
 */
static inline float
ie_outlier_limit(float square_sum, size_t n)
{
	return square_sum >= 1e-30f ? IE_OUTLIER * sqrtf(square_sum / (float) n) : INFINITY;
}

/* Unroll the loop that follows, whose count is a constant of at most n */
#define IE_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define UNROLL(n) IE_PRAGMA(unroll n)
#else
#define UNROLL(n) IE_PRAGMA(GCC unroll n)
#endif

/* Rows of a panel that the matrix has; the others are 0 */
static inline size_t
ie_panel_rows(const ie_matrix *w, size_t row0)
{
	size_t		left = w->n_out - row0;

	return left < IE_PANEL_ROWS ? left : IE_PANEL_ROWS;
}

/*
 * The memory that comes next, brought into the caches a few lines at a time:
 * asking for all of it at once would hold up the loads of the present work.
 */
typedef struct ie_ahead
{
	const uint8_t *at;
	const uint8_t *end;
} ie_ahead;

#define CACHE_LINE 64

static inline ie_ahead
ie_ahead_begin(const ie_panel_args *args)
{
	return (ie_ahead) {args->next, args->next + args->next_bytes};
}

static inline __attribute__((always_inline)) void
ie_ahead_step(ie_ahead *ahead, const int n_lines)
{
	if (ahead->at < ahead->end)
	{
		UNROLL(4)
		for (int i = 0; i < n_lines; i++)
			__builtin_prefetch(ahead->at + CACHE_LINE * i);
		ahead->at += CACHE_LINE * n_lines;
	}
}

/* What there was no time for */
static inline void
ie_ahead_finish(ie_ahead *ahead)
{
	while (ahead->at < ahead->end)
		ie_ahead_step(ahead, 1);
}

extern const ie_kernels ie_kernels_ref;
extern const ie_kernels ie_kernels_avx2;
extern const ie_kernels ie_kernels_avxvnni;
extern const ie_kernels ie_kernels_avx512;
extern const ie_kernels ie_kernels_amx;
extern const ie_kernels ie_kernels_neon;

ie_pack		ie_pack_for_ref(const ie_type_traits *type, bool f32);
ie_pack		ie_pack_for_avx2(const ie_type_traits *type, bool f32);

void		ie_ref_rope(float *x, size_t n_heads, size_t head_dim, const float *cos,
						const float *sin);

float		ie_avx2_dot(const float *a, const float *b, size_t n);
void		ie_avx2_quantize_rows(const float *x, size_t ldx, size_t T, const ie_qrows *out);
void		ie_avx2_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
							 const ie_panel_args *args);
void		ie_avx2_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
							 const ie_panel_args *args);
void		ie_avx2_panel_f32(const float *w, size_t n_in, const float *x, size_t ldx, size_t T,
							  const ie_panel_args *args);
void		ie_avx2_rms_norm(const float *x, const float *weight, float eps, size_t n, float *y);
void		ie_avx2_silu_mul(float *gate, const float *up, size_t n);
void		ie_avx2_attend(const ie_attend_args *args);
void		ie_avx2_rope(float *x, size_t n_heads, size_t head_dim, const float *cos,
						 const float *sin);

void		ie_avx512_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
							   const ie_panel_args *args);
void		ie_avx512_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
							   const ie_panel_args *args);
void		ie_avx512_panel_f32(const float *w, size_t n_in, const float *x, size_t ldx, size_t T,
								const ie_panel_args *args);

void		ie_amx_panel_u8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
							const ie_panel_args *args);
void		ie_amx_panel_s8(const ie_panel_block *panel, const ie_qrows *x, size_t T,
							const ie_panel_args *args);

#endif							/* IE_KERNEL_TABLES_H */
