/*
 * merge.h
 *	  Writing base + adapter as one GGUF file, packed or plain.
 *
 * Adapted matrices become W + (alpha / r) B A: see merge_row.h.  A packed file
 * has the matrices of products as panels and the vocabulary as tables: see
 * packed.h.  Other matrices with a delta, in a plain file all, are written as
 * Q8_0, or as F32 where a row is no multiple of 32.  Other tensors are copied
 * byte for byte.  The look-ahead vectors are written as F32.
 *
 * Metadata: the base's, where the adapter has no key instemb.* of the same
 * name; the adapter's instemb.*; in place of both the request's definition; and
 *	  instemb.format_version		IE_FORMAT_VERSION
 *	  instemb.base_sha256			of the base's file
 *	  instemb.adapter_sha256		of the adapter's file, if there is one
 *	  instemb.data_sha256			of the new file from the start of the tensor data on
 * Without an adapter, hashes that the base itself states stay as they are.
 * general.file_type is left out when matrices changed their type.
 */
#ifndef IE_MERGE_H
#define IE_MERGE_H

#include "model/adapter.h"
#include "model/model.h"

typedef struct ie_merge_request
{
	const gguf_file *base;
	const char *base_sha256;
	const ie_adapter *adapter;	/* NULL: none */
	const char *adapter_sha256;
	const ie_metadata *definition;	/* [n_definition <= IE_DEFINITION_MAX] */
	size_t		n_definition;
	const ie_model *model;		/* the base as a model, to write a packed file; NULL: a plain one */
	const char *out_path;		/* must not exist; removed again on failure */
	size_t		max_bytes;		/* limit for scratch memory, 0 = none */
} ie_merge_request;

/*
 * Rows are streamed: scratch is some rows and the largest A, in one allocation.
 *
 * Errors: IE_LIMIT (max_bytes, both numbers in the message, before anything is
 * allocated), IE_NUMERIC (a merged value is not finite, or too large for Q8_0),
 * IE_NOMEM, IE_IO, IE_CANCELED.
 */
ie_code		ie_merge(const ie_host *host, const ie_merge_request *request, ie_error *err);

#endif							/* IE_MERGE_H */
