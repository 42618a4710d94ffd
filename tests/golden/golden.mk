# The engine against an independent reference: reference.py, golden.h.
#
## make golden         hold the default model's embeddings against the carried reference
##                     (GOLDEN_MODEL=FILE: where it is; EVAL_DIR=FOLDER: against texts from
##                     there, reference computed now: minutes, and gigabytes of packages)
## make golden-regen   make the carried reference and the tiny models again

GOLDEN = tests/golden
GOLDEN_NAME = smollm2-135m-instruct
GOLDEN_MODEL ?= $(shell $(PG_CONFIG) --sharedir 2>/dev/null)/instemb/$(GOLDEN_NAME).gguf
GOLDEN_TEXTS ?= 2000

GOLDEN_SRCS = $(GOLDEN)/golden.c $(GOLDEN)/golden_file.c
GOLDEN_CHECK = $(BUILD)/golden/golden_check

$(GOLDEN_CHECK): $(GOLDEN)/golden_check.c $(GOLDEN_SRCS) $(GOLDEN)/golden.h $(ENGINE_OBJS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) $< $(GOLDEN_SRCS) $(ENGINE_OBJS) -o $@ -lm

UNIT_LIBS_test_golden = -I$(GOLDEN) $(GOLDEN_SRCS) -lm
$(BUILD)/unit/test_golden: $(GOLDEN_SRCS) $(GOLDEN)/golden.h

golden: golden-model $(GOLDEN_CHECK) $(if $(EVAL_DIR),golden-eval)
	@$(if $(EVAL_DIR),$(GOLDEN_CHECK) '$(GOLDEN_MODEL)' build/golden/eval.golden,\
		$(GOLDEN_CHECK) '$(GOLDEN_MODEL)' $(GOLDEN)/$(GOLDEN_NAME).golden build/golden/spoiled.gguf)

golden-model:
	@test -r '$(GOLDEN_MODEL)' || { echo "make golden: $(GOLDEN_MODEL) is missing:" \
		"run 'make model', or name the file by GOLDEN_MODEL=FILE" >&2; exit 1; }

# --------------------------------------------------- with Python: reference.py

GOLDEN_VENV = build/golden/venv
GOLDEN_PYTHON ?= $(GOLDEN_VENV)/bin/python
GOLDEN_READY = $(if $(filter $(GOLDEN_VENV)/%,$(GOLDEN_PYTHON)),$(GOLDEN_VENV)/ready)
GOLDEN_RUN = PYTHONDONTWRITEBYTECODE=1 $(GOLDEN_PYTHON)

$(GOLDEN_VENV)/ready: $(GOLDEN)/requirements.txt $(GOLDEN)/requirements-tiny.txt
	python3 -m venv $(GOLDEN_VENV)
	$(GOLDEN_VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

golden-eval: $(GOLDEN_READY) golden-model
	@mkdir -p build/golden
	$(GOLDEN_RUN) $(GOLDEN)/reference.py '$(GOLDEN_MODEL)' build/golden/eval.golden \
		--texts '$(EVAL_DIR)' --limit $(GOLDEN_TEXTS)

golden-regen: $(GOLDEN_READY) golden-model
	$(GOLDEN_RUN) $(GOLDEN)/make_tiny.py
	$(GOLDEN_RUN) $(GOLDEN)/make_texts.py
	for model in $(GOLDEN)/tiny.gguf '$(GOLDEN_MODEL)'; do \
		$(GOLDEN_RUN) $(GOLDEN)/reference.py "$$model" --cross-check || exit 1; done
	for adapter in '' -adapter; do \
		$(GOLDEN_RUN) $(GOLDEN)/reference.py $(GOLDEN)/tiny.gguf $(GOLDEN)/tiny$$adapter.golden \
			$${adapter:+--adapter $(GOLDEN)/tiny-adapter.gguf} --texts $(GOLDEN)/texts.jsonl \
			--limit 50 --trace 40,1 --trace-rows 24 || exit 1; done
	$(GOLDEN_RUN) $(GOLDEN)/reference.py '$(GOLDEN_MODEL)' $(GOLDEN)/$(GOLDEN_NAME).golden \
		--texts $(GOLDEN)/texts.jsonl --trace 200,1 --trace-rows 1

.PHONY: golden golden-model golden-eval golden-regen
