#!/usr/bin/env python3
"""pare-distill in several processes: the curve of one, the same pseudo-labels, and an end of all
when one fails. Skipped where there is no mpirun (tools/setup.sh mpi installs it)."""

import os
import shutil
import signal
import subprocess
import time

from distill_common import (FOLDER, check, convert, exists, finish, golden_data,
                            make_data, path, read, run, scores, steps, succeeds)

if not shutil.which("mpirun"):
    print("mpirun is missing (tools/setup.sh mpi installs it)")
    raise SystemExit(77)
if subprocess.run(["pkg-config", "--exists", "ompi-c"], check=False).returncode != 0:
    print("the library ompi-c is missing (tools/setup.sh mpi installs it)")
    raise SystemExit(77)

PROGRAM = os.path.join("build", "gcc-O2-mpi", "pare-distill")
LAUNCH = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np"]
# Of the make that runs the tests, and of a launcher that started us.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if not name.startswith(("MAKE", "MFLAGS", "OMPI_", "PMIX_"))}
ENVIRONMENT["OMPI_MCA_btl_vader_single_copy_mechanism"] = "none" # containers forbid the other way


def build():
    result = subprocess.run(["make", "--no-print-directory", "CC=gcc", "MPI=1", PROGRAM],
                            capture_output=True, text=True, check=False, env=ENVIRONMENT)
    return check("builds with MPI=1", result.returncode == 0, result.stderr[-500:])


def launch(ranks, *options):
    return subprocess.run([*LAUNCH, str(ranks), os.path.abspath(PROGRAM), *map(str, options)],
                          capture_output=True, text=True, check=False, cwd=FOLDER, env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, timeout=120)


def launched(what, ranks, *options):
    result = launch(ranks, *options)
    check(what, result.returncode == 0, result.stderr[-500:])
    return result


def farthest(one, other):
    pairs = [(a["loss"], b["loss"]) for a, b in zip(steps(one), steps(other))]
    same_length = len(steps(one)) == len(steps(other)) > 0
    return max(abs(a - b) / a for a, b in pairs) if same_length else float("inf")


# Random numbers depend on where a row stands in the whole batch, not on who works on it.
TRAIN = ["--student", "words.pare", "--data", "train.tsv", "--batch-size", 16, "--dropout", 0.1,
         "--attention-dropout", 0.1, "--layerdrop", 0.1, "--lr", 1e-3, "--steps", 25]


def check_curve():
    options = [*TRAIN, "--validation", "dev.tsv", "--metric", "loss", "--eval-every", 10]
    succeeds("one process", "pare-distill", *options, "-o", "one.pare", "--log-json", "one.log")
    launched("one rank", 1, *options, "-o", "rank.pare", "--log-json", "rank.log")
    check("one rank is one process", read("one.pare") == read("rank.pare"))
    for ranks in 2, 3:
        name = f"ranks{ranks}"
        result = launched(name, ranks, *options, "-o", f"{name}.pare", "--log-json", f"{name}.log",
                          "--json")
        far = farthest("one.log", f"{name}.log")
        check(f"{name}: the curve of one process", far <= 1e-4, far)
        check(f"{name}: one report", len(result.stdout.splitlines()) == 1, result.stdout)
        check(f"{name}: the scores of one process", [round(s["loss"], 3) for s in
              scores("one.log")] == [round(s["loss"], 3) for s in scores(f"{name}.log")])
    launched("again", 2, *options, "-o", "again.pare")
    check("the same bytes twice", read("again.pare") == read("ranks2.pare"))


def check_few():
    """Fewer examples than ranks: somebody has nothing to do."""
    launched("two examples, three ranks", 3, *TRAIN, "--limit", 2, "-o", "few.pare")


def check_accumulated():
    golden_data("bert-cls", "tiny.jsonl")
    convert("tests/data/train/bert-cls", "tiny.pare")
    options = ["--student", "tiny.pare", "--data", "tiny.jsonl", "--batch-size", 3, "--accumulate",
               2, "--quant-noise", 0.5, "--steps", 12]
    succeeds("accumulates", "pare-distill", *options, "-o", "a.pare", "--log-json", "a.log")
    launched("accumulates in two", 2, *options, "-o", "b.pare", "--log-json", "b.log")
    far = farthest("a.log", "b.log")
    check("accumulated: the curve of one process", far <= 1e-4, far)


def check_pseudo():
    options = ["--method", "pseudo", "--teacher", "words.pare", "--layers", "enc=3,dec=1", "--data",
               "train.tsv", "--limit", 70, "--steps", 3, "--num-beams", 2]
    succeeds("pseudo-labels of one", "pare-distill", *options, "-o", "p1.pare")
    launched("pseudo-labels of two", 2, *options, "-o", "p2.pare")
    texts = read("p1.pare.pseudo.jsonl")
    check("pseudo-labels: the same file", texts == read("p2.pare.pseudo.jsonl"))
    check("pseudo-labels: no parts are left",
          not [n for n in os.listdir(FOLDER) if n.startswith("p2.pare.pseudo.jsonl.") and
               not n.endswith(".provenance.json")])
    with open(path("p2.pare.pseudo.jsonl"), "wb") as f: # somebody stopped them
        f.write(texts[: texts.index(b"\n", len(texts) // 3) + 1])
    launched("pseudo-labels gone on with by three", 3, *options, "-fo", "p2.pare")
    check("pseudo-labels: the same file then", texts == read("p2.pare.pseudo.jsonl"))


def check_resumed():
    """Enough steps that the signal arrives in time, through mpirun and on any machine."""
    train = [*TRAIN[:-1], 400, "--save-every", 5]
    options = [*train, "-o", "stop.pare", "--log-json", "stop.log"]
    with subprocess.Popen([*LAUNCH, "2", os.path.abspath(PROGRAM), *map(str, options)], cwd=FOLDER,
                          env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL) as process:
        while process.poll() is None and not exists("stop.pare.training"):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        process.wait()
    check("an interruption is no success", process.returncode != 0 and not exists("stop.pare"))
    other = run("pare-distill", *options, "--resume")
    check("another number of ranks is refused by name",
          other.returncode == 2 and "another ranks (2 then, 1 now)" in other.stderr,
          other.stderr)
    launched("goes on", 2, *options, "--resume")
    launched("the same without a stop", 2, *train, "-o", "whole.pare")
    check("stopped and gone on: the same bytes", read("stop.pare") == read("whole.pare"))


def check_failure():
    """Rank 1 finds no room for its data, after both began; nobody waits for it for ever."""
    script = path("rank1-fails")
    with open(script, "w", encoding="utf-8") as f:
        f.write('#!/bin/sh\n[ "$OMPI_COMM_WORLD_RANK" = 0 ] || export TMPDIR=/nonexistent\n'
                'exec "$@"\n')
    os.chmod(script, 0o755)
    start = time.monotonic()
    result = subprocess.run([*LAUNCH, "2", script, os.path.abspath(PROGRAM), *map(str, TRAIN), "-o",
                             "failed.pare"], capture_output=True, text=True, check=False,
                            cwd=FOLDER, env=ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=60)
    check("a rank that fails ends all", result.returncode != 0 and time.monotonic() - start < 30)
    check("and says why", "/nonexistent: cannot create" in result.stderr, result.stderr[-500:])
    check("nothing is written", not exists("failed.pare"))


if build():
    make_data("words", "train", 200, "train.tsv")
    make_data("words", "dev", 40, "dev.tsv")
    convert("samples/number-words", "words.pare")
    check_curve()
    check_few()
    check_accumulated()
    check_pseudo()
    check_resumed()
    check_failure()
finish()
