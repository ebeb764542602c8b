#!/usr/bin/env python3
"""Writes words.json: random texts full of what mteval-v13a's tokenizer treats specially, the words
that its regular expressions make of them, and corpus BLEU over neighbouring texts, counted the
plain way. Independent of the C code, which has no regular expressions and counts by sorting.

    python3 tests/data/metrics/make-words.py >tests/data/metrics/words.json
"""
import json
import math
import random
import re
import string
from collections import Counter

PARTS = list("ab01 \t\n" + string.punctuation) + [
    " ", " ", "word", "Word", "3.14", "1,000", "-\n", "&quot;", "&amp;", "&lt;", "&gt;", "&amp;lt;",
    "<skipped>", "<skip<skipped>ped>", "ä", "東京", "。", "\u00a0", "\u2003", "\u3000", "\u0085",
    "\u001f", "\u200b", "...", ".,.", "1-2", "--", "é.", "9,é"]
RULES = [
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
]


def words(text):
    text = text.rstrip()
    for old, new in (("<skipped>", ""), ("-\n", ""), ("\n", " "), ("&quot;", '"'), ("&amp;", "&"),
                     ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(old, new)
    text = " " + text + " "
    for rule, by in RULES:
        text = rule.sub(by, text)
    return text.split()


def runs(tokens, n):
    return Counter(tuple(tokens[i:i + n]) for i in range(len(tokens) - n + 1))


def bleu(pairs):
    matches, totals, ours, theirs = [0] * 4, [0] * 4, 0, 0
    for hypothesis, reference in pairs:
        ours += len(hypothesis)
        theirs += len(reference)
        for n in range(1, 5):
            h, r = runs(hypothesis, n), runs(reference, n)
            totals[n - 1] += sum(h.values())
            matches[n - 1] += sum((h & r).values())
    smooth, logs, precisions = 1, 0.0, []
    for m, t in zip(matches, totals):
        if m == 0:
            smooth *= 2
        precisions.append(100 * m / t if m else 100 / (smooth * t))
        logs += math.log(precisions[-1])
    penalty = math.exp(1 - theirs / ours) if ours < theirs else 1.0
    return {"score": penalty * math.exp(logs / 4), "precisions": precisions, "bp": penalty,
            "sys_len": ours, "ref_len": theirs}


def main():
    draw = random.Random(13)
    texts = ["".join(draw.choice(PARTS) for _ in range(draw.randrange(40))) for _ in range(400)]
    tokens = [words(t) for t in texts]
    out = {"texts": texts, "words": tokens, "bleu": bleu(list(zip(tokens, tokens[1:])))}
    print(json.dumps(out, ensure_ascii=True, separators=(",", ":")))


main()
