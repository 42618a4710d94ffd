/*
 * checkpoint.c
 *	  Saving a trainer's state, and going on from it.
 *
 *	  magic "IETRAIN1"
 *	  SHA-256 (hex) of: the base model's file, the settings, the rows
 *	  u32 step, u32 bytes of a number, u64 n_params
 *	  parameters, first and second moments, as they are in memory
 *	  SHA-256 (hex) of all before
 *
 * A checkpoint is for the same build on the same kind of machine; it is no format
 * for exchange.
 */
#include "base/file.h"
#include "train/trainer.h"

#include <math.h>

#define MAGIC "IETRAIN1"
#define HEX (IE_SHA256_HEX_SIZE - 1)
#define CHUNK ((size_t) 4 << 20)	/* bytes between two polls */

typedef struct header
{
	char		magic[8];
	char		base[HEX];
	char		settings[HEX];
	char		rows[HEX];
	uint32_t	step;
	uint32_t	real_bytes;
	uint64_t	n_params;
} header;

_Static_assert(sizeof(header) == 8 + 3 * HEX + 16, "no padding in a checkpoint's header");

/* -------------------------------------------------------------- identity */

/* Everything that the model depends on, in a fixed order without padding */
static void
hash_settings(const ie_train_config *c, char *hex)
{
	const double numbers[] = {
		c->n_steps, c->batch_size, c->rank, c->alpha, c->lookahead_count, c->contrast,
		c->learning_rate, c->warmup, c->weight_decay, c->clip_norm, c->temperature, c->dropout,
		c->weight_answer, c->weight_back, c->weight_group, c->weight_view, c->weight_teacher,
		c->weight_mse, c->weight_kl, c->weight_ce, c->weight_generation, c->max_row_tokens,
		c->max_answer_tokens, c->truncate, (double) c->max_bytes, c->n_threads
	};
	ie_sha256	hash;

	ie_sha256_init(&hash);
	ie_sha256_update(&hash, numbers, sizeof(numbers));
	ie_sha256_update(&hash, &c->seed, sizeof(c->seed));
	ie_sha256_update(&hash, c->pooling, strlen(c->pooling));
	ie_sha256_final_hex(&hash, hex);
}

/* A long time for millions of rows, so that it is polled on the way */
static ie_code
hash_long(const ie_trainer *t, ie_sha256 *hash, const void *data, size_t size, ie_error *err)
{
	const uint8_t *at = data;

	for (size_t done = 0; done < size; done += CHUNK)
	{
		IE_TRY(ie_poll(&t->budget.host, err));
		ie_sha256_update(hash, at + done, size - done < CHUNK ? size - done : CHUNK);
	}
	return IE_OK;
}

static ie_code
hash_rows(const ie_trainer *t, char *hex, ie_error *err)
{
	const ie_rows_store *store = &t->rows;
	ie_sha256	hash;

	ie_sha256_init(&hash);
	IE_TRY(hash_long(t, &hash, store->rows, store->n * sizeof(ie_train_row), err));
	IE_TRY(hash_long(t, &hash, store->pool.ids, store->pool.n_ids * sizeof(int32_t), err));
	IE_TRY(hash_long(t, &hash, store->pool.start, (store->pool.n + 1) * sizeof(uint32_t), err));
	ie_sha256_final_hex(&hash, hex);
	return IE_OK;
}

static ie_code
make_header(const ie_trainer *t, header *h, ie_error *err)
{
	char		hex[IE_SHA256_HEX_SIZE];

	*h = (header)
	{
		.magic = MAGIC, .step = t->step, .real_bytes = sizeof(real),
		.n_params = t->shape.n_params
	};
	memcpy(h->base, t->base_sha256, HEX);
	hash_settings(&t->config, hex);
	memcpy(h->settings, hex, HEX);
	IE_TRY(hash_rows(t, hex, err));
	memcpy(h->rows, hex, HEX);
	return IE_OK;
}

/* ------------------------------------------------------------------ saving */

/* Write and hash. */
static ie_code
put(const ie_trainer *t, ie_writer *w, ie_sha256 *hash, const void *data, size_t size,
	ie_error *err)
{
	const uint8_t *at = data;

	for (size_t done = 0; done < size; done += CHUNK)
	{
		const size_t n = size - done < CHUNK ? size - done : CHUNK;

		IE_TRY(ie_poll(&t->budget.host, err));
		ie_sha256_update(hash, at + done, n);
		IE_TRY(ie_writer_write(w, at + done, n, err));
	}
	return IE_OK;
}

static ie_code
write_all(const ie_trainer *t, ie_writer *w, ie_error *err)
{
	const size_t bytes = t->shape.n_params * sizeof(real);
	header		h;
	char		hex[IE_SHA256_HEX_SIZE];
	ie_sha256	hash;

	IE_TRY(make_header(t, &h, err));
	ie_sha256_init(&hash);
	IE_TRY(put(t, w, &hash, &h, sizeof(h), err));
	IE_TRY(put(t, w, &hash, t->params, bytes, err));
	IE_TRY(put(t, w, &hash, t->moment1, bytes, err));
	IE_TRY(put(t, w, &hash, t->moment2, bytes, err));
	ie_sha256_final_hex(&hash, hex);
	IE_TRY(ie_writer_write(w, hex, HEX, err));
	return ie_writer_finish(w, err);
}

ie_code
ie_trainer_save(const ie_trainer *trainer, const char *path, ie_error *err)
{
	ie_writer	w;
	ie_code		code = ie_writer_open(&w, path, err);

	if (code == IE_OK)
		code = write_all(trainer, &w, err);
	if (code != IE_OK)
		ie_writer_abandon(&w);
	return code;
}

/* ----------------------------------------------------------------- loading */

/* Read and hash. */
static ie_code
get(const ie_trainer *t, ie_input *r, ie_sha256 *hash, void *data, size_t size, ie_error *err)
{
	uint8_t    *at = data;

	for (size_t done = 0; done < size; done += CHUNK)
	{
		const size_t n = size - done < CHUNK ? size - done : CHUNK;

		IE_TRY(ie_poll(&t->budget.host, err));
		IE_TRY(ie_input_read(r, at + done, n, err));
		ie_sha256_update(hash, at + done, n);
	}
	return IE_OK;
}

static ie_code
check_header(const ie_trainer *t, const ie_input *r, const header *h, ie_error *err)
{
	header		ours;

	IE_TRY(make_header(t, &ours, err));
	if (memcmp(h->base, ours.base, HEX) != 0)
		return ie_fail(err, IE_INVALID, "training checkpoint was made with another base model");
	if (memcmp(h->settings, ours.settings, HEX) != 0)
		return ie_fail(err, IE_INVALID, "training checkpoint was made with other settings");
	if (memcmp(h->rows, ours.rows, HEX) != 0)
		return ie_fail(err, IE_INVALID, "training checkpoint was made with other rows");
	if (h->real_bytes != ours.real_bytes || h->n_params != ours.n_params ||
		h->step > t->config.n_steps ||
		r->size != sizeof(*h) + 3 * ours.n_params * sizeof(real) + HEX)
		return ie_fail(err, IE_FORMAT, "training checkpoint is damaged");
	return IE_OK;
}

/* The hash guards against accidents, this against what is not a trainer's state. */
static bool
is_state(const ie_trainer *t)
{
	for (size_t i = 0; i < t->shape.n_params; i++)
		if (!isfinite(t->params[i]) || !isfinite(t->moment1[i]) || !isfinite(t->moment2[i]) ||
			t->moment2[i] < 0)
			return false;
	return true;
}

static ie_code
read_all(ie_trainer *t, ie_input *r, ie_error *err)
{
	const size_t bytes = t->shape.n_params * sizeof(real);
	header		h;
	char		hex[IE_SHA256_HEX_SIZE];
	char		stored[HEX];
	ie_sha256	hash;

	if (r->size < sizeof(h) + HEX)
		return ie_fail(err, IE_FORMAT, "file is not a training checkpoint");
	ie_sha256_init(&hash);
	IE_TRY(get(t, r, &hash, &h, sizeof(h), err));
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0)
		return ie_fail(err, IE_FORMAT, "file is not a training checkpoint");
	IE_TRY(check_header(t, r, &h, err));
	IE_TRY(get(t, r, &hash, t->params, bytes, err));
	IE_TRY(get(t, r, &hash, t->moment1, bytes, err));
	IE_TRY(get(t, r, &hash, t->moment2, bytes, err));
	IE_TRY(ie_input_read(r, stored, HEX, err));
	ie_sha256_final_hex(&hash, hex);
	if (memcmp(hex, stored, HEX) != 0 || !is_state(t))
		return ie_fail(err, IE_FORMAT, "training checkpoint is damaged");
	t->step = h.step;
	return IE_OK;
}

ie_code
ie_trainer_load(ie_trainer *trainer, const char *path, ie_error *err)
{
	ie_input	reader;
	ie_code		code;

	if (trainer->batches.memory != NULL)
		return ie_fail(err, IE_INVALID, "a checkpoint cannot be loaded once training has begun");
	IE_TRY(ie_input_open(&reader, path, err));
	code = read_all(trainer, &reader, err);
	ie_input_close(&reader);
	return code == IE_OK ? IE_OK : ie_in_file(err, "checkpoint", path);
}
