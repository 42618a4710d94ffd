"""Development-set figures of a twin.

    python eval_twin.py prepare EVAL_DIR BASE.gguf OUT.npz
    python eval_twin.py run BASE.gguf ADAPTER.gguf EVAL.npz [--device cuda] [--q8] [--out F.json]

`prepare` tokenises every set once; a sequence is an (instruction, text) pair.
`run` embeds them and computes: triplet accuracy, answer match, Spearman,
V-measure (k-means, k = number of labels) and 5-nearest-neighbour accuracy
(leave one out), attribute questions by answer prototypes, nDCG@10, and the
spread over the paraphrases of tests/quality/paraphrases.json.
"""

import argparse
import gzip
import json
import os
import time

import numpy as np
import torch

import gguf_io
import twin
from twin import Packed, Prompter

TRIPLETS = ("goalex_syn", "amazon", "sgd", "bitext")
ONLY = "tasks, with commas: triplet,match,sts,aspect,attribute,retrieval"
HERE = os.path.dirname(os.path.abspath(__file__))


def read_lines(path):
    with gzip.open(path, "rt") if path.endswith(".gz") else open(path) as f:
        return [json.loads(line) for line in f]


# --------------------------------------------------------------- prepare


def load_tasks(eval_dir, want, sample=None):
    """want(instruction, text) -> sequence number.  Returns a list of dicts
    holding sequence numbers and labels only.  `sample` rows per task (retrieval
    left out) give rough figures where a full run would take too long."""
    tasks = []
    rng = np.random.default_rng(0)

    def some(rows):
        if sample is None or len(rows) <= sample:
            return rows
        return [rows[i] for i in np.sort(rng.choice(len(rows), sample, replace=False))]

    para = json.load(open(os.path.join(HERE, "../../quality/paraphrases.json")))
    manifest = {
        e["name"]: e for e in json.load(open(os.path.join(eval_dir, "..", "manifest.json")))
    }
    path = lambda n: os.path.join(eval_dir, n)
    for name in TRIPLETS:
        rows = read_lines(path(f"{name}_triplet.jsonl.gz"))
        for aspect in dict.fromkeys(r["aspect"] for r in rows):
            mine = some([r for r in rows if r["aspect"] == aspect])
            q = mine[0]["instruction"]
            for i, p in enumerate([q] + para.get(q, [])):
                ids = [[want(p, r[k]) for k in ("anchor", "positive", "negative")] for r in mine]
                tasks.append(
                    {"task": "triplet", "set": name, "aspect": aspect, "wording": i, "ids": ids}
                )
    rows = some(read_lines(path("squad_answer_match.jsonl.gz")))
    tasks.append(
        {
            "task": "match",
            "set": "squad_answer_match",
            "wording": 0,
            "ids": [want(r["instruction"], r["text"]) for r in rows],
            "candidates": [[want("", c) for c in r["candidates"]] for r in rows],
            "answer": [r["answer"] for r in rows],
        }
    )
    rows = some(read_lines(path("stsb_dev.jsonl.gz")))
    tasks.append(
        {
            "task": "sts",
            "set": "stsb_dev",
            "wording": 0,
            "score": [r["score"] for r in rows],
            "ids": [[want("", r["sentence1"]), want("", r["sentence2"])] for r in rows],
        }
    )
    for name, e in manifest.items():
        file = path(os.path.basename(e["file"])) if not isinstance(e["file"], list) else ""
        if not os.path.isfile(file):
            continue
        rows = read_lines(file)
        if "labels" not in rows[0]:
            continue
        for aspect, q in e["instructions"].items():
            mine = some([r for r in rows if r["labels"].get(aspect) is not None])
            names = sorted({str(r["labels"][aspect]) for r in mine})
            labels = [names.index(str(r["labels"][aspect])) for r in mine]
            for i, p in enumerate([q] + para.get(q, [])):
                tasks.append(
                    {
                        "task": "aspect",
                        "set": name,
                        "aspect": aspect,
                        "wording": i,
                        "ids": [want(p, r["text"]) for r in mine],
                        "labels": labels,
                    }
                )
    for name in ("icecat_attributes", "review_mentions"):
        rows = read_lines(path(name + ".jsonl.gz"))
        for a in dict.fromkeys(r["attribute"] for r in rows):
            mine = some([r for r in rows if r["attribute"] == a])
            names = sorted({str(r["answer"]) for r in mine})
            tasks.append(
                {
                    "task": "attribute",
                    "set": name,
                    "aspect": a,
                    "wording": 0,
                    "names": names,
                    "ids": [want(r["question"], r["text"]) for r in mine],
                    "prototypes": [want("", n) for n in names],
                    "labels": [names.index(str(r["answer"])) for r in mine],
                }
            )
    for name, qi, di in (
        (
            "icecat_search",
            "What product is the customer looking for?",
            "What kind of product is this?",
        ),
        ("squad_passages", "", ""),
        ("cranfield", "What does the user want to know?", "What is the paper about?"),
    ):
        for form, (a, b) in (("instructed", (qi, di)), ("plain", ("", ""))):
            if sample or (form == "plain" and not qi):
                continue
            docs = read_lines(path(f"{name}/corpus.jsonl.gz"))
            queries = read_lines(path(f"{name}/queries.jsonl"))
            dn = {str(d["id"]): i for i, d in enumerate(docs)}
            qn = {str(d["id"]): i for i, d in enumerate(queries)}
            rel = [line.rstrip("\n").split("\t") for line in open(path(f"{name}/qrels.tsv"))][1:]
            tasks.append(
                {
                    "task": "retrieval",
                    "set": name,
                    "aspect": form,
                    "wording": 0,
                    "queries": [want(a, d["text"]) for d in queries],
                    "docs": [want(b, d["text"]) for d in docs],
                    "qrels": [
                        [qn[r[0]], dn[r[1]], float(r[2])] for r in rel if r[0] in qn and r[1] in dn
                    ],
                }
            )
    return tasks


def prepare(eval_dir, base, out, sample=None, only=None, max_text=1024):
    seqs = {}
    tasks = load_tasks(eval_dir, lambda q, x: seqs.setdefault((q, x), len(seqs)), sample)
    tasks = [t for t in tasks if not only or t["task"] in only.split(",")]
    prompter = Prompter(gguf_io.Reader(base).meta)
    qs = {q: i for i, q in enumerate(dict.fromkeys(q for q, _ in seqs))}
    xs = {x: i for i, x in enumerate(dict.fromkeys(x for _, x in seqs))}

    def table(rows):
        off = np.zeros(len(rows) + 1, np.int32)
        np.cumsum([len(r) for r in rows], out=off[1:])
        return np.fromiter((t for r in rows for t in r), np.uint16, off[-1]), off

    pre = table([prompter.prefix(q) for q in qs])
    txt = table(
        [e.ids[:max_text] for e in prompter.tok.encode_batch(list(xs), add_special_tokens=False)]
    )
    np.savez_compressed(
        out,
        pre_ids=pre[0],
        pre_off=pre[1],
        txt_ids=txt[0],
        txt_off=txt[1],
        seq=np.array([(qs[q], xs[x]) for q, x in seqs], np.int32),
        suffix=np.array(prompter.suffix_ids, np.uint16),
        tasks=np.frombuffer(json.dumps(tasks).encode(), np.uint8),
    )
    print(len(seqs), "sequences,", len(tasks), "tasks")


# ------------------------------------------------------------- embedding


class Sets:
    def __init__(self, path):
        self.z = dict(np.load(path))
        self.tasks = json.loads(self.z["tasks"].tobytes())

    def sequence(self, i):
        z = self.z
        q, x = z["seq"][i]
        return np.concatenate(
            [
                z["pre_ids"][z["pre_off"][q] : z["pre_off"][q + 1]],
                z["txt_ids"][z["txt_off"][x] : z["txt_off"][x + 1]],
                z["suffix"],
            ]
        )

    def needed(self, robust):
        used = set()
        for t in self.tasks:
            if t["wording"] and not robust:
                continue
            for k in ("ids", "candidates", "prototypes", "queries", "docs"):
                for v in t.get(k, ()):
                    used.update(v if isinstance(v, list) else [v])
        return np.array(sorted(used))


@torch.no_grad()
def embed(model, sets, which, device, weights, budget=None):
    """(last, mean of look-ahead) of the sequences `which`, unit rows."""
    z, budget = sets.z, budget or (131072 if device == "cuda" else 2048)
    length = (np.diff(z["pre_off"])[z["seq"][:, 0]] + np.diff(z["txt_off"])[z["seq"][:, 1]])[which]
    width = model.base["out_norm"].numel()
    total = len(z["seq"])
    last = torch.zeros(total, width, device=device)
    mean = torch.zeros(total, width, device=device)
    order, at = which[np.argsort(length, kind="stable")], 0
    length = np.sort(length)
    while at < len(order):
        end, used = at, 0
        while (
            end < len(order)
            and (used := used + int(length[end]) + 6 + model.k) <= budget
            or end == at
        ):
            end += 1
        pack = Packed([sets.sequence(i) for i in order[at:end]], model.k, device)
        h, a = model.read(pack, weights)
        rows = torch.from_numpy(order[at:end]).to(device)
        last[rows] = torch.nn.functional.normalize(h, dim=-1)
        mean[rows] = torch.nn.functional.normalize(a.mean(1), dim=-1)
        at = end
    return last, mean


# --------------------------------------------------------------- metrics


def knn(e, labels, k=5):
    n, hits = len(e), 0
    for lo in range(0, n, 4096):
        sim = e[lo : lo + 4096] @ e.T
        rows = torch.arange(lo, min(lo + 4096, n), device=e.device)
        sim[rows - lo, rows] = -9
        top = sim.topk(min(k, n - 1)).values, labels[sim.topk(min(k, n - 1)).indices]
        votes = torch.zeros(len(rows), int(labels.max()) + 1, device=e.device)
        votes.scatter_add_(1, top[1], 1.0 + 1e-3 * top[0])
        hits += (votes.argmax(1) == labels[rows]).sum().item()
    return hits / n


def kmeans(e, k, restarts=4, steps=40, seed=0):
    g = torch.Generator(device="cpu").manual_seed(seed)
    best = None
    for _ in range(restarts):
        c = e[torch.randint(len(e), (1,), generator=g).item()][None]
        for _ in range(k - 1):  # k-means++
            d = (2 - 2 * (e @ c.T).max(1).values).clamp(min=1e-9).cpu()
            c = torch.cat([c, e[torch.multinomial(d, 1, generator=g).item()][None]])
        for _ in range(steps):
            own = torch.cdist(e, c).argmin(1)
            s = torch.zeros_like(c).index_add_(0, own, e)
            n = torch.bincount(own, minlength=k).clamp(min=1)[:, None]
            c = s / n
        d = torch.cdist(e, c).pow(2)
        inertia = d.min(1).values.sum().item()
        if best is None or inertia < best[0]:
            best = (inertia, d.argmin(1))
    return best[1]


def v_measure(labels, own):
    a, b = labels.cpu().numpy(), own.cpu().numpy()
    t = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(t, (a, b), 1)
    p = t / t.sum()
    h = lambda q: -(q[q > 0] * np.log(q[q > 0])).sum()
    ha, hb, hab = h(p.sum(1)), h(p.sum(0)), h(p)
    hom = 1 - (hab - hb) / ha if ha else 1.0
    com = 1 - (hab - ha) / hb if hb else 1.0
    return float(2 * hom * com / (hom + com)) if hom + com else 0.0


def ranks(x):
    u, inv, n = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(n) - (n - 1) / 2.0)[inv]


def ndcg(sim, qrels, judged_only):
    dcg = lambda g: float((np.array(g) / np.log2(np.arange(2, len(g) + 2))).sum())
    by = {}
    for q, d, g in qrels:
        by.setdefault(int(q), {})[int(d)] = g
    out = []
    for q, rel in by.items():
        if max(rel.values()) <= 0:
            continue
        s = sim[q]
        order = sorted(rel, key=lambda d: -s[d]) if judged_only else np.argsort(-s, kind="stable")
        out.append(
            dcg([rel.get(int(d), 0) for d in order[:10]])
            / dcg(sorted(rel.values(), reverse=True)[:10])
        )
    return float(np.mean(out))


def auc(score, positive):
    r, n1 = ranks(score), positive.sum()
    n0 = len(positive) - n1
    return float((r[positive].sum() - n1 * (n1 + 1) / 2) / max(1, n1 * n0))


def figures(sets, e, robust=False, cluster=True):
    """All figures for one embedding matrix e (sequence -> unit row)."""
    out = {}
    for t in sets.tasks:
        if t["wording"] and not robust:
            continue
        name = (
            t["set"]
            + ("/" + t["aspect"] if t.get("aspect") else "")
            + (f"#{t['wording']}" if t["wording"] else "")
        )
        if t["task"] == "triplet":
            i = torch.tensor(t["ids"], device=e.device).T
            out["triplet:" + name] = (
                ((e[i[0]] * e[i[1]]).sum(1) > (e[i[0]] * e[i[2]]).sum(1)).float().mean().item()
            )
        elif t["task"] == "match":
            right = [
                int((e[c] @ e[q]).argmax()) == a
                for q, c, a in zip(t["ids"], t["candidates"], t["answer"])
            ]
            out["match:" + name] = float(np.mean(right))
        elif t["task"] == "sts":
            i = torch.tensor(t["ids"], device=e.device).T
            s = (e[i[0]] * e[i[1]]).sum(1).cpu().numpy()
            out["spearman:" + name] = float(
                np.corrcoef(ranks(s), ranks(np.array(t["score"])))[0, 1]
            )
        elif t["task"] == "aspect":
            x, y = e[torch.tensor(t["ids"], device=e.device)], torch.tensor(
                t["labels"], device=e.device
            )
            out["knn:" + name] = knn(x, y)
            if cluster and not t["wording"]:
                out["v:" + name] = v_measure(y, kmeans(x, int(y.max()) + 1))
        elif t["task"] == "attribute":
            s = (
                e[torch.tensor(t["ids"], device=e.device)]
                @ e[torch.tensor(t["prototypes"], device=e.device)].T
            )
            y = torch.tensor(t["labels"], device=e.device)
            out["proto:" + name] = (s.argmax(1) == y).float().mean().item()
            if t["names"] == ["no", "yes"]:
                out["auc:" + name] = auc((s[:, 1] - s[:, 0]).cpu().numpy(), (y == 1).cpu().numpy())
        else:
            sim = (
                (
                    e[torch.tensor(t["queries"], device=e.device)]
                    @ e[torch.tensor(t["docs"], device=e.device)].T
                )
                .cpu()
                .numpy()
            )
            out["ndcg:" + name] = ndcg(sim, t["qrels"], False)
            out["ndcg_judged:" + name] = ndcg(sim, t["qrels"], True)
    return dict(out, **summary(out))


def summary(f):
    s, mean = {}, lambda v: float(np.mean(v)) if len(v) else float("nan")
    pick = lambda head, tail="": [
        v for k, v in f.items() if k.startswith(head) and "#" not in k and k.endswith(tail)
    ]
    for name in TRIPLETS:
        a = pick(f"triplet:{name}/")
        s[f"mean triplet {name}"] = mean(a)
        s[f"harmonic triplet {name}"] = (
            float(len(a) / sum(1 / max(x, 1e-9) for x in a)) if a else float("nan")
        )
    s["mean triplets"] = mean([s[f"mean triplet {n}"] for n in TRIPLETS])
    s["mean knn"], s["mean v"] = mean(pick("knn:")), mean(pick("v:"))
    s["mean auc icecat"], s["mean auc reviews"] = mean(pick("auc:icecat")), mean(pick("auc:review"))
    spreads = []
    for k in [k for k in f if "#" not in k and k + "#1" in f]:
        v = np.array([f[f"{k}#{i}"] for i in range(1, 6)])
        s[f"spread {k}"] = [float(v.max() - v.min()), float(v.std()), float(v.mean())]
        spreads.append(v)
    if spreads:
        s["mean range over paraphrases"] = mean([v.max() - v.min() for v in spreads])
        s["mean deviation over paraphrases"] = mean([v.std() for v in spreads])
        s["deviation of the mean"] = float(np.mean(spreads, axis=0).std())
        s["range of the mean"] = float(np.ptp(np.mean(spreads, axis=0)))
    return s


def short(f):
    keys = (
        "mean triplets",
        "match:squad_answer_match",
        "spearman:stsb_dev",
        "mean knn",
        "mean v",
        "mean auc icecat",
        "mean auc reviews",
        "ndcg:icecat_search/instructed",
        "ndcg:squad_passages/instructed",
    )
    return {k: round(f[k], 4) for k in keys if k in f}


def evaluate(model, sets, device, robust=False, cluster=True, weights=None, pools=("daap",)):
    which = sets.needed(robust)
    last, mean = embed(model, sets, which, device, weights or model.weights())
    unit = lambda t: torch.nn.functional.normalize(t, dim=-1)
    form = {"daap": lambda: unit(last + mean), "last": lambda: last, "lookahead": lambda: mean}
    return {p: figures(sets, form[p](), robust, cluster) for p in pools}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = p.add_subparsers(dest="verb", required=True)
    a = sub.add_parser("prepare")
    for n in ("eval_dir", "base", "out"):
        a.add_argument(n)
    a.add_argument("--sample", type=int, default=None, help="rows per task, for rough figures")
    a.add_argument("--only", default=None, help=ONLY)
    b = sub.add_parser("run")
    for n in ("base", "adapter", "sets"):
        b.add_argument(n)
    b.add_argument("--device", default="cpu")
    b.add_argument(
        "--q8",
        action="store_true",
        help="round merged weights to Q8_0, as the engine installs them",
    )
    b.add_argument("--bf16", action="store_true")
    b.add_argument("--robust", action="store_true")
    b.add_argument("--only", default=None, help=ONLY)
    b.add_argument("--pools", default="daap,last,lookahead")
    b.add_argument("--out")
    o = p.parse_args()
    if o.verb == "prepare":
        return prepare(o.eval_dir, o.base, o.out, o.sample, o.only)
    from adapter import load_twin

    model = load_twin(o.base, o.adapter, torch.bfloat16 if o.bf16 else torch.float32).move(o.device)
    start = time.time()
    with torch.no_grad():
        w = model.weights(rounding=gguf_io.round_q8_0 if o.q8 else None)
    sets = Sets(o.sets)
    if o.only:
        sets.tasks = [t for t in sets.tasks if t["task"] in o.only.split(",")]
    f = evaluate(model, sets, o.device, o.robust, weights=w, pools=o.pools.split(","))
    for pool, g in f.items():
        print(pool, json.dumps(short(g)))
    if o.out:
        json.dump(f, open(o.out, "w"), indent=1)
    print(f"{time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
