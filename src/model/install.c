/*
 * install.c
 *	  ie_install(): see instemb.h.
 *
 * The base is opened as the model it is and its body verified before anything
 * is written, and the new file is opened before success is reported: what was
 * installed can be used, or the reason why not is the error.
 */
#include "model/adapter.h"
#include "model/merge.h"
#include "model/model.h"
#include "model/packed.h"
#include "model/verify.h"

#define COPY_BYTES ((size_t) 2 * 1024 * 1024)	/* between two polls: 1 ms; a huge page */

typedef struct installer
{
	const ie_host *host;
	const ie_install_request *request;
	ie_error   *err;
	ie_model   *base;
	char		base_sha256[IE_SHA256_HEX_SIZE];
	ie_adapter	adapter;
	char		adapter_sha256[IE_SHA256_HEX_SIZE];
} installer;

static ie_code
copy_base(installer *in)
{
	const ie_mapping *map = &in->base->map;
	ie_writer	w;
	ie_code		code = IE_OK;

	IE_TRY(ie_writer_open(&w, in->request->out_path, in->err));
	for (size_t pos = 0; pos < map->size; pos += COPY_BYTES)
	{
		const size_t left = map->size - pos;

		IE_TRY_GOTO(ie_poll(in->host, in->err));
		IE_TRY_GOTO(ie_writer_write(&w, map->data + pos, left < COPY_BYTES ? left : COPY_BYTES,
									in->err));
	}
	code = ie_writer_finish(&w, in->err);
done:
	if (code != IE_OK)
		ie_writer_abandon(&w);
	return code;
}

/* An adapter was trained on the base's own weights, never on merged or packed ones. */
static ie_code
refuse_installed(const installer *in)
{
	if (gguf_find(&in->base->file, "instemb.adapter_sha256") != NULL)
		ie_fail(in->err, IE_INVALID, "file \"%s\" has an adapter merged into it already",
				in->request->base_path);
	else if (ie_is_packed(&in->base->file))
		ie_fail(in->err, IE_INVALID, "file \"%s\" is packed already", in->request->base_path);
	else
		return IE_OK;
	return ie_hint(in->err, "Use the original base file, without an adapter.");
}

static ie_code
open_base(installer *in)
{
	const char *path = in->request->base_path;

	if (ie_model_open(in->host, path, &in->base, in->err) != IE_OK)
		return ie_in_file(in->err, "base", path);
	if (in->request->adapter_path != NULL || in->request->n_definition > 0)
		IE_TRY(refuse_installed(in));
	if (ie_verify_body(&in->base->file, &in->base->map, in->base_sha256, in->err) != IE_OK)
		return ie_in_file(in->err, "base", path);
	return IE_OK;
}

static ie_code
open_adapter(installer *in)
{
	ie_adapter_base base = {&in->base->file, in->base_sha256, in->base->config.n_embd};
	ie_sha256	sha;

	IE_TRY(ie_adapter_open(in->host, in->request->adapter_path, &base, &in->adapter, in->err));
	ie_sha256_init(&sha);
	IE_TRY(ie_hash_bytes(in->host, &sha, in->adapter.map.data, in->adapter.map.size, in->err));
	ie_sha256_final_hex(&sha, in->adapter_sha256);
	return IE_OK;
}

static ie_code
pack(installer *in)
{
	const bool	has_adapter = in->request->adapter_path != NULL;
	const ie_merge_request merge = {
		.base = &in->base->file,
		.base_sha256 = in->base_sha256,
		.adapter = has_adapter ? &in->adapter : NULL,
		.adapter_sha256 = in->adapter_sha256,
		.definition = in->request->definition,
		.n_definition = in->request->n_definition,
		.model = in->base,
		.out_path = in->request->out_path,
		.max_bytes = in->request->max_bytes
	};

	if (has_adapter)
		IE_TRY(open_adapter(in));
	return ie_merge(in->host, &merge, in->err);
}

/* The error is the caller's, not the file's. */
static ie_code
bad_definition(ie_error *err)
{
	const ie_error found = *err;

	ie_fail(err, IE_INVALID, "definition is not valid: %s", found.message);
	return ie_detail(err, "%s", found.detail);
}

/* Can the new file be opened?  It can fail when base and adapter contradict each other. */
static ie_code
check_result(const installer *in)
{
	ie_writer	written = {.fd = -1, .path = in->request->out_path};
	ie_model   *model;
	ie_code		code = ie_model_open(in->host, written.path, &model, in->err);

	if (code == IE_OK)
	{
		ie_model_close(model);
		return IE_OK;
	}
	ie_writer_abandon(&written);
	if (in->request->n_definition > 0 && (code == IE_FORMAT || code == IE_UNSUPPORTED))
		return bad_definition(in->err);
	return ie_in_file(in->err, "new", written.path);
}

ie_code
ie_install(const ie_host *host, const ie_install_request *request, ie_error *err)
{
	installer	in = {.host = host, .request = request, .err = err};
	ie_code		code;

	IE_TRY_GOTO(open_base(&in));
	IE_TRY_GOTO(ie_is_packed(&in.base->file) ? copy_base(&in) : pack(&in));
	code = check_result(&in);
done:
	ie_adapter_close(&in.adapter);
	ie_model_close(in.base);
	return code;
}
