#!/usr/bin/env python3
"""Writes the seeds of the fuzzing targets: tests/fuzz/seeds/TARGET. Needs PyTorch, sentencepiece,
and the programs in build/bin. Everything is made here, of made-up names and numbers."""

import collections
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import tempfile
import zipfile

import torch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEEDS = os.path.join(ROOT, "tests/fuzz/seeds")


def put(target, name, data):
    os.makedirs(os.path.join(SEEDS, target), exist_ok=True)
    with open(os.path.join(SEEDS, target, name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def saved(value, **options):
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


PICKLES = """deep-lists expand-2-40 lightning listed-only packed-linear parameters python2-dict
    quantized-lists script subclass trace training-zip-p2 untyped zip-dtypes zip-quantized
    zip-views"""


def pickles():
    state = collections.OrderedDict(
        a=torch.arange(6.0).reshape(2, 3),
        b=torch.ones(3).half(),
        c=torch.zeros((), dtype=torch.int64),
    )
    state["t"] = state["a"].t()
    model = torch.nn.Linear(2, 3)
    whole = {
        "model": model.state_dict(),
        "optimizer": torch.optim.AdamW(model.parameters()).state_dict(),
        "epoch": 3,
        "best": 0.25,
        "names": {"x", "y"},
    }
    for name, value in (("state", state), ("whole", whole)):
        archive = saved(value)
        put("torch", name + ".bin", archive)
        put("torch", name + ".legacy", saved(value, _use_new_zipfile_serialization=False))
        with zipfile.ZipFile(io.BytesIO(archive)) as z:
            inner = [n for n in z.namelist() if n.endswith("data.pkl")]
            put("pickle", name, z.read(inner[0]))
    corpus = os.path.join(ROOT, "tests/data/corpus/torch")
    for name in PICKLES.split():
        with zipfile.ZipFile(os.path.join(corpus, name)) as z:
            inner = [i for i in z.namelist() if i.endswith("data.pkl")]
            put("pickle", name, z.read(inner[0]))
    things = [1, -7, 2**40, 2**80, 1.5, "text", b"bytes", None, True, (1,), [2, 3], {"k": {4}}]
    for protocol in range(6):
        put("pickle", "protocol%d" % protocol, pickle.dumps(things, protocol=protocol))


def datasets():
    put("dataset", "tsv", b"\x01sentence\tlabel\na b\t1\nc\t0\n")
    put("dataset", "columns", b"\x05ein Haus\ta house\n\tnothing\n")
    put("dataset", "text", b"\x03one line\n\nanother\n")
    put("dataset", "auto", b'\x00{"text": "x", "label": 2}\n')
    rows = [
        {"text": "a", "target": "b"},
        {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 0], "labels": [2, -100, 1]},
        {"question": "q", "context": "c", "label": "yes", "extra": [{}, None]},
    ]
    put("dataset", "jsonl", b"\x02" + "\n".join(json.dumps(r) for r in rows).encode())


def indexes():
    shard = "s1.safetensors"
    index = {"metadata": {"total_size": 8}, "weight_map": {"a": shard, "b": shard}}
    put("index", "good", json.dumps(index))
    index["weight_map"]["b"] = "../s1.safetensors"
    put("index", "up", json.dumps(index))


def text_field(text):
    return struct.pack("<I", len(text)) + text.encode()


def dataset_message(path, shape, direct, offset, stored, foreign="", dtype=0):
    return (b"D" + text_field(path) + text_field(foreign) + bytes([dtype, len(shape)])
            + struct.pack("<%dQ" % len(shape), *shape) + bytes([direct, not direct])
            + struct.pack("<QQQ", offset, stored, offset))


def messages():
    """What formats/hdf5_child.c says of files of TensorFlow and of Keras 3."""

    def put_messages(name, *parts):
        put("messages", name, b"".join(struct.pack("<H", len(p)) + p for p in parts))

    def texts(group, name, *items):
        return [b"L" + text_field(group) + text_field(name)] + [b"T" + text_field(i) for i in items]

    weights = ["net/dense/kernel:0", "net/dense/bias:0", "net/embeddings/weight:0"]
    for top in ("", "model_weights/"):
        put_messages(
            "layers" + top[:5], *texts(top[:-1], "layer_names", "net", "dropout"),
            *texts(top + "net", "weight_names", *weights), *texts(top + "dropout", "weight_names"),
            dataset_message(top + "net/" + weights[0], (2, 3), True, 512, 24),
            dataset_message(top + "net/" + weights[1], (3,), False, 1024, 12), b"P",
            dataset_message(top + "net/" + weights[2], (4, 2), True, 2048, 32, dtype=1),
            b"N", b"P", b"N")
    put_messages(
        "keras3", *texts("_layer_checkpoint_dependencies/dense/vars", "name", "dense_1"),
        dataset_message("_layer_checkpoint_dependencies/dense/vars/0", (2, 3), True, 512, 24),
        dataset_message("_layer_checkpoint_dependencies/dense/vars/1", (3,), False, 1024, 12),
        dataset_message("optimizer/vars/0", (), True, 2048, 8, foreign="U64", dtype=10), b"N", b"N")
    put_messages("refused", b"R" + text_field("a/b") + text_field("is a soft link"))


CONFIGS = {
    "bert": {
        "model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 8,
        "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 12, "vocab_size": 16,
        "max_position_embeddings": 8, "type_vocab_size": 2, "id2label": {"0": "no", "1": "yes"},
        "pruned_heads": {}, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    },
    "gpt2": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 8, "n_head": 2,
        "n_layer": 1, "n_positions": 8, "vocab_size": 16, "eos_token_id": 3, "bos_token_id": 3,
    },
    "bart": {
        "model_type": "bart", "architectures": ["BartForConditionalGeneration"], "d_model": 8,
        "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12,
        "vocab_size": 16, "max_position_embeddings": 8, "num_beams": 4, "no_repeat_ngram_size": 3,
        "bad_words_ids": [[1, 2]], "early_stopping": True, "forced_bos_token_id": 0,
    },
    "marian": {
        "model_type": "marian", "architectures": ["MarianMTModel"], "d_model": 8,
        "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12,
        "vocab_size": 16, "max_position_embeddings": 8, "pad_token_id": 15,
        "decoder_start_token_id": 15, "eos_token_id": 0, "scale_embedding": True,
        "activation_function": "swish",
    },
    "t5": {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 8,
        "d_kv": 4, "num_heads": 2, "num_layers": 1, "d_ff": 12, "vocab_size": 16,
        "relative_attention_num_buckets": 8, "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0, "tie_word_embeddings": True,
    },
}


def bert_state():
    torch.manual_seed(1)
    shapes = {
        "embeddings.word_embeddings.weight": (16, 8),
        "embeddings.position_embeddings.weight": (8, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        "embeddings.LayerNorm.weight": (8,),
        "embeddings.LayerNorm.bias": (8,),
        "pooler.dense.weight": (8, 8),
        "pooler.dense.bias": (8,),
    }
    layer = "encoder.layer.0."
    for part in ("attention.self.query", "attention.self.key", "attention.self.value",
                 "attention.output.dense"):
        shapes[layer + part + ".weight"] = (8, 8)
        shapes[layer + part + ".bias"] = (8,)
    for part in ("attention.output.LayerNorm", "output.LayerNorm"):
        shapes[layer + part + ".weight"] = shapes[layer + part + ".bias"] = (8,)
    shapes[layer + "intermediate.dense.weight"] = (12, 8)
    shapes[layer + "intermediate.dense.bias"] = (12,)
    shapes[layer + "output.dense.weight"] = (8, 12)
    shapes[layer + "output.dense.bias"] = (8,)
    state = {"bert." + k: torch.randn(s) for k, s in shapes.items()}
    state["classifier.weight"] = torch.randn(2, 8)
    state["classifier.bias"] = torch.randn(2)
    return state


def gpt2_state():
    torch.manual_seed(2)
    shapes = {"wte.weight": (16, 8), "wpe.weight": (8, 8)}
    layer = "h.0."
    for name, rows, columns in (("attn.c_attn", 8, 24), ("attn.c_proj", 8, 8),
                                ("mlp.c_fc", 8, 32), ("mlp.c_proj", 32, 8)):
        shapes[layer + name + ".weight"] = (rows, columns)
        shapes[layer + name + ".bias"] = (columns,)
    for name in (layer + "ln_1", layer + "ln_2", "ln_f"):
        shapes[name + ".weight"] = shapes[name + ".bias"] = (8,)
    return {"transformer." + k: torch.randn(s) for k, s in shapes.items()}


def t5_state():
    torch.manual_seed(3)
    shapes = {"shared.weight": (WORDS, 8)}
    for stack, parts in (("encoder", ("SelfAttention",)),
                         ("decoder", ("SelfAttention", "EncDecAttention"))):
        block = stack + ".block.0.layer."
        for i, part in enumerate(parts):
            for name in "qkvo":
                shapes["%s%d.%s.%s.weight" % (block, i, part, name)] = (8, 8)
            shapes["%s%d.layer_norm.weight" % (block, i)] = (8,)
        shapes[block + "0.SelfAttention.relative_attention_bias.weight"] = (8, 2)
        last = "%s%d." % (block, len(parts))
        for name, shape in (("wi_0", (12, 8)), ("wi_1", (12, 8)), ("wo", (8, 12))):
            shapes[last + "DenseReluDense." + name + ".weight"] = shape
        shapes[last + "layer_norm.weight"] = shapes[stack + ".final_layer_norm.weight"] = (8,)
    return {k: torch.randn(s) for k, s in shapes.items()}


WORDS = 24
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##a", "b"]
VOCABULARY += ["w%d" % i for i in range(9)]
PAIRS = ["a b", "\u0120 ab", "c d"]
PIECES = ["\u0120", "a", "b", "c", "d", "ab", "\u0120ab", "cd", "e", "<unk>", "<|endoftext|>"]


def sentencepiece_model(size=WORDS - 4, **options):
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["one two three", "two three four", "three four five"] * 20),
        model_writer=out, vocab_size=size, model_type="unigram", hard_vocab_limit=False,
        normalization_rule_name="identity", minloglevel=2, **options)
    return out.getvalue()


MODELS = {
    "bert": (bert_state, {"vocab.txt": "\n".join(VOCABULARY) + "\n"}),
    "gpt2": (gpt2_state, {"vocab.json": json.dumps({p: i for i, p in enumerate(PIECES)}),
                          "merges.txt": "#version: 0.2\n" + "\n".join(PAIRS) + "\n"}),
    "t5": (t5_state, {"spiece.model": sentencepiece_model(),
                      "tokenizer_config.json": '{"extra_ids": 2}'}),
}


def section(file, kind):
    """The bytes of a section of a .pare file (docs/FORMAT.md)."""
    table, _, _, tensors, sections = struct.unpack_from("<QQQII", file, 32)
    for i in range(sections):
        at = table + 128 * tensors + 32 * i
        found, _, offset, size, _ = struct.unpack_from("<IIQQQ", file, at)
        if found == kind:
            return file[offset:offset + size]
    raise ValueError("no section %d" % kind)


def models():
    program = os.path.join(ROOT, "build/bin/pare-")
    for name, (state, files) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            torch.save(state(), os.path.join(folder, "pytorch_model.bin"))
            config = dict(CONFIGS[name], vocab_size=WORDS if name == "t5" else 16)
            for file, content in dict(files, **{"config.json": json.dumps(config)}).items():
                with open(os.path.join(folder, file), "wb") as f:
                    f.write(content if isinstance(content, bytes) else content.encode())
            out = os.path.join(folder, "m.pare")
            subprocess.check_call([program + "convert", "-q", folder, "-o", out])
            whole = open(out, "rb").read()
            put("pare", name + ".f32", whole)
            put("tokenizer", "compact-" + name, b"\xff" + section(whole, 2))
            for kind in ("int8", "fp16"):
                small = os.path.join(folder, kind)
                subprocess.check_call([program + "quantize", "-q", out, "-o", small, "--to", kind])
                put("pare", name + "." + kind, open(small, "rb").read())


def tokenizers():
    bpe = MODELS["gpt2"][1]
    put("tokenizer", "bpe", b"\x03" + bpe["vocab.json"].encode() + b"\x1e\x04"
        + bpe["merges.txt"].encode() + b"\x1e\x0aab cd<|endoftext|>a")
    put("tokenizer", "vocab-txt", b"\x00" + "\n".join(VOCABULARY).encode()
        + b'\x1e\x07{"unk_token": "[UNK]", "do_lower_case": false, "model_max_length": 512}'
        + b'\x1e\x08{"<x>": 16}\x1e\x09{"sep_token": "[SEP]"}')
    fast = {
        "version": "1.0", "added_tokens": [{"id": 0, "content": "[UNK]", "special": True}],
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##b": 2}},
    }
    put("tokenizer", "fast-wordpiece", b"\x01" + json.dumps(fast).encode())
    fast["model"] = {"type": "BPE", "vocab": {p: i for i, p in enumerate(PIECES)}, "merges": PAIRS}
    fast["normalizer"] = None
    fast["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False}
    fast["decoder"] = {"type": "ByteLevel"}
    fast["added_tokens"] = []
    put("tokenizer", "fast-bpe", b"\x01" + json.dumps(fast).encode())
    put("tokenizer", "spiece", b"\x02" + MODELS["t5"][1]["spiece.model"])
    bytes_too = sentencepiece_model(280, byte_fallback=True, user_defined_symbols=["<x>"])
    put("tokenizer", "spiece-bytes", b"\x02" + bytes_too)
    # with a map of characters
    fixtures = os.path.join(ROOT, "tests/data/tokenizers")
    for name in ("unigram", "suffix"):
        with open(os.path.join(fixtures, name, "spiece.model"), "rb") as f:
            put("tokenizer", "spiece-" + name, b"\x02" + f.read())
    with open(os.path.join(fixtures, "pair/vocab.json"), "rb") as f, \
            open(os.path.join(fixtures, "pair/source.spm"), "rb") as model:
        put("tokenizer", "pair", b"\x03" + f.read() + b"\x1e\x05" + model.read())


def main():
    shutil.rmtree(SEEDS, ignore_errors=True)
    pickles()
    datasets()
    indexes()
    messages()
    for name, config in CONFIGS.items():
        put("config", name, json.dumps(config))
    generation = {"num_beams": 4, "eos_token_id": [1, 2], "max_length": 20}
    put("config", "generation", json.dumps(generation))
    models()
    tokenizers()


main()
