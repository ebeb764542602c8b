#!/usr/bin/env python3
"""Every method of pare-distill on the two trained samples: the loss falls, the scores come back,
and the student goes on through the other programs."""

import json
import math
import os
import pty
import shutil
import struct
import subprocess

from distill_common import (FOLDER, check, command, convert, exists, finish, lines, make_data, path,
                            read, run, scores, steps, succeeds)

WORDS = ["--teacher", "words.pare", "--data", "words.tsv"]
INTENT = ["--teacher", "intent.pare", "--data", "intent.tsv"]


def mean(values):
    return sum(values) / len(values)


def falls(name, share=0.9):
    """The last losses are below the first by this factor."""
    log = [s["loss"] for s in steps(f"{name}.log")]
    ok = len(log) >= 20 and all(map(math.isfinite, log)) and mean(log[-5:]) < share * mean(log[:5])
    check(f"{name}: the loss falls", ok, (mean(log[:5]), mean(log[-5:])) if log else "no log")


def distill(name, *options):
    succeeds(f"{name}: trains", "pare-distill", *options, "-o", f"{name}.pare", "--log-json",
             f"{name}.log")
    check(f"{name}: no checkpoint is left", not exists(f"{name}.pare.training"))


def layers(name):
    out = succeeds(f"{name}: pare-info", "pare-info", "--tensors", f"{name}.pare").stdout
    words = [line.split()[0].split(".") for line in out.splitlines() if ".layers." in line]
    return [len({w[2] for w in words if w[0] == stack}) for stack in ("encoder", "decoder")]


def goes_on(name, command, data, limit):
    """INT8, its self-test, a verification against the student, and a run."""
    succeeds(f"{name}: quantizes", "pare-quantize", f"{name}.pare", "-o", f"{name}.int8.pare",
             "--to", "int8", "-q")
    succeeds(f"{name}: self-test", "pare-run", "--self-test", f"{name}.int8.pare")
    succeeds(f"{name}: verifies", "pare-verify", "-r", f"{name}.pare", f"{name}.int8.pare", "-d",
             data, "--max-drop", limit)
    answers = succeeds(f"{name}: runs", "pare-run", command, f"{name}.int8.pare", "-i", data,
                       "--limit", 5, "--json").stdout
    check(f"{name}: answers", len(answers.splitlines()) == 5)


# ---- The sample that writes texts --------------------------------------------------------------

def check_sft():
    distill("sft", "--method", "sft", *WORDS, "--layers", "enc=3,dec=1", "--steps", 90, "--lr",
            2e-3, "--validation", "wordsdev.tsv", "--log-gradients")
    falls("sft", 0.5)
    check("sft: three layers and one", layers("sft") == [3, 1])
    check("sft: the best BLEU", max(s["bleu"] for s in scores("sft.log")) > 20)
    gradients = next(line["gradients"] for line in lines("sft.log") if "gradients" in line)
    check("sft: a whole encoder is frozen", gradients and
          not [n for n in gradients if n.startswith("encoder.")], list(gradients)[:3])
    goes_on("sft", "generate", "wordsdev.tsv", "bleu=3")


def check_kd():
    distill("kd", "--method", "kd", *WORDS, "--layers", "enc=2,dec=1", "--steps", 60, "--lr", 2e-3,
            "--hidden-weight", 1, "--attention-weight", 1, "--train-encoder", "--validation",
            "wordsdev.tsv", "--metric", "perplexity", "--eval-every", 20)
    falls("kd", 0.6)
    log, seen = steps("kd.log"), scores("kd.log")
    for term in "soft", "hidden", "attention":
        first, last = ([s[term] for s in log[:5]], [s[term] for s in log[-5:]])
        check(f"kd: {term} falls", mean(last) < 0.95 * mean(first), (mean(first), mean(last)))
    terms = max(abs(s["loss"] - s["label"] - s["soft"] - s["hidden"] - s["attention"]) for s in log)
    check("kd: the terms add up", terms < 1e-5, terms)
    check("kd: evaluated every 20 steps", len(seen) == 3)
    check("kd: no texts are written for perplexity", all("bleu" not in s for s in seen))
    check("kd: perplexity falls", seen[-1]["perplexity"] < seen[0]["perplexity"])


def check_pseudo():
    options = ["--method", "pseudo", *WORDS, "--layers", "enc=3,dec=1", "--num-beams", 2, "--limit",
               150, "--mix", "--steps", 40, "--lr", 2e-3, "--pseudo-labels", "texts.jsonl"]
    distill("pseudo", *options)
    falls("pseudo", 0.7)
    texts = lines("texts.jsonl")
    check("pseudo: a text an example", len(texts) == 150 and all(t["labels"] for t in texts))
    provenance = json.loads(read("texts.jsonl.provenance.json"))
    check("pseudo: the provenance has the settings", provenance["generation"]["num_beams"] == 2)

    before = read("texts.jsonl")
    with open(path("texts.jsonl"), "wb") as f: # as if it had been interrupted in a line
        f.write(before[: before.index(b"\n", len(before) // 2) + 9])
    distill("pseudo2", *options)
    check("pseudo: gone on with, the same texts", read("texts.jsonl") == before)
    check("pseudo: the same student", read("pseudo.pare") == read("pseudo2.pare"))
    other = run("pare-distill", "--method", "pseudo", "--teacher", "sft.pare", *options[4:], "-o",
                "other.pare")
    check("pseudo: texts of another teacher are refused",
          other.returncode == 2 and "was written by another teacher" in other.stderr, other.stderr)
    beams = [3 if o == 2 else o for o in options]
    other = run("pare-distill", *beams, "-o", "other.pare")
    check("pseudo: texts of other settings are refused", other.returncode == 2, other.stderr)
    distill("taken", "--method", "sft", "--teacher", "words.pare", "--data", "texts.jsonl",
            "--layers", "enc=3,dec=1", "--steps", 20)


def check_both():
    distill("both", "--method", "kd,pseudo", *WORDS, "--layers", "enc=2,dec=2", "--limit", 60,
            "--steps", 25, "--lr", 2e-3, "--max-length", 40)
    falls("both", 0.8)


def check_generation():
    """Texts are written late: what cannot be written is known before the first step."""
    for length in 1, 100000:
        log = f"length{length}.log"
        refused = run("pare-distill", "--student", "words.pare", "--data", "words.tsv", "--steps",
                      2, "--validation", "wordsdev.tsv", "--max-length", length, "-o", "other.pare",
                      "--log-json", log)
        check(f"generation: a length of {length} is refused", refused.returncode == 1 and
              "validation by bleu: " in refused.stderr, refused.stderr)
        check(f"generation: {length} before it trains", not steps(log))
    refused = run("pare-distill", "--method", "pseudo", *WORDS, "--layers", "enc=3,dec=1",
                  "--max-length", 1, "-o", "other.pare")
    check("generation: pseudo-labels are refused", refused.returncode == 1 and
          "pseudo-labels of words.pare: " in refused.stderr, refused.stderr)
    check("generation: and leave no file", not exists("other.pare.pseudo.jsonl") and
          not exists("other.pare.pseudo.jsonl.provenance.json"))


def check_noise():
    distill("noise", "--method", "sft", *WORDS, "--layers", "enc=2,dec=2", "--steps", 70, "--lr",
            2e-3, "--layerdrop", 0.1, "--quant-noise", 0.5, "--quant-activations",
            "--label-smoothing", 0.1)
    falls("noise", 0.8)
    goes_on("noise", "generate", "wordsdev.tsv", "bleu=3")


def check_optimizers():
    for name, options in {
        "adafactor": ["--optimizer", "adafactor"],
        "adafactor-lr": ["--optimizer", "adafactor", "--lr", 5e-3, "--no-scale-parameter",
                         "--beta1", 0.9],
        "sgd": ["--optimizer", "sgd", "--lr", 0.1, "--momentum", 0.9, "--nesterov"],
        "cosine": ["--lr", 2e-3, "--schedule", "cosine", "--warmup", 3, "--min-lr", "10%",
                   "--average", 0.9],
    }.items():
        distill(name, "--method", "sft", *WORDS, "--layers", "enc=3,dec=1", "--steps", 25, *options)
        falls(name, 0.8)
    rates = [s["lr"] for s in steps("cosine.log")]
    check("cosine: warm-up, then down", rates[0] == 0 and rates[3] == 2e-3 and
          all(a >= b for a, b in zip(rates[3:], rates[4:])) and rates[-1] >= 2e-4, rates)
    rates = [s["lr"] for s in steps("adafactor.log")]
    check("adafactor: the rate that it sets itself", rates[:25] == [0.01] * 25, rates[:3])


# ---- The sample that classifies ----------------------------------------------------------------

def check_intent():
    distill("intent-sft", "--method", "sft", *INTENT, "--layers", "0+2", "--epochs", 3,
            "--validation", "intentdev.tsv", "--lr", 1e-3)
    seen = scores("intent-sft.log")
    check("intent: an evaluation an epoch", len(seen) == 3)
    check("intent: accuracy", max(s["accuracy"] for s in seen) > 0.85, seen)
    check("intent: two layers", layers("intent-sft") == [2, 0])
    goes_on("intent-sft", "classify", "intentdev.tsv", "accuracy=2")


def check_intent_kd():
    """From an INT8 teacher, and without labels."""
    succeeds("teacher in INT8", "pare-quantize", "intent.pare", "-o", "intent8.pare", "--to",
             "int8", "-q")
    with open(path("intent.tsv"), encoding="utf-8") as f:
        texts = [line.split("\t")[0] for line in f][1:]
    with open(path("intent.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(texts) + "\n")
    distill("intent-kd", "--method", "kd", "--teacher", "intent8.pare", "--student",
            "intent-sft.pare", "--data", "intent.txt", "--steps", 40, "--lr", 1e-3, "--metric",
            "f1", "--validation", "intentdev.tsv", "--hidden-weight", 0.1, "--soft-weight", 1)
    falls("intent-kd", 0.95)
    check("intent-kd: no label is known", all(s["label"] == 0 for s in steps("intent-kd.log")))
    check("intent-kd: f1", scores("intent-kd.log")[-1]["f1"] > 0.85)
    refused = run("pare-distill", "--method", "sft", "--teacher", "intent8.pare", "--layers", 1,
                  "--data", "intent.tsv", "-o", "other.pare")
    check("a student of INT8 layers is refused", refused.returncode == 1 and "is INT8" in
          refused.stderr, refused.stderr)


# ---- A value instead of a label ----------------------------------------------------------------

def make_regressor(out):
    """The sample that classifies, with one score that is zero at first."""
    shutil.copytree("samples/command-intent", path(out))
    with open(path(f"{out}/model.safetensors"), "rb") as f:
        data = f.read()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:begin])
    blobs, at = [], 0
    for name in (n for n in header if n != "__metadata__"):
        old = header[name]["data_offsets"]
        blob = data[begin + old[0] : begin + old[1]]
        if name.startswith("classifier."):
            header[name]["shape"][0] = 1
            blob = bytes(4 * math.prod(header[name]["shape"]))
        blobs.append(blob)
        header[name]["data_offsets"] = [at, at + len(blob)]
        at += len(blob)
    text = json.dumps(header).encode()
    with open(path(f"{out}/model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    with open(path(f"{out}/config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.update(id2label={"0": "words"}, label2id={"words": 0})
    with open(path(f"{out}/config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)


def make_values(name, out):
    """Rows of a text and a tenth of the number of its label."""
    with open(path(name), encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f][1:]
    with open(path(out), "w", encoding="utf-8") as f:
        f.write("sentence\tlabel\n" + "".join(f"{t}\t{int(v) / 10}\n" for t, v in rows))


def check_regression():
    make_regressor("regressor")
    convert(path("regressor"), "regressor.pare")
    make_values("intent.tsv", "values.tsv")
    make_values("intentdev.tsv", "valuesdev.tsv")
    options = ["--data", "values.tsv", "--validation", "valuesdev.tsv", "--steps", 60, "--lr", 1e-3]
    distill("value", "--student", "regressor.pare", "--metric", "pearson", *options)
    falls("value", 0.5)
    last = scores("value.log")[-1]
    check("value: correlations", last["pearson"] > 0.8 and last["spearman"] > 0.8, last)
    check("value: no accuracy", "accuracy" not in last and
          all("accuracy" not in s for s in steps("value.log")))
    distill("value-kd", "--method", "kd", "--teacher", "value.pare", "--layers", "0+2",
            "--hidden-weight", 0.1, *options)
    falls("value-kd", 0.5)
    check("value-kd: correlation", scores("value-kd.log")[-1]["pearson"] > 0.8,
          scores("value-kd.log"))
    refused = run("pare-distill", "--student", "regressor.pare", "--metric", "accuracy", *options,
                  "-o", "other.pare")
    check("value: accuracy is refused", refused.returncode == 2 and
          "--metric accuracy: cannot be had" in refused.stderr, refused.stderr)


def check_tokenizers():
    """Two words of the vocabulary change places: the same ids no longer mean the same."""
    shutil.copytree("samples/command-intent", path("swapped"))
    with open(path("swapped/vocab.txt"), "r+", encoding="utf-8") as f:
        words = f.read().split("\n")
        a, b = words.index("the"), words.index("me")
        words[a], words[b] = words[b], words[a]
        f.seek(0)
        f.write("\n".join(words))
    succeeds("swapped: converts", "pare-convert", "swapped", "-o", "swapped.pare")
    refused = run("pare-distill", "--method", "kd", "--teacher", "swapped.pare", "--student",
                  "intent.pare", "--data", "intent.tsv", "-o", "other.pare")
    check("a teacher with another tokenizer is refused", refused.returncode == 2 and
          "give different token ids" in refused.stderr, refused.stderr)


EVALUATIONS = ["--student", "intent-sft.pare", "--data", "intent.tsv", "--validation",
               "intentdev.tsv", "--lr", 0, "--eval-every", 4, "--steps", 8]
NOTES = ["pare-distill: step 4 of 8: accuracy {0}, the best so far",
         "pare-distill: step 8 of 8: accuracy {0} (best: {0} at step 4)"]


def check_notes():
    """Scores are told as they come. With a rate of zero the first one stays the best."""
    result = succeeds("notes: trains", "pare-distill", *EVALUATIONS, "-o", "notes.pare",
                      "--log-json", "notes.log")
    accuracy = f"{scores('notes.log')[0]['accuracy']:.4f}"
    check("notes: a line an evaluation", result.stderr.splitlines() ==
          [n.format(accuracy) for n in NOTES], result.stderr)
    quiet = succeeds("notes: trains quietly", "pare-distill", *EVALUATIONS, "-o", "notes.pare",
                     "-fq")
    check("notes: --quiet says nothing", quiet.stderr + quiet.stdout == "", quiet.stderr)
    more = succeeds("notes: trains and says more", "pare-distill", *EVALUATIONS, "-o", "notes.pare",
                    "-fv").stderr
    check("notes: --verbose has every metric", all(f", {name} " in more or f"; {name} " in more
          for name in ("loss", "f1", "matthews")) and accuracy in more, more)
    check("notes: --verbose says how much is trained and where it is saved",
          "8 steps" in more and "notes.pare.training" in more, more)


def check_terminal():
    """Notes and the progress line do not get into each other's way."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(command("pare-distill", *EVALUATIONS, "-o", "notes.pare", "-f"),
                               cwd=FOLDER, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=end, env={**os.environ, "TERM": "xterm"})
    os.close(end)
    text = b""
    try:
        while part := os.read(terminal, 4096):
            text += part
    except OSError: # how a terminal says that nobody writes any more
        pass
    os.close(terminal)
    check("terminal: trains", process.wait() == 0, text)
    seen = [line.split("\r\x1b[K")[-1] for line in text.decode().split("\r\n")]
    check("terminal: progress is shown", "training: " in text.decode(), text)
    check("terminal: lines stand alone", seen[-1] == "" and len(seen) == 3 and all(
          s.startswith(n.split("{")[0]) for s, n in zip(seen, NOTES)), seen)


def check_patience():
    """With a rate of zero nothing gets better: the first evaluation stays the best."""
    result = succeeds("patience: trains", "pare-distill", "--student", "intent-sft.pare", "--data",
                      "intent.tsv", "--validation", "intentdev.tsv", "--lr", 0, "--eval-every", 2,
                      "--patience", 2, "--steps", 50, "--json", "-o", "patience.pare")
    report = json.loads(result.stdout)
    check("patience: stops after two that are no better",
          report["stopped_early"] and report["steps"] == 6 and report["best_step"] == 2, report)


make_data("words", "train", 600, "words.tsv")
make_data("words", "dev", 80, "wordsdev.tsv")
make_data("intent", "train", 500, "intent.tsv")
make_data("intent", "dev", 100, "intentdev.tsv")
convert("samples/number-words", "words.pare")
convert("samples/command-intent", "intent.pare")
check_sft()
check_kd()
check_pseudo()
check_both()
check_generation()
check_noise()
check_optimizers()
check_intent()
check_intent_kd()
check_regression()
check_tokenizers()
check_notes()
check_terminal()
check_patience()
finish()
