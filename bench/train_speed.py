#!/usr/bin/env python3
"""Training throughput and peak memory of pare-distill, beside PyTorch on the same batches.

    bench/train_speed.py [--steps N] [--rounds N] [--threads N]

An encoder-decoder of 6 and 6 layers 256 wide, a vocabulary of 8,000, and batches of some 2,000
tokens a side of sentences whose lengths are spread as in translation data (log-normal), put
together by length. Everything is made from a seed. PyTorch pads its batches; both train the same
examples in the same order, so that the first losses without dropout must agree, which is checked.
The two take turns; medians are over steps of all rounds. PyTorch comes from the first python3 that
has it; without OMP_WAIT_POLICY=PASSIVE its threads would burn the time that others need, so that is
the default.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.environ.get("PARE_BIN", os.path.join(HERE, "..", "build", "bin"))
SHAPE = {"width": 256, "heads": 8, "ffn": 1024, "layers": 6, "vocabulary": 8000, "positions": 256,
         "dropout": 0.1, "smoothing": 0.1, "rate": 5e-4, "seed": 1, "start": 1}
BATCH_TOKENS = 2000


def sentence(rng, length):
    """Ids from the second on, frequent ones more often, and the end."""
    ids = [min(int(2 + 8 * (rng.paretovariate(0.8) - 1)), SHAPE["vocabulary"] - 1)
           for _ in range(length)]
    return ids + [0]


def make_batches(count):
    """Sentences of a window sorted by length, cut into batches, in random order."""
    rng = random.Random(SHAPE["seed"])
    pairs = []
    for _ in range(4096):
        source = max(3, min(120, round(rng.lognormvariate(3.1, 0.55))))
        target = max(3, min(120, round(source * rng.gauss(1.05, 0.15))))
        pairs.append((source, target))
    pairs.sort()
    batches, batch, sums = [], [], (0, 0)
    for source, target in pairs:
        more = (sums[0] + source + 1, sums[1] + target + 1)
        if batch and max(more) > BATCH_TOKENS:
            batches.append(batch)
            batch, more = [], (source + 1, target + 1)
        batch.append((sentence(rng, source), sentence(rng, target)))
        sums = more
    rng.shuffle(batches)
    return batches[:count]


def padding(batches):
    """The share of a padded batch that is padding."""
    real = sum(len(s) + len(t) for b in batches for s, t in b)
    whole = sum(len(b) * (max(len(s) for s, _ in b) + max(len(t) for _, t in b)) for b in batches)
    return 1 - real / whole


def find_torch():
    for python in "python3", "/usr/bin/python3":
        test = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
        if test.returncode == 0:
            return python
    return None


def measured(command, folder):
    """Runs a command; its output, its peak memory in MiB, and its CPU seconds."""
    environment = dict(os.environ)
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with open(os.path.join(folder, "out"), "w+b") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"{command[0]} failed")
        out.seek(0)
        return out.read(), usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def run_pare(folder, steps, *options):
    program = os.path.join(os.path.abspath(PROGRAMS), "pare-distill")
    _, memory, cpu = measured(
        [program, "--student", "model.pare", "--data", "data.jsonl", "-o", "out.pare", "--steps",
         str(steps), "--no-shuffle", "--batch-tokens", str(BATCH_TOKENS), "--label-smoothing",
         str(SHAPE["smoothing"]), "--schedule", "constant", "--lr", str(SHAPE["rate"]), "--dropout",
         str(SHAPE["dropout"]), "--threads", str(SHAPE["threads"]), "--log-json", "log", "-fq",
         "--save-every", "1000000", *options], folder)
    with open(os.path.join(folder, "log"), encoding="utf-8") as f:
        log = [line for line in map(json.loads, f) if "loss" in line]
    return {"losses": [s["loss"] for s in log], "speeds": [s["tokens_per_s"] for s in log],
            "tokens": sum(s["tokens"] for s in log), "memory": memory, "cpu": cpu}


def run_torch(folder, steps):
    out, memory, cpu = measured([TORCH, os.path.join(HERE, "train_speed_torch.py"), folder, "train",
                                 str(steps)], folder)
    r = json.loads(out)
    return {"losses": r["losses"], "tokens": sum(r["tokens"]), "memory": memory, "cpu": cpu,
            "speeds": [n / s for n, s in zip(r["tokens"], r["seconds"])]}


def write_inputs(folder, batches):
    config = {"model_type": "marian", "architectures": ["MarianMTModel"],
              "activation_function": "swish", "d_model": SHAPE["width"],
              "encoder_layers": SHAPE["layers"], "decoder_layers": SHAPE["layers"],
              "encoder_attention_heads": SHAPE["heads"],
              "decoder_attention_heads": SHAPE["heads"], "encoder_ffn_dim": SHAPE["ffn"],
              "decoder_ffn_dim": SHAPE["ffn"], "vocab_size": SHAPE["vocabulary"],
              "decoder_vocab_size": SHAPE["vocabulary"], "max_position_embeddings":
              SHAPE["positions"], "scale_embedding": True, "is_encoder_decoder": True,
              "share_encoder_decoder_embeddings": True, "pad_token_id": 1, "eos_token_id": 0,
              "decoder_start_token_id": SHAPE["start"]}
    for name, value in ("config.json", config), ("shape.json", SHAPE), ("batches.json", batches):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(value, f)
    with open(os.path.join(folder, "data.jsonl"), "w", encoding="utf-8") as f:
        for source, target in (pair for batch in batches for pair in batch):
            f.write(json.dumps({"input_ids": source, "labels": target}) + "\n")
    subprocess.run([TORCH, os.path.join(HERE, "train_speed_torch.py"), folder, "make"], check=True)
    program = os.path.join(os.path.abspath(PROGRAMS), "pare-convert")
    subprocess.run([program, folder, "-o", os.path.join(folder, "model.pare"), "--no-tokenizer",
                    "-q"], check=True)


def check_losses(folder):
    """Without dropout the two must go the same way, or they are not the same work."""
    dropout = SHAPE["dropout"]
    SHAPE["dropout"] = 0
    with open(os.path.join(folder, "shape.json"), "w", encoding="utf-8") as f:
        json.dump(SHAPE, f)
    ours, theirs = run_pare(folder, 3)["losses"], run_torch(folder, 3)["losses"]
    far = [abs(a - b) / b for a, b in zip(ours, theirs)]
    SHAPE["dropout"] = dropout
    with open(os.path.join(folder, "shape.json"), "w", encoding="utf-8") as f:
        json.dump(SHAPE, f)
    print(f"losses without dropout: {', '.join(f'{l:.5f}' for l in ours)}; PyTorch's differ by "
          f"{', '.join(f'{f:.1e}' for f in far)}")
    # Where a gradient is nearly 0 the first step of AdamW is its sign: rounding grows from there.
    if not (far[0] < 1e-5 and max(far) < 2e-3):
        sys.exit("the two do not compute the same")


def main():
    global TORCH
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    SHAPE["threads"] = arguments.threads
    TORCH = find_torch()
    if not TORCH:
        print("train_speed: PyTorch is missing (Debian: python3-torch, libopenblas0-pthread)")
        return
    batches = make_batches(arguments.steps)
    kinds = {"PyTorch": run_torch, "pare": run_pare,
             "pare, --checkpoint-layers": lambda *a: run_pare(*a, "--checkpoint-layers")}
    results = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(folder, batches)
        print(f"{arguments.threads} threads, {len(batches)} batches; padding would be "
              f"{padding(batches):.1%} of them")
        check_losses(folder)
        for _ in range(arguments.rounds):
            for kind, run in kinds.items():
                results[kind].append(run(folder, arguments.steps))
    base = None
    print(f"{'':26} {'tokens/s':>9} {'ratio':>6} {'tokens/CPU s':>13} {'ratio':>6} "
          f"{'peak MiB':>9} {'ratio':>6}")
    for kind, runs in results.items():
        # The first step of a run warms up.
        row = (statistics.median(s for r in runs for s in r["speeds"][1:]),
               statistics.median(r["tokens"] / r["cpu"] for r in runs),
               statistics.median(r["memory"] for r in runs))
        base = base or row
        ratios = [value / other for value, other in zip(row, base)]
        print(f"{kind:26} {row[0]:9.0f} {ratios[0]:6.2f} {row[1]:13.0f} {ratios[1]:6.2f} "
              f"{row[2]:9.0f} {ratios[2]:6.2f}")


TORCH = None
main()
