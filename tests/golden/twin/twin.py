"""The torch twin of the InstEmb method: model, adapter, pooling, losses.

Shape letters: T tokens of all sequences laid end to end, S sequences, C width
(n_embd), L layers, R rank of the adapter, K look-ahead positions, H heads,
D head size, V vocabulary.  Weights keep the GGUF layout, so the rotary
embedding turns adjacent pairs (2i, 2i+1) of every head.
"""

import inspect
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import gguf_io

try:  # packed flash attention of recent torch; only a GPU in half precision uses it
    from torch.nn.attention.varlen import varlen_attn

    CAUSAL = (
        {"is_causal": True}
        if "is_causal" in inspect.signature(varlen_attn).parameters
        else {"window_size": (-1, 0)}
    )
except ImportError:
    varlen_attn = None

KINDS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
TEMPLATE = {
    "instemb.template.prefix": "<|im_start|>user\n{instruction}\n\n",
    "instemb.template.prefix_empty": "<|im_start|>user\n",
    "instemb.template.body": "{input}",
    "instemb.template.suffix": "<|im_end|>\n<|im_start|>assistant\n",
}


# ------------------------------------------------------------- tokenizer


class Prompter:
    """Turns (instruction, text) into ids: prefix, text and suffix are
    tokenised apart and joined.  Control tokens are looked for in template
    literals only; the run between two of them is one plain string."""

    CONTROL = ("<|im_start|>", "<|im_end|>")

    def __init__(self, meta, template=None):
        from tokenizers import Tokenizer, models, pre_tokenizers

        tokens = meta["tokenizer.ggml.tokens"]
        merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
        self.ids = {t: i for i, t in enumerate(tokens)}
        self.tok = Tokenizer(models.BPE(vocab=dict(self.ids), merges=merges))
        self.tok.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        self.template = dict(TEMPLATE, **(template or {}))
        self.suffix_ids = self._literal(self.template["instemb.template.suffix"])
        self.empty_ids = self._literal(self.template["instemb.template.prefix_empty"])

    def plain(self, text):
        return self.tok.encode(text, add_special_tokens=False).ids if text else []

    def _literal(self, template, **slots):
        """Split the template at control tokens, fill slots, tokenise runs."""
        out, rest = [], template
        while rest:
            hits = [(rest.find(c), c) for c in self.CONTROL if c in rest]
            at, control = min(hits) if hits else (len(rest), None)
            run = rest[:at]
            for name, value in slots.items():
                run = run.replace("{" + name + "}", value)
            out += self.plain(run)
            if control is None:
                break
            out.append(self.ids[control])
            rest = rest[at + len(control) :]
        return out

    def prefix(self, instruction):
        if not instruction:
            return self.empty_ids
        return self._literal(self.template["instemb.template.prefix"], instruction=instruction)


# ----------------------------------------------------------------- model


class Packed:
    """Sequences laid end to end, shortest first, with what attention needs.
    `last` and `ahead` keep the order in which the sequences were given."""

    def __init__(self, seqs, k, device=None):
        """seqs: list of int arrays (prefix + text + suffix); k look-ahead
        slots follow each.  Look-ahead slots carry id 0, replaced later."""
        given = np.array([len(s) for s in seqs], dtype=np.int64)
        order = np.argsort(given, kind="stable")
        lens = given[order]
        full = lens + k
        cu = np.zeros(len(seqs) + 1, dtype=np.int64)
        np.cumsum(full, out=cu[1:])
        ids = np.zeros(cu[-1], dtype=np.int64)
        last = np.zeros(len(seqs), dtype=np.int64)
        for i, at, n in zip(order, cu, lens):
            ids[at : at + n] = seqs[i]
            last[i] = at + n - 1
        pos = np.arange(cu[-1]) - np.repeat(cu[:-1], full)
        self.host = (ids, pos, cu, last)
        self.k, self.max_len = k, int(full.max())
        self.runs = self._runs(full, cu)
        if device is not None:
            self.to(device)

    @staticmethod
    def _runs(full, cu):
        """Runs of about equal length: (first token, last token, sequences,
        width, slot of every token in the padded square)."""
        out, at = [], 0
        while at < len(full):
            end = int(np.searchsorted(full, full[at] * 1.25 + 8, side="right"))
            width = int(full[end - 1])
            slot = np.concatenate([i * width + np.arange(n) for i, n in enumerate(full[at:end])])
            out.append((int(cu[at]), int(cu[end]), end - at, width, slot))
            at = end
        return out

    def to(self, device):
        put = lambda a, t: torch.from_numpy(a).to(device=device, dtype=t, non_blocking=True)
        ids, pos, cu, last = self.host
        self.ids, self.pos = put(ids, torch.int64), put(pos, torch.int64)
        self.cu, self.last = put(cu, torch.int32), put(last, torch.int64)
        self.ahead = self.last[:, None] + 1 + torch.arange(self.k, device=device)[None]
        self.padded = [(a, b, s, w, put(slot, torch.int64)) for a, b, s, w, slot in self.runs]
        return self


def rms_norm(x, w, eps):
    y = x.float()
    y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)
    return (y * w).to(x.dtype)


def rope(x, cos, sin):
    """x (T, H, D); cos, sin (T, 1, D/2); pairs (2i, 2i+1)."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


def adapted(x, w, lora, scale):
    """x W^T, plus scale * (x A^T) B^T where the factors are kept apart.  lora
    is (A, B, B ...): one A for all parts that share x, one B for each part."""
    y = F.linear(x, w)
    if lora is None:
        return y
    z = F.linear(x, lora[0]).chunk(len(lora) - 1, dim=-1)
    return y + scale * torch.cat([F.linear(a, b) for a, b in zip(z, lora[1:])], -1)


def attn_in(x, norm, w_qkv, lora, cos, sin, heads, kv_heads, eps, scale):
    y = adapted(rms_norm(x, norm, eps), w_qkv, lora, scale)
    d = w_qkv.shape[0] // (heads + 2 * kv_heads)
    q, k, v = y.unflatten(-1, (-1, d)).split([heads, kv_heads, kv_heads], dim=1)
    return rope(q, cos, sin), rope(k, cos, sin), v


def block_out(x, attn, w_o, l_o, norm, w_gu, l_gu, w_down, l_down, eps, scale, p):
    y = adapted(attn.flatten(1), w_o, l_o, scale)
    x = x + (F.dropout(y, p) if p > 0 else y)
    gate, up = adapted(rms_norm(x, norm, eps), w_gu, l_gu, scale).chunk(2, dim=-1)
    y = adapted(F.silu(gate) * up, w_down, l_down, scale)
    return x + (F.dropout(y, p) if p > 0 else y)


def attend(q, k, v, pack):
    """Causal attention inside each sequence; q (T, H, D), k, v (T, G, D)."""
    rep = q.shape[1] // k.shape[1]
    if q.is_cuda and q.dtype != torch.float32:
        k, v = k.repeat_interleave(rep, 1), v.repeat_interleave(rep, 1)
        return varlen_attn(q, k, v, pack.cu, pack.cu, pack.max_len, pack.max_len, **CAUSAL)
    out, scale = [], q.shape[-1] ** -0.5
    for a, b, s, n, slot in pack.padded:

        def pad(t):  # (S, G, n * heads of the group, D)
            t = t.new_zeros(s * n, *t.shape[1:]).index_copy(0, slot, t[a:b])
            return t.view(s, n, k.shape[1], -1, t.shape[-1]).permute(0, 2, 3, 1, 4).flatten(2, 3)

        mask = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1).repeat(rep, 1)
        w = (pad(q * scale) @ pad(k).transpose(2, 3)).masked_fill(mask, -1e4).softmax(-1)
        y = (w @ pad(v)).unflatten(2, (rep, n)).permute(0, 3, 1, 2, 4)
        out.append(y.reshape(s * n, *q.shape[1:])[slot])
    return torch.cat(out)


class Twin(nn.Module):
    """Frozen base in GGUF layout + LoRA on every linear layer + look-ahead."""

    def __init__(self, base_path, rank=32, k=8, alpha=None, layers=None, dtype=torch.float32):
        super().__init__()
        r = gguf_io.Reader(base_path)
        m = r.meta
        self.meta, self.dtype, self.rank, self.k = m, dtype, rank, k
        self.alpha = float(alpha or rank)
        self.n_layer = layers or m["llama.block_count"]
        self.heads = m["llama.attention.head_count"]
        self.kv_heads = m["llama.attention.head_count_kv"]
        self.eps = m["llama.attention.layer_norm_rms_epsilon"]
        self.head_dim = m["llama.embedding_length"] // self.heads
        self.base = {}
        for kind in KINDS:
            w = np.stack([r.tensor(f"blk.{i}.{kind}.weight") for i in range(self.n_layer)])
            self.base[kind] = torch.from_numpy(w)
        for kind in ("attn_norm", "ffn_norm"):
            w = np.stack([r.tensor(f"blk.{i}.{kind}.weight") for i in range(self.n_layer)])
            self.base[kind] = torch.from_numpy(w)
        self.base["out_norm"] = torch.from_numpy(r.tensor("output_norm.weight"))
        self.base["embd"] = torch.from_numpy(r.tensor("token_embd.weight"))
        half = torch.arange(0, self.head_dim, 2).double() / self.head_dim
        inv = m["llama.rope.freq_base"] ** -half
        angle = torch.arange(2048).double()[:, None] * inv[None]
        self.base["cos"], self.base["sin"] = angle.cos().float(), angle.sin().float()
        self.A, self.B = nn.ParameterDict(), nn.ParameterDict()
        g = torch.Generator().manual_seed(0)
        for kind in KINDS:
            _, n_out, n_in = self.base[kind].shape
            bound = 1.0 / math.sqrt(n_in)
            a = (torch.rand(self.n_layer, rank, n_in, generator=g) * 2 - 1) * bound
            self.A[kind] = nn.Parameter(a)
            self.B[kind] = nn.Parameter(torch.zeros(self.n_layer, n_out, rank))
        self.lookahead = nn.Parameter(self._first_lookahead(k))
        self.fuse = lambda f: f
        self.fused, self.kept = {}, {}
        self.teacher_weights = None

    def _first_lookahead(self, k):
        """Start from embeddings of common answer tokens plus a little noise,
        so that the slots differ from each other."""
        g = torch.Generator().manual_seed(1)
        mean = self.base["embd"].mean(0)
        std = self.base["embd"].std(0)
        return mean + std * torch.randn(k, mean.numel(), generator=g)

    def move(self, device):
        self.base = {n: t.to(device) for n, t in self.base.items()}
        self.base["embd_c"] = self.base["embd"].to(self.dtype)
        return self.to(device)

    def compile(self):
        self.fuse, self.fused = torch.compile, {}

    def _parts(self, p):
        """The two halves of a block around attention, constants bound."""
        if p not in self.fused:
            heads, kv_heads, eps, scale = (
                self.heads,
                self.kv_heads,
                self.eps,
                self.alpha / self.rank,
            )

            def first(x, norm, w, lora, cos, sin):
                return attn_in(x, norm, w, lora, cos, sin, heads, kv_heads, eps, scale)

            def second(x, a, o, l_o, norm, gu, l_gu, down, l_down):
                return block_out(x, a, o, l_o, norm, gu, l_gu, down, l_down, eps, scale, p)

            self.fused[p] = self.fuse(first), self.fuse(second)
        return self.fused[p]

    def weights(self, adapter=True, rounding=None, apart=False):
        """Per layer (w_qkv, lora, w_o, lora, w_gu, lora, w_down, lora).
        Merged, W + alpha/rank * B A in compute type and lora None: one cost
        per step, good on a GPU; `apart` leaves the factors beside W, which
        saves the weight gradients' products and is good on a CPU."""
        names = (
            ("attn_q", "attn_k", "attn_v"),
            ("attn_output",),
            ("ffn_gate", "ffn_up"),
            ("ffn_down",),
        )

        def merged(kind):
            w = self.base[kind]
            if adapter and not apart:
                w = torch.baddbmm(w, self.B[kind], self.A[kind], alpha=self.alpha / self.rank)
            if rounding is not None:
                w = torch.from_numpy(rounding(w.detach().cpu().numpy())).to(w.device)
            return w.to(self.dtype)

        columns = []
        for group in names:
            if apart:
                if group not in self.kept:
                    self.kept[group] = torch.cat([merged(kind) for kind in group], 1).unbind(0)
                columns.append(self.kept[group])
                a = torch.cat([self.A[kind] for kind in group], 1).to(self.dtype).unbind(0)
                bs = [self.B[kind].to(self.dtype).unbind(0) for kind in group]
                columns.append(list(zip(a, *bs)) if adapter else [None] * self.n_layer)
            else:
                columns += [
                    torch.cat([merged(kind) for kind in group], 1).unbind(0),
                    [None] * self.n_layer,
                ]
        return list(zip(*columns))

    def states(self, pack, weights, p=0.0, lookahead=True):
        """Residual stream after the last layer, (T, C), before output_norm."""
        b = self.base
        x = F.embedding(pack.ids, b["embd_c"])
        if lookahead and self.k:
            rows = self.lookahead[: pack.k].to(self.dtype).repeat(len(pack.cu) - 1, 1)
            x = x.index_copy(0, pack.ahead.reshape(-1), rows)
        cos, sin = b["cos"][pack.pos][:, None], b["sin"][pack.pos][:, None]
        first, second = self._parts(p)
        for i, (qkv, l_qkv, o, l_o, gu, l_gu, down, l_down) in enumerate(weights):
            q, k, v = first(x, b["attn_norm"][i], qkv, l_qkv, cos, sin)
            x = second(x, attend(q, k, v, pack), o, l_o, b["ffn_norm"][i], gu, l_gu, down, l_down)
        return x

    def norm(self, x):
        return rms_norm(x.float(), self.base["out_norm"], self.eps)

    def read(self, pack, weights, p=0.0):
        """(h_last (S, C), h_ahead (S, K, C)), after output_norm, float32."""
        x = self.states(pack, weights, p)
        return self.norm(x[pack.last]), self.norm(x[pack.ahead])

    @torch.no_grad()
    def teacher(self, seqs, answers, device):
        """States of the frozen base, adapter off, where the gold answer
        follows the input: at the last input token (S, C) and over the first
        K answer tokens (S, K, C), with a mask of those that exist."""
        if self.teacher_weights is None:
            self.teacher_weights = self.weights(adapter=False)
        full = [np.concatenate([s, a]) for s, a in zip(seqs, answers)]
        pack = Packed(full, 0, device)
        x = self.states(pack, self.teacher_weights, lookahead=False)
        n = torch.tensor([len(a) for a in answers], device=device)
        end_of_input = pack.last - n
        steps = torch.arange(self.k, device=device)[None]
        mask = steps < n[:, None]
        at = (end_of_input[:, None] + 1 + steps).minimum(pack.last[:, None])
        return self.norm(x[end_of_input]), self.norm(x[at]), mask


# --------------------------------------------------------------- pooling


def pool(h_last, h_ahead, how="daap"):
    unit = lambda t: F.normalize(t, dim=-1)
    if how == "last":
        return unit(h_last)
    mean = h_ahead.mean(1)
    if how == "lookahead":
        return unit(mean)
    return unit(unit(h_last) + unit(mean))


# ---------------------------------------------------------------- losses


def info_nce(anchor, positive, same, tau):
    """InfoNCE with in-batch negatives.  anchor, positive (N, C) unit rows;
    same[i, j] true where row j has the same answer as row i: such rows are no
    negatives (and i's own positive stays)."""
    sim = anchor @ positive.T / tau
    own = torch.eye(len(sim), dtype=torch.bool, device=sim.device)
    sim = sim.masked_fill(same & ~own, -1e4)
    return F.cross_entropy(sim, torch.arange(len(sim), device=sim.device))


def answer_nce(query, answers, target, tau, extra=None):
    """Queries against the batch's distinct answers, both directions.  Equal
    answers are one column, so they cannot be false negatives."""
    sim = query @ answers.T / tau
    forward = F.cross_entropy(sim, target)
    hit = target[:, None] == torch.arange(len(answers), device=sim.device)[None]
    back = sim.T  # (answers, queries): other queries of the same answer masked
    own = sim.gather(1, target[:, None])[:, 0]
    rest = torch.logsumexp(back.masked_fill(hit.T, -1e4), 1)[target]
    backward = (torch.logaddexp(own, rest) - own).mean()
    return forward, backward


def group_nce(query, answer_key, cluster, tau):
    """Rows against rows.  Positives: same answer under the same instruction
    (or a rewording of it); same answer elsewhere is masked; all else, the
    same text under another instruction included, is negative."""
    n = len(query)
    sim = query @ query.T / tau
    eye = torch.eye(n, dtype=torch.bool, device=sim.device)
    same = answer_key[:, None] == answer_key[None]
    positive = same & (cluster[:, None] == cluster[None]) & ~eye
    rest = torch.logsumexp(sim.masked_fill(same | eye, -1e4), 1, keepdim=True)
    each = torch.logaddexp(sim, rest) - sim
    count = positive.sum(1)
    loss = (each * positive).sum(1) / count.clamp(min=1)
    return loss[count > 0].sum() / (count > 0).sum().clamp(min=1)


def ahead_mse(h_ahead, teacher, mask):
    """MSE between unit-RMS states, over look-ahead slots with a gold token."""
    d = (h_ahead - teacher).pow(2).mean(-1) / teacher.pow(2).mean(-1).clamp(min=1e-6)
    return (d * mask).sum() / mask.sum().clamp(min=1)


def ahead_kl(h_ahead, teacher, mask, embd, dtype):
    """KL(teacher || student) of next-token distributions at the slots."""
    rows = mask.nonzero(as_tuple=True)
    s = F.linear(h_ahead[rows].to(dtype), embd).float().log_softmax(-1)
    t = F.linear(teacher[rows].to(dtype), embd).float().log_softmax(-1)
    return (t.exp() * (t - s)).sum(-1).mean()


def ahead_ce(h_ahead, gold, embd, dtype):
    """Cross-entropy of slot k with the gold answer's k-th token (-1: none)."""
    rows = (gold >= 0).nonzero(as_tuple=True)
    logits = F.linear(h_ahead[rows].to(dtype), embd).float()
    return F.cross_entropy(logits, gold[rows])
