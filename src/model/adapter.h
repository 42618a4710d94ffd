/*
 * adapter.h
 *	  Adapter file: low-rank deltas (LoRA; Hu et al. 2022) of a base model's
 *	  matrices, look-ahead vectors, and a model definition; each may be missing.
 *
 * A GGUF file with
 *	  general.type = "adapter", adapter.type = "lora"
 *	  general.architecture			as the base's
 *	  instemb.base_sha256			SHA-256 of the base's file, 64 hex digits
 *	  adapter.lora.alpha			f32, needed where there are deltas
 *	  instemb.*						definition (definition.h), carried over as it is
 *	  "<tensor>.lora_a"				A: dims [n_in, r]
 *	  "<tensor>.lora_b"				B: dims [r, n_out]
 *	  "instemb.lookahead"			dims [n_embd, K], K = instemb.lookahead_count
 * of types F32, F16, BF16 or Q8_0.  An adapted matrix is W + (alpha / r) B A.
 */
#ifndef IE_ADAPTER_H
#define IE_ADAPTER_H

#include "base/file.h"
#include "model/gguf.h"

#define IE_LOOKAHEAD_MAX 256

/*
 * Version of what instemb.* keys mean, in merged files and adapters
 * (instemb.format_version); 1 where it is not stated.
 */
#define IE_FORMAT_VERSION 1

/* What an adapter is checked against; everything is borrowed while the adapter lives. */
typedef struct ie_adapter_base
{
	const gguf_file *file;
	const char *sha256;			/* of the file, as hex */
	uint32_t	n_embd;
} ie_adapter_base;

/* Of one base tensor; a == NULL: it has none */
typedef struct ie_delta
{
	const gguf_tensor *a;		/* [r, n_in], that is ne = {n_in, r} */
	const gguf_tensor *b;		/* [n_out, r] */
} ie_delta;

typedef struct ie_adapter
{
	const ie_host *host;
	ie_mapping	map;			/* of ie_adapter_open() */
	gguf_file	file;
	float		alpha;
	size_t		n_deltas;
	ie_delta   *deltas;			/* [base file's n_tensors], in its order */
	const gguf_tensor *lookahead;	/* [K, n_embd], or NULL */
} ie_adapter;

/*
 * Open a file, or take bytes from anywhere (they must outlive the adapter), and
 * check all of it, finite values included.  On failure *adapter needs no close.
 *
 * Errors: IE_INVALID (not an adapter; made for another base, with both hashes
 * in the detail; another architecture; a tensor that the base does not have, or
 * has in another shape), IE_UNSUPPORTED (adapter or tensor type, format version),
 * IE_FORMAT (as gguf_parse(); half a pair, ranks that differ, look-ahead count,
 * values that are not finite), IE_IO, IE_NOMEM, IE_CANCELED.  ie_adapter_open()
 * names the file in the message.
 */
ie_code		ie_adapter_open(const ie_host *host, const char *path, const ie_adapter_base *base,
							ie_adapter *adapter, ie_error *err);
ie_code		ie_adapter_parse(const ie_host *host, const ie_mapping *bytes,
							 const ie_adapter_base *base, ie_adapter *adapter, ie_error *err);
void		ie_adapter_close(ie_adapter *adapter);	/* idempotent on a zeroed struct */

/* Rank r of a delta */
static inline size_t
ie_delta_rank(const ie_delta *delta)
{
	return (size_t) delta->a->ne[1];
}

#endif							/* IE_ADAPTER_H */
