"""Run a script's main() many times, each in a process of its own with limits: for the campaigns of bad input.

Starting Python and torch takes seconds; a fork of a process that has loaded them takes milliseconds and behaves the
same. A run is well-behaved if it ends in time, within the memory, and with a result and exit status 0, or with one line
on stderr and exit status 1. Time is the processors', so that a busy machine makes no difference; waiting has its own
limit.
"""

import collections
import dataclasses
import json
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import soundfile
import torch

from errors import make_folder, whole_file
from evaluation_report import code_version

SECONDS, BYTES = 10, 1 << 30  # that a run may take
PATIENCE = 100.0  # seconds on the clock after which a run that takes no processor time is said to hang
ROOM = 2 * BYTES  # of addresses, beyond what the parent has: a run that wants more gets MemoryError, not the machine


@dataclasses.dataclass
class Ended:
    """How a run ended: exit status (negative: the signal), what it said, processor seconds, peak bytes of memory."""

    status: int
    out: str
    err: str
    seconds: float
    peak: int

    def fault(self) -> str:
        """What promise it broke, '' if none; exit status 0 still needs a look at the result."""
        if self.status in (-signal.SIGKILL, -signal.SIGXCPU) or self.seconds > SECONDS:
            return "did not end in time"
        if self.status < 0:
            return f"died of signal {-self.status}"
        if "Traceback" in self.err:
            return "traceback: " + self.err.strip().splitlines()[-1]
        if self.peak > BYTES:
            return f"took {self.peak / 1e6:.0f} MB"
        if self.status not in (0, 1):
            return f"exit status {self.status}"
        errors = [line for line in self.err.splitlines() if line]
        if self.status == 1 and not (len(errors) == 1 and errors[0].startswith("error: ")):
            return f"exit status 1 with {len(errors)} lines: {' | '.join(errors)[:300]}"
        return ""


def run_forked(call: Callable[[], int | None], folder: Path, stdin: Path | None = None) -> Ended:
    """call() in a forked process; what it prints goes through files in `folder`."""
    out, err = folder / "stdout", folder / "stderr"
    sys.stdout.flush(), sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_the_child(call, stdin or Path(os.devnull), out, err)
    handle = os.pidfd_open(child)
    if not select.select([handle], [], [], PATIENCE)[0]:
        os.killpg(child, signal.SIGKILL)
    os.close(handle)
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime  # of its own and of what it started
    texts = [path.read_text(errors="replace") for path in (out, err)]
    return Ended(os.waitstatus_to_exitcode(status), *texts, seconds, usage.ru_maxrss * 1024)


def _be_the_child(call: Callable[[], int | None], stdin: Path, out: Path, err: Path) -> None:
    status = 99
    try:
        os.setpgid(0, 0)  # so that what it starts can be ended with it
        for number, path, flags in ((0, stdin, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
            os.dup2(os.open(path, flags | (os.O_CREAT | os.O_TRUNC if number else 0), 0o600), number)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        status = call() or 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 98
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


class Counts:
    """How many runs ended how, by kind, with the slowest, the largest and every fault."""

    def __init__(self):
        self.kinds = collections.defaultdict(collections.Counter)
        self.slowest, self.largest, self.faults = 0.0, 0, []

    def add(self, kind: str, name: str, ended: Ended, fault: str) -> None:
        self.kinds[kind]["faults" if fault else "refused with one line" if ended.status else "results"] += 1
        self.slowest, self.largest = max(self.slowest, ended.seconds), max(self.largest, ended.peak)
        if fault:
            self.faults.append(f"{name}: {fault}")

    def report(self) -> dict:
        total = sum(self.kinds.values(), collections.Counter())
        return {
            "runs": total.total(),
            **{key: total[key] for key in ("results", "refused with one line", "faults")},
            "slowest, processor seconds": round(self.slowest, 2),
            "largest peak memory, MB": round(self.largest / 1e6),
            "by kind": {kind: dict(sorted(counts.items())) for kind, counts in sorted(self.kinds.items())},
            "what went wrong": self.faults[:100],
        }


def write_report(what: str, report: dict, path: Path | None, argv: list[str] | None) -> str:
    """A campaign's counts with what made them, as text; written to a file if one is given."""
    facts = {
        "what": what,
        "command": " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *(sys.argv[1:] if argv is None else argv)]),
        "commit": code_version(),
        "versions": {"libsndfile": soundfile.__libsndfile_version__, "torch": str(torch.__version__)},
        "limits": f"{SECONDS} s of processor time, {BYTES >> 20} MB",
    }
    text = json.dumps({**facts, **report}, indent=1)
    if path:
        make_folder(path.parent)
        with whole_file(path) as temporary:
            temporary.write_text(text + "\n")
    return text
