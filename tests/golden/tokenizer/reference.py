"""Other tokenizers over the vocabulary of a GGUF file, and the engine's as a filter."""

import json
import os
import random
import struct
import subprocess

from gguf import GGUFReader, GGUFWriter
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

CONTROL_TYPES = (3, 4)          # control, user-defined
REFUSED = None                  # answer to a text that is not valid UTF-8

# The published tokenizer.json files of the models that the pre-types are named after,
# without Qwen2's NFC normaliser, which GGUF files do not state.
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def gpt2_split():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def cl100k_split(numbers):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CL100K % numbers), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


PRE_TYPES = {
    "smollm": lambda: pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), gpt2_split()]),
    "gpt-2": gpt2_split,
    "llama-bpe": lambda: cl100k_split("{1,3}"),
    "qwen2": lambda: cl100k_split(""),
}


class Vocabulary:
    """tokens, types and merges of a GGUF file, in its own spelling"""

    def __init__(self, path):
        fields = GGUFReader(path).fields
        self.tokens = fields["tokenizer.ggml.tokens"].contents()
        self.types = fields["tokenizer.ggml.token_type"].contents()
        self.merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]

    def controls(self):
        return [t for t, kind in zip(self.tokens, self.types) if kind in CONTROL_TYPES]

    def missing_bytes(self):
        """bytes that have no token of their own"""
        alphabet = byte_alphabet()
        tokens = set(self.tokens)
        return {byte for byte in range(256) if alphabet[byte] not in tokens}

    def tokenizers(self, pre_type):
        """the `tokenizers` package over this vocabulary"""
        ordinary = {t: i for i, (t, kind) in enumerate(zip(self.tokens, self.types))
                    if kind not in CONTROL_TYPES}
        tokenizer = Tokenizer(models.BPE(vocab=ordinary, merges=self.merges,
                                         ignore_merges=pre_type == "llama-bpe"))
        tokenizer.pre_tokenizer = PRE_TYPES[pre_type]()
        return tokenizer


def byte_alphabet():
    """GPT-2's bytes_to_unicode"""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(0x100 + i) for i, b in enumerate(rest)}}


class Engine:
    """the filter ie_tokenize, compiled from the working tree"""

    SOURCES = [f"src/{name}.c" for name in (
        "base/arena", "base/file", "base/status", "math/quant", "model/bpe", "model/gguf",
        "model/gguf_get", "model/pretokenize", "model/unicode", "model/vocab",
        "model/vocab_encode")]

    def __init__(self, root, build, model):
        self.model = model
        self.program = os.path.join(build, "ie_tokenize")
        os.makedirs(build, exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-Isrc", *self.SOURCES,
                        "tests/golden/tokenizer/ie_tokenize.c", "-o",
                        os.path.abspath(self.program), "-lm"], cwd=root, check=True)

    def encode(self, texts, pre_type):
        """texts: bytes.  Returns lists of ids, and what the program says about itself."""
        return self.run(texts, pre_type, "ids")

    def words(self, texts, pre_type):
        """the lengths of the words, in place of ids"""
        return self.run(texts, pre_type, "words")

    def run(self, texts, pre_type, what):
        data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
        done = subprocess.run([self.program, self.model, pre_type, what], input=data, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        answers = []
        pos = 0
        while pos < len(done.stdout):
            n, = struct.unpack_from("<I", done.stdout, pos)
            pos += 4
            if n == 0xFFFFFFFF:
                answers.append(REFUSED)
            else:
                answers.append(list(struct.unpack_from(f"<{n}i", done.stdout, pos)))
                pos += 4 * n
        if len(answers) != len(texts):
            raise RuntimeError(f"{len(answers)} answers to {len(texts)} texts")
        return answers, done.stderr.decode().strip().split("\n")


def write_probe(path, texts, seed):
    """
    A vocabulary that tells split rules apart: trained with llama-bpe's rule, so that it
    holds runs of digits, newlines and capitals, and without a fifth of the merges that no
    other one needs, so that some tokens are reached by no merge.
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = PRE_TYPES["llama-bpe"]()
    trained.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=6000, initial_alphabet=list(byte_alphabet().values()), show_progress=False))
    model = json.loads(trained.to_str())["model"]
    tokens = [t for t, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    merges = [tuple(m) for m in model["merges"]]
    parts = {part for merge in merges for part in merge}
    rng = random.Random(seed)
    merges = [m for m in merges if "".join(m) in parts or rng.random() < 0.8]

    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges([" ".join(m) for m in merges])
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
