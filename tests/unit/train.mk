# The trainer's tests, and what a step costs.
#
## make train-check    the trainer: gradients by differences and by torch, its loss curve, resuming
## make bench-train    what a step of training costs  (MODEL=file, THREADS=2; TRAIN='32 100 5 2000':
##                     rows, positions of each, steps, megabytes)

# training in double, where gradients can be told from finite differences
DOUBLE_OBJS = $(patsubst src/%.c,$(BUILD)/double/%.o,$(wildcard src/train/*.c)) \
	$(filter-out $(BUILD)/train/%,$(ENGINE_OBJS))

$(BUILD)/double/%.o: src/%.c $(ENGINE_HDRS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) -DIE_TRAIN_DOUBLE -c $< -o $@

$(BUILD)/unit/test_train_gradient: tests/unit/test_train_gradient.c $(UNIT_HDRS) $(DOUBLE_OBJS)
	@mkdir -p $(@D)
	$(ENGINE_CC) $(ENGINE_CFLAGS) -DIE_TRAIN_DOUBLE -Itests/unit $< $(DOUBLE_OBJS) -o $@ -lm

TRAIN_BINS = $(filter $(BUILD)/unit/test_train%,$(UNIT_BINS))

train-check: $(TRAIN_BINS)
	@fail=0; for t in $(TRAIN_BINS); do $$t || fail=1; done; exit $$fail

bench-train: $(BUILD)/bench/bench_train
	@$< '$(or $(MODEL),$(GOLDEN_MODEL))' $(or $(THREADS),2) $(TRAIN)

.PHONY: train-check bench-train
