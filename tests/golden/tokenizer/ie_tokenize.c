/*
 * ie_tokenize.c
 *	  The engine's tokenizer as a filter, for comparison with other tokenizers.
 *
 *		ie_tokenize MODEL PRE_TYPE ids|words < texts > answers
 *
 * A text is a u32 length and its bytes, an answer a u32 count and as many i32:
 * the ids, or the lengths of the words that the split rule makes; the count is
 * UINT32_MAX for a text that is refused.  PRE_TYPE takes the place of the file's
 * tokenizer.ggml.pre.  Figures go to the standard error, times are of the CPU.
 */
#include "base/file.h"
#include "base/host.h"
#include "model/vocab_tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void *
heap_alloc(void *arg, size_t size)
{
	*(size_t *) arg += size;
	return malloc(size);
}

static void
heap_free(void *arg, void *p)
{
	(void) arg;
	free(p);
}

static double
cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
}

static int
failed(const ie_error *err)
{
	fprintf(stderr, "ie_tokenize: %s\n%s\n", err->message, err->detail);
	return 1;
}

static void
set_pre_type(gguf_file *file, const char *pre_type)
{
	for (size_t i = 0; i < file->n_kv; i++)
	{
		if (ie_text_is(file->kv[i].key, "tokenizer.ggml.pre"))
		{
			file->kv[i].value = (const uint8_t *) pre_type;
			file->kv[i].value_bytes = strlen(pre_type);
		}
	}
}

static ie_code
split(const ie_vocab *vocab, ie_text text, ie_tokens *words, ie_error *err)
{
	ie_splitter splitter = {.host = vocab->host, .rule = vocab->pre->rule, .text = text};
	ie_text		word;

	while (ie_split_next(&splitter, &word))
		IE_TRY(ie_tokens_push(vocab->host, words, (int32_t) word.len, err));
	return IE_OK;
}

int
main(int argc, char **argv)
{
	size_t		allocated = 0;
	const ie_host host = {&allocated, heap_alloc, heap_free, NULL};
	ie_error	err;
	ie_mapping	map;
	gguf_file	file;
	ie_vocab   *vocab;
	ie_tokens	list = {0};
	ie_code		(*encode) (const ie_vocab *, ie_text, ie_tokens *, ie_error *);
	char	   *text = NULL;
	uint32_t	len;
	size_t		n_texts = 0;
	size_t		n_bytes = 0;
	size_t		n_tokens = 0;
	double		encoding = 0;
	double		start;

	if (argc != 4)
	{
		fprintf(stderr, "usage: ie_tokenize MODEL PRE_TYPE ids|words < texts > answers\n");
		return 2;
	}
	encode = strcmp(argv[3], "words") == 0 ? split : ie_vocab_encode;
	if (ie_map_file(argv[1], &map, &err) != IE_OK ||
		gguf_parse(&host, map.data, map.size, &file, &err) != IE_OK)
		return failed(&err);
	set_pre_type(&file, argv[2]);
	allocated = 0;
	start = cpu_seconds();
	if (ie_vocab_create(&host, &file, &vocab, &err) != IE_OK)
		return failed(&err);
	fprintf(stderr, "%s: %u tokens, tables of %zu bytes built in %.2f ms\n", argv[2],
			ie_vocab_size(vocab), allocated, (cpu_seconds() - start) * 1e3);

	while (fread(&len, sizeof(len), 1, stdin) == 1)
	{
		uint32_t	n;

		text = realloc(text, len > 0 ? len : 1);
		if (text == NULL || fread(text, 1, len, stdin) != len)
			return 1;
		list.n = 0;
		start = cpu_seconds();
		n = encode(vocab, (ie_text) {text, len}, &list, &err) == IE_OK ?
			(uint32_t) list.n : UINT32_MAX;
		encoding += cpu_seconds() - start;
		n_texts++;
		n_bytes += len;
		n_tokens += list.n;
		fwrite(&n, sizeof(n), 1, stdout);
		fwrite(list.ids, sizeof(int32_t), list.n, stdout);
	}
	fprintf(stderr, "%zu texts, %zu bytes, %zu ids in %.3f s\n", n_texts, n_bytes, n_tokens,
			encoding);
	ie_vocab_free(vocab);
	gguf_free(&file);
	ie_unmap_file(&map);
	free(list.ids);
	free(text);
	return 0;
}
