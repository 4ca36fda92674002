"""Long runs: does a training of 2,000 steps, or the separation of 2 hours, grow while it goes on?

    python benchmarks/faults/memory.py --output results/faults/memory.json

Looks at the real scripts ten times a second, with all processes that they start: memory, open files, processes. What
they have in the last fifth of the run is compared with what they had in the second fifth, after warm-up: at the most,
memory may be 30 MB more; usually (by the median, as files are opened for a moment), files and processes may not be
more. The exit status is 1 if one is. A step is one excerpt of 0.5 s, an epoch 16 of them, then come checkpoints and
pictures. Libraries take memory for the first time until epoch 15, nearly all of it until epoch 12: fewer than 30 epochs
(480 steps) say nothing. (Linux.)
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.faults.common import AUDIO_OPTIONS, ROOT, training_options, write_dataset
from benchmarks.faults.forked import write_report
from Data import DSD100Dataset, MakeMagnitudeSpectrum
from process.errors import UserError, command
from songs.layouts import read_dataset
from sound.files import create_sound
from util import AudioConfig

RATE = 16000  # Hz, of the long song: the pretrained networks' own
MORE = 30.0  # MB that a run may grow
EXCERPT = 0.5  # s
TRAININGS = (("feedforward", 0), ("RNN", 2))  # with so many processes that read songs


# A training that does not draw what it writes; its arguments: the folders of code and tests, the script, its options.
UNDRAWN = """
import importlib, sys
sys.path[:0] = [sys.argv.pop(1), sys.argv.pop(1)]
from helpers import write_no_picture
from training import loop
loop.plot_losses = loop.plot_spectrograms = write_no_picture
sys.exit(importlib.import_module(sys.argv.pop(1)).main())
"""


def family(process: int) -> list[int]:
    """The process and all that it has started, directly or not."""
    members = [process]
    for member in members:
        members += map(int, Path(f"/proc/{member}/task/{member}/children").read_text().split())
    return members


def open_files(process: int) -> int:
    """How many files it holds open, without batches on their way between processes: shared memory, and its sockets."""
    targets = [str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir()]
    return sum(not target.startswith(("/dev/shm/", "socket:")) for target in targets)


def look_at(process: int) -> tuple[float, int, int]:
    """Its family's memory (MB), open files and number."""
    members = family(process)
    texts = [Path(f"/proc/{member}/status").read_text() for member in members]
    memory = sum(int(text.split("VmRSS:")[1].split()[0]) for text in texts) / 1024
    return memory, sum(map(open_files, members)), len(members)


def watch(line: list[str], progress: Callable[[], float]) -> dict:
    """Run a script to its end. Returns the most of everything early and late in it."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    looks = []
    while process.poll() is None:
        try:
            looks.append((progress(), *look_at(process.pid)))
        except (OSError, IndexError):  # one of them has just ended
            continue
        time.sleep(0.1)
    if process.returncode:
        raise UserError(f"{' '.join(line)}: ended with {process.returncode}")
    spans = {"after warm-up": (0.2, 0.4), "at the end": (0.8, 1.0)}
    counts = {"looks": len(looks)}
    for name, (start, end) in spans.items():
        memory, files, processes = zip(*(look[1:] for look in looks if start <= look[0] < end), strict=True)
        usual = {"open files": statistics.median_low(files), "processes": statistics.median_low(processes)}
        counts[name] = {"memory, MB": round(max(memory), 1), **usual}
    early, late = (counts[name] for name in spans)
    grown = late["memory, MB"] - early["memory, MB"]
    more = late["open files"] > early["open files"] or late["processes"] > early["processes"]
    return counts | {"grown, MB": round(grown, 1), "faults": int(grown > MORE or more)}


def watch_training(name: str, workers: int, steps: int, drawn: bool, folder: Path) -> dict:
    data = folder / "data"
    if not data.exists():
        write_dataset(data)
    audio = AudioConfig(*map(int, AUDIO_OPTIONS[1::2]))
    excerpts = len(DSD100Dataset(read_dataset(data).songs["Train"], audio, MakeMagnitudeSpectrum(), EXCERPT))
    epochs = -(-steps // excerpts)  # all steps, in whole epochs
    curve = folder / f"{name} {workers}" / f"savedModel_{name}_loss.csv"
    options = training_options(data, name, workers, epochs)
    options += ["--excerpt", str(EXCERPT), "--batch-size", "1", "--output", str(curve.parent)]

    def progress() -> float:
        return (len(curve.read_text().splitlines()) - 1) / epochs if curve.exists() else 0.0

    undrawn = ["-c", UNDRAWN, str(ROOT), str(ROOT / "tests"), f"train_{name}"]
    script = [str(ROOT / f"train_{name}.py")] if drawn else undrawn
    counts = watch([sys.executable, *script, *options], progress)
    return {"steps": epochs * excerpts, "epochs": epochs} | counts


def watch_separation(name: str, hours: float, folder: Path) -> dict:
    song, stems, seconds = folder / "song.wav", folder / "stems", round(hours * 3600)
    minute = 0.1 * np.random.default_rng(0).standard_normal((1, 60 * RATE), np.float32)
    with create_sound(song, RATE, 1, "PCM_16") as file:
        for start in range(0, seconds, 60):
            file.write(minute[:, : (seconds - start) * RATE])

    def progress() -> float:
        written = max((path.stat().st_size for path in stems.glob(".*vocals*")), default=0)
        return written / song.stat().st_size

    line = [sys.executable, str(ROOT / f"separate_{name}.py"), "--quiet", str(song), "--stems", "both", "--output"]
    return {"hours": hours} | watch([*line, str(stems)], progress)


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="of each training (%(default)s)")
    parser.add_argument("--hours", type=float, default=2.0, help="of the song (%(default)s)")
    parser.add_argument("--undrawn", action="store_true", help="no pictures, which take most of such short epochs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the counts there")
    options = parser.parse_args(argv)
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, workers in TRAININGS:
            counts = watch_training(name, workers, options.steps, not options.undrawn, Path(folder))
            report[f"train_{name}.py, {workers} workers"] = counts
        report["separate_RNN.py"] = watch_separation("RNN", options.hours, Path(folder))
    print(write_report("memory, open files and processes of long runs", report, options.output, argv))
    if any(own["faults"] for own in report.values()):
        raise UserError("a run has grown, see above")


if __name__ == "__main__":
    sys.exit(main())
