"""Run the same commands in other environments: are the results the same, bit for bit?

    python benchmarks/faults/same.py --output results/faults/same.json
    python benchmarks/faults/same.py --runs 1

A process prepares a dataset, trains both networks (with 0 or 2 workers), separates songs with both into every format,
and evaluates. Others do the same with another time zone, locale, current folder, home, umask and hash seed, and with
folders that list their files in another order every time. All files are compared byte by byte, but OGG files, whose
streams are numbered by the clock, by samples, and checkpoints and losses without commands and seconds. The exit status
is 1 if anything differs.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.faults.common import ROOT, SCRIPTS, same_run, training_options, write_dataset
from benchmarks.faults.forked import write_report
from process.commandline import parser_from
from process.errors import UserError, command
from util import wavread

ZONES = ("UTC", "Pacific/Kiritimati", "America/St_Johns", "XYZ-25:59")
LOCALES = ("C", "C.UTF-8", "POSIX", "tr_TR.UTF-8", "no such")
FORMATS = ("wav", "flac", "ogg", "mp3")

# Python runs this at the start of every process: folders list their names in random order.
SHUFFLE = """
import os, random
generator, listdir, scandir = random.Random(os.environ["SHUFFLE_SEED"]), os.listdir, os.scandir
def shuffled(names):
    names = list(names)
    generator.shuffle(names)
    return names
class Scan:
    def __init__(self, *arguments):
        with scandir(*arguments) as entries:
            self.entries = iter(shuffled(entries))
    def __iter__(self): return self.entries
    def __next__(self): return next(self.entries)
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def close(self): pass
class List:  # not a function, which would become a method where Python 3.10 makes it an attribute of a class
    def __call__(self, *arguments): return shuffled(listdir(*arguments))
os.listdir, os.scandir = List(), Scan
"""
DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import evaluate, prepare_dataset, separate_feedforward, separate_RNN, train_feedforward, train_RNN
for name, options in json.loads(sys.argv[2]):
    assert globals()[name].main(options) == 0, (name, options)
"""


def everything(data: Path, out: Path, workers: int) -> list[tuple[str, list[str]]]:
    """Scripts and their options."""
    runs, calls = out / "runs", [("prepare_dataset", [str(data), str(out / "prepared"), "--rate", "8000"])]
    checkpoints = {name: str(runs / f"savedModel_{name}_best.pt") for name in SCRIPTS}
    for name in SCRIPTS:
        calls.append((f"train_{name}", [*training_options(data, name, workers, 2), "--output", str(runs)]))
    for name, checkpoint in checkpoints.items():
        for suffix in FORMATS:
            options = [
                "--output",
                str(out / f"stems {name} {suffix}"),
                "--format",
                suffix,
                "--stems",
                "both",
                "--quiet",
            ]
            calls.append((f"separate_{name}", [str(data / "Mixtures" / "Test"), "--checkpoint", checkpoint, *options]))
    named = [f"{name}={checkpoint}" for name, checkpoint in checkpoints.items()]
    options = ["--output", str(out / "scores"), "--page", str(out / "page"), "--workers", str(workers or 1)]
    return [*calls, ("evaluate", [str(data), *options, "--checkpoint", *named])]


def run(data: Path, out: Path, workers: int, environment: dict[str, str], mask: int) -> None:
    """Run everything in one process, with this environment and nothing else in it."""
    out.mkdir()
    (out / "sitecustomize.py").write_text(SHUFFLE)
    elsewhere = out / "elsewhere"
    elsewhere.mkdir()
    line = [sys.executable, "-c", DRIVER, str(ROOT), json.dumps(everything(data, out, workers))]
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(out), "HOME": str(elsewhere), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=elsewhere, env=environment, umask=mask, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{environment}: {done.stderr}")


def different(out: Path, first: Path) -> list[str]:
    """Names of the files that differ."""
    names = {path.relative_to(folder).as_posix() for folder in (out, first) for path in folder.rglob("*.*")}
    names = {name for name in names if name.split("/")[0] not in ("elsewhere", "sitecustomize.py", "__pycache__")}
    timed = {name for name in names if name.endswith((".pt", "_loss.csv", "scores/evaluation.json"))}
    wrong = [name for name in sorted(names - timed) if not same(out / name, first / name)]
    return wrong + ([] if same_run(out / "runs", first / "runs") else ["runs"])


def same(path: Path, other: Path) -> bool:
    if not (path.exists() and other.exists()):
        return False
    if path.suffix == ".ogg":
        (waveform, rate), (other_waveform, other_rate) = wavread(path), wavread(other)
        return rate == other_rate and np.array_equal(waveform, other_waveform)
    return path.is_dir() or path.read_bytes() == other.read_bytes()


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument(
        "--runs", type=int, default=20, metavar="N", help="number of other environments (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the counts into this JSON file")
    options = parser.parse_args(argv)
    rng, wrong = random.Random(0), []
    with tempfile.TemporaryDirectory() as folder:
        data, first = write_dataset(Path(folder) / "songs"), Path(folder) / "first"
        run(data, first, 0, {"SHUFFLE_SEED": "0", "TZ": "UTC"}, 0o22)
        for number in range(1, options.runs + 1):
            environment = {"SHUFFLE_SEED": str(number), "PYTHONHASHSEED": str(number), "TZ": ZONES[number % len(ZONES)]}
            environment |= {"LC_ALL": rng.choice(LOCALES), "MPLBACKEND": rng.choice(("agg", "svg"))}
            out = Path(folder) / str(number)
            run(data, out, 2 * (number % 2), environment, rng.choice((0o22, 0o77, 0)))
            wrong += [f"{number}, {environment}: {name}" for name in different(out, first)]
            shutil.rmtree(out)
        files = sum(path.is_file() for path in first.rglob("*.*"))
    counts = {
        "runs compared with the first": options.runs,
        "files of each": files,
        "faults": len(wrong),
        "wrong": wrong,
    }
    print(write_report("the same commands in other environments", counts, options.output, argv))
    if wrong:
        raise UserError(f"{len(wrong)} files differ, see above")


if __name__ == "__main__":
    sys.exit(main())
