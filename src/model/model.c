/*
 * model.c
 *	  Opening a model file, and what can be asked of it.
 */
#include "model/model.h"
#include "base/bytes.h"
#include "model/packed.h"
#include "model/unicode.h"
#include "model/verify.h"

/* -------------------------------------------------------------------- info */

/* A string of ie_model_info and where it comes from */
typedef struct info_string
{
	const char **field;
	ie_text		text;
} info_string;

/* A metadata string for showing, "" if the file has none */
static ie_code
get_shown_text(const gguf_file *file, const char *key, ie_text *text, ie_error *err)
{
	bool		found;

	*text = (ie_text) {"", 0};
	IE_TRY(gguf_get_text(file, key, text, &found, err));
	if (memchr(text->data, '\0', text->len) != NULL ||
		ie_utf8_check(text->data, 0, text->len, text->len) != text->len)
		return ie_fail(err, IE_FORMAT, "metadata key \"%s\" is not text in UTF-8", key);
	return IE_OK;
}

/* Terminated copies of all strings, in one allocation */
static ie_code
copy_strings(ie_model *m, const info_string *strings, size_t n, ie_error *err)
{
	size_t		bytes = 0;		/* the texts lie in the file: their sum cannot overflow */
	char	   *to;

	for (size_t i = 0; i < n; i++)
		bytes += strings[i].text.len + 1;
	to = m->strings = ie_alloc(m->host, bytes);
	if (to == NULL)
		return ie_nomem(err, bytes);
	for (size_t i = 0; i < n; i++)
	{
		memcpy(to, strings[i].text.data, strings[i].text.len);
		to[strings[i].text.len] = '\0';
		*strings[i].field = to;
		to += strings[i].text.len + 1;
	}
	return IE_OK;
}

static ie_code
fill_strings(ie_model *m, ie_error *err)
{
	ie_model_info *info = &m->info;
	info_string strings[] = {
		{&info->name, {NULL, 0}},
		{&info->license, {NULL, 0}},
		{&info->base_sha256, {NULL, 0}},
		{&info->adapter_sha256, {NULL, 0}},
		{&info->template_prefix, m->definition.prefix},
		{&info->template_prefix_empty, m->definition.prefix_empty},
		{&info->template_body, m->definition.body},
		{&info->template_suffix, m->definition.suffix},
		{&info->template_suffix_empty, m->definition.suffix_empty}
	};

	IE_TRY(get_shown_text(&m->file, "general.name", &strings[0].text, err));
	IE_TRY(get_shown_text(&m->file, "general.license", &strings[1].text, err));
	IE_TRY(get_shown_text(&m->file, "instemb.base_sha256", &strings[2].text, err));
	IE_TRY(get_shown_text(&m->file, "instemb.adapter_sha256", &strings[3].text, err));
	info->architecture = m->config.arch->name;
	info->pre_type = ie_vocab_pre_type(m->vocab);
	info->pooling = ie_pooling_name(m->definition.pooling);
	return copy_strings(m, strings, IE_LENGTH(strings), err);
}

static void
fill_sizes(ie_model *m)
{
	ie_model_info *info = &m->info;
	uint64_t	n_by_type[IE_TYPE_BF16 + 1] = {0};
	const ie_type_traits *most = ie_type_find(IE_TYPE_F32);

	info->n_vocab = m->config.n_vocab;
	info->n_embd = m->config.n_embd;
	info->n_layer = m->config.n_layer;
	info->n_head = m->config.n_head;
	info->n_head_kv = m->config.n_head_kv;
	info->head_dim = m->config.head_dim;
	info->n_ff = m->config.n_ff;
	info->n_ctx = m->config.n_ctx;
	info->lookahead_count = m->definition.lookahead_count;
	info->file_bytes = m->map.size;
	info->n_params = m->weights.n_packed;
	for (size_t i = 0; i < m->file.n_tensors; i++)
	{
		const gguf_tensor *t = &m->file.tensors[i];
		const uint64_t n = t->data_bytes / t->type->block_bytes * t->type->block_len;

		if (ie_type_is_table(t->type))
			continue;			/* panels, which are counted, or no weights */
		info->n_params += n;
		n_by_type[t->type->type] += n;
		if (n_by_type[t->type->type] > n_by_type[most->type])
			most = t->type;
	}
	if (m->weights.n_packed > n_by_type[most->type])
		most = &ie_type_panels_s8;
	info->quantization = most->name;
}

/* -------------------------------------------------------------------- open */

static ie_code
load(ie_model *m, ie_error *err)
{
	IE_TRY(gguf_parse(m->host, m->map.data, m->map.size, &m->file, err));
	IE_TRY(ie_packed_check(&m->file, err));
	IE_TRY(ie_config_load(&m->file, &m->config, err));
	IE_TRY(ie_weights_bind(m->host, &m->file, &m->config, &m->weights, err));
	IE_TRY(ie_vocab_create(m->host, &m->file, &m->vocab, err));
	IE_TRY(ie_definition_load(&m->file, m->vocab, m->weights.lookahead_count, &m->definition,
							  err));
	if (!m->definition.instruction_behind)
		IE_TRY(ie_vocab_encode_template(m->vocab, m->definition.suffix, NULL, (ie_text) {NULL, 0},
										&m->suffix, err));
	IE_TRY(fill_strings(m, err));
	fill_sizes(m);
	return IE_OK;
}

ie_code
ie_model_open(const ie_host *host, const char *path, ie_model **model, ie_error *err)
{
	ie_model   *m = ie_alloc0(host, sizeof(*m));
	ie_code		code;

	if (m == NULL)
		return ie_nomem(err, sizeof(*m));
	m->host = host;
	code = ie_map_file(path, &m->map, err);
	if (code == IE_OK)
		code = load(m, err);
	if (code != IE_OK)
	{
		ie_model_close(m);
		return code;
	}
	*model = m;
	return IE_OK;
}

void
ie_model_close(ie_model *model)
{
	const ie_host *host;

	if (model == NULL)
		return;
	host = model->host;
	ie_release(host, model->strings);
	ie_release(host, model->suffix.ids);
	ie_vocab_free(model->vocab);
	ie_weights_free(host, &model->weights);
	gguf_free(&model->file);
	ie_unmap_file(&model->map);
	ie_release(host, model);
}

void
ie_model_get_info(const ie_model *model, ie_model_info *info)
{
	*info = model->info;
}

ie_code
ie_model_verify(const ie_model *model, char *hex, ie_error *err)
{
	return ie_verify_body(&model->file, &model->map, hex, err);
}

ie_code
ie_tokenize(const ie_model *model, ie_text text, int32_t **tokens, size_t *n_tokens,
			ie_error *err)
{
	ie_tokens	list = {0};
	const ie_code code = ie_vocab_encode(model->vocab, text, &list, err);

	if (code != IE_OK || list.n == 0)
	{
		ie_release(model->host, list.ids);
		list = (ie_tokens) {0};
	}
	if (code != IE_OK)
		return code;
	*tokens = list.ids;
	*n_tokens = list.n;
	return IE_OK;
}
