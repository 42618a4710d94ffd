"""Rows about form instead of content: writing style, tone, kind of sentence."""

import re
from collections import Counter

from derive_shared import FORM, GENRE, INTENT, STYLE, TONE, TOPIC, sentences


def restyle(style, ss, rng, names, kw):
    text = " ".join(ss)
    w = text.split()
    tags = kw.top(text, 3)
    if style == "tweet":
        at = "@" + rng.choice(names).replace(" ", "") + " " if rng.random() < 0.3 else ""
        end = rng.choice(["", "!", " 🔥", " 😂", "...", " 🙌"])
        return at + " ".join(w[:24]) + end + " " + " ".join("#" + t for t in tags)
    if style in ("poem", "song lyrics"):
        lines, i = [], 0
        while i < min(len(w), 60):
            step = rng.randint(4, 8)
            line = " ".join(w[i : i + step]).strip(".,;")
            lines.append(line[:1].upper() + line[1:] + rng.choice([",", "", ";", "."]))
            i += step
            if len(lines) % 4 == 0:
                lines.append("")
        if style == "song lyrics":
            hook = " ".join(t.capitalize() for t in tags)
            lines = (
                lines[:6] + ["", f"Yeah, {hook}, oh oh", f"{hook}, let it flow", ""] + lines[6:12]
            )
        return "\n".join(lines)
    if style == "screenplay":
        place = rng.choice(["HOUSE", "OFFICE", "STREET", "KITCHEN", "PARK", "SHOP"])
        when = rng.choice(["DAY", "NIGHT"])
        a, b = rng.sample(names, 2)
        body = [f"{rng.choice(['INT', 'EXT'])}. {place} - {when}", ""]
        for i, s in enumerate(ss[:4]):
            body += [(a, b)[i % 2].upper(), s, ""]
        return "\n".join(body)
    if style == "letter":
        return f"Dear {rng.choice(names)},\n\n{text}\n\nYours sincerely,\n{rng.choice(names)}"
    if style == "headline":
        return " ".join(x.capitalize() for x in w[:10]).rstrip(".,;")
    if style == "list":
        return "\n".join("- " + s.rstrip(".") for s in ss)
    t = text.lower().rstrip(".")  # text message
    for a, b in (
        (" you ", " u "),
        (" are ", " r "),
        ("going to", "gonna"),
        ("want to", "wanna"),
        (" to ", " 2 "),
        (" for ", " 4 "),
        (" because ", " cuz "),
        (" the ", " da "),
        (" and ", " n "),
    ):
        t = t.replace(a, b)
    return t + rng.choice([" lol", " omg", " haha", " smh", " tbh"])


def styles(triples, rng, kw):
    names = ["Anna", "Tom", "Mary", "John", "Lisa", "Omar", "Mrs Hill", "Peter", "Sara", "Dr Lee"]
    kinds = [
        "tweet",
        "poem",
        "screenplay",
        "letter",
        "headline",
        "list",
        "text message",
        "song lyrics",
    ]
    inputs = sorted(
        {
            (t["source"], t["input"])
            for t in triples
            if t["source"] in ("squad11_train", "fairytaleqa", "covid_qa", "policyqa")
        }
    )
    rng.shuffle(inputs)
    for i, (source, x) in enumerate(inputs[:5000]):
        ss = sentences(x)
        if len(ss) < 2:
            continue
        answer = ", ".join(kw.top(x))
        for kind in rng.sample(kinds, 3):
            part = rng.sample(ss, min(len(ss), rng.randint(1, 4)))
            text = restyle(kind, part, rng, names, kw)
            yield "style", rng.choice(STYLE), text, kind, None, "style"
            yield "style", rng.choice(TOPIC), text, answer, f"sty{i}", "topic"
    per = Counter()
    inputs = sorted({(t["source"], t["input"]) for t in triples if t["source"] in GENRE})
    rng.shuffle(inputs)
    for source, x in inputs:
        g = GENRE[source]
        if per[g] < 700:
            per[g] += 1
            yield "style", rng.choice(STYLE), x, g, None, "style"


POLITE = [
    "Could you please help me to {}?",
    "I would like to {}, please.",
    "Would you mind helping me {}?",
    "I'd be grateful if you could help me {}.",
    "May I ask you to help me {}?",
    "please help me {}, thank you",
    "would it be possible to {}?",
    "excuse me, could I {} please?",
    "I would appreciate help to {}",
]
CASUAL = [
    "hey, wanna {}",
    "yo i gotta {}",
    "gimme a hand 2 {}",
    "i wanna {} asap",
    "can ya {} for me",
    "dude help me {}",
    "hey can u {}?",
    "lemme {} now",
    "need 2 {} lol",
    "gonna {} ok?",
]
PLAIN = [
    "I want to {}.",
    "help me {}",
    "I need to {}.",
    "how do I {}?",
    "can I {}?",
    "{}",
    "I have to {}",
    "where can I {}?",
    "assistance to {}",
    "is it possible to {}?",
    "I am trying to {}",
]
POLITE_Q = [
    "Could you please tell me the {}?",
    "May I know the {}, please?",
    "I'd like to know the {}, please.",
    "would you kindly give me the {}?",
]
CASUAL_Q = [
    "hey whats the {}",
    "gimme the {}",
    "so what's da {} then",
    "ya know the {}?",
    "yo, {}?",
]
PLAIN_Q = [
    "What is the {}?",
    "I need the {}.",
    "Tell me the {}.",
    "{} information",
    "I have a question about the {}",
]


def manners(triples, rng):
    """Requests written from the intents and slots that the answers name."""
    intents = Counter(
        t["output"]
        for t in triples
        if t["source"] in ("sgd", "snips") and t["instruction"] in INTENT
    )
    slots = Counter(
        t["output"]
        for t in triples
        if t["source"] == "sgd"
        and t["instruction"] == "What does the user ask about?"
        and "," not in t["output"]
    )
    slots = Counter({k: v for k, v in slots.items() if v >= 3})
    plan = [(k, v, (POLITE, CASUAL, PLAIN), k) for k, v in sorted(intents.items())]
    plan += [
        (k, v, (POLITE_Q, CASUAL_Q, PLAIN_Q), f"know the {k}") for k, v in sorted(slots.items())
    ]
    for phrase, n, forms, goal in plan:
        for tone, patterns in zip(("polite", "casual", "plain"), forms):
            for p in rng.sample(patterns, min(len(patterns), 4)):
                text = p.format(phrase)
                if rng.random() < 0.5:
                    text = text[:1].lower() + text[1:].rstrip(".?")
                yield "manner", rng.choice(INTENT), text, goal, None, "intent"
                yield "manner", rng.choice(TONE), text, tone, None, "tone"
                form = (
                    "question"
                    if re.match(r"(?i)(could|would|may|how|can|where|is|what|ya|hey can|yo,)", text)
                    else "statement"
                )
                yield "manner", rng.choice(FORM), text, form, None, "form"
    turns = sorted({t["input"] for t in triples if t["source"] in ("sgd", "restaurant8k")})
    rng.shuffle(turns)
    for x in turns[:9000]:
        low = x.lower()
        if re.search(r"\b(please|could you|would you|thank|may i|kindly|appreciate)\b", low):
            tone = "polite"
        elif re.search(
            r"\b(gonna|wanna|yeah|yep|hey|cool|awesome|nope|gotta|okay|ok|yup|hmm)\b", low
        ):
            tone = "casual"
        else:
            tone = "plain"
        if tone != "plain" or rng.random() < 0.4:
            yield "manner", rng.choice(TONE), x, tone, None, "tone"
        if x.rstrip().endswith(("?", ".")) and rng.random() < 0.3:
            yield "manner", rng.choice(FORM), x, (
                "question" if x.rstrip().endswith("?") else "statement"
            ), None, "form"
