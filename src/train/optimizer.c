/*
 * optimizer.c
 *	  See optimizer.h.  A step's work is a pass over some million numbers; it is
 *	  not interrupted, so that a step is whole or not done.
 */
#include "train/optimizer.h"
#include "base/parallel.h"
#include "math/kernels.h"
#include "train/vector.h"

#include <math.h>

#define BETA1 0.9
#define BETA2 0.98
#define EPSILON 1e-8
#define LOWEST 0.02				/* of the highest learning rate, at the end */
#define PI 3.14159265358979323846

#define CHUNK 4096				/* parameters of a task */

double
ie_learning_rate(const ie_train_config *config, uint32_t step)
{
	const double warm = fmax(1, floor(config->warmup * config->n_steps));
	const double ramp = fmin(1, (step + 1) / warm);
	const double t = fmax(0, step - warm) / fmax(1, config->n_steps - warm);

	return config->learning_rate * ramp *
		(LOWEST + (1 - LOWEST) * 0.5 * (1 + ie_cos(PI * fmin(1, t))));
}

/* beta^n */
static double
power(double beta, uint32_t n)
{
	double		p = 1;

	for (; n > 0; n /= 2, beta *= beta)
		if (n % 2 == 1)
			p *= beta;
	return p;
}

typedef struct update
{
	ie_trainer *trainer;
	real		factor;
	real		decay;			/* 1 - learning rate * weight decay */
	real		rate;			/* learning rate / (1 - beta1^t) */
	real		bias2;			/* 1 / sqrt(1 - beta2^t) */
} update;

size_t
ie_optimizer_squares(size_t n_params)
{
	return (n_params + CHUNK - 1) / CHUNK;
}

static size_t
chunk_end(const ie_trainer *t, size_t task)
{
	const size_t end = (task + 1) * CHUNK;

	return end < t->shape.n_params ? end : t->shape.n_params;
}

static void
sum_chunks(void *arg, size_t begin, size_t end, int thread)
{
	const update *u = arg;
	const ie_trainer *t = u->trainer;

	(void) thread;
	for (size_t task = begin; task < end; task++)
	{
		const size_t first = task * CHUNK;
		const size_t n = chunk_end(t, task) - first;
		real	   *g = t->gradients + first;

		for (size_t lane = 1; lane < t->config.n_threads; lane++)
			ie_vec_add(g, g + lane * t->shape.n_params, n);
		t->squares[task] = (double) ie_vec_dot(g, g, n);
	}
}

double
ie_gradient_norm(ie_trainer *trainer)
{
	const size_t n = ie_optimizer_squares(trainer->shape.n_params);
	double		sum = 0;
	update		u = {.trainer = trainer};

	ie_parallel_for((int) trainer->config.n_threads, n, sum_chunks, &u);
	for (size_t i = 0; i < n; i++)
		sum += trainer->squares[i];
	return sqrt(sum);
}

static void
update_chunks(void *arg, size_t begin, size_t end, int thread)
{
	const update *u = arg;
	const ie_trainer *t = u->trainer;

	(void) thread;
	for (size_t i = begin * CHUNK; i < chunk_end(t, end - 1); i++)
	{
		const real	g = t->gradients[i] * u->factor;
		const real	m = t->moment1[i] * (real) BETA1 + g * (real) (1 - BETA1);
		const real	v = t->moment2[i] * (real) BETA2 + g * g * (real) (1 - BETA2);

		t->moment1[i] = m;
		t->moment2[i] = v;
		t->params[i] = t->params[i] * u->decay -
			u->rate * m / ((real) sqrt((double) v) * u->bias2 + (real) EPSILON);
	}
}

void
ie_adamw(ie_trainer *trainer, double factor, double learning_rate)
{
	const uint32_t n = trainer->step + 1;
	update		u = {
		.trainer = trainer,
		.factor = (real) factor,
		.decay = (real) (1 - learning_rate * trainer->config.weight_decay),
		.rate = (real) (learning_rate / (1 - power(BETA1, n))),
		.bias2 = (real) (1 / sqrt(1 - power(BETA2, n)))
	};

	ie_parallel_for((int) trainer->config.n_threads, ie_optimizer_squares(trainer->shape.n_params),
					update_chunks, &u);
}
