/*
 * test_adapter.c
 *	  Opening adapters: what is bound to what, and what is refused.
 */
#include "test.h"
#include "adapter_fixture.h"
#include "model/adapter.h"

#pragma GCC diagnostic ignored "-Woverride-init"

static gguf_builder base_bytes;
static gguf_file base_file;
static const ie_adapter_base base = {&base_file, FIXTURE_SHA256, FIXTURE_EMBD};

static ie_code
parse(const ie_host *host, const gguf_builder *b, size_t size, ie_adapter *adapter, ie_error *err)
{
	uint8_t    *view = gb_view(b, size);
	const ie_mapping bytes = {view, size};
	ie_code		code;

	memset(err, 0, sizeof(*err));
	code = ie_adapter_parse(host, &bytes, &base, adapter, err);
	if (code == IE_OK)
	{
		CHECK(adapter->n_deltas > 0 || adapter->lookahead != NULL || adapter->file.n_kv > 0);
		ie_adapter_close(adapter);
	}
	else
		CHECK(err->code == code && err->message[0] != '\0');
	CHECK(adapter->deltas == NULL && adapter->file.kv == NULL);
	free(view);
	return code;
}

static void
test_valid(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	const fixture_adapter_spec s = FIXTURE_ADAPTER();
	gguf_builder b = fixture_adapter(&s);
	const ie_mapping bytes = {b.data, b.size};
	ie_adapter	adapter;
	ie_error	err;

	CHECK_INT(ie_adapter_parse(&host, &bytes, &base, &adapter, &err), IE_OK);
	CHECK(adapter.alpha == 8);
	CHECK_INT(adapter.n_deltas, FIXTURE_MATRICES);
	CHECK_INT(adapter.lookahead->ne[1], 3);
	for (size_t i = 0; i < FIXTURE_TENSORS; i++)
	{
		const ie_delta *delta = &adapter.deltas[i];

		CHECK_INT(delta->a != NULL, i < FIXTURE_MATRICES);
		CHECK_INT(delta->b != NULL, i < FIXTURE_MATRICES);
		if (delta->a == NULL)
			continue;
		CHECK_INT(ie_delta_rank(delta), FIXTURE_RANK);
		CHECK_INT(delta->a->ne[0], fixture_tensors[i].ne[0]);
		CHECK_INT(delta->b->ne[1], fixture_tensors[i].ne[1]);
	}
	ie_adapter_close(&adapter);
	ie_adapter_close(&adapter);
	CHECK_INT(state.n_live, 0);
	gb_free(&b);
}

/* Whatever an adapter may lack */
static void
test_parts_missing(void)
{
	static const fixture_adapter_spec specs[] = {
		FIXTURE_ADAPTER(.n_matrices = 0),
		FIXTURE_ADAPTER(.n_matrices = 0, .has_alpha = false),
		FIXTURE_ADAPTER(.lookahead_rows = 0, .lookahead_count = 0),
		FIXTURE_ADAPTER(.n_matrices = 0, .lookahead_rows = 0, .lookahead_count = 0),
		FIXTURE_ADAPTER(.n_matrices = 1, .pooling = NULL),
		FIXTURE_ADAPTER(.lookahead_rows = 256, .lookahead_count = 256),
	};
	test_host_state state;
	ie_host		host = test_host(&state);

	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
	{
		gguf_builder b = fixture_adapter(&specs[i]);
		ie_adapter	adapter;
		ie_error	err;

		CHECK_INT(parse(&host, &b, b.size, &adapter, &err), IE_OK);
		CHECK_INT(state.n_live, 0);
		gb_free(&b);
	}
}

typedef struct refused
{
	fixture_adapter_spec s;
	ie_code		code;
	const char *message;		/* part of message, detail or hint */
} refused;

static const refused refused_adapters[] = {
	{FIXTURE_ADAPTER(.general_type = NULL), IE_INVALID, "file is not an adapter"},
	{FIXTURE_ADAPTER(.general_type = "model"), IE_INVALID, "is \"model\", expected \"adapter\""},
	{FIXTURE_ADAPTER(.adapter_type = NULL), IE_FORMAT, "\"adapter.type\" is missing"},
	{FIXTURE_ADAPTER(.adapter_type = "dora"), IE_UNSUPPORTED, "type \"dora\" is not supported"},
	{FIXTURE_ADAPTER(.format_version = 2), IE_UNSUPPORTED, "version 2 is not supported"},
	{FIXTURE_ADAPTER(.architecture = NULL), IE_FORMAT, "\"general.architecture\" is missing"},
	{FIXTURE_ADAPTER(.architecture = "bert"), IE_INVALID,
	"for \"bert\", the base model is \"llama\""},
	{FIXTURE_ADAPTER(.base_sha256 = NULL), IE_FORMAT, "\"instemb.base_sha256\" is missing"},
	{FIXTURE_ADAPTER(.base_sha256 = "12ab"), IE_INVALID,
	"SHA-256 12ab, the base file has " FIXTURE_SHA256},
	{FIXTURE_ADAPTER(.base_sha256 = "12ab"), IE_INVALID, "Use the very file"},
	{FIXTURE_ADAPTER(.has_alpha = false), IE_FORMAT, "\"adapter.lora.alpha\" is missing"},
	{FIXTURE_ADAPTER(.alpha = INFINITY), IE_FORMAT, "not a finite number"},
	{FIXTURE_ADAPTER(.name_a = "w.f33.lora_a"), IE_INVALID, "no tensor for \"w.f33.lora_a\""},
	{FIXTURE_ADAPTER(.name_b = ".lora_b"), IE_INVALID, "no tensor for \".lora_b\""},
	{FIXTURE_ADAPTER(.name_a = "w.f32.lora_c"), IE_INVALID, "\"w.f32.lora_c\" has no meaning"},
	{FIXTURE_ADAPTER(.name_a = "lora_a"), IE_INVALID, "has no meaning"},
	{FIXTURE_ADAPTER(.name_a = "norm.lora_a"), IE_INVALID, "does not fit the base model"},
	{FIXTURE_ADAPTER(.name_a = "instemb.lookahead.lora_a"), IE_INVALID, "no tensor for"},
	{FIXTURE_ADAPTER(.name_a = "kept.lora_a", .n_in = 32), IE_FORMAT, "without its counterpart"},
	{FIXTURE_ADAPTER(.name_b = "kept.lora_b", .n_out = 3), IE_FORMAT, "\"w.f32.lora_a\" without"},
	{FIXTURE_ADAPTER(.n_in = 63), IE_INVALID, "is [63, 4], the base tensor is [64, 5]"},
	{FIXTURE_ADAPTER(.n_out = 6), IE_INVALID, "is [4, 6], the base tensor is [64, 5]"},
	{FIXTURE_ADAPTER(.rank_a = 3), IE_FORMAT, "ranks 3 and 4"},
	{FIXTURE_ADAPTER(.n_dims = 1), IE_INVALID, "does not fit"},
	{FIXTURE_ADAPTER(.type = IE_TYPE_Q4_0), IE_UNSUPPORTED, "F32, F16, BF16, Q8_0"},
	{FIXTURE_ADAPTER(.poison = NAN), IE_FORMAT,
	"\"w.f32.lora_a\" holds values that are not finite"},
	{FIXTURE_ADAPTER(.poison = -INFINITY), IE_FORMAT, "not finite"},
	{FIXTURE_ADAPTER(.lookahead_embd = 65), IE_INVALID,
	"have 65 dimensions, n_embd of the base is 64"},
	{FIXTURE_ADAPTER(.lookahead_count = 0), IE_FORMAT,
	"\"instemb.lookahead_count\" is 0, the file has 3"},
	{FIXTURE_ADAPTER(.lookahead_count = 4), IE_FORMAT, "is 4, the file has 3"},
	{FIXTURE_ADAPTER(.lookahead_rows = 0), IE_FORMAT, "is 3, the file has 0"},
	{FIXTURE_ADAPTER(.lookahead_rows = 257, .lookahead_count = 257), IE_UNSUPPORTED, "at most 256"},
	{FIXTURE_ADAPTER(.lookahead_type = IE_TYPE_Q5_1), IE_UNSUPPORTED, "has type Q5_1"},
};

static void
test_refused(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);

	for (size_t i = 0; i < sizeof(refused_adapters) / sizeof(refused_adapters[0]); i++)
	{
		const refused *c = &refused_adapters[i];
		gguf_builder b = fixture_adapter(&c->s);
		ie_adapter	adapter;
		ie_error	err;
		const ie_code code = parse(&host, &b, b.size, &adapter, &err);
		const bool	says = strstr(err.message, c->message) != NULL ||
			strstr(err.detail, c->message) != NULL || strstr(err.hint, c->message) != NULL;

		if (code != c->code || !says)
			printf("# expected \"%s\": %d \"%s\" \"%s\"\n",
				   c->message, code, err.message, err.detail);
		CHECK_INT(code, c->code);
		CHECK(says);
		CHECK_INT(state.n_live, 0);
		gb_free(&b);
	}
}

/* A small one, whose look-ahead vectors end with the file's last byte */
static gguf_builder
build_tight(void)
{
	static const fixture_adapter_spec s = FIXTURE_ADAPTER(.n_matrices = 1);

	return fixture_adapter(&s);
}

static void
test_damaged(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	gguf_builder b = build_tight();
	ie_adapter	adapter;
	ie_error	err;
	long		n_ok = 0;

	for (size_t size = 0; size < b.size; size++)
	{
		CHECK_INT(parse(&host, &b, size, &adapter, &err), IE_FORMAT);
		CHECK_INT(state.n_live, 0);
	}
	for (size_t i = 0; i < b.size; i++)
		for (int flip = 1; flip < 256; flip *= 2)
		{
			b.data[i] ^= (uint8_t) flip;
			n_ok += parse(&host, &b, b.size, &adapter, &err) == IE_OK;
			b.data[i] ^= (uint8_t) flip;
			CHECK_INT(state.n_live, 0);
		}
	CHECK(n_ok > 0);
	gb_free(&b);
}

static void
test_no_memory(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	gguf_builder b = build_tight();
	ie_adapter	adapter;
	ie_error	err;
	long		n = 0;

	do
	{
		state.n_allocs = 0;
		state.fail_at = ++n;
		CHECK_INT(parse(&host, &b, b.size, &adapter, &err), n <= 4 ? IE_NOMEM : IE_OK);
		CHECK_INT(state.n_live, 0);
	} while (n <= 4);
	gb_free(&b);
}

static void
test_canceled(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	gguf_builder b = build_tight();
	ie_adapter	adapter;
	ie_error	err;

	state.stop_after = 1;
	CHECK_INT(parse(&host, &b, b.size, &adapter, &err), IE_CANCELED);
	CHECK_INT(state.n_live, 0);
	gb_free(&b);
}

int
main(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_error	err;

	base_bytes = fixture_base(false);
	CHECK_INT(gguf_parse(&host, base_bytes.data, base_bytes.size, &base_file, &err), IE_OK);
	test_valid();
	test_parts_missing();
	test_refused();
	test_damaged();
	test_no_memory();
	test_canceled();
	gguf_free(&base_file);
	gb_free(&base_bytes);
	CHECK_INT(state.n_live, 0);
	return test_end("test_adapter");
}
