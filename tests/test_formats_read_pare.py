#!/usr/bin/env python3
"""The second reader (tests/read_pare.py) against the list of the first one, and its refusals."""

import json
import os
import sys
import tempfile

import read_pare
from harness import PROGRAMS, check, finish, run

DATA = "tests/data/formats/"


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
if os.path.exists(os.path.join(PROGRAMS, "pare-info")):
    got = run("pare-info", "--tensors", "--sha256", DATA + "all-v1.pare")
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
        refused = False
    except read_pare.Refused:
        refused = True
    check("byte %d" % i, refused)

finish()
