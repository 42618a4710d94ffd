/*
 * gguf_write.h
 *	  Writing a GGUF file, version 3, piece by piece and in this order: header,
 *	  the metadata entries and tensor descriptions that it announces, padding,
 *	  then the tensors' data at the offsets described, each behind padding.
 *
 * Nothing is buffered.  Errors: IE_IO.
 */
#ifndef IE_GGUF_WRITE_H
#define IE_GGUF_WRITE_H

#include "base/file.h"
#include "model/gguf.h"

ie_code		gguf_write_header(ie_writer *w, uint64_t n_tensors, uint64_t n_kv, ie_error *err);

/* An entry as gguf_parse() gave it; copying a file's metadata is a loop over this. */
ie_code		gguf_write_kv(ie_writer *w, const gguf_kv *kv, ie_error *err);
ie_code		gguf_write_text(ie_writer *w, const char *key, ie_text value, ie_error *err);
ie_code		gguf_write_u32(ie_writer *w, const char *key, uint32_t value, ie_error *err);

/* Of a tensor only name, type, n_dims, ne and offset are used. */
ie_code		gguf_write_tensor(ie_writer *w, const gguf_tensor *t, ie_error *err);

/* Zeros up to a multiple of alignment, at most GGUF_MAX_ALIGNMENT. */
ie_code		gguf_write_padding(ie_writer *w, size_t alignment, ie_error *err);

#endif							/* IE_GGUF_WRITE_H */
