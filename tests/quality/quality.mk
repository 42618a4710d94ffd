# What the embeddings are worth: tests/quality.
#
## make quality        evaluate the default model and the baselines on what the tree carries
##                     (EVAL_DIR=FOLDER: on the evaluation sets there, about 25 minutes;
##                     SAMPLE=100: rough, some minutes; MODELS='default minilm', SETS='sgd':
##                     only those; OUT=FOLDER: where table and charts go)

quality:
	@PG_CONFIG='$(PG_CONFIG)' EVAL_DIR='$(EVAL_DIR)' MODELS='$(MODELS)' SETS='$(SETS)' \
		SAMPLE='$(SAMPLE)' OUT='$(OUT)' tests/quality/run

.PHONY: quality
