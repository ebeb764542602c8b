#!/usr/bin/env python3
"""Students that are not a teacher's layers: encoder-decoders put together of two models, random
initial values, and descriptions of a student's own."""

import array
import json
import os
import random
import shutil
import tempfile

import read_pare
from harness import check, finish, run

GOLDENS = "tests/data/goldens"
SCRATCH = tempfile.mkdtemp()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"w{i}" for i in range(5, 96)]


def at(name):
    return os.path.join(SCRATCH, name)


def convert(golden, name, vocabulary=None):
    """A golden checkpoint as a .pare, with or without a tokenizer beside it."""
    folder = tempfile.mkdtemp(dir=SCRATCH)
    for entry in os.listdir(os.path.join(GOLDENS, golden)):
        shutil.copy(os.path.join(GOLDENS, golden, entry), folder)
    if vocabulary:
        with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as f:
            f.write("\n".join(vocabulary) + "\n")
    r = run("pare-convert", folder, "-o", at(name), *([] if vocabulary else ["--no-tokenizer"]))
    check(f"{golden} converts", r.returncode == 0, r.stderr)
    return at(name)


def read(path):
    """Name -> tensor; the metadata is under None."""
    with open(path, "rb") as f:
        reader = read_pare.Reader(f.read())
    tensors = {t.name: t for t in reader.tensors}
    tensors[None] = json.loads(reader.sections[1])
    return tensors


def floats(tensor):
    return array.array("f", array.array("I", tensor.f32_bits()).tobytes())


def same(a, b):
    return list(a.shape) == list(b.shape) and list(a.f32_bits()) == list(b.f32_bits())


def deviation(tensor):
    values = floats(tensor)
    mean = sum(values) / len(values)
    return (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5


def refused(what, message, *arguments):
    r = run("pare-distill", *arguments, "--data", DATA, "-o", at("never.pare"))
    check(what, r.returncode in (1, 2) and message in r.stderr, r.stderr)
    check(what + ": nothing is written", not os.path.exists(at("never.pare")))


def distill(name, *arguments):
    """Trains, and gives the report; the arguments say on what and how long."""
    r = run("pare-distill", *arguments, "--json", "--force", "-o", at(name), "-t", 1)
    check(f"{name} is made", r.returncode == 0, r.stderr)
    return json.loads(r.stdout) if r.returncode == 0 else {"loss": float("nan")}


def write_reversals(path, seed, rows, words=False):
    """The task: a sequence, backwards."""
    rng = random.Random(seed)
    with open(path, "w", encoding="utf-8") as f:
        for _ in range(rows):
            ids = [rng.randint(10, 40) for _ in range(rng.randint(3, 6))]
            if words:
                f.write(" ".join(f"w{i}" for i in ids) + "\t" +
                        " ".join(f"w{i}" for i in reversed(ids)) + "\n")
            else:
                row = {"input_ids": [2] + ids + [3], "labels": ids[::-1] + [3]}
                f.write(json.dumps(row) + "\n")
    return path


DATA = write_reversals(at("train.jsonl"), 1, 200)
# A step that changes nothing: what is written is what the student began with.
STILL = ["--data", DATA, "--steps", 1, "--lr", 0, "--limit", 4]
IDS = ["--decoder-start", 2, "--eos", 3]


def test_assembly(encoder, decoder):
    pair = ["--encoder", encoder, "--decoder", decoder, *IDS]
    distill("start.pare", *pair, *STILL, "--seed", 3)
    e, d, s = read(encoder), read(decoder), read(at("start.pare"))
    own = [n for n in s if n and ".cross." not in n]
    check("the encoder is the encoder's",
          all(same(s[n], e[n]) for n in own if n.startswith("encoder.")))
    check("the decoder is the decoder's", all(
        same(s[n], d[n.replace("decoder.", "encoder.", 1)])
        for n in own if n.startswith("decoder.")))
    check("the head is the decoder's", all(same(s[n], d[n]) for n in own if n.startswith("head.")))
    check("no pooler is left", "head.pool.weight" not in s)
    weights = [n for n in s if n and ".cross." in n and n.endswith(".weight") and "norm" not in n]
    check("12 matrices of cross-attention", len(weights) == 12, weights)
    for n in weights:
        check(f"{n} is drawn with deviation 0.02", 0.0185 < deviation(s[n]) < 0.0215,
              deviation(s[n]))
    rest = [n for n in s if n and ".cross." in n and n not in weights]
    check("biases are 0, norms 1 and 0", len(rest) == 18 and all(
        set(floats(s[n])) == {1.0 if n.endswith("norm.weight") else 0.0} for n in rest), rest)
    queries = [s[f"decoder.layers.{i}.cross.query.weight"] for i in range(2)]
    check("cross-attention differs between the layers", not same(*queries))
    provenance = s[None]["provenance"]
    check("the provenance has both models", [p["stage"] for p in provenance] ==
          ["convert", "convert", "distill"] and
          [i["file"] for i in provenance[2]["inputs"]] ==
          [os.path.basename(encoder), os.path.basename(decoder)], provenance)
    check("the settings of generation", s[None]["generation"]["decoder_start_token_id"] == 2 and
          s[None]["generation"]["eos_token_id"] in (3, [3]), s[None]["generation"])
    distill("again.pare", *pair, *STILL, "--seed", 3)
    distill("other.pare", *pair, *STILL, "--seed", 4)
    with open(at("start.pare"), "rb") as a, open(at("again.pare"), "rb") as b:
        check("the same seed gives the same bytes", a.read() == b.read())
    name = "decoder.layers.1.cross.value.weight"
    check("another seed gives other values", not same(s[name], read(at("other.pare"))[name]))


def test_new_head(encoder, bare):
    """A decoder without a language-model head gets one on its own token table."""
    report = distill("bare.pare", "--encoder", encoder, "--decoder", bare, *IDS, *STILL)
    s = read(at("bare.pare"))
    check("the new head reads the decoder's table",
          s["head.output.weight"].is_alias and
          same(s["head.output.weight"], s["decoder.embed.tokens"]))
    check("its transform is random", 0.0185 < deviation(s["head.transform.weight"]) < 0.0215)
    check("its bias is 0", set(floats(s["head.output.bias"])) == {0.0})
    # Three layers of cross-attention, the transform with its norm, and the bias of the output.
    expected = 3 * (4 * 32 * 33 + 64) + 32 * 33 + 64 + 96
    check("as many random parameters as are new", report["random_parameters"] == expected, report)


def test_share(encoder, decoder):
    pair = ["--encoder", encoder, "--decoder", decoder, *IDS, *STILL]
    sizes = {}
    for share in ("none", "embeddings", "layers"):
        sizes[share] = distill(f"{share}.pare", *pair, "--share", share)["parameters"]
    # Those of transformers' own models of this size are 75840 and, with all shared, 44960.
    check("parameters", sizes == {"none": 75840, "embeddings": 75840 - 96 * 32, "layers": 44960},
          sizes)
    s, e = read(at("layers.pare")), read(encoder)
    check("shared layers are the encoder's",
          same(s["decoder.layers.2.ffn.in.weight"], e["encoder.layers.2.ffn.in.weight"]) and
          s["decoder.layers.2.ffn.in.weight"].is_alias)
    check("cross-attention is not shared",
          not s["decoder.layers.2.cross.query.weight"].is_alias)
    distill("trained.pare", "--encoder", encoder, "--decoder", decoder, *IDS, "--share", "layers",
            "--data", DATA, "--steps", 2)
    s = read(at("trained.pare"))
    check("they stay shared in training",
          same(s["decoder.layers.1.self.key.weight"], s["encoder.layers.1.self.key.weight"]) and
          not same(s["encoder.layers.1.self.key.weight"], e["encoder.layers.1.self.key.weight"]))


def pretrain(name, model):
    """Sixty steps on sequences of the kind that is reversed later."""
    rng = random.Random(9)
    data = at(name + ".jsonl")
    with open(data, "w", encoding="utf-8") as f:
        for _ in range(200):
            ids = [2] + [rng.randint(10, 40) for _ in range(rng.randint(3, 6))] + [3]
            masked = [4 if rng.random() < 0.3 else i for i in ids]
            f.write(json.dumps({"input_ids": ids} if "gpt" in name else
                               {"input_ids": masked, "labels": ids}) + "\n")
    distill(name, "--student", model, "--data", data, "--steps", 60, "--lr", 2e-3)
    return at(name)


def test_training(decoder, gpt):
    """The warm start is ahead of a random one; what comes out runs, quantized too."""
    encoder = decoder = pretrain("bert-trained.pare", decoder)
    gpt = pretrain("gpt-trained.pare", gpt)
    how = [*IDS, "--data", DATA, "--steps", 60, "--lr", 2e-3, "--dropout", 0, "--seed", 1]
    for name, second in (("bert2bert", decoder), ("bert2gpt", gpt)):
        pair = ["--encoder", encoder, "--decoder", second, *how]
        warm = distill(f"{name}.pare", *pair)
        fresh = distill(f"{name}-fresh.pare", *pair, "--fresh")
        if os.environ.get("PARE_TEST_LONG"):
            print(name, warm["loss"], fresh["loss"])
        check(f"{name}: a warm start is ahead", warm["loss"] < fresh["loss"] - 0.1, (warm, fresh))
        check(f"{name}: of the same size", warm["parameters"] == fresh["parameters"] ==
              fresh["random_parameters"] > warm["random_parameters"], (warm, fresh))
        r = run("pare-quantize", at(f"{name}.pare"), "--to", "int8", "-o", at(f"{name}-int8.pare"))
        check(f"{name}: is quantized", r.returncode == 0, r.stderr)
        for model in (f"{name}.pare", f"{name}-int8.pare"):
            r = run("pare-run", "generate", at(model), "--ids", "--max-length", 8,
                    input="[2, 11, 12, 13, 3]\n[2, 20, 21, 3]\n")
            check(f"{model} generates", r.returncode == 0 and len(r.stdout.splitlines()) == 2,
                  r.stderr + r.stdout)
        r = run("pare-run", "--self-test", at(f"{name}-int8.pare"))
        check(f"{name}: passes its self-test", r.returncode == 0, r.stderr)
        r = run("pare-export", at(f"{name}.pare"), "--format", "pytorch", "-o", at("exported"))
        check(f"{name}: the way to a checkpoint is refused",
              r.returncode == 1 and "nothing to export to" in r.stderr, r.stderr)


def test_tokenizers():
    """The special ids come from the tokenizer; there can only be one."""
    encoder = convert("bert-model", "text-encoder.pare", VOCABULARY)
    decoder = convert("bert-mlm", "text-decoder.pare", VOCABULARY)
    data = write_reversals(at("train.tsv"), 5, 40, words=True)
    small = write_reversals(at("dev.tsv"), 6, 6, words=True)
    columns = ["--columns", "source,target"]
    distill("text.pare", "--encoder", encoder, "--decoder", decoder, "--data", data, *columns,
            "--steps", 5)
    s = read(at("text.pare"))
    g = s[None]["generation"]
    check("[CLS], [SEP] and [PAD]", (g["decoder_start_token_id"], g["pad_token_id"]) == (2, 0) and
          g["eos_token_id"] in (3, [3]), g)
    r = run("pare-run", "generate", at("text.pare"), "--max-length", 6, input="w11 w12 w13\n")
    check("it writes texts", r.returncode == 0 and r.stdout.count("\n") == 1, r.stderr)
    r = run("pare-quantize", at("text.pare"), "--to", "int8", "-o", at("text-int8.pare"))
    check("it is quantized", r.returncode == 0, r.stderr)
    r = run("pare-verify", "-r", at("text.pare"), "--data", small, *columns, at("text-int8.pare"),
            "--json")
    check("it is verified", r.returncode == 0 and "bleu" in r.stdout, r.stderr + r.stdout)
    other = convert("bert-mlm", "text-other.pare", VOCABULARY[:90] + VOCABULARY[:89:-1])
    refused("two tokenizers", "have different tokenizers, and a .pare file holds one",
            "--encoder", encoder, "--decoder", other)
    teacher = convert("bert2bert", "text-teacher.pare", VOCABULARY[:20] + VOCABULARY[:19:-1])
    r = run("pare-distill", "--method", "kd", "--teacher", teacher, "--encoder", encoder,
            "--decoder", decoder, "--data", data, *columns, "-o", at("never.pare"))
    check("a teacher with another tokenizer", r.returncode == 2 and
          "give different token ids" in r.stderr, r.stderr)
    bare = convert("bert-mlm", "text-none.pare")
    distill("one.pare", "--encoder", encoder, "--decoder", bare, "--data", data, *columns,
            "--steps", 1)
    check("the tokenizer of one serves both", "tokenizer" in read(at("one.pare"))[None])


def test_fresh(teacher, seq2seq):
    data = at("labels.jsonl")
    with open(data, "w", encoding="utf-8") as f:
        for i in range(12):
            f.write(json.dumps({"input_ids": [2, 10 + i, 20 + i, 3], "label": i % 3}) + "\n")
    still = ["--data", data, "--steps", 1, "--lr", 0, "--batch-size", 4]
    report = distill("fresh.pare", "--teacher", teacher, "--fresh", "--layers", 2, *still)
    t, s = read(teacher), read(at("fresh.pare"))
    check("two layers", "encoder.layers.1.ffn.in.weight" in s and
          "encoder.layers.2.ffn.in.weight" not in s)
    check("all values are random", report["random_parameters"] == report["parameters"], report)
    check("embeddings, too", not same(s["encoder.embed.tokens"], t["encoder.embed.tokens"]) and
          0.0195 < deviation(s["encoder.embed.tokens"]) < 0.0205)
    check("norms are 1", set(floats(s["encoder.layers.0.ffn.norm.weight"])) == {1.0})
    distill("copied.pare", "--teacher", teacher, "--fresh", "--embeddings", "copy",
                     "--layers", 2, *still)
    s = read(at("copied.pare"))
    check("or the teacher's", all(same(s[n], t[n]) for n in s if n and (
        n.startswith("encoder.embed.") or n.startswith("head."))))
    check("layers are random all the same",
          not same(s["encoder.layers.0.ffn.in.weight"], t["encoder.layers.0.ffn.in.weight"]))
    distill("t5-fresh.pare", "--teacher", seq2seq, "--fresh", "--layers", "enc=1,dec=1", *STILL)
    s = read(at("t5-fresh.pare"))
    check("what is tied in the teacher is tied",
          s["head.output.weight"].is_alias and
          s["decoder.embed.tokens"].is_alias)
    check("RMS norms: token tables of deviation 1",
          0.95 < deviation(s["encoder.embed.tokens"]) < 1.05)


def test_config(teacher, seq2seq):
    """A narrower student with kd, hidden states through projections."""
    data = at("labels.jsonl")
    config = at("student.json")

    def with_config(value):
        with open(config, "w", encoding="utf-8") as f:
            json.dump(value, f)
        return ["--teacher", teacher, "--student-config", config]

    layers = {"count": 2, "self": {"heads": 2, "head_size": 12}, "ffn": 48}
    student = with_config({"encoder": {"width": 24, "layers": layers}})
    report = distill("narrow.pare", *student, "--method", "kd", "--data", data, "--steps", 4,
                     "--hidden-weight", 1)
    s = read(at("narrow.pare"))
    d = s[None]["description"]["encoder"]
    check("it is as wide as it says", d["width"] == d["embedding_width"] == 24 and
          len(d["layers"]) == 2 and d["layers"][1]["ffn"] == 48, d)
    a = d["layers"][0]["self"]
    check("key/value heads and scale follow",
          a["kv_heads"] == 2 and abs(a["scale"] - 12 ** -0.5) < 1e-6, a)
    check("projections are no part of it", not any(n and "projection" in n for n in s))
    # tokens, positions, types, norm; two layers; pooler and classifier
    expected = 24 * (96 + 64 + 2 + 2) + 2 * (4 * 24 * 25 + 48 * 25 + 24 * 49 + 96) + 24 * 25 + 75
    check("its size", report["parameters"] == expected, (report, expected))
    r = run("pare-run", "logits", at("narrow.pare"), "--ids", input="[2, 5, 3]\n")
    check("it runs", r.returncode == 0, r.stderr)
    info = json.loads(run("pare-info", "--json", teacher).stdout)
    distill("whole.pare", *with_config(info), "--data", data, "--steps", 1)
    check("what pare-info prints is a description of the same student",
          read(at("whole.pare"))[None]["description"] == read(teacher)[None]["description"])
    one = {"encoder": {"layers": [{}, {"ffn": 20}]}}
    distill("list.pare", *with_config(one), "--data", data, "--steps", 1)
    check("a list of layers", [l["ffn"] for l in
                               read(at("list.pare"))[None]["description"]["encoder"]["layers"]]
          == [64, 20])
    for what, value, message in [
            ("an unknown field", {"encoder": {"colour": 1}}, 'unknown field "colour"'),
            ("an unknown part", {"wings": {}}, 'unknown field "wings"'),
            ("an unknown field of a layer", {"encoder": {"layers": {"self": {"arms": 1}}}}, "arms"),
            ("no object", [1], "must be an object"),
            ("another vocabulary", {"encoder": {"vocabulary": 97}}, "expected 96"),
            ("another head", {"head": {"labels": 4}}, "expected a sequence head of 3"),
            ("another stack", {"encoder": None}, "neither an encoder nor a decoder"),
            ("heads that make no sense", {"encoder": {"layers": {"self": {"kv_heads": 3}}}},
             "divide the heads"),
            ("no layers", {"encoder": {"layers": {"count": 0}}}, '"count" of "layers"'),
            ("too many layers", {"encoder": {"layers": {"count": 1e9}}}, '"count" of "layers"'),
            ("a width of text", {"encoder": {"width": "24"}}, '"width" must be')]:
        refused(what, message, *with_config(value))
    distill("t5-narrow.pare", "--teacher", seq2seq, "--student-config", with_t5(config), *STILL)
    d = read(at("t5-narrow.pare"))[None]["description"]
    check("the head's scale follows the width", abs(d["head"]["scale"] - 16 ** -0.5) < 1e-6, d)


def test_widths(decoder):
    """Keys and values read an encoder of another width; the narrow one comes from test_config."""
    distill("uneven.pare", "--encoder", at("narrow.pare"), "--decoder", decoder, *IDS,
            "--data", DATA, "--steps", 4)
    s = read(at("uneven.pare"))
    check("keys read the encoder's width", list(s["decoder.layers.0.cross.key.weight"].shape) ==
          [32, 24], s["decoder.layers.0.cross.key.weight"].shape)
    r = run("pare-run", "generate", at("uneven.pare"), "--ids", input="[2, 5, 3]\n")
    check("it generates", r.returncode == 0, r.stderr)
    refused("sharing between widths", "they must be alike", "--encoder", at("narrow.pare"),
            "--decoder", decoder, *IDS, "--share", "embeddings")


def with_t5(config):
    part = {"width": 16, "layers": {"count": 1}}
    with open(config, "w", encoding="utf-8") as f:
        json.dump({"encoder": part, "decoder": part}, f)
    return config


def test_contradictions(encoder, decoder, gpt, seq2seq):
    pair = ["--encoder", encoder, "--decoder", decoder]
    for what, message, arguments in [
            ("half a pair", "belong together", pair[:2]),
            ("a pair and a student", "give no --student", [*pair, "--student", decoder]),
            ("a pair and layers", "--layers chooses", [*pair, "--layers", 1]),
            ("sharing nothing", "--share is for", ["--student", decoder, "--share", "layers"]),
            ("ids for nobody", "are for --encoder", ["--student", decoder, "--eos", 3]),
            ("fresh and a student", "--fresh makes", ["--student", decoder, "--fresh"]),
            ("embeddings of nobody", "--embeddings is for", ["--student", decoder,
                                                             "--embeddings", "copy"]),
            ("a description without a teacher", "needs a --teacher", ["--student-config", "x"]),
            ("copied layers that are fresh", "--method sft",
             ["--teacher", decoder, "--method", "sft", "--layers", 1, "--fresh"]),
            ("a teacher that teaches nothing", "learns nothing", [*pair, "--teacher", decoder]),
            ("an encoder that is none", "has no encoder",
             ["--encoder", gpt, "--decoder", gpt]),
            ("a decoder of two stacks", "is an encoder-decoder already",
             ["--encoder", encoder, "--decoder", seq2seq]),
            ("layers of two kinds", "are not made alike",
             ["--encoder", encoder, "--decoder", gpt, "--share", "layers"]),
            ("no start", "give --decoder-start ID", pair),
            ("no end", "give --eos ID", [*pair, "--decoder-start", 2]),
            ("a start beyond the vocabulary", "--decoder-start 96",
             [*pair, "--decoder-start", 96, "--eos", 3]),
            ("an output that is an input", "name the same file",
             [*pair, *IDS, "-o", encoder, "--force"])]:
        refused(what, message, *arguments) if "-o" not in arguments else check(
            what, message in run("pare-distill", *arguments, "--data", DATA).stderr)


def main():
    encoder = convert("bert-model", "encoder.pare")
    decoder = convert("bert-mlm", "decoder.pare")
    gpt = convert("gpt2-lm", "gpt.pare")
    teacher = convert("bert-cls", "teacher.pare")
    seq2seq = convert("t5", "t5.pare")
    test_assembly(encoder, decoder)
    test_new_head(encoder, encoder)
    test_share(encoder, decoder)
    test_training(decoder, gpt)
    test_tokenizers()
    test_fresh(teacher, seq2seq)
    test_config(teacher, seq2seq)
    test_widths(decoder)
    test_contradictions(encoder, decoder, gpt, seq2seq)
    shutil.rmtree(SCRATCH)
    finish()


if __name__ == "__main__":
    main()
