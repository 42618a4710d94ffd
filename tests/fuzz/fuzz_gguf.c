/*
 * fuzz_gguf.c
 *	  Whatever bytes gguf_parse() accepts, what it says about them holds; what it
 *	  refuses leaves nothing behind.
 */
#include "fuzz.h"

static void
check_metadata(const gguf_file *file)
{
	for (size_t i = 0; i < file->n_kv; i++)
	{
		const gguf_kv *kv = &file->kv[i];
		ie_text		text;
		size_t		pos = 0;
		uint64_t	n = 0;
		uint64_t	sum = 0;

		REQUIRE(i == 0 || ie_text_compare(file->kv[i - 1].key, kv->key) < 0);
		REQUIRE(gguf_find_text(file, kv->key) == kv);
		for (size_t j = 0; j < kv->value_bytes; j++)
			sum += kv->value[j];
		if (kv->type == GGUF_BOOL)
			REQUIRE(kv->value_bytes == 1 && sum <= 1);
		if (kv->type != GGUF_ARRAY)
			continue;
		REQUIRE(kv->elem_type < GGUF_N_TYPES && kv->elem_type != GGUF_ARRAY);
		if (kv->elem_type != GGUF_STRING)
			continue;
		while (gguf_next_text(kv, &pos, &text))
		{
			for (size_t j = 0; j < text.len; j++)
				sum += (unsigned char) text.data[j];
			n++;
		}
		REQUIRE(n == kv->n_elems && pos == kv->value_bytes);
	}
}

static void
check_tensors(const gguf_file *file)
{
	for (size_t i = 0; i < file->n_tensors; i++)
	{
		const gguf_tensor *t = &file->tensors[i];
		uint64_t	n_elems = 1;
		uint64_t	sum = 0;

		REQUIRE(gguf_find_tensor_text(file, t->name) == t);
		REQUIRE(t->n_dims >= 1 && t->n_dims <= GGUF_MAX_DIMS);
		for (int d = 0; d < GGUF_MAX_DIMS; d++)
		{
			REQUIRE(t->ne[d] >= 1);
			n_elems *= t->ne[d];
		}
		REQUIRE(t->ne[0] % t->type->block_len == 0);
		REQUIRE(t->data_bytes == n_elems / t->type->block_len * t->type->block_bytes);
		REQUIRE(t->data == file->data + t->offset && t->offset % file->alignment == 0);
		REQUIRE(t->offset + t->data_bytes <= file->data_bytes);
		for (size_t j = 0; j < t->data_bytes; j++)
			sum += t->data[j];
		for (size_t j = 0; j < i && i < 64; j++)
		{
			const gguf_tensor *u = &file->tensors[j];

			REQUIRE(t->data + t->data_bytes <= u->data || u->data + u->data_bytes <= t->data);
		}
		t->type->is_finite(t->data, t->data_bytes / t->type->block_bytes * t->type->block_len);
	}
}

static void
check_getters(const gguf_file *file)
{
	static const char *const keys[] = {
		"general.alignment", "general.architecture", "llama.block_count", "tokenizer.ggml.tokens"
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
	{
		ie_error	err;
		uint32_t	u32 = 0;
		float		f32 = 0;
		bool		flag = false;
		bool		found;
		ie_text		text;
		const gguf_kv *kv;

		gguf_get_u32(file, keys[i], &u32, &found, &err);
		if (gguf_get_f32(file, keys[i], &f32, &found, &err) == IE_OK)
			REQUIRE(isfinite(f32));
		gguf_get_bool(file, keys[i], &flag, &found, &err);
		gguf_get_text(file, keys[i], &text, &found, &err);
		gguf_get_array(file, keys[i], GGUF_STRING, &kv, &found, &err);
		REQUIRE(found == (gguf_find(file, keys[i]) != NULL));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* without a failing allocation, and with each of the three that there are */
	for (long fail_at = 0; fail_at <= 3; fail_at++)
	{
		test_host_state state;
		ie_host		host = test_host(&state);
		gguf_file	file;
		ie_error	err = {0};
		ie_code		code;

		state.fail_at = fail_at;
		code = gguf_parse(&host, data, size, &file, &err);
		REQUIRE(fail_at == 0 || code != IE_OK);
		if (code == IE_OK)
		{
			check_metadata(&file);
			check_tensors(&file);
			check_getters(&file);
			gguf_free(&file);
			REQUIRE(state.n_live == 0);
		}
		else
			require_error(&state, &err, code, 0);
		if (state.n_allocs == 0)
			break;				/* refused before it could fail */
	}
	return 0;
}
