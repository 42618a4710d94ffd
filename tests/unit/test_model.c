/*
 * test_model.c
 *	  Opening model files: what is told about them, and every reason to refuse.
 */
#include "model_builder.h"

#include "model/model.h"

static test_host_state state;
static ie_host host;

static ie_error
try_open(const model_spec *spec)
{
	ie_error	err = {0};
	ie_model   *model = mb_open(&host, spec, &err);

	CHECK((model != NULL) == (err.code == IE_OK));
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
	return err;
}

static void
test_info(void)
{
	model_spec	spec = model_spec_default();
	ie_error	err = {0};
	ie_model   *model = mb_open(&host, &spec, &err);
	ie_model_info info;
	char		hex[65];
	char		name[64];

	CHECK_STR(err.message, "");
	ie_model_get_info(model, &info);
	CHECK_STR(info.architecture, "llama");
	CHECK_STR(info.name, "random model");
	CHECK_STR(info.license, "PostgreSQL");
	CHECK_STR(info.pre_type, "smollm");
	CHECK_STR(info.base_sha256, "");
	CHECK_STR(info.adapter_sha256, "");
	CHECK_INT(info.n_vocab, mb_n_vocab());
	CHECK_INT(info.n_embd, 64);
	CHECK_INT(info.n_layer, 3);
	CHECK_INT(info.n_head, 4);
	CHECK_INT(info.n_head_kv, 2);
	CHECK_INT(info.head_dim, 16);
	CHECK_INT(info.n_ff, 96);
	CHECK_INT(info.n_ctx, 512);
	CHECK_INT(info.n_params, 2 * 64 * mb_n_vocab() + 64 +
			  3 * (2 * 64 + 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 96));
	CHECK(info.file_bytes == model->map.size);
	CHECK_INT(ie_model_verify(model, hex, &err), IE_OK);
	CHECK_INT(strlen(hex), 64);
	ie_model_close(model);

	spec.types = &(uint32_t) {IE_TYPE_Q5_1};
	spec.n_types = 1;
	model = mb_open(&host, &spec, &err);
	ie_model_get_info(model, &info);
	snprintf(name, sizeof(name), "%s", info.quantization);
	CHECK_STR(name, "Q5_1");
	ie_model_close(model);
}

static void
test_files(void)
{
	ie_model   *model = NULL;
	ie_error	err = {0};

	CHECK_INT(ie_model_open(&host, "/tmp/instemb_no_such_file", &model, &err), IE_IO);
	CHECK(err.sys_errno != 0);
	CHECK_INT(ie_model_open(&host, "/tmp", &model, &err), IE_FORMAT);
	CHECK_INT(ie_model_open(&host, "Makefile", &model, &err), IE_FORMAT);
	CHECK(model == NULL);
	CHECK_INT(state.n_live, 0);
}

static void
test_architecture(void)
{
	model_spec	spec = model_spec_default();
	ie_error	err;

	spec.architecture = "gpt\nneox";
	err = try_open(&spec);
	CHECK_INT(err.code, IE_UNSUPPORTED);
	CHECK_STR(err.message, "model architecture \"gpt\\x0aneox\" is not supported");
	CHECK_STR(err.detail, "Supported architectures: llama.");
	spec.architecture = NULL;
	err = try_open(&spec);
	CHECK_INT(err.code, IE_FORMAT);
	CHECK_STR(err.message, "metadata key \"general.architecture\" is missing");
}

/* -------------------------------------------------------- hyperparameters */

static void
test_missing(void)
{
	static const char *const required[] = {
		"llama.block_count", "llama.context_length", "llama.embedding_length",
		"llama.feed_forward_length", "llama.attention.head_count",
		"llama.attention.layer_norm_rms_epsilon", "token_embd.weight", "output_norm.weight",
		"blk.0.attn_q.weight", "blk.1.attn_norm.weight", "blk.2.ffn_down.weight"
	};
	static const char *const optional[] = {
		"llama.rope.freq_base", "output.weight"
	};
	model_spec	spec = model_spec_default();

	for (size_t i = 0; i < IE_LENGTH(required); i++)
	{
		ie_error	err;

		spec.omit = required[i];
		err = try_open(&spec);
		CHECK_INT(err.code, IE_FORMAT);
		CHECK(strstr(err.message, required[i]) != NULL && strstr(err.message, "missing") != NULL);
	}
	for (size_t i = 0; i < IE_LENGTH(optional); i++)
	{
		spec.omit = optional[i];
		CHECK_INT(try_open(&spec).code, IE_OK);
	}
	spec.omit = "llama.attention.head_count_kv";	/* then it is head_count */
	spec.n_head_kv = spec.n_head;
	CHECK_INT(try_open(&spec).code, IE_OK);
	spec.omit = "llama.attention.key_length";	/* then it is n_embd / n_head */
	spec.n_head = spec.n_head_kv = 6;
	CHECK_INT(try_open(&spec).code, IE_FORMAT);
}

/* One key more: name, a number (text if 0 and text is set), and what comes of it */
typedef struct extra_key
{
	const char *name;
	double		number;
	const char *text;
	ie_code		code;
} extra_key;

static const extra_key *extra;

static void
add_extra(gguf_builder *b)
{
	if (extra->text != NULL)
		gb_kv_text(b, extra->name, extra->text);
	else if (extra->number == floor(extra->number))
		gb_kv_u32(b, extra->name, (uint32_t) extra->number);
	else
		gb_kv_f32(b, extra->name, (float) extra->number);
}

static void
add_causal(gguf_builder *b)
{
	gb_kv(b, "llama.attention.causal", GGUF_BOOL);
	gb_uint(b, extra->number != 0, 1);
}

/* What is shown to users must be text. */
static void
test_texts(void)
{
	static const extra_key name = {"general.name", 0, "caf\xe9", IE_FORMAT};
	static const extra_key type = {"general.type", 0, "adapter", IE_INVALID};
	model_spec	spec = model_spec_default();

	spec.extra_kv = add_extra;
	spec.omit = "general.name";
	extra = &name;
	CHECK_STR(try_open(&spec).message, "metadata key \"general.name\" is not text in UTF-8");
	extra = &type;
	CHECK_INT(try_open(&spec).code, IE_INVALID);
}

static void
test_keys(void)
{
	static const extra_key keys[] = {
		{"llama.vocab_size", 7, NULL, IE_OK},
		{"llama.rope.dimension_count", 16, NULL, IE_OK},
		{"llama.rope.dimension_count", 8, NULL, IE_UNSUPPORTED},
		{"llama.attention.key_length", 24, NULL, IE_UNSUPPORTED},	/* values still have 16 */
		{"llama.attention.key_length", 12, NULL, IE_UNSUPPORTED},
		{"llama.attention.value_length", 32, NULL, IE_UNSUPPORTED},
		{"llama.attention.value_length", 0, NULL, IE_FORMAT},
		{"llama.rope.scaling.type", 0, "none", IE_OK},
		{"llama.rope.scaling.type", 0, "yarn", IE_UNSUPPORTED},
		{"llama.rope.scaling.type", 3, NULL, IE_FORMAT},
		{"llama.rope.scaling.factor", 1, NULL, IE_OK},
		{"llama.rope.scaling.factor", 8.5, NULL, IE_UNSUPPORTED},
		{"llama.rope.scale_linear", 4, NULL, IE_UNSUPPORTED},
		{"llama.rope.scaling.original_context_length", 2048, NULL, IE_OK},
		{"llama.expert_count", 0, NULL, IE_OK},
		{"llama.expert_count", 8, NULL, IE_UNSUPPORTED},
		{"llama.attention.sliding_window", 4096, NULL, IE_UNSUPPORTED},
		{"llama.attention.clamp_kqv", 0.5, NULL, IE_UNSUPPORTED},
		{"llama.something.new", 1, NULL, IE_UNSUPPORTED},
		{"llamas", 1, NULL, IE_OK},
		{"other.something", 1, NULL, IE_OK},
	};
	model_spec	spec = model_spec_default();

	spec.extra_kv = add_extra;
	for (size_t i = 0; i < IE_LENGTH(keys); i++)
	{
		ie_error	err;

		extra = &keys[i];
		err = try_open(&spec);
		if (err.code != extra->code)
			printf("%s: %s\n", extra->name, err.message);
		CHECK_INT(err.code, extra->code);
	}
	spec.extra_kv = add_causal;
	extra = &(extra_key) {.number = 0};
	CHECK_INT(try_open(&spec).code, IE_UNSUPPORTED);
	extra = &(extra_key) {.number = 1};
	CHECK_INT(try_open(&spec).code, IE_OK);
}

static void
test_bounds(void)
{
	const model_spec good = model_spec_default();
	const struct
	{
		size_t		field;		/* offset of a u32 in model_spec */
		uint32_t	value;
		ie_code		code;
	}			bounds[] = {
		{offsetof(model_spec, n_embd), 0, IE_FORMAT},
		{offsetof(model_spec, n_embd), 68, IE_UNSUPPORTED},
		{offsetof(model_spec, n_layer), 0, IE_FORMAT},
		{offsetof(model_spec, n_head), 0, IE_FORMAT},
		{offsetof(model_spec, n_head), 3, IE_FORMAT},	/* not a multiple of 2 */
		{offsetof(model_spec, n_head_kv), 0, IE_FORMAT},
		{offsetof(model_spec, n_head_kv), 3, IE_FORMAT},
		{offsetof(model_spec, head_dim), 12, IE_UNSUPPORTED},
		{offsetof(model_spec, n_ff), 0, IE_FORMAT},
		{offsetof(model_spec, n_ff), 90, IE_UNSUPPORTED},
		{offsetof(model_spec, n_ctx), 15, IE_FORMAT},
		{offsetof(model_spec, n_ctx), 16, IE_OK},
		{offsetof(model_spec, n_ctx), 20000000, IE_FORMAT},
	};
	model_spec	spec = good;

	for (size_t i = 0; i < IE_LENGTH(bounds); i++)
	{
		ie_error	err;

		spec = good;
		memcpy((char *) &spec + bounds[i].field, &bounds[i].value, sizeof(uint32_t));
		err = try_open(&spec);
		if (err.code != bounds[i].code)
			printf("bound %zu: %s\n", i, err.message);
		CHECK_INT(err.code, bounds[i].code);
	}
	for (int i = 0; i < 3; i++)
	{
		spec = good;
		spec.rope_theta = (const float[]) {0.5f, -1, NAN}[i];
		CHECK_INT(try_open(&spec).code, IE_FORMAT);
	}
}

/* Head counts that the tensors contradict, tensors that do not belong there */
static void
test_tensors(void)
{
	static const char *const foreign[] = {
		"rope_freqs.weight", "blk.0.attn_q.bias", "blk.3.attn_norm.weight",
		"blk.00.attn_norm.weight", "blk.0.ffn_gate_exps.weight", "blk.x.attn_norm.weight",
		"blk..attn_norm.weight", "attn_norm.weight", "blk.99999999999999999999.attn_norm.weight",
		"blk.1.", "blk.1"
	};
	model_spec	spec = model_spec_default();
	ie_error	err;

	for (size_t i = 0; i < IE_LENGTH(foreign); i++)
	{
		spec.extra_tensor = foreign[i];
		err = try_open(&spec);
		CHECK_INT(err.code, IE_UNSUPPORTED);
		CHECK(strstr(err.message, foreign[i]) != NULL);
	}

	spec = model_spec_default();
	spec.f16_norms = true;
	err = try_open(&spec);
	CHECK_INT(err.code, IE_UNSUPPORTED);
	CHECK_STR(err.message, "type F16 of tensor \"output_norm.weight\" is not supported");
	spec.f16_norms = false;
	spec.n_lookahead = spec.n_ctx + 1;
	CHECK_INT(try_open(&spec).code, IE_FORMAT);
	spec.n_lookahead = 0;
	spec.extra_tensor = "instemb.lookahead";	/* one dimension: a single vector */
	CHECK_INT(try_open(&spec).code, IE_OK);
	spec.extra_tensor = NULL;
	spec.omit = "llama.attention.head_count_kv";	/* keys and values are then too short */
	err = try_open(&spec);
	CHECK_INT(err.code, IE_FORMAT);
	CHECK_STR(err.message, "tensor \"blk.0.attn_k.weight\" has a wrong shape");
	CHECK_STR(err.detail, "It is 64 x 32, expected 64 x 64.");
}

int
main(void)
{
	host = test_host(&state);
	test_info();
	test_files();
	test_architecture();
	test_missing();
	test_texts();
	test_keys();
	test_bounds();
	test_tensors();
	return test_end("test_model");
}
