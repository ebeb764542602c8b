#!/usr/bin/env python3
"""Makes the checkpoints of this folder with PyTorch, and what reading them must give.

    python3 tests/data/formats/make.py

For every checkpoint a list NAME.txt: one line per tensor with name, shape, dtype, and the SHA-256
of X
"""

import collections
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDENS = os.path.join(HERE, "..", "goldens")
NAMES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def line(name, tensor):
    data = tensor.detach().to(torch.float32).contiguous().numpy().tobytes()
    shape = "[" + ", ".join(str(n) for n in tensor.shape) + "]"
    return "\t".join([name, shape, NAMES[tensor.dtype], hashlib.sha256(data).hexdigest()]) + "\n"


def write_list(name, tensors):
    with open(os.path.join(HERE, name + ".txt"), "w", encoding="utf-8") as f:
        f.writelines(line(key, tensors[key]) for key in tensors)


def fixed(path):
    """The same archive with fixed times, so that this script's output does not change."""
    with zipfile.ZipFile(path) as old:
        entries = [(i.filename, i.compress_type, old.read(i)) for i in old.infolist()]
    write_zip(path, entries)


def write_zip(path, entries):
    with zipfile.ZipFile(path, "w") as new:
        for name, method, content in entries:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            new.writestr(info, content)


def every_dtype():
    torch.manual_seed(1)
    tensors = collections.OrderedDict()
    for dtype, name in NAMES.items():
        values = torch.randn(3, 5) * 100
        tensors["a." + name.lower()] = (values > 0) if dtype == torch.bool else values.to(dtype)
    tensors["specials"] = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1e-42, 3.4e38])
    tensors["specials.half"] = torch.tensor([6e-8, 65504.0, -0.0, float("inf")]).half()
    tensors["größe"] = torch.ones(2)
    return tensors


def views():
    base = torch.arange(60, dtype=torch.float32)
    matrix = base.view(6, 10)
    tensors = collections.OrderedDict()
    tensors["base"] = base
    tensors["matrix"] = matrix
    tensors["tied"] = matrix
    tensors["transposed"] = matrix.t()
    tensors["offset"] = base[7:23]
    tensors["steps"] = base[1::7]
    tensors["columns"] = matrix[:, 2:5]
    tensors["block"] = matrix[1:5:2, 3:9:3]
    tensors["permuted"] = base.view(3, 4, 5).permute(2, 0, 1)
    tensors["expanded"] = base[3:4].expand(4, 3)
    tensors["rows"] = base[:4].unsqueeze(0).expand(3, 4)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["element"] = base[11]
    tensors["empty"] = torch.zeros(0)
    tensors["empty.matrix"] = torch.zeros(4, 0, 3)
    tensors["eight"] = torch.arange(16.0).view(1, 2, 1, 2, 2, 1, 2, 1).transpose(1, 6)
    tensors["long"] = torch.arange(3000.0).view(3, 1000).t()
    tensors["half.transposed"] = matrix.half().t()
    return tensors


def untyped():
    """What later versions write for dtypes without a storage class: _rebuild_tensor_v3."""
    values = torch.arange(12, dtype=torch.float32).view(3, 4)
    raw = values.numpy().tobytes()

    class Storage:
        pass

    def rebuild(*_):
        raise AssertionError

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v3"
    torch._utils._rebuild_tensor_v3 = rebuild
    storage = Storage()

    class Tensor:
        def __reduce__(self):
            hooks = collections.OrderedDict()
            return rebuild, (storage, 4, (2, 4), (4, 1), False, hooks, torch.float32)

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Storage):
                return ("storage", torch.storage.UntypedStorage, "0", "cpu", len(raw))
            return None

    out = io.BytesIO()
    Pickler(out, 2).dump(collections.OrderedDict(w=Tensor()))
    stored = zipfile.ZIP_STORED
    write_zip(
        os.path.join(HERE, "torch-untyped.bin"),
        [
            ("anything/data.pkl", stored, out.getvalue()),
            ("anything/byteorder", stored, b"little"),
            ("anything/data/0", stored, raw),
        ],
    )
    write_list("torch-untyped", {"w": values[1:]})


def torch_files():
    def save(name, what, tensors, **options):
        path = os.path.join(HERE, name + ".bin")
        torch.save(what, path, **options)
        fixed(path)
        write_list(name, tensors)
        return path

    tensors = every_dtype()
    path = save("torch-dtypes", tensors, tensors)
    save("torch-views", views(), views())
    plain = {"w": torch.ones(2, 3), "b": torch.zeros(2)}
    inner = {"module." + k: torch.nn.Parameter(v) for k, v in plain.items()}
    wrapped = {"epoch": 3, "best": 0.5, "name": "x", "big": 1 << 40, "state_dict": inner}
    save("torch-wrapped", wrapped, plain, pickle_protocol=4)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(torch.arange(p.numel(), dtype=torch.float32).view_as(p) + i)
    save("torch-model", {"model": model.state_dict()}, model.state_dict())
    with zipfile.ZipFile(path) as old:
        entries = [(i.filename, zipfile.ZIP_DEFLATED, old.read(i)) for i in old.infolist()]
    write_zip(os.path.join(HERE, "torch-deflated.bin"), entries)
    write_list("torch-deflated", tensors)
    untyped()


def safetensors_file():
    values = {k: v for k, v in every_dtype().items() if k != "specials"}
    values["scalar"] = torch.tensor(2.5)
    values["empty"] = torch.zeros(0, 4)
    header, buffer = {"__metadata__": {"format": "pt"}}, b""
    places = {}
    for key in sorted(values, reverse=True):  # offsets in another order than names
        raw = values[key].contiguous().flatten()
        raw = raw.view(torch.int16) if raw.dtype == torch.bfloat16 else raw
        raw = raw.numpy().tobytes()
        places[key] = [len(buffer), len(buffer) + len(raw)]
        buffer += raw
    for key, value in values.items():
        header[key] = {
            "dtype": NAMES[value.dtype], "shape": list(value.shape), "data_offsets": places[key],
        }  # fmt: skip
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(HERE, "every.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + buffer)
    write_list("every", values)


def load_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    (length,) = struct.unpack("<Q", data[:8])
    dtypes = {v: k for k, v in NAMES.items()}
    tensors = {}
    for key, entry in json.loads(data[8 : 8 + length]).items():
        if key == "__metadata__":
            continue
        begin, end = (8 + length + at for at in entry["data_offsets"])
        raw = bytearray(data[begin:end])
        tensors[key] = torch.frombuffer(raw, dtype=dtypes[entry["dtype"]]).view(entry["shape"])
    return tensors


torch_files()
safetensors_file()
write_list("golden-torch", torch.load(os.path.join(GOLDENS, "bert-cls", "pytorch_model.bin")))
write_list(
    "golden-safetensors",
    load_safetensors(os.path.join(GOLDENS, "v5-t5", "model.safetensors")),
)
