#!/usr/bin/env python3
"""How long pare-convert takes beside cp, for a checkpoint in the page cache.

    bench/convert_speed.py [--megabytes 500] [--rounds 7] [--kinds bin,safetensors,...] [FOLDER]

Makes a BERT-shaped checkpoint (always the same bytes), then takes turns: cp of the weights, cp and
sync of the copy, pare-convert, which synchronises what it writes too. What a round wrote is removed
before the next, so that all of them write into memory that was free. The first round warms up and
does not count. Everything is removed from FOLDER (a temporary one by default) at the end.

Prints the least and the median of the seconds, and the ratio of pare-convert to each copy.
"""

import argparse
import array
import json
import os
import random
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

from large_checkpoint import state_dict

WIDTH, LAYERS, HEADS, FFN, POSITIONS = 768, 12, 12, 3072, 512
KINDS = ("bin", "safetensors", "sharded", "f16", "bf16")
SHARDS = 4


def tensors_of(vocabulary):
    """Name and shape of each."""
    at = "bert.embeddings."
    yield at + "word_embeddings.weight", (vocabulary, WIDTH)
    yield at + "position_embeddings.weight", (POSITIONS, WIDTH)
    yield at + "token_type_embeddings.weight", (2, WIDTH)
    yield from layer(at + "LayerNorm", (WIDTH,))
    for i in range(LAYERS):
        at = f"bert.encoder.layer.{i}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value",
                     "attention.output.dense"):  # fmt: skip
            yield from layer(at + name, (WIDTH, WIDTH))
        yield from layer(at + "attention.output.LayerNorm", (WIDTH,))
        yield from layer(at + "intermediate.dense", (FFN, WIDTH))
        yield from layer(at + "output.dense", (WIDTH, FFN))
        yield from layer(at + "output.LayerNorm", (WIDTH,))
    yield from layer("bert.pooler.dense", (WIDTH, WIDTH))
    yield from layer("classifier", (2, WIDTH))


def layer(name, shape):
    yield name + ".weight", shape
    yield name + ".bias", shape[:1]


def count_of(shape):
    return shape[0] * (shape[1] if len(shape) == 2 else 1)


class Values:
    """As many bytes of a tensor as wanted, cut from one block of small random numbers."""

    def __init__(self, dtype):
        draw = random.Random(7)
        floats = array.array("f", (draw.uniform(-0.1, 0.1) for _ in range(1 << 20)))
        if dtype == "F16":
            self.block, self.size = struct.pack(f"<{len(floats)}e", *floats), 2
        elif dtype == "BF16":  # the upper halves
            self.block = array.array("H", floats.tobytes())[1::2].tobytes()
            self.size = 2
        else:
            self.block, self.size = floats.tobytes(), 4

    def write(self, f, number, shape):
        left, at = count_of(shape) * self.size, number * 4096 % len(self.block)
        while left > 0:
            piece = self.block[at : at + left]
            f.write(piece)
            left, at = left - len(piece), 0


def write_safetensors(path, tensors, dtype):
    values, header, at = Values(dtype), {}, 0
    for name, shape in tensors:
        end = at + count_of(shape) * values.size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for number, (_, shape) in enumerate(tensors):
            values.write(f, number, shape)


def write_torch(path, tensors):
    values = Values("F32")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", state_dict(tensors))
        for number, (_, shape) in enumerate(tensors):
            with archive.open(zipfile.ZipInfo(f"archive/data/{number}"), "w") as f:
                values.write(f, number, shape)


def write_sharded(folder, tensors):
    weight_map, total = {}, sum(4 * count_of(shape) for _, shape in tensors)
    for shard in range(SHARDS):
        name, part = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors", tensors[shard::SHARDS]
        write_safetensors(os.path.join(folder, name), part, "F32")
        weight_map.update({tensor: name for tensor, _ in part})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f)


def make(folder, kind, megabytes):
    """The files that hold the weights."""
    rest = sum(count_of(shape) for _, shape in tensors_of(0))
    vocabulary = max(1000, int(megabytes * 1e6 / 4 - rest) // WIDTH)
    tensors = list(tensors_of(vocabulary))
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"],
              "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
              "intermediate_size": FFN, "vocab_size": vocabulary,
              "max_position_embeddings": POSITIONS, "id2label": {"0": "a", "1": "b"}}  # fmt: skip
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    if kind == "bin":
        write_torch(os.path.join(folder, "pytorch_model.bin"), tensors)
    elif kind == "sharded":
        write_sharded(folder, tensors)
    else:
        dtype = {"safetensors": "F32", "f16": "F16", "bf16": "BF16"}[kind]
        write_safetensors(os.path.join(folder, "model.safetensors"), tensors, dtype)
    names = sorted(os.listdir(folder))
    return [os.path.join(folder, n) for n in names if n.endswith((".bin", ".safetensors"))]


def seconds_of(commands):
    begin = time.monotonic()
    for command in commands:
        subprocess.run(command, check=True)
    return time.monotonic() - begin


def measure(folder, kind, args):
    checkpoint, copies = os.path.join(folder, kind), os.path.join(folder, "copies")
    model = os.path.join(folder, "model.pare")
    size, weights = 0, make(checkpoint, kind, args.megabytes)
    copied = [os.path.join(copies, os.path.basename(path)) for path in weights]
    program = os.path.join(os.environ.get("PARE_BIN", "build/bin"), "pare-convert")
    turns = {
        "cp": [["cp", *weights, copies]],
        "cp + sync": [["cp", *weights, copies], ["sync", *copied]],
        "pare-convert": [[program, "--quiet", "--no-tokenizer", checkpoint, "-o", model]],
    }
    times = {name: [] for name in turns}
    subprocess.run(["sync"], check=True)
    for i in range(args.rounds + 1):
        for name, commands in turns.items():
            os.makedirs(copies)
            seconds = seconds_of(commands)
            if i > 0:
                times[name].append(seconds)
            shutil.rmtree(copies)
            if os.path.exists(model):
                size = os.path.getsize(model)
                os.unlink(model)
    megabytes = sum(os.path.getsize(path) for path in weights) / 1e6
    print(f"{kind}: {megabytes:.0f} MB to {size / 1e6:.0f} MB")
    for name, seconds in times.items():
        line = f"  {name:14} least {min(seconds):.3f} s  median {statistics.median(seconds):.3f} s"
        if name != "pare-convert":
            line += (f"  pare-convert takes {min(times['pare-convert']) / min(seconds):.2f} and "
                     f"{statistics.median(times['pare-convert']) / statistics.median(seconds):.2f} "
                     "times as long")  # fmt: skip
        print(line)
    shutil.rmtree(checkpoint)


def main():
    parser = argparse.ArgumentParser(description="pare-convert beside cp.")
    parser.add_argument("--megabytes", type=float, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("folder", nargs="?")
    args = parser.parse_args()
    print("load", " ".join(f"{load:.2f}" for load in os.getloadavg()))
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for kind in args.kinds.split(","):
            measure(folder, kind, args)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"peak memory of a program: {peak / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
