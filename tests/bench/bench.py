#!/usr/bin/env python3
"""make bench: instemb in SQL and llama.cpp in turns, on one machine.

    bench.py [PART...]      all parts, or some; needs PGHOST and the like (tests/with-cluster)

Environment: BENCH_PYTHON, with requirements-peer.txt; BENCH_BIN, the folder of peak,
bench_parts and bench_embed; BENCH_MODEL, the model file; QUICK=1 for one round instead
of three.  Each part stores its results in build/bench/results.json as soon as it is
done, and report.py makes the tables of all that is there.

Fair play: all texts are distinct, the result cache is off, both sides get the same
template and tokens, both are warm, only the texts' own tokens are counted, and the
peer's embeddings are compared with ours.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import report
from golden_file import read_golden

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../measure"))
from measure import Session		# noqa: E402

RESULTS = "build/bench/results.json"
BIN = os.environ["BENCH_BIN"]
MODEL = os.environ["BENCH_MODEL"]
BASE = os.path.basename(MODEL).removesuffix(".gguf")
NAME = "bench"		# BASE as instemb_install() packs it: the same weights
QUICK = bool(os.environ.get("QUICK"))
ROUNDS = 1 if QUICK else 3
INSTRUCTION = "Which kind of product is this and what is it used for?"
CALL = f"'{INSTRUCTION}', '{NAME}'"
PEER_TYPES = ("F32", "Q8_0", "Q4_0")
N_TEXTS = {10: 32, 40: 16, 100: 8, 300: 4}		# texts of so many words in one measurement
VOCABULARY = (
    "tent light waterproof garden chair of solid wood with the printer and colour warranty for "
    "two years battery screen a stainless steel keyboard wireless in black is suitable outdoor "
    "use this can be cleaned easily water table from recycled plastic small large very").split()


def make_text(n_words, seed):
    words = []
    for _ in range(n_words):
        seed = (seed * 1103515245 + 12345) & 0x7fffffff
        words.append(VOCABULARY[(seed >> 12) % len(VOCABULARY)])
    return " ".join(words)


def texts_of(n_words, n):
    return [make_text(n_words, 7919 * i + n_words) for i in range(n)]


def sql_text(text):
    return "'" + text.replace("'", "''") + "'"


def run(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def median(values):
    return statistics.median(values)


def peaks(level, n=1):
    """GMAC/s of each of n loops at once."""
    return [float(x) for x in run(f"{BIN}/peak", level, str(n)).split()]


def packed_file():
    s = Session()
    s.ask("SELECT instemb_version()")		# loads the library, and with it its parameters
    path = os.path.join(s.ask("SHOW data_directory"), s.ask("SHOW instemb.data_model_dir"))
    s.close()
    return os.path.join(path, NAME + ".gguf")


def install():
    s = Session()
    s.ask(f"SELECT instemb_install('{NAME}', '{BASE}', replace => true)")
    s.close()


# ------------------------------------------------------------------ both sides

class Ours:
    def __init__(self, **settings):
        self.session = Session("cache_size = 0",
                               *(f"{key} = {value}" for key, value in settings.items()))
        self.session.ask("CREATE TEMP TABLE input (id serial, words int, t text)")
        for words, n in N_TEXTS.items():
            rows = ", ".join(f"({words}, {sql_text(t)})" for t in texts_of(words, n))
            self.session.ask(f"INSERT INTO input (words, t) VALUES {rows}")
        self.session.ask(f"SELECT instemb('warm', {CALL})")

    def tokens(self, words):
        return int(self.session.ask(f"SELECT sum(instemb_token_count(t, '{NAME}')) FROM input "
                                    f"WHERE words = {words}"))

    def seconds(self, words, batch):
        if batch:
            sql = (f"count(*) FROM instemb((SELECT array_agg(t) FROM input WHERE words = {words}),"
                   f" {CALL})")
        else:
            sql = f"count(instemb(t, {CALL})) FROM input WHERE words = {words}"
        return self.session.ms(sql) / 1e3

    def vectors(self, words):
        rows = self.session.ask(f"SELECT instemb(t, {CALL}) FROM input WHERE words = {words} "
                                "ORDER BY id")
        return [[float(x) for x in row.strip("{}").split(",")] for row in rows.split("\n")]

    def close(self):
        self.session.close()


class Peer:
    def __init__(self):
        self.process = subprocess.Popen(
            [os.environ["BENCH_PYTHON"], f"{HERE}/peer_llama_cpp.py", "serve"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.about = json.loads(self.process.stdout.readline())

    def ask(self, setting, words, batch, threads, reuse=False, vectors=False):
        request = {"file": setting["file"], "ubatch": setting["ubatch"], "threads": threads,
                   "texts": texts_of(words, N_TEXTS[words]), "instruction": INSTRUCTION,
                   "batch": batch, "reuse": reuse, "vectors": vectors}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"llama.cpp ended with {self.process.wait()}: {setting['name']}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def peer_files():
    yield "as it is", MODEL
    for name in PEER_TYPES:
        path = f"build/bench/{BASE}-{name}.gguf"
        if not os.path.exists(path):
            run(os.environ["BENCH_PYTHON"], f"{HERE}/peer_llama_cpp.py", "convert", MODEL, name,
                path + ".new")
            os.rename(path + ".new", path)
        yield name, path


def least_cosine(a, b):
    def cosine(x, y):
        xy, xx, yy = (sum(p * q for p, q in zip(u, v)) for u, v in ((x, y), (x, x), (y, y)))
        return xy / (xx * yy) ** 0.5
    return min(map(cosine, a, b))


# ----------------------------------------------------------------------- parts

def peer():
    """Which of llama.cpp's settings is the fastest that gives the same embeddings?"""
    ours = Ours()
    expected = ours.vectors(100)
    rows = []
    for name, path in peer_files():
        for ubatch in (512, 4096):
            setting = {"name": f"{name}, n_ubatch {ubatch}", "file": path, "ubatch": ubatch}
            other = Peer()		# it may crash
            try:
                answer = other.ask(setting, 100, True, 2, vectors=True)
                rows.append({**setting, "rate": answer["tokens"] / answer["seconds"],
                             "cosine": least_cosine(answer["vectors"], expected)})
                about = other.about
            except RuntimeError as error:
                rows.append({**setting, "rate": 0.0, "cosine": None, "error": str(error)})
            other.close()
            print(rows[-1], flush=True)
    ours.close()
    best = max((row for row in rows if (row["cosine"] or 0.0) >= 0.99), key=lambda r: r["rate"])
    return {"rows": rows, "best": best, "about": about}


def speed():
    """Tokens a second of both sides, in turns."""
    best = load()["peer"]["best"]
    ours = {threads: Ours(threads=threads) for threads in (1, 2)}
    other = Peer()
    rows = []
    for words in N_TEXTS:
        tokens = ours[1].tokens(words)
        for batch in (False, True):
            for threads in (1, 2):
                row = {"words": words, "batch": batch, "threads": threads, "texts": N_TEXTS[words],
                       "tokens": tokens, "ours": [], "peer": [], "peer_reuse": []}
                for _ in range(ROUNDS):
                    row["ours"].append(median(
                        [ours[threads].seconds(words, batch) for _ in range(3)]))
                    for key, reuse in (("peer", False), ("peer_reuse", True)):
                        answer = other.ask(best, words, batch, threads, reuse)
                        assert answer["tokens"] == tokens, (answer["tokens"], tokens)
                        row[key].append(answer["seconds"])
                rows.append(row)
                print(words, "words, batch" if batch else "words, single", threads, "threads:",
                      {key: round(tokens / median(row[key]))
                       for key in ("ours", "peer", "peer_reuse")}, flush=True)
    other.close()
    for side in ours.values():
        side.close()
    return {"rows": rows}


def share():
    """End to end at each level of the machine against the peak of its instruction."""
    rows = []
    for level in run(f"{BIN}/bench_parts", "--levels").split():
        before = peaks(level)[0]
        os.environ["INSTEMB_CPU"] = level
        parts = json.loads(run(f"{BIN}/bench_parts", packed_file(), "300"))
        del os.environ["INSTEMB_CPU"]
        peak = max(before, peaks(level)[0])
        rows.append({"level": level, "peak": peak, **parts})
        print(level, round(peak), "GMAC/s,", round(parts["macs"] / parts["seconds"] * 1e-9),
              "end to end", flush=True)
    return {"rows": rows}


def steps():
    """What each step brings: 100 words in the engine, and reuse of the instruction in SQL."""
    levels = run(f"{BIN}/bench_parts", "--levels").split()
    cases = [(f"kernels: {level}", level, MODEL, "1", 1) for level in levels]
    cases += [("packed file", levels[-1], packed_file(), "1", 1),
              ("packed passes of 32 texts", levels[-1], packed_file(), "1", 32),
              ("a second thread", levels[-1], packed_file(), "2", 32)]
    rows = []
    for name, level, model, threads, batch in cases:
        out = run("env", f"INSTEMB_CPU={level}", f"{BIN}/bench_embed", model, threads,
                  "auto", "100")
        line = re.search(rf"^ +100 +{batch} +.*$", out, re.M).group(0).split()
        rows.append({"step": name, "level": level, "rate": float(line[5])})
        print(rows[-1], flush=True)
    ours = Ours()
    other = [f"concat('{INSTRUCTION} ', id)", f"'{INSTRUCTION}'"]
    reuse = [[], []]
    for _ in range(ROUNDS):
        for i, instruction in enumerate(other):
            reuse[i].append(ours.session.ms(
                f"count(instemb(t, {instruction}, '{NAME}')) FROM input WHERE words = 10"))
    ours.close()
    return {"rows": rows, "reuse": [N_TEXTS[10] / median(ms) * 1e3 for ms in reuse]}


def pgbench(clients, threads, seconds, words=40):
    """Single-row statements, from so many connections: rows/s."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("\\set id random(1, 2000)\n"
                     f"SELECT instemb(t, {CALL}) FROM bench_input WHERE id = :id;\n")
        script.flush()
        options = f"-c instemb.cache_size=0 -c instemb.threads={threads}"
        out = subprocess.run(
            [os.environ.get("PGBENCH", "pgbench"), "-n", "-M", "prepared", "-c", str(clients),
             "-j", str(clients), "-T", str(seconds), "-f", script.name],
            check=True, text=True, stdout=subprocess.PIPE,
            env={**os.environ, "PGOPTIONS": options}).stdout
    return float(re.search(r"^tps = ([0-9.]+)", out, re.M).group(1))


def make_bench_input():
    s = Session()
    s.ask("DROP TABLE IF EXISTS bench_input")
    s.ask("CREATE TABLE bench_input (id int PRIMARY KEY, t text)")
    for first in range(0, 2000, 500):
        s.ask("INSERT INTO bench_input VALUES " + ", ".join(
            f"({first + i + 1}, {sql_text(make_text(40, 104729 * (first + i)))})"
            for i in range(500)))
    s.close()


def retrieval():
    """Single-row statements that share an instruction, 40 words, 2 threads."""
    make_bench_input()
    best = load()["peer"]["best"]
    other = Peer()
    result = {"ours": [], "ours_1_thread": [], "peer": [], "peer_reuse": []}
    for _ in range(ROUNDS):
        result["ours"].append(pgbench(1, 2, 4))
        result["ours_1_thread"].append(pgbench(1, 1, 4))
        for key, reuse in (("peer", False), ("peer_reuse", True)):
            result[key].append(N_TEXTS[40] / other.ask(best, 40, False, 2, reuse)["seconds"])
    other.close()
    print({key: round(median(values), 1) for key, values in result.items()}, flush=True)
    return result


def concurrency():
    """Rows/s of 1, 2, 4, 8 backends; what two independent loops reach beside."""
    make_bench_input()
    level = run(f"{BIN}/bench_parts", "--levels").split()[-1]
    result = {"backends": {}, "backends_2_threads": [], "loops": []}
    for _ in range(ROUNDS):
        result["loops"].append([sum(peaks(level, 2)), peaks(level)[0]])
        for n in (1, 2, 4, 8):
            result["backends"].setdefault(str(n), []).append(pgbench(n, 1, 4))
        result["backends_2_threads"].append(pgbench(8, 2, 4))
    print(result, flush=True)
    return result


def first_call():
    extra = []
    calls = [("a red tent for two persons", INSTRUCTION.replace("kind", "type")),
             ("a blue tent for six persons", INSTRUCTION)]
    for _ in range(15):
        s = Session("cache_size = 0")
        s.ms("1")
        first, second = (s.ms(f"instemb('{t}', '{i}', '{NAME}')") for t, i in calls)
        extra.append(first - second)
        s.close()
    print(extra, flush=True)
    return {"ms": extra}


def memory():
    """Of a backend after a text of 256 tokens; Pss of the model in 8 backends."""
    idle = Session()
    idle.ask("SELECT 1")
    n = 200
    while int(idle.ask(f"SELECT instemb_token_count({sql_text(make_text(n, 1))}, '{NAME}')")) < 256:
        n += 1
    idle.close()
    idle = Session()
    idle.ask("SELECT 1")
    sessions = [Session() for _ in range(8)]
    for s in sessions:
        s.ask(f"SELECT instemb({sql_text(make_text(n, 1))}, {CALL})")
    result = {
        "private_mb": (sessions[0].rollup("Private_Dirty") - idle.rollup("Private_Dirty")) / 1024,
        "pss_mb": [s.rollup("Pss") / 1024 for s in sessions],
        "model_pss_mb": [s.mapped(NAME).get("Pss", 0) / 1024 for s in sessions],
        "file_mb": os.path.getsize(packed_file()) / 2**20}
    for s in [idle, *sessions]:
        s.close()
    print(result, flush=True)
    return result


def array():
    """The array form against single calls, 10 words, 1 thread."""
    ours = Ours()
    ours.session.ask("TRUNCATE input")
    ours.session.ask("INSERT INTO input (words, t) VALUES "
                     + ", ".join(f"(10, {sql_text(t)})" for t in texts_of(10, 256)))
    result = {"texts": 256, "single": [], "array": []}
    for _ in range(2 * ROUNDS + 1):
        result["single"].append(ours.seconds(10, False))
        result["array"].append(ours.seconds(10, True))
    ours.close()
    print({key: 256 / median(result[key]) for key in ("single", "array")}, "rows/s", flush=True)
    return result


def distance():
    """<~=> against pgvector's <=>: sequential scans of the same vectors."""
    return json.loads(run(f"{HERE}/distance", "2" if QUICK else "7"))


def accuracy():
    """The packed model against the fp32 reference that the project carries."""
    instructions, texts, vectors = read_golden(f"tests/golden/{BASE}.golden")
    rows = [(instruction, text, vector) for instruction, per_text in zip(instructions, vectors)
            for text, vector in zip(texts, per_text)][:40 if QUICK else 1000]
    s = Session("cache_size = 0")
    cosines = []
    for instruction, text, expected in rows:
        answer = s.ask(f"SELECT instemb({sql_text(text)}, {sql_text(instruction)}, '{NAME}')")
        cosines.append(least_cosine([[float(x) for x in answer.strip("{}").split(",")]],
                                    [expected]))
    s.close()
    result = {"texts": len(rows), "least": min(cosines), "mean": statistics.mean(cosines)}
    print(result, flush=True)
    return result


PARTS = {f.__name__: f for f in (peer, speed, share, steps, retrieval, concurrency, first_call,
                                 memory, array, distance, accuracy)}


# ------------------------------------------------------------------------ main

def load():
    if not os.path.exists(RESULTS):
        return {}
    with open(RESULTS, encoding="utf-8") as f:
        return json.load(f)


def store(results):
    os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
    with open(RESULTS + ".new", "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1)
    os.rename(RESULTS + ".new", RESULTS)


def version():
    s = Session()
    s.ask(f"SELECT instemb('a', {CALL})")
    answer = s.ask("SELECT instemb_version()") + ", PostgreSQL " + s.ask("SHOW server_version")
    s.close()
    return answer


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        info = f.read()
    flags = set(re.search(r"^flags\s*: (.*)$", info, re.M).group(1).split())
    wanted = ("avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8")
    return {"cpu": re.search(r"^model name\s*: (.*)$", info, re.M).group(1).strip(),
            "family": re.search(r"^cpu family\s*: (.*)$", info, re.M).group(1),
            "processors": os.cpu_count(), "flags": [x for x in wanted if x in flags],
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "version": version(), "date": time.strftime("%Y-%m-%d")}


def main():
    wanted = sys.argv[1:] or list(PARTS)
    for name in wanted:
        if name not in PARTS:
            sys.exit(f"there is no part {name}: {' '.join(PARTS)}")
    os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
    install()
    for name in wanted:
        print(f"-- {name}: {PARTS[name].__doc__ or name}", flush=True)
        begun = time.monotonic()
        part = PARTS[name]()
        part["load"] = os.getloadavg()[0]
        store({**load(), "machine": machine(), name: part})
        print(f"   {time.monotonic() - begun:.0f} s", flush=True)
    report.write(load())


if __name__ == "__main__":
    main()
