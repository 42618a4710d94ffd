/*
 * fuzz_adapter.c
 *	  Any bytes as an adapter of the fixture's base: what is accepted can be
 *	  merged without reading outside of it.
 */
#include "fuzz.h"
#include "adapter_fixture.h"
#include "model/adapter.h"

/* The base is the same for every input. */
static gguf_builder base_bytes;
static gguf_file base_file;

static void
open_base(void)
{
	static test_host_state state;
	static ie_host host;
	ie_error	err;

	host = test_host(&state);
	base_bytes = fixture_base(false);
	REQUIRE(gguf_parse(&host, base_bytes.data, base_bytes.size, &base_file, &err) == IE_OK);
}

static void
check_tensor(const gguf_tensor *t)
{
	const size_t n = (size_t) t->ne[0];
	const size_t row_bytes = n / t->type->block_len * t->type->block_bytes;
	float	   *row = malloc(n * sizeof(float));

	REQUIRE(row != NULL);
	for (uint64_t r = 0; r < t->ne[1]; r++)
	{
		t->type->dequantize(t->data + r * row_bytes, n, row);
		for (size_t i = 0; i < n; i++)
			REQUIRE(isfinite(row[i]));
	}
	free(row);
}

static void
check_adapter(const ie_adapter *adapter)
{
	size_t		n_deltas = 0;

	for (size_t i = 0; i < base_file.n_tensors; i++)
	{
		const gguf_tensor *w = &base_file.tensors[i];
		const ie_delta *delta = &adapter->deltas[i];

		REQUIRE((delta->a == NULL) == (delta->b == NULL));
		if (delta->a == NULL)
			continue;
		n_deltas++;
		REQUIRE(w->n_dims == 2 && delta->a->n_dims == 2 && delta->b->n_dims == 2);
		REQUIRE(delta->a->ne[0] == w->ne[0] && delta->b->ne[1] == w->ne[1]);
		REQUIRE(delta->a->ne[1] == delta->b->ne[0] && ie_delta_rank(delta) > 0);
		check_tensor(delta->a);
		check_tensor(delta->b);
	}
	REQUIRE(n_deltas == adapter->n_deltas);
	REQUIRE(2 * n_deltas + (adapter->lookahead != NULL) == adapter->file.n_tensors);
	REQUIRE(isfinite(adapter->alpha));
	if (adapter->lookahead != NULL)
	{
		REQUIRE(adapter->lookahead->ne[0] == FIXTURE_EMBD);
		REQUIRE(adapter->lookahead->ne[1] <= IE_LOOKAHEAD_MAX);
		check_tensor(adapter->lookahead);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ie_adapter_base base = {&base_file, FIXTURE_SHA256, FIXTURE_EMBD};
	const ie_mapping bytes = {data, size};
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_adapter	adapter;
	ie_error	err = {0};
	ie_code		code;

	if (base_file.n_tensors == 0)
		open_base();
	code = ie_adapter_parse(&host, &bytes, &base, &adapter, &err);
	if (code == IE_OK)
	{
		check_adapter(&adapter);
		ie_adapter_close(&adapter);
		REQUIRE(state.n_live == 0);
	}
	else
		require_error(&state, &err, code, 0);
	return 0;
}
