"""Stop trainings at random moments, resume them, and compare them with uninterrupted ones.

    python benchmarks/faults/stopping.py --output results/faults/stopping.json
    python benchmarks/faults/stopping.py --kills 4 --stops 2

Both networks, with 0 and 2 workers. SIGKILL comes at any time, while a file is being written, or right after the last
checkpoint is renamed (before the best one is written), until there were enough kills. Ctrl-C and SIGTERM go to all
processes of the script, as a terminal sends them. Reports the states found after the stops, and all faults; the exit
status is 1 if there is one. Takes about ten minutes.
"""

import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.faults.common import (
    ROOT,
    SCRIPTS,
    ended,
    forked,
    same_run,
    seconds_to_end,
    train,
    training_options,
    write_dataset,
)
from benchmarks.faults.forked import write_report
from process.commandline import parser_from
from process.errors import UserError, command

EPOCHS = 12
PARTS, LAST = ".*.part*", "*_last.pt"


def state(folder: Path) -> str:
    """The moment in which a run was killed, as its folder shows."""
    parts = [path.name for path in folder.glob(PARTS)]
    if parts:
        return "writing " + parts[0].split("_")[2].split(".")[0]
    times = [path.stat().st_mtime_ns for pattern in (LAST, "*_loss.csv") for path in folder.glob(pattern)]
    if len(times) == 1:
        return "after the first checkpoint, before the curves"
    if times and times[0] > times[1]:
        return "after the last checkpoint, before the best one or the curves"
    return "in an epoch" if times else "before the first checkpoint"


def kill_once(process: int, folder: Path, kind: str, pause: float) -> bool:
    """SIGKILL a training at a moment of this kind. Returns whether it was still running."""
    time.sleep(pause)
    before = [path.stat().st_mtime_ns for path in folder.glob(LAST)]
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        now = [path.stat().st_mtime_ns for path in folder.glob(LAST)]
        if kind == "at any time" or (kind == "writing" and list(folder.glob(PARTS))) or (now != before):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return True
    return False


def kill_trainings(data: Path, straight: Path, script, options: list[str], kills: int, seconds: float) -> dict:
    """Kill and resume until there were so many kills. Compare every run that reached its end."""
    states: collections.Counter[str] = collections.Counter()
    done, runs, wrong = 0, 0, []
    kinds = ("at any time", "writing", "at any time", "renamed")
    while done < kills:
        folder = Path(tempfile.mkdtemp(dir=data.parent))
        runs += 1
        while True:
            process = forked(train(script, options, folder))
            pause = random.uniform(0, 2 * seconds)
            if done >= kills:
                status = ended(process)
            elif kill_once(process, folder, kinds[done % len(kinds)], pause):
                done += 1
                states[state(folder)] += 1
                continue
            else:
                status = 0
            break
        if status or not same_run(folder, straight):
            wrong.append(f"run {runs}: status {status}")
        if sorted(path.name for path in folder.iterdir()) != sorted(path.name for path in straight.iterdir()):
            wrong.append(f"run {runs}: other files: {[path.name for path in folder.iterdir()]}")
    return {"kills": done, "states": dict(states), "runs compared with an uninterrupted one": runs, "wrong": wrong}


def stop_trainings(data: Path, straight: Path, name: str, options: list[str], stops: int, seconds: float) -> dict:
    """Send Ctrl-C and SIGTERM in turn, at random times, to the real script."""
    statuses: collections.Counter[str] = collections.Counter()
    longest, wrong, runs, done = 0.0, [], 0, 0
    line = [sys.executable, str(ROOT / f"train_{name}.py"), *options]
    while done < stops:
        folder = Path(tempfile.mkdtemp(dir=data.parent))
        runs += 1
        while True:
            resume = ["--resume"] if list(folder.glob(LAST)) else []
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = subprocess.Popen([*line, "--output", str(folder), *resume], start_new_session=True, **pipes)
            assert process.stdout
            process.stdout.readline()  # it has begun
            time.sleep(random.uniform(0, 3 * seconds))
            stop = done < stops and process.poll() is None
            number = (signal.SIGINT, signal.SIGTERM)[done % 2]
            if stop:
                os.killpg(process.pid, number)
                took = seconds_to_end(process)
            _, said = process.communicate()
            if not stop or process.returncode == 0:
                break
            done += 1
            longest = max(longest, took)
            statuses[f"{number.name}: {process.returncode}"] += 1
            hidden = [path.name for path in folder.glob(".*")]
            if process.returncode != 128 + number or took > 5 or said.strip() != "interrupted" or hidden:
                wrong.append(f"{number.name}: {process.returncode} after {took:.1f} s: {said[-300:]} {hidden}")
        if process.returncode or not same_run(folder, straight):
            wrong.append(f"run {runs}: status {process.returncode}: {said[-300:]}")
    return {
        "stops": done,
        "statuses": dict(statuses),
        "longest time from signal to end, s, without waiting for a processor": round(longest, 2),
        "runs compared with an uninterrupted one": runs,
        "wrong": wrong,
    }


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument(
        "--kills",
        type=int,
        default=40,
        metavar="N",
        help="kills per network and number of workers (default: %(default)s)",
    )
    parser.add_argument(
        "--stops",
        type=int,
        default=10,
        metavar="N",
        help="stops by Ctrl-C and SIGTERM, likewise (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the counts into this JSON file")
    chosen = parser.parse_args(argv)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # background jobs of a shell, and their children, ignore it
    random.seed(0)
    counts, wrong = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        data = write_dataset(Path(folder) / "songs")
        for name, script in SCRIPTS.items():
            for workers in (0, 2):
                options = training_options(data, name, workers, EPOCHS)
                straight = Path(folder) / f"straight {name} {workers}"
                started = time.perf_counter()
                assert ended(forked(train(script, options, straight))) == 0
                seconds = (time.perf_counter() - started) / EPOCHS
                own = {
                    "SIGKILL": kill_trainings(data, straight, script, options, chosen.kills, seconds),
                    "Ctrl-C and SIGTERM": stop_trainings(data, straight, name, options, chosen.stops, seconds),
                }
                wrong += sum(len(part["wrong"]) for part in own.values())
                counts[f"{name}, {workers} workers"] = own
                text = write_report("trainings stopped and resumed", counts, chosen.output, argv)
    print(text)
    if wrong:
        raise UserError(f"{wrong} runs broke a promise, see above")


if __name__ == "__main__":
    sys.exit(main())
