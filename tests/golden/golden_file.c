/*
 * golden_file.c
 *	  Reading golden files, and spoiling models on purpose.
 */
#include "golden.h"

#include "base/bytes.h"
#include "model/gguf.h"
#include "tools/heap.h"

#include <stdio.h>
#include <stdlib.h>

static const char magic[8] = "IEGOLD1\n";

const ie_host golden_host = {NULL, heap_alloc, heap_free, NULL};

static bool
read_text(ie_reader *r, ie_text *text)
{
	uint32_t	len;
	const uint8_t *bytes;

	if (!ie_read_u32(r, &len) || !ie_read_bytes(r, len, &bytes))
		return false;
	*text = (ie_text) {(const char *) bytes, len};
	return true;
}

static bool
read_header(ie_reader *r, golden_file *g)
{
	const uint8_t *bytes;

	if (!ie_read_bytes(r, sizeof(magic), &bytes) || memcmp(bytes, magic, sizeof(magic)) != 0 ||
		!ie_read_bytes(r, 64, &bytes))
		return false;
	memcpy(g->sha256, bytes, 64);
	g->sha256[64] = '\0';
	return ie_read_u32(r, &g->n_embd) && ie_read_u32(r, &g->n_layer) &&
		ie_read_u32(r, &g->n_instructions) && ie_read_u32(r, &g->n_texts) &&
		ie_read_u32(r, &g->n_traces) &&
		g->n_instructions <= GOLDEN_MAX_INSTRUCTIONS && g->n_traces <= GOLDEN_MAX_TRACES;
}

static bool
read_body(ie_reader *r, golden_file *g)
{
	const size_t vector_bytes = (size_t) g->n_embd * 2;

	for (uint32_t i = 0; i < g->n_instructions; i++)
	{
		if (!read_text(r, &g->instructions[i]))
			return false;
	}
	for (uint32_t i = 0; i < g->n_texts; i++)
	{
		if (!read_text(r, &g->texts[i]))
			return false;
	}
	for (uint32_t i = 0; i < g->n_instructions; i++)
	{
		if (!ie_read_bytes(r, 2 * vector_bytes, &g->means[i]) ||
			!ie_read_bytes(r, g->n_texts * vector_bytes, &g->vectors[i]))
			return false;
	}
	for (uint32_t i = 0; i < g->n_traces; i++)
	{
		golden_trace *t = &g->traces[i];

		if (!ie_read_u32(r, &t->text) || !ie_read_u32(r, &t->instruction) ||
			!ie_read_u32(r, &t->n_rows) || !ie_read_u32(r, &t->first_row) ||
			t->text >= g->n_texts || t->instruction >= g->n_instructions ||
			t->first_row >= t->n_rows ||
			!ie_read_bytes(r, (2 + 2 * (size_t) g->n_layer) * (t->n_rows - t->first_row) *
						   vector_bytes, &t->states))
			return false;
	}
	return ie_reader_left(r) == 0;
}

bool
golden_open(const char *path, golden_file *g)
{
	ie_error	err;
	ie_reader	r = {0};

	memset(g, 0, sizeof(*g));
	if (ie_map_file(path, &g->map, &err) != IE_OK)
	{
		printf("%s\n", err.message);
		return false;
	}
	r.data = g->map.data;
	r.size = g->map.size;
	if (read_header(&r, g))
	{
		g->texts = calloc((size_t) g->n_texts + 1, sizeof(*g->texts));
		if (g->texts != NULL && read_body(&r, g))
			return true;
	}
	printf("%s is not a golden file, or it is cut off\n", path);
	golden_close(g);
	return false;
}

void
golden_close(golden_file *g)
{
	free(g->texts);
	g->texts = NULL;
	ie_unmap_file(&g->map);
}

/* ---------------------------------------------------------------- spoiling */

/* bytes is the whole file, private to us; file was parsed from the read-only mapping */
static bool
spoil_rope(const gguf_file *file, const uint8_t *mapped, uint8_t *bytes, char *first_wrong)
{
	const gguf_kv *kv = gguf_find(file, "llama.rope.freq_base");
	float		theta;

	if (kv == NULL || kv->type != GGUF_F32)
		return false;
	memcpy(&theta, kv->value, sizeof(theta));
	theta /= 10;
	memcpy(bytes + (kv->value - mapped), &theta, sizeof(theta));
	snprintf(first_wrong, 32, "l0.attn_out");
	return true;
}

static bool
spoil_layers(const gguf_file *file, const uint8_t *mapped, uint8_t *bytes, char *first_wrong)
{
	uint32_t	n_layer = 0;
	uint32_t	layer;
	char		names[2][32];
	size_t		len;
	size_t		n_swapped = 0;
	ie_error	err;

	if (gguf_get_u32(file, "llama.block_count", &n_layer, NULL, &err) != IE_OK || n_layer < 2)
		return false;
	layer = n_layer / 2 - 1;
	snprintf(names[0], sizeof(names[0]), "blk.%u.", layer);
	snprintf(names[1], sizeof(names[1]), "blk.%u.", layer + 1);
	len = strlen(names[0]);
	if (strlen(names[1]) != len)
		return false;
	for (size_t i = 0; i < file->n_tensors; i++)
	{
		const ie_text name = file->tensors[i].name;

		for (int from = 0; from < 2; from++)
		{
			if (name.len > len && memcmp(name.data, names[from], len) == 0)
			{
				memcpy(bytes + ((const uint8_t *) name.data - mapped), names[1 - from], len);
				n_swapped++;
			}
		}
	}
	snprintf(first_wrong, 32, "l%u.attn_out", layer);
	return n_swapped > 0;
}

bool
golden_spoil(const char *model_path, golden_damage damage, const char *out_path, char *first_wrong)
{
	ie_mapping	map = {0};
	gguf_file	file = {0};
	ie_error	err = {0};
	uint8_t    *bytes = NULL;
	FILE	   *out = NULL;
	bool		ok = false;

	if (ie_map_file(model_path, &map, &err) == IE_OK &&
		gguf_parse(&golden_host, map.data, map.size, &file, &err) == IE_OK &&
		(bytes = malloc(map.size)) != NULL)
	{
		memcpy(bytes, map.data, map.size);
		ok = damage == GOLDEN_ROPE ? spoil_rope(&file, map.data, bytes, first_wrong) :
			spoil_layers(&file, map.data, bytes, first_wrong);
	}
	if (ok && (out = fopen(out_path, "wb")) != NULL)
	{
		ok = fwrite(bytes, 1, map.size, out) == map.size;
		ok = fclose(out) == 0 && ok;
	}
	else
		ok = false;
	if (!ok)
		printf("could not write a spoiled copy of %s to %s: %s\n", model_path, out_path,
			   err.message);
	free(bytes);
	gguf_free(&file);
	ie_unmap_file(&map);
	return ok;
}
