# What the embeddings are worth: tests/quality.
#
## make quality        evaluate the default model and the baselines on what the tree carries
##                     (EVAL_DIR=FOLDER: on the evaluation sets there, about 25 minutes;
##                     SAMPLE=100: rough, some minutes; MODELS='default minilm', SETS='sgd':
##                     only those; OUT=FOLDER: where table and charts go)

## make finetune       train on 2,000 rows of a domain by instemb_train(), neighbours before and
##                     after; needs EVAL_DIR=FOLDER, some 10 minutes

quality:
	@PG_CONFIG='$(PG_CONFIG)' EVAL_DIR='$(EVAL_DIR)' MODELS='$(MODELS)' SETS='$(SETS)' \
		SAMPLE='$(SAMPLE)' OUT='$(OUT)' tests/quality/run

finetune:
	@PG_CONFIG='$(PG_CONFIG)' EVAL_DIR='$(EVAL_DIR)' tests/quality/run finetune.py

.PHONY: quality finetune
