/*
 * test_train_golden.c
 *	  Training the tiny model against the torch twin on the same batches: the
 *	  first step's gradient, tensor by tensor, and the curve of every loss.
 *	  tests/golden/twin/train_golden.py made the file and describes it.
 */
#include "base/bytes.h"
#include "base/file.h"
#include "train/optimizer.h"
#include "test.h"

#define GOLDEN "tests/golden/train.golden"
#define MODEL "tests/golden/tiny.gguf"
#define ADAPTER "tests/golden/tiny-adapter.gguf"

#define TOLERANCE 1e-4			/* relative */

typedef struct golden
{
	ie_mapping	map;
	ie_reader	r;
	uint32_t	n_rows;
	uint32_t	n_params;
	ie_train_config config;
} golden;

static uint32_t
read_u32(golden *g)
{
	uint32_t	v = 0;

	CHECK(ie_read_u32(&g->r, &v));
	return v;
}

static float
read_f32(golden *g)
{
	float		v = NAN;

	CHECK(ie_read_f32(&g->r, &v));
	return v;
}

static double
read_f64(golden *g)
{
	double		v = NAN;
	const uint8_t *bytes;

	if (ie_read_bytes(&g->r, sizeof(v), &bytes))
		memcpy(&v, bytes, sizeof(v));
	CHECK(!isnan(v));
	return v;
}

static ie_text
read_text(golden *g)
{
	const uint32_t len = read_u32(g);
	const uint8_t *bytes = NULL;

	CHECK(ie_read_bytes(&g->r, len, &bytes));
	return (ie_text) {(const char *) bytes, len};
}

static bool
open_golden(golden *g)
{
	ie_train_config *c = &g->config;
	const uint8_t *magic;
	ie_error	err = {0};

	if (ie_map_file(GOLDEN, &g->map, &err) != IE_OK)
	{
		puts(err.message);
		return false;
	}
	g->r = (ie_reader) {g->map.data, g->map.size, 0};
	if (!ie_read_bytes(&g->r, 8, &magic) || memcmp(magic, "IETWIN2\n", 8) != 0)
		return false;
	ie_train_config_default(c);
	g->n_rows = read_u32(g);
	c->n_steps = read_u32(g);
	c->lookahead_count = read_u32(g);
	c->rank = read_u32(g);
	g->n_params = read_u32(g);
	c->alpha = read_f32(g);
	c->learning_rate = read_f64(g);
	c->warmup = read_f64(g);
	c->weight_decay = read_f64(g);
	c->clip_norm = read_f64(g);
	c->temperature = read_f64(g);
	c->weight_answer = read_f64(g);
	c->weight_back = read_f64(g);
	c->weight_group = read_f64(g);
	c->weight_teacher = read_f64(g);
	c->weight_mse = read_f64(g);
	c->weight_kl = read_f64(g);
	c->weight_ce = read_f64(g);
	c->weight_generation = read_f64(g);
	c->batch_size = g->n_rows;
	return true;
}

/* A tensor of the gradient: the difference's norm over the twin's */
static void
check_tensor(const ie_trainer *trainer, const float *expected, size_t first, size_t n)
{
	double		difference = 0;
	double		norm = 0;

	for (size_t i = first; i < first + n; i++)
	{
		const double d = (double) trainer->gradients[i] - (double) expected[i];

		difference += d * d;
		norm += (double) expected[i] * (double) expected[i];
	}
	test_checks++;
	if (!(sqrt(difference) <= TOLERANCE * sqrt(norm)))
	{
		test_failures++;
		printf("gradient at %zu, %zu numbers: relative difference is %g\n", first, n,
			   sqrt(difference / norm));
	}
}

static void
check_gradient(const ie_trainer *trainer, const float *expected)
{
	const ie_train_shape *s = &trainer->shape;

	for (size_t l = 0; l < s->L; l++)
		for (size_t i = 0; i < IE_N_LINEAR; i++)
		{
			const ie_linear *linear = &s->linear[i];
			const size_t block = l * s->block_params;
			const size_t n_a = s->r * linear->n_in;

			for (size_t j = 0; j < linear->n_parts; j++)
			{
				check_tensor(trainer, expected, block + linear->a + j * n_a, n_a);
				check_tensor(trainer, expected, block + linear->b[j],
							 linear->part_out[j] * s->r);
			}
		}
	check_tensor(trainer, expected, s->lookahead, s->K * s->C);
}

static void
check_step(golden *g, const ie_train_progress *p)
{
	const struct
	{
		const char *name;
		double		value;
	}			found[] = {
		{"loss", p->loss}, {"answer", p->answer}, {"back", p->back}, {"group", p->group},
		{"teacher", p->teacher}, {"mse", p->mse}, {"kl", p->kl}, {"ce", p->ce},
		{"generation", p->generation},
		{"gradient norm", p->gradient_norm}
	};

	for (size_t i = 0; i < IE_LENGTH(found); i++)
	{
		const double expected = read_f64(g);

		test_checks++;
		if (!(fabs(found[i].value - expected) <= TOLERANCE * fabs(expected)))
		{
			test_failures++;
			printf("step %u: %s is %.9g, the twin's is %.9g (%g)\n", p->step, found[i].name,
				   found[i].value, expected, fabs(found[i].value / expected - 1));
		}
	}
}

static void
compare(golden *g, ie_trainer *trainer)
{
	float	   *expected;
	ie_train_progress progress = {0};
	ie_error	err = {0};
	const uint8_t *bytes = NULL;

	for (uint32_t i = 0; i < g->n_rows; i++)
	{
		ie_triple	t;

		t.instruction = read_text(g);
		t.input = read_text(g);
		t.output = read_text(g);
		CHECK_INT(ie_trainer_add(trainer, &t, 1, NULL, &err), IE_OK);
	}
	CHECK_INT(ie_trainer_read_adapter(trainer, ADAPTER, &err), IE_OK);
	CHECK_STR(err.message, "");
	CHECK_INT(trainer->shape.n_params, g->n_params);
	if (!ie_read_bytes(&g->r, g->n_params * sizeof(float), &bytes))
	{
		CHECK(!"the file ends early");
		return;
	}
	expected = malloc(g->n_params * sizeof(float));
	memcpy(expected, bytes, g->n_params * sizeof(float));
	for (uint32_t i = 0; i < g->config.n_steps; i++)
	{
		CHECK_INT(ie_trainer_step(trainer, &progress, &err), IE_OK);
		if (i == 0)
			check_gradient(trainer, expected);
		check_step(g, &progress);
	}
	CHECK_INT(ie_reader_left(&g->r), 0);
	free(expected);
}

int
main(void)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_model   *model = NULL;
	ie_trainer *trainer = NULL;
	ie_error	err = {0};
	golden		g = {0};

	CHECK(open_golden(&g));
	CHECK_INT(ie_model_open(&host, MODEL, &model, &err), IE_OK);
	CHECK_INT(ie_trainer_create(&host, model, &g.config, &trainer, &err), IE_OK);
	CHECK_STR(err.message, "");
	if (trainer != NULL)
		compare(&g, trainer);
	ie_trainer_free(trainer);
	ie_model_close(model);
	ie_unmap_file(&g.map);
	CHECK_INT(state.n_live, 0);
	return test_end("train_golden");
}
