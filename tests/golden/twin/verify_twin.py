"""Checks of the twin itself.

    python verify_twin.py BASE.gguf [ADAPTER.gguf]

1. tokens and final states against transformers' own reading of the file
   (needs transformers and accelerate);
2. a sequence alone and among others gives the same states;
3. factors apart and merged give the same embedding;
4. with ADAPTER: its f16 file as read, and with merged weights rounded to Q8_0,
   against each other on a few inputs (cosine).
"""

import os
import sys

import numpy as np
import torch

import gguf_io
import twin

TEXTS = [
    "The tent is waterproof and light, it's 2.5 kg.",
    "naïve  spaces\n\nÜber 日本 don't",
    "I waited 40 minutes for cold soup. Never again!",
    "yes",
]
ASKED = ["What is the topic?", "", "Is the guest satisfied?", ""]


def main(base, path=None):
    torch.set_grad_enabled(False)
    model = twin.Twin(base, k=4).move("cpu")
    prompter = twin.Prompter(model.meta)
    seqs = [
        np.array(prompter.prefix(q) + prompter.plain(x) + prompter.suffix_ids)
        for q, x in zip(ASKED, TEXTS)
    ]
    for kind in model.B:
        torch.nn.init.normal_(model.B[kind], 0, 0.01)
    merged, apart = model.weights(), model.weights(apart=True)
    e = twin.pool(*model.read(twin.Packed(seqs, 4, "cpu"), merged))
    alone = torch.cat([twin.pool(*model.read(twin.Packed([s], 4, "cpu"), merged)) for s in seqs])
    other = twin.pool(*model.read(twin.Packed(seqs, 4, "cpu"), apart))
    print(
        "alone / together",
        (e * alone).sum(1).min().item(),
        "apart / merged",
        (e * other).sum(1).min().item(),
    )
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        where, file = os.path.split(os.path.abspath(base))
        tok = AutoTokenizer.from_pretrained(where, gguf_file=file)
        hf = AutoModelForCausalLM.from_pretrained(where, gguf_file=file, dtype=torch.float32).eval()
    except ImportError as err:
        print("transformers left out:", err)
    else:
        w = model.weights(adapter=False)
        for x, s in zip(TEXTS, seqs):
            assert prompter.plain(x) == tok(x, add_special_tokens=False).input_ids, x
            ours = model.norm(model.states(twin.Packed([s], 0, "cpu"), w, lookahead=False))
            theirs = hf(torch.tensor(s)[None], output_hidden_states=True).hidden_states[-1][0]
            print("transformers: largest difference", (ours - theirs).abs().max().item())
    if path:
        from adapter import load_twin

        m = load_twin(base, path).move("cpu")
        p = twin.Packed(seqs, m.k, "cpu")
        a = twin.pool(*m.read(p, m.weights()))
        b = twin.pool(*m.read(p, m.weights(rounding=gguf_io.round_q8_0)))
        print(
            "f16 file against Q8_0-rounded weights: cosines",
            [round(v, 6) for v in (a * b).sum(1).tolist()],
        )
        print("cosines between the inputs\n", (a @ a.T).numpy().round(3))


if __name__ == "__main__":
    main(*sys.argv[1:])
