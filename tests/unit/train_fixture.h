/*
 * train_fixture.h
 *	  Rows to train the tiny model on.
 */
#ifndef TRAIN_FIXTURE_H
#define TRAIN_FIXTURE_H

#include "train/optimizer.h"
#include "test.h"

static const char *const train_model_path = "tests/golden/tiny.gguf";

/* Several instructions on a text, several texts and equal answers under an instruction */
static const char *const train_rows[][3] = {
	{"Is it good for outdoor use?", "A light and waterproof tent for four persons", "yes"},
	{"Is it good for outdoor use?", "A colour laser printer with duplex unit", "no"},
	{"Is it good for outdoor use?", "A garden chair of solid wood", "Yes."},
	{"What kind of product is it?", "A light and waterproof tent for four persons", "tent"},
	{"What kind of product is it?", "A colour laser printer with duplex unit", "a printer"},
	{"What kind of product is it?", "A garden chair of solid wood", "a garden chair"},
	{"What kind of product is it?", "Tent with two doors and a bag", "tent"},
	{"Who is it for?", "A light and waterproof tent for four persons", "four persons or two"},
	{"", "The jacket keeps out wind and water", "It keeps out wind"},
	{"", "Tent with two doors and a bag", "a tent"},
};

#define N_TRAIN_ROWS (sizeof(train_rows) / sizeof(train_rows[0]))

static inline ie_model *
train_model(const ie_host *host)
{
	ie_model   *model = NULL;
	ie_error	err = {0};

	CHECK_INT(ie_model_open(host, train_model_path, &model, &err), IE_OK);
	return model;
}

/* Small settings: all rows are one batch; every loss but the view */
static inline ie_train_config
train_config(void)
{
	ie_train_config c;

	ie_train_config_default(&c);
	c.n_steps = 10;
	c.batch_size = N_TRAIN_ROWS;
	c.rank = 4;
	c.alpha = 8;
	c.lookahead_count = 3;
	c.learning_rate = 1e-2;
	c.max_row_tokens = 100;
	c.weight_teacher = 0.3;
	c.weight_mse = 0.2;
	c.weight_kl = 0.4;
	c.weight_generation = 0.2;
	c.max_bytes = (size_t) 200 << 20;
	return c;
}

/* Generation alone, as a model of the InBedder kind is trained */
static inline ie_train_config
train_config_generation(void)
{
	ie_train_config c = train_config();

	c.weight_answer = c.weight_back = c.weight_group = c.weight_teacher = 0;
	c.weight_mse = c.weight_kl = c.weight_ce = 0;
	c.weight_generation = 1;
	c.lookahead_count = 0;
	c.pooling = "generate";
	return c;
}

static inline void
train_add_rows(ie_trainer *trainer)
{
	ie_error	err = {0};

	for (size_t i = 0; i < N_TRAIN_ROWS; i++)
	{
		ie_triple	t = {
			{train_rows[i][0], strlen(train_rows[i][0])},
			{train_rows[i][1], strlen(train_rows[i][1])},
			{train_rows[i][2], strlen(train_rows[i][2])}
		};

		CHECK_INT(ie_trainer_add(trainer, &t, 1, NULL, &err), IE_OK);
	}
}

static inline ie_trainer *
train_open(const ie_host *host, const ie_model *model, const ie_train_config *config)
{
	ie_trainer *trainer = NULL;
	ie_error	err = {0};

	CHECK_INT(ie_trainer_create(host, model, config, &trainer, &err), IE_OK);
	if (trainer == NULL)
	{
		printf("%s: %s\n", err.message, err.detail);
		abort();
	}
	train_add_rows(trainer);
	return trainer;
}

#endif							/* TRAIN_FIXTURE_H */
