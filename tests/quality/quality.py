"""The evaluation: see README.md's part on quality, and quality.mk.

Reads PGHOST and the like.  Environment: EVAL_DIR, MODELS, SETS, SAMPLE, OUT.
"""
import os
import sys
import time

import numpy as np
import psycopg

import embed
import groups
import report
import sets

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_MODELS = "default", "minilm", "minilm-instruction", "untrained-last", "untrained-mean"
# in this order, and table and charts are written after each
PHASES = (("triplet", "match", "similarity", "labelled", "attribute"), ("retrieval",),
          ("paraphrase",))


def script(conn, name, **settings):
    """Run a file of SQL as one transaction."""
    with open(os.path.join(HERE, name)) as f:
        sql = f.read()
    with conn.transaction():
        for key, value in settings.items():
            conn.execute("SELECT set_config(%s, %s, true)", ["quality." + key, str(value)])
        conn.execute(sql)


def words(name):
    return os.environ.get(name, "").split()


def find_models(conn):
    rows = conn.execute("SELECT name, is_default FROM instemb_models() WHERE error IS NULL")
    installed = dict(rows.fetchall())
    default = next((name for name, is_default in installed.items() if is_default), None)
    known = {
        "minilm": embed.MiniLMModel("minilm", "MiniLM", False),
        "minilm-instruction": embed.MiniLMModel("minilm-instruction", "MiniLM + instruction",
                                                True),
    }
    if default:
        known["default"] = embed.SqlModel("default", default, default,
                                          embed.ALL_KINDS + ("paraphrase",))
        for pooling in ("last", "mean"):
            model = embed.UntrainedModel(pooling, default)
            known[model.name] = model
    for name in installed:
        known.setdefault(name, embed.SqlModel(name, name, name,
                                              embed.ALL_KINDS + ("paraphrase",)))
    wanted = words("MODELS") or DEFAULT_MODELS
    for name in wanted:
        if name not in known:
            sys.exit(f"there is no model {name}; there are: {', '.join(sorted(known))}")
    return [known[name] for name in wanted]


def group_figures(conn, model):
    """5 nearest neighbours and V-measure of every aspect"""
    aspects = conn.execute("SELECT DISTINCT set, aspect FROM labelled ORDER BY 1, 2").fetchall()
    for name, aspect in aspects:
        own = "set = %s AND aspect = %s"
        labels = np.array([r[0] for r in conn.execute(
            "SELECT dense_rank() OVER (ORDER BY label) - 1 FROM labelled"
            f" WHERE {own} ORDER BY text", [name, aspect])])
        e = embed.matrix(conn, model, "SELECT instruction, text, text AS n FROM labelled"
                         f" WHERE {own}", [name, aspect])
        assert len(e) == len(labels)
        n = int(labels.max()) + 1
        if n < 2 or len(e) <= n:
            continue
        figures = {"5nn": groups.nearest_neighbours(e, labels),
                   "v": groups.v_measure(labels, groups.k_means(e, n))}
        for metric, value in figures.items():
            conn.execute("INSERT INTO figure VALUES (%s, 'labelled', %s, %s, 0, %s, %s, %s)",
                         [model.id, name, aspect, metric, value, len(e)])


def crossings(conn, model):
    """Two pairs of aspects: the texts grouped by SQL under the instruction of either, the
    groups held against the labels of both"""
    for name, pair in sets.CROSSED.items():
        there = conn.execute("SELECT count(DISTINCT aspect) FROM labelled WHERE set = %s"
                             " AND aspect = ANY (%s)", [name, list(pair)]).fetchone()[0]
        for under in pair if there == 2 else ():
            own = (f"model = {int(model.id)} AND set = '{name}' AND aspect = '{under}' AND text IN"
                   f" (SELECT text FROM labelled WHERE set = '{name}' AND aspect IN"
                   f" ('{pair[0]}', '{pair[1]}') GROUP BY text HAVING count(*) = 2)")
            source = ("SELECT ARRAY[text::text], e FROM labelled JOIN embedding"
                      f" USING (instruction, text) WHERE {own} ORDER BY text")
            rows = conn.execute(
                "SELECT g.cluster, l.aspect, dense_rank() OVER (PARTITION BY l.aspect ORDER BY"
                " l.label) - 1 FROM instemb_kmeans(%s, (SELECT count(DISTINCT label) FROM labelled"
                " WHERE set = %s AND aspect = %s)::int, 1) g JOIN labelled l"
                " ON l.text = g.key[1]::int AND l.set = %s AND l.aspect = ANY (%s)",
                [source, name, under, name, list(pair)]).fetchall()
            for against in pair:
                groups_, labels = np.array([(g, n) for g, a, n in rows if a == against]).T
                conn.execute("INSERT INTO figure VALUES (%s, 'crossing', %s, %s, 0, %s, %s, %s)",
                             [model.id, name, under, against, groups.v_measure(labels, groups_),
                              len(labels)])


def evaluate(conn, model, kinds):
    if "triplet" in kinds:
        script(conn, "triplet.sql", model=model.id, paraphrased=False)
        script(conn, "metrics.sql", model=model.id)
        group_figures(conn, model)
        crossings(conn, model)
    if "retrieval" in kinds:
        script(conn, "retrieval.sql", model=model.id)
        script(conn, "ndcg.sql", model=model.id, method="instemb%")
    if "paraphrase" in kinds:
        script(conn, "triplet.sql", model=model.id, paraphrased=True)


def default_out(eval_dir, sample):
    """The tree's own docs only for what belongs there: everything, in full"""
    full = eval_dir and not sample and not words("MODELS") and not words("SETS")
    return "docs" if full else "build/quality/out"


def main():
    began = time.time()
    sample = int(os.environ.get("SAMPLE") or 0)
    eval_dir = os.environ.get("EVAL_DIR")
    with psycopg.connect(autocommit=True) as conn:
        # the server may be of an earlier build
        conn.execute("DROP EXTENSION instemb; CREATE EXTENSION instemb")
        script(conn, "schema.sql")
        loader = sets.Loader(conn, eval_dir, words("SETS"), sample)
        loader.load()
        script(conn, "needed.sql")
        conn.execute("ANALYZE")
        script(conn, "lexical.sql")
        script(conn, "ndcg.sql", model="", method="%")
        models = find_models(conn)
        for model in models:
            model.prepare(conn)
        out = os.environ.get("OUT") or default_out(eval_dir, sample)
        for kinds in PHASES:
            for model in models:
                mine = [k for k in kinds if k in model.kinds]
                if mine:
                    model.embed(conn, mine, os.cpu_count())
                    conn.execute("ANALYZE embedding")
                    evaluate(conn, model, mine)
            lines = report.write(conn, models, eval_dir, sample, out, time.time() - began)
    print(f"{time.time() - began:.0f} s; table and charts are in {out}")
    if not eval_dir:
        print("Without EVAL_DIR only what the tree carries was evaluated: icecat_demo.  Skipped:"
              " triplets, answer match, similarity, the other aspect and retrieval sets, and"
              " attribute questions.")
    if sample:
        print(f"A sample of {sample} rows a set: rough figures.")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
