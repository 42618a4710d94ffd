/*
 * test_packed.c
 *	  Packed model files: the same bits and tokens as the plain file they were
 *	  made of, and every field that can be wrong, refused.
 */
#include "embed_fixture.h"
#include "scratch.h"
#include "model/model.h"
#include "model/packed.h"
#include "model/vocab_tables.h"

static uint64_t seed;

static const uint32_t q8_0[] = {IE_TYPE_Q8_0};
static const uint32_t mixed[] = {IE_TYPE_Q4_1, IE_TYPE_F16, IE_TYPE_Q8_0, IE_TYPE_F32};

/* Matrices that end within a panel: 72 and 40 outputs */
static model_spec
odd_spec(const uint32_t *types, size_t n_types)
{
	model_spec	spec = model_spec_default();

	spec.n_embd = 64;
	spec.n_head = 3;
	spec.n_head_kv = 1;
	spec.head_dim = 24;
	spec.n_ff = 160;
	spec.types = types;
	spec.n_types = n_types;
	spec.n_lookahead = 2;
	spec.pooling = "daap";
	return spec;
}

/* A plain file and the packed one that is made of it */
typedef struct pair
{
	scratch		dir;
	const char *plain;
	const char *packed;
} pair;

static void
open_pair(pair *p, const model_spec *spec)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	ie_error	err = {0};
	ie_install_request request;

	scratch_open(&p->dir);
	p->plain = scratch_path(&p->dir, "plain.gguf");
	p->packed = scratch_path(&p->dir, "packed.gguf");
	mb_save(spec, p->plain);
	request = (ie_install_request) {.base_path = p->plain, .out_path = p->packed};
	CHECK_INT(ie_install(&host, &request, &err), IE_OK);
	CHECK_STR(err.message, "");
	CHECK_INT(state.n_live, 0);
}

/* ------------------------------------------------------------------ results */

static void
embed_all(const ie_model *model, ie_compute compute, float *vectors)
{
	ie_session_config config = {.compute = compute, .n_threads = 2};
	ie_session *session = open_session(model, config);
	char		text[300];
	uint64_t	random = 5;

	for (size_t i = 0; i < 8; i++)
	{
		ie_text		t = {text, 1 + 40 * i};

		fill_text(text, t.len, &random);
		CHECK_INT(embed(session, &t, 1, vectors + 64 * i, NULL), IE_OK);
	}
	ie_session_free(session);
}

static void
check_tokens(const ie_model *a, const ie_model *b)
{
	for (int round = 0; round < 300; round++)
	{
		char		text[200];
		const ie_text t = {text, (size_t) round % sizeof(text)};
		int32_t    *ids[2] = {NULL, NULL};
		size_t		n[2] = {0, 0};
		ie_error	err = {0};

		for (size_t i = 0; i < t.len; i++)
			text[i] = " \ttheinron<|im_start|>"[test_random(&seed) % 22];
		CHECK_INT(ie_tokenize(a, t, &ids[0], &n[0], &err), IE_OK);
		CHECK_INT(ie_tokenize(b, t, &ids[1], &n[1], &err), IE_OK);
		CHECK_INT(n[0], n[1]);
		CHECK(n[0] == n[1] && (n[0] == 0 || memcmp(ids[0], ids[1], n[0] * sizeof(int32_t)) == 0));
		ie_release(a->host, ids[0]);
		ie_release(b->host, ids[1]);
	}
}

/* 1 - cosine of two vectors of unit length */
static double
distance(const float *a, const float *b)
{
	double		dot = 0;

	for (size_t i = 0; i < 64; i++)
		dot += (double) a[i] * (double) b[i];
	return 1 - dot;
}

static void
test_results(const uint32_t *types, size_t n_types, bool same_bits)
{
	const model_spec spec = odd_spec(types, n_types);
	test_host_state state;
	ie_host		host = test_host(&state);
	pair		p;
	ie_model   *models[2];
	ie_model_info info[2];
	ie_error	err = {0};
	float		vectors[2][8 * 64];
	char		hex[65];

	open_pair(&p, &spec);
	CHECK_INT(ie_model_open(&host, p.plain, &models[0], &err), IE_OK);
	CHECK_INT(ie_model_open(&host, p.packed, &models[1], &err), IE_OK);
	CHECK_STR(err.message, "");
	for (int i = 0; i < 2; i++)
		ie_model_get_info(models[i], &info[i]);
	CHECK_STR(info[1].quantization, "Q8_0 packed");
	CHECK_INT(info[1].n_params, info[0].n_params);
	CHECK_INT(info[1].n_vocab, info[0].n_vocab);
	CHECK_STR(info[1].pooling, info[0].pooling);
	CHECK_STR(info[1].template_body, info[0].template_body);
	CHECK(models[1]->weights.layers[2].wk.type == &ie_type_panels_s8);
	CHECK(!ie_type_is_table(models[1]->weights.token_embd.type));
	CHECK_INT(ie_model_verify(models[1], hex, &err), IE_OK);
	for (ie_compute compute = IE_COMPUTE_AUTO; compute <= IE_COMPUTE_F32; compute++)
	{
		embed_all(models[0], compute, vectors[0]);
		embed_all(models[1], compute, vectors[1]);
		CHECK(!same_bits || memcmp(vectors[0], vectors[1], sizeof(vectors[0])) == 0);
		for (size_t i = 0; i < 8; i++)
			CHECK_NEAR(distance(vectors[0] + 64 * i, vectors[1] + 64 * i), 0, 2e-3);
	}
	check_tokens(models[0], models[1]);
	for (int i = 0; i < 2; i++)
		ie_model_close(models[i]);
	CHECK_INT(state.n_live, 0);
	scratch_close(&p.dir);
}

/* Its rows cannot be read one by one. */
static void
test_training(void)
{
	const model_spec spec = model_spec_default();
	test_host_state state;
	ie_host		host = test_host(&state);
	pair		p;
	ie_model   *model;
	ie_train_config config;
	ie_trainer *trainer;
	ie_error	err = {0};

	open_pair(&p, &spec);
	ie_train_config_default(&config);
	CHECK_INT(ie_model_open(&host, p.packed, &model, &err), IE_OK);
	CHECK_INT(ie_trainer_create(&host, model, &config, &trainer, &err), IE_INVALID);
	CHECK_STR(err.message, "model is packed");
	ie_model_close(model);
	CHECK_INT(state.n_live, 0);
	scratch_close(&p.dir);
}

/* ------------------------------------------------------------------ refusals */

/* A packed file in memory that is damaged at one place at a time */
typedef struct patient
{
	test_host_state state;
	ie_host		host;
	scratch		dir;
	const char *path;
	uint8_t    *good;
	uint8_t    *bytes;			/* a copy of good, to be damaged */
	size_t		size;
	gguf_file	file;			/* of bytes */
} patient;

static uint8_t *
slurp(const char *path, size_t *size)
{
	FILE	   *f = fopen(path, "rb");
	uint8_t    *bytes;

	*size = (size_t) file_bytes(path);
	bytes = malloc(*size);
	if (f == NULL || fread(bytes, 1, *size, f) != *size)
		abort();
	fclose(f);
	return bytes;
}

/* Open what is in bytes, expect a refusal with such a message, and heal. */
static void
refused(patient *p, ie_code code, const char *message)
{
	const gguf_builder b = {.data = p->bytes, .size = p->size};
	ie_model   *model = NULL;
	ie_error	err = {0};

	unlink(p->path);
	gb_save(&b, p->path);
	CHECK_INT(ie_model_open(&p->host, p->path, &model, &err), code);
	if (strstr(err.message, message) == NULL)
		CHECK_STR(err.message, message);
	if (code == IE_OK)
		ie_model_close(model);
	memcpy(p->bytes, p->good, p->size);
}

static uint8_t *
value_of(patient *p, const char *key)
{
	return p->bytes + (gguf_find(&p->file, key)->value - p->bytes);
}

/* The name of a key or tensor, to be changed */
static char *
name_at(patient *p, ie_text name)
{
	return (char *) p->bytes + ((const uint8_t *) name.data - p->bytes);
}

static uint32_t *
table_of(patient *p, const char *name)
{
	return (uint32_t *) (p->bytes + (gguf_find_tensor(&p->file, name)->data - p->bytes));
}

/* Behind a tensor's name: u32 n_dims, u64 ne[n_dims], u32 type, u64 offset */
static uint8_t *
description_of(patient *p, const char *name)
{
	const ie_text text = gguf_find_tensor(&p->file, name)->name;

	return (uint8_t *) name_at(p, text) + text.len;
}

/* Take one off a dimension. */
static void
shorten(patient *p, const char *name, size_t dim)
{
	uint8_t    *ne = description_of(p, name) + 4 + 8 * dim;
	uint64_t	n;

	memcpy(&n, ne, sizeof(n));
	n--;
	memcpy(ne, &n, sizeof(n));
}

static void
test_header(patient *p)
{
	static const char *const keys[] = {
		IE_PACKED_PANELS_KEY, IE_DATA_SHA256_KEY, "tokenizer.ggml.token_type"
	};

	value_of(p, IE_PACKED_VERSION_KEY)[0]++;
	refused(p, IE_UNSUPPORTED, "file was packed by another version of instemb");
	value_of(p, IE_PACKED_PANELS_KEY)[0]++;
	refused(p, IE_UNSUPPORTED, "file was packed by another version of instemb");
	for (size_t i = 0; i < IE_LENGTH(keys); i++)
	{
		name_at(p, gguf_find(&p->file, keys[i])->key)[0] = 'x';
		refused(p, IE_FORMAT, "is missing");
	}
	/* not packed any more, panels have no meaning, and the vocabulary is missing */
	name_at(p, gguf_find(&p->file, IE_PACKED_VERSION_KEY)->key)[0] = 'x';
	refused(p, IE_FORMAT, "\"tokenizer.ggml.tokens\" is missing");
}

static void
test_panels(patient *p)
{
	const char *const name = "blk.1.ffn_up.weight";
	uint8_t    *d;

	name_at(p, gguf_find_tensor(&p->file, name)->name)[0] = 'x';
	refused(p, IE_FORMAT, "tensor \"blk.1.ffn_up.weight\" is missing");
	/* fewer panels, or smaller ones */
	shorten(p, name, 1);
	refused(p, IE_FORMAT, "tensor \"blk.1.ffn_up.weight\" has a wrong shape");
	shorten(p, name, 0);
	refused(p, IE_FORMAT, "tensor \"blk.1.ffn_up.weight\" has a wrong shape");
	/* what is looked up by rows, or is a vector, cannot be panels */
	d = description_of(p, "token_embd.weight");
	d[4 + 16] = IE_TYPE_I8;
	refused(p, IE_UNSUPPORTED, "type I8 of tensor \"token_embd.weight\" is not supported");
	d = description_of(p, "output_norm.weight");
	d[4 + 8] = IE_TYPE_I32;
	refused(p, IE_UNSUPPORTED, "type I32 of tensor \"output_norm.weight\" is not supported");
	/* data that begins at a multiple of 8, not of 64 */
	value_of(p, "general.alignment")[0] = 8;
	refused(p, IE_FORMAT, "is not aligned");
}

/* Entry at of a table, or its last one if that is -1, becomes value. */
static void
bad_entry(patient *p, const char *name, long at, uint32_t value)
{
	const gguf_tensor *t = gguf_find_tensor(&p->file, name);
	char		message[100];

	if (at < 0)
		at = (long) (t->data_bytes / sizeof(uint32_t)) - 1;
	table_of(p, name)[at] = value;
	snprintf(message, sizeof(message), "tensor \"%s\" is corrupt", name);
	refused(p, IE_FORMAT, message);
}

/* A slot that is in use */
static long
used_slot(patient *p, const char *name)
{
	long		i = 0;

	while (table_of(p, name)[i] == UINT32_MAX)
		i++;
	return i;
}

/* The vocabulary alone: that a table is missing is seen earlier in a model. */
static void
missing_table(patient *p, const char *name)
{
	ie_vocab   *vocab;
	gguf_file	file;
	ie_error	err = {0};
	const ie_text text = gguf_find_tensor(&p->file, name)->name;

	name_at(p, text)[text.len - 1] = 'x';
	CHECK_INT(gguf_parse(&p->host, p->bytes, p->size, &file, &err), IE_OK);
	CHECK_INT(ie_vocab_create(&p->host, &file, &vocab, &err), IE_FORMAT);
	CHECK(strstr(err.message, "is missing") != NULL);
	gguf_free(&file);
	refused(p, strcmp(name, "instemb.vocab.offsets") == 0 ? IE_FORMAT : IE_UNSUPPORTED, "");
}

static void
test_vocab(patient *p)
{
	static const char *const tables[] = {
		"instemb.vocab.spellings", "instemb.vocab.offsets", "instemb.vocab.slots",
		"instemb.vocab.bytes", "instemb.vocab.merge_slots"
	};
	const uint32_t n = mb_n_vocab();
	const gguf_tensor *spellings = gguf_find_tensor(&p->file, "instemb.vocab.spellings");
	const gguf_tensor *slots = gguf_find_tensor(&p->file, "instemb.vocab.slots");
	uint32_t   *at;

	for (size_t i = 0; i < IE_LENGTH(tables); i++)
	{
		missing_table(p, tables[i]);
		if (i > 0)
		{
			description_of(p, tables[i])[4 + 8] = IE_TYPE_F32;
			refused(p, IE_FORMAT, "has a wrong type or shape");
		}
		if (i > 1)
		{
			shorten(p, tables[i], 0);
			refused(p, IE_FORMAT, "has a wrong type or shape");
		}
	}
	shorten(p, "instemb.vocab.offsets", 0);
	refused(p, IE_FORMAT, "tensor \"token_embd.weight\" has a wrong shape");
	description_of(p, "instemb.vocab.merges")[4] = 2;
	refused(p, IE_FORMAT, "has a wrong type or shape");
	shorten(p, "instemb.vocab.merges", 1);
	refused(p, IE_FORMAT, "tensor \"instemb.vocab.merge_slots\" has a wrong type or shape");

	/* spellings that begin or end outside */
	bad_entry(p, "instemb.vocab.offsets", 0, 0);
	bad_entry(p, "instemb.vocab.offsets", 5, 7);
	bad_entry(p, "instemb.vocab.offsets", -1, (uint32_t) spellings->data_bytes + 1);
	bad_entry(p, "instemb.vocab.offsets", -1, UINT32_MAX);
	at = table_of(p, "instemb.vocab.offsets");
	p->bytes[spellings->data - p->bytes + at[n - 1] - 8]++;
	refused(p, IE_FORMAT, "tensor \"instemb.vocab.offsets\" is corrupt");

	bad_entry(p, "instemb.vocab.slots", used_slot(p, "instemb.vocab.slots"), n);
	bad_entry(p, "instemb.vocab.slots", -1, 0xff000000 | n);
	/* no free slot: a search would never end */
	at = table_of(p, "instemb.vocab.slots");
	for (size_t i = 0; i < slots->data_bytes / 4; i++)
		if (at[i] == UINT32_MAX)
			at[i] = 1;
	refused(p, IE_FORMAT, "tensor \"instemb.vocab.slots\" is corrupt");
	bad_entry(p, "instemb.vocab.merge_slots", 0, IE_LENGTH(mb_merges));
	at = table_of(p, "instemb.vocab.merge_slots");
	for (size_t i = 0; i < 2 * IE_LENGTH(mb_merges) + 1; i++)
		at[i] = 0;
	refused(p, IE_FORMAT, "tensor \"instemb.vocab.merge_slots\" is corrupt");
	for (long i = 0; i < 3; i++)
		bad_entry(p, "instemb.vocab.merges", 3 + i, n);

	/* what gives a control token: 0 to 2 are some */
	bad_entry(p, "instemb.vocab.bytes", 'a', n);
	bad_entry(p, "instemb.vocab.bytes", 'a', (uint32_t) -2);
	bad_entry(p, "instemb.vocab.bytes", 'a', 1);
	bad_entry(p, "instemb.vocab.controls", 0, n);
	bad_entry(p, "instemb.vocab.controls", 0, 7);
	at = table_of(p, "instemb.vocab.merges");
	at[2] = 2;
	refused(p, IE_FORMAT, "tensor \"instemb.vocab.merges\" is corrupt");
}

static void
test_refusals(void)
{
	const model_spec spec = odd_spec(q8_0, 1);
	patient		p = {0};
	pair		files;
	ie_model   *model;
	ie_error	err = {0};
	char		hex[65];

	p.host = test_host(&p.state);
	open_pair(&files, &spec);
	p.good = slurp(files.packed, &p.size);
	p.bytes = aligned_alloc(64, (p.size + 63) / 64 * 64);
	memcpy(p.bytes, p.good, p.size);
	scratch_open(&p.dir);
	p.path = scratch_path(&p.dir, "damaged.gguf");
	CHECK_INT(gguf_parse(&p.host, p.bytes, p.size, &p.file, &err), IE_OK);

	refused(&p, IE_OK, "");
	test_header(&p);
	test_panels(&p);
	test_vocab(&p);

	/* a scale that is not finite is seen by the checksum, and else in the result */
	table_of(&p, "blk.0.ffn_up.weight")[IE_QK * IE_PANEL_ROWS / 4] = 0x7fc00000;
	unlink(p.path);
	gb_save(&(gguf_builder) {.data = p.bytes, .size = p.size}, p.path);
	CHECK_INT(ie_model_open(&p.host, p.path, &model, &err), IE_OK);
	CHECK_INT(ie_model_verify(model, hex, &err), IE_FORMAT);
	CHECK_STR(err.message, "checksum of the tensor data does not match");
	{
		ie_session *session = open_session(model, plain);
		const ie_text text = {"tent", 4};
		float		vector[64];

		CHECK_INT(embed(session, &text, 1, vector, NULL), IE_NUMERIC);
		ie_session_free(session);
	}
	ie_model_close(model);

	gguf_free(&p.file);
	CHECK_INT(p.state.n_live, 0);
	free(p.good);
	free(p.bytes);
	scratch_close(&p.dir);
	scratch_close(&files.dir);
}

/*
 * The format as it is: what is packed today must be what was packed before.  If
 * this fails on purpose, IE_PACKED_VERSION or IE_PANEL_LAYOUT has to be raised.
 */
static void
test_format(void)
{
	test_host_state state;
	ie_host		host = test_host(&state);
	scratch		dir;
	const char *out;
	ie_install_request request = {.base_path = "tests/golden/tiny.gguf"};
	ie_error	err = {0};
	char		hex[65];

	scratch_open(&dir);
	request.out_path = out = scratch_path(&dir, "tiny.gguf");
	CHECK_INT(ie_install(&host, &request, &err), IE_OK);
	CHECK_INT(ie_file_sha256(&host, out, hex, &err), IE_OK);
	CHECK_STR(hex, "1416ea0035194053ce9e9ef3a1d3d785c6ba5fa9c5e0f5f54f00195817f09d62");
	scratch_close(&dir);
}

/* A vocabulary without merges and control tokens has no tables of them */
static void
test_empty_tables(void)
{
	ie_vocab	vocab = {.n_tokens = 1, .spellings_bytes = 9, .n_slots = 3,
		.merges = {.n_slots = 1}};
	gguf_tensor tables[IE_VOCAB_TABLES];

	CHECK_INT(ie_vocab_tables(&vocab, tables), IE_VOCAB_TABLES - 2);
	for (size_t i = 0; i < IE_VOCAB_TABLES - 2; i++)
	{
		CHECK(ie_vocab_is_table(tables[i].name));
		CHECK(tables[i].data_bytes > 0 && tables[i].ne[0] > 0);
	}
	CHECK(!ie_vocab_is_table((ie_text) {"instemb.vocab.", 14}));
}

int
main(void)
{
	seed = test_seed("test_packed");
	test_results(q8_0, IE_LENGTH(q8_0), true);
	test_results(mixed, IE_LENGTH(mixed), false);
	test_training();
	test_refusals();
	test_format();
	test_empty_tables();
	return test_end("test_packed");
}
