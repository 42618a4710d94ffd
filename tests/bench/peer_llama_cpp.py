"""llama.cpp on the same model file: how fast, and how near the fp32 reference.

    python peer_llama_cpp.py speed MODEL [THREADS [WORDS]]
    python peer_llama_cpp.py check MODEL GOLDEN [N_TEXTS]

"speed" prints the columns of bench_embed for the same texts, so that the two can be
run in turns on one machine.  llama.cpp is asked for the embedding of the last token,
32 sequences to a batch or one.

"check" embeds texts of a golden file (tests/golden/reference.py) and prints the
figures of "make golden" for llama.cpp.  Two references made by different people from
one file agree, or one of them reads it wrongly.

Needs requirements-peer.txt; the package compiles llama.cpp for this machine.
"""
import struct
import sys
import time

import llama_cpp as L
import numpy as np

BATCH = 32
WORDS = ("tent light waterproof garden chair of solid wood with the printer and colour warranty "
         "for two years battery screen a stainless steel keyboard wireless in black is suitable "
         "outdoor").split()
PREFIX = "<|im_start|>user\n{}\n\n"
PREFIX_EMPTY = "<|im_start|>user\n"
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"


def make_text(n_words, seed):
    """As in bench_embed.c"""
    words = []
    for _ in range(n_words):
        seed = (seed * 1103515245 + 12345) & 0xffffffff
        words.append(WORDS[(seed >> 16) % len(WORDS)])
    return " ".join(words)


class Peer:
    def __init__(self, path, threads, n_seq, max_tokens):
        quiet = L.llama_log_callback(lambda level, text, data: None)
        self.quiet = quiet
        L.llama_log_set(quiet, None)
        L.llama_backend_init()
        self.model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
        self.vocab = L.llama_model_get_vocab(self.model)
        self.n_embd = L.llama_model_n_embd(self.model)
        p = L.llama_context_default_params()
        p.n_seq_max = n_seq
        p.n_ctx = p.n_batch = p.n_ubatch = n_seq * max_tokens
        p.kv_unified = False
        p.embeddings = True
        p.pooling_type = L.LLAMA_POOLING_TYPE_LAST
        p.n_threads = p.n_threads_batch = threads
        self.context = L.llama_init_from_model(self.model, p)
        self.batch = L.llama_batch_init(n_seq * max_tokens, 0, 1)

    def tokens(self, text, special):
        data = text.encode("utf-8")
        out = (L.llama_token * (len(data) + 8))()
        n = L.llama_tokenize(self.vocab, data, len(data), out, len(out), False, special)
        return list(out[:n])

    def sequence(self, text, instruction):
        prefix = PREFIX.format(instruction) if instruction else PREFIX_EMPTY
        return self.tokens(prefix, True) + self.tokens(text, False) + self.tokens(SUFFIX, True)

    def embed(self, sequences):
        """At most n_seq token sequences; unit vectors [n, C]"""
        L.llama_memory_clear(L.llama_get_memory(self.context), False)
        b = self.batch
        n = 0
        for s, ids in enumerate(sequences):
            for t, token in enumerate(ids):
                b.token[n] = token
                b.pos[n] = t
                b.n_seq_id[n] = 1
                b.seq_id[n][0] = s
                b.logits[n] = t == len(ids) - 1
                n += 1
        b.n_tokens = n
        if L.llama_decode(self.context, b) != 0:
            raise RuntimeError("llama_decode failed")
        rows = [np.ctypeslib.as_array(L.llama_get_embeddings_seq(self.context, s), (self.n_embd,))
                for s in range(len(sequences))]
        x = np.array(rows)
        return x / np.linalg.norm(x, axis=1, keepdims=True)


def speed(path, threads, lengths):
    peer = Peer(path, threads, BATCH, 512)
    print(f"llama.cpp, {threads} threads, {L.llama_print_system_info().decode()}")
    print("%6s %6s %8s %10s %10s %10s %10s"
          % ("words", "batch", "tokens", "ms", "cpu ms", "tokens/s", "per cpu s"))
    for n_words in lengths:
        # the suffix belongs to every text; the instruction does not, since instemb reuses it
        rows = [peer.tokens(make_text(n_words, i), False) + peer.tokens(SUFFIX, True)
                for i in range(BATCH)]
        n_tokens = sum(map(len, rows))
        for n in (1, BATCH):
            wall = cpu = float("inf")
            for _ in range(3):
                wall0, cpu0 = time.monotonic(), time.process_time()
                for first in range(0, BATCH, n):
                    peer.embed(rows[first:first + n])
                wall = min(wall, time.monotonic() - wall0)
                cpu = min(cpu, time.process_time() - cpu0)
            print("%6d %6d %8.1f %10.2f %10.2f %10.0f %10.0f"
                  % (n_words, n, n_tokens / BATCH, wall * 1e3 / BATCH, cpu * 1e3 / BATCH,
                     n_tokens / wall, n_tokens / cpu), flush=True)


def read_golden(path):
    """(instructions, texts, vectors [instruction, text, C])"""
    with open(path, "rb") as f:
        data = f.read()
    n_embd, _, n_instructions, n_texts, _ = struct.unpack_from("<5I", data, 72)
    at, strings = 92, []
    for _ in range(n_instructions + n_texts):
        (n,) = struct.unpack_from("<I", data, at)
        strings.append(data[at + 4:at + 4 + n].decode("utf-8"))
        at += 4 + n
    vectors = []
    for _ in range(n_instructions):
        mean = np.frombuffer(data, "<f4", n_embd, at)
        less_mean = np.frombuffer(data, "<f2", n_texts * n_embd, at + 4 * n_embd)
        vectors.append(mean + less_mean.astype(np.float32).reshape(n_texts, n_embd))
        at += 4 * n_embd + 2 * n_texts * n_embd
    return strings[:n_instructions], strings[n_instructions:], np.array(vectors)


def nearest(x):
    sims = x @ x.T
    np.fill_diagonal(sims, -2)
    return np.argsort(-sims, 1)[:, :10]


def check(path, golden, n_texts):
    instructions, texts, expected = read_golden(golden)
    chosen = range(0, len(texts), max(1, len(texts) // n_texts)) if n_texts else range(len(texts))
    n_seq = 8
    peer = Peer(path, 2, n_seq, 2048)
    for j, instruction in enumerate(instructions):
        rows = [peer.sequence(texts[i], instruction) for i in chosen]
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
    if len(sys.argv) in (3, 4, 5) and sys.argv[1] == "speed":
        speed(sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 2,
              [int(sys.argv[4])] if len(sys.argv) > 4 else [10, 40, 100, 300])
    elif len(sys.argv) in (4, 5) and sys.argv[1] == "check":
        check(sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 0)
    else:
        sys.exit(__doc__)
