/*
 * test_kernels.c
 *	  Norm, activation, rotation, attention and quantising: the reference
 *	  against plain formulas in double, every faster level against the
 *	  reference, bit for bit.
 */
#include "base/bytes.h"
#include "math_test.h"

static uint64_t seed;
static const ie_kernels *ref;

/* ---------------------------------------------------------------------- dot */

static void
ref_dot(void)
{
	for (size_t s = 0; s < N_ODD_LENGTHS; s++)
	{
		size_t		n = odd_lengths[s];
		float		a[256];
		float		b[256];
		double		sum = 0.0;

		fill_f32(a, n, FILL_RANDOM, &seed);
		fill_f32(b, n, FILL_RANDOM, &seed);
		for (size_t i = 0; i < n; i++)
			sum += (double) a[i] * b[i];
		CHECK_NEAR(ref->dot(a, b, n), sum, 1e-4);
	}
}

static void
fast_dot(const ie_kernels *k)
{
	for (int how = 0; how < N_FILLS; how++)
		for (size_t s = 0; s < N_ODD_LENGTHS; s++)
		{
			size_t		n = odd_lengths[s];
			guard		a = guard_f32(n);
			guard		b = guard_f32(n);
			float		actual,
						expected;

			fill_f32(a.data, n, how, &seed);
			fill_f32(b.data, n, how, &seed);
			actual = k->dot(a.data, b.data, n);
			expected = ref->dot(a.data, b.data, n);
			CHECK(same_bits("dot", &actual, &expected, 1));
			guard_free(&a);
			guard_free(&b);
		}
}

/* -------------------------------------------------------------- quantize_rows */

static void
ref_quantize(void)
{
	guarded_qrows g = guarded_qrows_new(1, IE_QK);
	const ie_qtile *tile = g.q.tiles;

	for (int round = 0; round < 300; round++)
	{
		float		x[IE_QK];
		double		max = 0.0;
		int			sum = 0;

		fill_f32(x, IE_QK, FILL_RANDOM, &seed);
		for (int i = 0; i < IE_QK; i++)
			max = fmax(max, fabsf(x[i]));
		ref->quantize_rows(x, IE_QK, 1, &g.q);
		CHECK_INT(g.q.n_outliers[0], 0);
		CHECK_NEAR(tile->d[0], max / 127.0, max * 1e-9);
		for (int i = 0; i < IE_QK; i++)
		{
			CHECK(tile->q[0][i] >= -127);
			CHECK_NEAR(tile->q[0][i] * (double) tile->d[0], x[i], tile->d[0] * 0.5001);
			sum += tile->q[0][i];
		}
		CHECK_INT(tile->sum[0], sum);
		CHECK_NEAR(tile->s[0], sum * (double) tile->d[0], 1e-4);
	}
	guarded_qrows_free(&g);
}

/* Large numbers go into their row's list; the others are quantised as if they were 0 */
static void
ref_quantize_outliers(void)
{
	guarded_qrows g = guarded_qrows_new(3, 4 * IE_QK);
	guarded_qrows h = guarded_qrows_new(3, 4 * IE_QK);
	float		x[3][4 * IE_QK];

	fill_f32(x[0], 12 * IE_QK, FILL_RANDOM, &seed);
	x[0][37] = 400.0f;
	x[0][100] = -300.0f;
	x[2][127] = 50.0f;
	ref->quantize_rows(x[0], 4 * IE_QK, 3, &g.q);
	CHECK_INT(g.q.n_outliers[0], 2);
	CHECK_INT(g.q.outliers[0].column[0], 37);
	CHECK(g.q.outliers[0].x[0] == 400.0f);
	CHECK_INT(g.q.outliers[1].column[0], 100);
	CHECK(g.q.outliers[1].x[0] == -300.0f);
	CHECK_INT(g.q.outliers[0].column[2], 127);
	CHECK(g.q.outliers[0].x[2] == 50.0f);
	/* shorter lists end with zeros */
	CHECK(g.q.outliers[0].column[1] == 0 && g.q.outliers[0].x[1] == 0.0f);
	CHECK(g.q.outliers[1].column[1] == 0 && g.q.outliers[1].x[1] == 0.0f);
	CHECK(g.q.outliers[1].column[2] == 0 && g.q.outliers[1].x[2] == 0.0f);
	x[0][37] = x[0][100] = x[2][127] = 0.0f;
	ref->quantize_rows(x[0], 4 * IE_QK, 3, &h.q);
	CHECK_INT(h.q.n_outliers[0], 0);
	for (int b = 0; b < 4; b++)
		for (int t = 0; t < 3; t++)
		{
			CHECK(memcmp(g.q.tiles[b].q[t], h.q.tiles[b].q[t], IE_QK) == 0);
			CHECK(g.q.tiles[b].d[t] == h.q.tiles[b].d[t]);
		}
	guarded_qrows_free(&g);
	guarded_qrows_free(&h);
}

/* As many outliers as there can be: equal ones among zeros, of sizes whose squares are lost */
static void
most_outliers(const ie_kernels *k)
{
	static const float sizes[] = {1.0f, -1e15f, 1e-14f, 1e-18f, 1e-25f, 1e-38f, 1e25f, 3e38f};

	for (size_t n_cols = 32; n_cols <= 576; n_cols += 32)
		for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
			for (size_t n = 1; n <= n_cols; n += n < 40 ? 1 : 50)
			{
				guarded_qrows g = guarded_qrows_new(1, n_cols);
				float		x[576] = {0};
				const bool	in_range = fabsf(sizes[s]) > 1e-14f && fabsf(sizes[s]) < 1e16f;
				const float least_cols = (float) n * IE_OUTLIER * IE_OUTLIER;

				for (size_t i = 0; i < n; i++)
					x[n_cols - 1 - i] = sizes[s];
				k->quantize_rows(x, n_cols, 1, &g.q);
				CHECK(g.q.n_outliers[0] <= ie_max_outliers(n_cols));
				/* where both sides are equal, rounding decides */
				if (in_range && least_cols != (float) n_cols)
					CHECK_INT(g.q.n_outliers[0], least_cols < (float) n_cols ? n : 0);
				guarded_qrows_free(&g);
			}
}

/* Ties go to the even number: 0.5, 1.5, 2.5 of the step 1 */
static void
ref_quantize_ties(void)
{
	guarded_qrows g = guarded_qrows_new(1, IE_QK);
	float		x[IE_QK] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, 125.5f};
	static const int expected[] = {127, 0, 2, 2, 0, -2, -2, 126, 126};

	ref->quantize_rows(x, IE_QK, 1, &g.q);
	for (int i = 0; i < 9; i++)
		CHECK_INT(g.q.tiles->q[0][i], expected[i]);
	guarded_qrows_free(&g);
}

/* Blocks of zeros or tiny values, and with an infinity or a NaN */
static void
quantize_special(const ie_kernels *k)
{
	static const float specials[] = {0.0f, 1e-31f, -1e-45f, INFINITY, -INFINITY, NAN};

	for (size_t s = 0; s < sizeof(specials) / sizeof(specials[0]); s++)
	{
		guarded_qrows g = guarded_qrows_new(1, IE_QK);
		const ie_qtile *tile = g.q.tiles;
		float		x[IE_QK] = {0};
		bool		finite = isfinite(specials[s]);

		x[s] = specials[s];
		x[31] = finite ? 0.0f : 2.0f;
		memset(g.q.tiles, 0x55, sizeof(*tile));
		k->quantize_rows(x, IE_QK, 1, &g.q);
		CHECK_INT(g.q.n_outliers[0], 0);
		for (int i = 0; i < IE_QK; i++)
			CHECK_INT(tile->q[0][i], 0);
		CHECK_INT(tile->sum[0], 0);
		CHECK(finite ? tile->d[0] == 0.0f : isnan(tile->d[0]));
		CHECK(finite ? tile->s[0] == 0.0f : isnan(tile->s[0]));
		guarded_qrows_free(&g);
	}
}

/* Is row t the same in both, list of outliers included? */
static bool
same_row(const ie_qrows *a, const ie_qrows *b, size_t t)
{
	const size_t tile = t / IE_TILE_ROWS;
	const size_t row = t % IE_TILE_ROWS;
	const size_t n_blocks = a->n_cols / IE_QK;
	const ie_outliers *oa = a->outliers + tile * ie_max_outliers(a->n_cols);
	const ie_outliers *ob = b->outliers + tile * ie_max_outliers(b->n_cols);

	for (size_t i = tile * n_blocks; i < (tile + 1) * n_blocks; i++)
		if (memcmp(a->tiles[i].q[row], b->tiles[i].q[row], IE_QK) != 0 ||
			a->tiles[i].sum[row] != b->tiles[i].sum[row] ||
			!same_bits("d", &a->tiles[i].d[row], &b->tiles[i].d[row], 1) ||
			!same_bits("s", &a->tiles[i].s[row], &b->tiles[i].s[row], 1))
			return false;
	for (size_t i = 0; i < b->n_outliers[tile]; i++)
		if (oa[i].column[row] != ob[i].column[row] ||
			!same_bits("outlier", &oa[i].x[row], &ob[i].x[row], 1))
			return false;
	return a->n_outliers[tile] == b->n_outliers[tile];
}

static void
fast_quantize(const ie_kernels *k)
{
	quantize_special(k);
	most_outliers(k);
	for (int how = 0; how < N_FILLS; how++)
		for (size_t T = 1; T <= 17; T++)
		{
			size_t		n_cols = 32 * (1 + T % 5);
			size_t		ldx = n_cols + T % 2;
			size_t		n_x = (T - 1) * ldx + n_cols;
			guard		x = guard_f32(n_x);
			guarded_qrows a = guarded_qrows_new(T, n_cols);
			guarded_qrows b = guarded_qrows_new(T, n_cols);

			fill_f32(x.data, n_x, how, &seed);
			/* outliers here and there */
			for (size_t i = test_random(&seed) % 50; i < n_x; i += 1 + test_random(&seed) % 50)
				((float *) x.data)[i] *= 30.0f;
			k->quantize_rows(x.data, ldx, T, &a.q);
			ref->quantize_rows(x.data, ldx, T, &b.q);
			for (size_t t = 0; t < T; t++)
				CHECK(same_row(&a.q, &b.q, t));
			guard_free(&x);
			guarded_qrows_free(&a);
			guarded_qrows_free(&b);
		}
}

/* ------------------------------------------------------------------ rms_norm */

static void
ref_rms_norm(void)
{
	for (size_t s = 0; s < N_ODD_LENGTHS; s++)
	{
		size_t		n = odd_lengths[s];
		float		x[256];
		float		w[256];
		float		y[256];
		double		sum = 0.0;

		fill_f32(x, n, FILL_RANDOM, &seed);
		fill_f32(w, n, FILL_RANDOM, &seed);
		for (size_t i = 0; i < n; i++)
			sum += (double) x[i] * x[i];
		ref->rms_norm(x, w, 1e-5f, n, y);
		for (size_t i = 0; i < n; i++)
			CHECK_NEAR(y[i], x[i] / sqrt(sum / (double) n + 1e-5) * w[i], 1e-5);
	}
}

static void
fast_rms_norm(const ie_kernels *k)
{
	for (int how = 0; how < N_FILLS; how++)
		for (size_t s = 0; s < N_ODD_LENGTHS; s++)
		{
			size_t		n = odd_lengths[s];
			guard		x = guard_f32(n);
			guard		w = guard_f32(n);
			guard		y = guard_f32(n);
			float		expected[256];

			fill_f32(x.data, n, how, &seed);
			fill_f32(w.data, n, FILL_RANDOM, &seed);
			ref->rms_norm(x.data, w.data, 1e-5f, n, expected);
			k->rms_norm(x.data, w.data, 1e-5f, n, y.data);
			CHECK(same_bits("rms_norm", y.data, expected, n));
			k->rms_norm(x.data, w.data, 1e-5f, n, x.data);
			CHECK(same_bits("rms_norm in place", x.data, expected, n));
			guard_free(&x);
			guard_free(&w);
			guard_free(&y);
		}
}

/* ------------------------------------------------------------------ silu_mul */

static void
ref_silu_mul(void)
{
	for (int i = -2000; i <= 2000; i++)
	{
		float		gate = (float) i * 0.1f;
		float		up = test_random_f32(&seed);
		double		expected = gate / (1.0 + exp(-(double) gate)) * up;

		ref->silu_mul(&gate, &up, 1);
		CHECK_NEAR(gate, expected, fabs(expected) * 1e-6 + 1e-36);
	}
}

static void
fast_silu_mul(const ie_kernels *k)
{
	for (int how = 0; how < N_FILLS; how++)
		for (size_t s = 0; s < N_ODD_LENGTHS; s++)
		{
			size_t		n = odd_lengths[s];
			guard		gate = guard_f32(n);
			guard		up = guard_f32(n);
			float		expected[256];

			fill_f32(gate.data, n, how, &seed);
			fill_f32(up.data, n, FILL_RANDOM, &seed);
			memcpy(expected, gate.data, n * sizeof(float));
			ref->silu_mul(expected, up.data, n);
			k->silu_mul(gate.data, up.data, n);
			CHECK(same_bits("silu_mul", gate.data, expected, n));
			guard_free(&gate);
			guard_free(&up);
		}
}

/* ---------------------------------------------------------------------- rope */

static void
ref_rope(void)
{
	float		x[3 * 16];
	float		y[3 * 16];
	float		cos[8];
	float		sin[8];

	ie_rope_table(77, 10000.0f, 16, cos, sin);
	fill_f32(x, 48, FILL_RANDOM, &seed);
	memcpy(y, x, sizeof(y));
	ref->rope(y, 3, 16, cos, sin);
	for (size_t h = 0; h < 3; h++)
		for (size_t i = 0; i < 8; i++)
		{
			double		x0 = x[16 * h + 2 * i];
			double		x1 = x[16 * h + 2 * i + 1];

			CHECK_NEAR(y[16 * h + 2 * i], x0 * cos[i] - x1 * sin[i], 1e-6);
			CHECK_NEAR(y[16 * h + 2 * i + 1], x0 * sin[i] + x1 * cos[i], 1e-6);
		}
}

static void
fast_rope(const ie_kernels *k)
{
	for (size_t n_heads = 1; n_heads <= 9; n_heads++)
		for (size_t D = 8; D <= 128; D += 8)
		{
			guard		x = guard_f32(n_heads * D);
			guard		cos = guard_f32(D / 2);
			guard		sin = guard_f32(D / 2);
			float		expected[9 * 128];

			fill_f32(x.data, n_heads * D, n_heads % N_FILLS, &seed);
			ie_rope_table((uint32_t) (test_random(&seed) % 8192), 100000.0f, D, cos.data, sin.data);
			memcpy(expected, x.data, n_heads * D * sizeof(float));
			ref->rope(expected, n_heads, D, cos.data, sin.data);
			k->rope(x.data, n_heads, D, cos.data, sin.data);
			CHECK(same_bits("rope", x.data, expected, n_heads * D));
			guard_free(&x);
			guard_free(&cos);
			guard_free(&sin);
		}
}

/* -------------------------------------------------------------------- attend */

typedef struct attend_case
{
	size_t		n_q;
	size_t		D;
	size_t		n[2];			/* positions of the two spans */
	fill		how;
} attend_case;

typedef struct attend_buffers
{
	guard		q;
	guard		kt[2];
	guard		v[2];
	guard		scores;
	guard		out;
	ie_attend_args args;
} attend_buffers;

static attend_buffers
attend_setup(const attend_case *c)
{
	attend_buffers b;
	size_t		ld_scores = ie_round_up(c->n[0], 16) + ie_round_up(c->n[1], 16);

	b.q = guard_f32(c->n_q * c->D);
	b.out = guard_f32(c->n_q * c->D);
	b.scores = guard_f32(c->n_q * ld_scores);
	fill_f32(b.q.data, c->n_q * c->D, c->how, &seed);
	b.args = (ie_attend_args)
	{
		.q = b.q.data, .n_q = c->n_q, .head_dim = c->D, .scale = 1.0f / sqrtf((float) c->D),
		.scores = b.scores.data, .ld_scores = ld_scores, .out = b.out.data
	};
	for (int s = 0; s < 2; s++)
	{
		/* rows further apart than the positions need */
		size_t		ld_k = ie_round_up(c->n[s], 16) + 16;
		size_t		ld_v = c->D + 3;
		size_t		n_k = (c->D - 1) * ld_k + ie_round_up(c->n[s], 16);
		size_t		n_v = c->n[s] > 0 ? (c->n[s] - 1) * ld_v + c->D : 0;
		float	   *kt;

		b.kt[s] = guard_f32(ie_round_up(n_k, 16));
		b.v[s] = guard_f32(n_v);
		kt = b.kt[s].data;
		fill_f32(kt, n_k, c->how, &seed);
		fill_f32(b.v[s].data, n_v, FILL_RANDOM, &seed);
		/* what lies behind the last position must not matter */
		for (size_t d = 0; d < c->D; d++)
			for (size_t j = c->n[s]; j < ie_round_up(c->n[s], 16); j++)
				kt[d * ld_k + j] = j % 2 == 0 ? NAN : INFINITY;
		b.args.span[s] = (ie_kv_span) {kt, ld_k, b.v[s].data, ld_v, c->n[s]};
	}
	return b;
}

static void
attend_free(attend_buffers *b)
{
	guard_free(&b->q);
	guard_free(&b->out);
	guard_free(&b->scores);
	for (int s = 0; s < 2; s++)
	{
		guard_free(&b->kt[s]);
		guard_free(&b->v[s]);
	}
}

/* softmax(scale q K^T) V of head h, column d, in double */
static double
attend_exact(const ie_attend_args *a, size_t h, size_t d)
{
	double		max = -INFINITY;
	double		total = 0.0;
	double		sum = 0.0;

	for (int pass = 0; pass < 2; pass++)
		for (int s = 0; s < 2; s++)
			for (size_t j = 0; j < a->span[s].n; j++)
			{
				double		score = 0.0;

				for (size_t i = 0; i < a->head_dim; i++)
					score += (double) a->q[h * a->head_dim + i] *
						a->span[s].kt[i * a->span[s].ld_k + j];
				score *= a->scale;
				if (pass == 0)
					max = fmax(max, score);
				else
				{
					total += exp(score - max);
					sum += exp(score - max) * a->span[s].v[j * a->span[s].ld_v + d];
				}
			}
	return sum / total;
}

static void
ref_attend(void)
{
	static const attend_case cases[] = {
		{1, 8, {0, 1}, FILL_RANDOM}, {3, 16, {0, 20}, FILL_RANDOM}, {2, 24, {17, 5}, FILL_RANDOM},
		{3, 64, {33, 31}, FILL_RANDOM}, {2, 16, {16, 16}, FILL_EXTREME}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		attend_buffers b = attend_setup(&cases[i]);

		ref->attend(&b.args);
		for (size_t h = 0; h < cases[i].n_q; h++)
			for (size_t d = 0; d < cases[i].D; d++)
				CHECK_NEAR(b.args.out[h * cases[i].D + d], attend_exact(&b.args, h, d), 2e-5);
		attend_free(&b);
	}
}

static void
fast_attend_case(const ie_kernels *k, const attend_case *c)
{
	attend_buffers b = attend_setup(c);
	size_t		n_out = c->n_q * c->D;
	float	   *expected = malloc(n_out * sizeof(float));
	ie_attend_args in_place = b.args;

	in_place.out = b.q.data;
	ref->attend(&b.args);
	memcpy(expected, b.out.data, n_out * sizeof(float));
	k->attend(&b.args);
	CHECK(same_bits("attend", b.out.data, expected, n_out));
	k->attend(&in_place);
	CHECK(same_bits("attend in place", b.q.data, expected, n_out));
	free(expected);
	attend_free(&b);
}

static void
fast_attend(const ie_kernels *k)
{
	/* heads and columns */
	for (size_t n_q = 1; n_q <= 9; n_q++)
		for (size_t D = 8; D <= 136; D += 8)
			fast_attend_case(k, &(attend_case) {n_q, D, {n_q * 3, D / 3}, n_q % 2});
	/* positions */
	for (size_t i = 0; i < N_ODD_LENGTHS; i++)
		for (size_t j = 0; j < N_ODD_LENGTHS; j++)
			fast_attend_case(k, &(attend_case) {
							 1 + (i + j) % 4, 16,
							 {odd_lengths[i] - 1, odd_lengths[j]}, (i + j) % N_FILLS});
}

static void
fast_level(const ie_kernels *k)
{
	fast_dot(k);
	fast_quantize(k);
	fast_rms_norm(k);
	fast_silu_mul(k);
	fast_rope(k);
	fast_attend(k);
}

int
main(void)
{
	seed = test_seed("kernels");
	ref = ie_kernels_get(IE_CPU_REF);
	CHECK(ie_kernels_select()->level == ie_cpu_detect());
	ref_dot();
	ref_quantize();
	ref_quantize_outliers();
	most_outliers(ref);
	ref_quantize_ties();
	quantize_special(ref);
	ref_rms_norm();
	ref_silu_mul();
	ref_rope();
	ref_attend();
	for_each_fast_level(fast_level);
	return test_end("kernels");
}
