#!/usr/bin/env python3
"""pare-distill gives the same bytes: at any number of threads, twice, and after whatever stops it.

A run is killed, interrupted in training and in an evaluation, and left without room for its
checkpoint; the same command with --resume must end with the bytes of the run that nothing stopped.
"""

import os
import resource
import signal
import subprocess
import time

from distill_common import (FOLDER, check, command, convert, exists, finish, golden_data, lines,
                            make_data, path, read, run, scores, steps, succeeds)

TINY = ["--student", "tiny.pare", "--data", "tiny.jsonl"]
WORDS = ["--student", "words.pare", "--data", "train.tsv", "--batch-size", 8, "--lr", 1e-3]
# What random numbers and the order of sums could make differ.
NOISY = ["--dropout", 0.1, "--attention-dropout", 0.1, "--activation-dropout", 0.1, "--layerdrop",
         0.2, "--quant-noise", 0.3, "--label-smoothing", 0.1]


def same(what, one, other):
    check(what, exists(one) and exists(other) and read(one) == read(other))


# ---- Threads, twice, and what must not matter ---------------------------------------------------

def check_threads():
    for threads in 1, 2, 3:
        succeeds(f"{threads} threads", "pare-distill", *TINY, *NOISY, "--steps", 12, "--batch-size",
                 3, "--threads", threads, "-o", f"threads{threads}.pare")
    same("1 and 2 threads", "threads1.pare", "threads2.pare")
    same("1 and 3 threads", "threads1.pare", "threads3.pare")
    for seed in 0, 1:
        succeeds(f"seed {seed}", "pare-distill", *TINY, *NOISY, "--steps", 12, "--batch-size", 3,
                 "--seed", seed, "-o", f"seed{seed}.pare")
    same("the same seed", "threads1.pare", "seed0.pare")
    check("another seed is another run", read("seed0.pare") != read("seed1.pare"))


def check_recomputed():
    """--checkpoint-layers and --accumulate change nothing that is random."""
    options = ["--student", "words.pare", "--data", "train.tsv", *NOISY, "--steps", 8,
               "--no-buckets", "--log-json"]
    succeeds("stored", "pare-distill", *options, "a.log", "-o", "a.pare", "--batch-size", 8)
    succeeds("recomputed", "pare-distill", *options, "b.log", "-o", "b.pare", "--batch-size", 8,
             "--checkpoint-layers")
    same("layers that are computed again", "a.pare", "b.pare")
    succeeds("accumulated", "pare-distill", *options, "c.log", "-o", "c.pare", "--batch-size", 4,
             "--accumulate", 2)
    pairs = [(a["loss"], c["loss"]) for a, c in zip(steps("a.log"), steps("c.log"))]
    far = max(abs(a - c) / a for a, c in pairs)
    check("two batches a step are as one of twice the size", len(pairs) == 8 and far < 1e-4, far)


# ---- Stopping ----------------------------------------------------------------------------------

class Stopped:
    """A run that gets a signal once its log has what it waits for."""

    def __init__(self, arguments, out, number, ready, limit=None):
        before = lambda: limit and resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        for attempt in range(3): # a busy machine may let a run end before it is looked at
            with open(path(out + ".stderr"), "wb") as stderr:
                process = subprocess.Popen(
                    command("pare-distill", *arguments, "-o", out, "--log-json", out + ".log"),
                    cwd=FOLDER, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                    preexec_fn=before)
                while process.poll() is None and not ready(out + ".log"):
                    time.sleep(0.001)
                if process.poll() is None:
                    process.send_signal(number)
                self.code = process.wait()
            self.stderr = read(out + ".stderr").decode()
            if self.code != 0:
                break
            arguments = [*arguments, "--force"]


def complete_lines(log):
    try:
        return lines(log)
    except ValueError: # it is being written
        return []


def at_step(number):
    return lambda log: any(s["step"] >= number for s in complete_lines(log))


def resume(what, arguments, out):
    return succeeds(what, "pare-distill", *arguments, "-o", out, "--log-json", out + ".log",
                    "--resume")


def whole(arguments, out):
    """The run that nothing stops."""
    succeeds(f"{out} without a stop", "pare-distill", *arguments, "-o", out, "--log-json",
             out + ".log")
    check(f"{out}: the checkpoint is gone", not exists(out + ".training"))


def check_killed():
    options = [*WORDS, *NOISY, "--steps", 80, "--save-every", 5, "--average", 0.9,
               "--accumulate", 2]
    whole(options, "kill.a.pare")
    killed = Stopped(options, "kill.b.pare", signal.SIGKILL, at_step(12))
    check("killed", killed.code == -signal.SIGKILL, killed.code)
    check("no output of a killed run", not exists("kill.b.pare"))
    check("its checkpoint is there", exists("kill.b.pare.training"))
    again = run("pare-distill", *options, "-o", "kill.b.pare")
    check("it is not overwritten by accident",
          again.returncode == 1 and "--resume goes on with it" in again.stderr, again.stderr)
    other = run("pare-distill", *options, "--clip", 2, "-o", "kill.b.pare", "--resume")
    check("other options are refused by name",
          other.returncode == 2 and "another clip (1 then, 2 now)" in other.stderr, other.stderr)
    resume("goes on after a kill", options, "kill.b.pare")
    same("killed and gone on", "kill.a.pare", "kill.b.pare")
    done = {s["step"]: s["loss"] for s in steps("kill.b.pare.log")}
    check("the log has every step once or twice, with the same loss",
          done == {s["step"]: s["loss"] for s in steps("kill.a.pare.log")})


def check_interrupted():
    options = [*WORDS, *NOISY, "--epochs", 2, "--validation", "dev.tsv", "--metric", "loss",
               "--eval-every", 7]
    whole(options, "int.a.pare")
    check("there were evaluations", len(scores("int.a.pare.log")) > 3)
    stopped = Stopped(options, "int.b.pare", signal.SIGINT, at_step(10))
    check("an interruption is no success", stopped.code == 1, stopped.code)
    check("it says how to go on",
          "with --resume goes on from int.b.pare.training" in stopped.stderr, stopped.stderr)
    check("no output", not exists("int.b.pare"))
    resume("goes on after an interruption", options, "int.b.pare")
    same("interrupted and gone on", "int.a.pare", "int.b.pare")


def check_evaluation():
    """The evaluation that was interrupted is done first when the run goes on."""
    options = [*WORDS, "--steps", 20, "--validation", "dev.tsv", "--metric", "bleu", "--eval-every",
               10, "--patience", 5, "--average", 0.8]
    whole(options, "eval.a.pare")
    whole([*WORDS, "--steps", 20, "--average", 0.8], "blind.pare")
    check("evaluations change nothing in the training",
          [s["loss"] for s in steps("eval.a.pare.log")] ==
          [s["loss"] for s in steps("blind.pare.log")])
    for _ in range(3):
        stopped = Stopped(options, "eval.b.pare", signal.SIGINT, at_step(10))
        if "interrupted in the evaluation after step 10" in stopped.stderr:
            break
        resume("goes on after it came too late", options, "eval.b.pare")
        options = [*options, "--force"] if exists("eval.b.pare") else options
    check("interrupted in the evaluation",
          "interrupted in the evaluation after step 10" in stopped.stderr, stopped.stderr)
    resume("goes on after an interrupted evaluation", options, "eval.b.pare")
    same("with an interrupted evaluation", "eval.a.pare", "eval.b.pare")
    check("the same scores", scores("eval.a.pare.log") == scores("eval.b.pare.log")[-2:])


def check_killed_in_evaluation():
    """A checkpoint that is due is written before the evaluation, which may be long, and after."""
    options = [*WORDS, "--steps", 20, "--validation", "dev.tsv", "--metric", "bleu", "--eval-every",
               10, "--save-every", 10, "--patience", 5, "--average", 0.8]
    whole(options, "ek.a.pare")
    for _ in range(3): # a busy machine may look too late
        if exists("ek.b.pare.training"):
            os.remove(path("ek.b.pare.training"))
        killed = Stopped(options, "ek.b.pare", signal.SIGKILL,
                         lambda log: exists("ek.b.pare.training"))
        if killed.code and not scores("ek.b.pare.log"):
            break
        options = [*options, "--force"] if "--force" not in options else options
    check("killed in the evaluation", killed.code == -signal.SIGKILL and
          not scores("ek.b.pare.log"), killed.code)
    check("the checkpoint was there before", exists("ek.b.pare.training"))
    check("all that was trained is in the log",
          [s["step"] for s in steps("ek.b.pare.log")] == list(range(1, 11)))
    resume("goes on after a kill in an evaluation", options, "ek.b.pare")
    same("killed in an evaluation and gone on", "ek.a.pare", "ek.b.pare")
    check("no step was done twice",
          [s["step"] for s in steps("ek.b.pare.log")] == list(range(1, 21)))
    check("the scores of a run that nothing stopped",
          scores("ek.a.pare.log") == scores("ek.b.pare.log"))


# ---- No room -----------------------------------------------------------------------------------

def check_full():
    """Files may grow to the size of the output, but not to that of a checkpoint."""
    options = [*WORDS, *NOISY, "--steps", 60, "--save-every", 5]
    whole(options, "full.a.pare")
    limit = len(read("full.a.pare")) + 65536
    Stopped(options, "full.b.pare", signal.SIGKILL, at_step(12))
    saved = read("full.b.pare.training")
    check("a checkpoint is larger than the limit", len(saved) > limit)
    stopped = Stopped([*options, "--resume"], "full.b.pare", signal.SIGINT, at_step(30), limit)
    check("a warning that there is no checkpoint", "warning: no checkpoint at step" in
          stopped.stderr, stopped.stderr)
    check("no promise that it goes on from there", "goes on from" not in stopped.stderr)
    check("the checkpoint from before stays", read("full.b.pare.training") == saved)
    check("nothing half-written is left", not [n for n in subprocess.run(
        ["ls", "-A", FOLDER], capture_output=True, text=True, check=True).stdout.split()
        if n.startswith("full.b.pare.training.")])
    resume("goes on once there is room", options, "full.b.pare")
    same("without room and gone on", "full.a.pare", "full.b.pare")
    trained = succeeds("trains without a place for checkpoints", "pare-distill", *options, "-o",
                       "full.c.pare", "--checkpoint", "missing/there.training")
    check("and warns", "missing/there.training" in trained.stderr, trained.stderr)
    same("no checkpoints, the same bytes", "full.a.pare", "full.c.pare")


def check_nothing_left():
    """A run that ended, resumed: the output exists, so it says so; with --force it is made anew."""
    options = [*TINY, "--steps", 4, "-o", "left.pare", "--resume"]
    succeeds("resumes without a checkpoint", "pare-distill", *options)
    check("an output is not replaced", run("pare-distill", *options).returncode == 1)
    before = read("left.pare")
    succeeds("replaces it", "pare-distill", *options, "--force")
    check("with the same bytes", read("left.pare") == before)


golden_data("marian", "tiny.jsonl")
convert("tests/data/train/marian", "tiny.pare")
convert("samples/number-words", "words.pare")
make_data("words", "train", 240, "train.tsv")
make_data("words", "dev", 120, "dev.tsv")
check_threads()
check_recomputed()
check_killed()
check_interrupted()
check_evaluation()
check_killed_in_evaluation()
check_full()
check_nothing_left()
finish()
