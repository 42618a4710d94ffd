"""Rows derived by rule from the training triples, and from nothing else.

A row is (family, instruction, text, answer, key, cluster).  `answer` may be
None: then only rows of the same (cluster, key) are its positives.  Rows of
one cluster ask the same thing in different words.  No instruction of an
evaluation set and no paraphrase of the robustness test is written here unless
the training triples themselves hold it (train_data.py checks).
"""

import re
from collections import Counter, defaultdict

from derive_shared import (
    ACT,
    AMBIGUOUS,
    ASKED,
    BAD,
    GOOD,
    INTENT,
    OFFERED,
    PASSAGES,
    PLEASED,
    POLARITY,
    SENT,
    SERVICE,
    STOP,
    TOPIC,
    WANTED,
    Keywords,
    overlap,
    sentences,
    words,
)
from derive_style import manners, styles

# ------------------------------------------------- similarity and topic


def statement(question, answer):
    """'Who wrote X?' + 'Y' -> 'Y wrote X.'; else the two joined."""
    q = question.strip().rstrip("?").strip()
    m = re.match(
        r"(?i)(who|what|which \w+|what \w+)\s+(is|was|are|were|has|had|[a-z]+ed|[a-z]+s)\s+(.*)", q
    )
    if m and m.group(2).lower() not in ("does", "did"):
        return f"{answer[:1].upper()}{answer[1:]} {m.group(2)} {m.group(3)}."
    return f"{q}: {answer}."


def lose_words(s, rng, share):
    w = s.split()
    keep = [x for x in w if rng.random() > share]
    return " ".join(keep) if len(keep) >= 3 else s


def similar(triples, rng):
    """Pairs that mean about the same, without instruction."""
    n = 0
    by_pair = defaultdict(list)
    for t in triples:
        q, x, a = t["instruction"], t["input"], t["output"]
        if t["source"] in PASSAGES or t["source"] == "qamr":
            by_pair[x, a.lower()].append(q)
            hit = [s for s in sentences(x) if a in s and overlap(q, s) >= 0.5]
            if hit and len(a) < 100:
                n += 1
                for text in (statement(q, a), min(hit, key=len)):
                    yield "sim", "", text, None, f"sqa{n}", "sim"
            if t["source"] in ("squad11_train", "qed_nq", "covid_qa") and rng.random() < 0.35:
                n += 1
                yield "retrieve", "", q, None, f"ret{n}", "sim"
                yield "retrieve", "", x, None, f"ret{n}", "sim"
    for (x, a), qs in by_pair.items():
        qs = sorted(set(qs))
        for i in range(0, len(qs) - 1, 2):
            if overlap(qs[i], qs[i + 1]) >= 0.3:
                n += 1
                for q in qs[i : i + 2]:
                    yield "sim", "", q, None, f"sqq{n}", "sim"
    inputs = sorted({(t["source"], t["input"]) for t in triples})
    for source, x in inputs:
        if source in PASSAGES:
            if rng.random() < 0.75:
                continue
            ss = sentences(x)
            rng.shuffle(ss)
            ss = ss[:3]
        else:
            ss = [x] if len(x.split()) <= 45 and rng.random() < 0.3 else []
        for s in ss:
            n += 1
            other = lose_words(s, rng, 0.2) if rng.random() < 0.6 else s
            yield "dropout", "", s, None, f"sdo{n}", "sim"
            yield "dropout", "", other, None, f"sdo{n}", "sim"


def topics(triples, rng, kw):
    inputs = sorted({(t["source"], t["input"]) for t in triples if t["source"] in PASSAGES})
    for i, (source, x) in enumerate(inputs):
        ss = SENT.split(x)
        if len(ss) < 2 or rng.random() < 0.4:
            continue
        cut = len(ss) // 2
        answer = ", ".join(kw.top(x))
        for part in (" ".join(ss[:cut]), " ".join(ss[cut:])):
            if len(part) > 40 and answer:
                yield "topic", rng.choice(TOPIC), part, answer, f"top{i}", "topic"


# ------------------------------------------------------ feeling, asking


def feelings(triples, rng):
    for t in triples:
        if t["source"] == "goemotions" and t["output"] in GOOD | BAD and rng.random() < 0.7:
            good = t["output"] in GOOD
            if rng.random() < 0.5:
                yield "feel", rng.choice(POLARITY), t["input"], (
                    "positive" if good else "negative"
                ), None, "polarity"
            else:
                yield "feel", rng.choice(PLEASED), t["input"], (
                    "yes" if good else "no"
                ), None, "pleased"
    seen = defaultdict(set)
    for t in triples:
        if t["source"] == "mams" and t["output"] in ("positive", "negative", "neutral"):
            seen[t["input"]].add(t["output"])
    for x, s in sorted(seen.items()):
        if len(s - {"neutral"}) == 1:
            good = "positive" in s
            yield "feel", rng.choice(POLARITY), x, (
                "positive" if good else "negative"
            ), None, "polarity"
            yield "feel", rng.choice(PLEASED), x, "yes" if good else "no", None, "pleased"


def answer_types(triples, rng):
    rules = (
        (r"how (many|much)\b", "a number"),
        (r"who(se|m)?\b", "a person"),
        (r"where\b", "a place"),
        (r"when\b|(in )?(what|which) (year|month|date|day|century)", "a date"),
        (r"why\b", "a reason"),
        (r"how (long|old|far|tall|big|large|often|fast)\b", "a measure"),
        (r"how\b", "a manner"),
        (r"(in )?(what|which) (city|country|state|town|place|region)", "a place"),
        (r"(what|which) (person|man|woman|king|president|actor|author|character)", "a person"),
        (
            r"(what|which) (company|organization|organisation|group|team|university)",
            "an organisation",
        ),
        (r"(what|which) (percent|percentage|number)", "a number"),
        (r"what (does|do) .* mean", "a definition"),
        (r"(is|are|was|were|does|do|did|can|has|have)\b", "yes or no"),
        (r"what (is|are) (a|an)? ?\w+\??$", "a definition"),
        (r"what\b.*\bdo\b", "an action"),
    )
    rules = [(re.compile(r, re.I), a) for r, a in rules]
    per = Counter()
    qs = sorted(
        {t["instruction"] for t in triples if t["source"] in PASSAGES or t["source"] == "qamr"}
    )
    rng.shuffle(qs)
    for q in qs:
        for r, a in rules:
            if r.match(q):
                per[a] += 1
                if per[a] <= 700:
                    yield "asked", rng.choice(ASKED), q, a, None, "asked"
                break


# ------------------------------------------------- yes or no, products


def yes_no(triples, rng, attribute):
    """attribute(triple) -> name of the attribute that its instruction asks."""
    by_text, values, slots = defaultdict(list), defaultdict(list), set()
    for t in triples:
        name = attribute(t)
        if name:
            by_text[t["source"], t["input"]].append((name, t["output"]))
            values[name].append(t["output"])
            if t["source"] == "sgd":
                slots.add(name)
    slots = sorted(slots)
    for (source, x), pairs in sorted(by_text.items()):
        for name, value in pairs[:2]:
            if (
                value.lower() in ("yes", "no", "none", "not stated")
                or len(value) > 30
                or rng.random() < 0.4
            ):
                continue
            yes = rng.random() < 0.5
            other = value if yes else rng.choice(values[name])
            if not yes and other.lower() == value.lower():
                continue
            answer = "yes" if yes else "no"
            if rng.random() < 0.5:  # with its reason
                answer += f", it is {value}"
            yield "yesno", f"Is the {name} {other}?", x, answer, None, f"is {name} {other}"
        if source == "sgd" and rng.random() < 0.5:
            yes = rng.random() < 0.5
            name = pairs[0][0] if yes else rng.choice(slots)
            if yes or name not in {p[0] for p in pairs}:
                yield (
                    "yesno",
                    rng.choice(["Does the user mention the {}?", "Is a {} given?"]).format(name),
                    x,
                    "yes" if yes else "no",
                    None,
                    f"has {name}",
                )
    mine = [
        t
        for t in triples
        if t["source"]
        in (
            "goemotions",
            "squad11_train",
            "ner_btc",
            "mams",
            "qamr",
            "icecat",
            "policyqa",
            "friendsqa",
            "extractgpt_oa-mine",
        )
    ]
    rng.shuffle(mine)
    for t, u in zip(mine[:9000], mine[9000:18000]):
        w, v = words(t["input"]), words(u["input"])
        if not w or not v:
            continue
        yes = rng.random() < 0.5
        one = rng.choice(w if yes else v)
        if yes or one not in w:
            q = rng.choice(
                [
                    "Does the text mention {}?",
                    "Is {} mentioned?",
                    "Does it say anything about {}?",
                    "Does the text talk about {}?",
                ]
            ).format(one)
            yield "yesno", q, t["input"], "yes" if yes else "no", None, f"mention {one}"
    wants = [t for t in triples if t["source"] in ("sgd", "snips") and t["instruction"] in INTENT]
    goals = sorted({t["output"] for t in wants})
    for t in wants:
        if rng.random() < 0.5:
            yes = rng.random() < 0.5
            goal = t["output"] if yes else rng.choice(goals)
            if yes or goal != t["output"]:
                yield "yesno", f"Does the user want to {goal}?", t["input"], (
                    "yes" if yes else "no"
                ), None, f"want {goal}"


def products(triples, rng, attribute):
    by_text = defaultdict(dict)
    for t in triples:
        name = attribute(t)
        if name and t["source"] in ("icecat", "extractgpt_oa-mine", "extractgpt_ae-110k"):
            by_text[t["input"]][name] = t["output"]
    for i, (x, attrs) in enumerate(sorted(by_text.items())):
        values = [
            v
            for v in attrs.values()
            if v.lower() not in ("yes", "no", "not stated") and len(v) < 40
        ]
        title = [w for w in re.split(r"[.,;(]", x)[0].split() if w.isalnum()]
        query = " ".join(
            rng.sample(values, min(len(values), 2)) + rng.sample(title, min(len(title), 2))
        ).lower()
        if len(query) > 4:
            yield "product", rng.choice(WANTED), query, None, f"prd{i}", "product"
            yield "product", rng.choice(OFFERED), x, None, f"prd{i}", "product"
    yield from phrases(sorted(by_text), rng)


def phrases(titles, rng):
    """What a shopper types: one to three words in a row that a few titles
    share, against those titles."""
    having = defaultdict(list)
    for x in titles:
        w = re.findall(r"[a-z][a-z0-9-]+", re.split(r"[.,;(]", x)[0].lower())
        found = {" ".join(w[i : i + n]) for n in (1, 2, 3) for i in range(len(w) - n + 1)}
        for phrase in sorted(found):
            if not set(phrase.split()) & STOP:
                having[phrase].append(x)
    for phrase, some in sorted(having.items()):
        if 3 <= len(some) <= 60 and len(phrase) > 3:
            for q in rng.sample(WANTED, 4):
                yield "product", q, phrase, None, f"phr {phrase}", "product"
            for x in rng.sample(some, min(6, len(some))):
                yield "product", rng.choice(OFFERED), x, None, f"phr {phrase}", "product"


def all_rows(triples, rng, attribute):
    kw = Keywords(sorted({t["input"] for t in triples}))
    yield from similar(triples, rng)
    yield from topics(triples, rng, kw)
    yield from styles(triples, rng, kw)
    yield from manners(triples, rng)
    yield from feelings(triples, rng)
    yield from answer_types(triples, rng)
    yield from yes_no(triples, rng, attribute)
    yield from products(triples, rng, attribute)
