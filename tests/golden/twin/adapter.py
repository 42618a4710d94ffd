"""The adapter's GGUF file: LoRA factors, look-ahead vectors, model definition."""

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
    dtype=np.float16,
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
    tensors = {}
    for i in range(model.n_layer):
        for kind in KINDS:
            for part, p in (("lora_a", model.A[kind]), ("lora_b", model.B[kind])):
                tensors[f"blk.{i}.{kind}.weight.{part}"] = (
                    p[i].detach().float().cpu().numpy().astype(dtype)
                )
    tensors["instemb.lookahead"] = model.lookahead.detach().float().cpu().numpy().astype(dtype)
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
