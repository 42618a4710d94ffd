/*
 * weights.c
 *	  Tensor binding: see weights.h.
 */
#include "model/weights.h"
#include "base/bytes.h"
#include "model/packed.h"
#include "model/vocab.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME_SIZE 96

typedef struct binder
{
	const gguf_file *file;
	const ie_config *config;
	ie_weights *weights;
	ie_error   *err;
} binder;

/* Full name of a tensor in buf */
static const char *
name_of(const ie_tensor_spec *spec, uint32_t layer, char *buf)
{
	if (spec->in_layer)
		snprintf(buf, NAME_SIZE, "blk.%u.%s", layer, spec->name);
	else
		snprintf(buf, NAME_SIZE, "%s", spec->name);
	return buf;
}

static ie_code
check_shape(const binder *b, const gguf_tensor *t, const char *name, size_t n_in, size_t n_out)
{
	const bool	flat = t->ne[2] == 1 && t->ne[3] == 1;

	if (flat && t->ne[0] == n_in && t->ne[1] == n_out)
		return IE_OK;
	ie_fail(b->err, IE_FORMAT, "tensor \"%s\" has a wrong shape", name);
	return ie_detail(b->err, "It is %" PRIu64 " x %" PRIu64 "%s, expected %zu x %zu.",
					 t->ne[0], t->ne[1], flat ? "" : " x more", n_in, n_out);
}

/* F32, contiguous, aligned: readable as floats in place */
static ie_code
check_vector(const binder *b, const gguf_tensor *t, const char *name)
{
	if (t->type->type != IE_TYPE_F32)
	{
		ie_fail(b->err, IE_UNSUPPORTED, "type %s of tensor \"%s\" is not supported",
				t->type->name, name);
		return ie_detail(b->err, "This tensor must be F32.");
	}
	if ((uintptr_t) t->data % _Alignof(float) != 0)
		return ie_fail(b->err, IE_FORMAT, "tensor \"%s\" is not aligned", name);
	return IE_OK;
}

/* A matrix as rows */
static ie_code
bind_rows(const binder *b, const gguf_tensor *t, const char *name, ie_matrix *w)
{
	if (ie_type_is_table(t->type))
	{
		ie_fail(b->err, IE_UNSUPPORTED, "type %s of tensor \"%s\" is not supported",
				t->type->name, name);
		return ie_detail(b->err, "Supported types are %s.", ie_type_list());
	}
	IE_TRY(check_shape(b, t, name, w->n_in, w->n_out));
	w->type = t->type;
	w->data = t->data;
	w->row_bytes = w->n_in / t->type->block_len * t->type->block_bytes;
	return IE_OK;
}

/* A matrix as panels: its shape in the file is that of bytes */
static ie_code
bind_panels(const binder *b, const gguf_tensor *t, const char *name, ie_matrix *w)
{
	const size_t row_bytes = w->n_in / IE_QK * ie_type_panels_s8.block_bytes;

	IE_TRY(check_shape(b, t, name, row_bytes * IE_PANEL_ROWS,
					   (w->n_out + IE_PANEL_ROWS - 1) / IE_PANEL_ROWS));
	if ((uintptr_t) t->data % IE_PACKED_ALIGNMENT != 0)
		return ie_fail(b->err, IE_FORMAT, "tensor \"%s\" is not aligned", name);
	w->type = &ie_type_panels_s8;
	w->data = t->data;
	w->row_bytes = row_bytes;
	b->weights->n_packed += (uint64_t) w->n_in * w->n_out;
	return IE_OK;
}

static ie_code
bind_tensor(const binder *b, const ie_tensor_spec *spec, uint32_t layer)
{
	const size_t n_in = ie_config_dim(b->config, spec->n_in);
	const size_t n_out = ie_config_dim(b->config, spec->n_out);
	uint8_t    *owner = spec->in_layer ? (uint8_t *) &b->weights->layers[layer] :
		(uint8_t *) b->weights;
	char		name[NAME_SIZE];
	const gguf_tensor *t = gguf_find_tensor(b->file, name_of(spec, layer, name));
	ie_matrix  *w;

	if (t == NULL)
		return ie_fail(b->err, IE_FORMAT, "tensor \"%s\" is missing", name);
	if (spec->n_out == IE_DIM_ONE)
	{
		IE_TRY(check_shape(b, t, name, n_in, n_out));
		IE_TRY(check_vector(b, t, name));
		*(const float **) (owner + spec->offset) = (const float *) t->data;
		return IE_OK;
	}
	w = (ie_matrix *) (owner + spec->offset);
	w->n_in = n_in;
	w->n_out = n_out;
	if (ie_is_packed(b->file) && t->type->type == IE_TYPE_I8 && ie_spec_is_product(spec) &&
		n_in % IE_QK == 0)
		return bind_panels(b, t, name, w);
	return bind_rows(b, t, name, w);
}

/* The vocabulary head, which many files share with the embeddings */
static ie_code
bind_output(const binder *b)
{
	const gguf_tensor *t = gguf_find_tensor(b->file, IE_OUTPUT_TENSOR);

	b->weights->output = b->weights->token_embd;
	return t != NULL ? bind_rows(b, t, IE_OUTPUT_TENSOR, &b->weights->output) : IE_OK;
}

/* Look-ahead vectors, which an adapter brings */
static ie_code
bind_lookahead(const binder *b)
{
	const gguf_tensor *t = gguf_find_tensor(b->file, IE_LOOKAHEAD_TENSOR);
	const size_t n_embd = b->config->n_embd;

	if (t == NULL)
		return IE_OK;
	if (t->ne[1] < 1 || t->ne[1] > b->config->n_ctx)
		return ie_fail(b->err, IE_FORMAT, "tensor \"%s\" has %" PRIu64 " rows, 1 to %u are allowed",
					   IE_LOOKAHEAD_TENSOR, t->ne[1], b->config->n_ctx);
	IE_TRY(check_shape(b, t, IE_LOOKAHEAD_TENSOR, n_embd, (size_t) t->ne[1]));
	IE_TRY(check_vector(b, t, IE_LOOKAHEAD_TENSOR));
	b->weights->lookahead = (const float *) t->data;
	b->weights->lookahead_count = (uint32_t) t->ne[1];
	return IE_OK;
}

/* "blk.N.rest" with N < n_layer, without leading zeros: rest, else the name itself */
static ie_text
strip_layer(ie_text name, uint32_t n_layer, bool *in_layer)
{
	size_t		pos = 4;
	uint32_t	layer = 0;

	*in_layer = false;
	if (name.len < 4 || memcmp(name.data, "blk.", 4) != 0)
		return name;
	while (pos < name.len && name.data[pos] >= '0' && name.data[pos] <= '9' && layer < n_layer)
		layer = layer * 10 + (uint32_t) (name.data[pos++] - '0');
	if (pos == 4 || pos >= name.len || name.data[pos] != '.' || layer >= n_layer ||
		(name.data[4] == '0' && pos > 5))
		return name;
	*in_layer = true;
	return (ie_text) {name.data + pos + 1, name.len - pos - 1};
}

const ie_tensor_spec *
ie_weights_find_spec(const ie_arch *arch, uint32_t n_layer, ie_text name)
{
	bool		in_layer;
	const ie_text stripped = strip_layer(name, n_layer, &in_layer);

	for (size_t i = 0; i < arch->n_tensors; i++)
		if (arch->tensors[i].in_layer == in_layer && ie_text_is(stripped, arch->tensors[i].name))
			return &arch->tensors[i];
	return NULL;
}

/* No tensor is left over. */
static ie_code
check_unbound(const binder *b)
{
	const ie_arch *arch = b->config->arch;
	const bool	packed = ie_is_packed(b->file);

	for (size_t i = 0; i < b->file->n_tensors; i++)
	{
		const ie_text name = b->file->tensors[i].name;
		char		shown[GGUF_SHOWN_SIZE];
		bool		known = ie_text_is(name, IE_LOOKAHEAD_TENSOR) ||
			ie_text_is(name, IE_OUTPUT_TENSOR) ||
			(packed && ie_vocab_is_table(name)) ||
			ie_weights_find_spec(arch, b->config->n_layer, name) != NULL;

		if (known)
			continue;
		ie_fail(b->err, IE_UNSUPPORTED, "tensor \"%s\" is not supported", gguf_show(name, shown));
		return ie_detail(b->err, "Models of architecture %s are computed without it.", arch->name);
	}
	return IE_OK;
}

static ie_code
bind_all(const binder *b)
{
	const ie_arch *arch = b->config->arch;

	for (size_t i = 0; i < arch->n_tensors; i++)
	{
		const uint32_t n = arch->tensors[i].in_layer ? b->config->n_layer : 1;

		for (uint32_t layer = 0; layer < n; layer++)
			IE_TRY(bind_tensor(b, &arch->tensors[i], layer));
	}
	IE_TRY(bind_output(b));
	IE_TRY(bind_lookahead(b));
	return check_unbound(b);
}

ie_code
ie_weights_bind(const ie_host *host, const gguf_file *file, const ie_config *config,
				ie_weights *weights, ie_error *err)
{
	const size_t bytes = config->n_layer * sizeof(ie_layer);	/* n_layer <= IE_MAX_LAYER */
	const binder b = {file, config, weights, err};
	ie_code		code;

	memset(weights, 0, sizeof(*weights));
	weights->layers = ie_alloc0(host, bytes);
	if (weights->layers == NULL)
		return ie_nomem(err, bytes);
	code = bind_all(&b);
	if (code != IE_OK)
		ie_weights_free(host, weights);
	return code;
}

void
ie_weights_free(const ie_host *host, ie_weights *weights)
{
	ie_release(host, weights->layers);
	memset(weights, 0, sizeof(*weights));
}
