#!/usr/bin/env python3
"""Encoder-decoders of two checkpoints: nested settings that are refused, and shared layers."""

import json
import os
import shutil
import tempfile

from harness import check, finish, run

GOLDENS = "tests/data/goldens"


def altered(scratch, golden, change):
    """A copy of a golden checkpoint with another config.json."""
    folder = tempfile.mkdtemp(dir=scratch)
    for name in ("pytorch_model.bin", "generation_config.json"):
        shutil.copy(os.path.join(GOLDENS, golden, name), folder)
    with open(os.path.join(GOLDENS, golden, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    change(config)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    return folder


def nested(side, key, value):
    def change(config):
        config[side][key] = value
    return change


def top(key, value):
    def change(config):
        config[key] = value
    return change


REFUSED = [
    ("bert2bert", nested("encoder", "model_type", "gpt2"), 'supported is bert'),
    ("bert2bert", nested("decoder", "model_type", "bart"), "supported is bert or gpt2"),
    ("bert2bert", nested("decoder", "model_type", None), "supported is bert or gpt2"),
    ("bert2bert", nested("decoder", "is_decoder", False), '"is_decoder" to be true'),
    ("bert2bert", nested("decoder", "add_cross_attention", False), "to be true"),
    ("bert2gpt", nested("decoder", "add_cross_attention", None), "to be true"),
    ("bert2bert", nested("encoder", "add_cross_attention", True), '"encoder": "add_cross'),
    ("bert2bert", nested("decoder", "position_embedding_type", "relative_key"), "relative_key"),
    ("bert2bert", nested("decoder", "cross_attention_hidden_size", 32), "cross_attention_hidden"),
    ("bert2bert", nested("encoder", "hidden_size", 64), "the encoder is 64 wide"),
    ("bert2bert", nested("encoder", "hidden_size", 0), "the encoder is 0 wide"),
    ("bert2bert", nested("decoder", "hidden_size", 0), "decoder"),
    ("bert2bert", nested("decoder", "num_hidden_layers", 4), "decoder.bert.encoder.layer.3"),
    ("bert2gpt", nested("decoder", "n_layer", 3), "decoder.transformer.h.2"),
    ("bert2bert", nested("decoder", "vocab_size", 95), "expected [95, 32]"),
    ("bert2bert", top("encoder", [1]), 'must be an object'),
    ("bert2bert", top("decoder", None), 'must be an object'),
    ("bert2bert", top("architectures", ["BertModel"]), "EncoderDecoderModel"),
    ("bert2gpt", lambda config: config.update(decoder=config["encoder"]), "to be true"),
]


def main():
    scratch = tempfile.mkdtemp()
    out = os.path.join(scratch, "out.pare")
    for golden, change, message in REFUSED:
        r = run("pare-convert", altered(scratch, golden, change), "--no-tokenizer", "-o", out)
        check(f"{golden}: {message}", r.returncode == 1 and message in r.stderr, r.stderr)
        check(f"{golden}: nothing is written", not os.path.exists(out))
    r = run("pare-convert", os.path.join(GOLDENS, "bert2gpt"), "-o", out)
    check("two tokenizers", r.returncode == 1 and "one tokenizer" in r.stderr, r.stderr)
    folder = altered(scratch, "bert2bert", nested("decoder", "wonder", 7))
    r = run("pare-convert", folder, "--no-tokenizer", "-o", out)
    check("an unknown nested field is named",
          r.returncode == 0 and '"decoder": the field "wonder"' in r.stderr, r.stderr)
    r = run("pare-convert", os.path.join(GOLDENS, "bertshare"), "--no-tokenizer", "-o", out,
            "--force")
    check("it converts", r.returncode == 0, r.stderr)
    r = run("pare-info", out)
    check("44960 values of two stacks that share 53 tensors", "44960" in r.stdout, r.stdout)
    r = run("pare-export", out, "--format", "pytorch", "-o", os.path.join(scratch, "back"))
    check("the way back is refused",
          r.returncode == 1 and '"encoder-decoder", which cannot be exported' in r.stderr, r.stderr)
    shutil.rmtree(scratch)
    finish()


if __name__ == "__main__":
    main()
