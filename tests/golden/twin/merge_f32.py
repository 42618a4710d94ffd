"""Base and adapter merged in float32: what the packed file is an approximation of.

    python merge_f32.py BASE.gguf ADAPTER.gguf OUT.gguf

The engine computes such a file in float32.  Beside the packed model in `make quality
MODELS='default OUT'` it shows what 8 bits cost.
"""

import argparse

import numpy as np

import gguf_io


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for n in ("base", "adapter", "out"):
        p.add_argument(n)
    o = p.parse_args()
    base, adapter = gguf_io.Reader(o.base), gguf_io.Reader(o.adapter)
    meta = {k: v for k, v in adapter.meta.items() if k.startswith("instemb.")}
    tensors = {}
    for name in base.info:
        w = base.tensor(name)
        if name + ".lora_a" in adapter.info:
            a, b = (adapter.tensor(f"{name}.lora_{x}") for x in "ab")
            w = w + np.float32(adapter.meta["adapter.lora.alpha"] / len(a)) * (b @ a)
        tensors[name] = w.astype(np.float32)
    tensors["instemb.lookahead"] = adapter.tensor("instemb.lookahead")
    gguf_io.write(o.out, meta, tensors, head=base.head)


if __name__ == "__main__":
    main()
