/*
 * definition.c
 *	  Template and pooling of a model: see definition.h.
 */
#include "model/definition.h"
#include "model/unicode.h"

#define TEXT(literal) {literal, sizeof(literal) - 1}

static const char *const pooling_names[] = {
	"last", "mean", "lookahead", "daap", "generate", "generate_mean"
};

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

bool
ie_pooling_generates(ie_pooling pooling)
{
	return pooling == IE_POOL_GENERATE || pooling == IE_POOL_GENERATE_MEAN;
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

/*
 * Text in UTF-8 without placeholders but the allowed one (NULL = none), which is
 * counted in *n.
 */
static ie_code
check_template(const char *key, ie_text text, const char *allowed, size_t *n, ie_error *err)
{
	if (memchr(text.data, '\0', text.len) != NULL ||
		ie_utf8_check(text.data, 0, text.len, text.len) != text.len)
		return ie_fail(err, IE_FORMAT, "metadata key \"%s\" is not text in UTF-8", key);
	for (size_t pos = 0; pos < text.len; pos++)
	{
		const ie_text name = {text.data + pos, placeholder_len(text, pos)};
		char		shown[GGUF_SHOWN_SIZE];

		if (name.len == 0)
			continue;
		if (allowed == NULL || !ie_text_is(name, allowed))
			return ie_fail(err, IE_FORMAT, "metadata key \"%s\" has no use for the placeholder %s",
						   key, gguf_show(name, shown));
		*n += 1;
	}
	return IE_OK;
}

static ie_code
missing_key(const char *key, ie_error *err)
{
	return ie_fail(err, IE_FORMAT, "metadata key \"%s\" is missing", key);
}

#define PREFIX_KEY "instemb.template.prefix"
#define PREFIX_EMPTY_KEY "instemb.template.prefix_empty"
#define BODY_KEY "instemb.template.body"
#define SUFFIX_KEY "instemb.template.suffix"
#define SUFFIX_EMPTY_KEY "instemb.template.suffix_empty"

/* Before and behind the text: where the file says nothing, as the chat family has it */
static ie_code
load_frame(const gguf_file *file, const ie_vocab *vocab, ie_definition *d, ie_error *err)
{
	static const char *const keys[] = {PREFIX_KEY, PREFIX_EMPTY_KEY, SUFFIX_KEY};
	ie_text    *const texts[] = {&d->prefix, &d->prefix_empty, &d->suffix};
	const chat_family *family = find_family(vocab);
	const char *missing = NULL;
	size_t		n_found = 0;
	size_t		n_in_suffix = 0;
	size_t		n = 0;
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
		missing_key(missing, err);
		return ie_detail(err, "A file states %s, %s and %s together, or none of them.",
						 keys[0], keys[1], keys[2]);
	}
	d->suffix_empty = d->suffix;
	IE_TRY(gguf_get_text(file, SUFFIX_EMPTY_KEY, &d->suffix_empty, &found, err));

	IE_TRY(check_template(PREFIX_KEY, d->prefix, "{instruction}", &n, err));
	IE_TRY(check_template(SUFFIX_KEY, d->suffix, "{instruction}", &n_in_suffix, err));
	if (n + n_in_suffix != 1)
		return ie_fail(err, IE_FORMAT, "metadata keys \"%s\" and \"%s\" must contain {instruction} "
					   "exactly once", PREFIX_KEY, SUFFIX_KEY);
	d->instruction_behind = n_in_suffix > 0;
	if (d->instruction_behind && !found)
	{
		missing_key(SUFFIX_EMPTY_KEY, err);
		return ie_detail(err, "It takes the place of a suffix with {instruction} where the "
						 "instruction is empty.");
	}
	IE_TRY(check_template(PREFIX_EMPTY_KEY, d->prefix_empty, NULL, &n, err));
	return check_template(SUFFIX_EMPTY_KEY, d->suffix_empty, NULL, &n, err);
}

static ie_code
load_body(const gguf_file *file, ie_definition *d, ie_error *err)
{
	static const char input[] = "{input}";
	const size_t input_len = sizeof(input) - 1;
	size_t		n = 0;
	bool		found;

	d->body = (ie_text) {input, input_len};
	IE_TRY(gguf_get_text(file, BODY_KEY, &d->body, &found, err));
	IE_TRY(check_template(BODY_KEY, d->body, input, &n, err));
	if (n != 1)
		return ie_fail(err, IE_FORMAT, "metadata key \"%s\" must contain %s exactly once",
					   BODY_KEY, input);
	if (memcmp(d->body.data + d->body.len - input_len, input, input_len) != 0)
	{
		ie_fail(err, IE_FORMAT, "metadata key \"%s\" must end with %s", BODY_KEY, input);
		return ie_detail(err, "What follows the text belongs to %s.", SUFFIX_KEY);
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
	return ie_detail(err, "Supported poolings: last, mean, lookahead, daap, generate, "
					 "generate_mean.");
}

static ie_code
load_generate_count(const gguf_file *file, ie_definition *d, ie_error *err)
{
	bool		found;

	d->generate_count = 3;		/* as InBedder has it */
	IE_TRY(gguf_get_u32(file, "instemb.generate_count", &d->generate_count, &found, err));
	if (d->generate_count < 1 || d->generate_count > IE_GENERATE_MAX)
		return ie_fail(err, IE_FORMAT, "metadata key \"instemb.generate_count\" is %u, 1 to %d are "
					   "allowed", d->generate_count, IE_GENERATE_MAX);
	return IE_OK;
}

ie_code
ie_definition_load(const gguf_file *file, const ie_vocab *vocab, uint32_t lookahead_rows,
				   ie_definition *definition, ie_error *err)
{
	ie_definition d;
	bool		found;

	IE_TRY(load_frame(file, vocab, &d, err));
	IE_TRY(load_body(file, &d, err));
	IE_TRY(load_pooling(file, &d, err));
	IE_TRY(load_generate_count(file, &d, err));
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
