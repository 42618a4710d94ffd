/*
 * test_install.c
 *	  ie_install() and the checks of files' bodies, on the tiny model.
 */
#include "test.h"
#include "gguf_builder.h"
#include "scratch.h"
#include "base/sha256.h"
#include "model/model.h"

#include <errno.h>

#define TINY "tests/golden/tiny.gguf"
#define TINY_ADAPTER "tests/golden/tiny-adapter.gguf"

static uint8_t *
read_file(const char *path, size_t *size)
{
	FILE	   *f = fopen(path, "rb");
	uint8_t    *bytes;

	*size = (size_t) file_bytes(path);
	bytes = malloc(*size + 1);
	if (f == NULL || fread(bytes, 1, *size, f) != *size)
	{
		perror(path);
		abort();
	}
	fclose(f);
	return bytes;
}

static void
write_file(const char *path, const uint8_t *bytes, size_t size)
{
	const gguf_builder b = {.data = (uint8_t *) (uintptr_t) bytes, .size = size};

	gb_save(&b, path);
}

static bool
files_equal(const char *path1, const char *path2)
{
	size_t		size1,
				size2;
	uint8_t    *bytes1 = read_file(path1, &size1);
	uint8_t    *bytes2 = read_file(path2, &size2);
	const bool	equal = size1 == size2 && memcmp(bytes1, bytes2, size1) == 0;

	free(bytes1);
	free(bytes2);
	return equal;
}

/* Install and report code; *err is filled on failure. */
static ie_code
install(const char *base, const char *adapter, const char *out, ie_error *err)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	const ie_install_request request = {
		.base_path = base, .adapter_path = adapter, .out_path = out, .max_bytes = 0
	};
	ie_code		code;

	memset(err, 0, sizeof(*err));
	code = ie_install(&host, &request, err);
	CHECK_INT(err->code, code);
	CHECK_INT(state.n_live, 0);
	return code;
}

/* Change one byte of a file, away from its end by at_end bytes. */
static void
damage(const char *from, const char *to, size_t at_end, uint8_t mask)
{
	size_t		size;
	uint8_t    *bytes = read_file(from, &size);

	bytes[size - at_end] ^= mask;
	write_file(to, bytes, size);
	free(bytes);
}

static void
test_merged(scratch *dir)
{
	const char *out = scratch_path(dir, "merged.gguf");
	const char *copy = scratch_path(dir, "copy.gguf");
	const char *bad = scratch_path(dir, "bad.gguf");
	const char *again = scratch_path(dir, "again.gguf");
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_model   *model;
	ie_model_info info;
	ie_error	err;
	char		tiny_hex[IE_SHA256_HEX_SIZE];
	char		adapter_hex[IE_SHA256_HEX_SIZE];
	char		file_hex[IE_SHA256_HEX_SIZE];
	char		hex[IE_SHA256_HEX_SIZE];
	struct stat st;

	CHECK_INT(install(TINY, TINY_ADAPTER, out, &err), IE_OK);
	CHECK(stat(out, &st) == 0 && (st.st_mode & 07777) == 0600);
	CHECK_INT(ie_file_sha256(&host, TINY, tiny_hex, &err), IE_OK);
	CHECK_INT(ie_file_sha256(&host, TINY_ADAPTER, adapter_hex, &err), IE_OK);
	CHECK_INT(ie_file_sha256(&host, out, file_hex, &err), IE_OK);

	/* it opens, says what it was made of, and is sound */
	CHECK_INT(ie_model_open(&host, out, &model, &err), IE_OK);
	ie_model_get_info(model, &info);
	CHECK_STR(info.base_sha256, tiny_hex);
	CHECK_STR(info.adapter_sha256, adapter_hex);
	CHECK_STR(info.pooling, "daap");
	CHECK_STR(info.quantization, "Q8_0 packed");
	CHECK_STR(info.template_body, "{input}");
	CHECK_STR(info.template_prefix_empty, "<|im_start|>user\n");
	CHECK(info.lookahead_count > 0 && info.lookahead_count == model->weights.lookahead_count);
	CHECK_INT(ie_model_verify(model, hex, &err), IE_OK);
	CHECK_STR(hex, file_hex);
	state.n_polls = 0;
	state.stop_after = 3;
	CHECK_INT(ie_model_verify(model, hex, &err), IE_CANCELED);
	state.stop_after = 0;
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);

	/* a second merge gives the same file */
	CHECK_INT(install(TINY, TINY_ADAPTER, again, &err), IE_OK);
	CHECK(files_equal(out, again));

	/* no adapter upon an adapter; a copy is allowed, and equal */
	unlink(again);
	CHECK_INT(install(out, TINY_ADAPTER, again, &err), IE_INVALID);
	CHECK(strstr(err.message, "adapter merged into it already") != NULL);
	CHECK(strstr(err.hint, "original base") != NULL);
	CHECK_INT(file_bytes(again), -1);
	CHECK_INT(install(out, NULL, copy, &err), IE_OK);
	CHECK(files_equal(out, copy));

	/* one bit of the data, of the look-ahead vectors that lie last */
	damage(out, bad, 64, 1);
	CHECK_INT(ie_model_open(&host, bad, &model, &err), IE_OK);
	CHECK_INT(ie_model_verify(model, hex, &err), IE_FORMAT);
	CHECK_STR(err.message, "checksum of the tensor data does not match");
	CHECK(strstr(err.detail, "SHA-256") != NULL);
	ie_model_close(model);
	CHECK_INT(install(bad, NULL, again, &err), IE_FORMAT);
	CHECK(strstr(err.message, "checksum") != NULL && strstr(err.message, bad) != NULL);
	CHECK_INT(file_bytes(again), -1);
	CHECK_INT(state.n_live, 0);
}

/* A base alone, and what was installed as a base */
static void
test_alone(scratch *dir)
{
	const char *out = scratch_path(dir, "alone.gguf");
	const char *copy = scratch_path(dir, "alone-copy.gguf");
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_model   *model;
	ie_model_info info;
	ie_error	err;
	char		hex[IE_SHA256_HEX_SIZE];

	CHECK_INT(install(TINY, NULL, out, &err), IE_OK);
	CHECK_INT(ie_file_sha256(&host, TINY, hex, &err), IE_OK);
	CHECK_INT(ie_model_open(&host, out, &model, &err), IE_OK);
	ie_model_get_info(model, &info);
	CHECK_STR(info.quantization, "Q8_0 packed");
	CHECK_STR(info.base_sha256, hex);
	CHECK_STR(info.adapter_sha256, "");
	CHECK_INT(ie_model_verify(model, hex, &err), IE_OK);
	ie_model_close(model);

	CHECK_INT(install(out, NULL, copy, &err), IE_OK);
	CHECK(files_equal(out, copy));
	CHECK_INT(install(TINY, NULL, out, &err), IE_IO);
	CHECK_INT(err.sys_errno, EEXIST);
	CHECK_INT(install(TINY, TINY_ADAPTER, out, &err), IE_IO);
	CHECK_INT(err.sys_errno, EEXIST);
	CHECK_INT(install(out, NULL, copy, &err), IE_IO);
	CHECK_INT(err.sys_errno, EEXIST);
	CHECK(files_equal(out, copy));
	unlink(copy);
	CHECK_INT(install(out, TINY_ADAPTER, copy, &err), IE_INVALID);
	CHECK(strstr(err.message, "is packed already") != NULL);
	CHECK(strstr(err.hint, "original base") != NULL);
	CHECK_INT(file_bytes(copy), -1);
}

/* A definition of the request's own, in place of base and adapter */
static void
test_defined(scratch *dir)
{
	const ie_metadata definition[] = {
		{"instemb.pooling", "generate_mean", 0}, {"instemb.generate_count", NULL, 2}
	};
	const ie_metadata bad[] = {{"instemb.pooling", "daap", 0}};
	const char *out = scratch_path(dir, "defined.gguf");
	const char *bases[] = {TINY, out};
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_install_request request = {
		.base_path = TINY, .adapter_path = TINY_ADAPTER, .out_path = out,
		.definition = definition, .n_definition = IE_LENGTH(definition)
	};
	ie_model   *model;
	ie_model_info info;
	ie_error	err;

	CHECK_INT(ie_install(&host, &request, &err), IE_OK);
	CHECK_INT(ie_model_open(&host, out, &model, &err), IE_OK);
	ie_model_get_info(model, &info);
	CHECK_STR(info.pooling, "generate_mean");
	CHECK_INT(model->definition.generate_count, 2);
	CHECK_INT(info.lookahead_count, 4);
	ie_model_close(model);

	/* one that does not fit, and a base that was installed */
	request.adapter_path = NULL;
	request.definition = bad;
	request.n_definition = 1;
	request.out_path = scratch_path(dir, "undefined.gguf");
	for (size_t i = 0; i < IE_LENGTH(bases); i++)
	{
		request.base_path = bases[i];
		CHECK_INT(ie_install(&host, &request, &err), IE_INVALID);
		CHECK(strstr(err.message, i == 0 ? "definition is not valid: pooling \"daap\"" :
					 "has an adapter merged into it already") != NULL);
		CHECK_INT(file_bytes(request.out_path), -1);
	}
	CHECK_INT(state.n_live, 0);
}

/* The data of the tensor that a file describes first: a scale that is not finite */
static void
write_bad_scale(const char *to)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	size_t		size;
	uint8_t    *bytes = read_file(TINY, &size);
	gguf_file	file;
	ie_error	err;
	const gguf_tensor *t;

	CHECK_INT(gguf_parse(&host, bytes, size, &file, &err), IE_OK);
	t = gguf_find_tensor(&file, "blk.0.attn_q.weight");
	CHECK(t != NULL && t->type->quantized);
	bytes[(size_t) (t->data - bytes)] = 0x00;
	bytes[(size_t) (t->data - bytes) + 1] = 0x7c;	/* binary16 infinity */
	gguf_free(&file);
	write_file(to, bytes, size);
	free(bytes);
}

static void
test_refused(scratch *dir)
{
	const char *out = scratch_path(dir, "refused.gguf");
	const char *other = scratch_path(dir, "other.gguf");
	const char *scale = scratch_path(dir, "scale.gguf");
	ie_error	err;
	char		hex[IE_SHA256_HEX_SIZE];
	test_host_state state;
	ie_host		host = test_host(&state);
	size_t		size;
	uint8_t    *bytes;
	FILE	   *f;

	/* another base: one weight differs */
	damage(TINY, other, 200, 1);
	CHECK_INT(install(other, TINY_ADAPTER, out, &err), IE_INVALID);
	CHECK(strstr(err.message, "belongs to another base model") != NULL);
	CHECK(strstr(err.message, TINY_ADAPTER) != NULL);
	CHECK_INT(ie_file_sha256(&host, other, hex, &err), IE_OK);
	install(other, TINY_ADAPTER, out, &err);
	CHECK(strstr(err.detail, hex) != NULL);
	ie_file_sha256(&host, TINY, hex, &err);
	install(other, TINY_ADAPTER, out, &err);
	CHECK(strstr(err.detail, hex) != NULL && err.hint[0] != '\0');

	CHECK_INT(install("tests/golden/none.gguf", TINY_ADAPTER, out, &err), IE_IO);
	CHECK(err.sys_errno == ENOENT && strstr(err.message, "none.gguf") != NULL);
	CHECK_INT(install(TINY, "tests/golden/none.gguf", out, &err), IE_IO);
	CHECK(err.sys_errno == ENOENT && strstr(err.message, "none.gguf") != NULL);
	CHECK_INT(install(TINY, TINY, out, &err), IE_INVALID);
	CHECK(strstr(err.message, "is not an adapter") != NULL);
	CHECK(install(TINY_ADAPTER, NULL, out, &err) != IE_OK);
	CHECK_INT(install(TINY, NULL, "tests/golden/no/such/folder.gguf", &err), IE_IO);

	write_bad_scale(scale);
	CHECK_INT(install(scale, NULL, out, &err), IE_FORMAT);
	CHECK(strstr(err.message, "\"blk.0.attn_q.weight\" holds values that are not finite") != NULL);

	/* base and adapter contradict each other: seen when the result is opened */
	bytes = read_file(TINY_ADAPTER, &size);
	for (size_t i = 0; i + 4 < size; i++)
		if (memcmp(bytes + i, "daap", 4) == 0)
			memcpy(bytes + i, "abcd", 4);
	unlink(other);
	write_file(other, bytes, size);
	free(bytes);
	CHECK_INT(install(TINY, other, out, &err), IE_UNSUPPORTED);
	CHECK(strstr(err.message, "abcd") != NULL && strstr(err.message, out) != NULL);
	CHECK_INT(file_bytes(out), -1);

	/* hashes of files that are no models */
	f = fopen(other, "w");
	fputs("abc", f);
	fclose(f);
	CHECK_INT(ie_file_sha256(&host, other, hex, &err), IE_OK);
	CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	CHECK_INT(ie_file_sha256(&host, dir->dir, hex, &err), IE_FORMAT);
	CHECK_INT(ie_file_sha256(&host, out, hex, &err), IE_IO);
	state.stop_after = 1;
	CHECK_INT(ie_file_sha256(&host, other, hex, &err), IE_CANCELED);
	CHECK_INT(state.n_live, 0);
}

/* Stop at each poll, and fail each allocation: nothing is left, on disk or in memory. */
static void
test_interrupted(scratch *dir)
{
	const char *out = scratch_path(dir, "interrupted.gguf");
	const ie_install_request request = {
		.base_path = TINY, .adapter_path = TINY_ADAPTER, .out_path = out, .max_bytes = 0
	};
	const ie_install_request limited = {
		.base_path = TINY, .adapter_path = TINY_ADAPTER, .out_path = out, .max_bytes = 4096
	};
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_error	err;
	long		n_polls;
	long		n_allocs;

	CHECK_INT(ie_install(&host, &request, &err), IE_OK);
	unlink(out);
	n_polls = state.n_polls;
	n_allocs = state.n_allocs;
	for (long n = 1; n <= n_polls; n++)
	{
		state.n_polls = 0;
		state.stop_after = n;
		CHECK_INT(ie_install(&host, &request, &err), IE_CANCELED);
		CHECK_INT(file_bytes(out), -1);
		CHECK_INT(state.n_live, 0);
	}
	state.stop_after = 0;
	for (long n = 1; n <= n_allocs; n++)
	{
		state.n_allocs = 0;
		state.fail_at = n;
		CHECK_INT(ie_install(&host, &request, &err), IE_NOMEM);
		CHECK_INT(file_bytes(out), -1);
		CHECK_INT(state.n_live, 0);
	}
	state.fail_at = 0;
	CHECK_INT(ie_install(&host, &limited, &err), IE_LIMIT);
	CHECK(strstr(err.message, "the limit is 4096 bytes") != NULL);
	CHECK_INT(file_bytes(out), -1);
	CHECK_INT(state.n_live, 0);
}

int
main(void)
{
	scratch		dir;

	scratch_open(&dir);
	test_merged(&dir);
	test_alone(&dir);
	test_defined(&dir);
	scratch_close(&dir);
	scratch_open(&dir);
	test_refused(&dir);
	test_interrupted(&dir);
	scratch_close(&dir);
	return test_end("test_install");
}
