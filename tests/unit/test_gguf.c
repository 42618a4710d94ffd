/*
 * test_gguf.c
 *	  The GGUF parser: what it reads, what it refuses and in which words, and
 *	  that no damage to a file does more than that.
 */
#include "test.h"
#include "gguf_builder.h"

#pragma GCC diagnostic ignored "-Woverride-init"

/* ---------------------------------------------------------- a sample file */

/* A run of bytes, written as a string literal */
typedef struct raw
{
	const char *data;
	size_t		len;
} raw;

#define RAW(literal) {literal, sizeof(literal) - 1}

/* Everything that a case may want to be different; SAMPLE() has the valid values */
typedef struct sample
{
	const char *magic;
	uint32_t	version;
	uint64_t	more_kv;		/* announced beyond those that there are */
	uint64_t	more_tensors;
	uint32_t	alignment;
	uint8_t		flag;			/* of a bool */
	uint8_t		last_flag;		/* of an array of bools */
	raw			extra;			/* one entry of metadata */
	const char *second;			/* name of the second tensor */
	uint32_t	type;			/* of the first tensor */
	uint32_t	n_dims;
	uint64_t	ne[5];
	uint64_t	offset;			/* of the second tensor */
} sample;

#define SAMPLE(...) {.magic = "GGUF", .version = 3, .alignment = 32, .flag = 1, .last_flag = 1, \
		.extra = RAW("\5\0\0\0\0\0\0\0extra\0\0\0\0\7"), .second = "b", .type = IE_TYPE_Q8_0, \
		.n_dims = 2, .ne = {32, 3, 1, 1, 1}, .offset = 128, __VA_ARGS__}

#define DATA_BYTES (128 + 32)

static gguf_builder
build(const sample *s)
{
	gguf_builder b;

	gb_begin(&b, s->version);
	memcpy(b.data, s->magic, 4);
	gb_kv_text(&b, "general.architecture", "llama");
	gb_kv_u32(&b, "general.alignment", s->alignment);
	gb_kv(&b, "flag", GGUF_BOOL);
	gb_uint(&b, s->flag, 1);
	gb_kv_array(&b, "flags", GGUF_BOOL, 2);
	gb_uint(&b, 0, 1);
	gb_uint(&b, s->last_flag, 1);
	gb_kv_array(&b, "words", GGUF_STRING, 3);
	gb_string(&b, "one");
	gb_string(&b, "");
	gb_string(&b, "three");
	gb_kv_array(&b, "numbers", GGUF_I16, 3);
	gb_bytes(&b, "\1\0\2\0\3\0", 6);
	gb_bytes(&b, s->extra.data, s->extra.len);
	b.n_kv++;
	gb_tensor(&b, "a", s->type, s->n_dims, s->ne, 0);
	gb_tensor(&b, s->second, IE_TYPE_F32, 1, (uint64_t[]) {8}, s->offset);
	gb_begin_data(&b, 32);
	for (int i = 0; i < DATA_BYTES; i++)
		gb_uint(&b, (uint64_t) i, 1);
	b.n_kv += s->more_kv;
	b.n_tensors += s->more_tensors;
	gb_end(&b);
	return b;
}

static ie_code
parse(const ie_host *host, const gguf_builder *b, size_t size, gguf_file *file, ie_error *err)
{
	uint8_t    *view = gb_view(b, size);
	ie_code		code;

	memset(err, 0, sizeof(*err));
	code = gguf_parse(host, view, size, file, err);
	if (code != IE_OK)
	{
		free(view);
		CHECK(err->code == code && err->message[0] != '\0');
		CHECK(file->kv == NULL && file->tensors == NULL && file->by_name == NULL);
	}
	return code;						/* else close_file() frees what data points into */
}

static void
close_file(gguf_file *file)
{
	/* the view begins with the magic, before the first key's length and the counts */
	uint8_t    *view = NULL;

	for (size_t i = 0; i < file->n_kv; i++)
		if (view == NULL || (const uint8_t *) file->kv[i].key.data < view)
			view = (uint8_t *) (uintptr_t) file->kv[i].key.data;
	gguf_free(file);
	free(view - 32);
}

/* ------------------------------------------------------------------ valid */

static void
test_valid(uint32_t version)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	const sample s = SAMPLE(.version = version);
	gguf_builder b = build(&s);
	gguf_file	file;
	ie_error	err;
	const gguf_tensor *t;
	const gguf_kv *kv;
	ie_text		text;
	size_t		pos = 0;

	CHECK_INT(parse(&host, &b, b.size, &file, &err), IE_OK);
	CHECK_INT(file.version, version);
	CHECK_INT(file.n_kv, 7);
	CHECK_INT(file.n_tensors, 2);
	CHECK_INT(file.alignment, 32);
	CHECK_INT(file.data_bytes, DATA_BYTES);
	for (size_t i = 1; i < file.n_kv; i++)
		CHECK(ie_text_compare(file.kv[i - 1].key, file.kv[i].key) < 0);

	t = gguf_find_tensor(&file, "a");
	CHECK(t == &file.tensors[0]);
	CHECK_INT(t->type->type, IE_TYPE_Q8_0);
	CHECK_INT(t->n_dims, 2);
	CHECK(t->ne[0] == 32 && t->ne[1] == 3 && t->ne[2] == 1 && t->ne[3] == 1);
	CHECK_INT(t->data_bytes, 3 * 34);
	CHECK(t->data == file.data && t->data[0] == 0 && t->data[101] == 101);
	t = gguf_find_tensor(&file, "b");
	CHECK(t == &file.tensors[1]);
	CHECK_INT(t->offset, 128);
	CHECK(t->data_bytes == 32 && t->data[0] == 128);
	CHECK(gguf_find_tensor(&file, "") == NULL && gguf_find_tensor(&file, "aa") == NULL);
	CHECK(gguf_find(&file, "") == NULL && gguf_find(&file, "flag ") == NULL);

	CHECK_INT(gguf_get_array(&file, "words", GGUF_STRING, &kv, NULL, &err), IE_OK);
	CHECK_INT(kv->n_elems, 3);
	CHECK_INT(kv->value_bytes, 3 * 8 + 3 + 0 + 5);
	CHECK(gguf_next_text(kv, &pos, &text) && ie_text_is(text, "one"));
	CHECK(gguf_next_text(kv, &pos, &text) && ie_text_is(text, ""));
	CHECK(gguf_next_text(kv, &pos, &text) && ie_text_is(text, "three"));
	CHECK(!gguf_next_text(kv, &pos, &text));
	CHECK_INT(gguf_get_array(&file, "numbers", GGUF_I16, &kv, NULL, &err), IE_OK);
	CHECK(kv->n_elems == 3 && kv->value_bytes == 6 && kv->value[4] == 3);

	close_file(&file);
	gguf_free(&file);
	CHECK_INT(state.n_live, 0);
	gb_free(&b);
}

/* Files that need less than the sample has */
static void
test_minimal(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	gguf_builder b;
	gguf_file	file;
	ie_error	err;

	gb_begin(&b, 3);
	gb_end(&b);
	CHECK_INT(gguf_parse(&host, b.data, b.size, &file, &err), IE_OK);
	CHECK(file.n_kv == 0 && file.n_tensors == 0 && file.data_bytes == 0);
	CHECK(gguf_find(&file, "general.type") == NULL && gguf_find_tensor(&file, "a") == NULL);
	gguf_free(&file);
	gb_free(&b);

	/* without a tensor no padding is needed; the default alignment is 32 */
	gb_begin(&b, 3);
	gb_kv_text(&b, "general.type", "adapter");
	gb_end(&b);
	CHECK(b.size % 32 != 0);
	CHECK_INT(gguf_parse(&host, b.data, b.size, &file, &err), IE_OK);
	CHECK_INT(file.alignment, 32);
	CHECK_INT(file.data_bytes, 0);
	gguf_free(&file);
	gb_free(&b);

	/* the parser may be given nothing at all */
	CHECK_INT(gguf_parse(&host, NULL, 0, &file, &err), IE_FORMAT);
	CHECK_INT(state.n_live, 0);
}

/* ----------------------------------------------------------------- broken */

typedef struct broken
{
	const char *what;
	sample		s;
	ie_code		code;
	const char *message;		/* part of the message or detail */
} broken;

#define KEY(k) "\1\0\0\0\0\0\0\0" k
#define HUGE_COUNT "\0\0\0\0\0\0\0\x80"

static const broken broken_files[] = {
	{"magic", SAMPLE(.magic = "GGUX"), IE_FORMAT, "not in GGUF format"},
	{"version 0", SAMPLE(.version = 0), IE_UNSUPPORTED, "version 0"},
	{"version 1", SAMPLE(.version = 1), IE_UNSUPPORTED, "version 1"},
	{"version 4", SAMPLE(.version = 4), IE_UNSUPPORTED, "Supported versions are 2 and 3."},
	{"big-endian", SAMPLE(.version = 3u << 24), IE_UNSUPPORTED, "big-endian"},
	{"kv count", SAMPLE(.more_kv = 1000), IE_FORMAT, "directory of metadata entries"},
	{"kv count, huge", SAMPLE(.more_kv = UINT64_MAX - 7), IE_FORMAT, "directory of metadata"},
	{"kv count, one more", SAMPLE(.more_kv = 1), IE_FORMAT, ""},
	{"tensor count", SAMPLE(.more_tensors = 1000), IE_FORMAT, "directory of tensors"},
	{"tensor count, huge", SAMPLE(.more_tensors = UINT64_MAX / 2), IE_FORMAT,
	"directory of tensors"},
	{"tensor count, one more", SAMPLE(.more_tensors = 1), IE_FORMAT, ""},
	{"alignment 0", SAMPLE(.alignment = 0), IE_FORMAT, "alignment 0"},
	{"alignment 1", SAMPLE(.alignment = 1), IE_FORMAT, "power of two from 8"},
	{"alignment 48", SAMPLE(.alignment = 48), IE_FORMAT, "alignment 48"},
	{"alignment 2^31", SAMPLE(.alignment = 1u << 31), IE_FORMAT, "alignment 2147483648"},
	{"bool 2", SAMPLE(.flag = 2), IE_FORMAT, "\"flag\" holds an invalid boolean"},
	{"array of bool 2", SAMPLE(.last_flag = 2), IE_FORMAT, "\"flags\" holds an invalid boolean"},
	{"key length", SAMPLE(.extra = RAW("\xff\xff\xff\xff\xff\xff\xff\xff")), IE_FORMAT,
	"18446744073709551615 bytes are needed"},
	{"value type", SAMPLE(.extra = RAW(KEY("k") "\15\0\0\0\0")), IE_FORMAT,
	"\"k\" has invalid value type 13"},
	{"string length", SAMPLE(.extra = RAW(KEY("k") "\10\0\0\0" HUGE_COUNT)), IE_FORMAT,
	"ends in a metadata string"},
	{"array type", SAMPLE(.extra = RAW(KEY("k") "\11\0\0\0\77\0\0\0\1\0\0\0\0\0\0\0")), IE_FORMAT,
	"\"k\" has invalid array element type 63"},
	{"array of arrays", SAMPLE(.extra = RAW(KEY("k") "\11\0\0\0\11\0\0\0\1\0\0\0\0\0\0\0")),
	IE_UNSUPPORTED, "array of arrays"},
	{"array of u8, huge", SAMPLE(.extra = RAW(KEY("k") "\11\0\0\0\0\0\0\0" HUGE_COUNT)),
	IE_FORMAT, "9223372036854775808 elements of at least 1 bytes"},
	{"array of f64, huge", SAMPLE(.extra = RAW(KEY("k") "\11\0\0\0\14\0\0\0" HUGE_COUNT)),
	IE_FORMAT, "elements of at least 8 bytes"},
	{"array of strings, huge", SAMPLE(.extra = RAW(KEY("k") "\11\0\0\0\10\0\0\0" HUGE_COUNT)),
	IE_FORMAT, "does not fit"},
	{"array's string",
		SAMPLE(.extra = RAW(KEY("k") "\11\0\0\0\10\0\0\0\1\0\0\0\0\0\0\0" HUGE_COUNT)),
	IE_FORMAT, "string of a metadata array"},
	{"duplicate key", SAMPLE(.extra = RAW("\5\0\0\0\0\0\0\0words\7\0\0\0\0")), IE_FORMAT,
	"\"words\" occurs twice"},
	{"unprintable key", SAMPLE(.extra = RAW(KEY("\xe9") "\15\0\0\0\0")), IE_FORMAT, "\"\\xe9\""},
	{"duplicate tensor", SAMPLE(.second = "a"), IE_FORMAT, "tensor \"a\" occurs twice"},
	{"tensor type", SAMPLE(.type = 12), IE_UNSUPPORTED, "type Q4_K (12)"},
	{"tensor type, list", SAMPLE(.type = 999), IE_UNSUPPORTED, "Supported types are F32, "},
	{"0 dimensions", SAMPLE(.n_dims = 0), IE_FORMAT, "has 0 dimensions, 1 to 4"},
	{"5 dimensions", SAMPLE(.n_dims = 5), IE_FORMAT, "has 5 dimensions, 1 to 4"},
	{"dimension 0", SAMPLE(.ne = {32, 0}), IE_FORMAT, "dimension 1 of tensor \"a\" is zero"},
	{"dimensions overflow", SAMPLE(.ne = {UINT64_MAX - 31, 2}), IE_FORMAT, "too large"},
	{"bytes overflow", SAMPLE(.type = 0, .n_dims = 1, .ne = {(uint64_t) 1 << 62}), IE_FORMAT,
	"too large"},
	{"rows of blocks", SAMPLE(.ne = {33, 1}), IE_FORMAT,
	"33 elements, a block of type Q8_0 has 32"},
	{"offset unaligned", SAMPLE(.offset = 120), IE_FORMAT, "offset 120, which is not a multiple"},
	{"offset outside", SAMPLE(.offset = 160), IE_FORMAT, "tensor \"b\" lies outside"},
	{"offset huge", SAMPLE(.offset = UINT64_MAX - 31), IE_FORMAT, "lies outside"},
	{"size outside", SAMPLE(.ne = {32, 5}), IE_FORMAT, "tensor \"a\" lies outside"},
	{"overlap", SAMPLE(.offset = 96), IE_FORMAT, "tensors \"a\" and \"b\" overlap"},
	{"same place", SAMPLE(.offset = 0), IE_FORMAT, "overlap"},
};

static void
test_broken(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);

	for (size_t i = 0; i < sizeof(broken_files) / sizeof(broken_files[0]); i++)
	{
		const broken *c = &broken_files[i];
		gguf_builder b = build(&c->s);
		gguf_file	file;
		ie_error	err;
		ie_code		code = parse(&host, &b, b.size, &file, &err);

		if (code != c->code || (strstr(err.message, c->message) == NULL &&
								strstr(err.detail, c->message) == NULL))
			printf("# %s: %d \"%s\" \"%s\"\n", c->what, code, err.message, err.detail);
		CHECK_INT(code, c->code);
		CHECK(strstr(err.message, c->message) != NULL || strstr(err.detail, c->message) != NULL);
		if (code == IE_OK)
			close_file(&file);
		CHECK_INT(state.n_live, 0);
		gb_free(&b);
	}
}

/* Names and counts have caps beside the size of the file. */
static void
test_caps(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	char	   *name = malloc(GGUF_MAX_NAME_BYTES + 2);
	gguf_builder b;
	gguf_file	file;
	ie_error	err;

	memset(name, 'n', GGUF_MAX_NAME_BYTES + 1);
	name[GGUF_MAX_NAME_BYTES + 1] = '\0';
	for (int extra = 0; extra < 2; extra++)
	{
		gb_begin(&b, 3);
		gb_kv_u32(&b, name + 1 - extra, 1);
		gb_end(&b);
		CHECK_INT(gguf_parse(&host, b.data, b.size, &file, &err), extra ? IE_FORMAT : IE_OK);
		gguf_free(&file);
		gb_free(&b);
	}
	free(name);

	for (uint32_t extra = 0; extra < 2; extra++)
	{
		gb_begin(&b, 3);
		for (uint32_t i = 0; i < GGUF_MAX_ENTRIES + extra; i++)
		{
			char		key[16];

			snprintf(key, sizeof(key), "%u", i * 40503 % 131072);
			gb_kv_u32(&b, key, i);
		}
		gb_end(&b);
		CHECK_INT(gguf_parse(&host, b.data, b.size, &file, &err), extra ? IE_UNSUPPORTED : IE_OK);
		if (!extra)
			CHECK(gguf_find(&file, "40503") != NULL && gguf_find(&file, "131072") == NULL);
		gguf_free(&file);
		gb_free(&b);
	}
	CHECK(strstr(err.message, "65537") != NULL && strstr(err.message, "65536") != NULL);
	CHECK_INT(state.n_live, 0);
}

/* --------------------------------------------------------------- damage */

/* Touch every byte that a parsed file points to; ASan watches. */
static void
read_all(const gguf_file *file)
{
	uint64_t	sum = 0;

	for (size_t i = 0; i < file->n_kv; i++)
	{
		const gguf_kv *kv = &file->kv[i];
		ie_text		text;
		size_t		pos = 0;
		uint64_t	n = 0;

		for (size_t j = 0; j < kv->key.len; j++)
			sum += (unsigned char) kv->key.data[j];
		for (size_t j = 0; j < kv->value_bytes; j++)
			sum += kv->value[j];
		if (kv->type == GGUF_ARRAY && kv->elem_type == GGUF_STRING)
		{
			while (gguf_next_text(kv, &pos, &text))
				n++;
			CHECK_INT(n, kv->n_elems);
			CHECK_INT(pos, kv->value_bytes);
		}
		CHECK(gguf_find_text(file, kv->key) == kv);
	}
	for (size_t i = 0; i < file->n_tensors; i++)
	{
		for (size_t j = 0; j < file->tensors[i].data_bytes; j++)
			sum += file->tensors[i].data[j];
		CHECK(gguf_find_tensor_text(file, file->tensors[i].name) == &file->tensors[i]);
	}
	CHECK(sum > 0);
}

static void
test_truncated(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	const sample s = SAMPLE();
	gguf_builder b = build(&s);

	for (size_t size = 0; size < b.size; size++)
	{
		gguf_file	file;
		ie_error	err;

		CHECK_INT(parse(&host, &b, size, &file, &err), IE_FORMAT);
		CHECK_INT(state.n_live, 0);
	}
	gb_free(&b);
}

static void
test_flipped(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	const sample s = SAMPLE();
	gguf_builder b = build(&s);
	long		n_ok = 0;

	for (size_t i = 0; i < b.size; i++)
		for (int flip = 1; flip < 256; flip = flip < 128 ? flip * 2 : flip + 127)
		{
			gguf_file	file;
			ie_error	err;

			b.data[i] ^= (uint8_t) flip;
			if (parse(&host, &b, b.size, &file, &err) == IE_OK)
			{
				read_all(&file);
				close_file(&file);
				n_ok++;
			}
			b.data[i] ^= (uint8_t) flip;
			CHECK_INT(state.n_live, 0);
		}
	CHECK(n_ok > 0);
	gb_free(&b);
}

static void
test_no_memory(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	const sample s = SAMPLE();
	gguf_builder b = build(&s);
	gguf_file	file;
	ie_error	err;
	long		n;

	for (n = 1;; n++)
	{
		ie_code		code;

		state.n_allocs = 0;
		state.fail_at = n;
		code = parse(&host, &b, b.size, &file, &err);
		if (code == IE_OK)
			break;
		CHECK_INT(code, IE_NOMEM);
		CHECK_INT(state.n_live, 0);
	}
	CHECK_INT(n, 4);
	close_file(&file);
	CHECK_INT(state.n_live, 0);
	gb_free(&b);
}

static void
test_canceled(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	gguf_builder b;
	gguf_file	file;
	ie_error	err;

	gb_begin(&b, 3);
	gb_kv_array(&b, "words", GGUF_STRING, 200000);
	for (int i = 0; i < 200000; i++)
		gb_uint(&b, 0, 8);
	gb_end(&b);
	state.stop_after = 2;
	CHECK_INT(gguf_parse(&host, b.data, b.size, &file, &err), IE_CANCELED);
	CHECK_INT(state.n_polls, 2);
	CHECK_INT(state.n_live, 0);
	state.n_polls = state.stop_after = 0;
	CHECK_INT(gguf_parse(&host, b.data, b.size, &file, &err), IE_OK);
	CHECK_INT(state.n_polls, 3);
	gguf_free(&file);
	gb_free(&b);
}

/* ---------------------------------------------------------------- sorting */

/* Many tensors in a random order of names and of places */
static void
test_many_tensors(void)
{
	enum
	{
		N = 1000
	};
	uint64_t	seed = test_seed("test_gguf");
	test_host_state state;
	ie_host		host = test_host(&state);
	uint32_t	place[N];

	for (uint32_t i = 0; i < N; i++)
		place[i] = i;
	for (uint32_t i = N - 1; i > 0; i--)
	{
		const uint32_t j = (uint32_t) (test_random(&seed) % (i + 1));
		const uint32_t t = place[i];

		place[i] = place[j];
		place[j] = t;
	}
	/* 0: valid; 1: one name twice; 2: one place twice */
	for (int fault = 0; fault < 3; fault++)
	{
		gguf_builder b;
		gguf_file	file;
		ie_error	err;
		ie_code		code;

		gb_begin(&b, 3);
		for (uint32_t i = 0; i < N; i++)
		{
			const uint32_t name = fault == 1 && i == 700 ? 300 : i;
			const uint32_t at = fault == 2 && i == 700 ? place[300] : place[i];
			char		text[16];

			snprintf(text, sizeof(text), "t%u", name * 7919 % 100003);
			gb_tensor(&b, text, IE_TYPE_F32, 1, (uint64_t[]) {8}, 32 * at);
		}
		gb_begin_data(&b, 32);
		for (uint32_t i = 0; i < N * 32; i++)
			gb_uint(&b, 0, 1);
		gb_end(&b);
		code = gguf_parse(&host, b.data, b.size, &file, &err);
		CHECK_INT(code, fault == 0 ? IE_OK : IE_FORMAT);
		if (fault > 0)
			CHECK(strstr(err.message, fault == 1 ? "occurs twice" : "overlap") != NULL);
		for (size_t i = 0; code == IE_OK && i < N; i++)
			CHECK(gguf_find_tensor_text(&file, file.tensors[i].name) == &file.tensors[i]);
		gguf_free(&file);
		gb_free(&b);
	}
	CHECK_INT(state.n_live, 0);
}

int
main(void)
{
	test_valid(2);
	test_valid(3);
	test_minimal();
	test_broken();
	test_caps();
	test_truncated();
	test_flipped();
	test_no_memory();
	test_canceled();
	test_many_tensors();
	return test_end("test_gguf");
}
