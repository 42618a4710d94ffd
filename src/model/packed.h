/*
 * packed.h
 *	  The packed model file: what ie_install() writes and all backends map.
 *
 * It is a GGUF file, version 3, that any tool can list, with a layout of its own
 * in these places:
 *
 *	  instemb.packed.version	IE_PACKED_VERSION
 *	  instemb.packed.panels		IE_PANEL_LAYOUT of kernels.h
 *	  instemb.data_sha256		as in every installed file; here it is required
 *	  general.alignment			IE_PACKED_ALIGNMENT
 *
 *	  matrices of products		I8 [panel's bytes, panels] instead of [n_in, n_out]: the
 *								rows as Q8_0, packed as S8 panels, with fp32 scales
 *	  instemb.vocab.*			the vocabulary's tables, ready to use, instead of
 *								tokenizer.ggml.tokens and .merges: see vocab_map.c
 *
 * So nothing is packed in a pass, nothing is built when the file is opened, and
 * what is read is shared by all backends.  Results have the same bits as with
 * the same numbers as rows of Q8_0.  The table of token embeddings, a separate
 * vocabulary head and matrices whose rows are no whole blocks stay rows of the
 * base's type (or of Q8_0 where an adapter changed them), norms stay F32.
 *
 * One scale for 32 columns of a row, as in Q8_0, costs a ninth of the file.  One
 * for the whole row would do for the accuracy asked for (cosine >= 0.998), but
 * err twice as much: against the weights of the default model's base, in fp32
 * over 300 texts, 1 - cosine is 3.7e-4 in the mean instead of 1.6e-4.
 *
 * A file of another version is refused; so is one whose tables point outside of
 * each other.  Bodies are compared with their checksum at installation and by
 * ie_model_verify().
 */
#ifndef IE_PACKED_H
#define IE_PACKED_H

#include "model/gguf.h"

/* To be raised when the format changes, also the hashes in the vocabulary's tables */
#define IE_PACKED_VERSION 1
#define IE_PACKED_ALIGNMENT 64

#define IE_PACKED_VERSION_KEY "instemb.packed.version"
#define IE_PACKED_PANELS_KEY "instemb.packed.panels"
#define IE_DATA_SHA256_KEY "instemb.data_sha256"

bool		ie_is_packed(const gguf_file *file);

/*
 * Is a file that is packed one that this engine reads?  Plain files pass.
 * Errors: IE_UNSUPPORTED (another version, with a hint), IE_FORMAT (no checksum).
 */
ie_code		ie_packed_check(const gguf_file *file, ie_error *err);

#endif							/* IE_PACKED_H */
