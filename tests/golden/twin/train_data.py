"""Training data: triples -> tokenised arrays (once), arrays -> batches.

    python train_data.py TRIPLES.jsonl.gz BASE.gguf OUT.npz [--seed N] [--eval DIR]

With --eval DIR it refuses to write if a derived instruction equals one of an
evaluation set (read for this comparison only).
"""

import argparse
import gzip
import json
import os
import random
import re

import numpy as np

import derive
import gguf_io
from twin import Packed, Prompter

FAMILY = {
    "qamr": "qamr",
    "sgd": "sgd",
    "goemotions": "emotion",
    "icecat": "product",
    "extractgpt_oa-mine": "product",
    "extractgpt_ae-110k": "product",
    "restaurant8k": "booking",
    "snips": "booking",
    "mams": "mams",
    "fewrel_semeval": "relation",
}
# What the user does in a turn and which service it concerns: a family of its
# own, as among the many slots of SGD these two would hardly be drawn.
TURN = {*derive.ACT, *derive.SERVICE}
# Share of groups drawn from each family, and how its groups are made.
SHARE = {
    "qa": (40, "text"),
    "qamr": (6, "text"),
    "sgd": (8, "cluster"),
    "turn": (8, "cluster"),
    "emotion": (5, "cluster"),
    "product": (10, "cluster"),
    "ner": (3, "cluster"),
    "booking": (3, "cluster"),
    "mams": (5, "cluster"),
    "relation": (2, "cluster"),
    "sim": (6, "pair"),
    "retrieve": (8, "pair"),
    "dropout": (3, "pair"),
    "topic": (11, "pair"),
    "style": (4, "cluster"),
    "manner": (5, "cluster"),
    "feel": (5, "cluster"),
    "asked": (3, "cluster"),
    "yesno": (8, "text"),
    "wanted": (11, "pair"),
}
DERIVED = (
    "sim",
    "retrieve",
    "dropout",
    "topic",
    "style",
    "manner",
    "feel",
    "asked",
    "yesno",
    "wanted",
)
SETS = [
    set(x)
    for x in (
        derive.INTENT,
        derive.ACT,
        derive.SERVICE,
        [
            "What emotion does the writer express?",
            "Which feeling does this comment show?",
            "What is the emotional tone of the text?",
            "How does the writer feel?",
            "Which mood is this?",
            "Describe the feeling.",
            "What does the commenter feel?",
            "Mood of the comment:",
        ],
        [
            "Which people are mentioned?",
            "Who is mentioned in the text?",
            "Name the person in the text.",
        ],
        [
            "Which company or organisation does the text name?",
            "Which organisations are mentioned?",
            "Which company is mentioned?",
            "Which group or team is mentioned?",
        ],
        [
            "Where does this take place?",
            "Which places are mentioned?",
            "What location does the text name?",
        ],
        ["How many people is the booking for?", "What is the party size?"],
        ["When should the table be reserved?", "What time is the booking for?"],
        ["Which date is mentioned?", "What day is the booking for?"],
        [
            "Which category does the product belong to?",
            "What kind of product is this?",
            "Name the type of item.",
            "In which department of a shop is it found?",
            "What sort of article is described?",
            "Kind of product:",
            "Tell me what this item is.",
        ],
        [
            "Which company makes this product?",
            "Brand?",
            "What is the brand of the product?",
            "Which brand does the product have?",
        ],
    )
]
PATTERNS = [
    re.compile(p, re.I)
    for p in (
        r"what is the (.+) of the product\?$",
        r"which (.+) does the product have\?$",
        r"what (.+) does this product have\?$",
        r"which (.+) is mentioned\?$",
        r"what is the ([a-z ]{2,40})\?$",
        r"([a-z0-9 -]{2,40})\?$",
    )
]
MAMS = [
    (re.compile(p, re.I), c)
    for p, c in (
        (r"how was the (.+)\?$", "opinion "),
        (r"what is the opinion on the (.+)\?$", "opinion "),
        (r"what does the reviewer think about the (.+)\?$", "opinion "),
        (r"did the reviewer like the (.+)\?$", "like "),
    )
]


def attribute(t):
    """Name of the slot or attribute that a templated instruction asks for."""
    if t["source"] not in ("sgd", "icecat", "extractgpt_oa-mine", "extractgpt_ae-110k"):
        return None
    if any(t["instruction"] in s for s in SETS[:4]):
        return None
    patterns = PATTERNS[3:5] if t["source"] == "sgd" else PATTERNS
    for p in patterns:
        m = p.match(t["instruction"])
        if m and not re.match(r"(is|does|can|how|why)\b", m.group(1), re.I):
            return m.group(1).lower()
    return {
        "What colour is this product?": "colour",
        "What kind of product is this?": "category",
        "Which company makes this product?": "maker",
    }.get(t["instruction"])


def cluster(t):
    for i, s in enumerate(SETS):
        if t["instruction"] in s:
            return "intent" if i == 0 else f"set {i}"
    for p, c in MAMS:
        if t["source"] == "mams" and p.match(t["instruction"]):
            return c + p.match(t["instruction"]).group(1).lower()
    name = attribute(t)
    return f"attribute {name}" if name else t["instruction"].lower()


def reword(q):
    """Other wordings of one instruction, by template."""
    low = q[:1].lower() + q[1:] if not re.match(r"[A-Z]{2}|I\b", q) else q
    bare = q.rstrip("?.! ")
    out = [
        low.rstrip("?"),
        f"Question: {q}",
        f"{q} Answer in a few words.",
        f"Answer the question: {q}",
        f"Please tell me: {low}",
        f"Read the text. {q}",
        f"{bare}, in short?",
        q.upper() if len(q) < 40 else low,
    ]
    out += [x for same in SETS if q in same for x in sorted(same)]
    m = re.match(r"(?i)what is the (.+)\?$", q)
    if m:
        out += [f"{v} the {m.group(1)}." for v in ("Give", "State", "Extract", "Determine")]
        out += [f"Can you tell me the {m.group(1)}?", f"{m.group(1)[:1].upper()}{m.group(1)[1:]}:"]
    m = re.match(r"(?i)which (.+?) (is|are) mentioned\?$", q)
    if m:
        out += [
            f"Extract the {m.group(1)}.",
            f"Find the {m.group(1)} in the text.",
            f"What {m.group(1)} does it mention?",
        ]
    m = re.match(r"(?i)(what|which) (.+?) (does|did|do|is|are|was) (.+)\?$", q)
    if m:
        out += [
            (
                f"Determine {m.group(1).lower()} {m.group(2)} {m.group(4)}."
                if m.group(3) in ("is", "are", "was")
                else f"Say {low.rstrip('?')}."
            )
        ]
    m = re.match(r"(?i)(is|does|did|are|was|can) (.+)\?$", q)
    if m:
        out += [f"{bare}, yes or no?", f"Yes or no: {low}", f"Decide: {low}"]
    return list(dict.fromkeys(x for x in out if x != q))


# ------------------------------------------------------------- building


def build(triples_path, base_path, out_path, seed, eval_dir, max_text=400):
    rng = random.Random(seed)
    triples = [json.loads(line) for line in gzip.open(triples_path, "rt")]
    rows = []
    for t in triples:
        if t["instruction"] == derive.AMBIGUOUS:
            continue
        family = FAMILY.get(t["source"]) or ("ner" if t["source"].startswith("ner_") else "qa")
        if family == "sgd" and t["instruction"] in TURN:
            family = "turn"
        rows.append(
            (family, t["instruction"].strip(), t["input"], t["output"].strip(), None, cluster(t))
        )
    for family, q, x, a, key, c in derive.all_rows(triples, rng, attribute):
        rows.append(("wanted" if family == "product" else family, q, x, a, key, c))
    instructions = list(dict.fromkeys(r[1] for r in rows))
    given = {t["instruction"].strip() for t in triples}
    variants = []
    for q in instructions:
        v = reword(q) if q else []
        rng.shuffle(v)
        variants.append(v[:4])
    count = {}
    for r in rows:
        count[r[1]] = count.get(r[1], 0) + 1
    for i, q in enumerate(instructions):
        if q and count[q] >= 20:
            variants[i] = reword(q)
    check_apart(set(instructions) | {v for vs in variants for v in vs}, given, eval_dir)

    prompter = Prompter(gguf_io.Reader(base_path).meta)

    def table(strings, limit=None):
        enc = prompter.tok.encode_batch(list(strings), add_special_tokens=False)
        ids = [e.ids[:limit] for e in enc]
        off = np.zeros(len(ids) + 1, np.int32)
        np.cumsum([len(i) for i in ids], out=off[1:])
        return np.fromiter((t for i in ids for t in i), np.uint16, off[-1]), off

    flat, first = [], []
    for q, vs in zip(instructions, variants):
        first.append(len(flat))
        flat += [q] + vs
    first.append(len(flat))
    head, tail = prompter.template["instemb.template.prefix"].split("{instruction}")
    head = head.replace("<|im_start|>", "")
    pre_ids, pre_off = table(head + q + tail if q else "user\n" for q in flat)
    texts = {}
    for r in rows:
        texts.setdefault(r[2], len(texts))
        if r[3]:
            texts.setdefault(r[3], len(texts))
    txt_ids, txt_off = table(texts, max_text)
    norm = lambda a: a.lower().strip(" .")
    number = lambda values: {v: i for i, v in enumerate(dict.fromkeys(values))}
    keys = [r[4] or "a:" + norm(r[3]) for r in rows]
    key_no, cl_no = number(keys), number(r[5] for r in rows)
    fam = list(SHARE)
    ans_no = number(norm(r[3]) for r in rows if r[3])
    q_no = {q: i for i, q in enumerate(instructions)}
    np.savez_compressed(
        out_path,
        pre_ids=pre_ids,
        pre_off=pre_off,
        pre_first=np.array(first, np.int32),
        txt_ids=txt_ids,
        txt_off=txt_off,
        family=np.array([fam.index(r[0]) for r in rows], np.int8),
        instruction=np.array([q_no[r[1]] for r in rows], np.int32),
        text=np.array([texts[r[2]] for r in rows], np.int32),
        answer_text=np.array([texts[r[3]] if r[3] else -1 for r in rows], np.int32),
        answer=np.array([ans_no[norm(r[3])] if r[3] else -1 for r in rows], np.int32),
        key=np.array([key_no[k] for k in keys], np.int32),
        # where the answer stands in the text, as a share of its length
        anchor=np.array(
            [r[2].find(r[3]) / max(1, len(r[2])) if r[3] else -1 for r in rows], np.float32
        ),
        cluster=np.array([cl_no[r[5]] for r in rows], np.int32),
        suffix=np.array(prompter.suffix_ids, np.uint16),
        im_start=np.int32(prompter.ids["<|im_start|>"]),
        im_end=np.int32(prompter.ids["<|im_end|>"]),
    )
    for i, f in enumerate(fam):
        mine = [r for r in rows if r[0] == f]
        print(
            f"{f:10s} {len(mine):7d} rows {len({r[2] for r in mine}):7d} texts",
            f"{len({r[5] for r in mine}):6d} clusters",
        )
    print(
        len(rows),
        "rows,",
        len(instructions),
        "instructions,",
        len(flat),
        "wordings,",
        txt_off[-1],
        "text tokens",
    )


def check_apart(written, given, eval_dir):
    here = os.path.dirname(os.path.abspath(__file__))
    barred = set()
    for name in ("paraphrases.json", "paraphrases_held_out.json"):
        with open(os.path.join(here, "../../quality", name)) as f:
            barred |= {p for v in json.load(f).values() for p in v}
    if eval_dir:
        for d, _, files in os.walk(eval_dir):
            for f in files:
                if f.endswith(".jsonl.gz"):
                    for line in gzip.open(os.path.join(d, f), "rt"):
                        r = json.loads(line)
                        barred |= {r[k] for k in ("instruction", "question") if k in r}
        manifest = os.path.join(eval_dir, "..", "manifest.json")
        if os.path.exists(manifest):
            for e in json.load(open(manifest)):
                barred |= set((e.get("instructions") or {}).values())
    fold = lambda s: re.sub(r"[^a-z0-9 ]", "", s.lower()).strip()
    barred = {fold(b) for b in barred}
    bad = sorted(
        q for q in written if q and fold(q) in barred and fold(q) not in {fold(g) for g in given}
    )
    if bad:
        raise SystemExit(f"derived instructions are also evaluation instructions: {bad}")


# ------------------------------------------------------------- sampling


class Batches:
    """batch(i) depends on (seed, i) alone, so any number of workers and any
    restart give the same sequence of batches."""

    def __init__(
        self,
        path,
        seed,
        tokens,
        k,
        reword=0.3,
        derived=True,
        grouped=True,
        drop=(),
        caps=((400, 1.0),),
        share_of=(0, 1),
        ahead=None,
    ):
        """k look-ahead vectors a sequence; `ahead` of them, if given, count in `tokens`, so
        that models of different k can see the same batches."""
        z = np.load(path)
        self.z = {n: z[n] for n in z.files}
        self.seed, self.budget, self.k, self.p_reword = seed, tokens, k, reword
        self.ahead = k if ahead is None else ahead
        self.grouped, self.caps, self.share_of = grouped, caps, share_of
        z = self.z
        self.names = [f for f in SHARE if f not in drop and (derived or f not in DERIVED)]
        share = np.array([SHARE[f][0] for f in self.names], float)
        self.share = share / share.sum()
        rows = np.arange(len(z["text"]))
        self.by_text = self._index(rows, z["text"])
        fam = list(SHARE)
        self.family = {}
        for f in self.names:
            mine = rows[z["family"] == fam.index(f)]
            kind = SHARE[f][1]
            if kind == "pair":
                index = self._index(mine, z["key"])
                self.family[f] = [g for g in index.values() if len(g) >= 2]
            elif kind == "text":
                self.family[f] = np.unique(z["text"][mine])
            else:
                groups = list(self._index(mine, z["cluster"]).values())
                w = np.array([len(g) for g in groups], float) ** 0.6
                self.family[f] = (groups, w / w.sum(), mine)

    @staticmethod
    def _index(rows, values):
        order = rows[np.argsort(values[rows], kind="stable")]
        cut = np.flatnonzero(np.diff(values[order])) + 1
        groups = np.split(order, cut)
        return {int(values[g[0]]): g for g in groups if len(g)}

    def _draw(self, rng):
        f = self.names[rng.choice(len(self.names), p=self.share)]
        data, z = self.family[f], self.z
        kind = SHARE[f][1]
        if kind == "pair":
            at = rng.integers(len(data))
            return [r for g in data[at : at + 4] for r in rng.permutation(g)[:2]]
        if not self.grouped:
            pool = data[2] if kind == "cluster" else None
            if pool is None:
                return list(rng.choice(self.by_text[int(rng.choice(data))], 1))
            return list(rng.choice(pool, 4))
        if kind == "text":
            out = []
            for t in rng.choice(data, 2):
                out += list(rng.permutation(self.by_text[int(t)])[:4])
            return out
        groups, w, _ = data
        g = groups[rng.choice(len(groups), p=w)]
        keys, n = np.unique(z["key"][g], return_counts=True)
        p = np.sqrt(n) / np.sqrt(n).sum()
        out = []
        for key in rng.choice(keys, min(4, len(keys)), replace=False, p=p):
            out += list(rng.permutation(g[z["key"][g] == key])[:2])
        for r in out[:3]:
            others = self.by_text[int(z["text"][r])]
            others = others[z["cluster"][others] != z["cluster"][r]]
            out += list(rng.permutation(others)[:2])
        return out

    def batch(self, i):
        rng = np.random.default_rng([self.seed, i])
        z, k = self.z, self.k
        suffix, start = z["suffix"], int(z["im_start"])
        cap, share = [c for c, _ in self.caps], [p for _, p in self.caps]

        def text(t, limit, anchor=0.0):
            """At most `limit` tokens; if longer, a window around the answer."""
            lo, hi = z["txt_off"][t], z["txt_off"][t + 1]
            if hi - lo > limit:
                at = int(max(0.0, anchor) * (hi - lo) - rng.uniform(0.15, 0.7) * limit)
                lo += min(max(0, at), hi - lo - limit)
            return z["txt_ids"][lo : min(hi, lo + limit)]

        seqs, rows, ans, used, seen = [], [], {}, 0, set()
        while used < self.budget:
            for r in self._draw(rng):
                if int(r) in seen:
                    continue
                seen.add(int(r))
                q = z["instruction"][r]
                lo, hi = z["pre_first"][q], z["pre_first"][q + 1]
                v = (
                    lo
                    if hi - lo == 1 or rng.random() >= self.p_reword
                    else rng.integers(lo + 1, hi)
                )
                pre = z["pre_ids"][z["pre_off"][v] : z["pre_off"][v + 1]]
                body = text(z["text"][r], cap[rng.choice(len(cap), p=share)], z["anchor"][r])
                s = np.concatenate([[start], pre, body, suffix])
                seqs.append(s)
                rows.append(r)
                used += len(s) + self.ahead
                a = int(z["answer"][r])
                if a >= 0 and a not in ans:
                    ans[a] = int(z["answer_text"][r])
                    length = z["txt_off"][ans[a] + 1] - z["txt_off"][ans[a]]
                    used += min(40, length) + 8 + self.ahead
        rows = np.array(rows)
        order = {a: j for j, a in enumerate(ans)}
        a_seqs = [
            np.concatenate([[start], self._empty(), text(t, 40), suffix]) for t in ans.values()
        ]
        target = np.array([order.get(int(a), -1) for a in z["answer"][rows]])
        gold = np.full((len(rows), k), -1, np.int64)
        golds = []
        for j, r in enumerate(rows):
            if z["answer"][r] >= 0:
                full = np.concatenate([text(z["answer_text"][r], 40), [int(z["im_end"])]]).astype(
                    np.int64
                )
                gold[j, : min(k, len(full))] = full[:k]
                golds.append(full)
            else:
                golds.append(np.zeros(0, np.int64))
        seqs_all = seqs + a_seqs
        rank, world = self.share_of  # of several processes: every world-th by length
        order = np.argsort([len(s) for s in seqs_all], kind="stable")
        mine = np.sort(order[rank::world])
        return {
            "pack": Packed([seqs_all[i] for i in mine], k),
            "mine": mine,
            "n_all": len(seqs_all),
            "n": len(rows),
            "target": target,
            "gold": gold,
            "key": z["key"][rows].astype(np.int64),
            "cluster": z["cluster"][rows].astype(np.int64),
            "seqs": seqs,
            "golds": golds,
            "tokens": used,
            "family": z["family"][rows],
        }

    def _empty(self):
        if not hasattr(self, "_empty_ids"):
            z = self.z
            for q in range(len(z["pre_first"]) - 1):
                v = z["pre_first"][q]
                ids = z["pre_ids"][z["pre_off"][v] : z["pre_off"][v + 1]]
                if len(ids) == 2:  # "user", newline: the prefix without instruction
                    self._empty_ids = ids
                    break
        return self._empty_ids


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("triples")
    p.add_argument("base")
    p.add_argument("out")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--eval")
    a = p.parse_args()
    build(a.triples, a.base, a.out, a.seed, a.eval)
