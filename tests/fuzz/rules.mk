# Fuzzing and memory checkers.  Corpora: tests/fuzz/corpus/NAME for fuzz_NAME.c.
#
## make fuzz           replay the fuzz corpora under ASan and UBSan
## make fuzz-run       fuzz live with libFuzzer, by clang  (FUZZ=gguf SECONDS=600); new inputs
##                     go to build/fuzz/corpus/NAME, findings to build/fuzz/crash-*
## make fuzz-minimize  rewrite a corpus as a small set with the coverage of all that was found
## make valgrind       unit tests under valgrind

FUZZ_NAMES = $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_BINS = $(FUZZ_NAMES:%=$(BUILD)/fuzz/fuzz_%)
FUZZ ?= gguf
SECONDS ?= 600

FUZZ_HDRS = tests/fuzz/fuzz.h $(UNIT_HDRS)

$(BUILD)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/driver.c $(FUZZ_HDRS) $(ENGINE_OBJS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) -Itests/unit $< tests/fuzz/driver.c $(ENGINE_OBJS) -o $@ -lm

fuzz fuzz-replay:
	@$(MAKE) --no-print-directory SAN=1 fuzz-replay-asan

fuzz-replay-asan: $(FUZZ_BINS)
	@fail=0; for n in $(FUZZ_NAMES); do \
		$(BUILD)/fuzz/fuzz_$$n tests/fuzz/corpus/$$n || { echo "FAILED fuzz_$$n"; fail=1; }; \
	done; exit $$fail

# libFuzzer needs clang, which may not know every CPU feature by name: only the portable
# kernels are used, and serial.c stands in for parallel.c.
FUZZ_CC ?= $(firstword $(foreach c,clang clang-19 clang-18 clang-17 clang-16 clang-15 clang-14,\
	$(shell command -v $(c))))
FUZZ_CFLAGS = -std=gnu11 -g -O1 -fno-omit-frame-pointer -ffp-contract=off -fno-math-errno \
	-fno-trapping-math -Isrc -Itests/unit
FUZZ_SAN = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fsanitize=fuzzer
FUZZ_SAN_OBJ = $(FUZZ_SAN)-no-link
FUZZ_OBJS = $(patsubst src/%.c,build/fuzz/%.o,$(filter-out src/base/parallel.c,$(ENGINE_SRCS)))

build/fuzz/base/cpu.o: FUZZ_CFLAGS += -D'__builtin_cpu_supports(feature)=0'
# never run here, and slow to compile with checks
build/fuzz/math/%_avx2.o: FUZZ_SAN_OBJ =
build/fuzz/math/%_avx512.o: FUZZ_SAN_OBJ =

build/fuzz/%.o: src/%.c $(ENGINE_HDRS)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) $(FUZZ_SAN_OBJ) -c $< -o $@

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/serial.c $(FUZZ_HDRS) $(FUZZ_OBJS)
	$(FUZZ_CC) $(FUZZ_CFLAGS) $(FUZZ_SAN) $< tests/fuzz/serial.c $(FUZZ_OBJS) -o $@ -lm

fuzz-run: build/fuzz/fuzz_$(FUZZ)
	@mkdir -p build/fuzz/corpus/$(FUZZ)
	build/fuzz/fuzz_$(FUZZ) -max_total_time=$(SECONDS) -workers=0 -print_final_stats=1 -timeout=10 \
		-artifact_prefix=build/fuzz/ build/fuzz/corpus/$(FUZZ) tests/fuzz/corpus/$(FUZZ)

fuzz-minimize: build/fuzz/fuzz_$(FUZZ)
	@rm -rf build/fuzz/minimal/$(FUZZ)
	@mkdir -p build/fuzz/minimal/$(FUZZ) build/fuzz/corpus/$(FUZZ)
	build/fuzz/fuzz_$(FUZZ) -set_cover_merge=1 -use_counters=0 build/fuzz/minimal/$(FUZZ) \
		tests/fuzz/corpus/$(FUZZ) build/fuzz/corpus/$(FUZZ)
	rm -rf tests/fuzz/corpus/$(FUZZ)
	mv build/fuzz/minimal/$(FUZZ) tests/fuzz/corpus/$(FUZZ)

.PHONY: fuzz fuzz-replay fuzz-replay-asan fuzz-run fuzz-minimize

# valgrind knows no AVX-512; test_parallel looks at signal masks, which it changes
VALGRIND_BINS = $(filter-out %/test_parallel,$(UNIT_BINS))
VALGRIND = valgrind -q --error-exitcode=1 --leak-check=full --suppressions=tests/valgrind.supp

valgrind: $(VALGRIND_BINS)
	@fail=0; for t in $(VALGRIND_BINS); do \
		INSTEMB_CPU=avx2 $(VALGRIND) $$t || { echo "FAILED $$t under valgrind"; fail=1; }; \
	done; exit $$fail

.PHONY: valgrind
