#!/usr/bin/env python3
"""pare-info --tensors --sha256 on every file of tests/data/corpus, with limits.

Good or bad, no file may cost more than 512 MB or five seconds, crash the program, make it write or
execute anything, or get more than one line of complaint. expected.txt in each folder says
    FILE ok COUNT ...      so many tensors are listed
    FILE refused TEXT      this is part of the message
where FILE may be NAME@KEY, which stands for --root KEY. Files that it does not name (shards, say)
may be either. Standard library only; PARE_BIN=FOLDER says where the program is (build/bin).
"""
import os
import sys

from limited import BIN, ROOT, Count, run

CORPUS = os.path.join(ROOT, "tests/data/corpus")


def read_expected(folder):
    expected = {}
    with open(os.path.join(folder, "expected.txt"), encoding="utf-8") as f:
        for line in f:
            words = line.rstrip("\n").split(" ", 2)
            if len(words) == 3 and not line.startswith("#"):
                expected[words[0]] = words[1:]
    return expected


def state(folder):
    found = []
    for top, _, names in os.walk(folder):
        for name in names:
            s = os.stat(os.path.join(top, name))
            found.append((os.path.join(top, name), s.st_size, s.st_mtime_ns))
    return sorted(found)


def judge(path, result, expected):
    fault = result.fault()
    if fault is not None or (result.code == 0 and expected is None):
        return fault
    if result.code != 0 and os.path.dirname(path) not in result.err:
        return "the message does not name the file: " + result.err
    if expected is None:
        return None
    kind, rest = expected
    if kind == "refused":
        return None if result.code in (1, 2) and rest in result.err else \
            "exit code %d, expected a refusal with '%s': %s" % (result.code, rest, result.err)
    count = int(rest.split()[0])
    listed = len(result.out.splitlines())
    # A tensor of a number format that cannot be read is listed, and then reading its values fails.
    unread = result.code == 1 and "does not read" in result.err
    return None if unread or (result.code == 0 and listed == count) else \
        "exit code %d and %d tensors, expected %d: %s" % (result.code, listed, count, result.err)


def judge_file(path, root, expected):
    with open(path, "rb") as f:
        if f.read(8) == b"\x89PARE\r\n\x1a":
            expected = None  # expected.txt speaks of checkpoints; pare-info takes models, too
    result = run("pare-info", "--tensors", "--sha256", *(["--root", root] if root else []), path)
    return judge(path, result, expected), result


def main():
    if not os.access(os.path.join(BIN, "pare-info"), os.X_OK):
        print("pare-info was not built")
        return 77
    count, largest, slowest = Count(), 0, 0.0
    for name in sorted(os.listdir(CORPUS)):
        folder = os.path.join(CORPUS, name)
        before, expected = state(folder), read_expected(folder)
        for file in sorted(set(os.listdir(folder)) - {"expected.txt"} | set(expected)):
            path, _, root = os.path.join(folder, file).partition("@")
            if not os.path.exists(path):
                count.check("expected.txt names it, but there is no such file", file)
                continue
            fault, result = judge_file(path, root, expected.get(file))
            largest, slowest = max(largest, result.memory), max(slowest, result.seconds)
            count.check(fault, name + "/" + file)
        count.check(None if before == state(folder) else "its files were changed", name)
    print("at most %d MB and %.2f s a file" % (largest >> 20, slowest))
    return count.finish()


sys.exit(main())
