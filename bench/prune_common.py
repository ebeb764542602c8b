"""What measurements of pruning share: running the programs, results that grow line by line."""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = os.environ.get("PARE_BIN", os.path.join(HERE, "..", "build", "bin"))


def run(program, *arguments):
    """Standard output; a failure ends the script with the program's message."""
    done = subprocess.run([os.path.join(PROGRAMS, program), *map(str, arguments), "-q"],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{program}: {done.stderr.strip()}")
    return done.stdout


def read_results(path, key):
    """{key(result): result} of a file of JSON lines; empty where there is none yet."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as lines:
        return {key(r): r for r in map(json.loads, lines)}


def append_result(path, result):
    with open(path, "a", encoding="utf-8") as out:
        out.write(json.dumps(result) + "\n")
