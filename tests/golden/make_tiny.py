"""Makes the tiny model of the tests, and an adapter for it.

    python make_tiny.py [folder]        (needs requirements-tiny.txt)

tiny.gguf is a random Llama of three layers with a byte-level BPE vocabulary.
Between them its matrices have every tensor type that the engine reads; its
rotary base is not the default one; attention is sharp and outweighs the token
embeddings, so that texts and instructions move the embedding well apart.
tiny-adapter.gguf is a LoRA of rank 4 on every matrix, large enough to matter,
with four look-ahead vectors and pooling daap.

The same seed and package versions give the same bytes.
"""
import collections
import hashlib
import os
import re
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q

SEED = 135
N_EMBD, N_LAYER, N_HEAD, N_HEAD_KV, N_FF, N_CTX = 64, 3, 4, 2, 96, 512
HEAD_DIM = N_EMBD // N_HEAD
ROPE_THETA, NORM_EPS = 30000.0, 1e-5
N_MERGES = 300
RANK, ALPHA, LOOKAHEAD = 4, 8.0, 4
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

# name: (rows, columns, scale)
MATRICES = {
    "attn_q": (N_HEAD * HEAD_DIM, N_EMBD, 1.5),
    "attn_k": (N_HEAD_KV * HEAD_DIM, N_EMBD, 1.5),
    "attn_v": (N_HEAD_KV * HEAD_DIM, N_EMBD, 1.2),
    "attn_output": (N_EMBD, N_HEAD * HEAD_DIM, 1.5),
    "ffn_gate": (N_FF, N_EMBD, 1.2),
    "ffn_up": (N_FF, N_EMBD, 1.2),
    "ffn_down": (N_EMBD, N_FF, 1.2),
}

# one row per layer, in the order of MATRICES
TYPES = [
    [Q.Q4_1, Q.Q4_1, Q.Q4_0, Q.Q4_1, Q.Q4_1, Q.Q4_1, Q.Q8_0],
    [Q.Q5_0, Q.Q8_0, Q.Q5_1, Q.Q8_0, Q.Q5_1, Q.Q4_0, Q.Q5_0],
    [Q.F16, Q.F32, Q.BF16, Q.Q4_1, Q.BF16, Q.F16, Q.Q5_1],
]

# What the merges are learnt from.
CORPUS = """
user assistant What is this product? What kind of product is this? Which brand is this product from?
Is this product suitable for outdoor use? Does this product have a warranty? What colour is it?
A light and waterproof tent for four persons, with two doors and a bag. A garden chair of solid wood
that may stand in the rain. A colour laser printer with duplex unit, network and 250 sheets of paper.
The black toner cartridge prints 2,300 pages at 5 % coverage. A wireless keyboard and mouse set with
numeric pad, German layout. A notebook of 15.6 inches, 8 GB of memory, 256 GB of storage, Windows.
A universal wall mount for flat screens of 10 to 30 inches, height adjustable, silver. This cable is
2 m long and has two plugs. The case of leather protects the phone from scratches and from water.
The warranty of the manufacturer covers parts and labour for two years. The battery lasts for ten
hours and is charged in one hour. The jacket keeps out wind and water, it is made of recycled fibre.
The book describes the garden of an old house and the people who lived there in another century.
The food was very good but the service was slow. I would like to cancel my order, the product that
came was not what I ordered. Where can I see the status of my order? How do I return a product?
Die Lieferung war schnell, die Größe passt, über die Qualität kann man streiten. Für draußen.
Le café est très bon, mais le prix est élevé. El niño come una manzana pequeña en el jardín.
Это очень хороший товар, он мне нравится. 日本の製品です。日本語の説明。 안녕하세요 여러분
"""


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in keep}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(keep))
    return [table[b] for b in range(256)]


def learn_merges(corpus, n):
    """Byte-pair encoding of the corpus's words; ties go to the smaller pair."""
    alphabet = byte_alphabet()
    words = collections.Counter()
    for word in re.findall(r" ?[^\W\d_]+| ?[^\w\s]+|\d|\s+", corpus):
        words[tuple(alphabet[b] for b in word.encode("utf-8"))] += 1
    merges = []
    while len(merges) < n:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged = collections.Counter()
        for word, count in words.items():
            out = []
            for symbol in word:
                if out and (out[-1], symbol) == best:
                    out[-1] += symbol
                else:
                    out.append(symbol)
            merged[tuple(out)] += count
        words = merged
    return merges


def add_vocab(w):
    merges = learn_merges(CORPUS, N_MERGES)
    tokens = CONTROL + byte_alphabet() + ["".join(pair) for pair in merges]
    assert len(set(tokens)) == len(tokens)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL] * len(CONTROL)
                      + [gguf.TokenType.NORMAL] * (len(tokens) - len(CONTROL)))
    w.add_token_merges([" ".join(pair) for pair in merges])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(False)
    w.add_add_space_prefix(False)
    return len(tokens)


def write(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make_model(path, rng):
    w = gguf.GGUFWriter(path, "llama")
    w.add_type("model")
    w.add_name("instemb tiny test model")
    w.add_license("PostgreSQL")
    w.add_block_count(N_LAYER)
    w.add_context_length(N_CTX)
    w.add_embedding_length(N_EMBD)
    w.add_feed_forward_length(N_FF)
    w.add_head_count(N_HEAD)
    w.add_head_count_kv(N_HEAD_KV)
    w.add_rope_freq_base(ROPE_THETA)
    w.add_rope_dimension_count(HEAD_DIM)
    w.add_layer_norm_rms_eps(NORM_EPS)
    n_vocab = add_vocab(w)
    w.add_vocab_size(n_vocab)
    w.add_quantization_version(2)

    def add(name, x, kind=Q.F32):
        x = x.astype(np.float32)
        if kind == Q.F32:
            w.add_tensor(name, x)
        else:
            w.add_tensor(name, gguf.quants.quantize(x, kind), raw_dtype=kind)

    def norm():
        return 1.0 + 0.2 * rng.standard_normal(N_EMBD)

    add("token_embd.weight", 0.5 * rng.standard_normal((n_vocab, N_EMBD)), Q.Q8_0)
    for layer in range(N_LAYER):
        add(f"blk.{layer}.attn_norm.weight", norm())
        add(f"blk.{layer}.ffn_norm.weight", norm())
        for (name, (n_out, n_in, scale)), kind in zip(MATRICES.items(), TYPES[layer]):
            x = rng.standard_normal((n_out, n_in)) * scale / np.sqrt(n_in)
            add(f"blk.{layer}.{name}.weight", x, kind)
    add("output_norm.weight", norm())
    write(w)


def make_adapter(path, base_path, rng):
    with open(base_path, "rb") as f:
        base_sha256 = hashlib.sha256(f.read()).hexdigest()
    w = gguf.GGUFWriter(path, "llama")
    w.add_type("adapter")
    w.add_name("instemb tiny test adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", ALPHA)
    w.add_string("instemb.template.prefix", "<|im_start|>user\n{instruction}\n\n")
    w.add_string("instemb.template.prefix_empty", "<|im_start|>user\n")
    w.add_string("instemb.template.body", "{input}")
    w.add_string("instemb.template.suffix", "<|im_end|>\n<|im_start|>assistant\n")
    w.add_string("instemb.pooling", "daap")
    w.add_uint32("instemb.lookahead_count", LOOKAHEAD)
    w.add_string("instemb.base_sha256", base_sha256)
    for layer in range(N_LAYER):
        dtype = np.float32 if layer == 0 else np.float16
        for name, (n_out, n_in, scale) in MATRICES.items():
            a = rng.standard_normal((RANK, n_in)) / np.sqrt(n_in)
            b = rng.standard_normal((n_out, RANK)) * scale / (2 * ALPHA / RANK)
            w.add_tensor(f"blk.{layer}.{name}.weight.lora_a", a.astype(dtype))
            w.add_tensor(f"blk.{layer}.{name}.weight.lora_b", b.astype(dtype))
    w.add_tensor("instemb.lookahead",
                 0.5 * rng.standard_normal((LOOKAHEAD, N_EMBD)).astype(np.float32))
    write(w)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    rng = np.random.Generator(np.random.PCG64(SEED))
    model = os.path.join(folder, "tiny.gguf")
    make_model(model, rng)
    make_adapter(os.path.join(folder, "tiny-adapter.gguf"), model, rng)


if __name__ == "__main__":
    main()
