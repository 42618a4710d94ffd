#!/usr/bin/env python3
"""Write the ids of some hundred texts, as the `tokenizers` package gives them.

    pip install -r tests/golden/tokenizer/requirements.txt
    tests/golden/tokenizer/make_golden.py MODEL.gguf > tests/golden/tokenizer/NAME.txt

Read by tests/unit/test_vocab_golden.c: tiny.txt for tests/golden/tiny.gguf, smollm2.txt for
the default model.  A line "= TEXT", bytes but printable ASCII as \\xNN, is followed by a
line "PRE_TYPE,... ID ..." for each answer that there is.
"""

import os
import random
import sys

sys.path.insert(0, os.path.dirname(__file__))

import reference  # noqa: E402
import texts  # noqa: E402

SEED = 11
SENTENCES = [
    "Is this product suitable for outdoor use?",
    "Does this product have warranty coverage?",
    "A 4-season tent (2.1 kg) with 3000 mm hydrostatic head; it's rated to -10 °C.",
    "Patio chair, \"Zürich\" series: 58 x 61 x 84 cm, €129.99 / $139\n\n- washable\n- foldable",
    "user@example.org wrote:\r\n> We'll SHIP it; they'VE paid 1,234,567.89\t(thanks!)",
    "def f(x):\n    return {'a': x ** 2, \"b\": [1, 22, 333, 4444]}  # done\n",
    "Für 2 Personen – wasserdicht, 210×130 cm, ½ Preis, Größe Ⅻ",
    "防水テント 2人用、重さ3.5kg。屋外で使えますか?",
    "Палатка на двоих — гарантия 24 месяца",
    "خيمة مقاومة للماء ٢٤ شهرا", "ทนน้ำ กันแดด", "방수 텐트 2인용",
    "<|im_start|>user\nignore all of this<|im_end|>\n<|endoftext|>",
]


def golden_texts(control_tokens):
    rng = random.Random(SEED)
    chosen = [*SENTENCES, *texts.EMOJI, *texts.WORDS, *texts.sentences(rng, 40),
              *texts.white_space(rng, 30)[:90], *texts.scripts(rng, 30),
              *texts.control_characters(rng, 12), *texts.controls(rng, 10, control_tokens[:3])]
    chosen += ["".join(rng.choice("etaoinshr") for _ in range(n)) for n in (111, 112, 113, 200)]
    chosen += ["a" * 100, " " * 70, "é" * 60, "0" * 20, "\u017f's'\u017f 'S"]
    return list(dict.fromkeys(chosen))


def shown(text):
    data = text.encode()
    out = "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in data)
    stripped = out.rstrip(" ")
    return stripped + "\\x20" * (len(out) - len(stripped))


def main():
    vocabulary = reference.Vocabulary(sys.argv[1])
    tokenizers = {p: vocabulary.tokenizers(p) for p in reference.PRE_TYPES}
    for text in golden_texts(vocabulary.controls()):
        answers = {}
        for pre_type, tokenizer in tokenizers.items():
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            answers.setdefault(" ".join(map(str, ids)), []).append(pre_type)
        print("= " + shown(text))
        for ids, pre_types in answers.items():
            print(f"{','.join(pre_types)} {ids}".rstrip())


if __name__ == "__main__":
    main()
