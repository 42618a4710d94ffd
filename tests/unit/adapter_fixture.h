/*
 * adapter_fixture.h
 *	  A small base file with a matrix of every type, and adapters for it, valid
 *	  or wrong at one place.  No model could be computed with it: that is what
 *	  tests/golden/tiny.gguf is for.
 */
#ifndef ADAPTER_FIXTURE_H
#define ADAPTER_FIXTURE_H

#include "gguf_builder.h"
#include "math/quant.h"

#define FIXTURE_EMBD 64
#define FIXTURE_ALIGNMENT 64
#define FIXTURE_MATRICES 9		/* fixture_tensors[0 .. 9) can be adapted */
#define FIXTURE_SHA256 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A tensor to be described, and then filled */
typedef struct fixture_part
{
	char		name[64];
	uint32_t	type;
	uint32_t	n_dims;
	uint64_t	ne[2];
} fixture_part;

static const fixture_part fixture_tensors[] = {
	{"w.f32", IE_TYPE_F32, 2, {64, 5}},
	{"w.f16", IE_TYPE_F16, 2, {32, 7}},
	{"w.bf16", IE_TYPE_BF16, 2, {96, 2}},
	{"w.q4_0", IE_TYPE_Q4_0, 2, {64, 3}},
	{"w.q4_1", IE_TYPE_Q4_1, 2, {64, 3}},
	{"w.q5_0", IE_TYPE_Q5_0, 2, {32, 4}},
	{"w.q5_1", IE_TYPE_Q5_1, 2, {32, 1}},
	{"w.q8_0", IE_TYPE_Q8_0, 2, {128, 3}},
	{"odd", IE_TYPE_F32, 2, {7, 3}},	/* rows are no blocks */
	{"norm", IE_TYPE_F32, 1, {64, 1}},
	{"kept", IE_TYPE_Q4_1, 2, {32, 3}},
};

#define FIXTURE_TENSORS (sizeof(fixture_tensors) / sizeof(fixture_tensors[0]))

static inline float
fixture_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (float) (int32_t) (*seed >> 32) / 2147483648.0f;
}

/* n elements of a type: random values, or blocks with random bits and sane scales */
static inline void
fixture_values(gguf_builder *b, uint32_t type, uint64_t n, uint64_t *seed)
{
	const ie_type_traits *traits = ie_type_find(type);
	const uint32_t n_scales = type == IE_TYPE_Q4_1 || type == IE_TYPE_Q5_1 ? 2 : 1;

	for (uint64_t i = 0; i < n / traits->block_len; i++)
	{
		const float v = fixture_random(seed);
		uint32_t	bits;

		memcpy(&bits, &v, sizeof(bits));
		if (type == IE_TYPE_F32)
			gb_bytes(b, &v, 4);
		else if (type == IE_TYPE_BF16)
			gb_uint(b, bits >> 16, 2);
		else if (type == IE_TYPE_F16)
			gb_uint(b, ie_f32_to_f16(v), 2);
		else
		{
			for (uint32_t j = 0; j < n_scales; j++)
				gb_uint(b, ie_f32_to_f16(fixture_random(seed) / 16), 2);
			for (uint32_t j = 2 * n_scales; j < traits->block_bytes; j++)
				gb_uint(b, (uint64_t) (int64_t) (fixture_random(seed) * 128), 1);
		}
	}
}

/* Descriptions and random data of n tensors; ends the file. */
static inline void
fixture_fill(gguf_builder *b, const fixture_part *parts, size_t n, size_t alignment)
{
	uint64_t	seed = n;
	uint64_t	offset = 0;

	for (size_t i = 0; i < n; i++)
	{
		const ie_type_traits *traits = ie_type_find(parts[i].type);

		gb_tensor(b, parts[i].name, parts[i].type, parts[i].n_dims, parts[i].ne, offset);
		offset += parts[i].ne[0] * parts[i].ne[1] / traits->block_len * traits->block_bytes;
		offset = (offset + alignment - 1) / alignment * alignment;
	}
	gb_begin_data(b, alignment);
	for (size_t i = 0; i < n; i++)
	{
		fixture_values(b, parts[i].type, parts[i].ne[0] * parts[i].ne[1], &seed);
		gb_pad(b, alignment);
	}
	gb_end(b);
}

/* The base; with_lookahead: it has look-ahead vectors of its own */
static inline gguf_builder
fixture_base(bool with_lookahead)
{
	fixture_part parts[FIXTURE_TENSORS + 1];
	gguf_builder b;

	gb_begin(&b, 3);
	gb_kv_text(&b, "general.architecture", "llama");
	gb_kv_text(&b, "general.name", "fixture");
	gb_kv_u32(&b, "general.file_type", 3);
	gb_kv_u32(&b, "general.alignment", FIXTURE_ALIGNMENT);
	gb_kv_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, 2);
	gb_string(&b, "a");
	gb_string(&b, "bc");
	gb_kv_text(&b, "instemb.pooling", "last");
	gb_kv_text(&b, "instemb.kept", "by the base");
	gb_kv_text(&b, "instemb.data_sha256", "of the base");
	if (with_lookahead)
		gb_kv_u32(&b, "instemb.lookahead_count", 1);
	memcpy(parts, fixture_tensors, sizeof(fixture_tensors));
	parts[FIXTURE_TENSORS] =
		(fixture_part) {"instemb.lookahead", IE_TYPE_F32, 2, {FIXTURE_EMBD, 1}};
	fixture_fill(&b, parts, FIXTURE_TENSORS + with_lookahead, FIXTURE_ALIGNMENT);
	return b;
}

/*
 * An adapter for the first n_matrices tensors.  Texts that are NULL are left
 * out.  Odd names, ranks, shapes and the poison go into the first pair alone.
 */
typedef struct fixture_adapter_spec
{
	const char *general_type;
	const char *adapter_type;
	const char *architecture;
	const char *base_sha256;
	const char *pooling;
	bool		has_alpha;
	float		alpha;
	uint32_t	format_version;
	size_t		n_matrices;
	const char *name_a;
	const char *name_b;
	uint64_t	n_in;
	uint64_t	rank_a;
	uint64_t	rank_b;
	uint64_t	n_out;
	uint32_t	n_dims;			/* of A and B */
	uint32_t	type;			/* of A */
	float		poison;			/* first value of A if not 0; type F32 */
	uint64_t	lookahead_embd;
	uint64_t	lookahead_rows; /* 0 = none */
	uint32_t	lookahead_count;
	uint32_t	lookahead_type;
} fixture_adapter_spec;

#define FIXTURE_RANK 4

/* Designated initialisers after the valid values override them. */
#define FIXTURE_ADAPTER(...) {.general_type = "adapter", .adapter_type = "lora", \
		.architecture = "llama", .base_sha256 = FIXTURE_SHA256, .pooling = "daap", \
		.has_alpha = true, .alpha = 8, .format_version = 1, .n_matrices = FIXTURE_MATRICES, \
		.name_a = "w.f32.lora_a", .name_b = "w.f32.lora_b", .n_in = 64, .rank_a = FIXTURE_RANK, \
		.rank_b = FIXTURE_RANK, .n_out = 5, .n_dims = 2, .type = IE_TYPE_F32, \
		.lookahead_embd = FIXTURE_EMBD, .lookahead_rows = 3, .lookahead_count = 3, \
		.lookahead_type = IE_TYPE_F16, __VA_ARGS__}

static inline size_t
fixture_parts(const fixture_adapter_spec *s, fixture_part *parts)
{
	static const uint32_t types[] = {IE_TYPE_F32, IE_TYPE_F16, IE_TYPE_BF16, IE_TYPE_Q8_0};
	size_t		n = 0;

	for (size_t i = 0; i < s->n_matrices; i++)
	{
		const fixture_part *t = &fixture_tensors[i];
		const bool	odd = t->ne[0] % 32 != 0;
		fixture_part *a = &parts[n++];
		fixture_part *b = &parts[n++];

		*a = (fixture_part) {"", odd ? IE_TYPE_F32 : types[i % 4], 2, {t->ne[0], FIXTURE_RANK}};
		*b = (fixture_part) {"", types[i % 3], 2, {FIXTURE_RANK, t->ne[1]}};
		snprintf(a->name, sizeof(a->name), "%.50s.lora_a", t->name);
		snprintf(b->name, sizeof(b->name), "%.50s.lora_b", t->name);
		if (i > 0)
			continue;
		*a = (fixture_part) {"", s->type, s->n_dims, {s->n_in, s->rank_a}};
		*b = (fixture_part) {"", IE_TYPE_F32, s->n_dims, {s->rank_b, s->n_out}};
		snprintf(a->name, sizeof(a->name), "%s", s->name_a);
		snprintf(b->name, sizeof(b->name), "%s", s->name_b);
	}
	if (s->lookahead_rows > 0)
		parts[n++] = (fixture_part) {"instemb.lookahead", s->lookahead_type, 2,
			{s->lookahead_embd, s->lookahead_rows}};
	return n;
}

static inline gguf_builder
fixture_adapter(const fixture_adapter_spec *s)
{
	const struct
	{
		const char *key;
		const char *value;
	}			texts[] = {
		{"general.type", s->general_type}, {"adapter.type", s->adapter_type},
		{"general.architecture", s->architecture}, {"instemb.base_sha256", s->base_sha256},
		{"instemb.pooling", s->pooling}, {"general.name", "not carried over"},
		{"instemb.template.body", "carried over {input}"},
	};
	fixture_part parts[2 * FIXTURE_MATRICES + 1];
	const size_t n_parts = fixture_parts(s, parts);
	gguf_builder b;

	gb_begin(&b, 3);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].value != NULL)
			gb_kv_text(&b, texts[i].key, texts[i].value);
	if (s->has_alpha)
		gb_kv_f32(&b, "adapter.lora.alpha", s->alpha);
	if (s->lookahead_count > 0)
		gb_kv_u32(&b, "instemb.lookahead_count", s->lookahead_count);
	if (s->format_version != 1)
		gb_kv_u32(&b, "instemb.format_version", s->format_version);
	fixture_fill(&b, parts, n_parts, 32);
	if (s->poison != 0)
		memcpy(b.data + b.data_start, &s->poison, sizeof(s->poison));
	return b;
}

#endif							/* ADAPTER_FIXTURE_H */
