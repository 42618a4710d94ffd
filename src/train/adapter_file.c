/*
 * adapter_file.c
 *	  The trained adapter as a file (model/adapter.h), and beginning with one.
 */
#include "model/adapter.h"
#include "model/gguf_write.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>

#define ALIGNMENT GGUF_DEFAULT_ALIGNMENT
#define NAME_SIZE 96

/* A tensor of the file: rows x cols of the parameters */
typedef struct param_tensor
{
	char		name[NAME_SIZE];
	const real *values;
	size_t		rows;
	size_t		cols;
} param_tensor;

static size_t
linears_per_block(const ie_train_shape *s)
{
	size_t		n = 0;

	for (size_t i = 0; i < IE_N_LINEAR; i++)
		n += s->linear[i].n_parts;
	return n;
}

/* A and B of every linear layer, then the look-ahead vectors */
static size_t
n_tensors(const ie_train_shape *s)
{
	return 2 * s->L * linears_per_block(s) + (s->K > 0);
}

/* Tensor number i of them */
static param_tensor
tensor_at(const ie_trainer *t, size_t i)
{
	const ie_train_shape *s = &t->shape;
	const size_t per_block = 2 * linears_per_block(s);
	const size_t l = i / per_block;
	const bool	is_b = i % 2 == 1;
	const real *block = t->params + l * s->block_params;
	size_t		part = i % per_block / 2;
	const ie_linear *linear = s->linear;
	param_tensor p;

	if (l == s->L)
	{
		p = (param_tensor) {IE_LOOKAHEAD_TENSOR, t->params + s->lookahead, s->K, s->C};
		return p;
	}
	while (part >= linear->n_parts)
		part -= linear++->n_parts;
	if (is_b)
		p = (param_tensor) {"", block + linear->b[part], linear->part_out[part], s->r};
	else
		p = (param_tensor) {
			"", block + linear->a + part * s->r * linear->n_in, s->r, linear->n_in
		};
	snprintf(p.name, sizeof(p.name), "blk.%zu.%s.weight.lora_%c", l, linear->part_name[part],
			 is_b ? 'b' : 'a');
	return p;
}

/* ----------------------------------------------------------------- writing */

static ie_text
text_of(const char *s)
{
	return (ie_text) {s, strlen(s)};
}

typedef struct text_key
{
	const char *key;
	ie_text		value;
} text_key;

static ie_code
write_metadata(const ie_trainer *t, ie_writer *w, ie_error *err)
{
	const ie_model *m = t->model;
	const text_key texts[] = {
		{"general.type", text_of("adapter")},
		{"general.architecture", text_of(m->info.architecture)},
		{"adapter.type", text_of("lora")},
		{"instemb.template.prefix", m->definition.prefix},
		{"instemb.template.prefix_empty", m->definition.prefix_empty},
		{"instemb.template.body", m->definition.body},
		{"instemb.template.suffix", m->definition.suffix},
		{"instemb.template.suffix_empty", m->definition.suffix_empty},
		{"instemb.pooling", text_of(ie_pooling_name(t->pooling))},
		{"instemb.base_sha256", text_of(t->base_sha256)}
	};
	const float alpha = t->config.alpha;
	const gguf_kv alpha_kv = {
		.key = text_of("adapter.lora.alpha"), .type = GGUF_F32,
		.value = (const uint8_t *) &alpha, .value_bytes = sizeof(alpha)
	};

	IE_TRY(gguf_write_header(w, n_tensors(&t->shape), IE_LENGTH(texts) + 3, err));
	for (size_t i = 0; i < IE_LENGTH(texts); i++)
		IE_TRY(gguf_write_text(w, texts[i].key, texts[i].value, err));
	IE_TRY(gguf_write_kv(w, &alpha_kv, err));
	IE_TRY(gguf_write_u32(w, "instemb.lookahead_count", (uint32_t) t->shape.K, err));
	return gguf_write_u32(w, "instemb.format_version", IE_FORMAT_VERSION, err);
}

static ie_code
write_directory(const ie_trainer *t, ie_writer *w, ie_error *err)
{
	uint64_t	offset = 0;

	for (size_t i = 0; i < n_tensors(&t->shape); i++)
	{
		const param_tensor p = tensor_at(t, i);
		const gguf_tensor tensor = {
			.name = text_of(p.name), .type = ie_type_find(IE_TYPE_F16), .n_dims = 2,
			.ne = {p.cols, p.rows}, .offset = offset
		};

		IE_TRY(gguf_write_tensor(w, &tensor, err));
		offset = (offset + p.rows * p.cols * 2 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	}
	return IE_OK;
}

static ie_code
write_values(const param_tensor *p, ie_writer *w, ie_error *err)
{
	const size_t n = p->rows * p->cols;
	uint16_t	half[1024];

	for (size_t i = 0; i < n; i += IE_LENGTH(half))
	{
		const size_t m = n - i < IE_LENGTH(half) ? n - i : IE_LENGTH(half);

		for (size_t j = 0; j < m; j++)
		{
			half[j] = ie_f32_to_f16((float) p->values[i + j]);
			if (!isfinite(ie_f16_to_f32(half[j])))
				return ie_fail(err, IE_NUMERIC, "tensor \"%s\" does not fit F16", p->name);
		}
		IE_TRY(ie_writer_write(w, half, m * sizeof(uint16_t), err));
	}
	return IE_OK;
}

static ie_code
write_file(const ie_trainer *t, ie_writer *w, ie_error *err)
{
	IE_TRY(write_metadata(t, w, err));
	IE_TRY(write_directory(t, w, err));
	for (size_t i = 0; i < n_tensors(&t->shape); i++)
	{
		const param_tensor p = tensor_at(t, i);

		IE_TRY(gguf_write_padding(w, ALIGNMENT, err));
		IE_TRY(write_values(&p, w, err));
	}
	return ie_writer_finish(w, err);
}

ie_code
ie_trainer_write_adapter(const ie_trainer *trainer, const char *path, ie_error *err)
{
	ie_writer	w;
	ie_code		code = ie_writer_open(&w, path, err);

	if (code == IE_OK)
		code = write_file(trainer, &w, err);
	if (code != IE_OK)
		ie_writer_abandon(&w);
	return code;
}

/* ----------------------------------------------------------------- reading */

/* The adapter's tensor for these parameters, which must have their shape */
static ie_code
find_tensor(const param_tensor *p, const ie_adapter *adapter, const gguf_tensor **tensor,
			ie_error *err)
{
	const gguf_tensor *found = gguf_find_tensor(&adapter->file, p->name);

	if (found == NULL)
		return ie_fail(err, IE_INVALID, "adapter has no tensor \"%s\"", p->name);
	if (found->ne[0] != p->cols || found->ne[1] != p->rows)
	{
		ie_fail(err, IE_INVALID, "adapter differs from the training settings");
		return ie_detail(err, "Its tensor \"%s\" is %zu x %zu, expected %zu x %zu.", p->name,
						 (size_t) found->ne[0], (size_t) found->ne[1], p->cols, p->rows);
	}
	*tensor = found;
	return IE_OK;
}

static void
read_values(const gguf_tensor *tensor, real *values)
{
	const size_t cols = (size_t) tensor->ne[0];
	const ie_matrix w = {
		.type = tensor->type, .data = tensor->data,
		.row_bytes = cols / tensor->type->block_len * tensor->type->block_bytes,
		.n_in = cols, .n_out = (size_t) tensor->ne[1]
	};

	for (size_t i = 0; i < w.n_out; i++)
		ie_base_row(&w, i, values + i * cols);
}

/* Check all, then copy all: parameters change together or not at all. */
static ie_code
read_all(ie_trainer *t, const ie_adapter *adapter, ie_error *err)
{
	const gguf_tensor *tensor = NULL;

	if (adapter->alpha != t->config.alpha)
	{
		ie_fail(err, IE_INVALID, "adapter differs from the training settings");
		return ie_detail(err, "Its alpha is %g, expected %g.", (double) adapter->alpha,
						 (double) t->config.alpha);
	}
	for (int copy = 0; copy < 2; copy++)
		for (size_t i = 0; i < n_tensors(&t->shape); i++)
		{
			const param_tensor p = tensor_at(t, i);

			IE_TRY(find_tensor(&p, adapter, &tensor, err));
			if (copy)
				read_values(tensor, t->params + (p.values - t->params));
		}
	return IE_OK;
}

ie_code
ie_trainer_read_adapter(ie_trainer *trainer, const char *path, ie_error *err)
{
	const ie_adapter_base base = {
		&trainer->model->file, trainer->base_sha256, trainer->model->config.n_embd
	};
	ie_adapter	adapter;
	ie_code		code;

	if (trainer->step > 0)
		return ie_fail(err, IE_INVALID, "an adapter cannot be read once training has begun");
	IE_TRY(ie_adapter_open(trainer->outer, path, &base, &adapter, err));
	code = read_all(trainer, &adapter, err);
	ie_adapter_close(&adapter);
	return code == IE_OK ? IE_OK : ie_in_file(err, "adapter", path);
}
