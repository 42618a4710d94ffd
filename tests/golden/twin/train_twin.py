"""Trains an InstEmb adapter with torch.

    python train_twin.py BASE.gguf DATA.npz --out adapter.gguf --steps 2000 ...
    python train_twin.py BASE.gguf DATA.npz --queue recipes.json --eval EVAL.npz

The loss is a weighted sum; with a queue, several recipes are trained one
after the other from the same start and a table of figures is written.

Several processes (WORLD_SIZE, RANK, MASTER_ADDR, MASTER_PORT, as torch's) share
every batch: each reads its part of the sequences, all see all states, and the
sum of their gradients is the whole batch's.  On a busy machine two processes
of one thread are faster than one of two.
"""

import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch.distributed as dist

import adapter
import eval_twin
import gguf_io
import twin
from train_data import SHARE, Batches


def options():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("base")
    p.add_argument("data")
    p.add_argument("--out", default="adapter.gguf")
    p.add_argument("--init", default=None, help="adapter to go on from, with a fresh optimiser")
    p.add_argument("--log", default=None, help="loss log, JSON lines")
    p.add_argument("--eval", default=None, help="tokenised development sets (eval_twin.py prepare)")
    p.add_argument("--queue", default=None, help="JSON list of {name, option: value ...}")
    p.add_argument("--results", default="results.json")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--workers", type=int, default=0)
    p.add_argument("--compile", type=int, default=1)
    p.add_argument(
        "--bf16", type=int, default=1, help="products in bfloat16, adapter and optimiser in float32"
    )
    p.add_argument("--layers", type=int, default=None, help="cut the model (smoke tests)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--tokens", type=int, default=65536, help="tokens of a batch")
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--warmup", type=float, default=0.05, help="share of the steps")
    p.add_argument("--decay", type=float, default=0.0, help="weight decay")
    p.add_argument("--clip", type=float, default=1.0)
    p.add_argument("--rank", type=int, default=32)
    p.add_argument("--alpha", type=float, default=None)
    p.add_argument("--k", type=int, default=8)
    p.add_argument("--ahead", type=int, default=None, help="look-ahead vectors counted in tokens")
    p.add_argument("--tau", type=float, default=0.05)
    p.add_argument("--p", type=float, default=0.0, help="dropout after attn_output and ffn_down")
    p.add_argument(
        "--contrast", default="daap", help="pooled forms that the contrastive losses see"
    )
    p.add_argument("--w-answer", type=float, default=1.0, help="query against answers")
    p.add_argument("--w-back", type=float, default=0.5, help="answer against queries")
    p.add_argument("--w-group", type=float, default=1.0, help="rows against rows")
    p.add_argument(
        "--w-view", type=float, default=0.0, help="same input under another dropout mask"
    )
    p.add_argument(
        "--w-teacher", type=float, default=0.0, help="teacher's state at the last input token"
    )
    p.add_argument("--w-mse", type=float, default=0.0)
    p.add_argument("--w-kl", type=float, default=0.0)
    p.add_argument("--w-ce", type=float, default=0.1)
    p.add_argument("--reword", type=float, default=0.3)
    p.add_argument("--derived", type=int, default=1)
    p.add_argument("--grouped", type=int, default=1)
    p.add_argument("--drop", default="", help="families left out, with commas")
    p.add_argument(
        "--caps",
        default="400:1",
        help="LENGTH:SHARE,... : longer texts are cut to a window with the answer",
    )
    p.add_argument("--checkpoint", default=None)
    p.add_argument("--save-every", type=float, default=60.0, help="seconds between checkpoints")
    p.add_argument(
        "--time-limit", type=float, default=1e9, help="stop after so many seconds; resume later"
    )
    p.add_argument(
        "--by-time", type=int, default=0, help="cosine over the time limit, not the steps"
    )
    p.add_argument("--log-every", type=int, default=20)
    p.add_argument("--sha256", default="")
    return p


class Feed(torch.utils.data.Dataset):
    def __init__(self, batches, first, last):
        self.batches, self.first, self.n = batches, first, last - first

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.batches.batch(self.first + i)


def as_is(batch):
    return batch


def exchange(b, h_last, h_ahead, device):
    """All sequences' states, in the batch's order.  Each of several processes
    reads its own; the others' come without gradient, so that the sum of the
    processes' gradients is the gradient of the whole batch's loss."""
    mine = torch.from_numpy(b["mine"]).to(device)
    h = torch.cat([h_last[:, None], h_ahead], 1)
    full = h.new_zeros(b["n_all"], *h.shape[1:]).index_copy(0, mine, h.detach())
    dist.all_reduce(full)
    full = full.index_copy(0, mine, h)
    return full[:, 0], full[:, 1:]


def losses(model, b, o, device):
    """Total loss and its parts for one batch."""
    pack = b["pack"].to(device)
    n = b["n"]
    put = lambda a: torch.from_numpy(a).to(device)
    target, key, cluster = put(b["target"]), put(b["key"]), put(b["cluster"])
    w = model.weights(apart=device == "cpu")
    h_last, h_ahead = model.read(pack, w, o.p)
    if dist.is_initialized():
        h_last, h_ahead = exchange(b, h_last, h_ahead, device)
    part = {}
    answered = (target >= 0).nonzero()[:, 0]
    for how in o.contrast.split(","):
        e = twin.pool(h_last, h_ahead, how)
        q, a = e[:n], e[n:]
        fwd, back = twin.answer_nce(q[answered], a, target[answered], o.tau)
        group = twin.group_nce(q, key, cluster, o.tau)
        for name, weight, value in (
            ("answer", o.w_answer, fwd),
            ("back", o.w_back, back),
            ("group", o.w_group, group),
        ):
            part[f"{name}.{how}"] = weight * value
    with torch.no_grad():
        sim = q[answered] @ a.T
        accuracy = (sim.argmax(1) == target[answered]).float().mean()
    if o.w_view > 0:
        m = min(n, 256)
        again = twin.Packed(b["seqs"][:m], model.k, device)
        e2 = twin.pool(*model.read(again, w, o.p), o.contrast.split(",")[0])
        part["view"] = o.w_view * twin.info_nce(q[:m], e2, key[:m, None] == key[None, :m], o.tau)
    gold = put(b["gold"])
    if o.w_ce > 0:
        if dist.is_initialized():
            here = torch.zeros(n, dtype=torch.bool)
            here[torch.from_numpy(b["mine"][b["mine"] < n])] = True
            mine = torch.where(here[:, None].to(device), gold, -1)
            share = (mine >= 0).sum() / (gold >= 0).sum()
        else:
            mine, share = gold, 1.0
        part["ce"] = (
            o.w_ce * share * twin.ahead_ce(h_ahead[:n], mine, model.base["embd_c"], model.dtype)
        )
    if o.w_mse > 0 or o.w_kl > 0 or o.w_teacher > 0:
        rows = [i for i in range(n) if len(b["golds"][i])]
        t_last, t_ahead, mask = model.teacher(
            [b["seqs"][i] for i in rows], [b["golds"][i] for i in rows], device
        )
        idx = torch.tensor(rows, device=device)
        if o.w_mse > 0:
            part["mse"] = o.w_mse * twin.ahead_mse(h_ahead[idx], t_ahead, mask)
        if o.w_kl > 0:
            part["kl"] = o.w_kl * twin.ahead_kl(
                h_ahead[idx], t_ahead, mask, model.base["embd_c"], model.dtype
            )
        if o.w_teacher > 0:
            k = key[idx]
            part["teacher"] = o.w_teacher * twin.info_nce(
                twin.pool(h_last[idx], h_ahead[idx], "last"),
                torch.nn.functional.normalize(t_last, dim=-1),
                k[:, None] == k[None],
                o.tau,
            )
    return sum(part.values()), dict({k: v.detach() for k, v in part.items()}, accuracy=accuracy)


def rate(step, o, spent=0.0):
    """Warm-up, then cosine to 2 %.  With --by-time the cosine runs over the
    time limit instead of the steps (a busy machine), and the log has the
    learning rate of every step, so that the run can be followed."""
    warm = max(1, int(o.warmup * o.steps))
    ramp = min(1.0, (step + 1) / warm)
    t = spent / o.time_limit if o.by_time else max(0, step - warm) / max(1, o.steps - warm)
    return o.lr * ramp * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, t))))


def train(model, o, log=print, loss_of=losses):
    """Trains in place; returns a summary.  Stops early at o.time_limit with a
    checkpoint, from which the same call goes on.  loss_of: as losses()."""
    device = o.device
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    torch.manual_seed(o.seed)
    params = list(model.parameters())
    opt = torch.optim.AdamW(
        params, lr=o.lr, betas=(0.9, 0.98), eps=1e-8, weight_decay=o.decay, fused=device == "cuda"
    )
    first, before = 0, 0.0
    if o.checkpoint and os.path.exists(o.checkpoint):
        c = torch.load(o.checkpoint, map_location=device)
        model.load_state_dict(c["model"])
        opt.load_state_dict(c["opt"])
        first, before = c["step"], c["seconds"]
        log(f"resumed at step {first}")
    batches = Batches(
        o.data,
        o.seed,
        o.tokens,
        model.k,
        o.reword,
        bool(o.derived),
        bool(o.grouped),
        tuple(x for x in o.drop.split(",") if x),
        [(int(c.split(":")[0]), float(c.split(":")[1])) for c in o.caps.split(",")],
        (rank, world),
        o.ahead,
    )
    feed = torch.utils.data.DataLoader(
        Feed(batches, first, o.steps),
        batch_size=None,
        num_workers=o.workers,
        collate_fn=as_is,
        prefetch_factor=4 if o.workers else None,
    )
    out = open(o.log, "a") if o.log and rank == 0 else None
    start = mark = saved = time.time()
    step, rows, tokens, history = first, 0, 0, []

    def save(step):
        if o.checkpoint and rank == 0:
            torch.save(
                {
                    "model": model.state_dict(),
                    "opt": opt.state_dict(),
                    "step": step,
                    "seconds": before + time.time() - start,
                },
                o.checkpoint + ".new",
            )
            os.replace(o.checkpoint + ".new", o.checkpoint)
            adapter.save(model, o.out, o.sha256)

    for b in feed:
        spent = torch.tensor([before + time.time() - start], dtype=torch.float64)
        if world > 1:
            dist.broadcast(spent, 0)
        spent = spent.item()
        if spent > o.time_limit:
            break
        lr = rate(step, o, spent)
        for g in opt.param_groups:
            g["lr"] = lr
        torch.manual_seed(
            o.seed * 1000003 + step
        )  # dropout masks follow the step, also after a resume
        loss, part = loss_of(model, b, o, device)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        if world > 1:
            flat = torch.cat([q.grad.reshape(-1) for q in params])
            dist.all_reduce(flat)
            for q, g in zip(params, flat.split([q.numel() for q in params])):
                q.grad.copy_(g.view_as(q))
        norm = torch.nn.utils.clip_grad_norm_(params, o.clip)
        opt.step()
        step += 1
        rows += b["n"]
        tokens += b["tokens"]
        if step == first + 3 and device == "cuda":  # leave compilation out of the speed
            torch.cuda.synchronize()
            mark, rows, tokens = time.time(), 0, 0
        if step % o.log_every == 0 or step == o.steps or step <= 3:
            line = {
                "step": step,
                "loss": round(loss.item(), 4),
                "norm": round(norm.item(), 3),
                "lr": round(lr, 8),
                **{k: round(v.item(), 4) for k, v in part.items()},
                "seconds": round(time.time() - start, 1),
            }
            if not math.isfinite(line["loss"]):
                raise SystemExit(f"loss is not finite at step {step}")
            history.append(line)
            if out:
                out.write(json.dumps(line) + "\n")
                out.flush()
            if step % 100 == 0 or step == o.steps or step <= 3:
                log(json.dumps(line))
        if time.time() - saved > o.save_every:
            saved = time.time()
            save(step)
    if device == "cuda":
        torch.cuda.synchronize()
    spent = max(1e-9, time.time() - mark)
    save(step)
    return {
        "step": step,
        "done": step >= o.steps,
        "seconds": time.time() - start,
        "rows_per_s": rows / spent,
        "tokens_per_s": tokens / spent,
        "rows_per_step": rows / max(1, step - first - 3),
        "loss": history[-1] if history else None,
    }


def reset(model, o, start):
    model.load_state_dict(start)
    model.k = o.k
    model.alpha = float(o.alpha or o.rank)


def run_queue(o, parser):
    """Recipes share rank; k may only shrink below the model's."""
    sets = eval_twin.Sets(o.eval) if o.eval else None
    model = twin.Twin(
        o.base, o.rank, o.k, o.alpha, o.layers, torch.bfloat16 if o.bf16 else torch.float32
    ).move(o.device)
    if o.compile:
        model.compile()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    results, begun = [], time.time()
    for recipe in json.load(open(o.queue)):
        r = parser.parse_args([o.base, o.data], namespace=argparse.Namespace(**vars(o)))
        for k, v in recipe.items():
            if k != "name":
                assert hasattr(r, k), k
                setattr(r, k, v)
        r.checkpoint = r.log = None
        if time.time() - begun > o.time_limit:
            break
        reset(model, r, start)
        try:
            s = (
                train(model, r, log=lambda *_: None)
                if r.steps
                else {"rows_per_s": 0, "tokens_per_s": 0, "seconds": 0}
            )
            t = time.time()
            f = (
                eval_twin.evaluate(
                    model, sets, o.device, cluster=False, pools=("daap", "last", "lookahead")
                )
                if sets
                else {}
            )
        except torch.OutOfMemoryError as e:
            print(recipe["name"], "out of memory", str(e)[:100], flush=True)
            torch.cuda.empty_cache()
            continue
        results.append(
            {"recipe": recipe, "summary": s, "figures": f, "eval_seconds": time.time() - t}
        )
        json.dump(results, open(o.results, "w"))
        print(
            recipe["name"],
            f"{s['seconds']:.0f}s+{time.time() - t:.0f}s {s['rows_per_s']:.0f} rows/s",
            f"{s['tokens_per_s']:.0f} tok/s",
            json.dumps((s.get("loss") or {})),
            flush=True,
        )
        for p in f:
            print("   ", p, json.dumps(eval_twin.short(f[p])), flush=True)


def main():
    parser = options()
    o = parser.parse_args()
    if o.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    o.sha256 = o.sha256 or gguf_io.sha256(o.base)
    if o.queue:
        return run_queue(o, parser)
    dtype = torch.bfloat16 if o.bf16 else torch.float32
    if o.init:
        model = adapter.load_twin(o.base, o.init, dtype, o.layers)
    else:
        model = twin.Twin(o.base, o.rank, o.k, o.alpha, o.layers, dtype)
    model.move(o.device)
    if o.compile:
        model.compile()
    s = train(model, o, log=lambda *a: print(*a, flush=True))
    if dist.is_initialized() and dist.get_rank():
        return
    adapter.save(model, o.out, o.sha256)
    print(json.dumps(s))
    if o.eval and s["done"]:
        f = eval_twin.evaluate(
            model, eval_twin.Sets(o.eval), o.device, pools=("daap", "last", "lookahead")
        )
        json.dump(f, open(o.out + ".figures.json", "w"), indent=1)
        for p in f:
            print(p, json.dumps(eval_twin.short(f[p])))


if __name__ == "__main__":
    main()
