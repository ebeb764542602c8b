#!/usr/bin/env python3
"""What pruning costs a translation model: BLEU after every cut, and after its repair.

    bench/prune_translation.py MODEL.pare TRAIN.tsv TEST.tsv RESULTS.jsonl [--importance-rows N]
        [--calibration-rows N] [--threads N]

Nothing is trained. Importance is the gradient of the loss on the first rows of TRAIN; the repair
looks at rows of it, too. TRAIN and TEST have two columns without names, source and target. Texts
are decoded with the model's own settings. Every result is a line of RESULTS, which another run goes
on with; they are printed as Markdown.
"""

import argparse
import json
import os
import tempfile

from prune_common import append_result, read_results, run

COLUMNS = ("--columns", "source,target")
REPAIRED = {
    "decoder: 3 of 6 layers": ["--keep-layers", "dec=3"],
    "decoder: 1 of 6 layers": ["--keep-layers", "dec=1"],
    "25 % of the heads": ["--heads", "25%"],
    "50 % of the units": ["--ffn", "50%"],
    "25 % of the heads, 50 % of the units": ["--heads", "25%", "--ffn", "50%"],
}
ONLY_CUT = {
    "decoder: 1 key/value head of 8": ["--kv-heads", "dec=1"],
    "vocabulary of the training data": ["--vocabulary", None],
}


def measure(o, cut, repair, scores, folder):
    pruned = os.path.join(folder, "pruned.pare")
    by_importance = cut in REPAIRED
    options = [o.train if word is None else word for word in {**REPAIRED, **ONLY_CUT}[cut]]
    if None in {**REPAIRED, **ONLY_CUT}[cut]:
        options += COLUMNS
    if by_importance:
        options += ["--importance", scores, "--repair" if repair else "--no-repair"]
    if repair:
        options += ["--calibration", o.train, "--limit", o.calibration_rows, *COLUMNS]
    run("pare-prune", o.model, "-o", pruned, "-f", *options, "--threads", o.threads)
    report = json.loads(run("pare-verify", "--reference", o.model, pruned, "--data", o.test,
                            *COLUMNS, "--json", "--threads", o.threads))
    return {"bleu": report["candidate"]["bleu"], "whole": report["reference"]["bleu"],
            "perplexity": report["candidate"]["perplexity"], "rows": report["rows"],
            "bytes": os.path.getsize(pruned), "whole_bytes": os.path.getsize(o.model)}


def complete(o, results):
    """Measures what is not there yet."""
    with tempfile.TemporaryDirectory() as folder:
        scores = os.path.join(folder, "scores.json")
        for cut, repair in [*((c, r) for c in REPAIRED for r in (False, True)),
                            *((c, False) for c in ONLY_CUT)]:
            if (cut, repair) in results:
                continue
            if not os.path.exists(scores):
                run("pare-prune", o.model, "--heads", "1%", "--criterion", "gradient", "--data",
                    o.train, *COLUMNS, "--limit", o.importance_rows, "--importance-out", scores,
                    "--dry-run", "--no-predict", "--threads", o.threads)
            r = {"cut": cut, "repair": repair, **measure(o, cut, repair, scores, folder)}
            results[cut, repair] = r
            append_result(o.results, r)


def print_table(results):
    whole = next(iter(results.values()))
    print("| cut | file | BLEU, cut | repaired | perplexity, cut | repaired |")
    print("|---" * 6 + "|")
    print(f"| nothing | {whole['whole_bytes'] / 1e6:.1f} MB | {whole['whole']:.2f} | | | |")
    for cut in {**REPAIRED, **ONLY_CUT}:
        both = [results.get((cut, repair)) for repair in (False, True)]
        if both[0]:
            cells = [f"{r[k]:.2f}" if r else "" for k in ("bleu", "perplexity") for r in both]
            print(f"| {cut} | {both[0]['bytes'] / 1e6:.1f} MB | " + " | ".join(cells) + " |")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "train", "test", "results"):
        p.add_argument(name)
    p.add_argument("--importance-rows", type=int, default=4096)
    p.add_argument("--calibration-rows", type=int, default=4096)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    o = p.parse_args()
    results = read_results(o.results, lambda r: (r["cut"], r["repair"]))
    complete(o, results)
    print_table(results)


if __name__ == "__main__":
    main()
