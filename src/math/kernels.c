/*
 * kernels.c
 *	  Choice of a kernel table.
 */
#include "math/kernel_tables.h"

static const ie_kernels *const tables[IE_CPU_N_LEVELS] = {
	[IE_CPU_REF] = &ie_kernels_ref,
#if defined(__x86_64__)
	[IE_CPU_AVX2] = &ie_kernels_avx2,
#endif
};

const ie_kernels *
ie_kernels_get(ie_cpu_level_id level)
{
	return ie_cpu_has(level) ? tables[level] : NULL;
}

const ie_kernels *
ie_kernels_select(void)
{
	int			level = ie_cpu_detect();

	while (tables[level] == NULL)
		level--;
	return tables[level];
}
