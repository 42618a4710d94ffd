# instemb: instruction-conditioned text embeddings inside PostgreSQL
#
#   make            build instemb.so and instemb_engine.so
#   make unit       engine unit tests, no server        (SAN=1: ASan + UBSan)
#   make layers     check the layering of src/

EXTENSION = instemb
EXTVERSION = 0.1.0
MODULE_big = instemb
PG_CONFIG ?= pg_config

# ---------------------------------------------------------------- the engine
# Built without PostgreSQL's flags, into a folder per variant.

ENGINE_CC ?= gcc
ENGINE_SRCS = $(wildcard src/base/*.c src/math/*.c src/model/*.c) src/engine.c
ENGINE_HDRS = $(wildcard src/*.h src/base/*.h src/math/*.h src/model/*.h)
VARIANT = $(if $(SAN),asan,release)
BUILD = build/$(VARIANT)
ENGINE_OBJS = $(ENGINE_SRCS:src/%.c=$(BUILD)/%.o)
ENGINE_OPT = $(if $(SAN),-O1 -fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer,-O2)
comma := ,
ENGINE_CFLAGS = -std=gnu11 -g $(ENGINE_OPT) -fPIC -fvisibility=hidden -ffp-contract=off -fopenmp \
	-fno-math-errno -fno-trapping-math -Wall -Wextra -Wvla -Wmissing-prototypes -Werror -Isrc

$(BUILD)/%.o: src/%.c $(ENGINE_HDRS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) -c $< -o $@

instemb_engine.so: $(ENGINE_OBJS)
	$(ENGINE_CC) -shared -fopenmp -o $@ $^ -Wl,--no-undefined -lm

# ---------------------------------------------------------------- unit tests

UNIT_SRCS = $(wildcard tests/unit/test_*.c)
UNIT_BINS = $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/unit/%)

$(BUILD)/unit/%: tests/unit/%.c tests/unit/test.h $(ENGINE_OBJS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) -Itests/unit $< $(ENGINE_OBJS) -o $@ -lm $(UNIT_LIBS_$*)

unit: $(UNIT_BINS)
	@fail=0; for t in $(UNIT_BINS); do $$t || fail=1; done; exit $$fail

.PHONY: unit
