"""Writes what the twin computes when it trains the tiny model, for the C trainer
to be compared with (tests/unit/test_train_golden.c).

    python train_golden.py TINY.gguf ADAPTER.gguf OUT

Training begins with the adapter; every step's batch is all rows, in fp32 without
dropout, by the losses of train_twin.py and the generation of ablations.py.  The
file, little-endian:

    "IETWIN2\\n"
    u32 n_rows, n_steps, K, rank, n_params
    f32 alpha
    f64 learning rate, warm-up, weight decay, clipping norm, temperature, and the
        weights of the losses in LOSSES
    n_rows x instruction, input, output: u32 length, UTF-8
    f32 gradient[n_params]          of the first step, in the C trainer's order
    n_steps x f64                   loss, the losses in LOSSES not weighted, norm of
                                    the gradient
"""
import argparse
import struct

import numpy as np
import torch

import ablations
import adapter
import gguf_io
import train_twin
import twin

LOSSES = ("answer", "back", "group", "teacher", "mse", "kl", "ce", "generation")
GROUPS = (("attn_q", "attn_k", "attn_v"), ("attn_output",), ("ffn_gate", "ffn_up"), ("ffn_down",))
SETTINGS = [
    "--steps=12", "--lr=1e-3", "--warmup=0.2", "--decay=0.01", "--clip=1.0", "--tau=0.05",
    "--w-answer=1.0", "--w-back=0.5", "--w-group=1.0", "--w-teacher=0.3", "--w-mse=0.2",
    "--w-kl=0.4", "--w-ce=0.1", "--p=0.0", "--device=cpu", "--bf16=0", "--compile=0",
]  # fmt: skip
W_GENERATION = 0.25
ROWS = [
    ("Is it good for outdoor use?", "A light and waterproof tent for four persons", "yes"),
    ("Is it good for outdoor use?", "A colour laser printer with duplex unit", "no"),
    ("Is it good for outdoor use?", "A garden chair of solid wood", "yes"),
    ("What kind of product is it?", "A light and waterproof tent for four persons", "tent"),
    ("What kind of product is it?", "A colour laser printer with duplex unit", "a printer"),
    ("What kind of product is it?", "A garden chair of solid wood", "a garden chair"),
    ("What kind of product is it?", "Tent with two doors and a bag", "tent"),
    ("Which is it for?", "A light and waterproof tent for four persons", "four persons, or two"),
    ("", "The jacket keeps out wind and water", "It keeps out wind"),
    ("", "Tent with two doors and a bag", "a tent with doors"),
    ("Is it for a child?", "Die Größe passt, über die Qualität kann man streiten", "no"),
    ("Was the service good?", "The food was very good but the service was slow. " * 3, "no"),
]


def batch(prompter, rows, k):
    """All rows, as train_data.Batches.batch() gives them"""
    number = lambda values: {v: i for i, v in enumerate(dict.fromkeys(values))}
    answers = number(a for _, _, a in rows)
    instructions = number(q for q, _, _ in rows)
    end = prompter.ids["<|im_end|>"]
    seqs = [prompter.prefix(q) + prompter.plain(x) + prompter.suffix_ids for q, x, _ in rows]
    alone = [prompter.empty_ids + prompter.plain(a) + prompter.suffix_ids for a in answers]
    golds = [np.array(prompter.plain(a) + [end], np.int64) for _, _, a in rows]
    gold = np.full((len(rows), k), -1, np.int64)
    for i, g in enumerate(golds):
        gold[i, : min(k, len(g))] = g[:k]
    key = np.array([answers[a] for _, _, a in rows])
    return {
        "pack": twin.Packed([np.array(s) for s in seqs + alone], k), "n": len(rows),
        "target": key, "key": key, "cluster": np.array([instructions[q] for q, _, _ in rows]),
        "gold": gold, "golds": golds, "seqs": [np.array(s) for s in seqs],
    }  # fmt: skip


def gradient(model):
    """All gradients in the C trainer's order: train/shape.h"""
    parts = []
    for i in range(model.n_layer):
        for group in GROUPS:
            parts += [model.A[kind].grad[i] for kind in group]
            parts += [model.B[kind].grad[i] for kind in group]
    return np.concatenate([p.flatten().numpy() for p in parts + [model.lookahead.grad]])


def write_head(f, model, o, n_params):
    f.write(b"IETWIN2\n")
    f.write(struct.pack("<5I", len(ROWS), o.steps, model.k, model.rank, n_params))
    f.write(struct.pack("<f", model.alpha))
    f.write(struct.pack("<5d", o.lr, o.warmup, o.decay, o.clip, o.tau))
    f.write(struct.pack("<8d", *(getattr(o, f"w_{name}") for name in LOSSES)))
    for text in (t for row in ROWS for t in row):
        data = text.encode()
        f.write(struct.pack("<I", len(data)) + data)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("base")
    p.add_argument("adapter")
    p.add_argument("out")
    a = p.parse_args()
    o = train_twin.options().parse_args([a.base, "-"] + SETTINGS)
    o.w_generation = W_GENERATION
    torch.set_num_threads(1)
    model = adapter.load_twin(a.base, a.adapter).move("cpu")
    b = batch(twin.Prompter(gguf_io.Reader(a.base).meta), ROWS, model.k)
    params = list(model.parameters())
    opt = torch.optim.AdamW(params, lr=o.lr, betas=(0.9, 0.98), eps=1e-8, weight_decay=o.decay)
    with open(a.out, "wb") as f:
        for step in range(o.steps):
            for group in opt.param_groups:
                group["lr"] = train_twin.rate(step, o)
            loss, part = train_twin.losses(model, b, o, "cpu")
            part["answer"], part["back"], part["group"] = (
                part[f"{name}.daap"] for name in ("answer", "back", "group")
            )
            part["generation"] = o.w_generation * ablations.answer_loss(model, b, o, "cpu")[0]
            loss = loss + part["generation"]
            opt.zero_grad(set_to_none=True)
            loss.backward()
            if step == 0:
                g = gradient(model)
                write_head(f, model, o, len(g))
                f.write(g.astype("<f4").tobytes())
            norm = torch.nn.utils.clip_grad_norm_(params, o.clip)
            opt.step()
            parts = [part[name].item() / getattr(o, f"w_{name}") for name in LOSSES]
            f.write(struct.pack("<10d", loss.item(), *parts, norm.item()))
            print(step, loss.item(), parts, norm.item())


if __name__ == "__main__":
    main()
