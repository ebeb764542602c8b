#!/usr/bin/python3
"""Writes tests/data/corpus/hdf5/: small HDF5 files, good and bad, and what must become of them.

Needs python3-h5py. `expected.txt` says for each file `ok COUNT SHA256` (of the lines that
tests/test_formats_hdf5.c makes of its tensors, computed here from the arrays) or `refused TEXT`
(what the message must contain). Files of libver="latest" hold the time when they were written, so
their bytes differ from run to run.
"""

import hashlib
import io
import json
import os
import struct
import sys
import zipfile

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "data", "corpus", "hdf5")
DTYPES = {
    "float32": "F32", "float16": "F16", "float64": "F64", "int8": "I8", "int16": "I16",
    "int32": "I32", "int64": "I64", "uint8": "U8", "bool": "BOOL",
}
expected = []
rng = np.random.default_rng(20240229)


def path(name):
    return os.path.join(OUT, name)


def values(*shape):
    return rng.standard_normal(shape).astype("<f4")


def line(name, array, dtype=None, foreign=None):
    shape = "[" + ", ".join(str(n) for n in array.shape) + "]"
    if foreign:
        return f"{name}\t{shape}\t{foreign}\t-\n"
    f32 = np.ascontiguousarray(array.astype("<f4"))
    digest = hashlib.sha256(f32.tobytes()).hexdigest()
    return f"{name}\t{shape}\t{dtype or DTYPES[array.dtype.name]}\t{digest}\n"


def ok(name, lines):
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    expected.append(f"{name} ok {len(lines)} {digest}\n")


def refused(name, text):
    expected.append(f"{name} refused {text}\n")


def create(name, **options):
    return h5py.File(path(name), "w", **options)


# ---- Keras 2 ----

# The variables of tiny models: layer, TensorFlow's name, PyTorch's, the array, how it is turned.
S = "tf_bert_for_masked_lm/"
WORDS = values(7, 4)
BERT = [
    ("bert", S + "bert/embeddings/word_embeddings/weight:0",
     "bert.embeddings.word_embeddings.weight", WORDS, ""),
    ("bert", S + "bert/embeddings/position_embeddings/embeddings:0",
     "bert.embeddings.position_embeddings.weight", values(5, 4), ""),
    ("bert", S + "bert/embeddings/LayerNorm/gamma:0", "bert.embeddings.LayerNorm.weight",
     values(4), ""),
    ("bert", S + "bert/embeddings/LayerNorm/beta:0", "bert.embeddings.LayerNorm.bias",
     values(4), ""),
    ("bert", S + "bert/encoder/layer_._0/attention/self/query/kernel:0",
     "bert.encoder.layer.0.attention.self.query.weight", values(4, 6), "T"),
    ("bert", S + "bert/encoder/layer_._0/attention/self/query/bias:0",
     "bert.encoder.layer.0.attention.self.query.bias", values(6), ""),
    ("bert", S + "bert/encoder/layer_._11/output/dense/kernel:0",
     "bert.encoder.layer.11.output.dense.weight", values(8, 4), "T"),
    ("dropout_37", None, None, None, None),
    ("mlm___cls", S + "mlm___cls/predictions/bias:0", "cls.predictions.bias", values(7), ""),
    ("mlm___cls", S + "mlm___cls/predictions/transform/dense/kernel:0",
     "cls.predictions.transform.dense.weight", values(4, 4), "T"),
    # The head holds on to the table of the model, so Keras writes it twice.
    ("mlm___cls", S + "bert/embeddings/word_embeddings/weight:0", None, WORDS, ""),
]
SEQ = [
    ("model", "model.shared/model.shared/weight:0", "model.shared.weight", values(7, 4), ""),
    ("model", "tf_seq/model/encoder/layers.0/fc1/kernel:0", "model.encoder.layers.0.fc1.weight",
     values(4, 6), "T"),
    ("model", "tf_seq/model/encoder/layers.0/fc1/bias:0", "model.encoder.layers.0.fc1.bias",
     values(6), ""),
    ("final_logits_bias", "final_logits_bias:0", "final_logits_bias", values(1, 7), ""),
]
EMPTY = [("dropout_37", None, None, None, None)]
T5 = [
    ("shared", "shared/shared/weight:0", "shared.weight", values(7, 4), ""),
    ("encoder", "tft5/encoder/block_._0/layer_._0/SelfAttention/relative_attention_bias"
     "/embeddings:0",
     "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", values(3, 2), ""),
    ("encoder", "tft5/encoder/block_._0/layer_._0/layer_norm/weight:0",
     "encoder.block.0.layer.0.layer_norm.weight", values(4), ""),
    ("encoder", "tft5/encoder/block_._0/layer_._1/DenseReluDense/wi_0/kernel:0",
     "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", values(4, 9), "T"),
]
GPT2 = [
    ("transformer", "tfgpt2lm/transformer/wte/weight:0", "transformer.wte.weight",
     values(7, 4), ""),
    ("transformer", "tfgpt2lm/transformer/wpe/embeddings:0", "transformer.wpe.weight",
     values(5, 4), ""),
    ("transformer", "tfgpt2lm/transformer/h_._0/attn/c_attn/weight:0",
     "transformer.h.0.attn.c_attn.weight", values(4, 12), ""),
    ("transformer", "tfgpt2lm/transformer/h_._0/attn/c_attn/bias:0",
     "transformer.h.0.attn.c_attn.bias", values(1, 12), "flat"),
    ("transformer", "tfgpt2lm/transformer/h_._0/bn/moving_mean:0",
     "transformer.h.0.bn.running_mean", values(4), ""),
]
PLAIN = [
    ("dense", "dense/kernel:0", "dense.weight", values(3, 4), "T"),
    ("dense", "dense/bias:0", "dense.bias", values(4), ""),
    ("dense_1", "dense_1/kernel:0", "dense_1.weight", values(4, 2), "T"),
    ("dense_1", "dense_1/bias:0", "dense_1.bias", values(2), ""),
    ("conv", "conv/kernel:0", "conv.weight", values(3, 2, 5), "conv1"),
    ("conv2", "conv2/kernel:0", "conv2.weight", values(3, 2, 5, 4), "conv2"),
    ("scale", "scale/by:0", "scale.by", np.array(2.5, "<f4"), ""),
    ("scale", "scale/none:0", "scale.none", np.zeros((0, 3), "<f4"), ""),
]
TURNS = {"": lambda a: a, "T": lambda a: a.T, "flat": lambda a: a.reshape(-1),
         "conv1": lambda a: a.transpose(2, 1, 0), "conv2": lambda a: a.transpose(3, 2, 0, 1)}


def fixed(names):
    return np.asarray([n.encode() for n in names])


def variable(names):
    return np.asarray(names, dtype=h5py.string_dtype())


def padded(how):
    """Fixed-length texts as a type of HDF5 that numpy does not make."""

    def write(attrs, name, names):
        width = max(len(n) for n in names) + 1
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(width)
        kind.set_strpad(how)
        space = h5py.h5s.create_simple((len(names),))
        fill = " " if how == h5py.h5t.STR_SPACEPAD else "\0"
        raw = np.asarray([n.ljust(width, fill).encode() for n in names], f"S{width}")
        h5py.h5a.create(attrs._id, name.encode(), kind, space).write(raw, mtype=kind)

    return write


def set_list(group, name, names, style):
    if callable(style):
        if names:
            style(group.attrs, name, names)
            return
        style = "fixed"
    if style == "split":
        for i in range(len(names)):  # as Keras does it, only sooner
            group.attrs[f"{name}{i}"] = fixed(names[i : i + 1])
        if not names:
            group.attrs[name] = fixed([])
    else:
        group.attrs[name] = fixed(names) if style == "fixed" else variable(names)


def keras2(f, model, style="fixed", **storage):
    layers = list(dict.fromkeys(entry[0] for entry in model))
    set_list(f, "layer_names", layers, style)
    f.attrs["backend"] = b"tensorflow"
    f.attrs["keras_version"] = b"2.15.0"
    for layer in layers:
        group = f.create_group(layer)
        weights = [e for e in model if e[0] == layer and e[1]]
        set_list(group, "weight_names", [e[1] for e in weights], style)
        for _, name, _, array, _ in weights:
            options = storage if array.ndim and array.size else {}
            group.create_dataset(name, data=array, **options)


def lines_of(model):
    return [line(pt, TURNS[how](array)) for _, tf, pt, array, how in model if tf and pt]


def good_keras2():
    for name, model in (("bert.h5", BERT), ("seq.h5", SEQ), ("t5.h5", T5), ("gpt2.h5", GPT2),
                        ("plain.h5", PLAIN)):
        with create(name) as f:
            keras2(f, model)
        ok(name, lines_of(model))
    styles = {"variable": "variable", "split": "split",
              "nullterm": padded(h5py.h5t.STR_NULLTERM),
              "spacepad": padded(h5py.h5t.STR_SPACEPAD)}
    for style, how in styles.items():
        with create(f"names_{style}.h5") as f:
            keras2(f, PLAIN[:3] + EMPTY, how)
        ok(f"names_{style}.h5", lines_of(PLAIN[:3]))
    with create("latest.h5", libver="latest") as f:
        keras2(f, GPT2, "variable")
    ok("latest.h5", lines_of(GPT2))
    with create("whole_model.h5") as f:
        f.attrs["model_config"] = '{"class_name": "Functional"}'
        keras2(f.create_group("model_weights"), PLAIN)
        f["optimizer_weights/Adam/m:0"] = values(3)
    ok("whole_model.h5", lines_of(PLAIN))
    with create("packed.h5", libver="latest") as f:
        keras2(f, PLAIN, chunks=True, compression="gzip", shuffle=True, fletcher32=True)
    ok("packed.h5", lines_of(PLAIN))
    with create("shard.h5") as f:
        names = [e[1].split("/", 1)[1] if "/" in e[1] and "model." not in e[1] else e[1]
                 for e in SEQ]
        f.attrs["layer_names"] = fixed(names)
        for name, entry in zip(names, SEQ):
            f.create_dataset(name, data=entry[3])
    ok("shard.h5", lines_of(SEQ))
    with open(path("shard.h5.index.json"), "w", encoding="utf-8") as f:
        size = sum(e[3].nbytes for e in SEQ)
        json.dump({"metadata": {"total_size": size}, "weight_map": {e[1]: "shard.h5" for e in SEQ}},
                  f)
    ok("shard.h5.index.json", lines_of(SEQ))


def good_storage():
    big = values(13, 11)
    lines = []
    with create("storage.h5") as f:
        group = f.create_group("x")
        f.attrs["layer_names"] = fixed(["x"])
        names = []

        def put(name, array, **options):
            group.create_dataset(name, data=array, **options)
            names.append("m/" + name)
            group.move(name, "m/" + name)
            lines.append(line("x." + name, array))

        put("a/f16", big.astype("<f2"))
        put("a/f64", big.astype("<f8"))
        lines[-1] = line("x.a.f64", big.astype("<f8"))
        put("b/f32", big.astype(">f4"))
        put("b/f16", big.astype(">f2"))
        put("b/f64", big.astype(">f8"))
        for kind in ("i1", "<i2", "<i4", "<i8", "u1", ">i2", ">i4", ">i8"):
            put("i/" + kind.replace("<", "l").replace(">", "b"), np.arange(-3, 4).astype(kind))
        put("t/plain", np.arange(6) % 2 == 0)
        put("t/chunked", np.arange(6) % 3 == 0, chunks=(4,))
        put("c/edge", big, chunks=(7, 8))
        put("c/one", big, chunks=(13, 11), compression="gzip", compression_opts=9)
        put("c/row", big, chunks=(1, 11), shuffle=True)
        put("c/sum", big, chunks=(13, 1), fletcher32=True)
        put("c/three", values(1, 6, 5), chunks=(1, 4, 2), compression="gzip")
        put("c/big", big.astype(">f4"), chunks=(8, 8), compression="gzip", shuffle=True)
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        small = values(3, 3)
        made = h5py.h5d.create(group.id, b"k", h5py.h5t.IEEE_F32LE,
                               h5py.h5s.create_simple(small.shape), compact)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, small)
        group.move("k", "m/k")
        names.append("m/k")
        lines.append(line("x.k", small))
        brain = big.view("<u4") >> 16
        group["m/brain"] = brain.astype("<u2").view("V2")
        group["m/brain"].attrs["dtype"] = "bfloat16"
        names.append("m/brain")
        lines.append(line("x.brain", (brain << 16).view("<f4"), "BF16"))
        for name, array, foreign in (
            ("u16", np.arange(5, dtype="<u2"), "U16"),
            ("u64", np.arange(5, dtype="<u8"), "U64"),
            ("text", np.asarray([b"ab", b"c"]), "string"),
            ("pair", np.zeros(3, [("a", "<f4"), ("b", "<i4")]), "compound"),
            ("enum", np.zeros(3, h5py.enum_dtype({"A": 0, "B": 1})), "enum"),
            ("opaque", np.zeros(3, "V2"), "opaque"),
            ("vlen", np.asarray(["x", "yy"], object), "string"),
        ):
            kind = h5py.string_dtype() if name == "vlen" else array.dtype
            group.create_dataset("m/" + name, data=array, dtype=kind)
            names.append("m/" + name)
            lines.append(line("x." + name, array, foreign=foreign))
        group["m/ref"] = np.asarray([group.ref], h5py.ref_dtype)
        names.append("m/ref")
        lines.append(line("x.ref", np.zeros(1), foreign="reference"))
        # The layer "x" is not the first scope, which is dropped: it must be a scope below.
        names = ["m/x/" + n[2:] for n in names]
        group.move("m", "x")
        group["m/x"] = group["x"]
        del group["x"]
        group.attrs["weight_names"] = fixed(names)
    ok("storage.h5", [text.replace("/", ".", text.split("\t")[0].count("/")) for text in lines])
    with create("tied.h5") as f:
        keras2(f, [("a", "m/a/x:0", "", big, ""), ("b", "m/b/x:0", "", big, "")])
        del f["b/m/b/x:0"]
        f["b/m/b/x:0"] = f["a/m/a/x:0"]
    ok("tied.h5", [line("a.x", big), line("b.x", big)])


# ---- Keras 3 ----


def keras3(f, folder, named):
    lines = {}
    for layer, own in (("dense", "query"), ("dense_1", "key"), ("embedding", "words")):
        group = f.create_group(f"{folder}/{layer}/vars")
        if named:
            group.attrs["name"] = own
        for i in range(2):
            group[str(i)] = array = values(3 + i, 2)
            place = f"{folder}/{own if named else layer}/vars/{i}"
            lines[f"{folder}/{layer}/vars/{i}"] = line(place, array)
    f.create_group("vars")
    return [lines[name] for name in sorted(lines)]


def good_keras3():
    with create("objects.weights.h5") as f:
        lines = keras3(f, "layers", True)
    ok("objects.weights.h5", lines)
    with create("unnamed.weights.h5") as f:
        lines = keras3(f, "_layer_checkpoint_dependencies", False)
    ok("unnamed.weights.h5", lines)
    body = io.BytesIO()
    with h5py.File(body, "w") as f:
        lines = keras3(f, "layers", True)
    for name, method in (("model.keras", zipfile.ZIP_STORED),
                         ("deflated.keras", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(path(name), "w", method) as z:
            for member, content in (("metadata.json", b'{"keras_version": "3.0.0"}'),
                                    ("config.json", b"{}"),
                                    ("model.weights.h5", body.getvalue())):
                z.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), content, method)
    ok("model.keras", lines)
    refused("deflated.keras", "without compression")


# ---- What must be refused ----


def bad(name, text, model=None, **options):
    """A file with a layer "x" whose weight "x/w" is added by the caller."""
    f = create(name, **options)
    f.attrs["layer_names"] = fixed(["x"])
    group = f.create_group("x")
    group.attrs["weight_names"] = fixed(model or ["m/x/w"])
    refused(name, text)
    return f


def storage_elsewhere():
    with bad("external_storage.h5", "keeps its elements in another file") as f:
        f.create_dataset("x/m/x/w", (25,), "<f4", external=[("/etc/passwd", 0, 100)])
    with bad("external_relative.h5", "keeps its elements in another file") as f:
        f.create_dataset("x/m/x/w", (2,), "<f4", external=[("external_target.bin", 0, 8)])
    with bad("external_link.h5", "is a link to another file") as f:
        f["x/m/x/w"] = h5py.ExternalLink("/etc/passwd", "/w")
    with bad("soft_link.h5", "is a soft link") as f:
        f["y"] = values(3)
        f["x/m/x/w"] = h5py.SoftLink("/y")
    with bad("virtual.h5", "is a virtual data set") as f:
        layout = h5py.VirtualLayout((4,), "<f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "w", (4,))
        f.create_virtual_dataset("x/m/x/w", layout)


def wrong_sizes():
    with bad("huge_chunk.h5", "chunks of more than 64 MiB") as f:
        f.create_dataset("x/m/x/w", (2**28,), "<f4", chunks=(2**28,))
    with bad("huge_shape.h5", "its bytes in the file cannot have") as f:
        f.create_dataset("x/m/x/w", (2**40,), "<f4", chunks=(1024,), compression="gzip")
    with bad("overflow.h5", "larger than memory can be", libver="latest") as f:
        f.create_dataset("x/m/x/w", (2**40, 2**30), "<f4", chunks=(16, 16))
    with bad("unwritten.h5", "its bytes in the file cannot have", libver="latest") as f:
        f.create_dataset("x/m/x/w", (1000,), "<f4")
    with bad("bomb.h5", "64 times its size") as f:
        f.create_dataset("x/m/x/w", data=np.zeros(5 * 2**20, "<f4"), chunks=(2**18,),
                         compression="gzip", compression_opts=9)
    with bad("many_dimensions.h5", "more than 8 dimensions", libver="latest") as f:
        f["x/m/x/w"] = np.zeros((1,) * 9, "<f4")
    with bad("no_extent.h5", "no elements and no shape", libver="latest") as f:
        f["x/m/x/w"] = h5py.Empty("<f4")


def wrong_structure():
    with bad("cycle.h5", "found in two places") as f:
        f["x/m/x"] = f["x"]
    with bad("deep.h5", "lies deeper than 32 groups", libver="latest") as f:
        f.create_group("/".join(["d"] * 34))
    with bad("lzf.h5", "is stored with filter 32000", libver="latest") as f:
        f.create_dataset("x/m/x/w", data=values(100), compression="lzf")
    with bad("scaleoffset.h5", "is stored with filter 6", libver="latest") as f:
        f.create_dataset("x/m/x/w", data=np.arange(100), scaleoffset=0)
    with bad("control_name.h5", "control", libver="latest") as f:
        f["x/m/x/a\x01b"] = values(3)
    with bad("not_utf8.h5", "UTF-8", libver="latest") as f:
        f[b"x/m/x/\xff\xfe"] = values(3)
    with bad("long_name.h5", "longer than", libver="latest") as f:
        f["x/m/x/" + "n" * 2000] = values(3)
    with bad("committed.h5", "is neither a group nor a data set", libver="latest") as f:
        f["x/m/kind"] = np.dtype("<f4")
    with bad("absent_weight.h5", "has no such data set", ["m/x/nothing"]) as f:
        f["x/m/x/w"] = values(3)
    with bad("absent_layer.h5", "has neither its weight_names", libver="latest") as f:
        f["x/m/x/w"] = values(3)
        f.attrs["layer_names"] = fixed(["x", "y"])
    with bad("names_numbers.h5", "holds no texts") as f:
        f.attrs["layer_names"] = np.arange(4)
    with bad("twice_differing.h5", "with different values", ["m/x/w", "n/x/w"]) as f:
        f["x/m/x/w"] = values(3)
        f["x/n/x/w"] = values(3)
    with bad("twice_shapes.h5", "with different shapes", ["m/x/w", "n/x/w"]) as f:
        f["x/m/x/w"] = values(3)
        f["x/n/x/w"] = values(4)
    with bad("empty_name.h5", "is empty", ["m/x/w", "", "m/x/w"]) as f:
        f["x/m/x/w"] = values(3)
    levels = "/".join(letter * 100 for letter in "abc")
    with bad("long_tensor.h5", "longer than 255", ["m/x/" + levels]) as f:
        f["x/m/x/" + levels] = values(3)
    with bad("slashes.h5", "is empty", ["m//x/w"]) as f:
        f["x/m/x/w"] = values(3)
    with bad("no_weights.h5", "holds no weights") as f:
        f["x"].attrs["weight_names"] = fixed([])
    with create("no_keras.h5") as f:
        f["table"] = values(3)
    refused("no_keras.h5", "not one of Keras")
    with create("empty.h5") as f:
        pass
    refused("empty.h5", "not one of Keras")


def patched(name, text, source, *patches):
    with open(path(source), "rb") as f:
        content = bytearray(f.read())
    for old, new in patches:
        assert content.count(old) >= 1, (name, old)
        at = content.rfind(old)
        content[at : at + len(old)] = new
    with open(path(name), "wb") as f:
        f.write(content)
    refused(name, text)


def broken_bytes():
    with h5py.File(path("gpt2.h5")) as f:
        first = f["transformer/" + GPT2[0][1]].id.get_offset()
        second = f["transformer/" + GPT2[1][1]].id.get_offset()
        root = f.id.get_filesize()
    patched("overlapping.h5", "overlaps another one", "gpt2.h5",
            (struct.pack("<Q", second), struct.pack("<Q", first + 4)))
    patched("outside.h5", "does not lie inside", "gpt2.h5",
            (struct.pack("<Q", second), struct.pack("<Q", root - 8)))
    patched("bad_heap.h5", "global heap", "names_variable.h5",
            (b"GCOL\1\0\0\0", b"GCOL\1\0\0\0"[::-1]))
    patched("bad_btree.h5", "wrong B-tree", "names_split.h5", (b"TREE\0", b"EERT\0"))
    patched("bad_version.h5", "superblock", "names_split.h5",
            (b"\x89HDF\r\n\x1a\n\0", b"\x89HDF\r\n\x1a\n\x7f"))
    with open(path("names_split.h5"), "rb") as f:
        content = f.read()
    with open(path("truncated.h5"), "wb") as f:
        f.write(content[: len(content) // 2])
    refused("truncated.h5", "truncated")
    with open(path("header_only.h5"), "wb") as f:
        f.write(content[:8])
    refused("header_only.h5", "cannot be read")
    with open(path("zeroed.h5"), "wb") as f:
        f.write(content[:96] + bytes(len(content) - 96))
    refused("zeroed.h5", "cannot be read")


def main():
    os.makedirs(OUT, exist_ok=True)
    for name in os.listdir(OUT):
        os.unlink(path(name))
    for make in (good_keras2, good_storage, good_keras3, storage_elsewhere, wrong_sizes,
                 wrong_structure, broken_bytes):
        make()
    with open(path("expected.txt"), "w", encoding="utf-8") as f:
        f.writelines(expected)
    size = sum(os.path.getsize(path(name)) for name in os.listdir(OUT))
    print(f"{len(expected)} files, {size} bytes")
    return 0 if size < 600000 else 1


if __name__ == "__main__":
    sys.exit(main())
