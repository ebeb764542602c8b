#!/usr/bin/env python3
"""pare-prune from outside: PyTorch's logits after removing heads, plans, what the cut tensors hold,
what comes after pruning, and what is refused."""

import json
import os
import shutil
import sys
import tempfile

import harness
from harness import check

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDENS = os.path.join(ROOT, "tests/data/goldens")
HEADS = os.path.join(ROOT, "tests/data/prune/bert-heads")
CUT = "0:1;1:0,3;2:2"


def run(program, *arguments, text=None):
    return harness.run("pare-" + program, *arguments, input=text)


def done(program, *arguments, **options):
    result = run(program, *arguments, **options)
    check(program + " " + " ".join(arguments[:3]), result.returncode == 0, result.stderr)
    return result.stdout


def refused(sentence, *arguments):
    before = sorted(os.listdir("."))
    result = run("prune", *arguments)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Try ")]
    good = result.returncode in (1, 2) and len(lines) == 1 and sentence in lines[0]
    check("refused: " + sentence, good and sorted(os.listdir(".")) == before, result.stderr)


def logits(model, inputs):
    out = done("run", "logits", model, "--ids", "--json", text=inputs)
    return [json.loads(line)["logits"] for line in out.splitlines()]


def tensors(model):
    lines = done("info", "--tensors", "--sha256", model).splitlines()
    return {line.split("\t")[0]: line.split("\t")[1:] for line in lines}


def golden_inputs():
    with open(os.path.join(HEADS, "golden.json")) as f:
        golden = json.load(f)
    ids, mask = golden["inputs"]["input_ids"], golden["inputs"]["attention_mask"]["data"]
    rows, cols = ids["shape"]
    lines = []
    for r in range(rows):
        pairs = zip(ids["data"][r * cols : (r + 1) * cols], mask[r * cols : (r + 1) * cols])
        lines.append(json.dumps({"input_ids": [i for i, m in pairs if m]}))
    wanted = golden["expected_after_pruning"]["logits"]
    labels = wanted["shape"][1]
    return "\n".join(lines) + "\n", [
        wanted["data"][r * labels : (r + 1) * labels] for r in range(rows)
    ]


def difference(a, b):
    return max(abs(x - y) for p, q in zip(a, b) for x, y in zip(p, q))


def heads():
    inputs, wanted = golden_inputs()
    done("convert", HEADS, "--no-tokenizer", "-q", "-o", "m.pare")
    shown = done("prune", "m.pare", "-o", "p.pare", "--heads-list", CUT, "--plan-out", "plan.json")
    check("three, two and three heads", shown.count("3/4 heads") == 2 and "2/4 heads" in shown)
    got = logits("p.pare", inputs)
    check("PyTorch's logits", difference(got, wanted) < 2e-4, str(difference(got, wanted)))
    done("prune", "m.pare", "-q", "-o", "q.pare", "--plan", "plan.json")
    same = open("p.pare", "rb").read() == open("q.pare", "rb").read()
    check("the plan gives the same bytes", same)
    refused("made for", "p.pare", "-o", "x.pare", "--plan", "plan.json")
    done("quantize", "p.pare", "-o", "p8.pare", "--to", "int8")
    check("INT8 is near", difference(logits("p8.pare", inputs), wanted) < 0.2)
    refused("before it is quantized", "p8.pare", "-o", "x.pare", "--heads-list", "0:0")
    done("export", "p.pare", "-o", "folder", "--format", "safetensors", "--pad-pruned", "-q")
    done("convert", "folder", "--no-tokenizer", "-q", "-o", "padded.pare")
    check("padded computes the same", difference(logits("padded.pare", inputs), got) < 1e-5)
    return inputs


def units_and_layers(inputs):
    before = tensors("m.pare")
    cut = ["--ffn-list", "0:0-15,63;2:5", "--positions", "32"]
    done("prune", "m.pare", "-q", "-o", "f.pare", *cut)
    after = tensors("f.pare")
    check("units", after["encoder.layers.0.ffn.in.weight"][0] == "[47, 32]")
    check("columns of units", after["encoder.layers.2.ffn.out.weight"][0] == "[32, 63]")
    check("positions", after["encoder.embed.positions"][0] == "[32, 32]")
    name = "encoder.layers.1.ffn.in.weight"
    check("others stay", after[name] == before[name])
    done("prune", "m.pare", "-q", "-o", "l.pare", "--drop-layers", "1")
    after = tensors("l.pare")
    names = [n for n in before if n.startswith("encoder.layers.2.")]
    moved = all(after[n.replace("layers.2", "layers.1")] == before[n] for n in names)
    check("the last layer moved up", moved and not any("layers.2." in n for n in after))
    done("prune", "m.pare", "-q", "-o", "s.pare", "--drop-sublayers", "0.self,2.ffn")
    after = tensors("s.pare")
    left = [n for n in after if n.startswith("encoder.layers.0.self")]
    check("a sublayer and its norm are gone", not left)
    for model in ("f.pare", "l.pare", "s.pare"):
        logits(model, inputs)


def encoder_decoder():
    done("convert", os.path.join(GOLDENS, "t5"), "--no-tokenizer", "-q", "-o", "t.pare")
    done("prune", "t.pare", "-q", "-o", "u.pare", "--heads-list", "enc.0:1;dec.1.cross:0")
    after = tensors("u.pare")
    shape = after["encoder.layers.0.self.relative"][0]
    whole = after["encoder.layers.1.self.relative"][0]
    check("biases follow their heads", shape != whole, shape + whole)
    done("prune", "t.pare", "-q", "-o", "k.pare", "--kv-heads", "1")
    text = '{"input_ids": [3, 5, 7, 1]}\n'
    check("one key/value head runs", done("run", "generate", "k.pare", "--ids", text=text) != "")
    done("prune", "t.pare", "-q", "-o", "d.pare", "--kv-heads", "dec=1")
    all_one, only_decoder = tensors("k.pare"), tensors("d.pare")
    for name, same in (("encoder.layers.1.self.key.weight", after),
                       ("decoder.layers.1.self.key.weight", all_one),
                       ("decoder.layers.0.cross.value.weight", all_one)):
        check("key/value heads of one stack: " + name, only_decoder[name][0] == same[name][0])
    check("and not of the other", all_one["encoder.layers.1.self.key.weight"][0] !=
          only_decoder["encoder.layers.1.self.key.weight"][0])
    refused("no multiple of 3", "t.pare", "-o", "x.pare", "--kv-heads", "enc=1,dec=3")
    refused("names twice the decoder", "t.pare", "-o", "x.pare", "--kv-heads", "dec=1,dec=1")
    refused("two stacks", "t.pare", "-o", "x.pare", "--heads-list", "0:1")


def exported(model, name):
    folder = "folder-" + model
    done("export", model, "-o", folder, "--format", "safetensors", "-q", "--force")
    with open(os.path.join(folder, name)) as f:
        return json.load(f)


def positions():
    done("convert", os.path.join(ROOT, "samples/number-words"), "-q", "-o", "nw.pare")
    result = run("prune", "nw.pare", "-o", "np.pare", "--positions", "40")
    check("shorter lengths are told", "max_length" in result.stderr and "96" in result.stderr and
          result.returncode == 0, result.stderr)
    said = done("run", "generate", "np.pare", text="$1,204.50\n")
    wanted = "one thousand two hundred four dollars and fifty cents\n"
    check("fewer positions still generate", said == wanted, said)
    for name in ("config.json", "generation_config.json"):
        check("max_length of " + name, exported("np.pare", name)["max_length"] == 40)
    result = run("prune", "nw.pare", "-o", "enough.pare", "--positions", "95")
    check("what can be met stays", result.stderr == "", result.stderr)
    check("and is not told", exported("enough.pare", "config.json")["max_length"] == 96)


def new_tokens():
    shutil.copytree(os.path.join(GOLDENS, "gpt2-lm"), "gpt2")
    with open("gpt2/generation_config.json", "w") as f:
        json.dump({"eos_token_id": 2, "max_new_tokens": 50}, f)
    done("convert", "gpt2", "--no-tokenizer", "-q", "-o", "g.pare")
    result = run("prune", "g.pare", "-o", "gp.pare", "--positions", "16")
    check("fewer new tokens are told", "max_new_tokens" in result.stderr, result.stderr)
    done("run", "generate", "gp.pare", "--ids", text='{"input_ids": [5]}\n')
    check("max_new_tokens", exported("gp.pare", "generation_config.json")["max_new_tokens"] == 16)


def plan_of(model, *cut):
    done("prune", model, "-q", "-n", *cut, "--plan-out", "of.json", "--force")
    return json.load(open("of.json"))


def refused_plan(sentence, plan):
    with open("bad.json", "w") as f:
        json.dump(plan, f)
    refused(sentence, "m.pare", "-o", "x.pare", "--plan", "bad.json")


def removed_sublayers(inputs):
    done("prune", "m.pare", "-q", "-o", "gone.pare", "--drop-sublayers", "0.self,2.ffn",
         "--plan-out", "gone.json")
    layers = json.load(open("gone.json"))["encoder"]["layers"]
    wanted = [{"layer": 0, "self": None}, {"layer": 1}, {"layer": 2, "ffn": None}]
    check("a removed sublayer is null", layers == wanted, str(layers))
    done("prune", "m.pare", "-q", "-o", "again-gone.pare", "--plan", "gone.json")
    same = open("gone.pare", "rb").read() == open("again-gone.pare", "rb").read()
    check("its plan gives the same bytes", same)
    logits("again-gone.pare", inputs)
    plan = plan_of("m.pare", "--heads-list", "1:0")
    layer = plan["encoder"]["layers"][1]
    layer["self"]["heads"] = []
    refused_plan('nothing of "self"; "self":null would remove', plan)
    layer["self"], layer["ffn"] = None, []
    refused_plan('nothing of "ffn"; "ffn":null would remove', plan)
    layer["ffn"] = {}
    refused_plan("must be a list", plan)
    layer["ffn"], layer["self"] = [1], []
    refused_plan("must be an object", plan)


def whose_plan():
    plan = plan_of("m.pare", "--heads-list", "0:1")
    own = plan.pop("model_sha256")
    refused_plan('"model_sha256" is missing', plan)
    plan["model_sha256"] = None
    refused_plan('"model_sha256" is missing', plan)
    plan["model_sha256"] = "0" * len(own)
    refused_plan("for another model", plan)


def nothing_to_do():
    for options in ([], ["--heads", "0%"], ["--ffn", "0", "--width", "0%"]):
        refused("nothing is to be cut", "m.pare", "-o", "x.pare", *options)
        done("prune", "m.pare", "-n", *options)
    done("prune", "m.pare", "-q", "-o", "same.pare", "--plan-out", "whole.json")
    done("prune", "m.pare", "-q", "-o", "again.pare", "--plan", "whole.json")
    done("prune", "m.pare", "-q", "-o", "scored.pare", "--importance-out", "magnitude.json")
    for share, told in (("1%", True), ("25%", False)):
        result = run("prune", "m.pare", "-o", "round.pare", "--force", "--heads", share)
        check("a share that rounds to nothing: " + share, result.returncode == 0 and
              ("nothing is cut" in result.stderr) == told, result.stderr)
    refused("no table of positions", "t.pare", "-o", "x.pare", "--positions", "5")
    refused("the model has 64", "m.pare", "-o", "x.pare", "--positions", "65")
    refused("expected fewer", "m.pare", "-o", "x.pare", "--positions", "64")


def bad():
    refused("does not exist", "m.pare", "-o", "x.pare", "--heads-list", "0:4")
    refused("does not exist", "m.pare", "-o", "x.pare", "--drop-layers", "3")
    refused("--drop-sublayers", "m.pare", "-o", "x.pare", "--heads-list", "0:0-3")
    refused("named twice", "m.pare", "-o", "x.pare", "--drop-layers", "1,1")
    for stack, cut in (("m", "0,1,2"), ("t", "dec.0,dec.1,dec.2")):
        refused("one must stay", stack + ".pare", "-o", "x.pare", "--drop-layers", cut)
    refused("layer 0: head 1 is named twice", "m.pare", "-o", "x.pare", "--heads-list", "0:1,1")
    refused("layer 2: unit 5 is named twice", "m.pare", "-o", "x.pare", "--ffn-list",
            "0:5;2:4-6,5")
    refused("unit 99999999999 does not exist", "m.pare", "-o", "x.pare", "--ffn-list",
            "0:0-99999999999")
    refused("':' and numbers", "m.pare", "-o", "x.pare", "--ffn-list", "0")
    refused("no multiple", "m.pare", "-o", "x.pare", "--kv-heads", "3")
    refused("has no decoder", "m.pare", "-o", "x.pare", "--kv-heads", "dec=1")
    for text in ("0", "x", "", "enc=", "99999999999"):
        refused("expected a number, 1 or more", "m.pare", "-o", "x.pare", "--kv-heads", text)
    both = ["--plan", "plan.json", "--positions", "3"]
    refused("give no other list", "m.pare", "-o", "x.pare", *both)
    refused("the output is the input", "m.pare", "-o", "m.pare", "--force", "--drop-layers", "1")
    refused("--force", "m.pare", "-o", "p.pare", "--drop-layers", "1")
    refused("no output", "m.pare", "--drop-layers", "1")
    plan = json.load(open("plan.json"))
    plan["encoder"]["layers"][0]["head"] = [1]
    json.dump(plan, open("bad.json", "w"))
    refused('unknown member "head"', "m.pare", "-o", "x.pare", "--plan", "bad.json")
    del plan["encoder"]["layers"][0]["head"]
    plan["encoder"]["layers"][1]["self"]["heads"] = [2, 1]
    json.dump(plan, open("bad.json", "w"))
    refused("must ascend", "m.pare", "-o", "x.pare", "--plan", "bad.json")
    plan["encoder"]["layers"] = []
    json.dump(plan, open("bad.json", "w"))
    refused("bad.json: encoder: no layer is kept", "m.pare", "-o", "x.pare", "--plan", "bad.json")
    json.dump({}, open("bad.json", "w"))
    refused("this is no plan", "m.pare", "-o", "x.pare", "--plan", "bad.json")


def main():
    if not os.access(harness.command("pare-prune")[0], os.X_OK):
        print("pare-prune was not built")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        inputs = heads()
        units_and_layers(inputs)
        encoder_decoder()
        positions()
        new_tokens()
        removed_sublayers(inputs)
        whose_plan()
        nothing_to_do()
        bad()
        os.chdir(ROOT)
    harness.finish()


main()
