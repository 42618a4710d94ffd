/*
 * adapter.c
 *	  Opening an adapter: metadata first, then every tensor is bound to the
 *	  base's tensor it changes, then pairs are completed and values looked at.
 */
#include "model/adapter.h"
#include "model/verify.h"
#include "model/weights.h"

#include <inttypes.h>

/* What a check needs */
typedef struct binder
{
	ie_adapter *adapter;
	const ie_adapter_base *base;
	ie_error   *err;
} binder;

/* The value of a key that must be the text expected; sets *is_equal */
static ie_code
compare_key(const binder *b, const char *key, const char *expected, ie_text *value,
			bool *is_equal)
{
	IE_TRY(gguf_get_text(&b->adapter->file, key, value, NULL, b->err));
	*is_equal = ie_text_is(*value, expected);
	return IE_OK;
}

static ie_code
check_kind(const binder *b)
{
	char		shown[GGUF_SHOWN_SIZE];
	ie_text		type;
	bool		found;
	bool		is_equal;

	IE_TRY(gguf_get_text(&b->adapter->file, "general.type", &type, &found, b->err));
	if (!found || !ie_text_is(type, "adapter"))
	{
		ie_fail(b->err, IE_INVALID, "file is not an adapter");
		return ie_detail(b->err, "Its \"general.type\" is \"%s\", expected \"adapter\".",
						 found ? gguf_show(type, shown) : "");
	}
	IE_TRY(compare_key(b, "adapter.type", "lora", &type, &is_equal));
	if (!is_equal)
	{
		ie_fail(b->err, IE_UNSUPPORTED, "adapter type \"%s\" is not supported",
				gguf_show(type, shown));
		return ie_detail(b->err, "The supported type is \"lora\".");
	}
	return IE_OK;
}

static ie_code
check_version(const binder *b)
{
	uint32_t	version = IE_FORMAT_VERSION;
	bool		found;

	IE_TRY(gguf_get_u32(&b->adapter->file, "instemb.format_version", &version, &found, b->err));
	if (version != IE_FORMAT_VERSION)
	{
		ie_fail(b->err, IE_UNSUPPORTED, "format version %u is not supported", version);
		return ie_detail(b->err, "The supported version is %d.", IE_FORMAT_VERSION);
	}
	return IE_OK;
}

static ie_code
check_base(const binder *b)
{
	char		shown[2][GGUF_SHOWN_SIZE];
	ie_text		ours;
	ie_text		theirs;
	bool		is_equal;

	IE_TRY(gguf_get_text(b->base->file, "general.architecture", &theirs, NULL, b->err));
	IE_TRY(gguf_get_text(&b->adapter->file, "general.architecture", &ours, NULL, b->err));
	if (ie_text_compare(ours, theirs) != 0)
	{
		ie_fail(b->err, IE_INVALID, "adapter belongs to another architecture");
		return ie_detail(b->err, "The adapter is for \"%s\", the base model is \"%s\".",
						 gguf_show(ours, shown[0]), gguf_show(theirs, shown[1]));
	}
	IE_TRY(compare_key(b, "instemb.base_sha256", b->base->sha256, &ours, &is_equal));
	if (is_equal)
		return IE_OK;
	ie_fail(b->err, IE_INVALID, "adapter belongs to another base model");
	ie_detail(b->err, "The adapter was made for a file with SHA-256 %s, the base file has %s.",
			  gguf_show(ours, shown[0]), b->base->sha256);
	return ie_hint(b->err, "Use the very file that the adapter was trained on.");
}

/* --------------------------------------------------------------- tensors */

/* Does name end with suffix?  *stem is what comes before. */
static bool
cut_suffix(ie_text name, const char *suffix, ie_text *stem)
{
	const size_t len = strlen(suffix);

	if (name.len < len || memcmp(name.data + name.len - len, suffix, len) != 0)
		return false;
	*stem = (ie_text) {name.data, name.len - len};
	return true;
}

static ie_code
bind_lookahead(const binder *b, const gguf_tensor *t)
{
	if (t->n_dims != 2 || t->ne[0] != b->base->n_embd)
	{
		ie_fail(b->err, IE_INVALID, "look-ahead vectors do not fit the base model");
		return ie_detail(b->err, "They have %" PRIu64 " dimensions, n_embd of the base is %u.",
						 t->ne[0], b->base->n_embd);
	}
	b->adapter->lookahead = t;
	return IE_OK;
}

/*
 * Bind A or B.  Of A the length of the rows, of B their number is the base
 * tensor's; the rank is compared when both are known.
 */
static ie_code
bind_delta(const binder *b, const gguf_tensor *t, ie_text stem, bool is_a)
{
	const gguf_tensor *target = gguf_find_tensor_text(b->base->file, stem);
	const unsigned dim = is_a ? 0 : 1;
	char		shown[GGUF_SHOWN_SIZE];
	ie_delta   *delta;

	if (target == NULL || ie_text_is(stem, IE_LOOKAHEAD_TENSOR))
		return ie_fail(b->err, IE_INVALID, "the base model has no tensor for \"%s\"",
					   gguf_show(t->name, shown));
	if (target->n_dims != 2 || t->n_dims != 2 || t->ne[dim] != target->ne[dim])
	{
		ie_fail(b->err, IE_INVALID, "shape of tensor \"%s\" does not fit the base model",
				gguf_show(t->name, shown));
		return ie_detail(b->err, "It is [%" PRIu64 ", %" PRIu64 "], the base tensor is [%" PRIu64
						 ", %" PRIu64 "].",
						 t->ne[0], t->ne[1], target->ne[0], target->ne[1]);
	}
	delta = &b->adapter->deltas[target - b->base->file->tensors];
	if (is_a)
		delta->a = t;
	else
		delta->b = t;
	return IE_OK;
}

static bool
is_supported(ie_type type)
{
	return type == IE_TYPE_F32 || type == IE_TYPE_F16 || type == IE_TYPE_BF16 ||
		type == IE_TYPE_Q8_0;
}

static ie_code
bind_tensor(const binder *b, const gguf_tensor *t)
{
	char		shown[GGUF_SHOWN_SIZE];
	ie_text		stem;

	if (!is_supported(t->type->type))
	{
		ie_fail(b->err, IE_UNSUPPORTED,
				"tensor \"%s\" of the adapter has type %s, which is not supported",
				gguf_show(t->name, shown), t->type->name);
		return ie_detail(b->err, "Supported types in adapters are F32, F16, BF16, Q8_0.");
	}
	if (ie_text_is(t->name, IE_LOOKAHEAD_TENSOR))
		IE_TRY(bind_lookahead(b, t));
	else if (cut_suffix(t->name, ".lora_a", &stem))
		IE_TRY(bind_delta(b, t, stem, true));
	else if (cut_suffix(t->name, ".lora_b", &stem))
		IE_TRY(bind_delta(b, t, stem, false));
	else
	{
		ie_fail(b->err, IE_INVALID, "tensor \"%s\" has no meaning in an adapter",
				gguf_show(t->name, shown));
		return ie_detail(b->err, "Names end in \".lora_a\" or \".lora_b\", or are \"%s\".",
						 IE_LOOKAHEAD_TENSOR);
	}
	return ie_verify_finite(b->adapter->host, t, b->err);
}

/* Every A has its B, and they agree on the rank. */
static ie_code
check_pairs(const binder *b)
{
	char		shown[GGUF_SHOWN_SIZE];
	bool		found;

	for (size_t i = 0; i < b->base->file->n_tensors; i++)
	{
		const ie_delta *delta = &b->adapter->deltas[i];
		const ie_text name = b->base->file->tensors[i].name;

		if (delta->a == NULL && delta->b == NULL)
			continue;
		if (delta->a == NULL || delta->b == NULL)
			return ie_fail(b->err, IE_FORMAT, "adapter has \"%s.%s\" without its counterpart",
						   gguf_show(name, shown), delta->a != NULL ? "lora_a" : "lora_b");
		if (delta->a->ne[1] != delta->b->ne[0])
			return ie_fail(b->err, IE_FORMAT, "ranks %" PRIu64 " and %" PRIu64
						   " of the adapter's pair for \"%s\" differ",
						   delta->a->ne[1], delta->b->ne[0], gguf_show(name, shown));
		b->adapter->n_deltas++;
	}
	return gguf_get_f32(&b->adapter->file, "adapter.lora.alpha", &b->adapter->alpha,
						b->adapter->n_deltas > 0 ? NULL : &found, b->err);
}

/* The tensor and the key that counts its rows come together. */
static ie_code
check_lookahead(const binder *b)
{
	const gguf_tensor *t = b->adapter->lookahead;
	uint32_t	count = 0;
	bool		found;

	IE_TRY(gguf_get_u32(&b->adapter->file, "instemb.lookahead_count", &count, &found, b->err));
	if (t == NULL ? count > 0 : t->ne[1] != count)
	{
		ie_fail(b->err, IE_FORMAT, "look-ahead vectors and their count do not agree");
		return ie_detail(b->err, "\"instemb.lookahead_count\" is %u, the file has %" PRIu64
						 " vectors.", count, t != NULL ? t->ne[1] : 0);
	}
	if (count > IE_LOOKAHEAD_MAX)
		return ie_fail(b->err, IE_UNSUPPORTED, "adapter has %u look-ahead vectors, "
					   "at most %d are supported", count, IE_LOOKAHEAD_MAX);
	return IE_OK;
}

static ie_code
bind_all(const binder *b)
{
	ie_adapter *adapter = b->adapter;
	const size_t n_tensors = b->base->file->n_tensors;

	IE_TRY(check_kind(b));
	IE_TRY(check_version(b));
	IE_TRY(check_base(b));
	adapter->deltas = ie_alloc0(adapter->host, n_tensors * sizeof(ie_delta));
	if (adapter->deltas == NULL)
		return ie_nomem(b->err, n_tensors * sizeof(ie_delta));
	for (size_t i = 0; i < adapter->file.n_tensors; i++)
		IE_TRY(bind_tensor(b, &adapter->file.tensors[i]));
	IE_TRY(check_pairs(b));
	return check_lookahead(b);
}

ie_code
ie_adapter_parse(const ie_host *host, const ie_mapping *bytes, const ie_adapter_base *base,
				 ie_adapter *adapter, ie_error *err)
{
	const binder b = {adapter, base, err};
	ie_code		code;

	memset(adapter, 0, sizeof(*adapter));
	adapter->host = host;
	code = gguf_parse(host, bytes->data, bytes->size, &adapter->file, err);
	if (code == IE_OK)
		code = bind_all(&b);
	if (code != IE_OK)
		ie_adapter_close(adapter);
	return code;
}

ie_code
ie_adapter_open(const ie_host *host, const char *path, const ie_adapter_base *base,
				ie_adapter *adapter, ie_error *err)
{
	ie_mapping	map;
	ie_code		code;

	memset(adapter, 0, sizeof(*adapter));
	IE_TRY(ie_map_file(path, &map, err));
	code = ie_adapter_parse(host, &map, base, adapter, err);
	if (code == IE_OK)
		adapter->map = map;
	else
	{
		ie_unmap_file(&map);
		ie_in_file(err, "adapter", path);
	}
	return code;
}

void
ie_adapter_close(ie_adapter *adapter)
{
	ie_release(adapter->host, adapter->deltas);
	gguf_free(&adapter->file);
	ie_unmap_file(&adapter->map);
	memset(adapter, 0, sizeof(*adapter));
}
