"""Writes a golden file: what the reference (llama.py) computes for given texts.

    python reference.py MODEL OUT --texts FILE [--adapter FILE] [--limit N]
                        [--trace TEXT,INSTRUCTION ...] [--trace-rows N]
    python reference.py MODEL --cross-check

--texts is a .jsonl file, or a folder: then of every .jsonl and .jsonl.gz file below
it an equal share of --limit texts.  --trace I,J adds all states of text I under
instruction J, of the last N rows (0: of all).  --cross-check compares the weights
with those that transformers itself loads from the GGUF file.

The file, little-endian:

    "IEGOLD1\\n"
    char sha256[64]                 of the model file, before the adapter is merged
    u32 C, L, n_instructions, n_texts, n_traces
    n_instructions + n_texts x      u32 length, UTF-8
    n_instructions x
        f32 mean[C]                 of the instruction's vectors
        f16 vectors[n_texts][C]     less the mean: all lie close to it, so that half
                                    precision would move neighbours otherwise
    n_traces x
        u32 text, instruction, n_rows (T + K), first_row
        f16 states[2 + 2 L][n_rows - first_row][C]
                                    embd, then attn_out and out of each layer, norm
"""
import argparse
import gzip
import hashlib
import json
import os
import struct
import sys
import time

import numpy as np
import torch

from llama import Reference

INSTRUCTIONS = ["", "Is this product suitable for outdoor use?", "What kind of product is this?"]
TEXT_KEYS = ("text", "anchor", "sentence1")
MAX_CHARACTERS = 2000


def spread(items, n):
    """n of the items, evenly spread"""
    return [items[i * len(items) // n] for i in range(min(n, len(items)))] if n else items


def read_file(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    texts = [row[key] for row in rows for key in TEXT_KEYS if key in row]
    return list(dict.fromkeys(t for t in texts if t))


def read_texts(path, limit):
    if not os.path.isdir(path):
        return spread(read_file(path), limit)
    files = [read_file(os.path.join(folder, name)) for folder, _, names in sorted(os.walk(path))
             for name in sorted(names) if name.endswith((".jsonl", ".jsonl.gz"))]
    files = [[t[:MAX_CHARACTERS] for t in texts] for texts in files if texts]
    share = -(-limit // len(files)) if limit else 0
    return list(dict.fromkeys(t for texts in files for t in spread(texts, share)))


def half(x):
    y = np.asarray(x).astype("<f2")
    if not np.isfinite(y).all():
        raise ValueError("a state does not fit f16")
    return y.tobytes()


def packed(text):
    data = text.encode("utf-8")
    return struct.pack("<I", len(data)) + data


def write(args, out):
    reference = Reference(args.model, args.adapter)
    config = reference.model.config
    texts = read_texts(args.texts, args.limit)
    with open(args.model, "rb") as f:
        out.write(b"IEGOLD1\n" + hashlib.file_digest(f, "sha256").hexdigest().encode())
    out.write(struct.pack("<5I", config.hidden_size, config.num_hidden_layers,
                          len(INSTRUCTIONS), len(texts), len(args.trace)))
    for text in INSTRUCTIONS + texts:
        out.write(packed(text))
    for instruction in INSTRUCTIONS:
        start = time.monotonic()
        vectors = reference.embed(texts, instruction)
        mean = vectors.mean(0)
        out.write(mean.astype("<f4").tobytes() + half(vectors - mean))
        print(f"{len(texts)} texts under {instruction!r}: {time.monotonic() - start:.0f} s",
              file=sys.stderr)
    for trace in args.trace:
        text, instruction = map(int, trace.split(","))
        states = reference.states(texts[text], INSTRUCTIONS[instruction])
        n_rows = len(states[0])
        first = max(0, n_rows - args.trace_rows) if args.trace_rows else 0
        out.write(struct.pack("<4I", text, instruction, n_rows, first))
        for state in states:
            out.write(half(state[first:]))


def cross_check(path):
    from transformers import LlamaForCausalLM
    ours = Reference(path).model.state_dict()
    folder, name = os.path.split(os.path.abspath(path))
    theirs = LlamaForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    config = theirs.config
    theirs = theirs.state_dict()
    if set(ours) != set(theirs):
        sys.exit(f"tensors differ: {set(ours) ^ set(theirs)}")
    for key, value in ours.items():
        if not torch.equal(value, theirs[key]):
            sys.exit(f"{key} differs by {(value - theirs[key]).abs().max()}")
    print(f"{name}: {len(ours)} tensors equal those that transformers loads, "
          f"theta {config.rope_parameters['rope_theta']:g}, eps {config.rms_norm_eps:g}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("out", nargs="?")
    p.add_argument("--texts")
    p.add_argument("--adapter")
    p.add_argument("--limit", type=int, default=0)
    p.add_argument("--trace", action="append", default=[])
    p.add_argument("--trace-rows", type=int, default=0)
    p.add_argument("--cross-check", action="store_true")
    args = p.parse_args()
    if args.cross_check:
        return cross_check(args.model)
    temp = args.out + ".tmp"
    with open(temp, "wb") as f:
        write(args, f)
    os.replace(temp, args.out)


if __name__ == "__main__":
    main()
