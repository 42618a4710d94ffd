# instemb: instruction-conditioned text embeddings inside PostgreSQL
#
## make                build instemb.so and instemb_engine.so
## make install        install the extension               (root; PG_CONFIG=... picks the server)
## make model          fetch the base model, merge the adapter, put both into $SHAREDIR/instemb
## make demo           everything from nothing: packages, build, server, 1,134 products, queries
## make demo-stop      stop the server that the demo left running
## make test           every check there is, from nothing, with a summary line
## make unit           engine unit tests, no server        (SAN=1: ASan + UBSan)
## make sanitize       pg_regress with the extension under ASan and UBSan
## make layers         check the layering of src/ and what the modules link to
## make check-arm      engine unit tests on 64-bit ARM, under qemu
## make installcheck   pg_regress, on the server named by PGHOST or else on a scratch cluster
## make tap            TAP tests                           (PROVE_TESTS=tests/t/001_cancel.pl: one)
## make soak           kill workers and servers, and write, for MINUTES=10; prints the counts
## make majors         build and regress on PostgreSQL 16 and 18, with pgvector
## make measure        print time, memory and cancel figures    (MEASURES=cancel: one of them)
## make deps           install missing packages            (root, apt)
## make uninstall      remove what make install copied; models stay
## make clean          remove what was built
## make help           this list

.DEFAULT_GOAL := all

EXTENSION = instemb
EXTVERSION = 0.3.1
MODULE_big = instemb
PG_CONFIG ?= pg_config
# empty on a machine without PostgreSQL's build files
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))

# ---------------------------------------------------------------- the engine
# Built without PostgreSQL's flags, into a folder per variant.

ENGINE_CC ?= gcc
ENGINE_SRCS = $(wildcard src/base/*.c src/math/*.c src/model/*.c src/train/*.c) src/engine.c
ENGINE_HDRS = $(wildcard src/*.h src/base/*.h src/math/*.h src/model/*.h src/train/*.h src/tools/*.h)
VARIANT = $(if $(SAN),asan,release)
BUILD = build/$(VARIANT)
ENGINE_OBJS = $(ENGINE_SRCS:src/%.c=$(BUILD)/%.o)
ENGINE_OPT = $(if $(SAN),-O1 -fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer,-O2)
comma := ,
ENGINE_CFLAGS = -std=gnu11 -g $(ENGINE_OPT) -fPIC -fvisibility=hidden -ffp-contract=off -pthread \
	-fno-math-errno -fno-trapping-math -Wall -Wextra -Wvla -Wmissing-prototypes -Werror -Isrc

$(BUILD)/%.o: src/%.c $(ENGINE_HDRS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) -c $< -o $@

instemb_engine.so: $(ENGINE_OBJS) src/engine.map
	$(ENGINE_CC) -shared -pthread -Wl,--version-script=src/engine.map \
		$(if $(SAN),$(ENGINE_OPT),-Wl$(comma)--no-undefined) -o $@ $(ENGINE_OBJS) -lm

# ---------------------------------------------------------------- unit tests

UNIT_SRCS = $(wildcard tests/unit/test_*.c)
UNIT_HDRS = $(wildcard tests/unit/*.h)
UNIT_BINS = $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/unit/%)

$(BUILD)/unit/%: tests/unit/%.c $(UNIT_HDRS) $(ENGINE_OBJS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) -Itests/unit $< $(ENGINE_OBJS) -o $@ -lm $(UNIT_LIBS_$*)

unit: $(UNIT_BINS)
	@fail=0; for t in $(UNIT_BINS); do $$t || fail=1; done; exit $$fail

# the checking path: products against OpenBLAS
UNIT_LIBS_test_gemm = -lopenblas

# train-check, bench-train
include tests/unit/train.mk

# programs that set-up needs
$(BUILD)/tools/%: src/tools/%.c $(ENGINE_OBJS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) $< $(ENGINE_OBJS) -o $@ -lm

# fuzz, fuzz-run, valgrind
include tests/fuzz/rules.mk

# golden, golden-regen
include tests/golden/golden.mk

# quality
include tests/quality/quality.mk

# bench, bench-kernels, bench-embed
include tests/bench/rules.mk

# ------------------------------------------------------------- PostgreSQL side
# instemb.so is thin: the SQL face, and of the engine only the vector arithmetic.
# The engine's module is installed beside it and opened at first use.

OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/pg/*.c))) \
	$(BUILD)/math/distance.o $(BUILD)/base/cpu.o
DATA = $(sort $(wildcard sql/instemb--*.sql))
REGRESS = upgrade setup surface embed batch distance tokens model_file bad_input install train trigger \
	statement backfill queue search cluster guc cache planner encoding default_model pgvector teardown
REGRESS_OPTS = --encoding=UTF8 --no-locale
NO_INSTALLCHECK = 1

PG_CPPFLAGS = -Isrc -DINSTEMB_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -std=gnu11 -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-declaration-after-statement $(WERROR) \
	$(if $(SAN),$(ENGINE_OPT))
SHLIB_LINK = -lm -Wl,--version-script=src/pg/exports.map $(if $(SAN),$(ENGINE_OPT))
# the linked engine object has no bitcode, and nothing here gains from inlining
override with_llvm = no

ifneq ($(PGXS),)
include $(PGXS)
PG_REGRESS ?= $(top_builddir)/src/test/regress/pg_regress

installcheck:
	@PG_CONFIG='$(PG_CONFIG)' tests/with-cluster $(PG_REGRESS) --inputdir=. --outputdir=. \
		--bindir='$(bindir)' $(REGRESS_OPTS) $(REGRESS)

all: instemb_engine.so
install: install-engine
install-engine: instemb_engine.so installdirs
	$(INSTALL_SHLIB) instemb_engine.so '$(DESTDIR)$(pkglibdir)/'
uninstall: uninstall-engine
uninstall-engine:
	rm -f '$(DESTDIR)$(pkglibdir)/instemb_engine.so'
$(filter src/pg/%,$(OBJS)): Makefile src/instemb.h $(wildcard src/pg/*.h)
.PHONY: install-engine uninstall-engine
else
all install uninstall installcheck:
	@echo "make $@: PostgreSQL's build files are missing (asked $(PG_CONFIG) --pgxs)." >&2; \
	echo "Run 'make deps' as root, or set PG_CONFIG to the pg_config of a server." >&2; \
	exit 1
endif

# ------------------------------------------------- packages, model, demo, tests
# These run on a bare machine: scripts that call make again once packages are there.

deps:
	@tests/deps

model: $(BUILD)/tools/merge
	@model/fetch "$$($(PG_CONFIG) --sharedir)/instemb" $<

demo:
	@PG_CONFIG='$(PG_CONFIG)' demo/run

demo-stop:
	@tests/cluster stop build/demo

test:
	@PG_CONFIG='$(PG_CONFIG)' tests/run

tap:
	@PG_CONFIG='$(PG_CONFIG)' PROVE_TESTS='$(PROVE_TESTS)' tests/tap

MINUTES = 10
soak:
	@PG_CONFIG='$(PG_CONFIG)' KILLS=$$(($(MINUTES) * 2)) WRITE_SECONDS=$$(($(MINUTES) * 30)) \
		PROVE_FLAGS=-v PROVE_TESTS='tests/t/020_queue_crash.pl tests/t/022_writers.pl' tests/tap

majors:
	@tests/majors

check-arm:
	@tests/arm

measure:
	@PG_CONFIG='$(PG_CONFIG)' tests/with-cluster tests/measure/measure.py $(MEASURES)

sanitize:
	@PG_CONFIG='$(PG_CONFIG)' tests/sanitize asan

layers: $(ENGINE_OBJS) instemb_engine.so $(if $(PGXS),$(MODULE_big).so)
	@tests/layers $(ENGINE_OBJS)

help:
	@sed -n 's/^## //p' $(filter-out /%,$(MAKEFILE_LIST))

clean: clean-build
clean-build: demo-stop
	rm -rf build instemb_engine.so tmp_check results regression.diffs regression.out

.PHONY: unit installcheck deps model demo demo-stop test tap soak majors check-arm measure sanitize layers help clean-build
