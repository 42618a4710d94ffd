/*
 * fuzz_model.c
 *	  Any bytes as a model file: what opens can be verified and asked to embed,
 *	  and then gives vectors of unit length or an error.
 */
#define _GNU_SOURCE				/* memfd_create() */
#include "fuzz.h"

#include "model/model.h"

#include <sys/mman.h>
#include <unistd.h>

#define MAX_BYTES ((size_t) 8 * 1024 * 1024)

/* ie_model_open() takes a path: an unnamed file in memory has one, too. */
static int
make_file(const uint8_t *data, size_t size, char *path, size_t path_size)
{
	const int	fd = memfd_create("fuzz_model", MFD_CLOEXEC);

	REQUIRE(fd >= 0);
	REQUIRE(write(fd, data, size) == (ssize_t) size);
	snprintf(path, path_size, "/proc/self/fd/%d", fd);
	return fd;
}

static void
check_info(const ie_model_info *info)
{
	REQUIRE(info->architecture[0] != '\0' && info->pooling[0] != '\0');
	REQUIRE(strlen(info->name) + strlen(info->license) + strlen(info->base_sha256) +
			strlen(info->adapter_sha256) + strlen(info->template_prefix) +
			strlen(info->template_prefix_empty) + strlen(info->template_body) +
			strlen(info->template_suffix) + strlen(info->template_suffix_empty) < info->file_bytes + 1024);
	REQUIRE(info->n_embd > 0 && info->n_layer > 0 && info->n_vocab > 0);
}

/* What the model goes on with; the bytes of generated text are a matter of fuzz_vocab. */
static void
check_generate(const ie_model *model, ie_session *session, ie_text input)
{
	const ie_generate_request request = {{"outdoor use?", 12}, input, 3, true};
	ie_generated generated;
	ie_error	err = {0};
	const ie_code code = ie_generate(session, &request, &generated, NULL, &err);

	REQUIRE(code != IE_INTERNAL && code != IE_INVALID);
	if (code == IE_OK)
	{
		REQUIRE(generated.n_tokens <= 3);
		ie_release(model->host, generated.text);
	}
}

static void
check_embed(const ie_model *model, uint32_t n_embd, ie_compute compute)
{
	const ie_session_config config = {
		.compute = compute, .n_threads = 1, .max_bytes = MAX_BYTES,
		.prefix_cache_bytes = MAX_BYTES / 4
	};
	const ie_text texts[] = {{"a tent, weatherproof", 20}, {"\xc3\xa4 2", 4}};
	const ie_embed_request request = {
		.instruction = {"outdoor use?", 12}, .inputs = texts, .n_inputs = 2, .truncate = true
	};
	float	   *vectors = malloc(2 * n_embd * sizeof(float));
	ie_session *session;
	ie_error	err = {0};
	ie_code		code = ie_session_create(model, &config, &session, &err);

	REQUIRE(vectors != NULL);
	if (code == IE_OK)
	{
		code = ie_embed(session, &request, vectors, NULL, &err);
		REQUIRE(code != IE_INTERNAL && code != IE_INVALID);
		for (size_t i = 0; code == IE_OK && i < 2; i++)
		{
			double		norm = 0;

			for (size_t j = 0; j < n_embd; j++)
				norm += (double) vectors[i * n_embd + j] * (double) vectors[i * n_embd + j];
			REQUIRE(fabs(norm - 1) < 1e-4);
		}
		check_generate(model, session, texts[0]);
		ie_session_free(session);
	}
	free(vectors);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	char		path[64];
	const int	fd = make_file(data, size, path, sizeof(path));
	ie_model   *model;
	ie_model_info info;
	ie_error	err = {0};
	ie_code		code = ie_model_open(&host, path, &model, &err);
	char		hex[65];

	if (code == IE_OK)
	{
		ie_model_get_info(model, &info);
		check_info(&info);
		code = ie_model_verify(model, hex, &err);
		REQUIRE(code == IE_OK || code == IE_FORMAT);
		check_embed(model, info.n_embd, IE_COMPUTE_AUTO);
		check_embed(model, info.n_embd, IE_COMPUTE_F32);
		ie_model_close(model);
		REQUIRE(state.n_live == 0);
	}
	else
		require_error(&state, &err, code, 0);
	close(fd);
	return 0;
}
