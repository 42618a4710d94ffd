"""The engine's embeddings against the twin's, through SQL.

    tests/with-cluster python tests/golden/twin/compare_engine.py BASE.gguf ADAPTER.gguf \
        [--model default] [--texts 50]

Texts are those of tests/golden/texts.jsonl, under instructions and without.
The twin computes in float32, with the merged weights as they are and rounded to
Q8_0 as an installed model has them; the engine in integers, as every session
does.  Ends with status 1 if a cosine with the unrounded twin is below 0.998.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import torch

import gguf_io
import twin
from adapter import load_twin

TEXTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "texts.jsonl")
ASKED = (
    "",
    "What kind of product is this?",
    "Is this product suitable for outdoor use?",
    "Which language is the text written in?",
    "What is the text about?",
)
AT_LEAST = 0.998


def in_sql(pairs, model):
    rows = json.dumps([{"q": q, "x": x} for q, x in pairs])
    sql = f"""SELECT jsonb_agg(to_jsonb(instemb(r ->> 'x', r ->> 'q')) ORDER BY i)
FROM jsonb_array_elements($rows${rows}$rows$) WITH ORDINALITY AS v(r, i);"""
    head = f"CREATE EXTENSION IF NOT EXISTS instemb;\nSET instemb.model = '{model}';\n"
    out = subprocess.run(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"],
        input=head + sql,
        text=True,
        check=True,
        stdout=subprocess.PIPE,
    )
    return torch.tensor(json.loads(out.stdout))


def in_twin(model, pairs, rounding):
    prompter = twin.Prompter(model.meta)
    seqs = [
        np.array(prompter.prefix(q) + prompter.plain(x) + prompter.suffix_ids) for q, x in pairs
    ]
    weights = model.weights(rounding=rounding)
    part = [twin.pool(*model.read(twin.Packed([s], model.k, "cpu"), weights)) for s in seqs]
    return torch.cat(part)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("base")
    p.add_argument("adapter")
    p.add_argument("--model", default="default", help="the installed model that holds both")
    p.add_argument("--texts", type=int, default=50)
    o = p.parse_args()
    with open(TEXTS) as f:
        lines = [json.loads(line)["text"] for line in f]
    lines = [x for x in lines if x.strip()]
    lines = [lines[i] for i in np.linspace(0, len(lines) - 1, o.texts).astype(int)]
    pairs = [(ASKED[i % len(ASKED)], x[:1500]) for i, x in enumerate(lines)]
    torch.set_grad_enabled(False)
    model = load_twin(o.base, o.adapter).move("cpu")
    engine = in_sql(pairs, o.model)
    worst = []
    for name, rounding in (("as they are", None), ("rounded to Q8_0", gguf_io.round_q8_0)):
        cosine = (engine * in_twin(model, pairs, rounding)).sum(1)
        worst.append(cosine.min().item())
        print(
            f"{len(pairs)} texts, merged weights {name}: cosine at least {cosine.min():.6f},",
            f"mean {cosine.mean():.6f}",
        )
    sys.exit(worst[0] < AT_LEAST)


if __name__ == "__main__":
    main()
