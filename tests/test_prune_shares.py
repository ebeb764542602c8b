#!/usr/bin/env python3
"""pare-prune by importance from outside: shares, ranking, layers, targets, rounds, repair,
vocabularies, what comes of models whose stacks share layers, and options that would be ignored."""

import json
import os
import random
import sys
import tempfile

import harness
from harness import check

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDENS = os.path.join(ROOT, "tests/data/goldens")


def run(program, *arguments):
    return harness.run("pare-" + program, *arguments)


def done(program, *arguments):
    result = run(program, *arguments)
    check(program + " " + " ".join(arguments), result.returncode == 0, result.stderr)
    return result


def refused(sentence, *arguments, code=2):
    before = sorted(os.listdir("."))
    result = run("prune", *arguments)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Try ")]
    good = result.returncode == code and len(lines) == 1 and sentence in lines[0]
    check("refused: " + sentence, good, "(%d) %s" % (result.returncode, result.stderr))
    check("nothing is left behind", sorted(os.listdir(".")) == before, sentence)


def data(name):
    with open(name, "rb") as f:
        return f.read()


def facts(*arguments):
    return json.loads(done("prune", *arguments, "--json").stdout)


def heads(description, stack="encoder", block="self"):
    return [layer[block]["heads"] for layer in description["description"][stack]["layers"]]


def units(description, stack="encoder"):
    return [layer["ffn"] for layer in description["description"][stack]["layers"]]


def write_data():
    draw = random.Random(1)
    with open("d.jsonl", "w") as f:
        for _ in range(24):
            ids = [draw.randrange(4, 96) for _ in range(draw.randrange(5, 12))]
            f.write(json.dumps({"input_ids": ids, "label": draw.randrange(3)}) + "\n")
    with open("t.jsonl", "w") as f:
        for _ in range(12):
            ids = [draw.randrange(4, 96) for _ in range(draw.randrange(4, 9))]
            labels = [draw.randrange(4, 96) for _ in range(draw.randrange(3, 6))] + [3]
            f.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")


def shares():
    run("convert", os.path.join(GOLDENS, "bert-cls"), "--no-tokenizer", "-q", "-o", "m.pare")
    given = ["m.pare", "--heads", "25%", "--criterion", "gradient", "--data", "d.jsonl"]
    f = facts(*given, "--importance-out", "I.json", "--dry-run")
    check("a head of every layer", heads(f) == [3, 3, 3] and units(f) == [64, 64, 64], str(f))
    scores = json.load(open("I.json"))
    check("the scores' file", scores["criterion"] == "gradient" and len(scores["heads"]) == 3)
    done("prune", *given, "-o", "p.pare", "--plan-out", "p.json")
    plan = json.load(open("p.json"))
    for layer, values in zip(plan["encoder"]["layers"], scores["heads"]):
        low = min(range(4), key=lambda h: (values[h], -h))
        kept = [h for h in range(4) if h != low]
        check("the least important head", layer["self"]["heads"] == kept)
    done("prune", "m.pare", "-q", "-o", "q.pare", "--plan", "p.json", "--data", "d.jsonl")
    check("the plan gives the same bytes", data("p.pare") == data("q.pare"))
    done("prune", *given, "-q", "-o", "r.pare", "--threads", "1")
    check("one thread gives the same bytes", data("p.pare") == data("r.pare"))
    done("prune", *given, "-q", "-o", "n.pare", "--no-repair")
    check("repair changes values", data("p.pare") != data("n.pare"))
    reused = ["m.pare", "--heads", "25%", "--importance", "I.json"]
    done("prune", *reused, "-q", "-o", "i.pare", "--plan-out", "i.json")
    same = json.load(open("i.json"))["encoder"] == plan["encoder"]
    check("scores of the file cut the same", same)
    refused("another model", "p.pare", *reused[1:], "-n")
    f = facts("m.pare", "--ffn", "50%", "-n")
    check("without data: magnitude", f["criterion"] == "magnitude" and units(f) == [32] * 3)
    text = done("prune", "m.pare", "--ffn", "50%", "-n").stdout
    check("the default is told", "importance: magnitude (without data)" in text)
    check("no data, no repair", "repair: none, without data" in text)


def ranked():
    base = ["m.pare", "-n", "--importance", "I.json", "--scope", "global"]
    f = facts(*base, "--heads", "50%", "--ffn", "50%")
    check("half of all", sum(heads(f)) == 6 and sum(units(f)) == 96, str(f))
    check("not of each", len(set(units(f))) > 1)
    scores = json.load(open("I.json"))
    raw = facts(*base, "--ffn", "50%", "--normalize", "none")
    everything = sorted(v for layer in scores["ffn"] for v in layer)
    wanted = [sum(v >= everything[96] for v in layer) for layer in scores["ffn"]]
    check("the lowest of all go", units(raw) == wanted, "%s %s" % (units(raw), wanted))
    f = facts(*base, "--ffn", "60%", "--min-kept", "35%")
    check("a part of each stays", min(units(f)) >= 23 and sum(units(f)) == 77, str(units(f)))
    f = facts("m.pare", "-n", "--ffn", "30%", "--align", "auto")
    check("aligned", units(f) == [48] * 3 and f["aligned"]["ffn"] == 9, str(f))
    f = facts("m.pare", "-n", "--heads", "75%", "--kv-heads", "2")
    check("heads that means can be made of", heads(f) == [2, 2, 2])
    random_ = ["m.pare", "-n", "--ffn", "50%", "--criterion", "random"]
    for seed in ("1", "2"):
        done("prune", *random_, "--seed", seed, "--plan-out", "s%s.json" % seed)
    a, b = (json.load(open("s%d.json" % i))["encoder"] for i in (1, 2))
    check("another seed", a != b)


def lists_and_layers():
    done("prune", "m.pare", "-n", "--heads", "50%", "--heads-list", "0:3;1:0,1,2",
         "--plan-out", "l.json")
    plan = json.load(open("l.json"))["encoder"]["layers"]
    kept = [layer["self"]["heads"] for layer in plan]
    check("lists count towards the share", len(kept[0]) == 2 and 3 not in kept[0]
          and kept[1] == [3] and len(kept[2]) == 2, str(kept))
    scores = json.load(open("I.json"))["layers"]
    f = facts("m.pare", "-n", "--keep-layers", "2", "--importance", "I.json", "--plan-out",
              "k.json")
    kept = [layer["layer"] for layer in json.load(open("k.json"))["encoder"]["layers"]]
    check("the least important layer", sum(kept) == 3 - scores.index(min(scores)), str(kept))
    f = facts("m.pare", "-n", "--width", "25%", "--heads", "50%")
    check("width", f["description"]["encoder"]["width"] == 24 and heads(f) == [2] * 3)
    done("prune", "m.pare", "-q", "-o", "w.pare", "--width", "25%", "--data", "d.jsonl")
    f = facts("m.pare", "-n", "--drop-sublayers", "1.ffn", "--ffn", "50%")
    check("a sublayer that is gone", units(f) == [32, 0, 32])
    lines = done("prune", "m.pare", "-q", "-o", "it.pare", "--heads", "50%", "--ffn", "75%",
                 "--data", "d.jsonl", "--iterations", "3", "--scope", "global", "--keep-layers",
                 "2", "--json").stdout
    f = json.loads(lines)
    check("rounds reach the shares", sum(heads(f)) == 4 and sum(units(f)) == 32, str(f))
    check("repair is told", len(f["repair"]["sublayers"]) == 4, str(f["repair"]))


def reconstructed():
    given = ["m.pare", "--ffn", "50%", "--scope", "global", "--normalize", "none", "--data",
             "d.jsonl", "--criterion", "reconstruct"]
    f = facts(*given, "-o", "rec.pare", "--importance-out", "R.json", "--plan-out", "rec.json")
    check("by reconstruction", f["criterion"] == "reconstruct" and sum(units(f)) == 96)
    after = [line["after"] for line in f["repair"]["sublayers"] if line["place"].endswith("ffn")]
    g = facts("m.pare", "--ffn", "50%", "-n", "--scope", "global", "--normalize", "none",
              "--importance", "R.json")
    check("its scores are read again", units(f) == units(g))
    r = facts("m.pare", "-o", "ran.pare", "--ffn", "50%", "--criterion", "random", "--data",
              "d.jsonl")
    other = [line["after"] for line in r["repair"]["sublayers"] if line["place"].endswith("ffn")]
    check("less is lost than at random", sum(after) < sum(other), "%s %s" % (after, other))


def targets():
    size = os.path.getsize("m.pare")
    goal = size - 20000
    f = facts("m.pare", "-o", "z.pare", "--target-size", str(goal), "--plan-out", "z.json")
    got = os.path.getsize("z.pare")
    check("the size is met, not by far", goal - 8000 < got <= goal, "%d of %d" % (got, goal))
    check("the file is not larger than told", f["bytes"]["f32"] >= got)
    done("prune", "m.pare", "-q", "-o", "y.pare", "--plan", "z.json")
    check("its plan gives the same bytes", data("z.pare") == data("y.pare"))
    f = facts("m.pare", "-o", "z8.pare", "--target-size", "60k", "--for", "int8")
    done("quantize", "z8.pare", "-q", "--to", "int8", "-o", "zq.pare")
    got = os.path.getsize("zq.pare")
    check("in INT8", got <= 60000, str(got))
    f = facts("m.pare", "-n", "--target-size", str(goal), "--heads", "25%")
    check("a share that was given stays", heads(f) == [3, 3, 3] and max(units(f)) < 64)
    f = facts("m.pare", "-n", "--target-size", str(goal), "--cut", "ffn")
    check("only units", heads(f) == [4, 4, 4] and max(units(f)) < 64)
    refused("the smallest that these options allow is", "m.pare", "-n", "--target-size", "1k")
    f = facts("m.pare", "-n", "--target-size", "1G")
    check("nothing needs to go", f["share"] == 0 and heads(f) == [4, 4, 4])
    f = facts("m.pare", "-o", "x.pare", "--target-speedup", "1.2x", "--plan-out", "x.json")
    check("predicted", f["predicted_speedup"] >= 1.2, str(f["predicted_speedup"]))
    done("prune", "m.pare", "-q", "-o", "v.pare", "--plan", "x.json")
    check("the plan of a predicted speed", data("x.pare") == data("v.pare"))
    refused("the most that these options allow is", "m.pare", "-n", "--target-speedup", "1000x")
    text = done("prune", "m.pare", "-n", "--ffn", "50%", "--predict", "--for", "int8").stdout
    check("predicted speed", "predicted speed as int8: " in text)


def dry_runs():
    given = ["m.pare", "--ffn", "50%"]
    text = done("prune", *given, "-n").stdout
    check("a dry run predicts", "predicted speed as f32: " in text, text)
    check("small files in kB", "file: " in text and " kB as f32, " in text, text)
    text = done("prune", *given, "-n", "--for", "int8").stdout
    check("in the format of --for", "predicted speed as int8: " in text, text)
    done("prune", *given, "-q", "-o", "d.pare", "--plan-out", "d.json")
    cases = (("a plan", True, ["m.pare", "-n", "--plan", "d.json"]),
             ("--no-predict", False, [*given, "-n", "--no-predict"]),
             ("a share of nothing", False, ["m.pare", "-n", "--heads", "1%"]),
             ("--predict of it", True, ["m.pare", "-n", "--heads", "1%", "--predict"]),
             ("a model is written", False, [*given, "-o", "e.pare"]))
    for name, wanted, arguments in cases:
        check("predicted: " + name, ("predicted_speedup" in facts(*arguments)) == wanted)
    text = done("prune", "m.pare", "-n", "--positions", "40").stdout
    check("positions are told", "vocabulary 96/96, positions 40/64\n" in text, text)
    check("and not where they stay", "positions" not in done("prune", *given, "-n").stdout)


def shared():
    run("convert", os.path.join(GOLDENS, "bertshare"), "--no-tokenizer", "-q", "-o", "b.pare")
    given = ["b.pare", "--heads", "50%", "--ffn", "50%", "--data", "t.jsonl", "--scope", "global"]
    result = done("prune", *given, "-q", "-o", "c.pare", "--no-repair", "--plan-out", "c.json")
    plan = json.load(open("c.json"))
    pairs = zip(plan["encoder"]["layers"], plan["decoder"]["layers"])
    same = all(e.get("self") == d.get("self") and e.get("ffn") == d.get("ffn") for e, d in pairs)
    check("shared layers are cut alike", same and "warning" not in result.stderr)
    before, after = (done("info", "--tensors", m).stdout for m in ("b.pare", "c.pare"))
    check("and still shared", len(before.splitlines()) == len(after.splitlines())
          and before.count("shares") == after.count("shares"))
    done("prune", *given, "-q", "-o", "cr.pare")
    result = done("prune", "b.pare", "-n", "--heads-list", "enc.0:1")
    check("a list that ends the sharing", "no longer do: the file is" in result.stderr)
    refused("two stacks", "b.pare", "-n", "--keep-layers", "1")
    f = facts("b.pare", "-n", "--keep-layers", "dec=1")
    layers = [len(f["description"][stack]["layers"]) for stack in ("encoder", "decoder")]
    check("layers of one stack", layers[0] > 1 and layers[1] == 1, str(layers))


def vocabulary():
    f = facts("m.pare", "-o", "voc.pare", "--vocabulary", "d.jsonl", "--plan-out", "voc.json")
    rows = f["description"]["encoder"]["vocabulary"]
    check("fewer rows", f["vocabulary"]["used"] <= rows < 96, str(rows))
    done("prune", "m.pare", "-q", "-o", "voc2.pare", "--plan", "voc.json")
    check("a plan with a vocabulary", data("voc.pare") == data("voc2.pare"))
    done("prune", "m.pare", "-q", "-o", "voc3.pare", "--vocabulary", "d.jsonl", "--heads", "50%",
         "--data", "d.jsonl", "--iterations", "2")


def other_tasks():
    cut = ["m.pare", "--heads", "25%", "-o", "other.pare"]
    refused("list of labels", *cut, "--data", "t.jsonl", "--criterion", "activation", code=1)
    refused("list of labels", *cut, "--data", "t.jsonl", "--against", "outputs", code=1)
    refused("list of labels", *cut, "--calibration", "t.jsonl", code=1)
    run("convert", os.path.join(ROOT, "samples/command-intent"), "-q", "-o", "intent.pare")
    with open("pairs.tsv", "w") as f:
        f.write("source\ttarget\nein Haus\ta house\n")
    refused("a target", "intent.pare", "--heads", "25%", "--calibration", "pairs.tsv", "-o",
            "other.pare", code=1)
    with open("texts.tsv", "w") as f:
        f.write("sentence\nwake me at seven\nplay some music\n")
    done("prune", "intent.pare", "-q", "--heads", "25%", "--calibration", "texts.tsv", "-o",
         "texts.pare")


def no_loss():
    for golden, sentence in (("bert-model", "a model without a head has none"),
                             ("bert-qa", "a span head has none")):
        run("convert", os.path.join(GOLDENS, golden), "--no-tokenizer", "-q", "-o",
            golden + ".pare")
        cut = [golden + ".pare", "-n", "--no-predict", "--heads", "25%", "--data", "d.jsonl"]
        for more in ([], ["--criterion", "fisher", "--against", "outputs"]):
            refused(sentence + "; activation, reconstruct, magnitude and random", *cut, *more,
                    code=1)
    with open("ids.jsonl", "w") as f:
        f.writelines(json.dumps({"input_ids": json.loads(line)["input_ids"]}) + "\n"
                     for line in open("d.jsonl"))
    for criterion in ("activation", "reconstruct", "magnitude", "random"):
        done("prune", "bert-qa.pare", "-n", "--no-predict", "--heads", "25%", "--criterion",
             criterion, "--data", "ids.jsonl")


def verbose():
    given = ["m.pare", "--heads", "25%", "--data", "d.jsonl"]
    result = done("prune", *given, "-v", "-o", "verbose.pare")
    lines = result.stderr.splitlines()
    for start in ("reading d.jsonl: ", "importance: ", "repairing: ", "writing: "):
        seconds = [line for line in lines if line.startswith("pare-prune: " + start)]
        check("seconds of " + start, len(seconds) == 1 and seconds[0].endswith(" s"),
              result.stderr)
    scores = [line for line in lines if "importance of encoder layer " in line]
    check("importance of layers", len(scores) == 3 and " heads " in scores[0] and
          " units " in scores[0], result.stderr)
    repaired = [line for line in lines if "relative error of encoder layer " in line]
    check("repair of sublayers", len(repaired) == 6 and " self " in repaired[0], result.stderr)
    check("the report stays", result.stdout == done("prune", *given, "-o", "brief.pare").stdout)
    check("the model stays", data("verbose.pare") == data("brief.pare"))
    quiet = done("prune", *given, "-o", "quiet.pare").stderr
    check("otherwise nothing is said", quiet == "", quiet)


def ignored():
    m = ["m.pare", "-n"]
    cases = {
        "expected less than 100%": ["--heads", "100%"],
        "--data FILE": ["--heads", "25%", "--criterion", "fisher"],
        "--criterion is for": ["--criterion", "magnitude"],
        "expected gradient, taylor": ["--heads", "25%", "--criterion", "guess"],
        "--scope is for": ["--scope", "global"],
        "changes no ranking": ["--heads", "25%", "--normalize", "none"],
        "--min-kept is for": ["--heads-list", "0:1", "--min-kept", "50%"],
        "--align is for": ["--heads-list", "0:1", "--align", "8"],
        "auto or none": ["--heads", "25%", "--align", "zero"],
        "--iterations is for": ["--iterations", "2"],
        "of the whole model": ["--heads", "25%", "--iterations", "2", "--importance", "I.json"],
        "--cut is for": ["--heads", "25%", "--cut", "heads"],
        "expected heads, ffn": ["--target-size", "1M", "--cut", "layers"],
        "--cut heads and --heads": ["--target-size", "1M", "--cut", "heads", "--heads", "25%"],
        "nothing for the target": ["--target-size", "1M", "--ffn", "25%", "--heads", "25%"],
        "contradict each other": ["--target-size", "1M", "--target-speedup", "2x"],
        "expected more than 1": ["--target-speedup", "0.5x"],
        "--for is for": ["--heads", "25%", "--for", "int8", "--no-predict"],
        "needs a --vocabulary": ["--vocabulary-size", "50"],
        "--against is for": ["--heads", "25%", "--against", "outputs"],
        "activation and reconstruct": ["--heads", "25%", "--data", "d.jsonl", "--criterion",
                                       "activation", "--against", "labels"],
        "--batch-size and --batches": ["--heads", "25%", "--batches", "2"],
        "--seed is for": ["--heads", "25%", "--seed", "3"],
        "neither for importance nor for repair": ["--heads", "25%", "--criterion", "magnitude",
                                                  "--no-repair", "--data", "d.jsonl"],
        "--no-repair turns off": ["--heads", "25%", "--no-repair", "--calibration", "d.jsonl"],
        "reconstruct scores heads": ["--width", "25%", "--criterion", "reconstruct", "--data",
                                     "d.jsonl"],
        "--repair needs data": ["--heads", "25%", "--repair"],
        "--ridge and --repair-rows": ["--heads", "25%", "--ridge", "0.1"],
        "are for data files": ["--heads", "25%", "--limit", "3"],
        "are for --data": ["--heads", "25%", "--truncate"],
        "--columns is for TSV": ["--ffn", "1%", "--data", "d.jsonl", "--columns", "text,label",
                                 "--format", "jsonl"],
        "give no other list": ["--plan", "p.json", "--heads", "25%"],
        "and one must stay": ["--keep-layers", "4"],
        "leave -o out": ["-o", "out.pare", "--heads", "25%"],
    }
    for sentence, arguments in cases.items():
        refused(sentence, *m, *arguments)
    refused("the lists leave only 1", *m, "--keep-layers", "2", "--drop-layers", "0,1")
    refused("already", *m, "--heads", "25%", "--plan-out", "p.json", code=1)
    refused("already", *m, "--heads", "25%", "--importance-out", "I.json", code=1)
    refused("is the input", *m, "--heads", "25%", "--importance-out", "m.pare")
    refused("reads rows of", *m, "--heads", "25%", "--data", "t.jsonl", code=1)
    run("quantize", "m.pare", "-q", "--to", "int8", "-o", "m8.pare")
    refused("before it is quantized", "m8.pare", "-n", "--heads", "25%", code=1)
    scores = json.load(open("I.json"))
    scores["heads"][1].append(1)
    json.dump(scores, open("bad.json", "w"))
    refused("bad.json", *m, "--heads", "25%", "--importance", "bad.json", code=1)


def main():
    if not os.access(harness.command("pare-prune")[0], os.X_OK):
        print("pare-prune was not built")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_data()
        for part in (shares, ranked, lists_and_layers, reconstructed, targets, dry_runs, shared,
                     vocabulary, other_tasks, no_loss, verbose, ignored):
            part()
        os.chdir(ROOT)
    harness.finish()


main()
