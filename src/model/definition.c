/*
 * definition.c
 *	  Template and pooling of a model: see definition.h.
 */
#include "model/definition.h"
#include "model/unicode.h"

#define TEXT(literal) {literal, sizeof(literal) - 1}

static const char *const pooling_names[] = {"last", "mean", "lookahead", "daap"};

/* Templates of files that state none, by the first row whose control tokens exist */
typedef struct chat_family
{
	ie_text		control[2];		/* len 0 = nothing asked for */
	ie_text		prefix;
	ie_text		prefix_empty;
	ie_text		suffix;
} chat_family;

static const chat_family families[] = {
	/* ChatML: SmolLM, Qwen */
	{
		{TEXT("<|im_start|>"), TEXT("<|im_end|>")},
		TEXT("<|im_start|>user\n{instruction}\n\n"),
		TEXT("<|im_start|>user\n"),
		TEXT("<|im_end|>\n<|im_start|>assistant\n")
	},
	/* Llama 3 */
	{
		{TEXT("<|start_header_id|>"), TEXT("<|end_header_id|>")},
		TEXT("<|start_header_id|>user<|end_header_id|>\n\n{instruction}\n\n"),
		TEXT("<|start_header_id|>user<|end_header_id|>\n\n"),
		TEXT("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")
	},
	/* no chat model */
	{
		{{NULL, 0}, {NULL, 0}},
		TEXT("{instruction}\n\n"),
		TEXT(""),
		TEXT("\n")
	},
};

const char *
ie_pooling_name(ie_pooling pooling)
{
	return pooling_names[pooling];
}

static bool
has_control(const ie_vocab *vocab, ie_text token)
{
	int32_t		id;

	if (token.len == 0)
		return true;
	id = ie_vocab_find(vocab, token);
	return id >= 0 && ie_vocab_is_control(vocab, id);
}

static const chat_family *
find_family(const ie_vocab *vocab)
{
	const chat_family *f = families;

	while (!has_control(vocab, f->control[0]) || !has_control(vocab, f->control[1]))
		f++;					/* ends at the last row, which asks for nothing */
	return f;
}

/*
 * Length of the placeholder that starts at text[pos], braces included; 0 if
 * none does.
 */
static size_t
placeholder_len(ie_text text, size_t pos)
{
	size_t		end = pos + 1;

	if (text.data[pos] != '{')
		return 0;
	while (end < text.len &&
		   ((text.data[end] >= 'a' && text.data[end] <= 'z') || text.data[end] == '_'))
		end++;
	return end > pos + 1 && end < text.len && text.data[end] == '}' ? end + 1 - pos : 0;
}

/* wanted: the placeholder that must stand there exactly once, NULL = none may */
static ie_code
check_template(const char *key, ie_text text, const char *wanted, ie_error *err)
{
	size_t		n_wanted = 0;

	if (memchr(text.data, '\0', text.len) != NULL ||
		ie_utf8_check(text.data, 0, text.len, text.len) != text.len)
		return ie_fail(err, IE_FORMAT, "metadata key \"%s\" is not text in UTF-8", key);
	for (size_t pos = 0; pos < text.len; pos++)
	{
		const ie_text name = {text.data + pos, placeholder_len(text, pos)};
		char		shown[GGUF_SHOWN_SIZE];

		if (name.len == 0)
			continue;
		if (wanted == NULL || !ie_text_is(name, wanted))
			return ie_fail(err, IE_FORMAT, "metadata key \"%s\" has no use for the placeholder %s",
						   key, gguf_show(name, shown));
		n_wanted++;
	}
	if (wanted != NULL && n_wanted != 1)
		return ie_fail(err, IE_FORMAT, "metadata key \"%s\" must contain %s exactly once",
					   key, wanted);
	return IE_OK;
}

static ie_code
load_template(const gguf_file *file, const ie_vocab *vocab, ie_definition *d, ie_error *err)
{
	static const char *const keys[] = {
		"instemb.template.prefix", "instemb.template.prefix_empty", "instemb.template.suffix"
	};
	static const char body_key[] = "instemb.template.body";
	static const char input[] = "{input}";
	const size_t input_len = sizeof(input) - 1;
	ie_text    *const texts[] = {&d->prefix, &d->prefix_empty, &d->suffix};
	const chat_family *family = find_family(vocab);
	const char *missing = NULL;
	size_t		n_found = 0;
	bool		found;

	d->prefix = family->prefix;
	d->prefix_empty = family->prefix_empty;
	d->suffix = family->suffix;
	for (size_t i = 0; i < IE_LENGTH(keys); i++)
	{
		IE_TRY(gguf_get_text(file, keys[i], texts[i], &found, err));
		n_found += found;
		if (!found)
			missing = keys[i];
	}
	if (n_found > 0 && missing != NULL)
	{
		ie_fail(err, IE_FORMAT, "metadata key \"%s\" is missing", missing);
		return ie_detail(err, "A file states %s, %s and %s together, or none of them.",
						 keys[0], keys[1], keys[2]);
	}
	d->body = (ie_text) {input, input_len};
	IE_TRY(gguf_get_text(file, body_key, &d->body, &found, err));

	IE_TRY(check_template(keys[0], d->prefix, "{instruction}", err));
	IE_TRY(check_template(keys[1], d->prefix_empty, NULL, err));
	IE_TRY(check_template(body_key, d->body, input, err));
	IE_TRY(check_template(keys[2], d->suffix, NULL, err));
	if (memcmp(d->body.data + d->body.len - input_len, input, input_len) != 0)
	{
		ie_fail(err, IE_FORMAT, "metadata key \"%s\" must end with %s", body_key, input);
		return ie_detail(err, "What follows the text belongs to %s.", keys[2]);
	}
	return IE_OK;
}

static ie_code
load_pooling(const gguf_file *file, ie_definition *d, ie_error *err)
{
	ie_text		name = {NULL, 0};
	char		shown[GGUF_SHOWN_SIZE];
	bool		found;

	d->pooling = IE_POOL_LAST;
	IE_TRY(gguf_get_text(file, "instemb.pooling", &name, &found, err));
	if (!found)
		return IE_OK;
	for (size_t i = 0; i < IE_LENGTH(pooling_names); i++)
		if (ie_text_is(name, pooling_names[i]))
		{
			d->pooling = (ie_pooling) i;
			return IE_OK;
		}
	ie_fail(err, IE_UNSUPPORTED, "pooling \"%s\" is not supported", gguf_show(name, shown));
	return ie_detail(err, "Supported poolings: %s, %s, %s, %s.", pooling_names[0],
					 pooling_names[1], pooling_names[2], pooling_names[3]);
}

ie_code
ie_definition_load(const gguf_file *file, const ie_vocab *vocab, uint32_t lookahead_rows,
				   ie_definition *definition, ie_error *err)
{
	ie_definition d;
	bool		found;

	IE_TRY(load_template(file, vocab, &d, err));
	IE_TRY(load_pooling(file, &d, err));
	d.lookahead_count = lookahead_rows;
	IE_TRY(gguf_get_u32(file, "instemb.lookahead_count", &d.lookahead_count, &found, err));
	if (d.lookahead_count != lookahead_rows)
	{
		ie_fail(err, IE_FORMAT, "number of look-ahead vectors is inconsistent");
		return ie_detail(err, "Metadata key \"instemb.lookahead_count\" is %u, "
						 "and tensor \"instemb.lookahead\" has %u rows.",
						 d.lookahead_count, lookahead_rows);
	}
	if (lookahead_rows == 0 && (d.pooling == IE_POOL_LOOKAHEAD || d.pooling == IE_POOL_DAAP))
		return ie_fail(err, IE_FORMAT, "pooling \"%s\" needs look-ahead vectors, the file has none",
					   pooling_names[d.pooling]);
	*definition = d;
	return IE_OK;
}
