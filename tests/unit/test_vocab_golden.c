/*
 * test_vocab_golden.c
 *	  The ids of some hundred texts for each pre-type, as other tokenizers gave
 *	  them: tests/golden/tokenizer/make_golden.py.  With the tiny model's
 *	  vocabulary, and with the default model's where it is installed or
 *	  GOLDEN_MODEL names it.
 */
#include "base/file.h"
#include "model/vocab.h"
#include "test.h"

#include <unistd.h>

#define MAX_LINE 8192

static const char *const pre_types[] = {"smollm", "gpt-2", "llama-bpe", "qwen2"};
#define N_PRE_TYPES 4

typedef struct golden
{
	ie_mapping	map;
	gguf_file	file;
	ie_vocab   *vocabs[N_PRE_TYPES];	/* the same vocabulary under each split rule */
} golden;

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

static bool
open_golden(golden *g, const ie_host *host, const char *path)
{
	ie_error	err;
	ie_code		code = ie_map_file(path, &g->map, &err);

	if (code == IE_OK)
		code = gguf_parse(host, g->map.data, g->map.size, &g->file, &err);
	for (size_t i = 0; code == IE_OK && i < N_PRE_TYPES; i++)
	{
		set_pre_type(&g->file, pre_types[i]);
		code = ie_vocab_create(host, &g->file, &g->vocabs[i], &err);
	}
	if (code != IE_OK)
		printf("# %s: %s (%s)\n", path, err.message, err.detail);
	CHECK_INT(code, IE_OK);
	return code == IE_OK;
}

static void
close_golden(golden *g)
{
	for (size_t i = 0; i < N_PRE_TYPES; i++)
		ie_vocab_free(g->vocabs[i]);
	gguf_free(&g->file);
	ie_unmap_file(&g->map);
}

/* "\xNN" are bytes; in place, returns the length. */
static size_t
unescape(char *s)
{
	size_t		len = 0;

	for (size_t i = 0; s[i] != '\0'; i++)
	{
		unsigned	byte;

		if (s[i] == '\\' && sscanf(s + i, "\\x%2x", &byte) == 1)
		{
			s[len++] = (char) byte;
			i += 3;
		}
		else
			s[len++] = s[i];
	}
	return len;
}

/* The ids of a line, " 1 2 3", are those of the text. */
static bool
same_ids(const ie_host *host, const ie_vocab *vocab, ie_text text, const char *line)
{
	ie_tokens	tokens = {0};
	ie_error	err;
	bool		same = ie_vocab_encode(vocab, text, &tokens, &err) == IE_OK;
	size_t		n = 0;
	char	   *end;

	for (; same; line = end)
	{
		const long	id = strtol(line, &end, 10);

		if (end == line)
			break;
		same = n < tokens.n && tokens.ids[n++] == id;
	}
	same = same && n == tokens.n && *line == '\0';
	ie_release(host, tokens.ids);
	return same;
}

/* A line "PRE_TYPE,... ID ...": returns the number of answers in it. */
static int
check_answers(const golden *g, const ie_host *host, ie_text text, char *line)
{
	const size_t n = strcspn(line, " ");
	const char *ids = line + n;
	int			n_answers = 0;

	for (size_t i = 0; i < N_PRE_TYPES; i++)
	{
		const size_t len = strlen(pre_types[i]);

		for (const char *name = line; name < ids; name += strcspn(name, ", ") + 1)
		{
			if (strncmp(name, pre_types[i], len) != 0 || (name[len] != ',' && name + len != ids))
				continue;
			n_answers++;
			CHECK(same_ids(host, g->vocabs[i], text, ids));
			if (!same_ids(host, g->vocabs[i], text, ids))
				printf("# %s: \"%.*s\"\n", pre_types[i], (int) text.len, text.data);
		}
	}
	return n_answers;
}

static void
check_file(const char *model, const char *answers)
{
	static char text[MAX_LINE];
	static char line[MAX_LINE];
	test_host_state state;
	const ie_host host = test_host(&state);
	golden		g = {0};
	FILE	   *f = fopen(answers, "r");
	size_t		text_len = 0;
	int			n_texts = 0;
	int			n_answers = 0;

	CHECK(f != NULL);
	if (f != NULL && open_golden(&g, &host, model))
	{
		while (fgets(line, sizeof(line), f) != NULL)
		{
			line[strcspn(line, "\n")] = '\0';
			if (line[0] == '=')
			{
				strcpy(text, line + 2);
				text_len = unescape(text);
				n_texts++;
			}
			else
				n_answers += check_answers(&g, &host, (ie_text) {text, text_len}, line);
		}
		CHECK(n_texts > 250);
		CHECK_INT(n_answers, N_PRE_TYPES * n_texts);
	}
	if (f != NULL)
		fclose(f);
	close_golden(&g);
	CHECK_INT(state.n_live, 0);
}

/* The installed default model; "" if there is none. */
static const char *
default_model(void)
{
	static char path[1024];
	const char *given = getenv("GOLDEN_MODEL");
	FILE	   *f;

	if (given != NULL)
		return given;
	f = popen("${PG_CONFIG:-pg_config} --sharedir 2>/dev/null", "r");
	if (f == NULL || fgets(path, sizeof(path) - 64, f) == NULL)
		path[0] = '\0';
	if (f != NULL)
		pclose(f);
	if (path[0] == '\0')
		return path;
	strcpy(path + strcspn(path, "\n"), "/instemb/smollm2-135m-instruct.gguf");
	return access(path, R_OK) == 0 ? path : "";
}

int
main(void)
{
	const char *model = default_model();

	check_file("tests/golden/tiny.gguf", "tests/golden/tokenizer/tiny.txt");
	if (model[0] != '\0')
		check_file(model, "tests/golden/tokenizer/smollm2.txt");
	else
		printf("# vocab_golden: the default model is not installed; only the tiny one is tested\n");
	return test_end("vocab_golden");
}
