"""Run a script's main() many times in forked processes with limits: for the campaigns of bad input.

Starting Python and torch takes seconds; forking a process that has loaded them takes milliseconds and behaves the same.
A run keeps its promises if it stays within the limits of time and memory, and ends with a result and exit status 0, or
with one line on stderr and exit status 1. Time is processor time, so that a busy machine makes no difference; waiting
has its own limit.
"""

import collections
import dataclasses
import json
import math
import os
import platform
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import soundfile  # noqa: E402
import torch  # noqa: E402

from process.commandline import typed  # noqa: E402
from process.errors import make_folder, whole_file  # noqa: E402
from scoring.report import code_version  # noqa: E402

SECONDS, BYTES = 10, 1 << 30  # limits of a run: processor time and memory
PATIENCE = 100.0  # seconds after which a run that takes no processor time counts as hanging
ROOM = 2 * BYTES  # address space beyond the parent's: a run that wants more gets a MemoryError


@dataclasses.dataclass
class Ended:
    """How a run ended: exit status (or -signal), output, processor seconds, peak memory in bytes."""

    status: int
    out: str
    err: str
    seconds: float
    peak: int

    def fault(self) -> str:
        """The promise that it broke, '' if none. After exit status 0, the result still has to be checked."""
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


def run_forked(call: Callable[[], int | None], folder: Path) -> Ended:
    return run_all([call], folder)[0]


def run_all(calls: Sequence[Callable[[], int | None]], folder: Path, processes: int = 1) -> list[Ended]:
    """Run every call in a forked process, so many at once. Their output goes through files in `folder`.

    They share a process, as forking takes longer than most of them, until one breaks a promise or ends the process.
    """
    with ThreadPoolExecutor(processes) as pool:
        parts = [pool.submit(_run_one_by_one, calls[first::processes], folder) for first in range(processes)]
    ended: list[Any] = [None] * len(calls)
    for first, part in enumerate(parts):
        ended[first::processes] = part.result()
    return ended


def _run_one_by_one(calls: Sequence[Callable[[], int | None]], folder: Path) -> list[Ended]:
    ended: list[Ended] = []
    while len(ended) < len(calls):
        ended += _run_some(calls[len(ended) :], folder)
    return ended


def reading(path: Path, call: Callable[[], int | None]) -> Callable[[], int | None]:
    """The same call, with a file as its standard input."""

    def run() -> int | None:
        _redirect(0, path, os.O_RDONLY)
        return call()

    return run


def _run_some(calls: Sequence[Callable[[], int | None]], folder: Path) -> list[Ended]:
    """Run the first calls, at least one, in one process."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    log = folder / "ended"
    log.touch()
    sys.stdout.flush(), sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            _be_the_child(calls, folder, log)
        finally:
            os._exit(70)
    handle, size = os.pidfd_open(child), -1
    while not select.select([handle], [], [], PATIENCE)[0]:
        if log.stat().st_size == size:  # no call has ended for so long
            os.killpg(child, signal.SIGKILL)
        size = log.stat().st_size
    os.close(handle)
    _, status, usage = os.wait4(child, 0)
    facts = [json.loads(line) for line in log.read_text().splitlines()]
    if status:  # the last call ended the process; its seconds include those of its children
        seconds = usage.ru_utime + usage.ru_stime - sum(fact[1] for fact in facts)
        facts.append((os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss * 1024))
    ended = []
    for number, (status, seconds, peak) in enumerate(facts):
        out, err = _said(folder, number)
        ended.append(Ended(status, out, err, seconds, peak))
    shutil.rmtree(folder)
    return ended


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{number}.stdout", folder / f"{number}.stderr"


def _said(folder: Path, number: int) -> list[str]:
    return [path.read_text(errors="replace") for path in _files(folder, number)]


def _redirect(number: int, path: Path, flags: int) -> None:
    file = os.open(path, flags, 0o600)
    os.dup2(file, number)
    os.close(file)


def _spent() -> float:
    """Processor seconds of this process and of the children that it has waited for."""
    return sum(os.times()[:4])


def _be_the_child(calls: Sequence[Callable[[], int | None]], folder: Path, log: Path) -> None:
    os.setpgid(0, 0)  # so that its children can be killed with it
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    for number, call in enumerate(calls):
        before, status = _spent(), 99
        try:
            _redirect(0, Path(os.devnull), os.O_RDONLY)
            for stream, path in enumerate(_files(folder, number), 1):
                _redirect(stream, path, os.O_WRONLY | os.O_CREAT)
            sys.stdin, sys.stdout, sys.stderr = (
                os.fdopen(file, mode, closefd=False) for file, mode in enumerate("rww")
            )
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(before) + SECONDS, resource.RLIM_INFINITY))
            status = call() or 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 98
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        out, err = _said(folder, number)
        ended = Ended(status, out, err, _spent() - before, max(peaks) * 1024)
        with log.open("a") as file:
            print(json.dumps((ended.status, ended.seconds, ended.peak)), file=file)
        if ended.fault():
            break
    os._exit(0)


class Counts:
    """How runs ended, by kind, with the slowest, the largest and every fault."""

    def __init__(self):
        self.kinds: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.slowest, self.largest = 0.0, 0
        self.faults: list[str] = []

    def add(self, kind: str, name: str, ended: Ended, fault: str) -> None:
        self.kinds[kind]["faults" if fault else "refused with one line" if ended.status else "results"] += 1
        self.slowest, self.largest = max(self.slowest, ended.seconds), max(self.largest, ended.peak)
        if fault:
            self.faults.append(f"{name}: {fault}")

    def report(self) -> dict:
        total: collections.Counter[str] = sum(self.kinds.values(), collections.Counter())
        return {
            "runs": total.total(),
            **{key: total[key] for key in ("results", "refused with one line", "faults")},
            "slowest, processor seconds": round(self.slowest, 2),
            "largest peak memory, MB": round(self.largest / 1e6),
            "by kind": {kind: dict(sorted(counts.items())) for kind, counts in sorted(self.kinds.items())},
            "what went wrong": self.faults[:100],
        }


LIMITS = {"limits": f"{SECONDS} s of processor time, {BYTES >> 20} MB"}


def write_report(what: str, report: dict, path: Path | None, argv: list[str] | None) -> str:
    """A campaign's counts, with its command, commit and versions, as text. Written to a file if one is given."""
    facts = {
        "what": what,
        "command": f"python {typed(f'benchmarks/faults/{Path(sys.argv[0]).name}', argv)}",
        "commit": code_version(),
        "machine": f"{platform.system()}, {os.cpu_count()} cores",
        "versions": {
            "Python": platform.python_version(),
            "torch": str(torch.__version__),
            "libsndfile": soundfile.__libsndfile_version__,
            "ffmpeg": _ffmpeg_version(),
        },
    }
    text = json.dumps({**facts, **report}, indent=1)
    if path:
        make_folder(path.parent)
        with whole_file(path) as temporary:
            temporary.write_text(text + "\n")
    return text


def _ffmpeg_version() -> str:
    if not shutil.which("ffmpeg"):
        return "none"
    return subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
