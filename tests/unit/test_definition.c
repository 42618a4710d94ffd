/*
 * test_definition.c
 *	  Template and pooling: defaults by chat family, what a file may state, and
 *	  what it may not.
 */
#include "model_builder.h"

#include "model/model.h"

static test_host_state state;
static ie_host host;

/* Open a model of that specification, and close it again; info's strings are copied. */
typedef struct opened
{
	ie_code		code;
	ie_error	err;
	char		prefix[256];
	char		prefix_empty[256];
	char		body[256];
	char		suffix[256];
	char		pooling[32];
	uint32_t	lookahead_count;
	char		suffix_empty[256];
	uint32_t	generate_count;
	size_t		n_suffix;		/* tokens */
} opened;

static size_t
count_tokens(const ie_model *model, ie_text literal)
{
	ie_tokens	tokens = {0};
	ie_error	err = {0};

	CHECK_INT(ie_vocab_encode_template(model->vocab, literal, NULL, (ie_text) {NULL, 0}, &tokens,
									   &err), IE_OK);
	ie_release(&host, tokens.ids);
	return tokens.n;
}

static opened
try_open(const model_spec *spec)
{
	opened		o = {0};
	ie_model   *model = mb_open(&host, spec, &o.err);
	ie_model_info info;

	o.code = o.err.code;
	if (model == NULL)
		return o;
	ie_model_get_info(model, &info);
	snprintf(o.prefix, sizeof(o.prefix), "%s", info.template_prefix);
	snprintf(o.prefix_empty, sizeof(o.prefix_empty), "%s", info.template_prefix_empty);
	snprintf(o.body, sizeof(o.body), "%s", info.template_body);
	snprintf(o.suffix, sizeof(o.suffix), "%s", info.template_suffix);
	snprintf(o.pooling, sizeof(o.pooling), "%s", info.pooling);
	o.lookahead_count = info.lookahead_count;
	snprintf(o.suffix_empty, sizeof(o.suffix_empty), "%s", info.template_suffix_empty);
	o.generate_count = model->definition.generate_count;
	o.n_suffix = count_tokens(model, model->definition.suffix);
	ie_model_close(model);
	return o;
}

static void
test_defaults(void)
{
	model_spec	spec = model_spec_default();
	opened		o = try_open(&spec);

	CHECK_INT(o.code, IE_OK);
	CHECK_STR(o.prefix, "<|im_start|>user\n{instruction}\n\n");
	CHECK_STR(o.prefix_empty, "<|im_start|>user\n");
	CHECK_STR(o.body, "{input}");
	CHECK_STR(o.suffix, "<|im_end|>\n<|im_start|>assistant\n");
	CHECK_STR(o.suffix_empty, o.suffix);
	CHECK_STR(o.pooling, "last");
	CHECK_INT(o.lookahead_count, 0);
	/* two control tokens, two newlines, "assistant" without merges */
	CHECK_INT(o.n_suffix, 2 + 2 + strlen("assistant"));

	spec.control[0] = "<|start_header_id|>";
	spec.control[1] = "<|end_header_id|>";
	o = try_open(&spec);
	CHECK_STR(o.prefix, "<|start_header_id|>user<|end_header_id|>\n\n{instruction}\n\n");
	CHECK_STR(o.prefix_empty, "<|start_header_id|>user<|end_header_id|>\n\n");
	CHECK_STR(o.suffix,
			  "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");

	spec.control[0] = "<|im_start|>";	/* one of the two is not enough */
	o = try_open(&spec);
	CHECK_STR(o.prefix, "{instruction}\n\n");
	CHECK_STR(o.prefix_empty, "");
	CHECK_STR(o.suffix, "\n");
}

static void
test_stated(void)
{
	model_spec	spec = model_spec_default();
	opened		o;

	/* braces that are no placeholder are literal */
	spec.prefix = "{\"task\": \"{instruction}\"} {} {1} { x } {A}";
	spec.prefix_empty = "plain";
	spec.suffix = "";
	spec.body = "### Input: {input}";
	spec.pooling = "mean";
	spec.n_lookahead = 5;
	o = try_open(&spec);
	CHECK_STR(o.err.message, "");
	CHECK_STR(o.prefix, spec.prefix);
	CHECK_STR(o.prefix_empty, "plain");
	CHECK_STR(o.suffix, "");
	CHECK_STR(o.body, spec.body);
	CHECK_STR(o.pooling, "mean");
	CHECK_INT(o.lookahead_count, 5);
	CHECK_INT(o.n_suffix, 0);
}

#define ONCE "metadata keys \"instemb.template.prefix\" and \"instemb.template.suffix\" must " \
	"contain {instruction} exactly once"

/* Prefix, prefix_empty, body, suffix that are refused, and the message */
static void
test_bad_templates(void)
{
	static const struct
	{
		const char *prefix;
		const char *prefix_empty;
		const char *body;
		const char *suffix;
		const char *message;
	}			bad[] = {
		{"no place", "", NULL, "", ONCE},
		{"{instruction}{instruction}", "", NULL, "", ONCE},
		{"{instruction}", "", NULL, "{instruction}", ONCE},
		{"", "", NULL, "{instruction}{instruction}", ONCE},
		{"", "", NULL, "{instruction}",
			"metadata key \"instemb.template.suffix_empty\" is missing"},
		{"{instruct} {instruction}", "", NULL, "",
			"metadata key \"instemb.template.prefix\" has no use for the placeholder {instruct}"},
		{"{instruction}", "{instruction}", NULL, "",
			"metadata key \"instemb.template.prefix_empty\" has no use for the placeholder "
			"{instruction}"},
		{"{instruction}", "", "{input", "",
			"metadata key \"instemb.template.body\" must contain {input} exactly once"},
		{"{instruction}", "", "{input} and more", "",
			"metadata key \"instemb.template.body\" must end with {input}"},
		{"{instruction}", "", "{input}{input}", "",
			"metadata key \"instemb.template.body\" must contain {input} exactly once"},
		{"{instruction}", "", NULL, "{input}",
			"metadata key \"instemb.template.suffix\" has no use for the placeholder {input}"},
		{"{instruction}\xff", "", NULL, "",
			"metadata key \"instemb.template.prefix\" is not text in UTF-8"},
		{"{instruction}", NULL, NULL, "",
			"metadata key \"instemb.template.prefix_empty\" is missing"},
		{NULL, NULL, NULL, "\n",
			"metadata key \"instemb.template.prefix_empty\" is missing"},
		{NULL, "", NULL, "\n",
			"metadata key \"instemb.template.prefix\" is missing"},
		{"{instruction}", "", NULL, NULL,
			"metadata key \"instemb.template.suffix\" is missing"},
	};

	for (size_t i = 0; i < IE_LENGTH(bad); i++)
	{
		model_spec	spec = model_spec_default();
		opened		o;

		spec.prefix = bad[i].prefix;
		spec.prefix_empty = bad[i].prefix_empty;
		spec.body = bad[i].body;
		spec.suffix = bad[i].suffix;
		o = try_open(&spec);
		CHECK_INT(o.code, IE_FORMAT);
		CHECK_STR(o.err.message, bad[i].message);
	}
}

/* The instruction behind the text, as InBedder has it */
static void
inbedder_suffix_empty(gguf_builder *b)
{
	gb_kv_text(b, "instemb.template.suffix_empty", "\n\n### Response:");
	gb_kv_u32(b, "instemb.generate_count", 5);
}

static void
placeholder_in_suffix_empty(gguf_builder *b)
{
	gb_kv_text(b, "instemb.template.suffix_empty", "{instruction}");
}

static void
no_tokens_to_generate(gguf_builder *b)
{
	gb_kv_u32(b, "instemb.generate_count", 0);
}

static void
too_many_to_generate(gguf_builder *b)
{
	gb_kv_u32(b, "instemb.generate_count", IE_GENERATE_MAX + 1);
}

static void
test_instruction_behind(void)
{
	model_spec	spec = model_spec_default();
	opened		o;

	spec.prefix = spec.prefix_empty = "### Input:\n";
	spec.suffix = "\n\n### Instruction:\n{instruction}\n\n### Response:";
	spec.pooling = "generate";
	spec.extra_kv = inbedder_suffix_empty;
	o = try_open(&spec);
	CHECK_STR(o.err.message, "");
	CHECK_STR(o.suffix, spec.suffix);
	CHECK_STR(o.suffix_empty, "\n\n### Response:");
	CHECK_INT(o.generate_count, 5);

	spec.extra_kv = placeholder_in_suffix_empty;
	CHECK_STR(try_open(&spec).err.message,
			  "metadata key \"instemb.template.suffix_empty\" has no use for the placeholder "
			  "{instruction}");

	spec = model_spec_default();
	CHECK_INT(try_open(&spec).generate_count, 3);
	spec.extra_kv = no_tokens_to_generate;
	CHECK_STR(try_open(&spec).err.message,
			  "metadata key \"instemb.generate_count\" is 0, 1 to 64 are allowed");
	spec.extra_kv = too_many_to_generate;
	CHECK_INT(try_open(&spec).code, IE_FORMAT);
}

static void
nul_in_suffix(gguf_builder *b)
{
	gb_kv(b, "instemb.template.suffix", GGUF_STRING);
	gb_uint(b, 3, 8);
	gb_bytes(b, "a\0b", 3);
}

static void
number_as_prefix(gguf_builder *b)
{
	gb_kv_u32(b, "instemb.template.prefix", 1);
}

static void
four_lookahead(gguf_builder *b)
{
	gb_kv_u32(b, "instemb.lookahead_count", 4);
}

static void
test_bad_values(void)
{
	model_spec	spec = model_spec_default();
	opened		o;

	spec.extra_kv = nul_in_suffix;
	spec.prefix = "{instruction}";
	spec.prefix_empty = "";
	o = try_open(&spec);
	CHECK_INT(o.code, IE_FORMAT);
	CHECK_STR(o.err.message, "metadata key \"instemb.template.suffix\" is not text in UTF-8");

	spec = model_spec_default();
	spec.extra_kv = number_as_prefix;
	CHECK_INT(try_open(&spec).code, IE_FORMAT);
}

static void
test_pooling(void)
{
	static const char *const poolings[] = {
		"last", "mean", "generate", "generate_mean", "lookahead", "daap"
	};
	model_spec	spec = model_spec_default();
	opened		o;

	for (size_t i = 0; i < IE_LENGTH(poolings); i++)
	{
		spec.pooling = poolings[i];
		spec.n_lookahead = 2;
		o = try_open(&spec);
		CHECK_INT(o.code, IE_OK);
		CHECK_STR(o.pooling, poolings[i]);
		spec.n_lookahead = 0;
		o = try_open(&spec);
		CHECK_INT(o.code, i < 4 ? IE_OK : IE_FORMAT);
	}
	CHECK_STR(o.err.message, "pooling \"daap\" needs look-ahead vectors, the file has none");

	spec.pooling = "cls";
	o = try_open(&spec);
	CHECK_INT(o.code, IE_UNSUPPORTED);
	CHECK_STR(o.err.message, "pooling \"cls\" is not supported");
	CHECK_STR(o.err.detail, "Supported poolings: last, mean, lookahead, daap, generate, generate_mean.");

	spec = model_spec_default();
	spec.extra_kv = four_lookahead;
	spec.n_lookahead = 3;
	o = try_open(&spec);
	CHECK_INT(o.code, IE_FORMAT);
	CHECK_STR(o.err.message, "number of look-ahead vectors is inconsistent");
	spec.n_lookahead = 4;
	CHECK_INT(try_open(&spec).lookahead_count, 4);
	spec.n_lookahead = 0;
	CHECK_INT(try_open(&spec).code, IE_FORMAT);
}

int
main(void)
{
	host = test_host(&state);
	test_defaults();
	test_stated();
	test_bad_templates();
	test_instruction_behind();
	test_bad_values();
	test_pooling();
	CHECK_INT(state.n_live, 0);
	return test_end("test_definition");
}
