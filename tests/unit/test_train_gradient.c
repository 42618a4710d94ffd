/*
 * test_train_gradient.c
 *	  The gradient of every loss with respect to every tensor of the adapter,
 *	  against finite differences, in double (Makefile: DOUBLE_OBJS).
 *
 * Along a random direction d within a tensor, the gradient's product with d must
 * be (loss(p + h d) - loss(p - h d)) / 2 h.
 */
#include "train_fixture.h"

#define STEP 1e-5
#define TOLERANCE 1e-5			/* relative; the bar is 1e-3 */

static uint64_t seed;

/* The loss at the present parameters; the gradient is left in trainer->gradients. */
static double
loss_of(ie_trainer *trainer)
{
	ie_train_progress progress;
	ie_error	err = {0};

	trainer->step = 0;			/* the same batch and dropout masks */
	CHECK_INT(ie_trainer_step(trainer, &progress, &err), IE_OK);
	return progress.loss;
}

/* A tensor of n parameters in every one of n_blocks blocks from first on */
typedef struct part
{
	size_t		first;
	size_t		n;
	size_t		n_blocks;
	size_t		stride;
} part;

/* params = saved + h times a random direction in the part; its product with the gradient */
static double
move(ie_trainer *trainer, const real *saved, const real *gradient, const part *part, double h,
	 uint64_t direction)
{
	double		product = 0;

	for (size_t l = 0; l < part->n_blocks; l++)
		for (size_t i = 0; i < part->n; i++)
		{
			const size_t at = part->first + l * part->stride + i;
			const double d = test_random_f32(&direction);

			trainer->params[at] = saved[at] + (real) (h * d);
			product += (double) gradient[at] * d;
		}
	return product;
}

/* The derivative along a random direction in a part of the parameters */
static void
check_part(ie_trainer *trainer, const real *saved, const real *gradient, part part,
		   double scale, const char *what)
{
	const uint64_t direction = test_random(&seed);
	double		size = 0;
	double		expected;
	double		found;

	for (size_t l = 0; l < part.n_blocks; l++)
		for (size_t i = 0; i < part.n; i++)
			size += (double) (gradient[part.first + l * part.stride + i] *
							  gradient[part.first + l * part.stride + i]);
	expected = move(trainer, saved, gradient, &part, STEP, direction);
	found = loss_of(trainer);
	move(trainer, saved, gradient, &part, -STEP, direction);
	found = (found - loss_of(trainer)) / (2 * STEP);
	move(trainer, saved, gradient, &part, 0, direction);
	test_checks++;
	if (!(fabs(found - expected) <= TOLERANCE * (sqrt(size) + scale)))
	{
		test_failures++;
		printf("%s at %zu, %zu numbers: derivative is %.10g, by differences %.10g\n", what,
			   part.first, part.n, expected, found);
	}
}

/* Every tensor, or the tensors of one name in all blocks together */
static void
check_tensors(ie_trainer *trainer, const real *saved, const real *gradient, bool each,
			  double scale, const char *what)
{
	const ie_train_shape *s = &trainer->shape;
	const size_t n_blocks = each ? 1 : s->L;

	for (size_t l = 0; l < s->L; l += n_blocks)
		for (size_t i = 0; i < IE_N_LINEAR; i++)
		{
			const ie_linear *linear = &s->linear[i];

			for (size_t j = 0; j < linear->n_parts; j++)
			{
				const size_t n = s->r * linear->n_in;
				const part	a = {
					l * s->block_params + linear->a + j * n, n, n_blocks, s->block_params
				};
				const part	b = {
					l * s->block_params + linear->b[j], linear->part_out[j] * s->r, n_blocks,
					s->block_params
				};

				check_part(trainer, saved, gradient, a, scale, what);
				check_part(trainer, saved, gradient, b, scale, what);
			}
		}
	if (s->K > 0)
		check_part(trainer, saved, gradient, (part) {s->lookahead, s->K * s->C, 1, 0}, scale,
				   what);
}

/* All tensors under some settings; the gradient must be there at all. */
static void
check_gradient(ie_train_config config, bool each, const char *what)
{
	test_host_state state;
	const ie_host host = test_host(&state);
	ie_model   *model = train_model(&host);
	ie_trainer *trainer;
	real	   *gradient;
	real	   *saved;
	double		norm = 0;
	size_t		n;

	config.learning_rate = 0;	/* steps change nothing */
	trainer = train_open(&host, model, &config);
	n = trainer->shape.n_params;
	for (size_t i = 0; i < trainer->shape.lookahead; i++)
		trainer->params[i] += (real) (0.05 * test_random_f32(&seed));	/* B too is not 0 */
	gradient = malloc(n * sizeof(real));
	saved = malloc(n * sizeof(real));
	memcpy(saved, trainer->params, n * sizeof(real));
	loss_of(trainer);
	memcpy(gradient, trainer->gradients, n * sizeof(real));
	for (size_t i = 0; i < n; i++)
		norm += (double) (gradient[i] * gradient[i]);
	CHECK(norm > 1e-8);
	check_tensors(trainer, saved, gradient, each, 1e-3 * sqrt(norm), what);
	free(saved);
	free(gradient);
	ie_trainer_free(trainer);
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
}

/* One loss alone */
static void
check_loss(const char *name, size_t weight, unsigned contrast)
{
	ie_train_config c = train_config_generation();

	c.weight_generation = 0;
	c.lookahead_count = strcmp(name, "generation") == 0 ? 0 : 3;
	c.contrast = contrast;
	c.dropout = strcmp(name, "view") == 0 ? 0.2 : 0;
	*(double *) ((char *) &c + weight) = 1.5;
	check_gradient(c, false, name);
}

int
main(void)
{
	ie_train_config c = train_config();

	seed = test_seed("train_gradient");
	check_loss("answer", offsetof(ie_train_config, weight_answer), IE_CONTRAST_DAAP);
	check_loss("answer, last", offsetof(ie_train_config, weight_answer), IE_CONTRAST_LAST);
	check_loss("answer, lookahead", offsetof(ie_train_config, weight_answer),
			   IE_CONTRAST_LOOKAHEAD);
	check_loss("back", offsetof(ie_train_config, weight_back), IE_CONTRAST_DAAP);
	check_loss("group", offsetof(ie_train_config, weight_group), IE_CONTRAST_DAAP);
	check_loss("view", offsetof(ie_train_config, weight_view), IE_CONTRAST_DAAP);
	check_loss("teacher", offsetof(ie_train_config, weight_teacher), IE_CONTRAST_DAAP);
	check_loss("mse", offsetof(ie_train_config, weight_mse), IE_CONTRAST_DAAP);
	check_loss("kl", offsetof(ie_train_config, weight_kl), IE_CONTRAST_DAAP);
	check_loss("ce", offsetof(ie_train_config, weight_ce), IE_CONTRAST_DAAP);
	check_loss("generation", offsetof(ie_train_config, weight_generation), IE_CONTRAST_DAAP);
	c.dropout = 0.1;
	c.weight_view = 0.5;
	c.contrast = IE_CONTRAST_LAST | IE_CONTRAST_LOOKAHEAD | IE_CONTRAST_DAAP;
	c.n_threads = 3;
	check_gradient(c, true, "all, 3 threads");
	return test_end("train_gradient");
}
