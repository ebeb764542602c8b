#!/usr/bin/env python3
"""A checkpoint cut into shards converts to the same tensors; the provenance has every file."""

import hashlib
import json
import os
import shutil
import struct
import tempfile

from harness import check, finish, run

GOLDEN = "tests/data/goldens/v5-bert-cls"


def read_safetensors(path):
    """Name -> dtype, shape and bytes."""
    with open(path, "rb") as f:
        data = f.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body = data[8 + size :]
    return {
        name: (t["dtype"], t["shape"], body[t["data_offsets"][0] : t["data_offsets"][1]])
        for name, t in header.items()
    }


def write_safetensors(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


def cut(folder, shards, total_size):
    """The golden checkpoint, its tensors dealt to the shards in turn."""
    os.mkdir(folder)
    shutil.copy(os.path.join(GOLDEN, "config.json"), folder)
    tensors = read_safetensors(os.path.join(GOLDEN, "model.safetensors"))
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    weight_map = {name: names[i % shards] for i, name in enumerate(tensors)}
    for shard in names:
        write_safetensors(os.path.join(folder, shard),
                          {k: v for k, v in tensors.items() if weight_map[k] == shard})
    if total_size is None:
        total_size = sum(len(t[2]) for t in tensors.values())
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": total_size}, "weight_map": weight_map}, f)
    return names


def check_provenance(folder, model):
    summary = run("pare-info", "--json", model)
    inputs = json.loads(summary.stdout)["metadata"]["provenance"][0]["inputs"]
    check("every file is an input", {i["file"] for i in inputs} == set(os.listdir(folder)))
    for i in inputs:
        with open(os.path.join(folder, i["file"]), "rb") as f:
            data = f.read()
        check(i["file"], i["bytes"] == len(data) and
              i["sha256"] == hashlib.sha256(data).hexdigest())  # fmt: skip


with tempfile.TemporaryDirectory() as top:
    whole, parts = os.path.join(top, "whole.pare"), os.path.join(top, "parts.pare")
    got = run("pare-convert", GOLDEN, "--no-tokenizer", "-o", whole)
    check("the whole converts", got.returncode == 0)
    folder = os.path.join(top, "cut")
    names = cut(folder, 40, None)  # more than there once was room for
    got = run("pare-convert", folder, "--no-tokenizer", "-o", parts)
    check("the shards convert", got.returncode == 0 and got.stderr.count("warning") == 0)
    lists = [run("pare-info", "--tensors", "--sha256", "--json", m).stdout for m in (whole, parts)]
    check("the same tensors", lists[0] == lists[1] and lists[0].count("\n") > 30)
    check_provenance(folder, parts)

    got = run("pare-info", folder)
    check("pare-info counts files", "files         41: the index and 40 shards\n" in got.stdout)
    got = run("pare-info", "--json", os.path.join(folder, "model.safetensors.index.json"))
    check("... as JSON", json.loads(got.stdout)["files"] == 41)
    got = run("pare-info", "--verify", folder)
    check("nothing to verify", got.returncode == 1 and "only a .pare file" in got.stderr)

    got = run("pare-convert", folder, "--no-tokenizer", "-f", "-o", os.path.join(folder, names[3]))
    check("no shard is overwritten", got.returncode == 1 and "is an input" in got.stderr)
    os.unlink(os.path.join(folder, names[3]))
    got = run("pare-convert", folder, "--no-tokenizer", "-f", "-o", parts)
    check("a missing shard", got.returncode == 1 and
          "1 of its 40 shards is missing: " + names[3] in got.stderr)  # fmt: skip

    odd = os.path.join(top, "odd")
    cut(odd, 2, 17)
    got = run("pare-convert", odd, "--no-tokenizer", "-f", "-o", parts)
    check("a wrong total is a warning", got.returncode == 0 and
          "metadata.total_size is 17, but the tensors" in got.stderr)  # fmt: skip
    got = run("pare-info", odd)
    check("... of pare-info, too", "\nwarning       model.safetensors.index.json: " in got.stdout)
    got = json.loads(run("pare-info", "--json", odd).stdout)
    check("... as JSON", len(got["warnings"]) == 1 and "total_size" in got["warnings"][0])

finish()
