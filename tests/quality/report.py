"""Table, charts and verdicts from the table "figure"."""
import os
import re

import numpy as np

import charts
import embed
import groups
import sets
from sets import CROSSED, TRIPLETS

BASELINES = ("minilm", "minilm-instruction")
# in the order of sets.PARAPHRASES
WORDINGS = {"development": range(1, 6), "held out": range(6, 11)}


def mean(values):
    values = [v for v in values if v is not None]
    return float(np.mean(values)) if values else None


def harmonic(values):
    if any(v is None for v in values) or not values:
        return None
    return len(values) / sum(1 / v for v in values) if all(values) else 0.0


def show(value, digits=3):
    return "–" if value is None else f"{value:.{digits}f}"


class Figures:
    """get(model, task, set, aspect, metric): a figure, or None where there is none"""

    def __init__(self, conn, models):
        name = {m.id: m.name for m in models}
        self.value, self.rows = {}, {}
        for model, task, set_, aspect, wording, metric, value, n in conn.execute(
                "SELECT * FROM figure WHERE model = ANY (%s) OR model IS NULL ORDER BY set, aspect",
                [list(name)]):
            key = task, set_, aspect, metric, wording
            self.value[name.get(model), *key] = value
            self.rows[key] = n

    def get(self, model, task, set_, aspect, metric, wording=0):
        return self.value.get((model, task, set_, aspect, metric, wording))

    def aspects(self, task, set_=None):
        """(set, aspect) of a task"""
        return list(dict.fromkeys((k[1], k[2]) for k in self.rows
                                  if k[0] == task and k[4] == 0 and set_ in (None, k[1])))

    def over(self, model, task, metric, set_=None):
        return mean(self.get(model, task, s, a, metric) for s, a in self.aspects(task, set_))

    # ------------------------------------------------------------ the measures

    def triplets(self, model):
        means = [self.over(model, "triplet", "accuracy", s) for s in TRIPLETS]
        return None if any(m is None for m in means) else mean(means)

    def above(self, model, metric):
        """(aspects above both baselines, aspects)"""
        won, all_ = 0, 0
        for s, a in self.aspects("labelled"):
            own = self.get(model, "labelled", s, a, metric)
            theirs = [self.get(b, "labelled", s, a, metric) for b in BASELINES]
            if own is not None and None not in theirs:
                all_ += 1
                won += own > max(theirs)
        return won, all_

    def spread(self, model, wordings):
        """over these paraphrases of each instruction: mean range, largest range, mean deviation"""
        each = [[self.get(model, "triplet", s, a, "accuracy", w) for w in wordings]
                for s, a in self.aspects("triplet")]
        each = np.array([e for e in each if None not in e])
        if not len(each):
            return None
        return np.ptp(each, axis=1).mean(), np.ptp(each, axis=1).max(), each.std(axis=1).mean()


class Lexical:
    """The figures that the data's README states: get(set, aspect, kind)"""

    KINDS = {"jaccard_accuracy": "triplet", "bm25_5nn_accuracy": "5nn"}

    def __init__(self, eval_dir):
        self.value = {}
        path = os.path.join(eval_dir, "../README.md") if eval_dir else ""
        for line in open(path) if os.path.isfile(path) else ():
            head = re.match(r"\| `eval/(\w+)", line)
            if not head:
                continue
            name = head[1].removesuffix("_triplet")
            for kind, figure in re.findall(r"(bm25_ndcg@10(?:_judged_only)?"
                                           r"|term_frequency_accuracy): ([\d.]+)", line):
                self.value[name, None, kind] = float(figure)
            for kind, body in re.findall(r"(jaccard_accuracy|bm25_5nn_accuracy)"
                                         r"(?: \(majority class\))?: ([^|;]+)", line):
                for aspect, figure in re.findall(r"([^,]+?) (\d\.\d+)(?: \([\d.]+\))?(?:,|\s|$)",
                                                 body):
                    self.value[name, aspect.strip(), self.KINDS[kind]] = float(figure)

    def get(self, name, aspect, kind):
        return self.value.get((name, aspect, kind))


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


def bold_best(values, digits=3):
    """texts of the values, the best in bold"""
    known = [round(v, digits) for v in values if v is not None]
    return [f"**{show(v, digits)}**" if v is not None and len(known) > 1
            and round(v, digits) == max(known) else show(v, digits) for v in values]


# ------------------------------------------------------------------------ parts

def summary(f, lexical, models):
    """(title, values by model, lexical) of the headline rows"""
    rows = []

    def row(title, each, lex=None):
        values = [each(m.name) for m in models]
        if any(v is not None for v in values):
            rows.append((title, values, lex))

    jaccard = [lexical.get(s, a, "triplet") for s, a in f.aspects("triplet")]
    row("triplets, mean of the sets", f.triplets,
        mean(jaccard) if None not in jaccard else None)
    row("answer match", lambda m: f.get(m, "match", "squad_answer_match", None, "accuracy"),
        lexical.get("squad_answer_match", None, "term_frequency_accuracy"))
    row("STS-B dev, Spearman", lambda m: f.get(m, "similarity", "stsb_dev", None, "spearman"))
    row("aspects, V-measure", lambda m: f.over(m, "labelled", "v"))
    row("aspects, 5 nearest neighbours", lambda m: f.over(m, "labelled", "5nn"),
        mean(lexical.get(s, a, "5nn") for s, a in f.aspects("labelled")))
    row("attribute questions, accuracy", lambda m: f.over(m, "attribute", "accuracy"))
    row("yes/no questions, AUC", lambda m: f.over(m, "attribute", "auc"))
    for s in dict.fromkeys(s for s, _ in f.aspects("retrieval")):
        row(f"{s}, nDCG@10", lambda m: f.get(m, "retrieval", s, "instemb", "ndcg"),
            lexical.get(s, None, "bm25_ndcg@10") or f.get(None, "retrieval", s, "BM25", "ndcg"))
    return rows


def details(f, lexical, models):
    names = [m.name for m in models]
    titles = [m.title for m in models]
    parts = []

    def add(title, note, head, rows):
        if rows:
            parts.append(f"## {title}\n\n{note}\n\n" + table(head, rows))

    rows = []
    for s in TRIPLETS:
        own = [a for _, a in f.aspects("triplet", s)]
        for a in own:
            rows.append([s, a, str(f.rows["triplet", s, a, "accuracy", 0])]
                        + bold_best([f.get(m, "triplet", s, a, "accuracy") for m in names])
                        + [show(lexical.get(s, a, "triplet"), 2)])
        if own:
            for title, how in (("*mean*", mean), ("*harmonic mean*", harmonic)):
                rows.append([s, title, ""] + bold_best(
                    [how([f.get(m, "triplet", s, a, "accuracy") for a in own]) for m in names])
                    + [""])
    add("Triplets", "Share of anchors that are nearer to the text of the same label than to the"
        " other one, whose label under the other aspect is the same: who ignores the"
        " instruction has 0.5 on average.  Jaccard: by common words.",
        ["set", "aspect", "rows", *titles, "Jaccard"], rows)

    both = []
    for metric in ("v", "5nn"):
        both.append([[s, a, str(f.rows["labelled", s, a, metric, 0])]
                     + bold_best([f.get(m, "labelled", s, a, metric) for m in names])
                     + ([show(lexical.get(s, a, "5nn"), 2)] if metric == "5nn" else [])
                     for s, a in f.aspects("labelled")])
    head = ["set", "aspect", "rows", *titles]
    add("Aspects: V-measure", "k-means with as many groups as labels, the best of 10 starts.",
        head, both[0])
    add("Aspects: 5 nearest neighbours", "Accuracy of the vote of the five nearest other texts."
        "  BM25: of the five that it finds, over another sample of the same size.",
        head + ["BM25"], both[1])
    rows = []
    for m in models:
        for s, pair in CROSSED.items():
            for under in pair:
                v = [f.get(m.name, "crossing", s, under, against) for against in pair]
                if None not in v:
                    rows.append([m.title, s, under, *(f"{a}: {show(x)}" for a, x in zip(pair, v))])
    add("One corpus, two instructions", "Texts grouped by `instemb_kmeans()` under the instruction"
        " of one aspect; V-measure against the labels of that one and of the other.",
        ["model", "set", "grouped under", "against the first", "against the second"], rows)
    rows = []
    for s, a in f.aspects("attribute"):
        values = [bold_best([f.get(m, "attribute", s, a, k) for m in names])
                  for k in ("accuracy", "auc")]
        rows.append([s, a, str(f.rows["attribute", s, a, "accuracy", 0])]
                    + [f"{x} / {y}" for x, y in zip(*values)])
    add("Attribute questions", "A product's or review's embedding under the question against the"
        " embeddings of the answers alone: accuracy of the nearest answer / area under the curve"
        " of yes against no.", head, rows)
    rows = []
    for s, method in f.aspects("retrieval"):
        for scope in ("ndcg", "ndcg_judged"):
            if ("retrieval", s, method, scope, 0) not in f.rows:
                continue
            blind = f.get(None, "retrieval", s, method, scope)
            values = ([blind] * len(names) if blind is not None else
                      [f.get(m, "retrieval", s, method, scope) for m in names])
            published = None if blind is None or method != "BM25" else lexical.get(
                s, None, "bm25_ndcg@10" + ("_judged_only" if scope == "ndcg_judged" else ""))
            rows.append([s, method, "judged" if scope == "ndcg_judged" else "all"]
                        + [show(v) for v in values] + [show(published)])
    add("Retrieval: nDCG@10", "Over all documents, and over the judged ones alone.  \"instemb\""
        " stands for the column's model; \"+\" is its cosine plus the full-text score as a share"
        " of the query's best, in SQL.  BM25 is computed in SQL over the words of"
        " `to_tsvector('english')`; the last column is what the data's README states.",
        ["set", "method", "documents", *titles, "stated"], rows)
    rows = []
    for m in models:
        for s, a in f.aspects("triplet"):
            for which, wordings in WORDINGS.items():
                v = [f.get(m.name, "triplet", s, a, "accuracy", w) for w in wordings]
                if None not in v:
                    rows.append([m.title, s, a, which,
                                 show(f.get(m.name, "triplet", s, a, "accuracy"))]
                                + [show(x) for x in v] + [show(max(v) - min(v)),
                                                          show(float(np.std(v)))])
    add("Paraphrases", "Triplet accuracy under five other wordings of the instruction; none is a"
        " wording of the training.  Those of `tests/quality/paraphrases.json` (development) were"
        " fixed before the first training, but wordings of the later ones were chosen after"
        " looking at their figures; those of `paraphrases_held_out.json` never were looked at"
        " before the default model was trained.",
        ["model", "set", "aspect", "wordings", "original", *"12345", "range", "deviation"], rows)
    return parts


def verdicts(f, lexical, model):
    """The measures: lines (what, figure, bound, verdict)"""
    lines = []

    def line(what, value, bound, stretch=None, most=False, more=""):
        if value is None:
            lines.append(f"{what}: not measured")
            return
        good = (lambda b: value <= b) if most else (lambda b: value >= b)
        sign = "<=" if most else ">="
        verdict = "pass" if good(bound) else "falls short"
        if stretch is not None and good(stretch):
            verdict += ", stretch too"
        text = f" (stretch {stretch})" if stretch is not None else ""
        lines.append(f"{what}: {value:.3f}{more}, {sign} {bound}{text}: {verdict}")

    line("triplets, mean over the four sets of both aspects' mean", f.triplets(model), 0.75, 0.85)
    line("squad_answer_match", f.get(model, "match", "squad_answer_match", None, "accuracy"),
         0.75, 0.85)
    line("STS-B dev, empty instruction, Spearman",
         f.get(model, "similarity", "stsb_dev", None, "spearman"), 0.78, 0.85)
    for metric, title in (("v", "V-measure"), ("5nn", "5 nearest neighbours")):
        won, all_ = f.above(model, metric)
        line(f"{title}: share of aspects above MiniLM, with and without the instruction",
             won / all_ if all_ else None, 0.8, 1.0, more=f" ({won} of {all_})")
    search = "icecat_search"
    own = f.get(model, "retrieval", search, "instemb", "ndcg")
    if own is not None:
        lines.append(f"{search}, nDCG@10: {own:.3f} (reported)")
        bm25 = max(filter(None, (f.get(None, "retrieval", search, "BM25", "ndcg"),
                                 lexical.get(search, None, "bm25_ndcg@10"))))
        hybrid = f.get(model, "retrieval", search, "instemb + BM25", "ndcg")
        verdict = "pass" if hybrid > bm25 else "falls short"
        lines.append(f"{search}, hybrid with full text: {hybrid:.3f}, above BM25 alone,"
                     f" {bm25:.3f}: {verdict}")
    for which, wordings in WORDINGS.items():
        spread = f.spread(model, wordings)
        line(f"robustness: range over 5 paraphrases of an instruction ({which}), mean over the"
             " instructions", spread and spread[0], 0.03, 0.015, most=True,
             more=spread and f" (largest {spread[1]:.3f}; standard deviation {spread[2]:.3f})")
    return lines


# ------------------------------------------------------------------------- files

MAP = """
SELECT {}
FROM labelled k JOIN labelled m USING (set, text)
WHERE set = 'icecat_demo' AND k.aspect = 'kind' AND m.aspect = 'maker' AND k.label IN (
	SELECT label FROM labelled WHERE set = 'icecat_demo' AND aspect = 'kind'
	GROUP BY label ORDER BY count(*) DESC, label LIMIT 6)
"""


def draw_map(conn, model, path):
    """The carried products under two instructions, coloured by either aspect"""
    labels = conn.execute(MAP.format("k.label, m.label") + "ORDER BY text").fetchall()
    if len(labels) < 20:
        return False
    points = (MAP.format(f"{aspect}.instruction, text, text AS n") for aspect in "km")
    planes = [groups.plane(embed.matrix(conn, model, p)) for p in points]
    charts.scatter(path, [sets.DEMO_INSTRUCTIONS[a] for a in ("kind", "maker")], planes,
                   {"kind": [k for k, _ in labels], "maker": [m for _, m in labels]})
    return True


def write(conn, models, eval_dir, sample, out, seconds):
    """Writes OUT/quality.md and the charts; returns the lines of the verdicts"""
    f, lexical = Figures(conn, models), Lexical(eval_dir)
    os.makedirs(out, exist_ok=True)
    own = next((m for m in models if m.sql), models[0])
    rows = summary(f, lexical, models)
    charts.bars(os.path.join(out, "quality-bars.svg"), [m.title for m in models] + ["lexical"],
                [(title, values + [lex]) for title, values, lex in rows])
    mapped = own.sql and draw_map(conn, own, os.path.join(out, "quality-map.svg"))
    lines = verdicts(f, lexical, own.name)
    only = "".join(f" {name}='{os.environ[name]}'" for name in ("MODELS", "SETS")
                   if os.environ.get(name))
    parts = ["# What the embeddings are worth",
             "Written by `make quality" + (" EVAL_DIR=..." if eval_dir else "") + only
             + (f" SAMPLE={sample}" if sample else "") + f"` in {seconds / 60:.0f} minutes"
             " (embeddings that a run before it left are not computed again).  All embeddings of"
             " ours are computed by SQL's `instemb()`."]
    if sample:
        parts.append(f"**A sample: at most {sample} rows of each set.  Rough; retrieval over few"
                     " documents, hence too good.**")
    parts.append("\n".join(f"- {m.title}: {m.describe()}" for m in models))
    parts.append(table(["", *[m.title for m in models], "lexical"],
                       [[title, *bold_best(values), show(lex, 2)] for title, values, lex in rows])
                 + "\nLexical: common words or BM25, as the data's README states it, where it"
                 " does.  –: not measured.")
    parts.append("![bars](quality-bars.svg)")
    if mapped:
        parts.append("The products that the project carries (Open Icecat), two principal components"
                     f" of their embeddings by {own.title}:\n\n![map](quality-map.svg)")
    parts += details(f, lexical, models)
    parts.append(f"## Measures of {own.title}\n\n" + "\n".join("- " + x for x in lines))
    with open(os.path.join(out, "quality.md"), "w") as file:
        file.write("\n\n".join(p.rstrip("\n") for p in parts) + "\n")
    return lines
