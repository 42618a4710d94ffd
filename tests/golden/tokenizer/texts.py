"""Texts to compare tokenizers on: files of texts, and seeded ones of our own."""

import gzip
import json
import os
import random

import unicodedata2

SPACES = [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
          0x202F, 0x205F, 0x3000]
NEAR_SPACES = [0x180E, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x1C, 0x1D, 0x1E, 0x1F]

WORDS = """the outdoor tent's warranty isn't we'll they've I'D HE'S O'REILLY 'tis rock'n'roll
naïve café Straße İstanbul ελληνικά Привет мир мы'll שלום عربى हिन्दी ไทย 日本語 テスト 한국어 中文字
Ærøskøbing ﬁne Ⅷ ½ ² x² H₂O 3.14 1,000,000 2024-11-21 ٣٤٥ १२३ 𝟘𝟙𝟚 𝒳𝓎 0x1F 12345678901234567890
e-mail foo_bar fooBar C++ C# .NET $5.99 €20 50% A&B <b>bold</b> http://example.org/a?b=c#d
{"key": [1, 2.5, null]} \\n \\t /* code */ if(x==y){return;} --- *** ... !? ¿¡ “quoted” ‘s ’s
e\u0301 n\u0303 \u0e01\u0e4d a\u0300\u0323\u0332 \U0001d165 \ufe0f""".split()

EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🇩🇪🇫🇷", "1️⃣", "#️⃣", "❤️", "🧑🏿‍🚀", "👁️‍🗨️", "☠", "🫠"]


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings_in(item)


def open_text(path):
    return gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(
        path, encoding="utf-8")


def file_texts(folder):
    """every string of every .jsonl, .jsonl.gz and .tsv file, each once, in order"""
    seen = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            plain = name.removesuffix(".gz")
            if not plain.endswith((".jsonl", ".tsv")):
                continue
            with open_text(os.path.join(parent, name)) as lines:
                for line in lines:
                    if plain.endswith(".tsv"):
                        seen[line] = None
                    else:
                        seen.update(dict.fromkeys(strings_in(json.loads(line))))
    return list(seen)


def assigned():
    return [chr(cp) for cp in range(0x110000)
            if unicodedata2.category(chr(cp)) not in ("Cn", "Cs", "Co")]


def between(chars):
    """each character alone, doubled, and between characters of each class"""
    return [f"{c} {c}{c}a{c}b 1{c}2 '{c}.{c}!  {c}\n{c}\r\n {c}s" for c in chars]


def code_points():
    return [chr(cp) for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]


def every_class():
    """short texts that show the class of every code point"""
    return [f"a{c}1{c}{c}!" for c in code_points()]


def contractions():
    """an apostrophe before every assigned code point, and pairs that may fold to letters"""
    texts = [f"it'{c}x I'{c}e '{c}l 'l{c} 'r{c}" for c in assigned()]
    folding = "sStTrReEvVmMlLdDſKßẞﬆﬅŉİıẗ’'ℓǀ"
    texts += [f"a'{a}{b} '{a}{b}{a}" for a in folding for b in folding]
    return texts


def white_space(rng, n):
    texts = []
    alphabet = [chr(c) for c in SPACES + NEAR_SPACES]
    heavy = " \t\n\r"
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 6)):
            source = heavy if rng.random() < 0.6 else alphabet
            parts.append("".join(rng.choice(source) for _ in range(rng.randint(0, 5))))
            parts.append(rng.choice(["", "a", "7", ".", "é", "'s", "日本", "42", "¹", "\u0301"]))
        texts.append("".join(parts))
    texts += [chr(c) * k + tail for c in SPACES + NEAR_SPACES for k in (1, 2, 3, 7, 40)
              for tail in ("", "x", "5", "!", "\n", " x")]
    return texts


def scripts(rng, n):
    """runs of neighbours within one block, and mixtures of several"""
    chars = assigned()
    texts = []
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(chars))
            block = chars[at:at + 40]
            parts.append("".join(rng.choice(block) for _ in range(rng.randint(1, 9))))
        texts.append(rng.choice(["", " ", ""]).join(parts))
    return texts


def sentences(rng, n):
    glue = [" ", " ", " ", "  ", "\n", "", "\t", " - ", ", ", "\u00a0", "\r\n\r\n"]
    texts = []
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 14)):
            pool = EMOJI if rng.random() < 0.12 else WORDS
            parts.append(rng.choice(pool))
            parts.append(rng.choice(glue))
        texts.append("".join(parts))
    return texts


def controls(rng, n, control_tokens):
    """control tokens, and halves of them, as plain text"""
    texts = list(control_tokens)
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 6)):
            token = rng.choice(control_tokens)
            if rng.random() < 0.3:
                token = token[:rng.randint(1, len(token))]
            parts += [rng.choice(["", " ", "x", "\n", "système "]), token]
        texts.append("".join(parts))
    return texts


def control_characters(rng, n):
    pool = [chr(c) for c in [*range(0x20), *range(0x7F, 0xA0)]] + list("ab1 .!\n")
    return ["".join(rng.choice(pool) for _ in range(rng.randint(1, 12))) for _ in range(n)]


def long_words(rng):
    texts = ["a" * 20000, "ab" * 20000, " " * 30000, "\n" * 5000, "!" * 7777, "=-" * 4000,
             "の" * 8000, "é" * 9000, "e\u0301" * 5000, "0" * 3000, "😀" * 3000, "аб" * 6000]
    for alphabet in ("abcdefghijklmnopqrstuvwxyz", "etaoinshr", "ACGT", "!?.,;", "αβγδε",
                     "あいうえお漢字"):
        for length in (50, 111, 112, 113, 114, 300, 2000, 20000):
            texts.append("".join(rng.choice(alphabet) for _ in range(length)))
    return texts


def random_text(rng, n):
    """random code points of each length in UTF-8"""
    ranges = [(0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
    texts = []
    for _ in range(n):
        mix = [rng.choice(ranges) for _ in range(rng.randint(1, 3))]
        texts.append("".join(chr(rng.randint(*rng.choice(mix)))
                             for _ in range(rng.randint(1, 24))))
    return texts


def own_texts(seed, control_tokens):
    """name -> texts"""
    rng = random.Random(seed)
    unassigned = sorted(set(code_points()) - set(assigned()))
    return {
        "every character": between(assigned()),
        "unassigned code points": between(rng.sample(unassigned, 20000)),
        "contractions": contractions(),
        "scripts": scripts(rng, 20000),
        "sentences": sentences(rng, 20000),
        "emoji": EMOJI + ["".join(rng.choice(EMOJI + WORDS) for _ in range(4))
                          for _ in range(3000)],
        "white space": white_space(rng, 20000),
        "control characters": control_characters(rng, 5000),
        "control tokens": controls(rng, 3000, control_tokens),
        "long words": long_words(rng),
        "random": random_text(rng, 20000),
    }
