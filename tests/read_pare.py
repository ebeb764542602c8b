#!/usr/bin/env python3
"""A second reader of .pare files, written from docs/FORMAT.md alone, standard library only.

    read_pare.py [--metadata] FILE

Checks everything that the page asks a reader to check, then prints one line per tensor:
name, shape, dtype and the SHA-256 of its elements as little-endian float32, tab-separated.
With --metadata the metadata section follows as JSON. Exits 1 with a message when the file is
refused.
"""

import array
import hashlib
import json
import struct
import sys

MAGIC = b"\x89PARE\r\n\x1a"
NO_ALIAS = 0xFFFFFFFF
DTYPES = ["F32", "F16", "BF16", "I8"]
ROWS, BLOCK1, BLOCK4 = 0, 1, 2
HEAD, KV, FFN = 6, 7, 8
AXIS_KINDS = 12
MASK = (1 << 64) - 1


class Refused(Exception):
    pass


def need(condition, message):
    if not condition:
        raise Refused(message)


def align64(x):
    return (x + 63) // 64 * 64


def pad(n, unit):
    return (n + unit - 1) // unit * unit


# ---- XXH64, seed 0 -----------------------------------------------------------------------------

P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def rotl(x, r):
    return ((x << r) | (x >> (64 - r))) & MASK


def xxh64_round(acc, lane):
    return rotl((acc + lane * P2) & MASK, 31) * P1 & MASK


def xxh64(data):
    data = bytes(data)
    size, at = len(data), 0
    if size >= 32:
        acc = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        at = size // 32 * 32
        lanes = struct.unpack("<%dQ" % (at // 8), data[:at])
        for i in range(0, len(lanes), 4):
            acc = [xxh64_round(a, lane) for a, lane in zip(acc, lanes[i : i + 4])]
        h = sum(rotl(a, r) for a, r in zip(acc, (1, 7, 12, 18))) & MASK
        for a in acc:
            h = ((h ^ xxh64_round(0, a)) * P1 + P4) & MASK
    else:
        h = P5
    h = (h + size) & MASK
    while size - at >= 8:
        (lane,) = struct.unpack_from("<Q", data, at)
        h = (rotl(h ^ xxh64_round(0, lane), 27) * P1 + P4) & MASK
        at += 8
    if size - at >= 4:
        (lane,) = struct.unpack_from("<I", data, at)
        h = (rotl(h ^ (lane * P1 & MASK), 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotl(h ^ (byte * P5 & MASK), 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


# ---- Numbers -----------------------------------------------------------------------------------


def f32_bits(value):
    try:
        return struct.unpack("<I", struct.pack("<f", value))[0]
    except OverflowError:
        return 0x7F800000 if value > 0 else 0xFF800000


def f32_value(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def half_to_f32_bits(h):
    sign, exponent, mantissa = (h >> 15) << 31, h >> 10 & 31, h & 1023
    if exponent == 31:
        return sign | 0x7F800000 | mantissa << 13
    if exponent == 0:
        return sign | f32_bits(mantissa / 2.0**24)
    return sign | (exponent + 112) << 23 | mantissa << 13


def halves_to_f32_bits(dtype, halves):
    if dtype == "BF16":
        return [h << 16 for h in halves]
    return [half_to_f32_bits(h) for h in halves]


# ---- The file ----------------------------------------------------------------------------------


class Tensor:
    def text(self):
        shape = "[" + ", ".join(str(n) for n in self.shape) + "]"
        bits = struct.pack("<%dI" % self.elements, *self.f32_bits())
        return "\t".join([self.name, shape, self.dtype, hashlib.sha256(bits).hexdigest()])

    def halves(self):
        values = array.array("H", self.blob)
        if sys.byteorder == "big":
            values.byteswap()
        return values

    def f32_bits(self):
        if self.layout == BLOCK4:
            return self.block4_bits()
        if self.layout == BLOCK1:
            n_rows, k_cols = self.shape
            halves = self.halves()
            for n in range(n_rows, pad(n_rows, 16)):
                for k in range(k_cols):
                    need(
                        halves[n // 16 * k_cols * 16 + k * 16 + n % 16] == 0,
                        "tensor '%s': padding is not zero" % self.name,
                    )
            order = (
                halves[n // 16 * k_cols * 16 + k * 16 + n % 16]
                for n in range(n_rows)
                for k in range(k_cols)
            )
            return halves_to_f32_bits(self.dtype, order)
        if self.dtype == "F32":
            return struct.unpack("<%dI" % self.elements, self.blob)
        return halves_to_f32_bits(self.dtype, self.halves())

    def block4_bits(self):
        n_rows, k_cols = self.shape
        p, c = pad(n_rows, 16), pad(k_cols, 4)
        scales = struct.unpack_from("<%dI" % p, self.blob, 0)
        sums = struct.unpack_from("<%di" % p, self.blob, 4 * p)
        values = struct.unpack_from("<%db" % (p * c), self.blob, 8 * p)
        out = []
        for n in range(p):
            row = [
                values[n // 16 * c * 16 + k // 4 * 64 + n % 16 * 4 + k % 4] for k in range(c)
            ]
            where = "tensor '%s', row %d: " % (self.name, n)
            need(min(row, default=0) >= -127, where + "-128 occurs")
            need(sum(row) == sums[n], where + "the sum is wrong")
            need(not any(row[k_cols:]), where + "padding is not zero")
            if scales[n] == 0x7FC00000:
                need(not any(row), where + "a NaN scale with values")
            else:
                need(scales[n] < 0x7F800000, where + "the scale is negative or infinite")
            if n >= n_rows:
                need(scales[n] == 0 and not any(row), where + "padding is not zero")
                continue
            scale = f32_value(scales[n])
            out += [f32_bits(scale * q) for q in row[:k_cols]]
        return out


class Reader:
    def __init__(self, data):
        self.data = data
        self.tensors, self.sections = [], {}
        self.read_header()
        self.read_table()

    def read_header(self):
        data = self.data
        need(len(data) >= 128, "shorter than a header")
        need(data[:8] == MAGIC, "bad magic")
        version, own = struct.unpack_from("<II", data, 8)
        need(version == 1, "version %d" % version)
        need(own == 128, "header size %d" % own)
        need(xxh64(data[:120]) == struct.unpack_from("<Q", data, 120)[0], "header checksum")
        required, _ = struct.unpack_from("<II", data, 16)
        need(required == 0, "required flags 0x%x" % required)
        need(not any(data[72:120]), "reserved header bytes")
        size, self.table_at, self.table_size, checksum = struct.unpack_from("<QQQQ", data, 24)
        self.tensor_count, self.section_count = struct.unpack_from("<II", data, 56)
        (self.names_size,) = struct.unpack_from("<Q", data, 64)
        need(len(data) >= size, "truncated")
        need(len(data) == size, "trailing bytes")
        need(self.tensor_count <= 1 << 20 and self.section_count <= 64, "too many records")
        need(self.table_at + self.table_size == size, "the table does not end the file")
        need(
            self.table_size == 132 * self.tensor_count + 32 * self.section_count + self.names_size,
            "table size",
        )
        need(xxh64(data[self.table_at :]) == checksum, "table checksum")

    def read_table(self):
        at = self.table_at
        sections_at = at + 128 * self.tensor_count
        sorted_at = sections_at + 32 * self.section_count
        self.names = self.data[sorted_at + 4 * self.tensor_count :]
        self.names_used, self.end = 0, 128
        for i in range(self.tensor_count):
            self.tensors.append(self.read_tensor(self.data[at + 128 * i : at + 128 * i + 128]))
        need(self.names_used == self.names_size, "names")
        order = struct.unpack_from("<%dI" % self.tensor_count, self.data, sorted_at)
        need(all(i < self.tensor_count for i in order), "sorted index")
        by_order = [self.tensors[i].name.encode() for i in order]
        need(all(a < b for a, b in zip(by_order, by_order[1:])), "sorted index is not ascending")
        for i in range(self.section_count):
            self.read_section(self.data[sections_at + 32 * i : sections_at + 32 * i + 32])
        self.skip_padding("the table")
        need(self.end == self.table_at, "the table is not where it must be")

    def skip_padding(self, what):
        need(not any(self.data[self.end : align64(self.end)]), "padding before %s" % what)
        self.end = align64(self.end)

    def take_part(self, what, offset, size):
        self.skip_padding(what)
        need(offset == self.end, "%s is not where it must be" % what)
        need(size <= self.table_at - offset, "%s is cut off" % what)
        self.end = offset + size
        return self.data[offset : offset + size]

    def read_name(self, at, length):
        need(at == self.names_used and 1 <= length <= 255, "a name is not where it must be")
        raw = self.names[at : at + length + 1]
        need(len(raw) == length + 1 and raw[-1] == 0, "a name is not terminated")
        self.names_used += length + 1
        try:
            name = raw[:-1].decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("a name is not UTF-8") from None
        need(all(c >= " " and c != "\x7f" for c in name), "a name has control characters")
        return name

    def read_tensor(self, r):
        t = Tensor()
        offset, size, checksum, name_at, name_length = struct.unpack_from("<QQQIH", r, 0)
        dtype, t.layout, dims = r[30], r[31], r[32]
        t.name = self.read_name(name_at, name_length)
        what = "tensor '%s'" % t.name
        need(dtype < 4 and t.layout < 3 and dims <= 4, what + ": dtype, layout or dims")
        t.dtype = DTYPES[dtype]
        (alias,) = struct.unpack_from("<I", r, 36)
        shape = struct.unpack_from("<4Q", r, 40)
        axes = [struct.unpack_from("<BBBBHH", r, 72 + 8 * d) for d in range(4)]
        required, _ = struct.unpack_from("<II", r, 104)
        need(required == 0, what + ": required flags")
        need(not any(r[33:36]) and not any(r[112:]), what + ": reserved bytes")
        need(not any(shape[dims:]), what + ": shape beyond its dimensions")
        t.shape = shape[:dims]
        for d, axis in enumerate(axes):
            if d >= dims:
                need(not any(axis), what + ": axis beyond its dimensions")
            else:
                self.check_axis(what, axis, shape[d])
        need(size == self.blob_size(what, t), what + ": size of the blob")
        if alias == NO_ALIAS:
            t.blob = self.take_part(what, offset, size)
            need(xxh64(t.blob) == checksum, what + ": checksum")
            t.same = (offset, size, checksum, dtype, t.layout, shape)
            t.is_alias = False
            return t
        need(alias < len(self.tensors), what + ": alias of a later record")
        target = self.tensors[alias]
        need(not target.is_alias, what + ": alias of an alias")
        need(
            target.same == (offset, size, checksum, dtype, t.layout, shape),
            what + ": alias differs from its target",
        )
        t.blob, t.is_alias = target.blob, True
        return t

    @staticmethod
    def check_axis(what, axis, length):
        kind, stack, block, zero, layer, group = axis
        need(kind < AXIS_KINDS and stack <= 2 and zero == 0, what + ": axis")
        need(block <= (1 if kind in (HEAD, KV) else 0), what + ": axis block")
        need(layer == 0 or kind in (HEAD, KV, FFN), what + ": axis layer")
        if kind == 0:
            need(stack == 0 and group <= 1, what + ": axis")
        else:
            need(group >= 1 and length % group == 0, what + ": axis group")

    @staticmethod
    def blob_size(what, t):
        shape = list(t.shape)
        half = t.dtype in ("F16", "BF16")
        need(all(n <= 1 << 40 for n in shape), what + ": dimension")
        t.elements = 1
        for n in shape:
            t.elements *= n
        if t.layout == ROWS:
            need(half or t.dtype == "F32", what + ": dtype and layout")
            padded, size = t.elements, t.elements * (2 if half else 4)
        else:
            need(len(shape) == 2, what + ": blocks need a matrix")
            p = pad(shape[0], 16)
            if t.layout == BLOCK1:
                need(half, what + ": dtype and layout")
                padded, size = p * shape[1], p * shape[1] * 2
            else:
                need(t.dtype == "I8" and shape[1] <= 1 << 24, what + ": dtype and layout")
                padded = p * pad(shape[1], 4)
                size = p * 8 + padded
        need(padded <= 1 << 40, what + ": too many elements")
        return size

    def read_section(self, r):
        kind, flags, offset, size, checksum = struct.unpack("<IIQQQ", r)
        what = "section %d" % kind
        need(flags & 0xFFFE == 0, what + ": flags")
        need(1 <= kind <= 4 or flags & 1 == 0, what + " is unknown and required")
        need(kind not in self.sections, what + " occurs twice")
        self.sections[kind] = self.take_part(what, offset, size)
        need(xxh64(self.sections[kind]) == checksum, what + ": checksum")


def main(arguments):
    with_metadata = "--metadata" in arguments
    paths = [a for a in arguments if a != "--metadata"]
    if len(paths) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with open(paths[0], "rb") as f:
        data = f.read()
    try:
        reader = Reader(data)
        lines = [t.text() for t in reader.tensors]
    except Refused as reason:
        print("%s: %s" % (paths[0], reason), file=sys.stderr)
        return 1
    for line in lines:
        print(line)
    if with_metadata and 1 in reader.sections:
        print(json.dumps(json.loads(reader.sections[1].decode("utf-8")), ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
