"""What a step of training costs with torch, to compare with bench_train.c.

    python bench_train.py BASE.gguf [threads [rows [tokens [steps]]]]

The twin (tests/golden/twin) in fp32 on the CPU: the same number and lengths of
sequences, the same losses, LoRA factors apart.  Needs the twin's requirements.
"""

import os
import sys
import time

import numpy as np
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "twin"))

import gguf_io  # noqa: E402
import train_twin  # noqa: E402
import twin  # noqa: E402


def batch(prompter, n_rows, n_tokens, k):
    rng = np.random.default_rng(1)
    frame = prompter.prefix("What is this about?")
    n_text = n_tokens - k - len(frame) - len(prompter.suffix_ids)
    seqs = [np.concatenate([frame, rng.integers(1000, 20000, n_text), prompter.suffix_ids])
            for _ in range(n_rows)]  # fmt: skip
    texts = [prompter.plain(f"answer {i}") for i in range(n_rows)]
    answers = [np.array(prompter.empty_ids + t + prompter.suffix_ids) for t in texts]
    golds = [np.array(t + [2]) for t in texts]
    gold = np.full((n_rows, k), -1, np.int64)
    for i, g in enumerate(golds):
        gold[i, : min(k, len(g))] = g[:k]
    numbers = np.arange(n_rows)
    return {
        "pack": twin.Packed(seqs + answers, k), "n": n_rows, "target": numbers, "key": numbers,
        "cluster": np.zeros(n_rows, np.int64), "gold": gold, "golds": golds, "seqs": seqs,
    }  # fmt: skip


def main():
    base = sys.argv[1]
    threads, n_rows, n_tokens, steps = [
        int(sys.argv[i]) if len(sys.argv) > i else default
        for i, default in ((2, 2), (3, 32), (4, 100), (5, 5))
    ]
    torch.set_num_threads(threads)
    o = train_twin.options().parse_args(
        [base, "-", "--device=cpu", "--bf16=0", "--compile=0", "--w-ce=0.1"]
    )
    model = twin.Twin(base, 32, 8).move("cpu")
    prompter = twin.Prompter(gguf_io.Reader(base).meta)
    b = batch(prompter, n_rows, n_tokens, 8)
    params = list(model.parameters())
    opt = torch.optim.AdamW(params, lr=4e-4, betas=(0.9, 0.98), weight_decay=0.0)
    best = 1e9
    for step in range(steps):
        start = time.time()
        loss, _ = train_twin.losses(model, b, o, "cpu")
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        spent = time.time() - start
        best = min(best, spent)
        n = len(b["pack"].ids)
        print(f"step {step + 1}: {n} positions, loss {loss.item():.4f}, {spent:.2f} s", flush=True)
    rss = [x for x in open("/proc/self/status") if x.startswith("RssAnon")]
    print(f"best {best:.2f} s", *rss)


if __name__ == "__main__":
    main()
