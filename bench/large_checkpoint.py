#!/usr/bin/env python3
"""Makes a large sharded checkpoint out of nearly nothing, converts it, and measures the memory.

    bench/large_checkpoint.py [--gigabytes 4] [--shards 8] [--format bin] [--keep] FOLDER

The checkpoint has the layers of a text generator of width 2048 and lies in FOLDER/checkpoint. Its
tensors begin with a few values that depend on their name; the rest is a hole in the file, which
takes no space. pare-convert (in $PARE_BIN, or build/bin) may use as much memory as the largest
tensor and 200 MB; the script fails when it used more. Tensors that are stored as they were must
have the same checksums. Everything is removed afterwards unless --keep is given. The output has no
holes: FOLDER needs that much space.
"""

import argparse
import io
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import time
import zlib

WIDTH, POSITIONS, VOCABULARY, SAMPLE = 2048, 1024, 8192, 16
ALLOWED = 200e6

CONFIG = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-05,
    "n_embd": WIDTH,
    "n_head": 16,
    "n_positions": POSITIONS,
    "vocab_size": VOCABULARY,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def tensors_of(layers):
    """Name and shape of each; matrices are [in, out]."""
    yield "transformer.wte.weight", (VOCABULARY, WIDTH)
    yield "transformer.wpe.weight", (POSITIONS, WIDTH)
    for i in range(layers):
        at = f"transformer.h.{i}."
        for norm in ("ln_1", "ln_2"):
            yield at + norm + ".weight", (WIDTH,)
            yield at + norm + ".bias", (WIDTH,)
        for name, rows, columns in (
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH),
            ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ):
            yield at + name + ".weight", (rows, columns)
            yield at + name + ".bias", (columns,)
    yield "transformer.ln_f.weight", (WIDTH,)
    yield "transformer.ln_f.bias", (WIDTH,)


def size_of(shape):
    size = 4
    for n in shape:
        size *= n
    return size


def sample(name):
    """The first values of a tensor."""
    seed = zlib.crc32(name.encode())
    return struct.pack(f"<{SAMPLE}f", *(((seed >> i) % 1000 - 500) / 1000 for i in range(SAMPLE)))


def split(tensors, shards):
    """Runs of tensors of about the same size."""
    limit = sum(size_of(shape) for _, shape in tensors) / shards
    parts, filled = [[]], 0
    for name, shape in tensors:
        if filled >= limit and len(parts) < shards:
            parts.append([])
            filled = 0
        parts[-1].append((name, shape))
        filled += size_of(shape)
    return parts


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        end = at + size_of(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors:
            begin = f.tell()
            f.write(sample(name))
            f.seek(begin + size_of(shape))
        f.truncate()


def pickled(value):
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    return b"(" + b"".join(map(pickled, value)) + b"t"


def state_dict(tensors):
    """data.pkl: storage i belongs to tensor i."""
    out = b"\x80\x02}("
    for i, (name, shape) in enumerate(tensors):
        strides = (shape[1], 1) if len(shape) == 2 else (1,)
        out += pickled(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + pickled("storage")
        out += b"ctorch\nFloatStorage\n" + pickled(str(i)) + pickled("cpu")
        out += pickled(size_of(shape) // 4) + b"tQ" + pickled(0) + pickled(shape) + pickled(strides)
        out += b"\x89}tR"
    return out + b"u."


def write_torch(path, tensors):
    """torch.save's zip archive, whose storages are not compressed."""
    zeros, directory, count = bytes(1 << 20), io.BytesIO(), 0

    def entry(f, name, head, size):
        nonlocal count
        crc, left = zlib.crc32(head), size - len(head)
        while left > 0:
            crc = zlib.crc32(zeros[: min(left, len(zeros))], crc)
            left -= len(zeros)
        begin = f.tell()
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0x21, crc, size, size, len(name), 0)
        f.write(b"PK\3\4" + fields + name + head)
        f.seek(begin + 30 + len(name) + size)
        directory.write(b"PK\1\2\x14\0" + fields + bytes(10) + struct.pack("<I", begin) + name)
        count += 1

    with open(path, "wb") as f:
        pickle = state_dict(tensors)
        entry(f, b"archive/data.pkl", pickle, len(pickle))
        for i, (name, shape) in enumerate(tensors):
            entry(f, b"archive/data/%d" % i, sample(name), size_of(shape))
        begin = f.tell()
        f.write(directory.getvalue())
        end = struct.pack("<HHHHIIH", 0, 0, count, count, directory.tell(), begin, 0)
        f.write(b"PK\5\6" + end)


def make(folder, layers, shards, kind):
    tensors = list(tensors_of(layers))
    total = sum(size_of(shape) for _, shape in tensors)
    parts = split(tensors, shards)
    prefix, suffix, index, write = {
        "safetensors": ("model", "safetensors", "model.safetensors.index.json", write_safetensors),
        "bin": ("pytorch_model", "bin", "pytorch_model.bin.index.json", write_torch),
    }[kind]
    os.makedirs(folder)
    weight_map = {}
    for i, part in enumerate(parts):
        name = f"{prefix}-{i + 1:05}-of-{len(parts):05}.{suffix}"
        write(os.path.join(folder, name), part)
        weight_map.update({tensor: name for tensor, _ in part})
    with open(os.path.join(folder, index), "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump({**CONFIG, "n_layer": layers}, f)
    return tensors, total


def check_values(program, checkpoint, output, layers):
    """Tables and norms are stored as they are: their checksums must be those of the checkpoint."""

    def listed(path):
        lines = subprocess.run([program, "--tensors", "--sha256", path], check=True,
                               stdout=subprocess.PIPE).stdout.decode().splitlines()
        return {line.split("\t")[0]: line.split("\t")[1:] for line in lines}

    before, after = listed(checkpoint), listed(output)
    known = {sha for _, _, sha in after.values()}
    wanted = [name for name, (shape, _, _) in before.items() if name.split(".")[-2] in
              ("wte", "wpe", "ln_1", "ln_2", "ln_f")]  # fmt: skip
    missing = [name for name in wanted if before[name][2] not in known]
    if len(wanted) != 4 + 4 * layers or missing:
        sys.exit(f"values differ: {missing[:3]}")
    return len(wanted)


def main():
    parser = argparse.ArgumentParser(description="Converts a large sharded checkpoint.")
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--format", choices=("safetensors", "bin"), default="safetensors")
    parser.add_argument("--keep", action="store_true", help="remove nothing afterwards")
    parser.add_argument("folder")
    args = parser.parse_args()
    layers = max(1, round(args.gigabytes * 1e9 / (12 * WIDTH * WIDTH * 4)))
    programs = os.environ.get("PARE_BIN", "build/bin")
    checkpoint = os.path.join(args.folder, "checkpoint")
    output = os.path.join(args.folder, "model.pare")
    tensors, total = make(checkpoint, layers, args.shards, args.format)
    try:
        begin = time.monotonic()
        subprocess.run([os.path.join(programs, "pare-convert"), checkpoint, "--no-tokenizer",
                        "--quiet", "-o", output], check=True)  # fmt: skip
        seconds = time.monotonic() - begin
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        largest = max(size_of(shape) for _, shape in tensors)
        print(f"{args.format}: {total / 1e6:.0f} MB in {args.shards} shards, {len(tensors)} "
              f"tensors, the largest {largest / 1e6:.0f} MB")  # fmt: skip
        print(f"converted in {seconds:.1f} s with a peak of {peak / 1e6:.0f} MB; allowed are "
              f"{(largest + ALLOWED) / 1e6:.0f} MB")  # fmt: skip
        count = check_values(os.path.join(programs, "pare-info"), checkpoint, output, layers)
        print(f"{count} tensors that are stored as they were have the same values")
    finally:
        if not args.keep:
            shutil.rmtree(checkpoint)
            if os.path.exists(output):
                os.unlink(output)
    return peak > largest + ALLOWED


if __name__ == "__main__":
    sys.exit(main())
