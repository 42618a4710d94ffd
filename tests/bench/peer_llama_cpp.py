"""llama.cpp on the same model file: how fast, and how near the fp32 reference.

    python peer_llama_cpp.py convert MODEL TYPE FILE    TYPE: F32, Q8_0 or Q4_0
    python peer_llama_cpp.py serve
    python peer_llama_cpp.py check MODEL GOLDEN [N_TEXTS]

"serve" reads requests and writes answers, each a line of JSON, for bench.py:

    {"file", "threads", "ubatch", "texts", "instruction", "batch", "reuse", "vectors"}

embeds the texts one by one or as one batch, with the instruction's keys and values
computed for every text or ("reuse") once, before the clock starts; the answer has
seconds, the texts' own tokens and, if asked for, the unit vectors.  llama.cpp is asked
for the state of the last token.

"check" embeds texts of a golden file (tests/golden/reference.py) and prints the
figures of "make golden" for llama.cpp.  Two references made by different people from
one file agree, or one of them reads it wrongly.

Needs requirements-peer.txt; the package compiles llama.cpp for this machine.
"""
import json
import sys
import time

import llama_cpp as L
import numpy as np

from golden_file import read_golden

PREFIX = "<|im_start|>user\n{}\n\n"
PREFIX_EMPTY = "<|im_start|>user\n"
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
TYPES = {"F32": L.LLAMA_FTYPE_ALL_F32, "Q8_0": L.LLAMA_FTYPE_MOSTLY_Q8_0,
         "Q4_0": L.LLAMA_FTYPE_MOSTLY_Q4_0}


@L.llama_log_callback
def quiet(level, text, data):
    pass


L.llama_log_set(quiet, None)
L.llama_backend_init()


class Peer:
    """A context for n_seq sequences of at most max_tokens; the last may hold a prefix."""

    def __init__(self, model, threads, n_seq, max_tokens, ubatch=None, shared_prefix=False):
        self.vocab = L.llama_model_get_vocab(model)
        self.n_embd = L.llama_model_n_embd(model)
        p = L.llama_context_default_params()
        p.n_seq_max = n_seq + 1 if shared_prefix else n_seq
        p.n_ctx = p.n_batch = p.n_seq_max * max_tokens
        p.n_ubatch = min(ubatch or p.n_batch, p.n_batch)
        p.kv_unified = shared_prefix
        p.embeddings = True
        p.pooling_type = L.LLAMA_POOLING_TYPE_LAST
        p.n_threads = p.n_threads_batch = threads
        self.context = L.llama_init_from_model(model, p)
        self.memory = L.llama_get_memory(self.context)
        self.batch = L.llama_batch_init(p.n_batch, 0, 1)
        self.prefix_seq = n_seq
        self.n_prefix = 0

    def free(self):
        L.llama_batch_free(self.batch)
        L.llama_free(self.context)

    def tokens(self, text, special):
        data = text.encode("utf-8")
        out = (L.llama_token * (len(data) + 8))()
        n = L.llama_tokenize(self.vocab, data, len(data), out, len(out), False, special)
        return list(out[:n])

    def prefix(self, instruction):
        return self.tokens(PREFIX.format(instruction) if instruction else PREFIX_EMPTY, True)

    def rest(self, text):
        return self.tokens(text, False) + self.tokens(SUFFIX, True)

    def decode(self, sequences, first_seq, first_pos):
        b = self.batch
        n = 0
        for s, ids in enumerate(sequences):
            for t, token in enumerate(ids):
                b.token[n] = token
                b.pos[n] = first_pos + t
                b.n_seq_id[n] = 1
                b.seq_id[n][0] = first_seq + s
                b.logits[n] = t == len(ids) - 1
                n += 1
        b.n_tokens = n
        if L.llama_decode(self.context, b) != 0:
            raise RuntimeError("llama_decode failed")

    def keep_prefix(self, ids):
        L.llama_memory_clear(self.memory, False)
        self.decode([ids], self.prefix_seq, 0)
        self.n_prefix = len(ids)

    def embed(self, sequences):
        """At most n_seq token sequences, behind the kept prefix if there is one"""
        if self.n_prefix == 0:
            L.llama_memory_clear(self.memory, False)
        for s in range(len(sequences) if self.n_prefix else 0):
            L.llama_memory_seq_rm(self.memory, s, -1, -1)
            L.llama_memory_seq_cp(self.memory, self.prefix_seq, s, 0, self.n_prefix)
        self.decode(sequences, 0, self.n_prefix)
        rows = [np.ctypeslib.as_array(L.llama_get_embeddings_seq(self.context, s), (self.n_embd,))
                for s in range(len(sequences))]
        x = np.array(rows)
        return x / np.linalg.norm(x, axis=1, keepdims=True)


def load(path, models={}):
    if path not in models:
        models[path] = L.llama_model_load_from_file(path.encode(),
                                                    L.llama_model_default_params())
    return models[path]


def answer(request):
    texts, reuse = request["texts"], request["reuse"]
    step = len(texts) if request["batch"] else 1
    longest = max(len(text.split()) for text in texts)
    peer = Peer(load(request["file"]), request["threads"], step, 2 * longest + 64,
                request["ubatch"], reuse)
    prefix = peer.prefix(request["instruction"])
    rows = [([] if reuse else prefix) + peer.rest(text) for text in texts]
    if reuse:
        peer.keep_prefix(prefix)
    peer.embed(rows[:step])		# warm
    begun = time.monotonic()
    vectors = [peer.embed(rows[i:i + step]) for i in range(0, len(rows), step)]
    seconds = time.monotonic() - begun
    n_tokens = sum(len(peer.tokens(text, False)) for text in texts)
    peer.free()
    return {"seconds": seconds, "tokens": n_tokens,
            "vectors": np.concatenate(vectors).tolist() if request["vectors"] else None}


def serve():
    print(json.dumps({"system": L.llama_print_system_info().decode(),
                      "version": L.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def convert(source, type_name, target):
    p = L.llama_model_quantize_default_params()
    p.ftype = TYPES[type_name]
    p.allow_requantize = True
    if L.llama_model_quantize(source.encode(), target.encode(), p) != 0:
        sys.exit(f"{source} could not be converted to {type_name}")


def nearest(x):
    sims = x @ x.T
    np.fill_diagonal(sims, -2)
    return np.argsort(-sims, 1)[:, :10]


def check(path, golden, n_texts):
    instructions, texts, expected = read_golden(golden)
    expected = np.array(expected, np.float32)
    chosen = range(0, len(texts), max(1, len(texts) // n_texts)) if n_texts else range(len(texts))
    n_seq = 8
    peer = Peer(load(path), 2, n_seq, 2048)
    for j, instruction in enumerate(instructions):
        rows = [peer.prefix(instruction) + peer.rest(texts[i]) for i in chosen]
        a = np.concatenate([peer.embed(rows[i:i + n_seq]) for i in range(0, len(rows), n_seq)])
        b = expected[j, list(chosen)]
        b = b / np.linalg.norm(b, axis=1, keepdims=True)
        cos = (a * b).sum(1)
        common = np.mean([len(set(x) & set(y)) / 10 for x, y in zip(nearest(a), nearest(b))])
        mean = b.mean(0)
        a, b = a - mean, b - mean
        centred = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        print(f"{len(rows)} texts, instruction {instruction!r}: smallest cosine {cos.min():.6f}, "
              f"mean {cos.mean():.6f}, smallest less mean {centred.min():.4f}, "
              f"common neighbours {common:.4f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif len(sys.argv) == 5 and sys.argv[1] == "convert":
        convert(*sys.argv[2:])
    elif len(sys.argv) in (4, 5) and sys.argv[1] == "check":
        check(sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 0)
    else:
        sys.exit(__doc__)
