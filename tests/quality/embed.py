"""Models under evaluation, and the filling of the table "embedding".

Our models embed by SQL's instemb(), array form, in several sessions at once; every chunk
is a transaction, so that an interrupted run goes on.  The baseline MiniLM is computed
here and put into the same table.
"""
import hashlib
import json
import os
import queue
import threading
import time

import numpy as np
import psycopg

ALL_KINDS = ("triplet", "match", "similarity", "labelled", "attribute", "retrieval")
CHUNK_CHARACTERS, CHUNK_ROWS = 24000, 512

EMBED = """
INSERT INTO embedding
SELECT %s, g.instruction, g.texts[e.n], e.v
FROM (
	SELECT i.id AS instruction, i.body, array_agg(t.id ORDER BY length(t.body), t.id) AS texts,
		array_agg(t.body ORDER BY length(t.body), t.id) AS bodies
	FROM unnest(%s::int[], %s::int[]) w (i, t) JOIN instruction i ON i.id = w.i
	JOIN text t ON t.id = w.t
	GROUP BY i.id
) g, LATERAL instemb(g.bodies, g.body, %s) WITH ORDINALITY e (v, n)
"""

MISSING = """
SELECT DISTINCT n.instruction, n.text, length(t.body) AS length
FROM needed n JOIN text t ON t.id = n.text
WHERE kind = ANY (%s) AND NOT EXISTS (
	SELECT FROM embedding e
	WHERE e.model = %s AND e.instruction = n.instruction AND e.text = n.text)
ORDER BY n.instruction, length, n.text
"""

# without an instruction nothing is put in front
SHARED = """
INSERT INTO embedding
SELECT %s, e.instruction, e.text, e.e
FROM embedding e JOIN model m ON m.id = e.model JOIN plain ON plain.id = e.instruction
WHERE m.hash = %s
ON CONFLICT DO NOTHING
"""

# some that are there already, computed once more
CHANGED = """
SELECT count(*) FROM (
	SELECT * FROM embedding WHERE model = %s ORDER BY instruction, text LIMIT 5
) e JOIN instruction i ON i.id = e.instruction JOIN text t ON t.id = e.text
WHERE e.e <> instemb(t.body, i.body, %s)
"""


class Model:
    """name: as asked for.  title: for people.  kinds: what it is evaluated on."""

    sql = False

    def __init__(self, name, title, kinds=ALL_KINDS):
        self.name, self.title, self.kinds = name, title, kinds
        self.id = self.hash = None

    def register(self, conn, hash):
        self.hash = hash
        with conn.cursor() as cur:
            cur.execute("INSERT INTO model (hash) VALUES (%s) ON CONFLICT DO NOTHING", [hash])
            cur.execute("SELECT id FROM model WHERE hash = %s", [hash])
            self.id = cur.fetchone()[0]

    def missing(self, conn, kinds):
        with conn.cursor() as cur:
            cur.execute(MISSING, [list(kinds), self.id])
            return cur.fetchall()


class SqlModel(Model):
    sql = True

    def __init__(self, name, title, installed, kinds=ALL_KINDS):
        super().__init__(name, title, kinds)
        self.installed = installed

    def prepare(self, conn):
        with conn.cursor() as cur:
            cur.execute("SELECT instemb_model_info(%s, true)", [self.installed])
            self.info = cur.fetchone()[0]
            self.register(conn, self.info["sha256"])
            cur.execute(CHANGED, [self.id, self.installed])
            if cur.fetchone()[0]:
                print(f"{self.name}: the engine gives other embeddings now; all are computed again")
                cur.execute("DELETE FROM embedding WHERE model = %s", [self.id])

    def describe(self):
        i = self.info
        return (f"{i['quantization']}, {i['dims']} dimensions, pooling {i['pooling']},"
                f" {i['file_bytes'] / 1e6:.0f} MB, sha256 {self.hash[:16]}...")

    def embed(self, conn, kinds, sessions):
        work = queue.SimpleQueue()
        chunk, size, total = [], 0, 0
        for i, t, length in self.missing(conn, kinds):
            if chunk and (size + length > CHUNK_CHARACTERS or len(chunk) >= CHUNK_ROWS):
                work.put(chunk)
                chunk, size = [], 0
            chunk.append((i, t))
            size += length
            total += 1
        if chunk:
            work.put(chunk)
        progress = Progress(self.name, total)
        failed = []

        def session():
            try:
                with psycopg.connect(autocommit=True) as mine:
                    mine.execute("SET instemb.on_overflow = truncate")
                    mine.add_notice_handler(lambda notice: progress.cut())
                    while not failed:
                        try:
                            rows = work.get_nowait()
                        except queue.Empty:
                            break
                        ids = [list(column) for column in zip(*rows)]
                        mine.execute(EMBED, [self.id, ids[0], ids[1], self.installed])
                        progress.add(len(rows))
                    spent = mine.execute("SELECT coalesce(sum(tokens), 0) FROM instemb_stats()")
                    progress.tokens(spent.fetchone()[0])
            except psycopg.Error as error:
                failed.append(error)

        threads = [threading.Thread(target=session) for _ in range(sessions)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if failed:
            raise failed[0]
        progress.end()


class UntrainedModel(SqlModel):
    """The base of the default model as it was published, under another pooling"""

    def __init__(self, pooling, default):
        name = "untrained-" + pooling
        super().__init__(name, f"untrained, {pooling}", name,
                         ("triplet", "match", "similarity", "labelled", "attribute"))
        self.pooling, self.default = pooling, default

    def prepare(self, conn):
        with conn.cursor() as cur:
            cur.execute("""
                SELECT m.name
                FROM instemb_models() m, instemb_model_info(%s, true) default_model
                WHERE error IS NULL AND NOT quantization ~ 'packed'
                    AND instemb_model_info(m.name, true)->>'sha256' = coalesce(
                        default_model->>'base_sha256', default_model->>'sha256')
                """, [self.default])
            base = next((name for name, in cur.fetchall()), None)
            if base is None:
                raise SystemExit(f"the base of {self.default} is not installed: run 'make model'")
            cur.execute("SELECT instemb_define(%s, %s, %s, replace => true)",
                        [self.installed, base, json.dumps({"pooling": self.pooling})])
        super().prepare(conn)


class MiniLMModel(Model):
    """all-MiniLM-L6-v2; "front" puts the instruction before the text"""

    def __init__(self, name, title, front):
        super().__init__(name, title)
        self.front = front

    def prepare(self, conn):
        import minilm
        with open(os.path.join(minilm.folder(), "model.safetensors"), "rb") as f:
            weights = hashlib.sha256(f.read()).hexdigest()
        self.register(conn, f"{weights} {self.name}")
        self.blind = f"{weights} minilm"

    def describe(self):
        return ("sentence-transformers/all-MiniLM-L6-v2, 384 dimensions, 256 tokens at most, "
                + ("with the instruction and a space before the text" if self.front else
                   "without the instruction"))

    def embed(self, conn, kinds, sessions):
        if self.front:
            conn.execute(SHARED, [self.id, self.blind])
        rows = self.missing(conn, kinds)
        if not rows:
            return
        import minilm
        net = minilm.MiniLM()
        with conn.cursor() as cur:
            cur.execute("SELECT id, body FROM instruction")
            question = dict(cur.fetchall())
            cur.execute("SELECT id, body FROM text")
            body = dict(cur.fetchall())
        inputs = {}
        for i, t, _ in rows:
            front = question[i] + " " if self.front and question[i] else ""
            inputs.setdefault(front + body[t], []).append((i, t))
        texts = sorted(inputs, key=len)
        chunks = queue.SimpleQueue()
        for at in range(0, len(texts), CHUNK_ROWS):
            chunks.put(texts[at:at + CHUNK_ROWS])
        progress = Progress(self.name, len(texts))
        lock = threading.Lock()

        def worker():
            while True:
                try:
                    some = chunks.get_nowait()
                except queue.Empty:
                    return
                e = net.embed(some)
                with lock, conn.transaction(), conn.cursor() as cur:
                    with cur.copy("COPY embedding FROM STDIN") as copy:
                        for text, row in zip(some, e):
                            for i, t in inputs[text]:
                                copy.write_row((self.id, i, t, row.tolist()))
                progress.add(len(some))

        threads = [threading.Thread(target=worker) for _ in range(sessions)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        progress.end()


class Progress:
    """A line every ten seconds"""

    def __init__(self, name, total):
        self.name, self.total, self.done, self.spent = name, total, 0, 0
        self.truncated = 0
        self.began = self.said = time.time()
        self.lock = threading.Lock()

    def add(self, n):
        with self.lock:
            self.done += n
            now = time.time()
            if now - self.said >= 10:
                self.said = now
                left = (now - self.began) * (self.total - self.done) / self.done
                print(f"{self.name}: {self.done} of {self.total} embeddings,"
                      f" about {left:.0f} s left", flush=True)

    def tokens(self, n):
        with self.lock:
            self.spent += int(n)

    def cut(self):
        with self.lock:
            self.truncated += 1

    def end(self):
        if not self.total:
            return
        seconds = time.time() - self.began
        rate = f", {self.spent / seconds:.0f} tokens/s" if self.spent else ""
        print(f"{self.name}: {self.total} embeddings in {seconds:.0f} s{rate}", flush=True)
        if self.truncated:
            print(f"{self.name}: {self.truncated} texts truncated to the model's context")


# ---------------------------------------------------------------- reading them

def matrix(conn, model, source, parameters=()):
    """Embeddings of (instruction, text) as float32 rows, in the order of "source", which
    is a query that gives instruction, text and n."""
    select = (f"SELECT e.e FROM ({source}) s JOIN embedding e ON e.model = {int(model.id)}"
              " AND e.instruction = s.instruction AND e.text = s.text ORDER BY s.n")
    with conn.cursor() as cur, cur.copy(f"COPY ({select}) TO STDOUT (FORMAT binary)",
                                        parameters) as copy:
        data = b"".join(bytes(block) for block in copy)
    data = data[19:-2]              # signature; trailer
    # a row: int16 fields, int32 size; int32 dimensions, flags, type, length, lower bound
    dims = int.from_bytes(data[18:22], "big")
    row = np.dtype([("head", "V26"), ("e", [("size", ">i4"), ("value", ">f4")], dims)])
    return np.frombuffer(data, row)["e"]["value"].astype(np.float32)
