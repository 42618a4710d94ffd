/*
 * model_builder.h
 *	  Small random Llama models, written to a temporary file.
 *
 *		model_spec	spec = model_spec_default();
 *
 *		spec.pooling = "daap";
 *		spec.n_lookahead = 3;
 *		model = mb_open(&host, &spec, &err);		-- NULL: see err
 *
 * The vocabulary is ChatML's control tokens, the 256 bytes and a few merges.
 */
#ifndef MODEL_BUILDER_H
#define MODEL_BUILDER_H

#include "gguf_builder.h"
#include "test.h"

#include <unistd.h>

typedef struct model_spec
{
	uint32_t	n_embd;
	uint32_t	n_layer;
	uint32_t	n_head;
	uint32_t	n_head_kv;
	uint32_t	head_dim;
	uint32_t	n_ff;
	uint32_t	n_ctx;
	float		rope_theta;
	const uint32_t *types;		/* [n_types] types of the matrices, in turn */
	size_t		n_types;
	uint32_t	n_lookahead;
	const char *pooling;		/* this and the following: NULL = key left out */
	const char *prefix;
	const char *prefix_empty;
	const char *body;
	const char *suffix;
	bool		add_bos;
	const char *control[2];		/* spelling of the two control tokens, ids 1 and 2 */
	const char *architecture;
	const char *omit;			/* a key or tensor that is left out */
	void		(*extra_kv) (gguf_builder *b);
	const char *extra_tensor;	/* a tensor [n_embd] of that name, like a norm */
	bool		f16_norms;		/* which the engine refuses */
	uint64_t	seed;
} model_spec;

static inline model_spec
model_spec_default(void)
{
	static const uint32_t types[] = {
		IE_TYPE_Q4_1, IE_TYPE_Q8_0, IE_TYPE_Q4_0, IE_TYPE_Q5_1, IE_TYPE_Q5_0
	};

	return (model_spec)
	{
		.n_embd = 64, .n_layer = 3, .n_head = 4, .n_head_kv = 2, .head_dim = 16, .n_ff = 96,
		.n_ctx = 512, .rope_theta = 20000, .types = types, .n_types = IE_LENGTH(types),
		.control = {"<|im_start|>", "<|im_end|>"}, .architecture = "llama", .seed = 77
	};
}

typedef struct model_builder
{
	const model_spec *spec;
	gguf_builder b;
	gguf_builder data;			/* of the tensors */
	size_t		n_matrices;
	uint64_t	random;
} model_builder;

static inline bool
mb_wanted(const model_builder *m, const char *name)
{
	return m->spec->omit == NULL || strcmp(m->spec->omit, name) != 0;
}

static inline void
mb_u32(model_builder *m, const char *key, uint32_t value)
{
	if (mb_wanted(m, key))
		gb_kv_u32(&m->b, key, value);
}

static inline void
mb_f32(model_builder *m, const char *key, float value)
{
	if (mb_wanted(m, key))
		gb_kv_f32(&m->b, key, value);
}

static inline void
mb_text(model_builder *m, const char *key, const char *value)
{
	if (value != NULL && mb_wanted(m, key))
		gb_kv_text(&m->b, key, value);
}

/* ------------------------------------------------------------------- vocab */

#define MB_BYTE_TOKEN 3			/* id of byte 0 */

static const char *const mb_merges[] = {"e r", "\xc4\xa0 t", "\xc4\xa0t h", "i n", "o n", "t e"};

/* GPT-2's alphabet: a printable character for every byte */
static inline void
mb_byte_text(unsigned byte, char *text)
{
	unsigned	cp = byte;
	unsigned	n_before = 0;

	for (unsigned b = 0; b < 256; b++)
	{
		const bool	shown = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;

		if (b == byte && shown)
			break;
		if (b == byte)
		{
			cp = 256 + n_before;
			break;
		}
		n_before += !shown;
	}
	if (cp < 0x80)
	{
		text[0] = (char) cp;
		text[1] = '\0';
	}
	else
	{
		text[0] = (char) (0xc0 | cp >> 6);
		text[1] = (char) (0x80 | (cp & 0x3f));
		text[2] = '\0';
	}
}

static inline uint32_t
mb_n_vocab(void)
{
	return MB_BYTE_TOKEN + 256 + (uint32_t) IE_LENGTH(mb_merges);
}

static inline void
mb_vocab(model_builder *m)
{
	char		text[16];

	gb_kv_text(&m->b, "tokenizer.ggml.model", "gpt2");
	gb_kv_text(&m->b, "tokenizer.ggml.pre", "smollm");
	gb_kv_array(&m->b, "tokenizer.ggml.tokens", GGUF_STRING, mb_n_vocab());
	gb_string(&m->b, "<|endoftext|>");
	gb_string(&m->b, m->spec->control[0]);
	gb_string(&m->b, m->spec->control[1]);
	for (unsigned byte = 0; byte < 256; byte++)
	{
		mb_byte_text(byte, text);
		gb_string(&m->b, text);
	}
	for (size_t i = 0; i < IE_LENGTH(mb_merges); i++)
	{
		const char *space = strchr(mb_merges[i], ' ');

		snprintf(text, sizeof(text), "%.*s%s", (int) (space - mb_merges[i]), mb_merges[i],
				 space + 1);
		gb_string(&m->b, text);
	}
	gb_kv_array(&m->b, "tokenizer.ggml.token_type", GGUF_I32, mb_n_vocab());
	for (uint32_t i = 0; i < mb_n_vocab(); i++)
		gb_uint(&m->b, i < MB_BYTE_TOKEN ? 3 : 1, 4);
	gb_kv_array(&m->b, "tokenizer.ggml.merges", GGUF_STRING, IE_LENGTH(mb_merges));
	for (size_t i = 0; i < IE_LENGTH(mb_merges); i++)
		gb_string(&m->b, mb_merges[i]);
	gb_kv_u32(&m->b, "tokenizer.ggml.bos_token_id", 0);
	gb_kv(&m->b, "tokenizer.ggml.add_bos_token", GGUF_BOOL);
	gb_uint(&m->b, m->spec->add_bos, 1);
}

/* ----------------------------------------------------------------- tensors */

/* A block of elements of about the given size */
static inline void
mb_block(model_builder *m, const ie_type_traits *type, float size)
{
	float		x[IE_QK];
	uint8_t		block[64];

	for (size_t i = 0; i < IE_QK; i++)
		x[i] = size * test_random_f32(&m->random);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t) (test_random(&m->random) >> 40);
	switch (type->type)
	{
		case IE_TYPE_F32:
			gb_bytes(&m->data, x, sizeof(float));
			return;
		case IE_TYPE_F16:
			gb_uint(&m->data, ie_f32_to_f16(x[0]), 2);
			return;
		case IE_TYPE_BF16:
			gb_bytes(&m->data, (uint8_t *) x + 2, 2);
			return;
		case IE_TYPE_Q8_0:
			ie_quantize_q8_0(x, IE_QK, block);
			break;
		case IE_TYPE_Q4_0:
		case IE_TYPE_Q4_1:
			memcpy(block, &(uint16_t) {ie_f32_to_f16(size / 8)}, 2);
			break;
		case IE_TYPE_Q5_0:
		case IE_TYPE_Q5_1:
			memcpy(block, &(uint16_t) {ie_f32_to_f16(size / 16)}, 2);
			break;
		default:
			abort();
	}
	if (type->type == IE_TYPE_Q4_1 || type->type == IE_TYPE_Q5_1)
		memcpy(block + 2, &(uint16_t) {ie_f32_to_f16(-size)}, 2);
	gb_bytes(&m->data, block, type->block_bytes);
}

static inline void
mb_tensor(model_builder *m, const char *name, uint32_t type_id, uint32_t n_in, uint32_t n_out)
{
	const bool	is_norm = n_out == 1;
	const ie_type_traits *type = ie_type_find(is_norm && m->spec->f16_norms ? IE_TYPE_F16 :
											  n_in % IE_QK == 0 ? type_id : IE_TYPE_F32);

	if (!mb_wanted(m, name))
		return;
	gb_pad(&m->data, 32);
	gb_tensor(&m->b, name, type->type, is_norm ? 1 : 2, (uint64_t[]) {n_in, n_out}, m->data.size);
	for (size_t i = 0; i < (size_t) n_in * n_out; i += type->block_len)
		if (is_norm)
		{
			const float one = 1.0f + 0.3f * test_random_f32(&m->random);

			if (m->spec->f16_norms)
				gb_uint(&m->data, ie_f32_to_f16(one), 2);
			else
				gb_bytes(&m->data, &one, sizeof(one));
		}
		else
			mb_block(m, type, strcmp(name, "token_embd.weight") == 0 ? 0.7f :
					 2.0f / sqrtf((float) n_in));
}

static inline void
mb_matrix(model_builder *m, const char *name, uint32_t n_in, uint32_t n_out)
{
	mb_tensor(m, name, m->spec->types[m->n_matrices++ % m->spec->n_types], n_in, n_out);
}

static inline void
mb_tensors(model_builder *m)
{
	const model_spec *s = m->spec;
	char		name[96];

	mb_matrix(m, "token_embd.weight", s->n_embd, mb_n_vocab());
	mb_tensor(m, "output_norm.weight", IE_TYPE_F32, s->n_embd, 1);
	mb_matrix(m, "output.weight", s->n_embd, mb_n_vocab());
	for (uint32_t l = 0; l < s->n_layer; l++)
	{
		const struct
		{
			const char *name;
			uint32_t	n_in;
			uint32_t	n_out;
		}			of_layer[] = {
			{"attn_norm", s->n_embd, 1}, {"ffn_norm", s->n_embd, 1},
			{"attn_q", s->n_embd, s->n_head * s->head_dim},
			{"attn_k", s->n_embd, s->n_head_kv * s->head_dim},
			{"attn_v", s->n_embd, s->n_head_kv * s->head_dim},
			{"attn_output", s->n_head * s->head_dim, s->n_embd},
			{"ffn_gate", s->n_embd, s->n_ff}, {"ffn_up", s->n_embd, s->n_ff},
			{"ffn_down", s->n_ff, s->n_embd}
		};

		for (size_t i = 0; i < IE_LENGTH(of_layer); i++)
		{
			snprintf(name, sizeof(name), "blk.%u.%s.weight", l, of_layer[i].name);
			if (of_layer[i].n_out == 1)
				mb_tensor(m, name, IE_TYPE_F32, of_layer[i].n_in, 1);
			else
				mb_matrix(m, name, of_layer[i].n_in, of_layer[i].n_out);
		}
	}
	if (s->n_lookahead > 0)
	{
		gb_pad(&m->data, 32);
		gb_tensor(&m->b, "instemb.lookahead", IE_TYPE_F32, 2,
				  (uint64_t[]) {s->n_embd, s->n_lookahead}, m->data.size);
		for (uint32_t i = 0; i < s->n_embd * s->n_lookahead; i++)
			mb_block(m, ie_type_find(IE_TYPE_F32), 0.7f);
	}
	if (s->extra_tensor != NULL)
		mb_tensor(m, s->extra_tensor, IE_TYPE_F32, s->n_embd, 1);
}

static inline void
mb_save(const model_spec *spec, const char *path)
{
	model_builder m = {.spec = spec, .random = spec->seed * 2685821657736338717ULL + 1};

	gb_begin(&m.b, 3);
	mb_text(&m, "general.architecture", spec->architecture);
	mb_text(&m, "general.name", "random model");
	mb_text(&m, "general.license", "PostgreSQL");
	mb_u32(&m, "llama.block_count", spec->n_layer);
	mb_u32(&m, "llama.context_length", spec->n_ctx);
	mb_u32(&m, "llama.embedding_length", spec->n_embd);
	mb_u32(&m, "llama.feed_forward_length", spec->n_ff);
	mb_u32(&m, "llama.attention.head_count", spec->n_head);
	mb_u32(&m, "llama.attention.head_count_kv", spec->n_head_kv);
	if (spec->head_dim * spec->n_head != spec->n_embd)
	{
		mb_u32(&m, "llama.attention.key_length", spec->head_dim);
		mb_u32(&m, "llama.attention.value_length", spec->head_dim);
	}
	mb_f32(&m, "llama.rope.freq_base", spec->rope_theta);
	mb_f32(&m, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
	mb_text(&m, "instemb.pooling", spec->pooling);
	mb_text(&m, "instemb.template.prefix", spec->prefix);
	mb_text(&m, "instemb.template.prefix_empty", spec->prefix_empty);
	mb_text(&m, "instemb.template.body", spec->body);
	mb_text(&m, "instemb.template.suffix", spec->suffix);
	if (spec->extra_kv != NULL)
		spec->extra_kv(&m.b);
	mb_vocab(&m);
	mb_tensors(&m);
	gb_begin_data(&m.b, 32);
	gb_bytes(&m.b, m.data.data, m.data.size);
	gb_end(&m.b);
	gb_save(&m.b, path);
	gb_free(&m.b);
	gb_free(&m.data);
}

/* Build and open; the file is gone afterwards, its mapping stays. */
static inline ie_model *
mb_open(const ie_host *host, const model_spec *spec, ie_error *err)
{
	ie_model   *model = NULL;
	char		path[] = "/tmp/instemb_test_XXXXXX";
	int			fd = mkstemp(path);

	if (fd < 0)
	{
		perror(path);
		abort();
	}
	close(fd);
	mb_save(spec, path);
	ie_model_open(host, path, &model, err);
	unlink(path);
	return model;
}

#endif							/* MODEL_BUILDER_H */
