/*
 * config.c
 *	  Hyperparameters: see config.h.
 */
#include "model/config.h"
#include "model/vocab.h"

#include <inttypes.h>
#include <stdio.h>

#define KEY_SIZE 128
#define DEFAULT_ROPE_THETA 10000	/* where the file states none: the format's definition */

typedef struct loader
{
	const gguf_file *file;
	const ie_arch *arch;
	ie_error   *err;
} loader;

/* "<architecture>.<name>" in buf, which is returned */
static const char *
key_of(const ie_arch *arch, const char *name, char *buf)
{
	snprintf(buf, KEY_SIZE, "%s.%s", arch->name, name);
	return buf;
}

/* An integer that must lie in min .. max; value and found as in gguf_get_u32() */
static ie_code
get_bounded(const loader *ld, const char *name, uint32_t min, uint32_t max, uint32_t *value,
			bool *found)
{
	char		key[KEY_SIZE];

	IE_TRY(gguf_get_u32(ld->file, key_of(ld->arch, name, key), value, found, ld->err));
	if (found != NULL && !*found)
		return IE_OK;
	if (*value < min || *value > max)
	{
		ie_fail(ld->err, IE_FORMAT, "metadata key \"%s\" is out of range", key);
		return ie_detail(ld->err, "It is %u, %u to %u is allowed.", *value, min, max);
	}
	return IE_OK;
}

static ie_code
check_multiple_of_8(const loader *ld, const char *what, uint32_t value)
{
	if (value % 8 == 0)
		return IE_OK;
	return ie_fail(ld->err, IE_UNSUPPORTED,
				   "%s %u is not supported, since it is not a multiple of 8", what, value);
}

/* ---------------------------------------------------- keys of the namespace */

/* A number of any type */
static ie_code
get_number(const loader *ld, const gguf_kv *kv, const char *key, double *value)
{
	uint32_t	u32 = 0;
	float		f32 = 0;

	if (kv->type == GGUF_F32 || kv->type == GGUF_F64)
	{
		IE_TRY(gguf_get_f32(ld->file, key, &f32, NULL, ld->err));
		*value = (double) f32;
		return IE_OK;
	}
	IE_TRY(gguf_get_u32(ld->file, key, &u32, NULL, ld->err));
	*value = u32;
	return IE_OK;
}

static ie_code
not_neutral(const loader *ld, const char *key, const char *supported)
{
	ie_fail(ld->err, IE_UNSUPPORTED, "the value of metadata key \"%s\" is not supported", key);
	return ie_detail(ld->err, "Only %s is supported.", supported);
}

static ie_code
check_key(const loader *ld, const gguf_kv *kv, const ie_key_spec *spec)
{
	char		key[KEY_SIZE];
	double		number;
	bool		flag = true;
	ie_text		text = {NULL, 0};

	key_of(ld->arch, spec->name, key);
	switch (spec->rule)
	{
		case IE_KEY_READ:
		case IE_KEY_IGNORED:
			break;
		case IE_KEY_ZERO:
			IE_TRY(get_number(ld, kv, key, &number));
			if (number != 0)
				return not_neutral(ld, key, "0");
			break;
		case IE_KEY_ONE:
			IE_TRY(get_number(ld, kv, key, &number));
			if (number != 0 && number != 1)
				return not_neutral(ld, key, "1");
			break;
		case IE_KEY_TRUE:
			IE_TRY(gguf_get_bool(ld->file, key, &flag, NULL, ld->err));
			if (!flag)
				return not_neutral(ld, key, "true");
			break;
		case IE_KEY_NONE:
			IE_TRY(gguf_get_text(ld->file, key, &text, NULL, ld->err));
			if (!ie_text_is(text, "none"))
				return not_neutral(ld, key, "\"none\"");
			break;
	}
	return IE_OK;
}

/* Every key of the namespace is known, and neutral where it must be. */
static ie_code
check_keys(const loader *ld)
{
	const size_t skip = strlen(ld->arch->name) + 1;
	char		prefix[KEY_SIZE];

	key_of(ld->arch, "", prefix);
	for (size_t i = 0; i < ld->file->n_kv; i++)
	{
		const gguf_kv *kv = &ld->file->kv[i];
		const ie_key_spec *spec = NULL;
		ie_text		name;

		if (kv->key.len < skip || memcmp(kv->key.data, prefix, skip) != 0)
			continue;
		name = (ie_text) {kv->key.data + skip, kv->key.len - skip};
		for (size_t j = 0; j < ld->arch->n_keys && spec == NULL; j++)
			if (ie_text_is(name, ld->arch->keys[j].name))
				spec = &ld->arch->keys[j];
		if (spec == NULL)
		{
			char		shown[GGUF_SHOWN_SIZE];

			ie_fail(ld->err, IE_UNSUPPORTED, "metadata key \"%s\" is not supported",
					gguf_show(kv->key, shown));
			return ie_detail(ld->err, "It may change what a model of architecture %s computes.",
							 ld->arch->name);
		}
		IE_TRY(check_key(ld, kv, spec));
	}
	return IE_OK;
}

/* -------------------------------------------------------------------- load */

static ie_code
find_arch(const gguf_file *file, const ie_arch **arch, ie_error *err)
{
	char		shown[GGUF_SHOWN_SIZE];
	char		list[256];
	ie_text		name = {NULL, 0};
	ie_text		type;
	bool		found;

	IE_TRY(gguf_get_text(file, "general.type", &type, &found, err));
	if (found && ie_text_is(type, "adapter"))
	{
		ie_fail(err, IE_INVALID, "file is an adapter, not a model");
		return ie_hint(err, "It becomes a model when it is installed with its base.");
	}
	IE_TRY(gguf_get_text(file, "general.architecture", &name, NULL, err));
	*arch = ie_arch_find(name);
	if (*arch != NULL)
		return IE_OK;
	ie_arch_list(list, sizeof(list));
	ie_fail(err, IE_UNSUPPORTED, "model architecture \"%s\" is not supported",
			gguf_show(name, shown));
	return ie_detail(err, "Supported architectures: %s.", list);
}

/* Heads: G divides H; keys and values have the same length, and all of it is rotated. */
static ie_code
load_heads(const loader *ld, ie_config *c)
{
	uint32_t	value_length;
	uint32_t	n_rot;
	bool		found;

	IE_TRY(get_bounded(ld, "attention.head_count", 1, IE_MAX_HEAD, &c->n_head, NULL));
	c->n_head_kv = c->n_head;
	IE_TRY(get_bounded(ld, "attention.head_count_kv", 1, IE_MAX_HEAD, &c->n_head_kv, &found));
	if (c->n_head % c->n_head_kv != 0)
		return ie_fail(ld->err, IE_FORMAT, "%u attention heads cannot share %u key/value heads",
					   c->n_head, c->n_head_kv);

	c->head_dim = value_length = c->n_embd / c->n_head;	/* unless stated */
	IE_TRY(get_bounded(ld, "attention.key_length", 1, IE_MAX_HEAD_DIM, &c->head_dim, &found));
	if (!found && c->n_embd % c->n_head != 0)
		return ie_fail(ld->err, IE_FORMAT,
					   "embedding length %u is not a multiple of %u attention heads",
					   c->n_embd, c->n_head);
	IE_TRY(check_multiple_of_8(ld, "head dimension", c->head_dim));

	n_rot = c->head_dim;
	IE_TRY(get_bounded(ld, "attention.value_length", 1, IE_MAX_HEAD_DIM, &value_length, &found));
	IE_TRY(get_bounded(ld, "rope.dimension_count", 1, IE_MAX_HEAD_DIM, &n_rot, &found));
	if (value_length != c->head_dim || n_rot != c->head_dim)
	{
		ie_fail(ld->err, IE_UNSUPPORTED, "the shape of the attention heads is not supported");
		return ie_detail(ld->err, "Keys have %u elements, %u of them are rotated, and values have "
						 "%u; the three must be equal.", c->head_dim, n_rot, value_length);
	}
	return IE_OK;
}

/* A number that must lie in min .. max */
static ie_code
get_bounded_f32(const loader *ld, const char *name, float min, float max, float *value, bool *found)
{
	char		key[KEY_SIZE];

	IE_TRY(gguf_get_f32(ld->file, key_of(ld->arch, name, key), value, found, ld->err));
	if (*value >= min && *value <= max)
		return IE_OK;
	ie_fail(ld->err, IE_FORMAT, "metadata key \"%s\" is out of range", key);
	return ie_detail(ld->err, "It is %g, %g to %g is allowed.", (double) *value, (double) min,
					 (double) max);
}

ie_code
ie_config_load(const gguf_file *file, ie_config *config, ie_error *err)
{
	ie_config	c = {.rope_theta = DEFAULT_ROPE_THETA};
	loader		ld = {file, NULL, err};
	uint64_t	n_vocab;
	bool		found;

	IE_TRY(find_arch(file, &ld.arch, err));
	c.arch = ld.arch;
	IE_TRY(ie_vocab_count(file, &n_vocab, err));
	if (n_vocab < 1 || n_vocab > IE_MAX_VOCAB)
		return ie_fail(err, IE_FORMAT, "vocabulary of %" PRIu64 " tokens is out of range", n_vocab);
	c.n_vocab = (uint32_t) n_vocab;
	IE_TRY(get_bounded(&ld, "embedding_length", 8, IE_MAX_EMBD, &c.n_embd, NULL));
	IE_TRY(check_multiple_of_8(&ld, "embedding length", c.n_embd));
	IE_TRY(get_bounded(&ld, "block_count", 1, IE_MAX_LAYER, &c.n_layer, NULL));
	IE_TRY(get_bounded(&ld, "feed_forward_length", 8, IE_MAX_FF, &c.n_ff, NULL));
	IE_TRY(check_multiple_of_8(&ld, "feed-forward length", c.n_ff));
	IE_TRY(get_bounded(&ld, "context_length", IE_MIN_CTX, IE_MAX_CTX, &c.n_ctx, NULL));
	IE_TRY(load_heads(&ld, &c));
	IE_TRY(get_bounded_f32(&ld, "attention.layer_norm_rms_epsilon", 1e-12f, 0.1f, &c.norm_eps,
						   NULL));
	IE_TRY(get_bounded_f32(&ld, "rope.freq_base", 1, 1e12f, &c.rope_theta, &found));
	IE_TRY(check_keys(&ld));
	*config = c;
	return IE_OK;
}

size_t
ie_config_dim(const ie_config *config, ie_dim dim)
{
	switch (dim)
	{
		case IE_DIM_ONE:
			break;
		case IE_DIM_EMBD:
			return config->n_embd;
		case IE_DIM_HEADS:
			return (size_t) config->n_head * config->head_dim;
		case IE_DIM_HEADS_KV:
			return (size_t) config->n_head_kv * config->head_dim;
		case IE_DIM_FF:
			return config->n_ff;
		case IE_DIM_VOCAB:
			return config->n_vocab;
	}
	return 1;
}
