# Speed: bench_kernels.c, bench_embed.c, and against llama.cpp and pgvector: bench.py.
#
## make bench          speed against llama.cpp and pgvector, into tests/bench/RESULTS.md and the
##                     README  (PARTS='peer speed': some parts, QUICK=1: one round)
## make bench-kernels  speed of matrix products at each level of the machine
## make bench-embed    what an embedding costs in the engine  (MODEL=file, THREADS=2)

BENCH_BINS = $(BUILD)/bench/peak $(BUILD)/bench/bench_parts $(BUILD)/bench/bench_embed

$(BUILD)/bench/%: tests/bench/%.c $(ENGINE_OBJS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) $< $(ENGINE_OBJS) -o $@ -lm

bench: all $(BENCH_BINS) golden-model
	@BENCH_MODEL='$(GOLDEN_MODEL)' BENCH_BIN='$(BUILD)/bench' \
		PG_CONFIG='$(PG_CONFIG)' QUICK='$(QUICK)' tests/bench/run $(PARTS)

# TYPE=Q8_0 for other weights, THREADS=2 for one number of threads
bench-kernels: $(BUILD)/bench/bench_kernels
	@$< $(or $(TYPE),Q4_1) $(THREADS)

bench-embed: $(BUILD)/bench/bench_embed
	@$< '$(or $(MODEL),$(GOLDEN_MODEL))' $(or $(THREADS),1)

.PHONY: bench bench-kernels bench-embed
