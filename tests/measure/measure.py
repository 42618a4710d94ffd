#!/usr/bin/env python3
"""Measures of time, memory and cancellation, with the installed default model.

    make measure                                      all of them, on a scratch server
    tests/with-cluster tests/measure/measure.py cancel    one of them

Reads PGHOST and the like; needs psql, and to be root or the server's user, for
/proc.  Each measure prints what the project promises beside it.
"""
import os
import re
import statistics
import subprocess
import sys
import time

MODEL = "smollm2-135m-instemb"
PRODUCTS = os.path.join(os.path.dirname(__file__), "../../demo/data/products.tsv")
LONG = "repeat('A light and waterproof tent for four persons. ', 400)"


class Session:
    """A psql that stays connected."""

    def __init__(self, *settings):
        self.psql = subprocess.Popen(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=0"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.pid = int(self.ask("SELECT pg_backend_pid()"))
        for setting in settings:
            self.ask("SET instemb." + setting)

    def begin(self, sql):
        self.psql.stdin.write(f"{sql};\n\\echo --end--\n")
        self.psql.stdin.flush()

    def end(self):
        lines = []
        for line in self.psql.stdout:
            if line == "--end--\n":
                return "".join(lines).strip()
            lines.append(line)
        raise RuntimeError("psql ended: " + "".join(lines))

    def ask(self, sql):
        self.begin(sql)
        answer = self.end()
        if "ERROR" in answer:
            raise RuntimeError(f"{sql}: {answer}")
        return answer

    def ms(self, sql):
        """Milliseconds of a statement, by the server's clock."""
        self.ask("DO $do$ DECLARE begun timestamptz := clock_timestamp(); "
                 "BEGIN PERFORM " + sql + "; PERFORM set_config('measure.ms', "
                 "(extract(epoch FROM clock_timestamp() - begun) * 1000)::text, false); END $do$")
        return float(self.ask("SHOW measure.ms"))

    def rollup(self, field):
        """kB of a field of /proc/PID/smaps_rollup."""
        with open(f"/proc/{self.pid}/smaps_rollup") as f:
            return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M).group(1))

    def mapped(self, name):
        """kB by field of the mappings of one file."""
        total, inside = {}, False
        with open(f"/proc/{self.pid}/smaps") as f:
            for line in f:
                if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                    inside = name in line
                elif inside and (m := re.match(r"(\w+):\s+(\d+) kB", line)):
                    total[m[1]] = total.get(m[1], 0) + int(m[2])
        return total

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()


def embed(text, instruction="What kind of product is this?"):
    quoted = text if text.startswith("repeat(") else "'" + text.replace("'", "''") + "'"
    return f"instemb({quoted}, '{instruction}', '{MODEL}')"


def report(name, value, promise):
    print(f"{name:<58} {value:<28} {promise}", flush=True)


def first_call():
    # another text and another instruction, of as many tokens
    calls = [("a red tent for two persons", "What kind of product is this?"),
             ("a blue tent for six persons", "What sort of product is this?")]
    s = Session()
    counts = [[s.ask(f"SELECT instemb_token_count('{t}', '{MODEL}')") for t in call]
              for call in calls]
    assert counts[0] == counts[1], counts
    s.ask("SELECT " + embed(*calls[0]))
    s.close()
    extra = []
    for _ in range(15):
        s = Session("cache_size = 0")
        s.ms("1")
        first = s.ms(embed(*calls[0]))
        second = s.ms(embed(*calls[1]))
        extra.append(first - second)
        s.close()
    report("first call of a session, minus the second",
           f"{statistics.median(extra):.1f} ms (max {max(extra):.1f})", "<= 10 ms")


def private_memory():
    idle = Session()
    idle.ask("SELECT 1")
    probe = Session()
    words = 1
    while int(probe.ask(f"SELECT instemb_token_count(repeat('tent ', {words}), '{MODEL}')")) < 256:
        words += 1
    for threads in (1, 2):
        s = Session(f"threads = {threads}")
        s.ask("SELECT " + embed(f"repeat('tent ', {words})"))
        kb = s.rollup("Private_Dirty") - idle.rollup("Private_Dirty")
        report(f"private memory after a text of 256 tokens, {threads} thread(s)",
               f"{kb / 1024:.1f} MB", "<= 16 MB")
        s.close()
    idle.close()
    probe.close()


def shared_weights():
    sessions = [Session() for _ in range(20)]
    for s in sessions:
        s.ask("SELECT " + embed("a red tent"))
    maps = [s.mapped(MODEL) for s in sessions]
    rss = statistics.mean(m["Rss"] for m in maps) / 1024
    pss = statistics.mean(m["Pss"] for m in maps) / 1024
    dirty = sum(m["Private_Dirty"] for m in maps)
    report("20 sessions, the model in each: Rss / Pss", f"{rss:.1f} MB / {pss:.1f} MB", "shared")
    report("20 sessions, pages of the model that are private", f"{dirty} kB", "0")
    report("20 sessions, Pss of all together",
           f"{sum(s.rollup('Pss') for s in sessions) / 1024:.0f} MB", "")
    for s in sessions:
        s.close()


LATENCY = """
CREATE OR REPLACE FUNCTION pg_temp.latency(victim int) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE began timestamptz := clock_timestamp();
BEGIN
	PERFORM pg_cancel_backend(victim);
	LOOP
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN NOT EXISTS
			(SELECT FROM pg_stat_activity WHERE pid = victim AND state = 'active');
		PERFORM pg_sleep(0.0005);
	END LOOP;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1000;
END $$"""


def cancel():
    batch = ("count(*) FROM instemb(array_fill('A tent for four persons.'::text, array[2000]), "
             f"'What is it?', '{MODEL}')")
    watch = Session()
    watch.ask(LATENCY)
    for name, sql in (("one long text", embed(LONG)), ("a batch", batch)):
        for threads in (1, 2):
            s = Session(f"threads = {threads}", "cache_size = 0")
            s.ask("SELECT " + embed("warm up"))
            times = []
            for i in range(12):
                s.begin("SELECT " + sql)
                time.sleep(0.05 + 0.05 * i)
                times.append(float(watch.ask(f"SELECT pg_temp.latency({s.pid})")))
                if "canceling statement" not in (answer := s.end()):
                    raise RuntimeError("not canceled: " + answer[:200])
            report(f"cancel of {name}, {threads} thread(s)",
                   f"{statistics.median(times):.1f} ms (max {max(times):.1f})", "<= 50 ms")
            s.close()
    watch.close()


def speed():
    with open(PRODUCTS, encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t")[1:] for line in f][:150]
    texts = [" ".join(x for x in row if x != "\\N") for row in rows]
    array = "array[" + ", ".join("'" + t.replace("'", "''") + "'" for t in texts) + "]"
    for threads in (1, 2):
        s = Session(f"threads = {threads}", "cache_size = 0")
        s.ask(f"CREATE TEMP TABLE input AS SELECT unnest({array}) AS t")
        tokens = int(s.ask(f"SELECT sum(instemb_token_count(t, '{MODEL}')) FROM input"))
        s.ask("SELECT " + embed("warm up"))
        ms = s.ms("count(instemb(t, 'What kind of product is this?', "
                  f"'{MODEL}')) FROM input")
        report(f"{len(texts)} products one by one, {threads} thread(s)",
               f"{len(texts) / ms * 1000:.1f} rows/s", f"{tokens / ms * 1000:.0f} tokens of text/s")
        ms = s.ms(f"count(*) FROM instemb((SELECT array_agg(t) FROM input), "
                  f"'What kind of product is this?', '{MODEL}')")
        report(f"{len(texts)} products in a batch, {threads} thread(s)",
               f"{len(texts) / ms * 1000:.1f} rows/s", f"{tokens / ms * 1000:.0f} tokens of text/s")
        n = int(s.ask(f"SELECT instemb_token_count(repeat('tent ', 500), '{MODEL}')"))
        ms = s.ms(embed("repeat('tent ', 500)"))
        report(f"a text of {n} tokens, {threads} thread(s)",
               f"{ms:.0f} ms", f"{n / ms * 1000:.0f} tokens/s")
        s.close()

def short_rows(path, n):
    with open(PRODUCTS, encoding="utf-8") as f:
        names = [line.rstrip("\n").split("\t")[1] for line in f]
    with open(path, "w", encoding="utf-8") as f:
        for i in range(n):
            f.write(f"{i}\t{names[i % len(names)]} {i}\n")
    os.chmod(path, 0o644)


def tables():
    """COPY of 10,000 short rows under each mode of instemb_enable()."""
    n = int(os.environ.get("ROWS", 10000))
    path = f"/tmp/instemb-rows-{os.getpid()}"
    short_rows(path, n)
    s = Session("cache_size = 0")
    s.ask("SELECT " + embed("warm up"))

    def copy(mode, times):
        seconds = []
        for _ in range(times):
            s.ask("DROP TABLE IF EXISTS copied; "
                  "CREATE TABLE copied (id int PRIMARY KEY, name text, e real[])")
            if mode != "plain":
                s.ask("SELECT instemb_enable('copied', 'e', '{name}', 'What kind of product is "
                      f"this?', '{MODEL}', '{mode}')")
            begun = time.time()
            s.ask(f"COPY copied (id, name) FROM '{path}'")
            seconds.append(time.time() - begun)
            if mode == "queue":
                s.ask("SELECT instemb_disable('copied', 'e')")
        return statistics.median(seconds)

    plain, queue = copy("plain", 7), copy("queue", 7)
    statement, row = copy("statement", 1), copy("row", 1)
    for name, seconds, promise in (
            ("plain", plain, ""),
            ("mode queue", queue, f"{queue / plain:.2f} x plain (<= 2.5), "
             f"{100 * queue / row:.2f} % of row (<= 2)"),
            ("mode statement", statement, f"{row / statement:.2f} x as fast as row (>= 1.5)"),
            ("mode row", row, "")):
        report(f"COPY of {n} short rows, {name}", f"{seconds / n * 1e6:.1f} us/row", promise)
    s.ask("DROP TABLE copied")
    s.close()
    os.unlink(path)


MEASURES = {f.__name__: f for f in (first_call, private_memory, shared_weights, cancel, speed,
                                    tables)}


def main():
    with open("/proc/cpuinfo") as f:
        cpu = re.search(r"^model name\s*: (.*)$", f.read(), re.M).group(1)
    s = Session()
    s.ask("SELECT " + embed("a"))
    print(f"{cpu}, {os.cpu_count()} processors; {s.ask('SELECT instemb_version()')}; "
          f"PostgreSQL {s.ask('SHOW server_version')}")
    s.close()
    for name in sys.argv[1:] or MEASURES:
        MEASURES[name]()


if __name__ == "__main__":
    main()
