#!/usr/bin/env python3
"""Makes tests/data/corpus/{safetensors,sharded,sharded-tf,sniff}: files that must be read, and
files that must be refused with a certain sentence. The same bytes on every run. Standard library
only, but for sharded-tf, which needs h5py.

    python3 tests/make_formats_corpus.py

Each folder's expected.txt has a line for each file that is opened: "NAME ok TENSORS", or
"NAME refused WORDS", where WORDS are part of the message. Files without a line are parts of others.
"""

import io
import json
import math
import os
import shutil
import struct
import tarfile
import zipfile

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "corpus")
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I8": 1, "U8": 1, "F8_E4M3": 1}


class Folder:
    """Files and what is expected of them."""

    def __init__(self, name):
        self.path = os.path.join(CORPUS, name)
        self.lines = []
        shutil.rmtree(self.path, ignore_errors=True)
        os.makedirs(self.path)

    def part(self, name, data):
        with open(os.path.join(self.path, name), "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())

    def good(self, name, data, tensors):
        self.part(name, data)
        self.lines.append(f"{name} ok {tensors}\n")

    def bad(self, name, data, words):
        self.part(name, data)
        self.lines.append(f"{name} refused {words}\n")

    def finish(self):
        self.part("expected.txt", "".join(self.lines))


# ---- safetensors ----


def frame(header, data=b"", length=None):
    if not isinstance(header, bytes):
        header = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors(tensors, metadata=None):
    """`tensors`: name -> (dtype, shape); the bytes are a pattern."""
    header, at = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape) in tensors.items():
        size = SIZES[dtype]
        for n in shape:
            size *= n
        header[name] = entry(dtype, shape, at, at + size)
        at += size
    text = json.dumps(header).encode()
    return frame(text + b" " * (-len(text) % 8), bytes(i * 7 % 64 for i in range(at)))


def make_safetensors():
    f = Folder("safetensors")
    one = {"a": entry("F32", [1], 0, 4)}
    four = bytes(4)
    every = {f"t.{d}": (d, [2, 3]) for d in SIZES}
    f.good("every", safetensors(every, {"format": "pt"}), len(every))
    f.good("nothing", frame({}), 0)
    f.good("empty-tensors",
           safetensors({"a": ("F32", [0]), "b": ("I64", [3, 0]), "c": ("F32", [])}), 3)
    f.good("metadata-null", frame({"__metadata__": None, **one}, four), 1)
    f.good("padded", frame(json.dumps(one) + " " * 777, four), 1)
    f.good("backwards",
           frame({"a": entry("F32", [1], 4, 8), "b": entry("F32", [1], 0, 4)}, bytes(8)), 2)
    f.good("escaped-name", frame('{"\\u00e9\\ud83d\\ude00":' + json.dumps(one["a"]) + "}", four), 1)

    def two(a, b, size):
        return frame({"a": entry("U8", [a[1] - a[0]], *a), "b": entry("U8", [b[1] - b[0]], *b)},
                     bytes(size))

    f.bad("hole-first", two((1, 2), (2, 4), 4),
          "'a' begins at byte 1, but the tensors before it end at 0")
    f.bad("hole-between", two((0, 2), (3, 4), 4), "'b' begins at byte 3, but")
    f.bad("trailing", two((0, 2), (2, 3), 4), "the tensors end at byte 3, but 4 bytes are there")
    f.bad("overlap", two((0, 3), (2, 4), 4), "inside of another")
    f.bad("twice-the-same", two((0, 4), (0, 4), 4), "inside of another")
    f.bad("inside", two((0, 4), (1, 3), 4), "inside of another")
    f.bad("cut", frame(one, four[:3]), "of which the file has only 3")
    f.bad("cut-header", frame(one, b"", length=5000), "impossible in a file of")
    f.bad("header-over-limit", frame(one, four, length=100_000_001),
          "at most 100000000 are allowed")
    f.bad("header-of-2^63", frame(one, four, length=2**63), "at most 100000000 are allowed")
    f.bad("header-of-2^64-8", frame(one, four, length=2**64 - 8), "at most 100000000 are allowed")
    f.bad("header-empty", frame(b"", b"{\0\0\0"), "does not begin with '{'")
    f.bad("header-blank-first", frame(" " + json.dumps(one), four), "does not begin with '{'")
    f.bad("header-list", frame(b"[]"), "no checkpoint")
    f.bad("deep", frame('{"a":' + "[" * 100_000, b""), "nested deeper than 128 levels")
    f.bad("deep-objects", frame('{"a":' * 2_000, b""), "nested deeper than 128 levels")
    f.bad("key-twice", frame('{"a":%s,"a":%s}' % ((json.dumps(one["a"]),) * 2), four),
          '"a" appears twice')
    f.bad("key-twice-escaped", frame('{"a":%s,"\\u0061":%s}' % ((json.dumps(one["a"]),) * 2), four),
          "appears twice")
    f.bad("name-empty", frame({"": one["a"]}, four), "tensor '' is empty")
    f.bad("name-long", frame({"n" * 256: one["a"]}, four), "longer than 255 bytes")
    f.bad("name-nul", frame('{"a\\u0000b":%s}' % json.dumps(one["a"]), four), "NUL character")
    f.bad("name-escape", frame({"\x1b[2J": one["a"]}, four), "control character")
    f.bad("not-utf8", frame(b'{"\xc0\x80":{}}'), "invalid UTF-8")
    f.bad("surrogate", frame('{"\\ud800":%s}' % json.dumps(one["a"]), four), "surrogate")
    f.bad("metadata-number", frame({"__metadata__": {"a": 1}, **one}, four),
          "__metadata__ is not a map")

    def odd(shape, begin="0", end="4"):
        return frame('{"a":{"dtype":"F32","shape":%s,"data_offsets":[%s,%s]}}' % (shape, begin,
                                                                                  end), four)

    sizes = "a list of up to eight sizes"
    f.bad("shape-2^63", odd("[9223372036854775808]"), sizes)
    f.bad("shape-2^63-1", odd("[9223372036854775807]"), "beyond 2^53")
    f.bad("shape-2^64", odd("[18446744073709551616]"), sizes)
    f.bad("shape-negative", odd("[-1]"), sizes)
    f.bad("shape-float", odd("[1.5]"), sizes)
    f.bad("shape-1.0", odd("[1.0]"), "not written as a whole number")
    f.bad("shape-1e0", odd("[1e0]"), "not written as a whole number")
    f.bad("shape-huge-number", odd("[1" + "0" * 400 + "]"), "number")
    f.bad("shape-text", odd('["1"]'), sizes)
    f.bad("shape-product", odd("[4503599627370496,4503599627370496]"), "larger than memory")
    f.bad("shape-product-wraps", odd("[4294967296,4294967296,1]"), "larger than memory")
    f.bad("shape-nine", odd("[1,1,1,1,1,1,1,1,1]"), sizes)
    f.bad("shape-long", odd("[" + "1," * 2_000 + "1]"), sizes)
    f.bad("offset-negative", odd("[1]", "-4", "0"), "two positions")
    f.bad("offset-2^53", odd("[1]", "9007199254740988", "9007199254740992"),
          "of which the file has only 4")
    f.bad("offset-2^63", odd("[1]", "9223372036854775804", "9223372036854775808"), "2^53")
    f.bad("offset-turned", odd("[1]", "4", "0"), "end before they begin")
    f.bad("size-wrong", odd("[2]"), "has 4 bytes; 8 were expected")
    f.bad("dtype-unknown", frame({"a": entry("Q4_0", [1], 0, 4)}, four), "unknown dtype 'Q4_0'")
    f.bad("dtype-list", frame({"a": entry(["F32"], [1], 0, 4)}, four), "has no dtype")
    f.bad("half-a-byte", frame({"a": entry("F4", [3], 0, 2)}, four[:2]), "ends inside of a byte")
    f.bad("field-more", frame({"a": {**one["a"], "x": 1}}, four),
          "is not described by dtype, shape and")
    f.bad("field-less", frame({"a": {"dtype": "F32", "shape": [1]}}, four), "is not described by")
    f.finish()


# ---- PyTorch's zip, by hand ----


def pickled(value):
    """Texts, integers and tuples as protocol 2."""
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    return b"(" + b"".join(map(pickled, value)) + b"t"


def torch_zip(tensors):
    """`tensors`: name -> (storage, shape), float32; tensors of one storage are tied."""
    pickle = b"\x80\x02}("
    storages = {}
    for name, (storage, shape) in tensors.items():
        elements, strides = 1, []
        for n in reversed(shape):
            strides.insert(0, elements)
            elements *= n
        storages[storage] = max(elements, storages.get(storage, 0))
    for name, (storage, shape) in tensors.items():
        elements, strides = 1, []
        for n in reversed(shape):
            strides.insert(0, elements)
            elements *= n
        pickle += pickled(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + pickled("storage")
        pickle += b"ctorch\nFloatStorage\n" + pickled(storage) + pickled("cpu")
        pickle += pickled(storages[storage]) + b"tQ" + pickled(0)
        pickle += pickled(tuple(shape)) + pickled(tuple(strides)) + b"\x89}tR"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(zipfile.ZipInfo("archive/data.pkl"), pickle + b"u.")
        for storage, elements in storages.items():
            data = struct.pack(f"<{elements}f", *(i * 0.25 for i in range(elements)))
            z.writestr(zipfile.ZipInfo("archive/data/" + storage), data)
    return out.getvalue()


# ---- Sharded checkpoints ----


def make_sharded():
    f = Folder("sharded")
    first = {"emb": ("F32", [3, 2]), "a.weight": ("F16", [2, 2])}
    second = {"b.weight": ("F32", [2, 2]), "b.bias": ("F32", [2]), "empty": ("F32", [0])}
    shards = {"one.safetensors": first, "two.safetensors": second}
    where = {name: shard for shard, tensors in shards.items() for name in tensors}
    total = 6 * 4 + 4 * 2 + 4 * 4 + 2 * 4
    f.part("one.safetensors", safetensors(first))
    f.part("two.safetensors", safetensors(second))
    tied = {"x": ("0", [2, 3]), "y": ("0", [2, 3]), "z": ("1", [4])}
    f.part("three.bin", torch_zip(tied))
    f.part("four.bin", torch_zip({"u": ("0", [2]), "v": ("0", [2])}))
    f.part("twin.safetensors", safetensors({"a.weight": ("F16", [2, 2])}))
    f.part("eight.safetensors", safetensors({"q": ("F8_E4M3", [5])}))
    f.part("module.bin", torch_zip({"module.m": ("0", [2]), "module.n": ("1", [2])}))

    def index(weight_map, **metadata):
        return json.dumps({"metadata": metadata, "weight_map": weight_map}, indent=1) + "\n"

    f.good("good.index.json", index(where, total_size=total), 5)
    f.good("one.index.json", index({k: "one.safetensors" for k in first}), 2)
    bins = {**{k: "three.bin" for k in tied}, "u": "four.bin", "v": "four.bin"}
    f.good("bins.index.json", index(bins, total_size=(6 + 6 + 4 + 2 + 2) * 4), 5)
    f.good("bins-tied-once.index.json", index(bins, total_size=(6 + 4 + 2) * 4), 5)
    f.good("mixed.index.json", index({**where, **bins, "q": "eight.safetensors"}, total_size=1), 11)
    f.good("module.index.json", index({"module.m": "module.bin", "module.n": "module.bin"}), 2)
    f.good("total-wrong.index.json", index(where, total_size=total + 1), 5)
    f.good("total-text.index.json", index(where, total_size="big"), 5)
    f.good("total-huge.index.json", index(where, total_size=1e300), 5)
    f.good("no-metadata.index.json", json.dumps({"weight_map": where, "other": [1, {"a": None}]}),
           5)
    f.good("metadata-odd.index.json", json.dumps({"metadata": [1], "weight_map": where}), 5)
    f.good("mark.index.json", b"\xef\xbb\xbf" + index(where).encode(), 5)

    plain = "is not the plain name of a file in the same folder"

    def one_name(case, name, words):
        f.bad(case + ".index.json", index({**where, "emb": name}), words)

    one_name("dotdot", "../sharded/one.safetensors", plain)
    one_name("dotdot-alone", "..", plain)
    one_name("dot", ".", plain)
    one_name("here", "./one.safetensors", plain)
    one_name("absolute", "/etc/passwd", plain)
    one_name("below", "sub/one.safetensors", plain)
    one_name("slash-behind", "one.safetensors/", plain)
    one_name("no-name", "", "the shard '' is empty")
    one_name("long-name", "x" * 256, "longer than 255 bytes")
    one_name("line", "one\nsafetensors", "control character")
    one_name("nul", "one.safetensors\0", "NUL character")
    one_name("itself", "itself.index.json", "is the index itself")
    one_name("null", None, "tensor 'emb' is not mapped to the name of a shard")
    one_name("number", 1, "is not mapped to the name of a shard")
    one_name("list", ["one.safetensors"], "is not mapped to the name of a shard")
    one_name("missing-one", "none.safetensors", "1 of its 3 shards is missing: none.safetensors")
    one_name("cycle-good", "good.index.json",
             "good.index.json: is the index of a sharded checkpoint")
    f.bad("cycle-a.index.json", index({"a": "cycle-b.index.json"}),
          "cycle-b.index.json: is the index")
    f.bad("cycle-b.index.json", index({"a": "cycle-a.index.json"}),
          "cycle-a.index.json: is the index")
    f.bad("missing-all.index.json", index({"a": "m-2-of-2.bin", "b": "m-1-of-2.bin"}),
          "2 of its 2 shards are missing: m-1-of-2.bin, m-2-of-2.bin")
    f.bad("missing-many.index.json",
          index({f"t{i}": f"model-{i:05}-of-00300.bin" for i in range(300)}),
          "300 of its 300 shards are missing: model-00000-of-00300.bin, model-00001")
    f.bad("shard-lfs.index.json", index({"a": "lfs.bin"}), "lfs.bin: this is a Git LFS pointer")
    f.part("lfs.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    f.bad("shard-page.index.json", index({"a": "page.bin"}), "page.bin: this is a web page")
    f.part("page.bin", "<!DOCTYPE html><html></html>")
    f.bad("shard-empty.index.json", index({"a": "empty.bin"}), "empty.bin: the file is empty")
    f.part("empty.bin", b"")
    f.bad("shard-cut.index.json", index({"emb": "cut.safetensors"}),
          "the download may be incomplete")
    f.part("cut.safetensors", safetensors(first)[:-5])
    f.bad("shard-json.index.json", index({"a": "config.json"}),
          "config.json: this is JSON, not weights")
    f.part("config.json", '{"model_type": "x"}')

    f.bad("not-in-shard.index.json", index({**where, "ghost": "one.safetensors"}),
          "tensor 'ghost' is not in the shard one.safetensors, where the index places it")
    f.bad("not-in-index.index.json", index({k: v for k, v in where.items() if k != "b.bias"}),
          "tensor 'b.bias' is in the shard two.safetensors but not in the index")
    f.bad("elsewhere.index.json", index({**where, "emb": "two.safetensors"}),
          "tensor 'emb' is in the shard one.safetensors; the index says two.safetensors")
    f.bad("in-two.index.json", index({**where, "a.weight": "twin.safetensors"}),
          "tensor 'a.weight' is in two shards, one.safetensors and twin.safetensors")
    f.bad("two-names.index.json",
          index({"module.m": "module.bin", "m": "module.bin", "n": "module.bin"}),
          "is another name of a tensor in the index")
    f.bad("tensor-name.index.json", index({"\x07": "one.safetensors"}), "control character")
    f.bad("tensor-nameless.index.json", index({"": "one.safetensors"}), "tensor '' is empty")
    f.bad("key-twice.index.json", '{"weight_map":{"a":"one.safetensors","a":"two.safetensors"}}',
          'the key "a" appears twice')
    f.bad("map-twice.index.json", '{"weight_map":{},"weight_map":{}}', "appears twice")
    for kind, value in (("empty", {}), ("list", ["weight_map"]), ("null", None), ("text", "x")):
        f.bad(f"map-{kind}.index.json", json.dumps({"weight_map": value}),
              "weight_map is not a map")
    f.bad("map-deep.index.json", '{"a":{"weight_map":{"a":"one.safetensors"}}}',
          "weight_map is not a map")
    f.bad("deep.index.json", '{"weight_map":' + "[" * 20_000, "nested deeper than 128 levels")
    f.bad("trailing.index.json", index(where) + "x", "something follows the end")
    f.bad("cut.index.json", index(where)[:-20], "invalid JSON")
    f.finish()


# ---- Sharded checkpoints of TensorFlow ----

VARIABLES = {
    "tf_model/net/embeddings/word_embeddings/weight:0": (5, 4),
    "tf_model/net/embeddings/LayerNorm/gamma:0": (4,),
    "tf_model/net/encoder/layer_._0/attention/query/kernel:0": (4, 3),
    "tf_model/net/encoder/layer_._0/attention/query/bias:0": (3,),
    "tf_model/net/pooler/dense/kernel:0": (4, 4),
}


def make_sharded_tf():
    """As transformers saves them: data sets without the first scope, listed in layer_names."""
    try:
        import h5py
    except ImportError:
        print("no h5py: sharded-tf stays as it is")
        return
    f = Folder("sharded-tf")
    names = sorted(VARIABLES)
    where = {}
    for i, part in enumerate((names[:3], names[3:])):
        shard = f"tf_model-{i + 1:05}-of-00002.h5"
        with h5py.File(os.path.join(f.path, shard), "w", libver="earliest") as h:
            scopes = ["/".join(name.split("/")[1:]) for name in part]
            for name, scope in zip(part, scopes):
                data = h.create_dataset(scope, VARIABLES[name], dtype="<f4", track_times=False)
                data[...] = len(name) * 0.5
                where[name] = shard
            h.attrs["layer_names"] = [scope.encode() for scope in scopes]
    total = 4 * sum(map(math.prod, VARIABLES.values()))

    def index(weight_map):
        return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=1)

    f.good("tf_model.h5.index.json", index(where), 5)
    f.good("scope-less.index.json", index({k.split("/", 1)[1]: v for k, v in where.items()}), 5)
    more = {"tf_model/net/x/bias:0": "tf_model-00001-of-00002.h5"}
    f.bad("more.index.json", index({**where, **more}),
          "tensor 'tf_model/net/x/bias:0' is not in the shard tf_model-00001-of-00002.h5")
    f.bad("less.index.json", index({k: v for k, v in where.items() if "pooler" not in k}),
          "tensor 'net.pooler.dense.weight' is in the shard tf_model-00002-of-00002.h5 but not in")
    f.finish()


# ---- What is no checkpoint ----


def tar(names, layout=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=layout) as t:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 600
            t.addfile(info, io.BytesIO(bytes(range(200)) * 3))
    return out.getvalue()


def archive(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, data in members.items():
            z.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def make_sniff():
    f = Folder("sniff")
    f.good("torch", torch_zip({"a": ("0", [2])}), 1)
    f.good("safetensors", safetensors({"a": ("F32", [2])}), 1)
    f.bad("empty", b"", "the file is empty")
    f.bad("one-byte", b"\x80", "no checkpoint that this program knows")
    f.bad("zeros", bytes(5000), "the file holds only zeros")
    f.bad("noise", bytes(i * i * 31 % 251 for i in range(3000)),
          "no checkpoint that this program knows")
    f.bad("lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 42\n" % 7,
          "git lfs pull")
    f.bad("html", "\n\n  <!doctype HTML>\n<html><head>", "a web page")
    f.bad("html-mark", b"\xef\xbb\xbf<html>", "a web page")
    f.bad("xml", '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
          "this is XML")
    f.bad("xml-bare", "<Error><Code>NoSuchKey</Code></Error>", "this is XML")
    f.bad("absent", "Entry not found", "there is no such file")
    f.bad("absent-json", '{"error":"Entry not found"}', "there is no such file")
    f.bad("absent-repository", '{"error":"Repository not found"}', "there is no such file")
    f.bad("restricted", "Access to model someone/thing is restricted. You must be authenticated",
          "access is restricted")
    f.bad("restricted-json", '{"error":"Access to model x/y is restricted and you are not in"}',
          "access is restricted")
    f.bad("credentials", "Invalid username or password.", "access is restricted")
    f.bad("error-json", '{"error":"Internal Error - We are working hard"}',
          "server's error message")
    f.bad("json", '{"model_type": "x", "hidden_size": 4}', "this is JSON, not weights")
    f.bad("json-list", '[1, 2]', "this is JSON, not weights")
    f.bad("python", "import torch\n\nmodel = None\n", "a Python program")
    f.bad("python-text", '"""Loads the model."""\n', "a Python program")
    f.bad("shell", "#!/bin/sh\nexit 0\n", "a Python program or script")
    f.bad("gguf", b"GGUF" + struct.pack("<IQQ", 3, 1, 0), "GGUF")
    for kind in (b"lmgg", b"fmgg", b"tjgg"):
        f.bad("ggml-" + kind[::-1].decode(), kind + bytes(40), "GGML")
    f.bad("ggml-lora", b"algg" + bytes(40), "adapter (LoRA)")
    f.bad("onnx",
          b"\x08\x07" + field(2, b"pytorch") + field(3, b"1.13.1") + field(7,
                                                                           b"\x0a\x04node"), "ONNX")
    f.bad("onnx-plain", b"\x08\x08" + field(7, b"\x0a\x04node"), "ONNX")
    f.bad("onnx-opset", b"\x08\x03" + field(8, b"\x0a\x00\x10\x0d"), "ONNX")
    f.bad("saved-model", b"\x08\x01" + field(2, field(1, field(1, b"\x12\x03Add"))), "SavedModel")
    f.bad("core-ml", b"\x08\x05" + field(2, field(1, field(1, b"input"))), "Core ML")
    f.bad("sentencepiece", field(1, field(1, b"<unk>") + b"\x15\0\0\0\0\x18\2"), "sentencepiece")
    table = bytes(range(64)) * 2 + bytes(40) + bytes.fromhex("57fb808b247547db")
    f.bad("tf-index", table, "index of a TensorFlow checkpoint")
    f.bad("tf-note", 'model_checkpoint_path: "model.ckpt-10"\n', "note of its latest checkpoint")
    f.bad("tflite", struct.pack("<I", 28) + b"TFL3" + bytes(40), "TensorFlow Lite")
    array = b"\xc7\x09\x01" + b"\x93\x91\x02\xa7float32"
    f.bad("flax", b"\x82\xa6params\x81\xa5dense\x81\xa6kernel" + array, "Flax")
    f.bad("flax-many", b"\xde\x00\x14\xa5layer\xc0", "Flax")
    f.bad("ctranslate", struct.pack("<IH", 6, 16) + b"TransformerSpec\0" + struct.pack("<I", 3),
          "CTranslate2")
    f.bad("pickle-0", "(dp0\nS'a'\np1\nI1\ns.", "bare pickle")
    f.bad("pickle-list", "(lp0\nI1\na.", "bare pickle")
    for protocol in (2, 3, 4, 5):
        f.bad(f"pickle-{protocol}", bytes([0x80, protocol]) + b"}q\0.", "bare pickle")
    # Known by its members; what is said of the nonsense inside is the reader's business.
    f.bad("tar-torch", tar(["sys_info", "pickle", "tensors", "storages"]), "tar-torch")
    f.bad("tar-torch-gnu", tar(["sys_info", "storages", "tensors", "pickle"], tarfile.GNU_FORMAT),
          "tar-torch")
    old = bytearray(tar(["sys_info", "pickle", "storages", "tensors"]))
    for at in range(0, 8192, 512):  # as before POSIX: no magic
        if old[at + 257 : at + 262] == b"ustar":
            old[at + 257 : at + 265] = bytes(8)
            old[at + 148 : at + 156] = b" " * 8
            old[at + 148 : at + 156] = b"%06o\0 " % sum(old[at : at + 512])
    f.bad("tar-torch-v7", bytes(old), "tar-torch")
    f.bad("tar", tar(["model/pytorch_model.bin", "model/config.json"]),
          "unpack it and give the checkpoint inside")
    f.bad("tar-damaged", b"x" * 257 + b"ustar" + bytes(300), "damaged tar archive")
    f.bad("gzip", b"\x1f\x8b\x08" + bytes(20), "gzip")
    f.bad("xz", b"\xfd7zXZ\0" + bytes(20), "with xz")
    f.bad("zstd", b"\x28\xb5\x2f\xfd" + bytes(20), "zstd")
    f.bad("bzip2", b"BZh91AY&SY" + bytes(20), "bzip2")
    f.bad("lz4", b"\x04\x22\x4d\x18" + bytes(20), "lz4")
    f.bad("7z", b"7z\xbc\xaf\x27\x1c" + bytes(20), "7z archive")
    f.bad("rar", b"Rar!\x1a\x07\x01\0" + bytes(20), "rar archive")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(4)
    f.bad("npy", array, "a single NumPy array")
    f.bad("npz", archive({"a.npy": array, "b.npy": array}), "NumPy")
    f.bad("zip", archive({"README.md": "text"}), "README.md")
    f.bad("zip-cut", torch_zip({"a": ("0", [200])})[:-40], "the download may be incomplete")
    f.bad("pare", b"\x89PARE\r\n\x1a" + bytes(120), "a .pare file already")
    f.bad("elf", b"\x7fELF\x02\x01\x01" + bytes(60), "a program or library")
    f.bad("pdf", b"%PDF-1.7\n", "a PDF document")
    f.finish()


def main():
    make_safetensors()
    make_sharded()
    make_sharded_tf()
    make_sniff()
    size = sum(
        os.path.getsize(os.path.join(path, name))
        for folder in ("safetensors", "sharded", "sharded-tf", "sniff")
        for path, _, names in os.walk(os.path.join(CORPUS, folder))
        for name in names
    )
    print(f"{size} bytes")


if __name__ == "__main__":
    main()
