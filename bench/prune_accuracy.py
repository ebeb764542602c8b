#!/usr/bin/env python3
"""What pruning costs a classifier: every criterion, cut and repaired, on held-out data.

    bench/prune_accuracy.py MODEL.pare TRAIN.tsv DEV.tsv RESULTS.jsonl [--svg FILE]
        [--criteria gradient,magnitude] [--cuts 25:25,33:50] [--scopes layer,global]
        [--importance-rows N] [--calibration-rows N]

Nothing is trained. Importance is measured once a criterion on the first rows of TRAIN; the repair
looks at rows of it, without labels. Every result is a line of RESULTS, which another run goes on
with, so that the table grows; it is printed as Markdown, and drawn. "random" is the mean of three
seeds. Intervals are Wilson's, of 95 %.
"""

import argparse
import json
import os
import tempfile

from prune_common import append_result, read_results, run

WITHOUT_DATA = ("magnitude", "random")
SEEDS = (1, 2, 3)


def measure_importance(o, criterion, seed, path):
    more = [] if criterion in WITHOUT_DATA else ["--data", o.train, "--limit", o.importance_rows]
    more += ["--seed", seed] if criterion == "random" else []
    run("pare-prune", o.model, "--heads", "1%", "--criterion", criterion, "--importance-out", path,
        "--dry-run", "--no-predict", *more)


def measure(o, cut, scope, repair, scores, folder):
    pruned = os.path.join(folder, "pruned.pare")
    heads, units = cut
    more = ["--calibration", o.train, "--limit", o.calibration_rows] if repair else []
    run("pare-prune", o.model, "-o", pruned, "-f", "--heads", f"{heads}%", "--ffn", f"{units}%",
        "--scope", scope, "--importance", scores, "--repair" if repair else "--no-repair", *more)
    report = json.loads(run("pare-verify", "--reference", o.model, pruned, "--data", o.dev,
                            "--json"))
    candidate = report["candidate"]
    return {"accuracy": 100 * candidate["accuracy"], "low": 100 * candidate["accuracy_low"],
            "high": 100 * candidate["accuracy_high"], "kl": report["drift"]["kl"],
            "whole": 100 * report["reference"]["accuracy"], "rows": report["rows"]}


def key(result):
    return tuple(result[k] for k in ("criterion", "seed", "heads", "units", "scope", "repair"))


def complete(o, results):
    """Measures what is not there yet."""
    with tempfile.TemporaryDirectory() as folder:
        for criterion in o.criteria:
            for seed in SEEDS if criterion == "random" else (0,):
                scores = os.path.join(folder, f"{criterion}{seed}.json")
                for cut in o.cuts:
                    for scope in o.scopes:
                        for repair in (False, True):
                            r = {"criterion": criterion, "seed": seed, "heads": cut[0],
                                 "units": cut[1], "scope": scope, "repair": repair}
                            if key(r) in results:
                                continue
                            if not os.path.exists(scores):
                                measure_importance(o, criterion, seed, scores)
                            r.update(measure(o, cut, scope, repair, scores, folder))
                            results[key(r)] = r
                            append_result(o.results, r)


def mean_of(results, criterion, cut, scope, repair):
    """One result, or the mean over seeds; None where there is none."""
    found = [r for r in results.values()
             if (r["criterion"], r["heads"], r["units"], r["scope"], r["repair"])
             == (criterion, *cut, scope, repair)]
    return {k: sum(r[k] for r in found) / len(found)
            for k in ("accuracy", "low", "high", "whole", "rows")} if found else None


def print_table(o, results):
    names = [f"{heads} % heads, {units} % units" for heads, units in o.cuts]
    print("| criterion | scope | | " + " | ".join(names) + " |\n" + "|---" * (3 + len(names)) + "|")
    for criterion in o.criteria:
        for scope in o.scopes:
            for repair in (False, True):
                cells = [mean_of(results, criterion, cut, scope, repair) for cut in o.cuts]
                if any(cells):
                    print(f"| {criterion} | {scope} | {'repaired' if repair else 'cut'} | "
                          + " | ".join(f"{c['accuracy']:.2f} ({c['low']:.1f}–{c['high']:.1f})"
                                       if c else "" for c in cells) + " |")


COLOURS = ("#0b6e99", "#b5402a", "#3d8b37", "#8059a3", "#b8860b", "#5b6670", "#aaaaaa")


def draw(o, results):
    """Accuracy over the cuts, a panel before the repair and one after it."""
    whole = next(iter(results.values()))["whole"]
    low = min(r["accuracy"] for r in results.values()) - 1
    high = max(max(r["accuracy"] for r in results.values()), whole) + 1
    width, height, left, top = 300, 260, 44, 34

    def place(panel, index, accuracy):
        x = left + panel * (width + 30) + (index + 0.5) * width / len(o.cuts)
        return x, top + (high - accuracy) / (high - low) * height

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + 2 * width + 170} '
             f'{top + height + 44}" font-family="sans-serif" font-size="11">',
             '<rect width="100%" height="100%" fill="#fff"/>']
    for panel, title in enumerate(("cut", "cut and repaired")):
        x0 = left + panel * (width + 30)
        parts.append(f'<text x="{x0}" y="{top - 14}" font-size="13">{title}: accuracy in points'
                     '</text>')
        step = 2 if high - low < 24 else 10
        for a in range(int(low // step + 1) * step, int(high) + 1, step):
            y = place(panel, 0, a)[1]
            parts.append(f'<path d="M{x0} {y:.1f}h{width}" stroke="#ddd"/>'
                         f'<text x="{x0 - 5}" y="{y + 4:.1f}" text-anchor="end">{a}</text>')
        y = place(panel, 0, whole)[1]
        parts.append(f'<path d="M{x0} {y:.1f}h{width}" stroke="#000" stroke-dasharray="4 3"/>')
        for i, (heads, units) in enumerate(o.cuts):
            x = place(panel, i, low)[0]
            for line, word in enumerate((f"{heads} % heads,", f"{units} % units")):
                parts.append(f'<text x="{x:.1f}" y="{top + height + 18 + 14 * line}" '
                             f'text-anchor="middle">{word}</text>')
        for c, criterion in enumerate(o.criteria):
            cells = [mean_of(results, criterion, cut, o.scopes[0], panel == 1) for cut in o.cuts]
            points = [place(panel, i, r["accuracy"]) for i, r in enumerate(cells) if r]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[c % 7]}" '
                         'stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[c % 7]}"/>'
                      for x, y in points]
    for c, criterion in enumerate(o.criteria):
        x, y = left + 2 * width + 50, top + 10 + 18 * c
        parts.append(f'<path d="M{x} {y}h18" stroke="{COLOURS[c % 7]}" stroke-width="3"/>'
                     f'<text x="{x + 24}" y="{y + 4}">{criterion}</text>')
    x, y = left + 2 * width + 50, top + 10 + 18 * len(o.criteria)
    parts.append(f'<path d="M{x} {y}h18" stroke="#000" stroke-dasharray="4 3"/>'
                 f'<text x="{x + 24}" y="{y + 4}">not pruned</text></svg>')
    with open(o.svg, "w", encoding="utf-8") as out:
        out.write("\n".join(parts) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "train", "dev", "results"):
        p.add_argument(name)
    p.add_argument("--svg")
    p.add_argument("--criteria", type=lambda t: t.split(","), default=[
        "gradient", "taylor", "fisher", "activation", "reconstruct", "magnitude", "random"])
    p.add_argument("--cuts", default=[(25, 25), (33, 50), (50, 75)], type=lambda t: [
        tuple(map(int, cut.split(":"))) for cut in t.split(",")])
    p.add_argument("--scopes", type=lambda t: t.split(","), default=["layer"])
    p.add_argument("--importance-rows", type=int, default=4096)
    p.add_argument("--calibration-rows", type=int, default=16000)
    o = p.parse_args()
    results = read_results(o.results, key)
    complete(o, results)
    print_table(o, results)
    if o.svg:
        draw(o, results)


if __name__ == "__main__":
    main()
