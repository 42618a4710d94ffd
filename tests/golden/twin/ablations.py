"""Ablations: one thing of the recipe changed at a time, at a fixed small budget.

    python ablations.py train BASE.gguf DATA.npz EVAL.npz OUT [--steps 150 --tokens 4096 ...]
    tests/with-cluster python tests/golden/twin/ablations.py time BASE.gguf OUT [ROUNDS]
    python ablations.py table OUT

`train` trains every recipe from the same start on the same batches (InBedder on their rows
that have an answer), computes its figures on EVAL (`eval_twin.py prepare --sample 100 --only
triplet,match,sts` keeps that short) and writes adapter and figures into OUT; a recipe that
is there already is left as it is, so that an interrupted run goes on.  All of
train_twin.py's options may follow.  `time` measures what a row costs in SQL, which depends
on look-ahead count and pooling alone.  `table` writes OUT/ablations.md.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

import numpy as np

NO_CONTRAST = {"w_answer": 0.0, "w_back": 0.0, "w_group": 0.0}
NO_AHEAD = {"w_ce": 0.0, "contrast": "last"}
AHEAD = 8  # counted in every recipe's batches
# name, title, options that differ from the command line's, pooling
RECIPES = [
    ("untrained", "the base, untrained", {"k": 0, "steps": 0, **NO_AHEAD}, "last"),
    ("base", "all of it: contrast, 0.1 x cross-entropy at the look-ahead, K = 8, DAAP", {},
     "daap"),
    ("no-contrast", "no contrast", NO_CONTRAST, "daap"),
    ("no-distillation", "no distillation", {"w_ce": 0.0}, "daap"),
    ("mse", "distillation by 0.1 x MSE", {"w_ce": 0.0, "w_mse": 0.1}, "daap"),
    ("kl", "distillation by 0.1 x KL", {"w_ce": 0.0, "w_kl": 0.1}, "daap"),
    ("last", "last only", {"contrast": "last"}, "last"),
    ("lookahead", "look-ahead only", {"contrast": "lookahead"}, "lookahead"),
    ("inbedder-last", "InBedder, state that the first token is generated from",
     {"k": 0, "generation": True}, "last"),
    ("inbedder-mean", "InBedder, mean over 3 generated tokens",
     {"k": 0, "generation": True}, "generate_mean"),
    ("k0", "K = 0", {"k": 0, **NO_AHEAD}, "last"),
    ("k1", "K = 1", {"k": 1}, "daap"),
    ("k2", "K = 2", {"k": 2}, "daap"),
    ("k4", "K = 4", {"k": 4}, "daap"),
    ("k16", "K = 16", {"k": 16}, "daap"),
    ("seed", "all of it, another seed", {"seed": 2}, "daap"),
]
FIGURES = [
    ("triplets", "mean triplets"),
    ("answer match", "match:squad_answer_match"),
    ("STS-B dev", "spearman:stsb_dev"),
    ("5 neighbours", "mean knn"),
    ("AUC, products", "mean auc icecat"),
    ("AUC, reviews", "mean auc reviews"),
]
GENERATED = 3  # tokens of generate_mean, as the engine's default


# ---------------------------------------------------------------- train


def answer_loss(model, b, o, device):
    """InBedder's training: cross-entropy of the answer that follows the input."""
    import torch

    import twin

    rows = [i for i in range(b["n"]) if len(b["golds"][i])]
    golds = [b["golds"][i] for i in rows]
    pack = twin.Packed([np.concatenate([b["seqs"][i], g]) for i, g in zip(rows, golds)], 0, device)
    x = model.states(pack, model.weights(apart=device == "cpu"), o.p, lookahead=False)
    last = pack.last.tolist()
    at = torch.cat([torch.arange(n - len(g), n) for n, g in zip(last, golds)]).to(device)
    gold = torch.from_numpy(np.concatenate(golds)).to(device)
    logits = torch.nn.functional.linear(model.norm(x[at]).to(model.dtype), model.base["embd_c"])
    loss = torch.nn.functional.cross_entropy(logits.float(), gold)
    accuracy = (logits.argmax(1) == gold).float().mean()
    return loss, {"answer": loss.detach(), "accuracy": accuracy}


def generated_mean(model, sets, which, device, weights):
    """Unit rows: mean of the states that up to GENERATED tokens are generated from, none
    after the end token, and not the state of that one unless it is the first."""
    import torch

    import twin

    out = torch.zeros(len(sets.z["seq"]), model.base["out_norm"].numel(), device=device)
    length = np.array([len(sets.sequence(i)) for i in which])
    order = which[np.argsort(length, kind="stable")]
    for some in np.array_split(order, max(1, int(length.sum()) // 2048)):
        seqs, total, goes_on = [sets.sequence(i) for i in some], 0.0, True
        for n in range(GENERATED):
            h, _ = model.read(twin.Packed(seqs, 0, device), weights)
            token = torch.nn.functional.linear(h.to(model.dtype), model.base["embd_c"]).argmax(1)
            goes_on = goes_on & (token != int(sets.z["suffix"][0]))  # <|im_end|>
            total = total + (h * goes_on[:, None] if n else h)
            seqs = [np.append(s, t) for s, t in zip(seqs, token.tolist())]
        out[torch.from_numpy(some).to(device)] = torch.nn.functional.normalize(total, dim=-1)
    return out


def figures(model, sets, o, pooling):
    import torch

    import eval_twin

    if pooling != "generate_mean":
        return eval_twin.evaluate(model, sets, o.device, cluster=False, pools=(pooling,))[pooling]
    with torch.no_grad():
        e = generated_mean(model, sets, sets.needed(False), o.device, model.weights())
        return eval_twin.figures(sets, e, cluster=False)


def train(argv):
    import torch

    import adapter
    import eval_twin
    import gguf_io
    import train_twin
    import twin

    base, data, sets, out = argv[:4]
    parser = train_twin.options()
    sets, digest = eval_twin.Sets(sets), gguf_io.sha256(base)
    os.makedirs(out, exist_ok=True)
    for name, title, differs, pooling in RECIPES:
        result = os.path.join(out, name + ".json")
        o = parser.parse_args([base, data, "--steps", "150", "--tokens", "4096",
                               "--ahead", str(AHEAD), *argv[4:]])
        o.checkpoint = o.log = None
        budget = {key: getattr(o, key) for key in ("steps", "tokens", "rank", "layers", "caps")}
        if os.path.exists(result):
            with open(result) as file:
                if json.load(file)["budget"] != budget:
                    sys.exit(f"{result} was made with another budget")
            continue
        generation = differs.get("generation", False)
        vars(o).update({k: v for k, v in differs.items() if k != "generation"})
        dtype = torch.bfloat16 if o.bf16 else torch.float32
        same = os.path.join(out, "inbedder-last.pt")
        model = twin.Twin(base, o.rank, o.k, o.alpha, o.layers, dtype).move(o.device)
        if generation and os.path.exists(same):  # one training, two ways to read it
            summary = torch.load(same)
            model.load_state_dict(summary.pop("model"))
        else:
            loss = answer_loss if generation else train_twin.losses
            summary = train_twin.train(model, o, log=lambda *_: None, loss_of=loss)
            if generation:
                torch.save({"seconds": summary["seconds"], "model": model.state_dict()}, same)
        with torch.no_grad():
            f = figures(model, sets, o, pooling)
        f = {k: f[k] for _, k in FIGURES if np.isfinite(f.get(k, np.nan))}
        if o.k:
            adapter.save(model, os.path.join(out, name + ".gguf"), digest, pooling)
        with open(result + ".new", "w") as file:
            json.dump({"title": title, "k": o.k, "pooling": pooling, "budget": budget,
                       "seconds": summary["seconds"], "figures": f}, file, indent=1)
        os.replace(result + ".new", result)
        print(f"{name}: trained in {summary['seconds']:.0f} s,",
              ", ".join(f"{t} {f[k]:.3f}" for t, k in FIGURES if k in f), flush=True)


# ----------------------------------------------------------------- time


class Session:
    """psql that stays connected"""

    def __init__(self):
        self.psql = subprocess.Popen(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, sql):
        self.psql.stdin.write(sql + ";\n\\echo --end--\n")
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            if line == "--end--\n":
                return "".join(lines).strip()
            lines.append(line)
        sys.exit("psql ended")


def results(out):
    found = []
    for name, *_ in RECIPES:
        path = os.path.join(out, name + ".json")
        if os.path.exists(path):
            with open(path) as f:
                found.append((name, json.load(f)))
    return found


ROW_MS = """
SELECT extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000 / count(*)
FROM instemb((SELECT array_agg(x) FROM row_text), 'What kind of product is this? Run {}', '{}')
"""


def time_rows(base, out, repeats=5):
    """Milliseconds of one row in a batch of 64 products, the median of `repeats` rounds in
    which the recipes take turns."""
    here = os.path.dirname(os.path.abspath(__file__))
    session = Session()
    session.ask("SELECT instemb_version()")  # loads the library, and its parameters
    folder = session.ask("SHOW instemb.data_model_dir")
    folder = folder if os.path.isabs(folder) else os.path.join(
        session.ask("SHOW data_directory"), folder)
    owner = os.stat(folder)

    def put(path, name):
        shutil.copyfile(path, os.path.join(folder, name + ".gguf"))
        os.chown(os.path.join(folder, name + ".gguf"), owner.st_uid, owner.st_gid)

    put(base, "unadapted")
    with open(os.path.join(here, "../../../demo/data/products.tsv")) as f:
        texts = [" ".join(line.rstrip("\n").split("\t")[1:]) for line in f][:640:10]
    session.ask("CREATE TEMP TABLE row_text (x text); INSERT INTO row_text VALUES "
                + ", ".join("($x$" + t + "$x$)" for t in texts))
    shapes = {}  # (k, pooling) is all that counts
    for name, r in results(out):
        shape = r["k"], r["pooling"]
        if shape not in shapes:
            shapes[shape] = f"ablation-{name}"
            if r["k"]:
                put(os.path.join(out, name + ".gguf"), f"adapter-{name}")
                session.ask(f"SELECT instemb_install('ablation-{name}', 'unadapted',"
                            f" 'adapter-{name}', true)")
            else:
                session.ask(f"SELECT instemb_define('ablation-{name}', 'unadapted',"
                            f" '{json.dumps({'pooling': r['pooling']})}', replace => true)")
    times = {shape: [] for shape in shapes}
    session.ask("SET instemb.cache_size = 0")
    for turn in range(-1, repeats):
        for shape, model in shapes.items():
            ms = float(session.ask(ROW_MS.format(turn, model)))
            if turn >= 0:  # the first round opens the files
                times[shape].append(ms)
    rows = [[k, pooling, statistics.median(t)] for (k, pooling), t in times.items()]
    with open(os.path.join(out, "times.json"), "w") as f:
        json.dump(rows, f)
    for k, pooling, ms in rows:
        print(f"K = {k}, {pooling}: {ms:.2f} ms/row")


# ---------------------------------------------------------------- table


def table(out):
    times = {}
    if os.path.exists(os.path.join(out, "times.json")):
        with open(os.path.join(out, "times.json")) as f:
            times = {(k, pooling): ms for k, pooling, ms in json.load(f)}
    found = results(out)
    if not found:
        sys.exit(f"there are no results in {out}")
    budget = found[0][1]["budget"]
    columns = [(t, k) for t, k in FIGURES if any(k in r["figures"] for _, r in found)]
    lines = ["# Ablations", "",
             f"{budget['steps']} steps of {budget['tokens']} tokens each, rank"
             f" {budget['rank']}; the same start, the same batches.  Written by `tests/golden/twin/ablations.py`.", "",
             "| recipe | pooling | " + " | ".join(t for t, _ in columns)
             + " | ms/row |",
             "|---" * (len(columns) + 3) + "|"]
    for _, r in found:
        values = [f"{r['figures'][k]:.3f}" if k in r["figures"] else "–" for _, k in columns]
        ms = times.get((r["k"], r["pooling"]))
        lines.append(f"| {r['title']} | {r['pooling']} | " + " | ".join(values)
                     + f" | {'–' if ms is None else f'{ms:.2f}'} |")
    with open(os.path.join(out, "ablations.md"), "w") as f:
        f.write("\n".join(lines) + "\n")
    print("\n".join(lines))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0], add_help=False)
    p.add_argument("verb", choices=("train", "time", "table"))
    o, rest = p.parse_known_args()
    if o.verb == "train":
        train(rest)
    elif o.verb == "time":
        time_rows(rest[0], rest[1], *map(int, rest[2:]))
    else:
        table(*rest)


if __name__ == "__main__":
    main()
