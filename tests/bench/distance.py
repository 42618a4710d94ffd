"""The measurement of tests/bench/distance: distance.py ROUNDS, with PGHOST and the like."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../measure"))
from measure import Session  # noqa: E402

N_ROWS = 100000
N_DIMS = 576
# half the time would go into getting vectors out of TOAST tables otherwise, on both sides
STORAGES = ("plain", "external")


def fill(s, storage):
    s.ask(f"DROP TABLE IF EXISTS ours, theirs")
    s.ask(f"CREATE TABLE ours (id int, v real[])")
    s.ask(f"CREATE TABLE theirs (id int, v vector({N_DIMS}))")
    for table in ("ours", "theirs"):
        s.ask(f"ALTER TABLE {table} ALTER v SET STORAGE {storage}")
    s.ask("SELECT setseed(0.5)")
    s.ask(f"INSERT INTO ours SELECT i, (SELECT array_agg((random() - 0.5)::real) "
          f"FROM generate_series(1, {N_DIMS}) WHERE i > 0) FROM generate_series(1, {N_ROWS}) i")
    s.ask("INSERT INTO theirs SELECT id, v::vector FROM ours")
    s.ask("VACUUM ANALYZE ours")
    s.ask("VACUUM ANALYZE theirs")


def measure(s, rounds):
    query = s.ask("SELECT v FROM ours WHERE id = 1")
    scans = {"ours": f"count(*) FROM ours WHERE v <~=> '{query}'::real[] < 0.9",
             "theirs": "count(*) FROM theirs WHERE v <=> "
                       f"'{query.replace('{', '[').replace('}', ']')}'::vector < 0.9"}
    counts = {name: s.ask("SELECT " + sql) for name, sql in scans.items()}
    assert counts["ours"] == counts["theirs"], counts
    times = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for name, sql in scans.items():
            times[name].append(s.ms(sql))
    return times


def main():
    s = Session()
    s.ask("CREATE EXTENSION IF NOT EXISTS vector")
    result = {"rows": N_ROWS, "dims": N_DIMS,
              "server": s.ask("SHOW server_version"),
              "pgvector": s.ask("SELECT extversion FROM pg_extension WHERE extname = 'vector'")}
    for storage in STORAGES:
        fill(s, storage)
        result[storage] = measure(s, int(sys.argv[1]))
    s.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
