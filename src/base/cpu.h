/*
 * cpu.h
 *	  What the processor and the operating system offer, and the mask that
 *	  tests put over it.
 */
#ifndef IE_CPU_H
#define IE_CPU_H

#include <stdbool.h>

/*
 * Levels are ordered by speed.  A machine may lack one below another that it
 * has: AVX-512 VNNI is older than AVX-VNNI.  Each has every feature that its
 * kernels' target() attribute names.
 */
typedef enum ie_cpu_level_id
{
	IE_CPU_REF = 0,				/* portable C, the definition */
	IE_CPU_AVX2,				/* AVX2 + FMA + F16C */
	IE_CPU_AVXVNNI,				/* and AVX-VNNI, on 256 bits */
	IE_CPU_AVX512VNNI,			/* AVX-512 F, BW, DQ, VL, VNNI */
	IE_CPU_AMX,					/* and AMX tiles of 8-bit integers */
	IE_CPU_DOTPROD,				/* ARMv8.2 Advanced SIMD with SDOT */
	IE_CPU_N_LEVELS
} ie_cpu_level_id;

/*
 * The highest level that the machine has, at most the one named by the
 * environment variable INSTEMB_CPU (ref, avx2, avxvnni, avx512vnni, amx,
 * dotprod) when that is set.
 * An unknown name is ignored.  Cheap, without state: callers keep the result.
 */
ie_cpu_level_id ie_cpu_detect(void);

/*
 * Does the machine have this level?  The environment variable does not count.
 * AMX is asked of the operating system, for this process and its children: they
 * have 8 kB more to save where a thread is stopped with tiles in use.
 */
bool		ie_cpu_has(ie_cpu_level_id level);

const char *ie_cpu_level_name(ie_cpu_level_id level);

#endif							/* IE_CPU_H */
