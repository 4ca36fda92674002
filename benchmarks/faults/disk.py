"""Run every script on disks that are too small: are the files that it leaves whole?

    python benchmarks/faults/disk.py --output results/faults/disk.json
    python benchmarks/faults/disk.py --runs 6 --seed 1

Each run gets its own file system in memory, invisible to other processes (Linux: unshare), with anything from no room
to more than it needs. A training finds its first epoch there. The script must end with a result, or with one line about
a full disk; every file must be whole, and none hidden. With more room, the same command must then succeed: a training
resumes from its last checkpoint. The exit status is 1 if a promise is broken.
"""

import csv
import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import evaluate
import prepare_dataset
import separate_feedforward
import separate_RNN
from benchmarks.faults import forked
from benchmarks.faults.common import SCRIPTS, train, training_options, write_dataset
from benchmarks.faults.forked import Counts, run_forked, write_report
from process.commandline import parser_from
from process.errors import UserError, command
from util import load_checkpoint, wavread

forked.SECONDS = 60  # an evaluation starts more processes
INSIDE = "FAULTS_DISK"  # environment variable, set where disks can be mounted
CAUSES = ("No space left on device", "of free disk space, found", "as on a full disk")
PLENTY = 256 << 20  # bytes, enough for any run, even a training with its last checkpoint and the one before


def is_whole(path: Path) -> bool:
    if path.suffix == ".pt":
        return bool(load_checkpoint(path)["weights"])
    if path.suffix in (".wav", ".flac", ".ogg", ".mp3"):
        return wavread(path)[0].size > 0
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return len({len(row) for row in csv.reader(file)}) == 1 and path.read_bytes().endswith(b"\n")
    if path.suffix == ".json":
        return bool(json.loads(path.read_text()))
    ends = {".md": b"\n", ".html": b"</html>\n", ".js": b"\n", ".png": b"IEND\xaeB`\x82"}
    data = path.read_bytes()
    return data.endswith(ends[path.suffix]) or (path.suffix == ".png" and not any(data))  # see common.train


def look_at(disk: Path) -> str:
    """What is wrong with the files that a run has left, '' if nothing."""
    for path in disk.rglob("*"):
        if path.name.startswith("."):
            return f"left {path.name}"
        try:
            if path.is_file() and not is_whole(path):
                return f"{path.name} is not whole"
        except Exception as error:
            return f"{path.name} cannot be read: {error}"
    return ""


def works(data: Path, trained: Path) -> dict[str, Callable[[Path, random.Random], Callable[[], int]]]:
    """{script: (disk, generator) -> call that writes to the disk}."""
    song = data / "Mixtures" / "Test" / "ember"

    def best(name: str) -> str:
        return str(trained / name / f"savedModel_{name}_best.pt")

    def separate(script, disk: Path, rng: random.Random) -> Callable[[], int]:
        name = Path(script.__file__).stem.removeprefix("separate_")
        argv = [str(song), "--output", str(disk), "--stems", "both", "--quiet", "--checkpoint", best(name)]
        argv += ["--format", rng.choice(("wav", "flac", "ogg", "mp3"))]
        return lambda: script.main(argv)

    def judge(disk: Path, rng: random.Random) -> Callable[[], int]:
        argv = [str(data), "--output", str(disk / "scores"), "--page", str(disk / "page"), "--workers", "1"]
        return lambda: evaluate.main([*argv, "--checkpoint"])  # no network, which would be announced on stderr

    def go_on(name: str, disk: Path, rng: random.Random) -> Callable[[], int]:
        return lambda: train(SCRIPTS[name], training_options(data, name, 0, 3), disk)()

    return {
        "train_feedforward.py": functools.partial(go_on, "feedforward"),
        "train_RNN.py": functools.partial(go_on, "RNN"),
        "separate_feedforward.py": functools.partial(separate, separate_feedforward),
        "separate_RNN.py": functools.partial(separate, separate_RNN),
        "prepare_dataset.py": lambda disk, rng: lambda: prepare_dataset.main([str(data), str(disk), "--rate", "8000"]),
        "evaluate.py": judge,
    }


def pages(path: Path) -> int:
    """Bytes that a file takes in memory, in whole pages."""
    return -(-path.stat().st_size // 4096) * 4096


def run_campaign(count: int, seed: int) -> dict:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data, trained, disk = write_dataset(folder / "data"), folder / "trained", folder / "disk"
        for name, script in SCRIPTS.items():
            ended = run_forked(train(script, training_options(data, name, 0, 1), trained / name), folder)
            assert not ended.status, ended.err
        chosen = works(data, trained)
        counts, needed = {name: Counts() for name in chosen}, {}
        for number in range(count):
            name = list(chosen)[number % len(chosen)]
            network = name.removesuffix(".py").removeprefix("train_")
            shutil.rmtree(disk, ignore_errors=True)
            disk.mkdir()
            if name not in needed:
                ended = run_forked(chosen[name](disk, rng), folder)
                assert not ended.status, ended.err
                needed[name] = sum(pages(path) for path in disk.rglob("*") if path.is_file())
            before = list((trained / network).glob("*"))  # a training's first epoch
            before_size = sum(map(pages, before))
            size = rng.randrange(before_size, int(1.7 * needed[name] + before_size)) // 4096 * 4096
            mount = ["mount", "-t", "tmpfs", "-o", f"size={max(size, 4096)}", "faults", str(disk)]
            subprocess.run(mount, check=True)
            try:
                for path in before:
                    shutil.copy(path, disk)
                call = chosen[name](disk, rng)
                ended = run_forked(call, folder)
                fault = ended.fault() or look_at(disk)
                if not fault and ended.status and not any(cause in ended.err for cause in CAUSES):
                    fault = f"said {ended.err}"
                if not fault and before and not list(disk.glob("*_last.pt")):
                    fault = "lost the checkpoint that was there"
                counts[name].add("first", f"{seed}-{number}", ended, fault)
                subprocess.run(["mount", "-o", f"remount,size={PLENTY}", str(disk)], check=True)
                again = run_forked(call, folder)
                worse = again.fault() or look_at(disk)
                if not worse and again.status:
                    worse = f"with more room: {again.err}"
                counts[name].add("again, with more room", f"{seed}-{number}", again, worse)
            finally:
                subprocess.run(["umount", str(disk)], check=True)
            if fault or worse:
                print(f"{name} {seed}-{number}, {size} bytes: {fault or worse}", file=sys.stderr, flush=True)
    return {name: own.report() for name, own in counts.items()}


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument(
        "--runs", type=int, default=240, metavar="N", help="runs of the six scripts in turn (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the disks' sizes (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the counts into this JSON file")
    options = parser.parse_args(argv)
    report = run_campaign(options.runs, options.seed)
    print(write_report("scripts on disks that are too small", report, options.output, argv))
    faults = sum(own["faults"] for own in report.values())
    if faults:
        raise UserError(f"{faults} runs broke a promise, see above")


if __name__ == "__main__":
    if INSIDE not in os.environ:
        line = ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv]
        os.execvpe(line[0], line, {**os.environ, INSIDE: "yes"})
    sys.exit(main())
