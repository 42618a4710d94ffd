/*
 * test_merge.c
 *	  Base + adapter -> file: the weights against sums computed here, the
 *	  metadata, the checksum, and every way to fail.
 */
#include "test.h"
#include "adapter_fixture.h"
#include "scratch.h"
#include "base/sha256.h"
#include "model/merge.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#pragma GCC diagnostic ignored "-Woverride-init"

#define ADAPTER_SHA256 "aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999"
#define MAX_COLUMNS 1024
#define MAX_RANK 64

/* A base and an adapter in memory, and where their sum goes */
typedef struct fixture
{
	test_host_state state;
	ie_host		host;
	gguf_builder base_bytes;
	gguf_file	base;
	gguf_builder adapter_bytes;
	ie_adapter	adapter;
	scratch		dir;
	const char *out;
	ie_merge_request request;
	ie_error	err;
} fixture;

/* Parse both, whose bytes are there. */
static void
open_parsed(fixture *f)
{
	const ie_adapter_base base = {&f->base, FIXTURE_SHA256, FIXTURE_EMBD};
	const ie_mapping bytes = {f->adapter_bytes.data, f->adapter_bytes.size};

	CHECK_INT(gguf_parse(&f->host, f->base_bytes.data, f->base_bytes.size, &f->base, &f->err),
			  IE_OK);
	CHECK_INT(ie_adapter_parse(&f->host, &bytes, &base, &f->adapter, &f->err), IE_OK);
	scratch_open(&f->dir);
	f->out = scratch_path(&f->dir, "merged.gguf");
	f->request = (ie_merge_request) {
		.base = &f->base, .base_sha256 = FIXTURE_SHA256, .adapter = &f->adapter,
		.adapter_sha256 = ADAPTER_SHA256, .out_path = f->out
	};
	f->state.n_polls = 0;
	f->state.n_allocs = 0;
}

static void
open_fixture(fixture *f, const fixture_adapter_spec *s, bool base_lookahead)
{
	memset(f, 0, sizeof(*f));
	f->host = test_host(&f->state);
	f->base_bytes = fixture_base(base_lookahead);
	f->adapter_bytes = fixture_adapter(s);
	open_parsed(f);
}

static void
close_fixture(fixture *f)
{
	ie_adapter_close(&f->adapter);
	gguf_free(&f->base);
	CHECK_INT(f->state.n_live, 0);
	gb_free(&f->adapter_bytes);
	gb_free(&f->base_bytes);
	scratch_close(&f->dir);
}

/* ---------------------------------------------------------------- results */

static void
check_text(const gguf_file *file, const char *key, const char *expected)
{
	ie_text		text = {"", 0};
	ie_error	err;
	char		shown[GGUF_SHOWN_SIZE];

	CHECK_INT(gguf_get_text(file, key, &text, NULL, &err), IE_OK);
	CHECK_STR(gguf_show(text, shown), expected);
}

static void
check_metadata(const gguf_file *file, bool has_deltas)
{
	uint32_t	u32 = 0;
	const gguf_kv *kv = NULL;
	ie_error	err;
	ie_sha256	sha;
	char		hex[IE_SHA256_HEX_SIZE];
	ie_text		word;
	size_t		pos = 0;

	check_text(file, "general.architecture", "llama");
	check_text(file, "general.name", "fixture");
	CHECK(gguf_find(file, "general.type") == NULL);
	CHECK(gguf_find(file, "adapter.lora.alpha") == NULL);
	CHECK_INT(gguf_find(file, "general.file_type") == NULL, has_deltas);
	CHECK_INT(gguf_get_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &kv, NULL, &err), IE_OK);
	CHECK(gguf_next_text(kv, &pos, &word) && ie_text_is(word, "a"));
	CHECK(gguf_next_text(kv, &pos, &word) && ie_text_is(word, "bc"));
	check_text(file, "instemb.kept", "by the base");
	check_text(file, "instemb.pooling", "daap");
	check_text(file, "instemb.template.body", "carried over {input}");
	check_text(file, "instemb.base_sha256", FIXTURE_SHA256);
	check_text(file, "instemb.adapter_sha256", ADAPTER_SHA256);
	CHECK_INT(gguf_get_u32(file, "instemb.format_version", &u32, NULL, &err), IE_OK);
	CHECK_INT(u32, IE_FORMAT_VERSION);
	CHECK_INT(file->alignment, FIXTURE_ALIGNMENT);

	ie_sha256_init(&sha);
	ie_sha256_update(&sha, file->data, file->data_bytes);
	ie_sha256_final_hex(&sha, hex);
	check_text(file, "instemb.data_sha256", hex);
}

/* Q8_0 as quant.h defines it, written again */
static void
quantize(const float *x, size_t n, uint8_t *blocks)
{
	for (size_t i = 0; i < n / 32; i++)
	{
		float		max = 0;
		uint16_t	d;

		for (size_t j = 0; j < 32; j++)
			max = fmaxf(max, fabsf(x[32 * i + j]));
		d = ie_f32_to_f16(max / 127);
		memcpy(blocks + 34 * i, &d, 2);
		for (size_t j = 0; j < 32; j++)
		{
			const float q = max > 0 ? rintf(x[32 * i + j] / ie_f16_to_f32(d)) : 0;

			blocks[34 * i + 2 + j] = (uint8_t) (int8_t) fminf(fmaxf(q, -127), 127);
		}
	}
}

static void
load_row(const gguf_tensor *t, size_t row, float *x)
{
	const size_t n = (size_t) t->ne[0];

	t->type->dequantize(t->data + row * (n / t->type->block_len * t->type->block_bytes), n, x);
}

/* Equal, byte for byte, to W + (alpha / r) B A; and near to it in double precision */
static void
check_merged(const fixture *f, size_t i, const gguf_tensor *merged)
{
	static float a[MAX_RANK][MAX_COLUMNS];
	const gguf_tensor *w = &f->base.tensors[i];
	const ie_delta *delta = &f->adapter.deltas[i];
	const size_t n_in = (size_t) w->ne[0];
	const size_t rank = ie_delta_rank(delta);
	const bool	is_q8 = n_in % 32 == 0;
	const size_t row_bytes = is_q8 ? n_in / 32 * 34 : 4 * n_in;
	const float scale = f->adapter.alpha / (float) rank;

	CHECK_INT(merged->type->type, is_q8 ? IE_TYPE_Q8_0 : IE_TYPE_F32);
	CHECK(merged->ne[0] == w->ne[0] && merged->ne[1] == w->ne[1] && merged->n_dims == 2);
	for (size_t r = 0; r < rank; r++)
		load_row(delta->a, r, a[r]);
	for (size_t o = 0; o < w->ne[1]; o++)
	{
		float		b[MAX_RANK];
		float		sum[MAX_COLUMNS];
		float		got[MAX_COLUMNS];
		uint8_t		expected[4 * MAX_COLUMNS];
		float		max = 0;

		load_row(delta->b, o, b);
		load_row(w, o, sum);
		load_row(merged, o, got);
		for (size_t c = 0; c < n_in; c++)
		{
			float		product = 0;
			double		exact = 0;

			for (size_t r = 0; r < rank; r++)
			{
				product += b[r] * a[r][c];
				exact += (double) b[r] * (double) a[r][c];
			}
			exact = (double) sum[c] + (double) scale * exact;
			sum[c] += scale * product;
			CHECK_NEAR(sum[c], exact, 1e-5);
			max = fmaxf(max, fabsf(sum[c]));
		}
		for (size_t c = 0; c < n_in; c++)
			CHECK_NEAR(got[c], sum[c], is_q8 ? max / 253 : 0);	/* half a step */
		if (is_q8)
			quantize(sum, n_in, expected);
		else
			memcpy(expected, sum, row_bytes);
		CHECK(memcmp(merged->data + o * row_bytes, expected, row_bytes) == 0);
	}
}

/* Map and parse the file written; then see that each tensor is what it should be. */
static void
check_result(const fixture *f, bool has_lookahead)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	const ie_adapter *adapter = &f->adapter;
	ie_mapping	map = {0};
	gguf_file	file = {0};
	ie_error	err;
	const gguf_tensor *lookahead;

	CHECK_INT(ie_map_file(f->out, &map, &err), IE_OK);
	CHECK_INT(gguf_parse(&host, map.data, map.size, &file, &err), IE_OK);
	CHECK_INT(file.n_tensors, FIXTURE_TENSORS + has_lookahead);
	check_metadata(&file, adapter->n_deltas > 0);
	for (size_t i = 0; i < FIXTURE_TENSORS; i++)
	{
		const gguf_tensor *from = &f->base.tensors[i];
		const gguf_tensor *t = &file.tensors[i];

		CHECK(ie_text_is(t->name, fixture_tensors[i].name));
		if (adapter->deltas[i].a != NULL)
		{
			check_merged(f, i, t);
			continue;
		}
		CHECK(t->type == from->type && t->data_bytes == from->data_bytes);
		CHECK(memcmp(t->data, from->data, t->data_bytes) == 0);
	}
	lookahead = gguf_find_tensor(&file, "instemb.lookahead");
	CHECK_INT(lookahead != NULL, has_lookahead);
	if (lookahead != NULL && adapter->lookahead != NULL)
	{
		CHECK_INT(lookahead->type->type, IE_TYPE_F32);
		CHECK(lookahead->ne[0] == FIXTURE_EMBD && lookahead->ne[1] == adapter->lookahead->ne[1]);
		for (size_t k = 0; k < lookahead->ne[1]; k++)
		{
			float		got[FIXTURE_EMBD];
			float		expected[FIXTURE_EMBD];

			load_row(lookahead, k, got);
			load_row(adapter->lookahead, k, expected);
			CHECK(memcmp(got, expected, sizeof(got)) == 0);
		}
	}
	gguf_free(&file);
	ie_unmap_file(&map);
}

static void
test_results(void)
{
	static const struct
	{
		fixture_adapter_spec s;
		bool		base_lookahead;
		bool		has_lookahead;
	}			cases[] = {
		{FIXTURE_ADAPTER(), false, true},
		{FIXTURE_ADAPTER(), true, true},
		{FIXTURE_ADAPTER(.alpha = -0.5f, .n_matrices = 2), false, true},
		{FIXTURE_ADAPTER(.lookahead_rows = 0, .lookahead_count = 0), false, false},
		{FIXTURE_ADAPTER(.lookahead_rows = 0, .lookahead_count = 0), true, true},
		{FIXTURE_ADAPTER(.n_matrices = 0, .has_alpha = false), false, true},
		{FIXTURE_ADAPTER(.n_matrices = 0, .lookahead_rows = 0, .lookahead_count = 0), false, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		fixture		f;

		open_fixture(&f, &cases[i].s, cases[i].base_lookahead);
		CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_OK);
		check_result(&f, cases[i].has_lookahead);
		close_fixture(&f);
	}
}

/*
 * Sizes beyond the merger's stage and beyond what it does between two polls;
 * ranks that differ.  How often it polls is part of the test.
 */
static void
test_large(void)
{
	static const fixture_part matrices[] = {
		{"big", IE_TYPE_F16, 2, {1024, 256}}, {"small", IE_TYPE_F32, 2, {64, 2}},
		{"kept", IE_TYPE_F32, 2, {1024, 1000}}
	};
	static const fixture_part factors[] = {
		{"big.lora_a", IE_TYPE_F32, 2, {1024, 64}}, {"big.lora_b", IE_TYPE_F16, 2, {64, 256}},
		{"small.lora_a", IE_TYPE_F32, 2, {64, 3}}, {"small.lora_b", IE_TYPE_F32, 2, {3, 2}}
	};
	fixture		f = {0};
	gguf_builder *b = &f.base_bytes;
	ie_mapping	map = {0};
	gguf_file	file;

	f.host = test_host(&f.state);
	gb_begin(b, 3);
	gb_kv_text(b, "general.architecture", "llama");
	fixture_fill(b, matrices, IE_LENGTH(matrices), 32);
	b = &f.adapter_bytes;
	gb_begin(b, 3);
	gb_kv_text(b, "general.type", "adapter");
	gb_kv_text(b, "adapter.type", "lora");
	gb_kv_text(b, "general.architecture", "llama");
	gb_kv_text(b, "instemb.base_sha256", FIXTURE_SHA256);
	gb_kv_f32(b, "adapter.lora.alpha", 0.25f);
	fixture_fill(b, factors, IE_LENGTH(factors), 32);
	open_parsed(&f);

	CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_OK);
	/* rows of A; products, every 17 rows; hashes, every 256 kB of three stages: 8 + 8 + 1 */
	CHECK_INT(f.state.n_polls, (64 + 3) + 256 / 17 + 17);
	CHECK_INT(ie_map_file(f.out, &map, &f.err), IE_OK);
	CHECK_INT(gguf_parse(&f.host, map.data, map.size, &file, &f.err), IE_OK);
	check_merged(&f, 0, &file.tensors[0]);
	check_merged(&f, 1, &file.tensors[1]);
	CHECK(memcmp(file.tensors[2].data, f.base.tensors[2].data, 4 * 1024 * 1000) == 0);
	gguf_free(&file);
	ie_unmap_file(&map);
	close_fixture(&f);
}

/* ---------------------------------------------------------------- failure */

static const fixture_adapter_spec whole = FIXTURE_ADAPTER();

static void
test_canceled(void)
{
	fixture		f;
	long		n_polls;

	open_fixture(&f, &whole, false);
	CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_OK);
	unlink(f.out);
	n_polls = f.state.n_polls;
	CHECK(n_polls > (long) FIXTURE_TENSORS);
	for (long n = 1; n <= n_polls; n++)
	{
		f.state.n_polls = 0;
		f.state.stop_after = n;
		CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_CANCELED);
		CHECK_INT(f.state.n_polls, n);
		CHECK_INT(file_bytes(f.out), -1);
	}
	close_fixture(&f);
}

static void
test_memory(void)
{
	fixture		f;
	size_t		needed = 0;

	open_fixture(&f, &whole, false);
	f.state.fail_at = 1;
	CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_NOMEM);
	CHECK_INT(file_bytes(f.out), -1);

	/* the limit is exact, and checked before the allocation */
	f.state.n_allocs = f.state.fail_at = 0;
	f.request.max_bytes = 1;
	CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_LIMIT);
	CHECK_INT(f.state.n_allocs, 0);
	CHECK_INT(file_bytes(f.out), -1);
	CHECK_INT(sscanf(f.err.message, "merging the adapter needs %zu bytes of memory, "
					 "the limit is 1 bytes", &needed), 1);
	f.request.max_bytes = needed - 1;
	CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_LIMIT);
	f.request.max_bytes = needed;
	CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_OK);
	CHECK_INT(f.state.n_allocs, 1);
	close_fixture(&f);
}

static void
test_existing(void)
{
	fixture		f;
	FILE	   *file;

	open_fixture(&f, &whole, false);
	file = fopen(f.out, "w");
	fputs("precious", file);
	fclose(file);
	CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_IO);
	CHECK_INT(f.err.sys_errno, EEXIST);
	CHECK(strstr(f.err.message, f.out) != NULL);
	CHECK_INT(file_bytes(f.out), 8);
	close_fixture(&f);
}

/* A disk that is full after any number of bytes: nothing is left behind. */
static void
test_disk_full(void)
{
	struct rlimit saved;
	fixture		f;
	long		size;

	open_fixture(&f, &whole, false);
	CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_OK);
	size = file_bytes(f.out);
	unlink(f.out);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &saved);
	for (long limit = 0; limit < size; limit += 61)
	{
		struct rlimit small = {(rlim_t) limit, saved.rlim_max};
		ie_code		code;

		setrlimit(RLIMIT_FSIZE, &small);
		code = ie_merge(&f.host, &f.request, &f.err);
		setrlimit(RLIMIT_FSIZE, &saved);
		CHECK_INT(code, IE_IO);
		CHECK_INT(f.err.sys_errno, EFBIG);
		CHECK_INT(file_bytes(f.out), -1);
	}
	close_fixture(&f);
}

/* Sums that fp32, or the scale of Q8_0, cannot hold */
static void
test_too_large(void)
{
	static const fixture_adapter_spec specs[] = {
		FIXTURE_ADAPTER(.alpha = 3e38f),
		FIXTURE_ADAPTER(.alpha = 1e8f),
	};

	for (size_t i = 0; i < 2; i++)
	{
		fixture		f;

		open_fixture(&f, &specs[i], false);
		CHECK_INT(ie_merge(&f.host, &f.request, &f.err), IE_NUMERIC);
		CHECK(strstr(f.err.message, "\"w.f32\"") != NULL);
		CHECK_INT(file_bytes(f.out), -1);
		close_fixture(&f);
	}
}

int
main(void)
{
	test_results();
	test_large();
	test_canceled();
	test_memory();
	test_existing();
	test_disk_full();
	test_too_large();
	return test_end("test_merge");
}
