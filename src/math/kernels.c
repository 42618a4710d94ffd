/*
 * kernels.c
 *	  Choice of a kernel table.
 */
#include "math/kernel_tables.h"

/* A level that ie_cpu_has() has a table in every build */
static const ie_kernels *const tables[IE_CPU_N_LEVELS] = {
	[IE_CPU_REF] = &ie_kernels_ref,
#if defined(__x86_64__)
	[IE_CPU_AVX2] = &ie_kernels_avx2,
	[IE_CPU_AVXVNNI] = &ie_kernels_avxvnni,
	[IE_CPU_AVX512VNNI] = &ie_kernels_avx512,
	[IE_CPU_AMX] = &ie_kernels_amx,
#elif defined(__aarch64__)
	[IE_CPU_DOTPROD] = &ie_kernels_neon,
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
	return tables[ie_cpu_detect()];
}
