"""The adapter's GGUF file: LoRA factors, look-ahead vectors, model definition.

    python adapter.py BASE.gguf ADAPTER.gguf OUT.gguf [--type q8_0] [--pooling daap]

writes a trained adapter again as it is to be shipped.
"""

import argparse

import numpy as np
import torch

import gguf_io
from twin import KINDS, TEMPLATE, Twin


def save(
    model,
    path,
    base_sha256,
    pooling="daap",
    name="InstEmb SmolLM2-135M-Instruct",
    licence="apache-2.0",
    template=None,
    version=1,
    kind="f16",
):
    meta = {
        "general.type": "adapter",
        "general.architecture": model.meta["general.architecture"],
        "general.name": name,
        "general.license": licence,
        "adapter.type": "lora",
        "adapter.lora.alpha": float(model.alpha),
        **TEMPLATE,
        **(template or {}),
        "instemb.pooling": pooling,
        "instemb.lookahead_count": int(model.k),
        "instemb.base_sha256": base_sha256,
        "instemb.adapter_version": int(version),
    }
    form = {"f16": lambda x: x.astype(np.float16), "q8_0": gguf_io.Q8}[kind]
    tensors = {}
    for i in range(model.n_layer):
        for kind in KINDS:
            for part, p in (("lora_a", model.A[kind]), ("lora_b", model.B[kind])):
                tensors[f"blk.{i}.{kind}.weight.{part}"] = form(p[i].detach().float().cpu().numpy())
    tensors["instemb.lookahead"] = form(model.lookahead.detach().float().cpu().numpy())
    gguf_io.write(path, meta, tensors)


def load_twin(base_path, path, dtype=torch.float32, layers=None):
    r = gguf_io.Reader(path)
    k, n = r.info["instemb.lookahead"][0]
    rank = r.info["blk.0.attn_q.weight.lora_a"][0][0]
    model = Twin(base_path, rank, k, r.meta["adapter.lora.alpha"], layers, dtype)
    with torch.no_grad():
        for kind in KINDS:
            for part, p in (("lora_a", model.A[kind]), ("lora_b", model.B[kind])):
                p.copy_(
                    torch.from_numpy(
                        np.stack(
                            [
                                r.tensor(f"blk.{i}.{kind}.weight.{part}")
                                for i in range(model.n_layer)
                            ]
                        )
                    )
                )
        model.lookahead.copy_(torch.from_numpy(r.tensor("instemb.lookahead")))
    return model


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for n in ("base", "adapter", "out"):
        p.add_argument(n)
    p.add_argument("--type", default="f16", choices=("f16", "q8_0"))
    p.add_argument("--pooling", default="daap", choices=("daap", "last", "lookahead"))
    p.add_argument("--version", type=int, default=1)
    p.add_argument("--mean", help="another adapter, trained on from: write the mean of the two")
    o = p.parse_args()
    sha256 = gguf_io.Reader(o.adapter).meta["instemb.base_sha256"]
    model = load_twin(o.base, o.adapter)
    if o.mean:
        with torch.no_grad():
            for mine, other in zip(model.parameters(), load_twin(o.base, o.mean).parameters()):
                mine.add_(other).div_(2)
    save(model, o.out, sha256, o.pooling, version=o.version, kind=o.type)


if __name__ == "__main__":
    main()
