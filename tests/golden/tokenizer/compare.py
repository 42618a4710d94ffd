#!/usr/bin/env python3
"""Compare the engine's tokenizer with the `tokenizers` package, and with llama.cpp's.

    pip install -r tests/golden/tokenizer/requirements.txt
    tests/golden/tokenizer/compare.py --model FILE.gguf [--texts FOLDER]... [--llama] [--speed]

For each pre-type: the ids over the model's vocabulary, the ids over a vocabulary made to
tell split rules apart, and the words themselves, must be equal on every text.  --llama
repeats the pre-type smollm with llama-cpp-python; there every difference must be one of
the two that are known, and must be gone when its cause is taken out of the text.
"""

import argparse
import os
import random
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, os.path.dirname(__file__))

import reference  # noqa: E402
import texts  # noqa: E402

ROOT = os.path.join(os.path.dirname(__file__), "../../..")

# llama.cpp of llama-cpp-python 0.3.16 knows Unicode 15; these digits are of 16.0.
NEW_DIGITS = [*range(0x10D40, 0x10D4A), *range(0x116D0, 0x116E4), *range(0x11BF0, 0x11BFA),
              *range(0x16130, 0x1613A), *range(0x16D70, 0x16D7A), *range(0x1CCF0, 0x1CCFA),
              *range(0x1E5F1, 0x1E5FB)]
OLD_DIGIT = "\U0001D7D8"        # of the same length in UTF-8
PRESENT_CONTROL = "\x02"        # a control character whose byte every vocabulary here has


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", action="append", default=[], metavar="FOLDER",
                        help="also every string of the .jsonl, .jsonl.gz and .tsv files there")
    parser.add_argument("--sample", type=int, default=50000,
                        help="at most so many texts of a folder (%(default)s)")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--build", default="build/golden", help="where to compile the filter")
    parser.add_argument("--llama", action="store_true")
    parser.add_argument("--speed", action="store_true")
    return parser.parse_args()


def report(title, n, differing):
    print(f"{title}: {n} texts, {len(differing)} differ", flush=True)
    for text, ours, theirs in differing[:3]:
        print(f"    {ascii(text)[:200]}\n      engine    {ours}\n      reference {theirs}")
    return len(differing)


def differences(chosen, ours, theirs):
    return [(t, a, b) for t, a, b in zip(chosen, ours, theirs) if a != b]


def compare_ids(engine, vocabulary, pre_type, chosen, title):
    ours, _ = engine.encode([t.encode() for t in chosen], pre_type)
    tokenizer = vocabulary.tokenizers(pre_type)
    theirs = (e.ids for e in tokenizer.encode_batch_fast(chosen, add_special_tokens=False))
    return report(f"{pre_type}, {title}", len(chosen), differences(chosen, ours, theirs))


def compare_words(engine, pre_type, chosen, title):
    ours, _ = engine.words([t.encode() for t in chosen], pre_type)
    split = reference.PRE_TYPES[pre_type]().pre_tokenize_str
    theirs = ([len(word) for word, _ in split(t)] for t in chosen)
    return report(f"{pre_type}, words of {title}", len(chosen),
                  differences(chosen, ours, theirs))


def refuses_malformed(engine, seed):
    """bytes that are not UTF-8, as Python's decoder sees it, are refused; others are not"""
    rng = random.Random(seed)
    pool = [0, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
            0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
    chosen = [bytes(rng.choice(pool) for _ in range(rng.randint(1, 5))) for _ in range(200000)]
    answers, _ = engine.encode(chosen, "smollm")
    wrong = []
    for text, answer in zip(chosen, answers):
        try:
            text.decode()
            valid = True
        except UnicodeDecodeError:
            valid = False
        if valid != (answer is not reference.REFUSED):
            wrong.append((text, answer, valid))
    return report("malformed UTF-8", len(chosen), wrong)


def without_known_causes(text, missing):
    """
    The text without the two causes of a difference from llama.cpp: a byte that has no token
    (it and `tokenizers` leave the byte out, but only the latter, and the engine, then merge
    what stands on its two sides), and digits that it does not know as such.
    """
    text = "".join(PRESENT_CONTROL if missing.intersection(c.encode()) else c for c in text)
    return text.translate({cp: OLD_DIGIT for cp in NEW_DIGITS})


def compare_llama(engine, model, vocabulary, sets):
    import llama_cpp
    llama = llama_cpp.Llama(model, vocab_only=True, verbose=False)
    missing = vocabulary.missing_bytes()

    def tokenize(chosen):
        return [llama.tokenize(t.encode(), add_bos=False, special=False) for t in chosen]

    failed = 0
    for title, chosen in sets.items():
        chosen = [t for t in chosen if t != ""]
        ours, _ = engine.encode([t.encode() for t in chosen], "smollm")
        differing = differences(chosen, ours, tokenize(chosen))
        cleaned = [without_known_causes(t, missing) for t, _, _ in differing]
        ours, _ = engine.encode([t.encode() for t in cleaned], "smollm")
        unexplained = differences(cleaned, ours, tokenize(cleaned))
        failed += report(f"llama.cpp, {title}, {len(differing)} known differences",
                         len(chosen), unexplained)
    return failed


def measure_speed(engine, vocabulary, chosen):
    """both on one thread, over the same texts, in CPU time"""
    n_bytes = sum(len(t.encode()) for t in chosen)
    _, lines = engine.encode([t.encode() for t in chosen], "smollm")
    print("engine:     " + "; ".join(lines))
    tokenizer = vocabulary.tokenizers("smollm")
    start = time.process_time()
    n_ids = sum(len(e.ids) for e in tokenizer.encode_batch_fast(chosen,
                                                                add_special_tokens=False))
    print(f"tokenizers: {len(chosen)} texts, {n_bytes} bytes, {n_ids} ids in "
          f"{time.process_time() - start:.3f} s")


def main():
    arguments = parse_arguments()
    vocabulary = reference.Vocabulary(arguments.model)
    engine = reference.Engine(ROOT, arguments.build, arguments.model)
    sets = texts.own_texts(arguments.seed, vocabulary.controls())
    for folder in arguments.texts:
        found = texts.file_texts(folder)
        if len(found) > arguments.sample:
            found = random.Random(arguments.seed).sample(found, arguments.sample)
        sets[os.path.basename(os.path.normpath(folder))] = found

    probe_path = os.path.join(arguments.build, "probe.gguf")
    reference.write_probe(probe_path, sets["sentences"] + sets["white space"], arguments.seed)
    probe = reference.Vocabulary(probe_path)
    probe_engine = reference.Engine(ROOT, arguments.build, probe_path)

    failed = refuses_malformed(engine, arguments.seed)
    every_class = texts.every_class()
    for pre_type in reference.PRE_TYPES:
        failed += compare_words(engine, pre_type, every_class, "every code point")
        for title, chosen in sets.items():
            failed += compare_ids(engine, vocabulary, pre_type, chosen, title)
            failed += compare_ids(probe_engine, probe, pre_type, chosen, title + ", probe")
            failed += compare_words(engine, pre_type, chosen, title)
    if arguments.llama:
        failed += compare_llama(engine, arguments.model, vocabulary, sets)
    if arguments.speed:
        chosen = sets[os.path.basename(os.path.normpath(arguments.texts[0]))] \
            if arguments.texts else sets["sentences"]
        measure_speed(engine, vocabulary, chosen)
    print("equal" if failed == 0 else f"FAILED: {failed} differences")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
