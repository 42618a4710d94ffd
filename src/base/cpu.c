/*
 * cpu.c
 *	  Run-time choice of the instruction set.  __builtin_cpu_supports() of gcc
 *	  and clang looks at CPUID and at the state that the operating system saves
 *	  (XGETBV), so a feature it names can be used.
 */
#include "base/cpu.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static const char *const level_names[IE_CPU_N_LEVELS] = {
	"ref", "avx2", "avxvnni", "avx512vnni", "amx", "dotprod"
};

#if defined(__x86_64__)
/* clang 14 does not know this one by name */
static bool
has_f16c(void)
{
	unsigned int eax,
				ebx,
				ecx,
				edx;

	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

/* nor this one; AVX2 beside it vouches for the state that it needs */
static bool
has_avxvnni(void)
{
	unsigned int eax,
				ebx,
				ecx,
				edx;

	return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & (1u << 4)) != 0;
}

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18
#define XCR0_TILES ((1u << 17) | (1u << XFEATURE_XTILEDATA))

/*
 * AMX with 8-bit integers: the processor has it, the operating system saves its
 * registers and lets this process use them (Linux, Documentation/arch/x86/xstate.rst).
 */
static bool
has_amx(void)
{
	unsigned int eax,
				ebx,
				ecx,
				edx,
				xcr0;

	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 ||
		(edx & (1u << 24)) == 0 || (edx & (1u << 25)) == 0)
		return false;
	__asm__ volatile ("xgetbv" : "=a" (xcr0), "=d" (edx) : "c" (0));
	return (xcr0 & XCR0_TILES) == XCR0_TILES &&
		syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

bool
ie_cpu_has(ie_cpu_level_id level)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	switch (level)
	{
		case IE_CPU_AMX:
			return ie_cpu_has(IE_CPU_AVX512VNNI) && has_amx();
		case IE_CPU_AVX512VNNI:
			return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
				__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
				__builtin_cpu_supports("avx512vnni") && ie_cpu_has(IE_CPU_AVX2);
		case IE_CPU_AVXVNNI:
			return has_avxvnni() && ie_cpu_has(IE_CPU_AVX2);
		case IE_CPU_AVX2:
			return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
		default:
			break;
	}
#elif defined(__aarch64__)
	if (level == IE_CPU_DOTPROD)
		return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
	return level == IE_CPU_REF;
}

ie_cpu_level_id
ie_cpu_detect(void)
{
	const char *mask = getenv("INSTEMB_CPU");
	int			top = IE_CPU_N_LEVELS - 1;

	for (int i = 0; mask != NULL && i < IE_CPU_N_LEVELS; i++)
		if (strcmp(mask, level_names[i]) == 0)
			top = i;
	while (top > IE_CPU_REF && !ie_cpu_has((ie_cpu_level_id) top))
		top--;
	return (ie_cpu_level_id) top;
}

const char *
ie_cpu_level_name(ie_cpu_level_id level)
{
	return level_names[level];
}
