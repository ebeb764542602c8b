"""What the tests in Python share: running programs, and counting checks.

They run in the root of the repository; programs are in $PARE_BIN.
"""

import os
import subprocess

PROGRAMS = os.path.abspath(os.environ.get("PARE_BIN", "build/bin"))
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


def command(program, *arguments):
    return [os.path.join(PROGRAMS, program), *map(str, arguments)]


def run(program, *arguments, **more):
    return subprocess.run(command(program, *arguments), capture_output=True, text=True, check=False,
                          encoding="utf-8", **more)
