/*
 * verify.c
 *	  Checksums and finite scales: see verify.h.
 */
#include "model/verify.h"

/* Between two polls: about 1 ms of hashing, less of looking at scales */
#define POLL_BYTES ((size_t) 256 * 1024)
#define POLL_ELEMENTS ((size_t) 256 * 1024)

ie_code
ie_hash_bytes(const ie_host *host, ie_sha256 *sha, const uint8_t *bytes, size_t size,
			  ie_error *err)
{
	while (size > 0)
	{
		const size_t n = size < POLL_BYTES ? size : POLL_BYTES;

		IE_TRY(ie_poll(host, err));
		ie_sha256_update(sha, bytes, n);
		bytes += n;
		size -= n;
	}
	return IE_OK;
}

ie_code
ie_verify_finite(const ie_host *host, const gguf_tensor *t, ie_error *err)
{
	const uint8_t *data = t->data;
	size_t		left = t->data_bytes / t->type->block_bytes * t->type->block_len;

	while (left > 0)
	{
		const size_t n = left < POLL_ELEMENTS ? left : POLL_ELEMENTS;
		char		shown[GGUF_SHOWN_SIZE];

		IE_TRY(ie_poll(host, err));
		if (!t->type->is_finite(data, n))
			return ie_fail(err, IE_FORMAT, "tensor \"%s\" holds values that are not finite",
						   gguf_show(t->name, shown));
		data += n / t->type->block_len * t->type->block_bytes;
		left -= n;
	}
	return IE_OK;
}

/* Compare the tensor data with the checksum that the file records, if it does. */
static ie_code
verify_data(const gguf_file *file, ie_error *err)
{
	ie_text		recorded;
	bool		found;
	ie_sha256	sha;
	char		hex[IE_SHA256_HEX_SIZE];
	char		shown[GGUF_SHOWN_SIZE];

	IE_TRY(gguf_get_text(file, "instemb.data_sha256", &recorded, &found, err));
	if (!found)
		return IE_OK;
	ie_sha256_init(&sha);
	IE_TRY(ie_hash_bytes(file->host, &sha, file->data, file->data_bytes, err));
	ie_sha256_final_hex(&sha, hex);
	if (ie_text_is(recorded, hex))
		return IE_OK;
	ie_fail(err, IE_FORMAT, "checksum of the tensor data does not match");
	ie_detail(err, "The file records SHA-256 %s, its data has %s.",
			  gguf_show(recorded, shown), hex);
	return ie_hint(err, "The file is damaged; install the model again.");
}

ie_code
ie_verify_body(const gguf_file *file, const ie_mapping *map, char *hex, ie_error *err)
{
	ie_sha256	sha;

	IE_TRY(verify_data(file, err));
	for (size_t i = 0; i < file->n_tensors; i++)
		IE_TRY(ie_verify_finite(file->host, &file->tensors[i], err));
	ie_sha256_init(&sha);
	IE_TRY(ie_hash_bytes(file->host, &sha, map->data, map->size, err));
	ie_sha256_final_hex(&sha, hex);
	return IE_OK;
}

ie_code
ie_file_sha256(const ie_host *host, const char *path, char *hex, ie_error *err)
{
	ie_mapping	map;
	ie_sha256	sha;
	ie_code		code;

	IE_TRY(ie_map_file(path, &map, err));
	ie_sha256_init(&sha);
	code = ie_hash_bytes(host, &sha, map.data, map.size, err);
	if (code == IE_OK)
		ie_sha256_final_hex(&sha, hex);
	ie_unmap_file(&map);
	return code;
}
