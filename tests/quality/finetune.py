"""A user's own training: see `make finetune` in quality.mk.

2,000 rows of customer support (what does the customer want, in which tone), of which the
default adapter has seen no texts and labels, through instemb_train() from that adapter;
neighbours among unseen texts before and after.  Environment: EVAL_DIR.
"""
import json
import os
import sys
import time

import numpy as np
import psycopg

import groups
import sets

SET, ASPECTS, N_TEXTS = "bitext_support", ("intent", "style"), 1000
ADAPTER = "smollm2-135m-instemb-adapter"
TRAIN = """
SELECT instemb_train('tuned', %s, 'SELECT instruction, body, label FROM row WHERE seen
	ORDER BY text, instruction', steps => 63, batch => 32, lookahead => 4, rank => 32,
	learning_rate => 3e-4, threads => %s, replace => true, options => %s)
"""


def load(conn):
    with open(os.path.join(os.environ["EVAL_DIR"], "../manifest.json")) as f:
        entry = next(e for e in json.load(f) if os.path.basename(e["file"]).startswith(SET))
    rows = [r for r in sets.read_lines(os.path.join(os.environ["EVAL_DIR"], SET + ".jsonl.gz"))
            if all(r["labels"].get(a) is not None for a in ASPECTS)]
    order = np.random.default_rng(sets.SEED).permutation(len(rows))
    conn.execute("DROP TABLE IF EXISTS row; CREATE TABLE row"
                 " (text int, seen bool, aspect text, instruction text, body text, label text)")
    with conn.cursor() as cur, cur.copy("COPY row FROM STDIN") as copy:
        for n, i in enumerate(order):
            for a in ASPECTS:
                copy.write_row((n, n < N_TEXTS, a, entry["instructions"][a], rows[i]["text"],
                                rows[i]["labels"][a]))
    conn.execute("ANALYZE row")


def neighbours(conn, aspect, model):
    """Among the unseen texts: accuracy of the five nearest, V-measure, how many texts"""
    unseen = "FROM row WHERE NOT seen AND aspect = %s"
    own = [label for label, in conn.execute(f"SELECT label {unseen} ORDER BY text", [aspect])]
    e = np.array([e for e, in conn.execute(
        f"SELECT e FROM instemb((SELECT array_agg(body ORDER BY text) {unseen}),"
        f" (SELECT min(instruction) {unseen}), %s) WITH ORDINALITY AS i (e, n) ORDER BY n",
        [aspect, aspect, model])], np.float32)
    names = sorted(set(own))
    labels = np.array([names.index(label) for label in own])
    return (groups.nearest_neighbours(e, labels),
            groups.v_measure(labels, groups.k_means(e, len(names))), len(own))


def main():
    if not os.environ.get("EVAL_DIR"):
        sys.exit("make finetune needs EVAL_DIR=, the folder of the evaluation sets")
    with psycopg.connect(autocommit=True) as conn:
        conn.execute("DROP EXTENSION IF EXISTS instemb; CREATE EXTENSION instemb")
        conn.execute("SELECT instemb_version()")		# loads the library, and its parameters
        base, = conn.execute("SELECT name FROM instemb_models() WHERE name ~ 'instruct$'"
                             " AND error IS NULL").fetchone()
        load(conn)
        before = {a: neighbours(conn, a, "smollm2-135m-instemb") for a in ASPECTS}
        began = time.time()
        conn.execute(TRAIN, [base, os.cpu_count(), json.dumps({"adapter": ADAPTER})])
        minutes = (time.time() - began) / 60
        print(f"{2 * N_TEXTS} rows of {SET}, 63 steps of 32: {minutes:.1f} minutes on"
              f" {os.cpu_count()} processors")
        for a in ASPECTS:
            after = neighbours(conn, a, "tuned")
            print(f"{a}, {after[2]} unseen texts: five nearest {before[a][0]:.3f} before,"
                  f" {after[0]:.3f} after; V-measure {before[a][1]:.3f}, {after[1]:.3f}")


if __name__ == "__main__":
    main()
