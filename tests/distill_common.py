"""What the tests of pare-distill share: running programs, fixtures, and counting checks.

They run in the root of the repository; programs are in $PARE_BIN. Everything is made in a folder of
its own, which is gone at the end.
"""

import atexit
import glob
import json
import os
import shutil
import subprocess
import tempfile

PROGRAMS = os.path.abspath(os.environ.get("PARE_BIN", "build/bin"))
ROOT = os.getcwd()
FOLDER = tempfile.mkdtemp(prefix="distill-")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
counts = {"passed": 0, "failed": 0}


def check(what, condition, more=""):
    if condition:
        counts["passed"] += 1
    else:
        counts["failed"] += 1
        print(f"FAILED: {what} {more}".rstrip(), flush=True)
    return bool(condition)


def finish():
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    raise SystemExit(counts["failed"] > 0)


def path(name):
    return os.path.join(FOLDER, name)


def read(name):
    with open(path(name), "rb") as f:
        return f.read()


def exists(name):
    return os.path.exists(path(name))


def command(program, *arguments):
    return [os.path.join(PROGRAMS, program), *map(str, arguments)]


def run(program, *arguments, **more):
    """Runs a program in the test's folder."""
    return subprocess.run(command(program, *arguments), capture_output=True, text=True, check=False,
                          cwd=FOLDER, stdin=subprocess.DEVNULL, encoding="utf-8", **more)


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
