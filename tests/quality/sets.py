"""Reads the evaluation sets and puts them into the tables of schema.sql.

Caps keep a full run within its time; which rows are taken is seeded, and the same for
every model.  What the project carries itself (demo/data) is always there.
"""
import gzip
import json
import os
import random
from collections import Counter, defaultdict

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, "../../demo/data")
TRIPLETS = ("goalex_syn", "amazon", "sgd", "bitext")
# five wordings of an instruction each.  Wordings of the training were chosen after looking at
# figures of the first file; those of the second were fixed later and never looked at.
PARAPHRASES = "paraphrases.json", "paraphrases_held_out.json"
RETRIEVAL = {	# instruction of the query, of the document
    "icecat_search": ("What product is the customer looking for?",
                      "What kind of product is this?"),
    "squad_passages": ("", ""),
    "cranfield": ("What does the user want to know?", "What is the paper about?"),
    "birco_wtb": ("Which book is being described?",) * 2,
    "birco_clinical_trial": ("What is the medical condition of the patients?",) * 2,
}
DEMO_INSTRUCTIONS = {"kind": "What kind of product is this?",
                     "maker": "Which company makes this product?"}
LABELLED_ROWS, ATTRIBUTE_ROWS = 400, 150	# as many as the lexical baselines were taken over
# sets to be grouped under either of two instructions: the same texts for all their aspects
CROSSED = {"amazon_reviews": ("category", "sentiment"), "bitext_support": ("intent", "style")}
DEMO_LABEL_ROWS = 12		# labels with fewer products are left out
SEED = 1


def read_lines(path):
    with (gzip.open(path, "rt") if path.endswith(".gz") else open(path)) as f:
        return [json.loads(line) for line in f]


def read_tsv(path):
    """rows in the form of COPY, whose one escape in use is the backslash's own"""
    with open(path) as f:
        return [line.rstrip("\n").replace("\\\\", "\\").split("\t") for line in f]


def some(rows, n, name):
    """n of the rows, the same ones each time"""
    if n is None or len(rows) <= n:
        return rows
    taken = random.Random(f"{SEED}/{name}").sample(range(len(rows)), n)
    return [rows[i] for i in sorted(taken)]


class Loader:
    """Fills the tables through one connection."""

    def __init__(self, conn, eval_dir, wanted, sample):
        self.conn, self.eval_dir, self.wanted, self.sample = conn, eval_dir, wanted, sample
        self.rows = defaultdict(list)
        self.texts, self.instructions = {}, {}

    def cap(self, usual=None):
        return self.sample if self.sample else usual

    def text(self, body):
        return self.texts.setdefault(body, len(self.texts))

    def instruction(self, body):
        return self.instructions.setdefault(body, len(self.instructions))

    def path(self, name):
        return os.path.join(self.eval_dir, name)

    def has(self, name):
        return not self.wanted or name in self.wanted

    # ------------------------------------------------------------ the sets

    def triplets(self):
        paraphrases = []
        for name in PARAPHRASES:
            with open(os.path.join(HERE, name)) as f:
                paraphrases.append(json.load(f))
        for name in TRIPLETS:
            if not self.has(name):
                continue
            rows = read_lines(self.path(name + "_triplet.jsonl.gz"))
            for aspect in dict.fromkeys(r["aspect"] for r in rows):
                mine = some([r for r in rows if r["aspect"] == aspect], self.cap(), name + aspect)
                question = mine[0]["instruction"]
                for wording, q in enumerate(
                        [question] + [w for file in paraphrases for w in file[question]]):
                    for r in mine:
                        self.rows["triplet"].append(
                            (name, aspect, wording, self.instruction(q))
                            + tuple(self.text(r[k]) for k in ("anchor", "positive", "negative")))

    def answer_match(self):
        if self.has("squad_answer_match"):
            rows = read_lines(self.path("squad_answer_match.jsonl.gz"))
            for i, r in enumerate(some(rows, self.cap(), "squad_answer_match")):
                self.rows["answer_match"].append(
                    ("squad_answer_match", i, self.instruction(r["instruction"]),
                     self.text(r["text"]), [self.text(c) for c in r["candidates"]],
                     r["answer"] + 1))

    def similarity(self):
        if self.has("stsb_dev"):
            rows = read_lines(self.path("stsb_dev.jsonl.gz"))
            for i, r in enumerate(some(rows, self.cap(), "stsb_dev")):
                self.rows["similarity"].append(
                    ("stsb_dev", i, self.text(r["sentence1"]), self.text(r["sentence2"]),
                     r["score"]))

    def label_set(self, name, instructions, rows, cap=LABELLED_ROWS):
        """rows: (text, {aspect: label})"""
        for aspect, q in instructions.items():
            mine = [(text, str(labels[aspect])) for text, labels in rows
                    if labels.get(aspect) is not None]
            drawn = name if name in CROSSED else name + aspect
            for text, label in some(mine, self.cap(cap), drawn):
                self.rows["labelled"].append(
                    (name, aspect, self.instruction(q), self.text(text), label))

    def labelled(self):
        with open(self.path("../manifest.json")) as f:
            manifest = json.load(f)
        for e in manifest:
            path = self.path(os.path.basename(e["file"]))
            if not self.has(e["name"]) or not os.path.isfile(path):
                continue
            rows = read_lines(path)
            if "labels" in rows[0]:
                self.label_set(e["name"], e["instructions"],
                               [(r["text"], r["labels"]) for r in rows])

    def attributes(self):
        for name in ("icecat_attributes", "review_mentions"):
            if not self.has(name):
                continue
            rows = read_lines(self.path(name + ".jsonl.gz"))
            for aspect in dict.fromkeys(r["attribute"] for r in rows):
                mine = [r for r in rows if r["attribute"] == aspect]
                for r in some(mine, self.cap(ATTRIBUTE_ROWS), name + aspect):
                    self.rows["attribute"].append(
                        (name, aspect, self.instruction(r["question"]), self.text(r["text"]),
                         str(r["answer"])))

    def retrieval_set(self, name, instructions, queries, documents, judgements):
        """(id, text) each, (query, document, grade).  A sample has its queries' judged
        documents and ten times as many others: its figures are too good."""
        if self.sample:
            queries = some(queries, self.sample, name)
            kept = {q for q, _ in queries}
            judgements = [j for j in judgements if j[0] in kept]
            judged = {d for _, d, _ in judgements}
            others = [d for d in documents if d[0] not in judged]
            documents = [d for d in documents if d[0] in judged] + some(
                others, 10 * self.sample, name)
        number = {"query": {}, "document": {}}
        for table, rows, q in (("query", queries, instructions[0]),
                               ("document", documents, instructions[1])):
            for i, (key, text) in enumerate(rows):
                number[table][key] = i
                self.rows[table].append((name, i, self.instruction(q), self.text(text)))
        for q, d, grade in judgements:
            if q in number["query"] and d in number["document"]:
                self.rows["judgement"].append(
                    (name, number["query"][q], number["document"][d], float(grade)))

    def retrieval(self):
        for name, instructions in RETRIEVAL.items():
            if not self.has(name):
                continue
            queries, documents = ([(str(r["id"]), r["text"]) for r in read_lines(self.path(p))]
                                  for p in (name + "/queries.jsonl", name + "/corpus.jsonl.gz"))
            self.retrieval_set(name, instructions, queries, documents,
                               read_tsv(self.path(name + "/qrels.tsv"))[1:])

    def demo(self):
        """The products that the project carries: a retrieval set of judged documents, and
        two aspects that follow from it: the query that a product was found right for, and
        the first word of its name."""
        if not self.has("icecat_demo"):
            return
        products = {p[0]: (p[1], f"{p[1]}\n{p[2]}") for p in
                    read_tsv(os.path.join(DEMO, "products.tsv"))}
        queries = dict(read_tsv(os.path.join(DEMO, "queries.tsv")))
        ratings = read_tsv(os.path.join(DEMO, "ratings.tsv"))
        self.retrieval_set("icecat_demo", RETRIEVAL["icecat_search"], list(queries.items()),
                           [(k, text) for k, (_, text) in products.items()], ratings)
        maker = {d: name.split()[0] for d, (name, _) in products.items()}
        makers = {m.lower() for m in maker.values()}
        right = defaultdict(list)
        for q, d, grade in ratings:
            if float(grade) >= 3 and queries[q] not in makers:
                right[d].append(queries[q])
        kind = {d: q[0] for d, q in right.items() if len(q) == 1}
        rows = [(text, {"kind": kind.get(d), "maker": maker[d]})
                for d, (_, text) in products.items()]
        for aspect, labels in (("kind", kind), ("maker", maker)):
            count = Counter(labels.values())
            common = [(text, {aspect: own[aspect]}) for text, own in rows
                      if count[own[aspect]] >= DEMO_LABEL_ROWS]
            self.label_set("icecat_demo", {aspect: DEMO_INSTRUCTIONS[aspect]}, common, None)

    # ------------------------------------------------------------- writing

    def load(self):
        self.demo()
        if self.eval_dir:
            for part in (self.triplets, self.answer_match, self.similarity, self.labelled,
                         self.attributes, self.retrieval):
                part()
        self.instruction("")
        for r in self.rows["attribute"]:
            self.text(r[4])
        with self.conn.transaction():
            text = self.numbers("text", list(self.texts))
            instruction = self.numbers("instruction", list(self.instructions))
            self.copy("triplet", [(s, a, w, instruction[i], text[x], text[y], text[z])
                                  for s, a, w, i, x, y, z in self.rows["triplet"]])
            self.copy("answer_match", [(s, n, instruction[i], text[x], [text[c] for c in cs], a)
                                       for s, n, i, x, cs, a in self.rows["answer_match"]])
            self.copy("similarity", [(s, n, text[x], text[y], score)
                                     for s, n, x, y, score in self.rows["similarity"]])
            for table in ("labelled", "attribute", "document", "query"):
                self.copy(table, [(s, a, instruction[i], text[x], *rest)
                                  for s, a, i, x, *rest in self.rows[table]])
            self.copy("judgement", self.rows["judgement"])

    def numbers(self, table, bodies):
        """ids of the bodies, new or known, in order"""
        with self.conn.cursor() as cur:
            cur.execute("CREATE TEMP TABLE incoming (n int, body text) ON COMMIT DROP")
            self.copy("incoming", list(enumerate(bodies)))
            same = "t.body = i.body" if table == "instruction" else "md5(t.body) = md5(i.body)"
            cur.execute(f"INSERT INTO {table} (body) SELECT body FROM incoming i"
                        f" WHERE NOT EXISTS (SELECT FROM {table} t WHERE {same}) ORDER BY n")
            cur.execute(f"SELECT t.id FROM incoming i JOIN {table} t ON {same} ORDER BY n")
            ids = [r[0] for r in cur.fetchall()]
            cur.execute("DROP TABLE incoming")
        return ids

    def copy(self, table, rows):
        with self.conn.cursor() as cur, cur.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
