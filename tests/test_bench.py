#!/usr/bin/env python3
"""pare-bench: what it counts, in which order it measures, that its figures are those of the runs,
and what it refuses. Never how long anything took."""

import json
import math
import os
import re
import resource
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import check, command, finish, run  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SAMPLES = os.path.join(ROOT, "samples")
GOLDENS = os.path.join(ROOT, "tests/data/goldens")
TEXTS = ["turn off the lights", "wake me at seven", "what is the weather like in rome",
         "play dance music", "call my husband"]


def done(program, *arguments, **more):
    result = run("pare-" + program, *arguments, **more)
    check(" ".join([program, *map(str, arguments)]), result.returncode == 0, result.stderr)
    return result.stdout


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def processor_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bench(*arguments, runs=1, **more):
    clock, processor = time.monotonic(), processor_time()
    report = json.loads(done("bench", *arguments, "--runs", runs, "--json", **more))
    clock, processor = time.monotonic() - clock, processor_time() - processor
    passes = [(r, r["passes"]) for m in report["models"] for r in m["runs"]]
    check("no more seconds than there were", sum(r["seconds"] * n for r, n in passes) <= clock,
          report)
    check("nor of the processor", sum(r["cpu_seconds"] * n for r, n in passes) <= processor + 0.1,
          report)
    check_figures(report, runs)
    return report


def tokenized(model, texts):
    out = done("run", "tokenize", model, "--json", input="".join(t + "\n" for t in texts))
    return [len(x["ids"]) for x in objects(out)]


def make_models():
    done("convert", os.path.join(SAMPLES, "command-intent"), "-o", "intent", "-q")
    done("quantize", "intent", "-o", "intent8", "--to", "int8", "-q")
    write("corpus", "turn off the lights\t9\nplay music\t5\n")
    done("prune", "intent", "-o", "intent.cut", "--vocabulary", "corpus", "-q")
    done("convert", os.path.join(SAMPLES, "number-words"), "-o", "words", "-q")
    write("corpus", "907\tnine hundred and seven\n41\tforty-one\n")
    done("prune", "words", "-o", "words.cut", "--vocabulary", "corpus", "-q")
    for name in ("gpt2-lm", "bert-model", "bert-mlm"):
        done("convert", "--no-tokenizer", os.path.join(GOLDENS, name), "-o", name, "-q")


# -- the figures, once more from the runs --

def check_spread(what, spread, values):
    check(what, spread == {"median": statistics.median(values), "least": min(values),
                           "greatest": max(values)}, f"{spread} of {values}")


def check_figures(report, runs):
    first = report["models"][0]
    check("runs", report["runs"] == runs)
    for m in report["models"]:
        name, tokens = m["file"], m.get("generated_tokens", m["input_tokens"])
        check(name + ": generated tokens are of generate",
              ("generated_tokens" in m) == (report["task"] == "generate"), m)
        check(name + ": runs", len(m["runs"]) == runs, m)
        check(name + ": passes", all(r["passes"] >= 1 and r["seconds"] * r["passes"] > 0.1999
                                     and r["cpu_seconds"] > 0 for r in m["runs"]), m)
        for key, ratio in (("seconds", "ratio"), ("cpu_seconds", "cpu_ratio")):
            check(name + ": " + key, m[key] == statistics.median(r[key] for r in m["runs"]), m)
            check_spread(f"{name}: {ratio}", m[ratio],
                         [a[key] / b[key] for a, b in zip(first["runs"], m["runs"])])
        check(name + ": inputs/s", math.isclose(m["inputs_per_second"],
                                                report["inputs"] / m["seconds"]), m)
        check(name + ": tokens/s", math.isclose(m["tokens_per_second"], tokens / m["seconds"]), m)
        check(name + ": bytes", m["bytes"] == os.path.getsize(name), m)
    one = {"median": 1, "least": 1, "greatest": 1}
    check("the first model against itself", first["ratio"] == one and first["cpu_ratio"] == one)


def counts(report, key="input_tokens"):
    return [m[key] for m in report["models"]]


# -- forward --

def forward():
    report = bench("intent8", "intent", "intent8", "--inputs", 9, "--length", 5, "-b", 4, "-t", 1,
                   runs=4)
    check("in the order given", [m["file"] for m in report["models"]] ==
          ["intent8", "intent", "intent8"], report)
    check("conditions", {k: report[k] for k in ("task", "data", "inputs", "batch_size", "threads")}
          == {"task": "forward", "data": None, "inputs": 9, "batch_size": 4, "threads": 1}, report)
    check("precision", counts(report, "precision") == ["INT8", "F32", "INT8"], report)
    check("random tokens", counts(report) == [45, 45, 45], report)
    report = bench("intent")
    check("defaults", report["inputs"] == 256 and report["batch_size"] == 32
          and counts(report) == [256 * 32], report)
    for order in (("intent", "intent.cut", "gpt2-lm"), ("gpt2-lm", "intent.cut", "intent")):
        report = bench(*order, "--task", "forward", "--inputs", 300, "--length", 8)
        check("ids that the smallest vocabulary has", counts(report) == [2400] * 3, report)
    report = bench("bert-model", "bert-mlm", "--inputs", 3)
    check("models without a head, or with another", report["task"] == "forward", report)
    report = bench("words", "words.cut", "--task", "forward", "--inputs", 30, "--length", 4)
    check("encoder-decoders read on both sides", counts(report) == [240, 240], report)


def data():
    write("lines", "".join(text + "\n" for text in TEXTS))
    write("rows.tsv", "sentence\tlabel\n" + "".join(text + "\t0\n" for text in TEXTS))
    expected = [sum(tokenized(m, TEXTS)) for m in ("intent", "intent.cut")]
    check("the toy vocabularies cut differently", expected[0] != expected[1], expected)
    for source in ("lines", "rows.tsv", "-"):
        report = bench("intent", "intent.cut", "-d", source, "-b", 2, input=open("lines").read())
        check(f"tokens of {source}", report["inputs"] == 5 and counts(report) == expected
              and report["data"] == source, report)
    report = bench("intent.cut", "-d", "rows.tsv", "--limit", 2)
    check("limit", report["inputs"] == 2
          and counts(report) == [sum(tokenized("intent.cut", TEXTS[:2]))], report)
    write("ids", '[1, 2, 3]\n\n{"input_ids": [4, 5, 6, 7], "attention_mask": [1, 1, 1, 0]}\n')
    report = bench("gpt2-lm", "bert-mlm", "-d", "ids", "--ids", "--task", "forward")
    check("token ids", report["inputs"] == 2 and counts(report) == [6, 6], report)
    write("pairs.tsv", "source\ttarget\n41\tforty-one\n907\tnine hundred and seven\n")
    report = bench("words", "-d", "pairs.tsv", "--task", "forward")
    scored = objects(done("run", "score", "words", "-i", "pairs.tsv", "--json"))
    both = sum(tokenized("words", ["41", "907"])) + sum(x["tokens"] for x in scored)
    check("sources and targets", counts(report) == [both], report)
    write("long", "word " * 300 + "\n")
    result = run("pare-bench", "intent", "-d", "long", "--truncate", "--json", "--runs", 1)
    check("truncate", counts(json.loads(result.stdout)) == [96] and
          "intent: inputs that were longer than the model's positions and have been cut: 1"
          in result.stderr, result.stderr)


# -- generate --

def generate():
    report = bench("words", "words.cut", "--inputs", 5, "--length", 3, runs=2)
    check("random: as many new tokens everywhere", report["task"] == "generate"
          and counts(report, "generated_tokens") == [5 * 32] * 2
          and counts(report) == [15, 15], report)
    report = bench("gpt2-lm", "--inputs", 3, "--length", 10, "--max-new-tokens", 7,
                   "--num-beams", 2)
    check("behind a prompt", counts(report, "generated_tokens") == [21]
          and counts(report, "num_beams") == [2], report)
    report = bench("words", "--inputs", 3, "--length", 10, "--max-length", 9)
    check("a longest length holds the start", counts(report, "generated_tokens") == [24], report)
    report = bench("gpt2-lm", "--inputs", 3, "--length", 10, "--max-length", 14)
    check("a longest length holds the prompt", counts(report, "generated_tokens") == [12], report)
    sources = ["907", "41", "12 March 2021"]
    write("sources", "".join(s + "\n" for s in sources))
    for options in ((), ("--num-beams", 3), ("--max-new-tokens", 2)):
        report = bench("words", "words.cut", "-d", "sources", "-b", 2, *options)
        expected = [sum(len(x["ids"]) - 1 for x in objects(
            done("run", "generate", m, "-i", "sources", "--json", *options)))
            for m in ("words", "words.cut")]
        check(f"texts {options}", counts(report, "generated_tokens") == expected
              and counts(report) == [sum(tokenized(m, sources)) for m in ("words", "words.cut")],
              f"{report} {expected}")
    write("ids", "[1, 2, 3]\n[4, 5]\n")
    report = bench("gpt2-lm", "-d", "ids", "--ids", "--max-new-tokens", 4)
    out = objects(done("run", "generate", "gpt2-lm", "-i", "ids", "--ids", "--json",
                       "--max-new-tokens", 4))
    check("prompts of ids", counts(report, "generated_tokens") ==
          [sum(len(x["ids"]) for x in out) - 5], report)


# -- the table, the turns, Ctrl-C --

def table():
    out = done("bench", "intent", "intent8", "--inputs", 10, "--length", 4, "-b", 3, "-t", 2,
               "--runs", 2).splitlines()
    check("conditions", re.fullmatch(r"forward; 10 random inputs, 40 input tokens; batch 3, "
                                     r"2 threads, kernels \w+; 2 runs of each model", out[0]), out)
    check("a row a model", [line.split()[:1] for line in out[2:]] ==
          [["model"], ["intent"], ["intent8"]], out)
    check("the first is 1.00", out[3].count("1.00 (1.00..1.00)") == 2, out)
    size = os.path.getsize("intent") / 1e6
    check("size and tokens", out[3].split()[1:3] == [f"{size:.2f}", "40"], out)
    out = done("bench", "words", "words.cut", "-d", "sources", "--runs", 1, "--num-beams", 2)
    tokens = sum(tokenized("words", ["907", "41", "12 March 2021"]))
    check("of texts", out.startswith(f"generate, 2 beams; 3 inputs, {tokens} input tokens for the "
                                     "first model; batch 32, "), out)
    whole = subprocess.run(command("pare", "bench", "intent", "--runs", "1", "--json"),
                           capture_output=True, text=True, check=False)
    check("pare bench", whole.returncode == 0 and json.loads(whole.stdout)["inputs"] == 256)


def turns():
    result = run("pare-bench", "intent", "intent8", "words", "--task", "forward", "--inputs", 2,
                 "--runs", 2, "-v")
    found = re.findall(r"(warmed up|run \d) (?:of )?(\w+)", result.stderr)
    models = ["intent", "intent8", "words"]
    check("turns", found == [(what, m) for what in ("warmed up", "run 1", "run 2") for m in models],
          result.stderr)


def interrupted(*arguments):
    # A shell's background job has the signal ignored; the program must not inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command("pare-bench", *arguments, "--runs", 100, "-v"), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = [process.stderr.readline()]
    while lines[-1] and "run 1" not in lines[-1]:
        lines.append(process.stderr.readline())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    lines += err.splitlines()
    check("interrupted", process.returncode == 1 and out == "" and
          lines[-1] == "pare-bench: interrupted" and not any("run 100 " in x for x in lines),
          f"{out} {lines}")


# -- what is refused beyond tests/cli/pare-bench --

def refused(sentence, *arguments, **more):
    result = run("pare-bench", *arguments, "--runs", 1, **more)
    last = result.stderr.strip().split("\nTry ")[0]
    check("refused: " + sentence, result.returncode == 1 and "\n" not in last
          and last.startswith("pare-bench: ") and sentence in last and result.stdout == "",
          f"{result.returncode}, {result.stderr}{result.stdout}")


def spoil(out, position):
    """A language model with NaN at a position."""
    os.mkdir(out + ".d")
    with open(os.path.join(GOLDENS, "v5-gpt2-lm", "model.safetensors"), "rb") as f:
        content = bytearray(f.read())
    size = struct.unpack_from("<Q", content)[0]
    table_of = json.loads(content[8:8 + size])["transformer.wpe.weight"]
    at = 8 + size + table_of["data_offsets"][0] + position * 4 * table_of["shape"][1]
    struct.pack_into("<f", content, at, math.nan)
    with open(os.path.join(out + ".d", "model.safetensors"), "wb") as f:
        f.write(content)
    with open(os.path.join(GOLDENS, "v5-gpt2-lm", "config.json"), encoding="utf-8") as f:
        write(os.path.join(out + ".d", "config.json"), f.read())
    done("convert", "--no-tokenizer", out + ".d", "-o", out, "--allow-nonfinite", "-q")


def refusals():
    refused("bert-mlm: generate needs a decoder that predicts tokens; this model is an encoder",
            "gpt2-lm", "bert-mlm")
    refused("intent: long: line 1: 1202 tokens, but the model has positions for 96",
            "intent", "-d", "long")
    write("empty", "")
    refused("empty: there are no inputs", "intent", "-d", "empty")
    refused("standard input: there are no inputs", "intent", "-d", "-", input="")
    write("ids", "[1, 2]\n[3, 200]\n")
    refused("bert-mlm: ids: line 2: token id 200 at position 1 is outside the model's vocabulary",
            "intent", "bert-mlm", "-d", "ids", "--ids")
    refused("intent: --length is 97, but the model has positions for 96", "words", "intent",
            "--task", "forward", "--length", 97)
    spoil("spoiled", 4)
    write("ids", "[1]\n\n[2]\n[3, 4]\n[1, 2, 3, 4, 5]\n")
    options = ("--max-new-tokens", 1, "-b", 2)
    refused("spoiled: ids: line 5: the model's scores are not finite", "gpt2-lm", "spoiled", "-d",
            "ids", "--ids", *options)
    refused("spoiled: random input 1: the model's scores are not finite", "spoiled", *options)


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    make_models()
    forward()
    data()
    generate()
    table()
    turns()
    interrupted("intent", "--batch-size", 1)
    interrupted("words", "--json")
    refusals()
    os.chdir(ROOT)
finish()
