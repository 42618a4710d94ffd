"""Tables, chart and measures out of build/bench/results.json: see bench.py."""
import os
import re
import statistics

HERE = os.path.dirname(os.path.abspath(__file__))
README = os.path.join(HERE, "../../README.md")
RESULTS_MD = os.path.join(HERE, "RESULTS.md")
CHART = os.path.join(HERE, "speed.svg")
BEGIN, END = "<!-- make bench -->\n", "<!-- make bench ends -->\n"

median = statistics.median


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(x) for x in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def times(x):
    return f"{x:.1f}×"


def rate(row, key):
    return row["tokens"] / median(row[key])


# ---------------------------------------------------------------------- tables

def machine_line(r):
    m = r["machine"]
    return (f"{m['cpu']} (family {m['family']}; {', '.join(m['flags'])}), {m['processors']} "
            f"processors, {m['memory_gb']} GB; {m['version']}; "
            f"llama-cpp-python {r['peer']['about']['version']}; "
            f"rounds: {len(r['speed']['rows'][0]['ours'])}; {m['date']}.\n")


def speed_table(r):
    rows = []
    for row in r["speed"]["rows"]:
        ours = rate(row, "ours")
        per_row = row["texts"] / median(row["ours"])
        rows.append([row["words"], "batch" if row["batch"] else "single", row["threads"],
                     f"{ours:.0f}", f"{per_row:.1f}", f"{rate(row, 'peer'):.0f}",
                     f"{rate(row, 'peer_reuse'):.0f}", times(ours / rate(row, "peer")),
                     times(ours / rate(row, "peer_reuse"))])
    return table(["words", "calls", "threads", "instemb tokens/s", "rows/s",
                  "llama.cpp tokens/s", "with prefix reuse", "ratio", "with reuse"], rows)


def peer_table(r):
    return table(["llama.cpp with", "tokens/s", "least cosine to ours"], [
        [row["name"], f"{row['rate']:.0f}",
         "failed" if row["cosine"] is None else f"{row['cosine']:.4f}"]
        for row in r["peer"]["rows"]])


def share_of(row):
    """Percent of the peak, end to end"""
    return row["macs"] / row["seconds"] / row["peak"] * 1e-7


def share_table(r):
    names = list(r["share"]["rows"][0]["parts"])
    rows = []
    for row in r["share"]["rows"]:
        products = row["macs"] / row["seconds"] / row["parts"]["products"]
        rows.append([row["level"], f"{row['peak']:.0f}", f"{row['tokens'] / row['seconds']:.0f}",
                     f"{share_of(row):.0f} %", f"{products / row['peak'] * 1e-7:.0f} %",
                     *(f"{100 * row['parts'][name]:.1f} %" for name in names)])
    return table(["level", "peak GMAC/s", "tokens/s", "share of peak", "products alone", *names],
                 rows)


def steps_table(r):
    rows = []
    peaks = {row["level"]: row["peak"] for row in r["share"]["rows"]}
    macs = r["share"]["rows"][0]["macs"] / r["share"]["rows"][0]["tokens"]
    before = None
    for row in r["steps"]["rows"]:
        n = 2 if row["step"] == "a second thread" else 1
        share = row["rate"] * macs / (n * peaks[row["level"]]) * 1e-7
        rows.append([row["step"], f"{row['rate']:.0f}", f"{share:.0f} %",
                     "" if before is None else f"{row['rate'] / before:.2f}×"])
        before = row["rate"]
    return table(["step", "positions/s", "share of peak", "to the step before"], rows)


def concurrency_table(r):
    c = r["concurrency"]
    one = median(c["backends"]["1"])
    rows = [[n, 1, f"{median(v):.1f}", times(median(v) / one)]
            for n, v in c["backends"].items()]
    two = median(c["backends_2_threads"])
    rows.append([8, 2, f"{two:.1f}", times(two / one)])
    return table(["backends", "threads", "rows/s, 40 words", "to one"], rows)


# -------------------------------------------------------------------- measures

def speed_row(r, words, batch, threads):
    return next(row for row in r["speed"]["rows"]
                if (row["words"], row["batch"], row["threads"]) == (words, batch, threads))


def bounds_by_level(level):
    """(times llama.cpp, share of peak)"""
    return {"avx512vnni": (4, 35), "amx": (6, 8)}.get(level, (2, 40))


def m_speed(r):
    row = speed_row(r, 100, True, 2)
    bound = bounds_by_level(r["share"]["rows"][-1]["level"])[0]
    ratio = rate(row, "ours") / rate(row, "peer")
    figure = f"{rate(row, 'ours'):.0f} against {rate(row, 'peer'):.0f}: {ratio:.2f}×"
    return figure, f">= {bound}×", ratio >= bound


def m_retrieval(key, bound):
    def measure(r):
        ours = max(median(r["retrieval"]["ours"]), median(r["retrieval"]["ours_1_thread"]))
        peer = median(r["retrieval"][key])
        return (f"{ours:.1f} against {peer:.1f}: {ours / peer:.2f}×", f">= {bound}×",
                ours / peer >= bound)
    return measure


def m_share(r):
    figures, ok = [], True
    for row in r["share"]["rows"]:
        share = share_of(row)
        bound = bounds_by_level(row["level"])[1]
        figures.append(f"{row['level']} {share:.0f} %")
        ok = ok and share >= bound
        if row["level"] == "amx":
            products = share / row["parts"]["products"]
            figures.append(f"its products alone {products:.0f} %")
            ok = ok and products >= 35
    return ", ".join(figures), ">= 40 % (AVX2, AVX-VNNI), 35 % (AVX-512 VNNI), 8 % (AMX)", ok


def m_backends(r):
    c = r["concurrency"]
    ratio = median(c["backends"]["2"]) / median(c["backends"]["1"])
    loops = median([two / one for two, one in c["loops"]])
    return (f"{ratio:.2f}× (two loops {loops:.2f}×)", ">= 1.8×, or 0.9 of two loops",
            ratio >= min(1.8, 0.9 * loops))


def m_threads(r):
    c = r["concurrency"]
    ratio = median(c["backends_2_threads"]) / median(c["backends"]["8"])
    return f"{ratio:.2f}×", ">= 0.9×", ratio >= 0.9


def m_first(r):
    ms = median(r["first_call"]["ms"])
    return f"{ms:.1f} ms", "<= 10 ms", ms <= 10


def m_memory(r):
    mb = r["memory"]["private_mb"]
    return f"{mb:.1f} MB", "<= 16 MB", mb <= 16


def m_array(r):
    ratio = median(r["array"]["single"]) / median(r["array"]["array"])
    return f"{ratio:.2f}×", ">= 1.5×", ratio >= 1.5


def m_distance(r):
    figures, ok = [], True
    for storage in ("plain", "external"):
        scan = r["distance"][storage]
        ratio = median(scan["theirs"]) / median(scan["ours"])
        figures.append(f"{ratio:.2f}× (storage {storage})")
        ok = ok and ratio >= 1.0
    return ", ".join(figures), ">= 1.0×", ok


def m_accuracy(r):
    least = r["accuracy"]["least"]
    return f"{least:.5f} ({r['accuracy']['texts']} texts)", ">= 0.998", least >= 0.998


MEASURES = (
    ("tokens/s, 100 words, batch, 2 threads, to llama.cpp's best", "speed", m_speed),
    ("rows/s, 40 words, one instruction, single-row SQL, to llama.cpp", "retrieval",
     m_retrieval("peer", 6)),
    ("the same, to llama.cpp with prefix reuse", "retrieval", m_retrieval("peer_reuse", 3)),
    ("share of the int8 peak at 300 words, end to end", "share", m_share),
    ("2 backends to 1", "concurrency", m_backends),
    ("8 backends of 2 threads to 8 of 1", "concurrency", m_threads),
    ("first call of a backend", "first_call", m_first),
    ("private memory after a text of 256 tokens", "memory", m_memory),
    ("array form to single calls, 10 words", "array", m_array),
    ("`<~=>` to pgvector's `<=>`, sequential scan", "distance", m_distance),
    ("least cosine to the fp32 reference", "accuracy", m_accuracy),
)


def measures(r):
    """[(what, figure, bound, verdict)] of the parts that were run"""
    rows = []
    for what, part, measure in MEASURES:
        if part in r and (part != "speed" or "share" in r):
            figure, bound, ok = measure(r)
            rows.append((what, figure, bound, "pass" if ok else "falls short"))
    rows.append(("mean change of the shared evaluation metrics", "not measured here",
                 "<= 0.3 points", "open"))
    return rows


# ----------------------------------------------------------------------- chart

SERIES = (("instemb", "ours", "#336791"),
          ("llama.cpp, with prefix reuse", "peer_reuse", "#c8a96a"),
          ("llama.cpp", "peer", "#b0b0b0"))


def chart(r):
    """Tokens a second in batches with 2 threads, a group of bars for each length of text"""
    rows = [row for row in r["speed"]["rows"] if row["batch"] and row["threads"] == 2]
    top = max(rate(row, key) for row in rows for _, key, _ in SERIES)
    width, height, left, base = 640, 300, 20, 250
    group = (width - 2 * left) / len(rows)
    bar = group / 4
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{left}" y="18" font-size="14">Tokens of text per second, batches, '
           f'2 threads ({r["machine"]["cpu"]})</text>']
    for i, (name, _, colour) in enumerate(SERIES):
        x = left + 200 * i
        out.append(f'<rect x="{x}" y="28" width="10" height="10" fill="{colour}"/>'
                   f'<text x="{x + 15}" y="37">{name}</text>')
    for g, row in enumerate(rows):
        x0 = left + g * group + bar / 2
        for i, (_, key, colour) in enumerate(SERIES):
            h = rate(row, key) / top * (base - 65)
            x = x0 + i * bar
            out.append(f'<rect x="{x:.1f}" y="{base - h:.1f}" width="{bar - 3:.1f}" '
                       f'height="{h:.1f}" fill="{colour}"/>'
                       f'<text x="{x + bar / 2 - 1.5:.1f}" y="{base - h - 4:.1f}" '
                       f'text-anchor="middle" font-size="10">{rate(row, key):.0f}</text>')
        out.append(f'<text x="{x0 + 1.5 * bar:.1f}" y="{base + 18}" text-anchor="middle">'
                   f'{row["words"]} words</text>')
    out.append(f'<line x1="{left}" y1="{base}" x2="{width - left}" y2="{base}" stroke="black"/>')
    return "\n".join(out) + "\n</svg>\n"


# ----------------------------------------------------------------------- files

def results_md(r):
    sections = ["# Speed\n\nWritten by `make bench`; tests/bench/bench.py says what is compared "
                "with what.\nTokens are the texts' own. Medians of rounds in turns.\n"]
    if "peer" in r:
        sections += [machine_line(r) if "speed" in r else "",
                     "## llama.cpp's settings\n\n100 words, batch, 2 threads. The comparison uses "
                     "the fastest\nof those that give the same embedding (cosine of at least 0.99): "
                     f"{r['peer']['best']['name']}.\n", peer_table(r)]
    if "speed" in r:
        sections += ["## Tokens and rows a second\n", speed_table(r)]
    if "share" in r:
        sections += ["## Where the time goes\n\n300 words, single calls, 1 thread, by instruction "
                     "set. The peak is the instruction\nalone on registers (peak.c); shares count "
                     "the multiply-adds of matrix products.\n", share_table(r)]
    if "steps" in r and "share" in r:
        other, same = r["steps"]["reuse"]
        sections += ["## What each step brings\n\nThe engine alone, texts of 100 words; every "
                     "position is counted. Kernels on the file\nas it was published, then the "
                     "best of them.\n", steps_table(r),
                     f"Keys and values of the instruction kept, single calls of 10 words: "
                     f"{same:.1f} rows/s\nagainst {other:.1f} with an instruction for each row: "
                     f"{same / other:.2f}×.\n"]
    if "concurrency" in r:
        sections += ["## Backends at once\n\n2 processors, single-row statements by pgbench.\n",
                     concurrency_table(r)]
    if "memory" in r:
        m = r["memory"]
        sections += ["## Memory\n\n8 backends with the model, after a text of 256 tokens: Pss "
                     f"{median(m['pss_mb']):.1f} MB each, of which the model "
                     f"{median(m['model_pss_mb']):.1f} MB\n(the file: {m['file_mb']:.1f} MB).\n"]
    if "distance" in r:
        d = r["distance"]
        sections += [f"## Distance\n\n{d['rows']} vectors of {d['dims']} dimensions, PostgreSQL "
                     f"{d['server']}, pgvector {d['pgvector']}.\n",
                     table(["storage", "`<~=>` ms", "`<=>` ms"],
                           [[s, f"{median(d[s]['ours']):.1f}", f"{median(d[s]['theirs']):.1f}"]
                            for s in ("plain", "external")])]
    sections += ["## Measures\n", measures_table(r)]
    return "\n".join(sections)


def measures_table(r):
    return table(["what", "figure", "must reach", ""], measures(r))


def readme_section(r):
    return (f"![Tokens per second](tests/bench/speed.svg)\n\n{machine_line(r)}\n"
            + measures_table(r))


def write_readme(section):
    with open(README, encoding="utf-8") as f:
        text = f.read()
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    assert re.search(pattern, text, re.S), "README.md has lost its markers"
    with open(README, "w", encoding="utf-8") as f:
        f.write(re.sub(pattern, lambda _: BEGIN + section + END, text, flags=re.S))


def write(r):
    with open(RESULTS_MD, "w", encoding="utf-8") as f:
        f.write(results_md(r))
    if "speed" in r and "peer" in r:
        with open(CHART, "w", encoding="utf-8") as f:
            f.write(chart(r))
        write_readme(readme_section(r))
    for what, figure, bound, verdict in measures(r):
        print(f"{what:<68} {figure:<40} {bound:<28} {verdict}")
