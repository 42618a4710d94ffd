/*
 * test_panels.c
 *	  Packing of weights and products with packed panels: the reference against
 *	  dequantised weights in double, every faster level against the reference,
 *	  bit for bit.
 */
#include "math_test.h"

#if defined(__x86_64__)
#include "amx_emulated.h"
#endif

static uint64_t seed;
static const ie_kernels *ref;

/* ------------------------------------------------------------------ products */

typedef struct panel_case
{
	size_t		T;
	size_t		n_in;
	size_t		n_rows;
	size_t		ldy;
	bool		add;
	fill		how;
	ie_panel_kind kind;
} panel_case;

typedef struct panel_buffers
{
	guard		panel;
	guarded_qrows quantized;	/* activations, quantised */
	guard		x;				/* or floats, [T, n_in] */
	guard		y;
	size_t		n_y;
	ie_panel_args args;
} panel_buffers;

static int8_t
random_s8(void)
{
	return (int8_t) ((int) (test_random(&seed) >> 32) % 128);
}

static size_t
panel_bytes(ie_panel_kind kind, size_t n_in)
{
	switch (kind)
	{
		case IE_PANEL_U8:
			return n_in / IE_QK * sizeof(ie_panel_block);
		case IE_PANEL_S8:
			return n_in / IE_QK * IE_PANEL_S8_BYTES;
		default:
			return n_in * IE_PANEL_ROWS * sizeof(float);
	}
}

/* Weights over the kind's range; where the case is extreme, at its ends */
static void
fill_panel(void *panel, const panel_case *c)
{
	for (size_t b = 0; b < c->n_in / IE_QK; b++)
	{
		ie_panel_block *block = (ie_panel_block *) (uintptr_t) ie_panel_at(c->kind, panel, b);
		uint8_t    *q = &block->q[0][0][0];

		for (size_t i = 0; i < sizeof(block->q); i++)
			if (c->kind == IE_PANEL_U8)
				q[i] = c->how == FILL_EXTREME ? 31 : (uint8_t) random_s8() % 32;
			else
				q[i] = c->how == FILL_EXTREME ? (b % 2 == 0 ? 0x7f : 0x81) : (uint8_t) random_s8();
		fill_f32(block->d, IE_PANEL_ROWS, c->how, &seed);
		if (c->kind == IE_PANEL_U8)
			fill_f32(block->m, IE_PANEL_ROWS, c->how, &seed);
	}
}

/* Activations at random, or all at the ends: of one sign, of the other, alternating */
static void
fill_tiles(const ie_qrows *rows, const panel_case *c)
{
	size_t		n_blocks = c->n_in / IE_QK;

	for (size_t t = 0; t < c->T; t++)
		for (size_t b = 0; b < n_blocks; b++)
		{
			ie_qtile   *tile = &rows->tiles[t / IE_TILE_ROWS * n_blocks + b];
			size_t		row = t % IE_TILE_ROWS;

			tile->sum[row] = 0;
			for (size_t i = 0; i < IE_QK; i++)
			{
				if (c->how == FILL_EXTREME)
					tile->q[row][i] = t % 3 == 0 ? 127 : t % 3 == 1 || i % 2 == 0 ? -127 : 127;
				else
					tile->q[row][i] = random_s8();
				tile->sum[row] += tile->q[row][i];
			}
			tile->d[row] = test_random_f32(&seed);
			tile->s[row] = tile->d[row] * (float) tile->sum[row];
		}
}

/* Lists of 0 to as many outliers as fit, anywhere, that end with zeros */
static void
fill_outliers(const ie_qrows *rows, const panel_case *c)
{
	for (size_t tile = 0; tile < (c->T + 7) / 8; tile++)
	{
		ie_outliers *outliers = rows->outliers + tile * ie_max_outliers(c->n_in);
		uint32_t	n = (uint32_t) (test_random(&seed) % (ie_max_outliers(c->n_in) + 1));

		rows->n_outliers[tile] = n;
		for (uint32_t i = 0; i < n; i++)
			for (uint32_t row = 0; row < IE_TILE_ROWS; row++)
			{
				bool		ended = i > n * row / IE_TILE_ROWS;

				outliers[i].column[row] = ended ? 0 : (uint32_t) (test_random(&seed) % c->n_in);
				outliers[i].x[row] = ended ? 0.0f : 50.0f * test_random_f32(&seed);
			}
	}
}

static panel_buffers
setup(const panel_case *c)
{
	panel_buffers b = {.n_y = (c->T - 1) * c->ldy + c->n_rows};

	b.y = guard_f32(b.n_y);
	fill_f32(b.y.data, b.n_y, FILL_RANDOM, &seed);
	b.panel = guard_new(panel_bytes(c->kind, c->n_in));
	if (c->kind == IE_PANEL_F32)
	{
		b.x = guard_f32(c->T * c->n_in);
		fill_f32(b.panel.data, c->n_in * IE_PANEL_ROWS, c->how, &seed);
		fill_f32(b.x.data, c->T * c->n_in, c->how, &seed);
	}
	else
	{
		b.quantized = guarded_qrows_new(c->T, c->n_in);
		fill_panel(b.panel.data, c);
		fill_tiles(&b.quantized.q, c);
		fill_outliers(&b.quantized.q, c);
	}
	b.args = (ie_panel_args) {b.y.data, c->ldy, c->n_rows, c->add, b.panel.data, 100};
	return b;
}

static void
teardown(panel_buffers *b)
{
	guard_free(&b->y);
	guard_free(&b->panel);
	if (b->x.data != NULL)
		guard_free(&b->x);
	if (b->quantized.q.tiles != NULL)
		guarded_qrows_free(&b->quantized);
}

static void
multiply(const ie_kernels *k, const panel_case *c, const panel_buffers *b, float *y)
{
	ie_panel_args args = b->args;

	args.y = y;
	if (c->kind == IE_PANEL_U8)
		k->panel_u8(b->panel.data, &b->quantized.q, c->T, &args);
	else if (c->kind == IE_PANEL_S8)
		k->panel_s8(b->panel.data, &b->quantized.q, c->T, &args);
	else
		k->panel_f32(b->panel.data, c->n_in, b->x.data, c->n_in, c->T, &args);
}

/* A panel's weight as a number: what the kernels take it for; *size: of its two parts */
static double
panel_weight(const void *panel, ie_panel_kind kind, size_t k, size_t r, double *size)
{
	const ie_panel_block *block = ie_panel_at(kind, panel, k / IE_QK);
	const size_t group = k % IE_QK / 4;
	double		w;

	switch (kind)
	{
		case IE_PANEL_U8:
			w = (double) block->d[r] * block->q[group][r][k % 4];
			*size = fabs(w) + fabsf(block->m[r]);
			return w + block->m[r];
		case IE_PANEL_S8:
			w = (double) block->d[r] * (int8_t) block->q[group][r][k % 4];
			break;
		default:
			w = ((const float *) panel)[k * IE_PANEL_ROWS + r];
			break;
	}
	*size = fabs(w);
	return w;
}

/* Output (t, r) in double; *size receives the sum of the terms' magnitudes */
static double
exact(const panel_case *c, const panel_buffers *b, size_t t, size_t r, double *size)
{
	const ie_qrows *q = &b->quantized.q;
	double		sum = c->add ? b->args.y[t * c->ldy + r] : 0.0;
	double		w_size;

	*size = fabs(sum);
	for (size_t k = 0; k < c->n_in; k++)
	{
		const double w = panel_weight(b->panel.data, c->kind, k, r, &w_size);
		double		x;

		if (c->kind == IE_PANEL_F32)
			x = ((const float *) b->x.data)[t * c->n_in + k];
		else
		{
			const ie_qtile *tile = &q->tiles[t / 8 * (c->n_in / IE_QK) + k / IE_QK];

			x = (double) tile->d[t % 8] * tile->q[t % 8][k % IE_QK];
		}
		sum += w * x;
		*size += w_size * fabs(x);
	}
	for (size_t i = 0; c->kind != IE_PANEL_F32 && i < q->n_outliers[t / 8]; i++)
	{
		const ie_outliers *o = &q->outliers[t / 8 * ie_max_outliers(c->n_in) + i];

		sum += panel_weight(b->panel.data, c->kind, o->column[t % 8], r, &w_size) * o->x[t % 8];
		*size += w_size * fabsf(o->x[t % 8]);
	}
	return sum;
}

static void
ref_products(void)
{
	for (int kind = IE_PANEL_U8; kind <= IE_PANEL_F32; kind++)
		for (int how = FILL_RANDOM; how <= FILL_EXTREME; how++)
			for (size_t i = 0; i < 6; i++)
			{
				panel_case	c = {1 + 3 * i, 32 * (1 + i), 16 - i, 20, i % 2 == 1, how, kind};
				panel_buffers b = setup(&c);
				float	   *y = malloc(b.n_y * sizeof(float));

				memcpy(y, b.args.y, b.n_y * sizeof(float));
				multiply(ref, &c, &b, y);
				for (size_t t = 0; t < c.T; t++)
					for (size_t r = 0; r < c.n_rows; r++)
					{
						double		size;
						double		expected = exact(&c, &b, t, r, &size);

						CHECK_NEAR(y[t * c.ldy + r], expected, size * 1e-6);
					}
				free(y);
				teardown(&b);
			}
}

static void
fast_product_case(const ie_kernels *k, const panel_case *c)
{
	static const char *const names[] = {"panel_u8", "panel_s8", "panel_f32"};
	panel_buffers b = setup(c);
	float	   *expected = malloc(b.n_y * sizeof(float));

	memcpy(expected, b.args.y, b.n_y * sizeof(float));
	multiply(ref, c, &b, expected);
	multiply(k, c, &b, b.args.y);
	if (!same_bits(names[c->kind], b.args.y, expected, b.n_y))
	{
		printf("# T %zu, n_in %zu, n_rows %zu, add %d, fill %d\n", c->T, c->n_in, c->n_rows, c->add,
			   (int) c->how);
		CHECK(!"same bits");
	}
	CHECK(true);
	free(expected);
	teardown(&b);
}

static void
fast_products(const ie_kernels *k)
{
	for (int kind = IE_PANEL_U8; kind <= IE_PANEL_F32; kind++)
		for (int how = 0; how < N_FILLS; how++)
		{
			for (size_t T = 1; T <= 33; T++)
				for (size_t n_rows = 1; n_rows <= 16; n_rows++)
					fast_product_case(k, &(panel_case) {
									  T, 32 * (1 + (T + n_rows) % 4), n_rows, n_rows + T % 3,
									  (T + n_rows / 2) % 2 == 1, how, kind});
			fast_product_case(k, &(panel_case) {9, 4096, 16, 16, false, how, kind});
		}
	for (size_t i = 0; i < N_ODD_LENGTHS; i++)
		fast_product_case(k, &(panel_case) {
						  7, odd_lengths[i], 16, 16, false, FILL_RANDOM, IE_PANEL_F32});
}

/* ------------------------------------------------------------------- packing */

static const ie_type types[] = {
	IE_TYPE_F32, IE_TYPE_F16, IE_TYPE_BF16, IE_TYPE_Q4_0, IE_TYPE_Q4_1, IE_TYPE_Q5_0,
	IE_TYPE_Q5_1, IE_TYPE_Q8_0
};

#define N_TYPES (sizeof(types) / sizeof(types[0]))

/* A matrix of random bytes in which every number is finite, any alignment */
static ie_matrix
random_matrix(guard *g, ie_type type, size_t n_in, size_t n_out)
{
	const ie_type_traits *traits = ie_type_find(type);
	size_t		row_bytes = n_in / traits->block_len * traits->block_bytes;
	uint8_t    *p;

	*g = guard_new(row_bytes * n_out);
	p = g->data;
	for (size_t i = 0; i < row_bytes * n_out; i++)
		p[i] = (uint8_t) (test_random(&seed) >> 56);
	/* clear the top exponent bit of each float, or of each scale and min */
	for (size_t i = 0; i < row_bytes * n_out; i += traits->block_bytes)
	{
		if (type == IE_TYPE_F32)
			p[i + 3] &= 0xbf;
		else
			p[i + 1] &= 0xbf;
		if (type == IE_TYPE_Q4_1 || type == IE_TYPE_Q5_1)
			p[i + 3] &= 0xbf;
	}
	return (ie_matrix) {traits, p, row_bytes, n_in, n_out};
}

/* Quantised weights must lie in their kind's range */
static void
check_range(const void *panel, ie_panel_kind kind, size_t n_in)
{
	for (size_t b = 0; kind != IE_PANEL_F32 && b < n_in / IE_QK; b++)
	{
		const uint8_t *q = &ie_panel_at(kind, panel, b)->q[0][0][0];

		for (size_t i = 0; i < IE_QK * IE_PANEL_ROWS; i++)
			if (kind == IE_PANEL_U8)
				CHECK(q[i] <= 31);
			else
				CHECK((int8_t) q[i] >= -127);
	}
}

static void
ref_pack(ie_type type, bool f32)
{
	guard		g;
	const ie_matrix w = random_matrix(&g, type, 96, 21);
	const ie_pack pack = ref->pack_for(w.type, f32);
	guard		panel = guard_new(panel_bytes(pack.kind, w.n_in));
	float		x[96];

	CHECK_INT(pack.kind, f32 || !w.type->quantized ? IE_PANEL_F32 :
			  type == IE_TYPE_Q8_0 ? IE_PANEL_S8 : IE_PANEL_U8);
	for (size_t row0 = 0; row0 < w.n_out; row0 += IE_PANEL_ROWS)
	{
		pack.pack(&w, row0, panel.data);
		check_range(panel.data, pack.kind, w.n_in);
		for (size_t r = 0; r < IE_PANEL_ROWS; r++)
		{
			memset(x, 0, sizeof(x));
			if (row0 + r < w.n_out)
				w.type->dequantize(w.data + (row0 + r) * w.row_bytes, w.n_in, x);
			for (size_t k = 0; k < w.n_in; k++)
			{
				double		size;
				double		actual = panel_weight(panel.data, pack.kind, k, r, &size);

				/* Q8_0's -128 is read as -127 */
				CHECK_NEAR(actual, x[k], fabs(x[k]) * (pack.kind == IE_PANEL_S8 ? 1.0 / 127 : 0.0) +
						   (pack.kind == IE_PANEL_U8 ? 1e-4 : 0.0));
			}
		}
	}
	guard_free(&panel);
	guard_free(&g);
}

static void
fast_pack_case(const ie_kernels *k, ie_type type, bool f32, size_t n_in, size_t n_out)
{
	guard		g;
	const ie_matrix w = random_matrix(&g, type, n_in, n_out);
	const ie_pack fast = k->pack_for(w.type, f32);
	const ie_pack plain = ref->pack_for(w.type, f32);
	size_t		n_bytes = panel_bytes(plain.kind, n_in);
	guard		a = guard_new(n_bytes);
	guard		b = guard_new(n_bytes);

	CHECK_INT(fast.kind, plain.kind);
	for (size_t row0 = 0; row0 < n_out; row0 += IE_PANEL_ROWS)
	{
		memset(a.data, 0x55, n_bytes);
		memset(b.data, 0xaa, n_bytes);
		fast.pack(&w, row0, a.data);
		plain.pack(&w, row0, b.data);
		if (memcmp(a.data, b.data, n_bytes) != 0)
		{
			printf("# pack %s, f32 %d, n_in %zu, row %zu of %zu\n", w.type->name, f32, n_in, row0,
				   n_out);
			CHECK(!"same panel");
		}
		CHECK(true);
	}
	guard_free(&a);
	guard_free(&b);
	guard_free(&g);
}

static void
fast_packs(const ie_kernels *k)
{
	for (size_t i = 0; i < N_TYPES; i++)
	{
		const ie_type_traits *traits = ie_type_find(types[i]);

		for (int f32 = 0; f32 <= 1; f32++)
		{
			for (size_t n_out = 1; n_out <= 33; n_out++)
				fast_pack_case(k, types[i], f32, 32 * (1 + n_out % 5), n_out);
			for (size_t j = 0; traits->block_len == 1 && j < N_ODD_LENGTHS; j++)
				fast_pack_case(k, types[i], f32, odd_lengths[j], 16 + odd_lengths[j] % 3);
		}
	}
}

static void
fast_level(const ie_kernels *k)
{
	fast_products(k);
	fast_packs(k);
}

/* AMX's products, in memory */
static void
emulated_amx(void)
{
#if defined(__x86_64__)
	const ie_kernels *avx512 = ie_kernels_get(IE_CPU_AVX512VNNI);
	ie_kernels	k;

	if (avx512 == NULL)
	{
		printf("# skipped: emulated tiles need AVX-512 beside them\n");
		return;
	}
	k = *avx512;
	k.panel_u8 = emulated_panel_u8;
	k.panel_s8 = emulated_panel_s8;
	fast_products(&k);
#endif
}

int
main(void)
{
	seed = test_seed("panels");
	ref = ie_kernels_get(IE_CPU_REF);
	ref_products();
	for (size_t i = 0; i < N_TYPES; i++)
	{
		ref_pack(types[i], false);
		ref_pack(types[i], true);
	}
	for_each_fast_level(fast_level);
	emulated_amx();
	return test_end("panels");
}
