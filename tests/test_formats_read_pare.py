#!/usr/bin/env python3
"""The second reader (tests/read_pare.py) against the list of the first one, and its refusals."""

import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import read_pare

DATA = "tests/data/formats/"
passed = failed = 0


def check(what, condition):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print("FAILED: " + what)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")


def read(*arguments):
    return run(sys.executable, "tests/read_pare.py", *arguments)


with open(DATA + "all-v1.txt", encoding="utf-8") as f:
    wanted = f.read()
with open(DATA + "all-v1.pare", "rb") as f:
    golden = f.read()

check("XXH64 of nothing", read_pare.xxh64(b"") == 0xEF46DB3751D8E999)
check("XXH64 of 'a'", read_pare.xxh64(b"a") == 0xD24EC4F1A98C6E5B)
got = read(DATA + "all-v1.pare")
check("the list of tensors", got.returncode == 0 and got.stdout == wanted)
got = read("--metadata", DATA + "all-v1.pare")
check("the metadata", json.loads(got.stdout.splitlines()[-1]) == {"a": 1})

# The program, once it is built, prints the same.
program = os.path.join(os.environ.get("PARE_BIN", "build/bin"), "pare-info")
if os.path.exists(program):
    got = run(program, "--tensors", "--sha256", DATA + "all-v1.pare")
    check("pare-info prints the same lines", got.returncode == 0 and got.stdout == wanted)

# A file is refused whichever byte is changed; every 7th is enough for a slow reader.
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "x.pare")
    with open(path, "wb") as f:
        f.write(golden[:-1])
    check("truncated", read(path).returncode == 1)
for i in range(0, len(golden), 7):
    changed = bytearray(golden)
    changed[i] ^= 1 << i % 8
    try:
        for tensor in read_pare.Reader(bytes(changed)).tensors:
            tensor.text()
        check("byte %d" % i, False)
    except read_pare.Refused:
        passed += 1

print("%d passed, %d failed" % (passed, failed))
sys.exit(failed != 0)
