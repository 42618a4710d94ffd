/*
 * test_gemm.c
 *	  Matrix products: against OpenBLAS over dequantised weights, within the
 *	  error that quantised activations allow; and the same bits for every
 *	  level, number of threads, and number of rows.
 */
#include "base/bytes.h"
#include "math/gemm.h"
#include "math_test.h"

#include <cblas.h>

static uint64_t seed;

static const ie_type types[] = {
	IE_TYPE_F32, IE_TYPE_F16, IE_TYPE_BF16, IE_TYPE_Q4_0, IE_TYPE_Q4_1, IE_TYPE_Q5_0,
	IE_TYPE_Q5_1, IE_TYPE_Q8_0
};

#define N_TYPES (sizeof(types) / sizeof(types[0]))
#define MAX_THREADS 3

/* A matrix, activations and room for results */
typedef struct problem
{
	ie_matrix	w;
	float	   *dense;			/* [n_out, n_in], w dequantised */
	ie_rows		rows;
	float	   *x;
	float	   *y0;				/* [T, n_out], what y holds before */
	float	   *y;				/* [T, n_out] */
	guard		weights;
	void	   *tiles;
	void	   *panels;
} problem;

static problem
make_problem(ie_type type, size_t T, size_t n_in, size_t n_out)
{
	const ie_type_traits *traits = ie_type_find(type);
	size_t		row_bytes = n_in / traits->block_len * traits->block_bytes;
	ie_arena	arena = {0};
	problem		p = {
		.weights = guard_new(row_bytes * n_out),
		.dense = malloc(n_in * n_out * sizeof(float)),
		.x = malloc(T * n_in * sizeof(float)),
		.y0 = malloc(T * n_out * sizeof(float)),
		.y = malloc(T * n_out * sizeof(float)),
		.panels = aligned_alloc(64, MAX_THREADS * ie_gemm_panel_bytes(n_in))
	};
	uint8_t    *data = p.weights.data;

	for (size_t i = 0; i < row_bytes * n_out; i++)
		data[i] = (uint8_t) (test_random(&seed) >> 56);
	/* magnitudes below 2: clear the top exponent bit of floats, scales and mins */
	for (size_t i = 0; i < row_bytes * n_out; i += traits->block_bytes)
	{
		data[i + (type == IE_TYPE_F32 ? 3 : 1)] &= 0xbf;
		if (type == IE_TYPE_Q4_1 || type == IE_TYPE_Q5_1)
			data[i + 3] &= 0xbf;
	}
	/* Q8_0's -128 would be read as -127 by the integer path alone */
	for (size_t i = 0; type == IE_TYPE_Q8_0 && i < row_bytes * n_out; i++)
		if (i % traits->block_bytes >= 2 && data[i] == 0x80)
			data[i] = 0x81;
	p.w = (ie_matrix) {traits, data, row_bytes, n_in, n_out};
	for (size_t o = 0; o < n_out; o++)
		traits->dequantize(data + o * row_bytes, n_in, p.dense + o * n_in);
	fill_f32(p.x, T * n_in, FILL_RANDOM, &seed);
	/* outliers here and there */
	for (size_t i = test_random(&seed) % 100; i < T * n_in; i += 1 + test_random(&seed) % 100)
		p.x[i] *= 30.0f;
	fill_f32(p.y0, T * n_out, FILL_RANDOM, &seed);
	ie_qrows_take(&arena, T, n_in / IE_QK * IE_QK);
	p.tiles = aligned_alloc(64, arena.used);
	arena = (ie_arena) {p.tiles, arena.used, 0, false};
	p.rows = (ie_rows) {T, p.x, n_in, ie_qrows_take(&arena, T, n_in / IE_QK * IE_QK)};
	CHECK(!arena.overflow);
	return p;
}

/* The same weights as panels, where the type is Q8_0 */
static void *
as_panels(ie_matrix *w)
{
	const ie_kernels *ref = ie_kernels_get(IE_CPU_REF);
	const size_t row_bytes = w->n_in / IE_QK * ie_type_panels_s8.block_bytes;
	const size_t n_rows = ie_round_up(w->n_out, IE_PANEL_ROWS);
	uint8_t    *panels = aligned_alloc(64, n_rows * row_bytes);

	for (size_t row0 = 0; row0 < w->n_out; row0 += IE_PANEL_ROWS)
		ref->pack_for(w->type, false).pack(w, row0, panels + row0 * row_bytes);
	*w = (ie_matrix) {&ie_type_panels_s8, panels, row_bytes, w->n_in, w->n_out};
	return panels;
}

static void
free_problem(problem *p)
{
	guard_free(&p->weights);
	free(p->dense);
	free(p->x);
	free(p->y0);
	free(p->y);
	free(p->tiles);
	free(p->panels);
}

static ie_gemm
make_gemm(const problem *p, ie_cpu_level_id level, int n_threads, bool f32)
{
	return (ie_gemm) {ie_kernels_get(level), n_threads, f32, p->panels, ie_gemm_panel_bytes(p->w.n_in)};
}

/* p->y = y0 + x W^T, or x W^T */
static void
multiply(problem *p, const ie_gemm *gemm, bool add)
{
	memcpy(p->y, p->y0, p->rows.T * p->w.n_out * sizeof(float));
	if (ie_gemm_is_integer(gemm, &p->w))
		ie_quantize(gemm, &p->rows);
	ie_matmul(gemm, &p->w, &p->rows, p->y, p->w.n_out, add);
}

/* ---------------------------------------------------------------- exactness */

/*
 * How far output (t, o) may be from the product over dequantised weights: half
 * a step of each block's activations times the weights' magnitudes, where the
 * integer path is used, and fp32 rounding.
 */
static double
tolerance(const problem *p, bool integer, size_t t, size_t o)
{
	double		quantizing = 0.0;
	double		size = fabs(p->y0[t * p->w.n_out + o]);

	for (size_t k = 0; k < p->w.n_in; k++)
	{
		double		w = fabs(p->dense[o * p->w.n_in + k]);

		size += w * fabs(p->x[t * p->w.n_in + k]);
		if (integer)
		{
			const ie_qtile *tile = &p->rows.q.tiles[t / 8 * (p->w.n_in / IE_QK) + k / IE_QK];

			quantizing += 0.5 * tile->d[t % 8] * w;
			/* a min and a scaled number may cancel: their roundings do not */
			size += 64.0 * tile->d[t % 8];
		}
	}
	return quantizing + 3e-6 * size;
}

static void
check_against_blas(problem *p, bool f32)
{
	const int	T = (int) p->rows.T;
	const int	n_in = (int) p->w.n_in;
	const int	n_out = (int) p->w.n_out;
	const ie_gemm gemm = make_gemm(p, ie_cpu_detect(), 1, f32);
	float	   *expected = malloc(p->rows.T * p->w.n_out * sizeof(float));

	for (int add = 0; add <= 1; add++)
	{
		memcpy(expected, p->y0, p->rows.T * p->w.n_out * sizeof(float));
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, T, n_out, n_in, 1.0f, p->x, n_in,
					p->dense, n_in, add ? 1.0f : 0.0f, expected, n_out);
		multiply(p, &gemm, add);
		for (size_t t = 0; t < p->rows.T; t++)
			for (size_t o = 0; o < p->w.n_out; o++)
				CHECK_NEAR(p->y[t * p->w.n_out + o], expected[t * p->w.n_out + o],
						   tolerance(p, ie_gemm_is_integer(&gemm, &p->w), t, o));
	}
	free(expected);
}

/* ---------------------------------------------------------------- same bits */

/* All levels and numbers of threads give the bits of expected, or if unknown of the first. */
static void
check_levels(problem *p, bool f32, bool add, float *expected, bool is_known)
{
	const size_t n = p->rows.T * p->w.n_out;

	for (int level = IE_CPU_REF; level < IE_CPU_N_LEVELS; level++)
		for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++)
		{
			const ie_gemm gemm = make_gemm(p, (ie_cpu_level_id) level, n_threads, f32);

			if (gemm.kernels == NULL)
				continue;
			multiply(p, &gemm, add);
			if (!is_known)
				memcpy(expected, p->y, n * sizeof(float));
			is_known = true;
			CHECK(same_bits("matmul", p->y, expected, n));
		}
}

/* The reference on one thread gives the bits that all others must give, also of panels */
static void
check_same_bits(problem *p, bool f32)
{
	float	   *expected = malloc(p->rows.T * p->w.n_out * sizeof(float));

	for (int add = 0; add <= 1; add++)
	{
		check_levels(p, f32, add, expected, false);
		if (p->w.type->type == IE_TYPE_Q8_0)
		{
			const ie_matrix rows = p->w;
			void	   *panels = as_panels(&p->w);

			check_levels(p, f32, add, expected, true);
			free(panels);
			p->w = rows;
		}
	}
	free(expected);
}

/* Each row alone, and the last ones, as among all rows */
static void
check_rows(problem *p, bool f32)
{
	const ie_gemm gemm = make_gemm(p, ie_cpu_detect(), 1, f32);
	const size_t n_out = p->w.n_out;
	const ie_rows all = p->rows;
	float	   *expected = malloc(all.T * n_out * sizeof(float));

	multiply(p, &gemm, false);
	memcpy(expected, p->y, all.T * n_out * sizeof(float));
	for (size_t t = 0; t < all.T; t++)
		for (int to_end = 0; to_end <= 1; to_end++)
		{
			const size_t T = to_end ? all.T - t : 1;

			p->rows.T = T;
			p->rows.x = all.x + t * all.ldx;
			multiply(p, &gemm, false);
			CHECK(same_bits("some rows", p->y, expected + t * n_out, T * n_out));
		}
	p->rows = all;
	free(expected);
}

static void
test_type(ie_type type)
{
	static const struct
	{
		size_t		T;
		size_t		n_in;
		size_t		n_out;
	}			shapes[] = {{1, 32, 1}, {3, 64, 17}, {9, 96, 16}, {13, 576, 200}};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		for (int f32 = 0; f32 <= 1; f32++)
		{
			problem		p = make_problem(type, shapes[i].T, shapes[i].n_in, shapes[i].n_out);

			check_against_blas(&p, f32);
			check_same_bits(&p, f32);
			check_rows(&p, f32);
			free_problem(&p);
		}
}

/* Float weights need no whole blocks */
static void
test_odd_columns(void)
{
	problem		p = make_problem(IE_TYPE_F16, 5, 45, 19);

	check_against_blas(&p, false);
	check_same_bits(&p, false);
	free_problem(&p);
}

/* Three products in one go, cut by threads anywhere, as three calls */
static void
test_many(void)
{
	problem		p[3] = {
		make_problem(IE_TYPE_Q4_1, 7, 288, 300), make_problem(IE_TYPE_Q8_0, 7, 288, 50),
		make_problem(IE_TYPE_F16, 7, 288, 40)
	};
	ie_product	products[3];
	float	   *y[3];

	for (int i = 0; i < 3; i++)
	{
		const ie_gemm gemm = make_gemm(&p[0], ie_cpu_detect(), 1, false);

		p[i].rows = p[0].rows;
		multiply(&p[i], &gemm, i == 1);
		y[i] = malloc(7 * p[i].w.n_out * sizeof(float));
		products[i] = (ie_product) {&p[i].w, y[i], p[i].w.n_out, i == 1};
	}
	for (int n_threads = 1; n_threads <= MAX_THREADS; n_threads++)
	{
		const ie_gemm gemm = make_gemm(&p[0], ie_cpu_detect(), n_threads, false);

		for (int i = 0; i < 3; i++)
			memcpy(y[i], p[i].y0, 7 * p[i].w.n_out * sizeof(float));
		ie_matmul_many(&gemm, &p[0].rows, products, 3);
		for (int i = 0; i < 3; i++)
			CHECK(same_bits("many", y[i], p[i].y, 7 * p[i].w.n_out));
	}
	for (int i = 0; i < 3; i++)
	{
		free(y[i]);
		free_problem(&p[i]);
	}
}

/* A stride wider than the outputs: what lies between rows stays */
static void
test_stride(void)
{
	problem		p = make_problem(IE_TYPE_Q4_1, 5, 64, 21);
	const ie_gemm gemm = make_gemm(&p, ie_cpu_detect(), 1, false);
	float		y[5 * 30];

	multiply(&p, &gemm, false);
	for (size_t i = 0; i < 150; i++)
		y[i] = 77.0f;
	ie_matmul(&gemm, &p.w, &p.rows, y, 30, false);
	for (size_t t = 0; t < 5; t++)
	{
		CHECK(same_bits("stride", y + 30 * t, p.y + 21 * t, 21));
		for (size_t i = 21; i < 30; i++)
			CHECK(y[30 * t + i] == 77.0f);
	}
	free_problem(&p);
}

static void
test_storage(void)
{
	ie_arena	plan = {0};

	ie_qrows_take(&plan, 9, 64);
	CHECK(!plan.overflow);
	CHECK(plan.used >= 2 * (2 * sizeof(ie_qtile) + 8 * sizeof(ie_outliers) + sizeof(uint32_t)));
	ie_qrows_take(&plan, SIZE_MAX, 32);
	CHECK(plan.overflow);
	plan = (ie_arena) {0};
	ie_qrows_take(&plan, SIZE_MAX / 2, SIZE_MAX / 64 * 32);
	CHECK(plan.overflow);
	CHECK_INT(ie_gemm_panel_bytes(1536) % 64, 0);
	CHECK(ie_gemm_panel_bytes(1536) >= 1536 * 16 * sizeof(float));
	CHECK(ie_gemm_panel_bytes(1536) >= 48 * sizeof(ie_panel_block));
}

int
main(void)
{
	seed = test_seed("gemm");
	openblas_set_num_threads(1);
	for (size_t i = 0; i < N_TYPES; i++)
		test_type(types[i]);
	test_odd_columns();
	test_many();
	test_stride();
	test_storage();
	return test_end("gemm");
}
