"""Reads golden files: see tests/golden/golden.h."""
import struct


def read_golden(path):
    """(instructions, texts, vectors [instruction][text], sequences of n_embd fp32 numbers)"""
    with open(path, "rb") as f:
        data = f.read()
    n_embd, _, n_instructions, n_texts, _ = struct.unpack_from("<5I", data, 72)
    at, strings = 92, []
    for _ in range(n_instructions + n_texts):
        (n,) = struct.unpack_from("<I", data, at)
        strings.append(data[at + 4:at + 4 + n].decode("utf-8"))
        at += 4 + n
    vectors = []
    for _ in range(n_instructions):
        mean = struct.unpack_from(f"<{n_embd}f", data, at)
        at += 4 * n_embd
        vectors.append([])
        for _ in range(n_texts):
            less_mean = struct.unpack_from(f"<{n_embd}e", data, at)
            at += 2 * n_embd
            vectors[-1].append([x + y for x, y in zip(mean, less_mean)])
    return strings[:n_instructions], strings[n_instructions:], vectors
