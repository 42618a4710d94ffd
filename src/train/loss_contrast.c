/*
 * loss_contrast.c
 *	  Contrastive losses (InfoNCE; van den Oord et al. 2018) over pooled states.
 *
 * For each pooling: pool all states, let every loss add the gradient of a
 * similarity matrix to the gradients of its two sides, then take these back
 * through the pooling.  Sums of exponentials are over few numbers and in double.
 */
#include "math/kernels.h"
#include "train/loss.h"
#include "train/vector.h"

#include <math.h>

/* ----------------------------------------------------------------- pooling */

/* u = v / |v|; returns |v|.  A zero vector stays so. */
static real
unit(const real *v, size_t n, real *u)
{
	const real	norm = (real) sqrt((double) ie_vec_dot(v, v, n));
	const real	factor = norm > 0 ? 1 / norm : 0;

	for (size_t i = 0; i < n; i++)
		u[i] = v[i] * factor;
	return norm;
}

/* dv += (du - u (u du)) / |v| factor */
static void
unit_back(const real *u, real norm, const real *du, real factor, size_t n, real *dv)
{
	const real	along = ie_vec_dot(u, du, n);
	const real	f = norm > 0 ? factor / norm : 0;

	for (size_t i = 0; i < n; i++)
		dv[i] += (du[i] - u[i] * along) * f;
}

/* Of one sequence: what the parts of the pooled vector are made of */
typedef struct pooled
{
	real		last_norm;
	real		ahead_norm;
	real		norm;
} pooled;

/* mean of K rows */
static void
mean(const real *h, size_t K, size_t C, real *m)
{
	memcpy(m, h, C * sizeof(real));
	for (size_t k = 1; k < K; k++)
		ie_vec_add(m, h + k * C, C);
	for (size_t c = 0; c < C; c++)
		m[c] /= (real) K;
}

/* e = pooled states h [S, C]; last, ahead: [C] the unit vectors that daap adds */
static pooled
pool(unsigned form, const real *h, size_t K, size_t C, real *last, real *ahead, real *e)
{
	pooled		p = {0};

	if (form != IE_CONTRAST_LOOKAHEAD)
		p.last_norm = unit(h, C, last);
	if (form != IE_CONTRAST_LAST)
	{
		mean(h + C, K, C, ahead);
		p.ahead_norm = unit(ahead, C, ahead);
	}
	memcpy(e, form == IE_CONTRAST_LOOKAHEAD ? ahead : last, C * sizeof(real));
	if (form == IE_CONTRAST_DAAP)
	{
		ie_vec_add(e, ahead, C);
		p.norm = unit(e, C, e);
	}
	return p;
}

/* scratch: [4, C] */
static void
pool_back(unsigned form, const real *h, const real *de, size_t K, size_t C, real *scratch,
		  real *dh)
{
	real	   *last = scratch;
	real	   *ahead = last + C;
	real	   *e = ahead + C;
	real	   *dsum = e + C;
	const pooled p = pool(form, h, K, C, last, ahead, e);

	memset(dsum, 0, C * sizeof(real));
	if (form == IE_CONTRAST_DAAP)
		unit_back(e, p.norm, de, 1, C, dsum);
	else
		memcpy(dsum, de, C * sizeof(real));
	if (form != IE_CONTRAST_LOOKAHEAD)
		unit_back(last, p.last_norm, dsum, 1, C, dh);
	for (size_t k = 1; k <= K && form != IE_CONTRAST_LAST; k++)
		unit_back(ahead, p.ahead_norm, dsum, 1 / (real) K, C, dh + k * C);
}

/* ---------------------------------------------------- sums of exponentials */

/* log(exp(a) + exp(b)) */
static double
log_add(double a, double b)
{
	const double high = a > b ? a : b;
	const double low = a > b ? b : a;

	return high + ie_log(1 + ie_exp(low - high));
}

/* Adds to a log-sum-exp that begins as -INFINITY */
static double
log_sum(double sum, double x)
{
	return sum == -INFINITY ? x : log_add(sum, x);
}

/* ------------------------------------------------------------------ losses */

/* Two sides of similarities and the temperature that divides them */
typedef struct sides
{
	const ie_blas *blas;
	ie_mat		a;				/* [n, C] */
	ie_mat		b;				/* [m, C] */
	ie_mat		sim;			/* [n, m] a b^T / temperature */
	ie_mat		dsim;			/* [n, m] */
	real		temperature;
} sides;

static sides
similarities(const ie_loss_input *in, const ie_loss_scratch *scratch, ie_mat a, ie_mat b)
{
	const sides s = {
		in->blas, a, b, ie_mat_of(scratch->sim, a.rows, b.rows),
		ie_mat_of(scratch->dsim, a.rows, b.rows), (real) in->config->temperature
	};

	ie_mul_bt(in->blas, 1 / s.temperature, a, b, 0, s.sim);
	memset(scratch->dsim, 0, a.rows * b.rows * sizeof(real));
	return s;
}

/* da += dsim b / temperature, db += dsim^T a / temperature; db.at may be NULL */
static void
similarities_back(const sides *s, ie_mat da, ie_mat db)
{
	ie_mul(s->blas, 1 / s->temperature, s->dsim, s->b, 1, da);
	if (db.at != NULL)
		ie_mul_at(s->blas, 1 / s->temperature, s->dsim, s->a, 1, db);
}

/*
 * Cross-entropy of row i with column target[i], or i where that is NULL.  Where
 * key is given, other columns of the same key take no part.  Returns the mean;
 * dsim += weight times its gradient.  *accuracy: share of rows whose largest
 * column is the right one.
 */
static double
cross_entropy(const sides *s, const uint32_t *target, const uint32_t *key, double weight,
			  double *accuracy)
{
	const size_t n = s->sim.rows;
	const size_t m = s->sim.cols;
	double		total = 0;
	size_t		n_right = 0;

	for (size_t i = 0; i < n; i++)
	{
		const real *sim = s->sim.at + i * m;
		real	   *dsim = s->dsim.at + i * m;
		const size_t right = target != NULL ? target[i] : i;
		double		sum = -INFINITY;
		bool		best = true;

		for (size_t j = 0; j < m; j++)
			if (j == right || key == NULL || key[j] != key[i])
			{
				sum = log_sum(sum, (double) sim[j]);
				best = best && sim[j] <= sim[right];
			}
		for (size_t j = 0; j < m; j++)
			if (j == right || key == NULL || key[j] != key[i])
				dsim[j] += (real) (weight / (double) n *
								   (ie_exp((double) sim[j] - sum) - (j == right)));
		total += sum - (double) sim[right];
		n_right += best;
	}
	if (accuracy != NULL)
		*accuracy = (double) n_right / (double) n;
	return total / (double) n;
}

/*
 * From the answer's side: its row against the rows of other answers.  With own
 * the similarity and rest the others' sum: log(exp(own) + exp(rest)) - own.
 */
static double
answer_back(const sides *s, const uint32_t *target, double weight)
{
	const size_t n = s->sim.rows;
	const size_t m = s->sim.cols;
	double		total = 0;

	for (size_t i = 0; i < n; i++)
	{
		const size_t c = target[i];
		const double own = (double) s->sim.at[i * m + c];
		double		rest = -INFINITY;
		double		sum;

		for (size_t j = 0; j < n; j++)
			if (target[j] != c)
				rest = log_sum(rest, (double) s->sim.at[j * m + c]);
		if (rest == -INFINITY)
			continue;			/* there is no other answer */
		sum = log_add(own, rest);
		total += sum - own;
		s->dsim.at[i * m + c] += (real) (weight / (double) n * (ie_exp(own - sum) - 1));
		for (size_t j = 0; j < n; j++)
			if (target[j] != c)
				s->dsim.at[j * m + c] += (real) (weight / (double) n *
												 ie_exp((double) s->sim.at[j * m + c] - sum));
	}
	return total / (double) n;
}

/* Of row i, the positives of group_nce() */
static bool
is_positive(const ie_loss_input *in, size_t i, size_t j)
{
	return i != j && in->target[i] == in->target[j] && in->cluster[i] == in->cluster[j];
}

/*
 * Rows against rows.  Positive: same answer, same instruction.  Same answer
 * under another instruction takes no part.  All else is negative, the same text
 * under another instruction included.  Mean over the rows that have positives of
 * the mean over these.
 */
static double
group_nce(const ie_loss_input *in, const sides *s, double weight)
{
	const size_t n = s->sim.rows;
	double		total = 0;
	size_t		n_anchors = 0;

	for (size_t i = 0; i < n; i++)
	{
		bool		has = false;

		for (size_t j = 0; j < n && !has; j++)
			has = is_positive(in, i, j);
		n_anchors += has;
	}
	for (size_t i = 0; i < n; i++)
	{
		const real *sim = s->sim.at + i * n;
		real	   *dsim = s->dsim.at + i * n;
		double		rest = -INFINITY;
		double		drest = 0;
		size_t		n_positive = 0;
		double		share;

		for (size_t j = 0; j < n; j++)
		{
			if (in->target[j] != in->target[i])
				rest = log_sum(rest, (double) sim[j]);
			n_positive += is_positive(in, i, j);
		}
		if (n_positive == 0 || rest == -INFINITY)
			continue;
		share = 1 / (double) (n_positive * n_anchors);
		for (size_t j = 0; j < n; j++)
			if (is_positive(in, i, j))
			{
				const double own = (double) sim[j];
				const double sum = log_add(own, rest);

				total += share * (sum - own);
				dsim[j] += (real) (weight * share * (ie_exp(own - sum) - 1));
				drest += weight * share * ie_exp(rest - sum);
			}
		for (size_t j = 0; j < n; j++)
			if (in->target[j] != in->target[i])
				dsim[j] += (real) (drest * ie_exp((double) sim[j] - rest));
	}
	return total;
}

/* ---------------------------------------------------------------- together */

/* Pooled states of three groups, and gradients of them */
typedef struct pools
{
	ie_mat		rows;
	ie_mat		answers;
	ie_mat		views;
	ie_mat		drows;
	ie_mat		danswers;
	ie_mat		dviews;
} pools;

static pools
place(const ie_loss_input *in, const ie_loss_scratch *scratch)
{
	const size_t C = in->shape->C;
	const size_t N = in->rows.n;
	const size_t M = in->answers.n;
	const ie_mat e = ie_mat_of(scratch->e, 2 * N + M, C);
	const ie_mat de = ie_mat_of(scratch->de, 2 * N + M, C);

	memset(de.at, 0, de.rows * C * sizeof(real));
	return (pools)
	{
		ie_mat_rows(e, 0, N), ie_mat_rows(e, N, M), ie_mat_rows(e, N + M, in->views.n),
		ie_mat_rows(de, 0, N), ie_mat_rows(de, N, M), ie_mat_rows(de, N + M, in->views.n)
	};
}

static void
pool_all(const ie_loss_input *in, unsigned form, const ie_states *states, real *scratch, ie_mat e)
{
	const size_t K = in->shape->K;
	const size_t C = in->shape->C;

	for (size_t i = 0; i < states->n; i++)
		pool(form, states->h + i * (1 + K) * C, K, C, scratch, scratch + C, e.at + i * C);
}

static void
pool_all_back(const ie_loss_input *in, unsigned form, const ie_states *states, ie_mat de,
			  real *scratch)
{
	const size_t K = in->shape->K;
	const size_t C = in->shape->C;

	for (size_t i = 0; i < states->n; i++)
		pool_back(form, states->h + i * (1 + K) * C, de.at + i * C, K, C, scratch,
				  states->dh + i * (1 + K) * C);
}

/* The losses that see one pooling */
static void
one_form(const ie_loss_input *in, const ie_loss_scratch *scratch, unsigned form,
		 ie_train_progress *progress)
{
	const ie_train_config *c = in->config;
	const pools p = place(in, scratch);
	double		loss;
	sides		s;

	pool_all(in, form, &in->rows, scratch->sim, p.rows);
	pool_all(in, form, &in->answers, scratch->sim, p.answers);
	pool_all(in, form, &in->views, scratch->sim, p.views);

	s = similarities(in, scratch, p.rows, p.answers);
	loss = cross_entropy(&s, in->target, NULL, c->weight_answer, &progress->accuracy);
	if (c->weight_answer > 0)
		progress->answer += loss;
	if (c->weight_back > 0)
		progress->back += answer_back(&s, in->target, c->weight_back);
	similarities_back(&s, p.drows, p.danswers);
	if (c->weight_group > 0)
	{
		s = similarities(in, scratch, p.rows, p.rows);
		progress->group += group_nce(in, &s, c->weight_group);
		similarities_back(&s, p.drows, p.drows);
	}
	if (c->weight_view > 0)
	{
		s = similarities(in, scratch, p.rows, p.views);
		progress->view += cross_entropy(&s, NULL, in->target, c->weight_view, NULL);
		similarities_back(&s, p.drows, p.dviews);
	}
	pool_all_back(in, form, &in->rows, p.drows, scratch->sim);
	pool_all_back(in, form, &in->answers, p.danswers, scratch->sim);
	pool_all_back(in, form, &in->views, p.dviews, scratch->sim);
}

/* h_last against the frozen base's state at the same token when the answer follows */
static void
teacher(const ie_loss_input *in, const ie_loss_scratch *scratch, ie_train_progress *progress)
{
	const size_t C = in->shape->C;
	const size_t S = 1 + in->shape->K;
	pools		p = place(in, scratch);
	sides		s;

	p.views.rows = in->rows.n;	/* room for the teacher's: place() gives N of them */
	pool_all(in, IE_CONTRAST_LAST, &in->rows, scratch->sim, p.rows);
	for (size_t i = 0; i < in->rows.n; i++)
		unit(in->teacher + i * S * C, C, p.views.at + i * C);
	s = similarities(in, scratch, p.rows, p.views);
	progress->teacher = cross_entropy(&s, NULL, in->target, in->config->weight_teacher, NULL);
	similarities_back(&s, p.drows, (ie_mat) {0});
	pool_all_back(in, IE_CONTRAST_LAST, &in->rows, p.drows, scratch->sim);
}

void
ie_loss_contrast(const ie_loss_input *in, const ie_loss_scratch *scratch,
				 ie_train_progress *progress)
{
	const ie_train_config *c = in->config;

	for (unsigned form = IE_CONTRAST_LAST; form <= IE_CONTRAST_DAAP; form *= 2)
		if ((c->contrast & form) != 0)
			one_form(in, scratch, form, progress);
	if (c->weight_teacher > 0)
		teacher(in, scratch, progress);
}
