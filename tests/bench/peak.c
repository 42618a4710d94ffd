/*
 * peak.c
 *	  How many 8-bit multiply-adds a second can each instruction set do?
 *
 *		peak LEVEL [N]			GMAC/s of each of N processes at once (default 1)
 *
 * The instruction, or for AVX2 the three that do its work, on registers only, in
 * as many independent chains as hide its latency: nothing that reads memory can
 * be faster.  LEVEL is a name of ie_cpu_level_name().
 */
#include "base/cpu.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_ROUNDS 2000000L
#define SECONDS 0.5

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

/* Each loop returns the multiply-adds of a round. */
#if defined(__x86_64__)

/* INSTRUCTION on registers 0 .. 11, with multiplicands in 12 and 13 */
#define CHAIN12(op, reg) \
	op " %%" reg "12, %%" reg "13, %%" reg "0\n\t" op " %%" reg "12, %%" reg "13, %%" reg "1\n\t" \
	op " %%" reg "12, %%" reg "13, %%" reg "2\n\t" op " %%" reg "12, %%" reg "13, %%" reg "3\n\t" \
	op " %%" reg "12, %%" reg "13, %%" reg "4\n\t" op " %%" reg "12, %%" reg "13, %%" reg "5\n\t" \
	op " %%" reg "12, %%" reg "13, %%" reg "6\n\t" op " %%" reg "12, %%" reg "13, %%" reg "7\n\t" \
	op " %%" reg "12, %%" reg "13, %%" reg "8\n\t" op " %%" reg "12, %%" reg "13, %%" reg "9\n\t" \
	op " %%" reg "12, %%" reg "13, %%" reg "10\n\t" op " %%" reg "12, %%" reg "13, %%" reg "11\n\t"

/* The bytes' products, pairs of them added, and the accumulator: one of four chains */
#define AVX2_STEP(product, sum) \
	"vpmaddubsw %%ymm12, %%ymm13, %%ymm" product "\n\t" \
	"vpmaddwd %%ymm14, %%ymm" product ", %%ymm" product "\n\t" \
	"vpaddd %%ymm" product ", %%ymm" sum ", %%ymm" sum "\n\t"

#define CLOBBERED "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
	"xmm10", "xmm11", "xmm12", "xmm13", "xmm14"

static double
loop_avx2(void)
{
	for (long i = 0; i < N_ROUNDS; i++)
		__asm__ volatile (AVX2_STEP("0", "6") AVX2_STEP("1", "7") AVX2_STEP("2", "8")
						  AVX2_STEP("3", "9") AVX2_STEP("4", "10") AVX2_STEP("5", "11")
						  : : : CLOBBERED);
	return 6 * 32;
}

static double
loop_avxvnni(void)
{
	for (long i = 0; i < N_ROUNDS; i++)
		__asm__ volatile (CHAIN12("%{vex%} vpdpbusd", "ymm") : : : CLOBBERED);
	return 12 * 32;
}

static double
loop_avx512vnni(void)
{
	for (long i = 0; i < N_ROUNDS; i++)
		__asm__ volatile (CHAIN12("vpdpbusd", "zmm") : : : CLOBBERED);
	return 12 * 64;
}

/* Tiles of 16 x 16 sums over 64 columns, as full as they can be, in four chains */
static double
loop_amx(void)
{
	static const struct
	{
		uint8_t		palette;
		uint8_t		reserved[15];
		uint16_t	row_bytes[16];
		uint8_t		n_rows[16];
	}			config = {1, {0}, {64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16}};

	__asm__ volatile ("ldtilecfg %0" : : "m" (config));
	for (long i = 0; i < N_ROUNDS / 10; i++)
		__asm__ volatile ("tdpbssd %tmm5, %tmm4, %tmm0\n\t" "tdpbssd %tmm5, %tmm4, %tmm1\n\t"
						  "tdpbssd %tmm5, %tmm4, %tmm2\n\t" "tdpbssd %tmm5, %tmm4, %tmm3\n\t");
	__asm__ volatile ("tilerelease");
	return 4.0 * 16 * 16 * 64 / 10;
}

#endif

static const struct
{
	const char *name;
	ie_cpu_level_id level;
	double		(*loop) (void);
}			loops[] =
{
#if defined(__x86_64__)
	{"avx2", IE_CPU_AVX2, loop_avx2},
	{"avxvnni", IE_CPU_AVXVNNI, loop_avxvnni},
	{"avx512vnni", IE_CPU_AVX512VNNI, loop_avx512vnni},
	{"amx", IE_CPU_AMX, loop_amx},
#endif
};

static void
measure(double (*loop) (void))
{
	const double begun = now();
	double		macs = 0;
	double		seconds;

	do
	{
		macs += loop() * N_ROUNDS;
		seconds = now() - begun;
	} while (seconds < SECONDS);
	printf("%.1f\n", macs / seconds * 1e-9);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	const int	n = argc > 2 ? atoi(argv[2]) : 1;

	for (size_t i = 0; argc > 1 && i < sizeof(loops) / sizeof(loops[0]); i++)
		if (strcmp(argv[1], loops[i].name) == 0 && ie_cpu_has(loops[i].level))
		{
			for (int child = 1; child < n; child++)
				if (fork() == 0)
					break;
			measure(loops[i].loop);
			while (wait(NULL) > 0)
				continue;
			return 0;
		}
	fprintf(stderr, "usage: peak LEVEL [N], a level that this machine has\n");
	return 2;
}
