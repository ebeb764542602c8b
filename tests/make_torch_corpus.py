#!/usr/bin/env python3
"""Makes tests/data/corpus/torch: checkpoints that PyTorch wrote, and files that must be refused.

    python3 tests/make_torch_corpus.py          (needs PyTorch, NumPy)

expected.txt has a line for each case: "NAME[@ROOT] ok TENSORS SHA256", or
"NAME[@ROOT] refused WORDS". ROOT is where in the file the tensors are looked for, WORDS are part of
the message of opening the file or of reading a tensor. SHA256 is that of the sorted lines
"name TAB shape TAB dtype TAB hash", where hash is the SHA-256 of the values as contiguous
little-endian float32 as PyTorch has them, or "-" for a dtype that is listed only.

The keys of storages in streams are addresses: those files differ from run to run, their expected
values do not. Everything else is the same on every run.
"""

import argparse
import collections
import datetime
import hashlib
import io
import os
import pathlib
import pickle
import random
import shutil
import struct
import sys
import types
import warnings
import zipfile
import zlib

import numpy
import torch

warnings.filterwarnings("ignore")
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "corpus", "torch")
NAMES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
LINES = []


# ---- What is expected ----


def listed(name, tensor):
    shape = "[" + ", ".join(str(n) for n in tensor.shape) + "]"
    if tensor.layout != torch.strided:
        return f"{name}\t{shape}\tsparse\t-\n"
    if tensor.device.type == "meta":
        return f"{name}\t{shape}\tmeta\t-\n"
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.dtype not in NAMES:
        return f"{name}\t{shape}\t{str(tensor.dtype)[6:]}\t-\n"
    data = tensor.detach().to(torch.float32).contiguous().numpy().tobytes()
    return f"{name}\t{shape}\t{NAMES[tensor.dtype]}\t{hashlib.sha256(data).hexdigest()}\n"


def expect(case, tensors):
    lines = sorted(listed(k, v).encode() for k, v in tensors.items() if torch.is_tensor(v))
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    LINES.append(f"{case} ok {len(lines)} {digest}\n")


def refuse(case, words):
    LINES.append(f"{case} refused {words}\n")


def put(name, data):
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(data)


def good(name, data, tensors):
    put(name, data)
    expect(name, tensors)


def bad(name, data, words):
    put(name, data)
    refuse(name, words)


# ---- Containers ----


def saved(what, protocol=2, legacy=False):
    out = io.BytesIO()
    torch.save(what, out, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def entries_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return [(i.filename, z.read(i)) for i in z.infolist()]


def rezipped(entries, method=zipfile.ZIP_STORED, zip64=False, stream=False):
    class Unseekable(io.RawIOBase):
        def __init__(self):
            super().__init__()
            self.data = io.BytesIO()

        def writable(self):
            return True

        def write(self, b):
            return self.data.write(b)

    out = Unseekable() if stream else io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in entries:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            with z.open(info, "w", force_zip64=zip64) as f:
                f.write(content)
    return out.data.getvalue() if stream else out.getvalue()


class Zip:
    """An archive whose every field can be wrong."""

    def __init__(self):
        self.body, self.directory, self.count = b"", b"", 0

    def local(self, name, stored, size, crc, method):
        return (struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, method, 0, 0x21, crc, len(stored),
                            size, len(name), 0) + name.encode() + stored)  # fmt: skip

    def add(self, name, content, method=0, stored=None, size=None, crc=None, flags=0, at=None):
        if stored is None:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            stored = packer.compress(content) + packer.flush() if method == 8 else content
        size = len(content) if size is None else size
        crc = zlib.crc32(content) if crc is None else crc
        at = len(self.body) if at is None else at
        if at == len(self.body):
            self.body += self.local(name, stored, size, crc, method)
        self.directory += struct.pack(
            "<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, flags, method, 0, 0x21, crc, len(stored),
            size, len(name), 0, 0, 0, 0, 0, at) + name.encode()  # fmt: skip
        self.count += 1
        return at

    def done(self, count=None):
        count = self.count if count is None else count
        sizes = len(self.directory), len(self.body)
        end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, *sizes, 0)
        return self.body + self.directory + end


def archive(pickled, records=(("0", struct.pack("<6f", *range(6))),), extra=()):
    z = Zip()
    z.add("x/data.pkl", pickled)
    for key, content in records:
        z.add("x/data/" + key, content)
    for name, content in extra:
        z.add(name, content)
    return z.done()


# ---- Pickles by hand ----


class Call:
    """Pickled as a call of `function`, which need not exist here."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def named(module, name):
    """A function that pickles as module.name."""

    def function(*_):
        raise AssertionError

    function.__module__, function.__qualname__, function.__name__ = module, name, name
    parts = module.split(".")
    for i in range(1, len(parts) + 1):  # import looks for the packages around it
        sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
    if not hasattr(sys.modules[module], name):
        setattr(sys.modules[module], name, function)
    return getattr(sys.modules[module], name)


class Id:
    """Pickled as a persistent id."""

    def __init__(self, *value):
        self.value = value if len(value) != 1 else value[0]


def pickled(what, protocol=2):
    class Pickler(pickle._Pickler):
        def persistent_id(self, obj):
            return obj.value if isinstance(obj, Id) else None

    out = io.BytesIO()
    Pickler(out, protocol).dump(what)
    return out.getvalue()


def storage(key="0", elements=6, kind=torch.FloatStorage):
    return Id("storage", kind, key, "cpu", elements)


def tensor(offset=0, shape=(2, 3), strides=(3, 1), store=None, *more):
    return Call(torch._utils._rebuild_tensor_v2, store or storage(), offset, shape, strides, False,
                collections.OrderedDict(), *more)  # fmt: skip


def view(**options):
    return archive(pickled({"w": tensor(**options)}))


# ---- Files that are right ----


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.LayerNorm(2)

    def forward(self, x):
        return self.norm(x)


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 2)
        self.blocks = torch.nn.ModuleList([Block() for _ in range(2)])
        self.linear = torch.nn.Linear(2, 3)
        self.tied = self.linear
        self.register_buffer("positions", torch.arange(4))
        self.register_buffer("quantized", quantized()["tensor.quint8"])
        self.sizes = [1, 2]
        self.rates = [0.5]
        self.names = {"a": 1}

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.linear(x)


def plain():
    torch.manual_seed(1)
    return collections.OrderedDict(
        [("embeddings.weight", torch.randn(5, 4)), ("encoder.0.bias", torch.randn(4)),
         ("head.weight", torch.randn(2, 4).half())])  # fmt: skip


def dtypes():
    torch.manual_seed(2)
    out = collections.OrderedDict()
    for dtype, name in NAMES.items():
        values = torch.randn(3, 5) * 100
        out[name] = (values > 0) if dtype == torch.bool else values.to(dtype)
    out["complex64"] = torch.randn(2, dtype=torch.complex64)
    out["complex128"] = torch.randn(2, 2, dtype=torch.complex128)
    return out


def views():
    base = torch.arange(60, dtype=torch.float32)
    matrix = base.view(6, 10)
    return collections.OrderedDict(
        [("base", base), ("matrix", matrix), ("tied", matrix), ("transposed", matrix.t()),
         ("offset", base[7:23]), ("steps", base[1::7]), ("block", matrix[1:5:2, 3:9:3]),
         ("permuted", base.view(3, 4, 5).permute(2, 0, 1)), ("expanded", base[3:4].expand(4, 3)),
         ("rows", base[:4].unsqueeze(0).expand(3, 4)), ("scalar", torch.tensor(2.5)),
         ("element", base[11]), ("empty", torch.zeros(0)), ("hollow", torch.zeros(4, 0, 3)),
         ("last", base[60:]), ("half", matrix.half().t()),
         ("bytes", torch.arange(7).byte()[1:])])  # fmt: skip


def quantized():
    torch.manual_seed(3)
    values = torch.randn(4, 3)
    scales, zeros = torch.tensor([0.1, 0.02, 0.3], dtype=torch.float64), torch.tensor([0, 5, -7])
    per_channel = torch.quantize_per_channel(values, scales, zeros, 1, torch.qint8)
    per_tensor = torch.quantize_per_tensor(values, 0.05, 10, torch.quint8)
    return collections.OrderedDict(
        [("tensor.quint8", per_tensor), ("tensor.transposed", per_tensor.t()),
         ("tensor.qint8", torch.quantize_per_tensor(values, 0.01, -3, torch.qint8)),
         ("tensor.qint32", torch.quantize_per_tensor(values, 1e-4, 0, torch.qint32)),
         ("channel.qint8", per_channel), ("float", values)])  # fmt: skip


def training(weights):
    """Everything that people put beside a state dict."""
    numpy.random.seed(4)
    random.seed(5)
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones(2, 2)
    optimizer.step()
    day = datetime.datetime(2020, 2, 29, 12, tzinfo=datetime.timezone.utc)
    counts = collections.defaultdict(list)
    counts["a"].append(1)
    return {
        "epoch": 3, "args": argparse.Namespace(lr=1e-3, layers=[1, 2], path=pathlib.Path("a/b")),
        "model": weights, "optimizer": optimizer.state_dict(), "best": numpy.float64(0.5),
        "history": numpy.arange(6.0).reshape(2, 3), "loss": float("inf"), "big": 1 << 100,
        "rng": {"python": random.getstate(), "numpy": numpy.random.get_state(),
                "torch": torch.get_rng_state()[:16]},
        "set": {1, 2}, "frozen": frozenset("a"), "complex": 1j, "slice": slice(1, 2),
        "range": range(3), "bytes": b"\x00\xff", "array": bytearray(b"xyz"), "day": day,
        "span": datetime.timedelta(1), "counter": collections.Counter("ab"), "counts": counts,
        "deque": collections.deque([1], maxlen=3), "device": torch.device("cuda:0"),
        "dtype": torch.bfloat16, "size": torch.Size([1, 2]), "none": None, "classes": [int, list],
        "negative": [-1, -129, -40000, -(1 << 40)], "text": "größe \U0001f600",
    }  # fmt: skip


def good_streams():
    weights = plain()
    for protocol in range(1, 6):
        good(f"stream-p{protocol}", saved(weights, protocol, True), weights)
        good(f"zip-p{protocol}", saved(weights, protocol), weights)
    for name, tensors in (("dtypes", dtypes()), ("views", views()), ("quantized", quantized())):
        good(f"zip-{name}", saved(tensors), tensors)
        good(f"stream-{name}", saved(tensors, 2, True), tensors)
    for name, protocol, legacy in (("zip-p2", 2, False), ("zip-p4", 4, False), ("stream", 2, True)):
        good(f"training-{name}", saved(training(weights), protocol, legacy), weights)
    listed_only = {"coo": torch.eye(3).to_sparse(), "csr": torch.eye(3).to_sparse_csr(),
                   "meta": torch.ones(2, 3, device="meta"), "w": torch.ones(2)}  # fmt: skip
    good("listed-only", saved(listed_only), listed_only)
    torch.manual_seed(6)
    linear = torch.nn.quantized.Linear(4, 3).state_dict()
    good("packed-linear", saved(linear), linear)
    parameter = torch.nn.Parameter(torch.arange(3.0))
    parameter.note = "kept"
    good("parameters", saved({"p": parameter, "q": torch.nn.Parameter(torch.ones(2))}),
         {"p": parameter, "q": torch.ones(2)})  # fmt: skip


def good_zips():
    weights = plain()
    entries = entries_of(saved(weights))
    inner = [(n.split("/", 1)[1], d) for n, d in entries]
    assert entries[0][0] == "archive/data.pkl"
    good("zip-no-prefix", rezipped(inner), weights)
    good("zip-long-prefix", rezipped([("a/b c/d/" + n, d) for n, d in inner]), weights)
    good("zip-reversed", rezipped(entries[::-1]), weights)
    good("zip-deflated", rezipped(entries, zipfile.ZIP_DEFLATED), weights)
    good("zip-descriptors", rezipped(entries, stream=True), weights)
    good("zip-deflated-descriptors", rezipped(entries, zipfile.ZIP_DEFLATED, stream=True), weights)
    good("zip-zip64", rezipped(entries, zip64=True), weights)
    extra = [("archive/.data/serialization_id", b"0123456789"), ("archive/byteorder", b"little"),
             ("archive/.format_version", b"1"), ("archive/extra/data.pkl", b"payload"),
             ("archive/", b"")]  # fmt: skip
    good("zip-extra-records", rezipped(extra + entries), weights)
    good("zip-comment", rezipped(entries)[:-2] + b"\x05\x00hello", weights)


def good_scripts():
    torch.manual_seed(7)
    module = Module()
    for name, script in (("script", torch.jit.script(module)),
                         ("trace", torch.jit.trace(module, torch.ones(3, 2)))):  # fmt: skip
        out = io.BytesIO()
        torch.jit.save(script, out)
        out.seek(0)
        loaded = torch.jit.load(out)
        small = [(n, d) for n, d in entries_of(out.getvalue()) if "debug_pkl" not in n]
        good(name, rezipped(small), loaded.state_dict())
    expect("script@blocks/1", {k: v for k, v in module.blocks[1].state_dict().items()})
    refuse("script@blocks/2", "there is no '2' in 'blocks'; its keys are ")


def good_places():
    weights, other = plain(), collections.OrderedDict(w=torch.arange(4.0))
    for name, prefix in (("parallel", "module."), ("compiled", "_orig_mod."),
                         ("both", "module._orig_mod.")):  # fmt: skip
        good("prefix-" + name, saved({prefix + k: v for k, v in weights.items()}), weights)
    partly = {"module." + k: v for k, v in weights.items()}
    partly["w"] = torch.ones(1)
    good("prefix-partly", saved(partly), partly)
    model = {"model." + k: v for k, v in weights.items()}
    good("prefix-model", saved(model), model)
    attributes = named("pytorch_lightning.utilities.parsing", "AttributeDict")
    hyper = Call(attributes)
    lightning = {"epoch": 1, "pytorch-lightning_version": "1.9.0", "state_dict": model,
                 "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
                 "hyper_parameters": hyper, "loops": {}, "callbacks": {}}  # fmt: skip
    good("lightning", saved(lightning), weights)
    arguments = Call(named("transformers.training_args", "TrainingArguments"))
    good("beside", saved({"training_args": arguments, "net": weights}), weights)
    good("deep", saved({"state_dict": {"model": weights, "step": 3}}), weights)
    good("only-place", saved({"generator": weights, "optimizer": {"w": torch.ones(1)}}), weights)
    put("several", saved({"student": weights, "teacher": other, "step": torch.tensor(3)}))
    refuse("several", "holds tensors in 3 places: '.', 'student', 'teacher'; say with --root")
    expect("several@student", weights)
    expect("several@teacher", other)
    expect("several@.", {"step": torch.tensor(3)})
    refuse("several@pupil", "there is no 'pupil' in the outermost dictionary; its keys are "
           "student, teacher, step")  # fmt: skip
    refuse("several@step/x", "--root step/x: 'step' is an object; a dictionary of tensors was")
    good("usual-decides", saved({"model": weights, "ema": other}), weights)
    expect("usual-decides@ema", other)
    bad("two-usual", saved({"model": weights, "state_dict": other}),
        "in 2 places: 'state_dict', 'model'")  # fmt: skip
    put("slashes", saved({"a/b": {"c": other}, "a": 1}))
    expect("slashes@a/b/c", other)
    expect("slashes", other)


def good_by_hand():
    values = {"w": torch.arange(6.0).view(2, 3)}
    pairs = Call(collections.OrderedDict, [["w", tensor()]])
    good("python2-dict", archive(pickled(pairs)), values)
    hooks = collections.OrderedDict()
    arguments = (storage(), 0, (2, 3), (3, 1), False, hooks)
    subclass = Call(torch._tensor._rebuild_from_type_v2, torch._utils._rebuild_tensor_v2,
                    torch.nn.Parameter, arguments, {})  # fmt: skip
    good("subclass", archive(pickled({"w": subclass})), values)
    good("metadata", archive(pickled({"w": tensor(0, (2, 3), (3, 1), None, {})})), values)
    v3 = named("torch._utils", "_rebuild_tensor_v3")
    untyped = Id("storage", torch.storage.UntypedStorage, "0", "cpu", 24)
    sizes = Call(torch.Size, (2, 3))
    third = Call(v3, untyped, 0, sizes, (3, 1), False, hooks, torch.float32)
    good("untyped", archive(pickled({"w": third}, 4)), values)
    first = Call(torch._utils._rebuild_tensor, storage(), 0, (2, 3), (3, 1))
    good("first-rebuild", archive(pickled({"w": first})), values)
    lists = (torch.per_channel_affine, [0.5, 0.25], [1, 2], 0)
    kind = torch.QInt8Storage
    q = Call(torch._utils._rebuild_qtensor, storage("0", 6, kind), 0, (2, 3), (3, 1), lists, False,
             hooks)  # fmt: skip
    wanted = torch.tensor([[0, 1, 2], [3, 4, 5.0]]) - torch.tensor([[1], [2.0]])
    wanted *= torch.tensor([[0.5], [0.25]])
    good("quantized-lists", archive(pickled({"w": q}), [("0", bytes(range(6)))]), {"w": wanted})
    deep = b"\x80\x02}(X\x01\x00\x00\x00a" + b"]" * 5000 + b"a" * 4999
    good("deep-lists", archive(deep + entry_of_tensor() + b"u."), values)
    good_old_stream()


def stream(what, keys, storages, little=True, magic=0x1950A86A20F9469CFC6C, protocol=1001):
    info = {"protocol_version": protocol, "little_endian": little,
            "type_sizes": {"short": 2, "int": 4, "long": 8}}  # fmt: skip
    data = b"".join(pickle.dumps(v, 2) for v in (magic, protocol, info))
    data += pickled(what) + pickle.dumps(keys, 2)
    for count, content in storages:
        data += struct.pack("<q", count) + content
    return data


def stored(key, kind, elements, shown=None):
    return Id("storage", kind, key, "cpu", elements, shown)


def good_old_stream():
    """Storages that are views of others, as torch 0.3 wrote them."""
    content = struct.pack("<8f", *range(8))
    whole = tensor(0, (2, 4), (4, 1), stored("11", torch.FloatStorage, 8))
    part = tensor(1, (2,), (1,), stored("11", torch.FloatStorage, 8, ("12", 3, 4)))
    data = stream({"whole": whole, "part": part}, ["11"], [(8, content)])
    loaded = torch.load(io.BytesIO(data))
    good("stream-views-of-storages", data, loaded)


# ---- Files that are wrong ----


def bad_pickles():
    for module, name in (("posix", "system"), ("os", "system"), ("builtins", "eval"),
                         ("builtins", "getattr"), ("subprocess", "Popen"), ("torch", "load"),
                         ("torch.hub", "load"), ("numpy", "load"), ("runpy", "_run_code"),
                         ("__torch__evil", "M"),
                         ("torch.nn.modules.linear", "Linear")):  # fmt: skip
        text = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"X\x01\x00\x00\x001\x85R."
        words = f"calls {module}.{name}, which is not on the allow-list; nothing was executed"
        bad(f"calls-{module}.{name}", archive(text), words)
    bad("calls-in-stream", stream(Call(os.system, "true"), [], []), "the object calls posix.system")
    bad("nested-marks", archive(b"\x80\x02" + b"(" * 5000), "nested too deeply")
    bad("laughs", archive(laughs()), "nested as no checkpoint's are")
    z = Zip()
    z.add("x/data.pkl", copies(), method=8)
    bad("copies", z.done(), "too many items are copied")
    cycle = b"\x80\x02}q\x00(X\x05\x00\x00\x00modelh\x00u."
    bad("cycle", archive(cycle), "holds no tensors")
    bad("long-text", archive(b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f."), "a text is cut off")
    bad("extension", archive(b"\x80\x02\x82\x01."), "opcode 0x82 is not supported")
    bad("memo-far", archive(b"\x80\x02Nr\xff\xff\xff\xff."), "memo index is too large")


def entry_of_tensor():
    """What stands between '(' and 'u' of {"w": a tensor}."""
    body = pickled({"w": tensor()})
    return body[body.index(b"X\x01\x00\x00\x00w"):-2]


def laughs():
    """Thirty lists, each with ten times the one before; and a tensor."""
    out = b"\x80\x02]\x71\x64"
    for i in range(100, 130):
        out += b"0](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1])
    return out + b"0}(X\x01\x00\x00\x00ah\x82" + entry_of_tensor() + b"u."


def copies():
    """A dict of five thousand pairs, built from a list again and again."""
    pair = b"]q\x00(K\x01K\x02e0"
    pairs = b"]q\x01(" + b"h\x00" * 5000 + b"e0"
    return (b"\x80\x02" + pair + pairs + b"ccollections\nOrderedDict\nq\x020"
            + b"h\x02h\x01\x85R0" * 2000 + b"N.")  # fmt: skip


def bad_views():
    huge = (1 << 63) - 1
    fit = "does not fit into its storage"
    cases = {
        "numel-beyond-record": ({"store": storage("0", 7)}, "has 24 bytes; 7 elements of F32 were"),
        "numel-huge": ({"store": storage("0", huge)}, "elements of F32 were expected"),
        "numel-negative": ({"store": storage("0", -6)}, "has no storage of the kind"),
        "offset-beyond": ({"offset": 1}, fit),
        "offset-huge": ({"offset": huge}, fit),
        "offset-negative": ({"offset": -1}, "is not rebuilt as torch.save writes it"),
        "stride-beyond": ({"strides": (4, 1)}, fit),
        "stride-huge": ({"strides": (huge, huge)}, fit),
        "stride-negative": ({"strides": (-3, 1)}, "non-negative integers"),
        "shape-huge": ({"shape": (huge, huge), "strides": (0, 0)}, "larger than memory"),
        "shape-negative": ({"shape": (-2, 3)}, "non-negative integers"),
        "shape-of-nine": ({"shape": (1,) * 9, "strides": (1,) * 9}, "up to eight"),
        "strides-too-few": ({"strides": (1,)}, "non-negative integers"),
        "expand-2-40": ({"shape": (1 << 40,), "strides": (0,)}, "expands 6 elements beyond"),
        "key-unknown": ({"store": storage("1")}, "the file has no storage '1'"),
        "key-dots": ({"store": storage("../0")}, "the file has no storage '../0'"),
        "key-long": ({"store": storage("9" * 300)}, "key is no short text"),
        "key-number": ({"store": Id("storage", torch.FloatStorage, 0, "cpu", 6)}, "no short text"),
        "id-short": ({"store": Id("storage", torch.FloatStorage, "0", "cpu")}, "has no storage of"),
        "id-text": ({"store": Id("0")}, "has no storage of the kind"),
        "id-other": ({"store": Id("module", torch.FloatStorage, "0", "cpu", 6)}, "has no storage"),
        "id-class": ({"store": Id("storage", torch.Size, "0", "cpu", 6)}, "of an unknown type"),
        "no-id": ({"store": 5}, "has no storage of the kind"),
    }  # fmt: skip
    for name, (options, words) in cases.items():
        bad(name, view(**options), words)
    bad("quantizer-axis", archive(pickled({"w": bad_quantized(
        (torch.per_channel_affine, [1.0], [0], 2))})), "an axis that it does not have")
    bad("quantizer-channels", archive(pickled({"w": bad_quantized(
        (torch.per_channel_affine, [1.0], [0], 0))})), "neither tensors nor lists")
    bad("quantizer-unknown", archive(pickled({"w": bad_quantized((1, 1.0, 0))})),
        "in a way that torch.save does not write")  # fmt: skip


def bad_quantized(quantizer):
    return Call(torch._utils._rebuild_qtensor, storage("0", 6, torch.QInt8Storage), 0, (2, 3),
                (3, 1), quantizer, False, collections.OrderedDict())  # fmt: skip


def bad_zips():
    body, record = pickled({"w": tensor()}), struct.pack("<6f", *range(6))

    def make(**options):
        z = Zip()
        z.add("x/data.pkl", body)
        z.add("x/data/0", record, **options)
        return z.done()

    bad("crc-stored", make(crc=1), "its CRC is wrong")
    bad("crc-deflated", make(method=8, crc=1), "its CRC or size is wrong")
    bad("inflates-to-more", make(method=8, stored=deflated(record * 2)), "its CRC or size is wrong")
    bad("inflates-to-less", make(method=8, stored=deflated(record[:12])), "damaged or ends early")
    bad("stored-size", make(size=48), "declares another size than the bytes that it has")
    bad("ratio", make(method=8, size=1 << 31), "declares a size that its bytes cannot have")
    bad("encrypted", make(flags=1), "is encrypted")
    bad("method", make(method=12), "another method than deflate")
    z = Zip()
    z.add("x/data.pkl", pickled({"w": tensor(0, (5 << 20,), (1,), storage("0", 5 << 20))}))
    z.add("x/data/0", bytes(20 << 20), method=8)
    bad("bomb", z.done(), "unpacks to far more than weights do")
    z = Zip()
    z.add("x/data.pkl", body)
    z.add("x/../y", b"")
    bad("dots", z.done(), "has a name with '..'")
    for name, path in (("dots-alone", ".."), ("absolute", "/x/data.pkl"), ("no-name", "")):
        z = Zip()
        z.add(path, body)
        bad(name, z.done(), "has a name with '..', or one that is empty or absolute")
    z = Zip()
    z.add("x/data.pkl", body)
    inner = z.local("x/data/1", record, len(record), zlib.crc32(record), 0)
    at = z.add("x/data/0", record + inner)
    z.add("x/data/1", record, at=at + 30 + len("x/data/0") + len(record))
    bad("overlapping", z.done(), "x/data/0 and x/data/1 overlap")
    z = Zip()
    z.add("x/data.pkl", body)
    at = z.add("x/data/0", record)
    z.add("x/data/0", record, at=at)
    bad("same-entry", z.done(), "x/data/0 and x/data/0 overlap")
    z = Zip()
    z.add("x/data.pkl", body)
    z.add("x/data/0", record)
    z.add("x/data/0", record)
    bad("twice", z.done(), "x/data/0 occurs twice")
    bad("count-less", rezipped_count(body, record, 1), "more entries than it counts")
    bad("count-more", rezipped_count(body, record, 3), "directory is damaged")
    whole = make()
    bad("other-name", whole.replace(b"x/data/0", b"x/data/9", 1), "is not where the directory says")
    bad("other-size", patch_local(whole), "has other sizes or another CRC in front")
    bad("truncated", whole[:-30], "the download may be incomplete")
    bad("truncated-stream", saved(plain(), 2, True)[:-5], "the download may be incomplete")
    bad("big-endian", archive(body, extra=[("x/byteorder", b"big")]), "not little-endian")
    bad("two-pickles", archive(body, extra=[("y/data.pkl", body)]), "is not the only data.pkl")
    bad("no-pickle", rezipped([("model/weights", b"x")]), "it has no data.pkl")


def rezipped_count(body, record, count):
    z = Zip()
    z.add("x/data.pkl", body)
    z.add("x/data/0", record)
    return z.done(count)


def patch_local(data):
    at = data.index(b"x/data/0") - 30 + 18
    return data[:at] + struct.pack("<II", 23, 23) + data[at + 8:]


def deflated(content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def bad_streams():
    content, kind = struct.pack("<6f", *range(6)), torch.FloatStorage
    one = {"w": tensor(0, (2, 3), (3, 1), stored("7", kind, 6))}
    huge = 1 << 62

    def declared(elements):
        return {"w": tensor(0, (2, 3), (3, 1), stored("7", kind, elements))}

    bad("stream-big-endian", stream(one, ["7"], [(6, content)], little=False), "is big-endian")
    bad("stream-protocol", stream(one, ["7"], [(6, content)], protocol=1002), "protocol is 1002")
    bad("stream-count-other", stream(one, ["7"], [(5, content)]), "has 5 elements; 6 were expected")
    bad("stream-count-negative", stream(one, ["7"], [(-6, content)]), "has -6 elements; 6 were")
    bad("stream-count-huge", stream(declared(huge), ["7"], [(huge, content)]), "bytes are left")
    bad("stream-declared-negative", stream(declared(-6), ["7"], [(-6, content)]), "persistent id")
    bad("stream-no-keys", stream(one, [], []), "the file has no storage '7'")
    bad("stream-key-unknown", stream(one, ["8"], [(6, content)]), "that nothing refers to")
    bad("stream-key-twice", stream(one, ["7", "7"], [(6, content)] * 2), "the storage '7' twice")
    bad("stream-keys-none", stream(one, None, []), "has no list of its storages")
    bad("stream-trailing", stream(one, ["7"], [(6, content + b"!")]), "1 bytes follow the last")
    bad("stream-no-storage", stream(one, ["7"], []), "ends before the storage '7'")
    two = {"v": tensor(0, (1,), (1,), stored("7", torch.DoubleStorage, 3)), **one}
    bad("stream-two-types", stream(two, ["7"], [(6, content)]), "is declared with 3 elements of 8")
    beyond = {"w": tensor(0, (2,), (1,), stored("7", kind, 6, ("8", 5, 2)))}
    bad("stream-view-beyond", stream(beyond, ["7"], [(6, content)]), "elements 5 to 7 of a storage")
    shaped = {"w": tensor(0, (2,), (1,), stored("7", kind, 6, ("8", 5)))}
    bad("stream-view-malformed", stream(shaped, ["7"], [(6, content)]), "not (key, offset, size)")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    for make in (good_streams, good_zips, good_scripts, good_places, good_by_hand, bad_pickles,
                 bad_views, bad_zips, bad_streams):  # fmt: skip
        make()
    put("expected.txt", "".join(LINES).encode())


if __name__ == "__main__":
    main()
