"""Runs a program as its user would, with little to spare: 512 MB of address space, five seconds of
CPU time (and a minute of the clock, for machines that are busy), an empty folder. For the tests of
hostile files; standard library only."""
import os
import resource
import signal
import subprocess
import tempfile
import time

MEMORY, SECONDS, CLOCK = 512 << 20, 5, 60
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.path.abspath(os.environ.get("PARE_BIN") or os.path.join(ROOT, "build/bin"))


class Result:
    def __init__(self, code, out, err, seconds, memory, left):
        self.code, self.out, self.err = code, out, err
        self.seconds, self.memory, self.left = seconds, memory, left

    def fault(self):
        """What no program may do, whatever it is given; None when all is well."""
        if self.code is None:
            return "it did not end within a minute"
        if self.code == -signal.SIGXCPU:
            return "it took more than %d seconds of CPU time" % SECONDS
        if self.code < 0:
            return "it died of %s" % signal.Signals(-self.code).name
        if self.memory > MEMORY:
            return "it took %d MB of memory" % (self.memory >> 20)
        if self.left:
            return "it left behind: " + ", ".join(self.left)
        lines = self.err.splitlines()
        if self.code == 0 and not all(": warning: " in line for line in lines):
            return "it succeeded, and complained: " + self.err
        if self.code == 2 and len(lines) == 2 and lines[1].startswith("Try 'pare-"):
            lines.pop()  # an option would help
        if self.code != 0 and len(lines) != 1:
            return "expected one line on standard error, not %d: %s" % (len(lines), self.err)
        if self.code not in (0, 1, 2):
            return "exit code %d: %s" % (self.code, self.err)
        return None


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def peak(pid):
    """Of a process that has ended and was not yet waited for, and of its children."""
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_maxrss << 10


def run(program, *arguments):
    """`arguments` must be absolute paths where they are paths: the program runs elsewhere."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out, \
            tempfile.TemporaryFile() as err:
        environment["HOME"] = environment["TMPDIR"] = folder
        begin = time.monotonic()
        process = subprocess.Popen(
            [os.path.join(BIN, program), *arguments], cwd=folder, env=environment, stdout=out,
            stderr=err, stdin=subprocess.DEVNULL, preexec_fn=limit, start_new_session=True)
        timed_out = not wait(process.pid, begin + CLOCK)
        if timed_out:
            os.killpg(process.pid, signal.SIGKILL)
        status, memory = peak(process.pid)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Result(None if timed_out else code, out.read().decode("utf-8", "replace"),
                      err.read().decode("utf-8", "replace"), time.monotonic() - begin, memory,
                      sorted(os.listdir(folder)))


def wait(pid, deadline):
    """Whether the process ends in time; it is left to be waited for."""
    pause = 0.001
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    return True


class Count:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, fault, what):
        if fault is None:
            self.passed += 1
        else:
            self.failed += 1
            print("failed: %s: %s" % (what, fault))

    def finish(self):
        print("%d passed, %d failed" % (self.passed, self.failed))
        return self.failed > 0 or self.passed == 0
