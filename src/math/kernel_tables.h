/*
 * kernel_tables.h
 *	  What the files of src/math share: the tables that kernels.c chooses from.
 *	  Users include kernels.h.
 */
#ifndef IE_KERNEL_TABLES_H
#define IE_KERNEL_TABLES_H

#include "math/kernels.h"

/* Below this magnitude a block of activations counts as 0: 127 / max stays finite */
#define IE_QUANT_MIN 1e-30f

extern const ie_kernels ie_kernels_ref;

ie_pack		ie_pack_for_ref(const ie_type_traits *type, bool f32);

#endif							/* IE_KERNEL_TABLES_H */
