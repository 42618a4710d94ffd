"""Reading and writing GGUF v3 files with numpy alone.

Only what the twin needs: metadata, tensors of the types that the engine reads
(dequantised to float32), and writing of small F16/F32/Q8_0 files.
Numpy shapes are the reverse of GGUF dims: dims [n_in, n_out] <-> (n_out, n_in).
"""

import hashlib
import struct

import numpy as np

F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, BF16 = 0, 1, 2, 3, 6, 7, 8, 30
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
T_U32, T_F32, T_STRING, T_ARRAY = 4, 6, 8, 9


class Reader:
    """`meta` is a dict, `info` maps name -> (shape, type, offset)."""

    def __init__(self, path):
        self.path = path
        self.buf = np.memmap(path, dtype=np.uint8, mode="r")
        self.pos = 0
        magic, version, n_tensors, n_kv = struct.unpack("<4sIQQ", self._take(24))
        if magic != b"GGUF" or version != 3:
            raise ValueError(f"{path}: not a GGUF v3 file")
        self.meta = {}
        for _ in range(n_kv):
            key = self._string()
            (kind,) = struct.unpack("<I", self._take(4))
            self.meta[key] = self._value(kind)
        self.head = n_kv, self.buf[24 : self.pos].tobytes()  # as they lie in the file
        raw = []
        for _ in range(n_tensors):
            name = self._string()
            (n_dims,) = struct.unpack("<I", self._take(4))
            dims = struct.unpack(f"<{n_dims}Q", self._take(8 * n_dims))
            kind, offset = struct.unpack("<IQ", self._take(12))
            raw.append((name, tuple(reversed(dims)), kind, offset))
        align = self.meta.get("general.alignment", 32)
        base = -(-self.pos // align) * align
        self.info = {n: (s, k, base + o) for n, s, k, o in raw}

    def _take(self, n):
        out = self.buf[self.pos : self.pos + n].tobytes()
        if len(out) != n:
            raise ValueError(f"{self.path}: file ends early")
        self.pos += n
        return out

    def _string(self):
        (n,) = struct.unpack("<Q", self._take(8))
        return self._take(n).decode("utf-8", "surrogateescape")

    def _value(self, kind):
        if kind == T_STRING:
            return self._string()
        if kind == T_ARRAY:
            item, count = struct.unpack("<IQ", self._take(12))
            return [self._value(item) for _ in range(count)]
        fmt = _SCALARS[kind]
        return struct.unpack(fmt, self._take(struct.calcsize(fmt)))[0]

    def tensor(self, name):
        """The tensor as float32, in numpy order."""
        shape, kind, offset = self.info[name]
        n = int(np.prod(shape))
        return dequantise(self.buf, offset, n, kind).reshape(shape)


def dequantise(buf, offset, n, kind):
    def span(size):
        return np.asarray(buf[offset : offset + size])

    if kind == F32:
        return span(4 * n).view("<f4").astype(np.float32)
    if kind == F16:
        return span(2 * n).view("<f2").astype(np.float32)
    if kind == BF16:
        return (span(2 * n).view("<u2").astype(np.uint32) << 16).view(np.float32)
    blocks = n // 32
    if kind == Q8_0:
        b = span(34 * blocks).reshape(blocks, 34)
        d = b[:, :2].copy().view("<f2").astype(np.float32)
        return (b[:, 2:].view(np.int8).astype(np.float32) * d).ravel()
    if kind == Q4_0:
        b = span(18 * blocks).reshape(blocks, 18)
        d = b[:, :2].copy().view("<f2").astype(np.float32)
        q = np.concatenate([b[:, 2:] & 15, b[:, 2:] >> 4], axis=1).astype(np.float32) - 8.0
        return (q * d).ravel()
    if kind == Q4_1:
        b = span(20 * blocks).reshape(blocks, 20)
        d = b[:, 0:2].copy().view("<f2").astype(np.float32)
        m = b[:, 2:4].copy().view("<f2").astype(np.float32)
        q = np.concatenate([b[:, 4:] & 15, b[:, 4:] >> 4], axis=1).astype(np.float32)
        return (q * d + m).ravel()
    if kind in (Q5_0, Q5_1):
        head = 2 if kind == Q5_0 else 4  # bytes of scale and minimum
        b = span((head + 20) * blocks).reshape(blocks, head + 20)
        d = b[:, 0:2].copy().view("<f2").astype(np.float32)
        m = -16 * d if kind == Q5_0 else b[:, 2:4].copy().view("<f2").astype(np.float32)
        fifth = np.unpackbits(b[:, head : head + 4], axis=1, bitorder="little")
        low = np.concatenate([b[:, head + 4 :] & 15, b[:, head + 4 :] >> 4], axis=1)
        return ((low + 16 * fifth).astype(np.float32) * d + m).ravel()
    raise ValueError(f"tensor type {kind} is not supported")


def quantise_q8_0(x):
    """x (float32, last axis divisible by 32) as the reference quantiser does:
    scales d = max|x| / 127 as f16 [blocks, 1], whole numbers round(x / d) [blocks, 32]."""
    blocks = np.ascontiguousarray(x, dtype=np.float32).reshape(-1, 32)
    amax = np.abs(blocks).max(axis=1, keepdims=True)
    d = amax / 127.0
    inv = np.where(d > 0, 1.0 / np.where(d > 0, d, 1.0), 0.0)
    y = blocks * inv
    q = np.sign(y) * np.floor(np.abs(y) + 0.5)  # half away from zero, like roundf
    return d.astype(np.float16), q


def round_q8_0(x):
    """x rounded to Q8_0 and back."""
    d, q = quantise_q8_0(x)
    return (q * d.astype(np.float32)).reshape(x.shape).astype(np.float32)


class Q8:
    """A tensor to be written as Q8_0."""

    dtype = np.dtype("int8")

    def __init__(self, x):
        d, q = quantise_q8_0(x)
        self.shape, self.ndim = x.shape, x.ndim
        self.body = np.concatenate([d.view(np.uint8), q.astype(np.int8).view(np.uint8)], axis=1)


def _pack_string(s):
    b = s.encode("utf-8")
    return struct.pack("<Q", len(b)) + b


def write(path, meta, tensors, align=32, head=(0, b"")):
    """meta: key -> str | int (u32) | float (f32); tensors: name -> numpy array
    of float16 or float32, or Q8; head: a Reader's, whose keys come before meta's."""
    out = bytearray()
    out += struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), head[0] + len(meta))
    out += head[1]
    for key, value in meta.items():
        out += _pack_string(key)
        if isinstance(value, str):
            out += struct.pack("<I", T_STRING) + _pack_string(value)
        elif isinstance(value, int):
            out += struct.pack("<II", T_U32, value)
        else:
            out += struct.pack("<If", T_F32, value)
    offset, bodies = 0, []
    for name, array in tensors.items():
        kind = {"float16": F16, "float32": F32, "int8": Q8_0}[array.dtype.name]
        body = np.ascontiguousarray(array.body if kind == Q8_0 else array).tobytes()
        out += _pack_string(name) + struct.pack("<I", array.ndim)
        out += struct.pack(f"<{array.ndim}Q", *reversed(array.shape))
        out += struct.pack("<IQ", kind, offset)
        body += b"\0" * (-len(body) % align)
        offset += len(body)
        bodies.append(body)
    out += b"\0" * (-len(out) % align)
    with open(path, "wb") as f:
        f.write(out)
        for body in bodies:
            f.write(body)


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for chunk in iter(lambda: f.read(1 << 20), b""):
            h.update(chunk)
    return h.hexdigest()
