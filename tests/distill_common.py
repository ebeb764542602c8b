"""What the tests of pare-distill share: fixtures, and a folder in which all is made and programs
run, which is gone at the end.
"""

import atexit
import glob
import json
import os
import shutil
import subprocess
import tempfile

import harness
from harness import check, command, finish  # noqa: F401 (for those who import this)

ROOT = os.getcwd()
FOLDER = tempfile.mkdtemp(prefix="distill-")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def path(name):
    return os.path.join(FOLDER, name)


def read(name):
    with open(path(name), "rb") as f:
        return f.read()


def exists(name):
    return os.path.exists(path(name))


def run(program, *arguments, **more):
    """Runs a program in the test's folder."""
    return harness.run(program, *arguments, cwd=FOLDER, stdin=subprocess.DEVNULL, **more)


def succeeds(what, program, *arguments, **more):
    """Runs a program that must end well; the result."""
    result = run(program, *arguments, **more)
    check(what, result.returncode == 0, f"({result.returncode}): {result.stderr.strip()[:300]}")
    return result


def convert(folder, name):
    succeeds(f"convert {folder}", "pare-convert", os.path.join(ROOT, folder), "-o", name,
             *([] if glob.glob(os.path.join(folder, "*voc*")) else ["--no-tokenizer"]))


def lines(name):
    """The objects of a file of JSON lines."""
    if not exists(name):
        return []
    with open(path(name), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def steps(name):
    """The lines of a log that are about steps."""
    return [line for line in lines(name) if "loss" in line]


def scores(name):
    return [line["validation"] for line in lines(name) if "validation" in line]


def rows(tensor):
    width = tensor["shape"][1]
    return [tensor["data"][i : i + width] for i in range(0, len(tensor["data"]), width)]


def golden(name):
    with open(f"tests/data/train/{name}/golden.json", encoding="utf-8") as f:
        return json.load(f)


def golden_data(name, out):
    """The batch of a golden as training data; returns the golden."""
    g = golden(name)
    ids = rows(g["inputs"]["input_ids"])
    mask = g["inputs"].get("attention_mask")
    masks = rows(mask) if mask else [[1] * len(r) for r in ids]
    labels = g["labels"]
    targets = labels["data"] if len(labels["shape"]) == 1 else rows(labels)
    key = "label" if len(labels["shape"]) == 1 else "labels"
    with open(path(out), "w", encoding="utf-8") as f:
        for row, m, target in zip(ids, masks, targets):
            f.write(json.dumps({"input_ids": row, "attention_mask": m, key: target}) + "\n")
    return g


def make_data(job, split, count, out):
    """Rows of the samples' data."""
    program = path("make-data")
    if not os.path.exists(program):
        compiler = os.environ.get("CC") or "cc"
        sources = ["samples/make-data.c", *sorted(glob.glob("samples/data-*.c"))]
        subprocess.run([compiler, "-std=c11", "-O1", "-o", program, *sources], check=True)
    with open(path(out), "wb") as f:
        subprocess.run([program, job, "--split", split, "--rows", str(count)], stdout=f, check=True)
