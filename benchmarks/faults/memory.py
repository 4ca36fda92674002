"""Watch long runs: do memory, open files or processes grow in a training of 2,000 steps or a separation of 2 hours?

    python benchmarks/faults/memory.py --output results/faults/memory.json
    python benchmarks/faults/memory.py --steps 480 --hours 0.2

Observes the scripts and all processes that they start ten times a second (Linux only). The last fifth of the run is
compared with the second fifth, after warm-up: the maximum of memory may grow by 30 MB, the median numbers of open files
and processes may not grow. The exit status is 1 if they do. A step is one excerpt of 0.5 s; after each epoch of 16
steps come checkpoints and pictures. Libraries allocate memory up to epoch 15, so fewer than 30 epochs (480 steps) show
nothing.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.faults.common import AUDIO_OPTIONS, ROOT, training_options, write_dataset
from benchmarks.faults.forked import write_report
from Data import DSD100Dataset, MakeMagnitudeSpectrum
from process.commandline import parser_from
from process.errors import UserError, command
from songs.dataset import read_dataset
from sound.writing import create_sound
from util import AudioConfig

RATE = 16000  # Hz, of the long song
MORE = 30.0  # MB that a run may grow
EXCERPT = 0.5  # s
TRAININGS = (("feedforward", 0), ("RNN", 2))  # network, number of workers


# A training that does not draw what it writes; its arguments: the folders of code and tests, the script, its options.
UNDRAWN = """
import importlib, sys
sys.path[:0] = [sys.argv.pop(1), sys.argv.pop(1)]
from helpers import write_no_picture
from training import files
files.plot_losses = files.plot_spectrograms = write_no_picture
sys.exit(importlib.import_module(sys.argv.pop(1)).main())
"""


def family(process: int) -> list[int]:
    """The process and all its descendants."""
    members = [process]
    for member in members:
        members += map(int, Path(f"/proc/{member}/task/{member}/children").read_text().split())
    return members


def open_files(process: int) -> int:
    """Its number of open files, without the shared memory and sockets of batches in transit between processes."""
    targets = [str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir()]
    return sum(not target.startswith(("/dev/shm/", "socket:")) for target in targets)


def look_at(process: int) -> tuple[float, int, int]:
    """The memory in MB, open files and number of the processes of its family."""
    members = family(process)
    texts = [Path(f"/proc/{member}/status").read_text() for member in members]
    memory = sum(int(text.split("VmRSS:")[1].split()[0]) for text in texts) / 1024
    return memory, sum(map(open_files, members)), len(members)


def watch(line: list[str], progress: Callable[[], float]) -> dict:
    """Run a script to its end. Returns memory, open files and processes early and late in the run."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    looks = []
    while process.poll() is None:
        try:
            looks.append((progress(), *look_at(process.pid)))
        except (OSError, IndexError):  # a process has just ended
            continue
        time.sleep(0.1)
    if process.returncode:
        raise UserError(f"{' '.join(line)}: ended with {process.returncode}")
    spans = {"after warm-up": (0.2, 0.4), "at the end": (0.8, 1.0)}
    counts: dict[str, Any] = {"looks": len(looks)}
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
    rate, block, hop = map(int, AUDIO_OPTIONS[1::2])
    audio = AudioConfig(rate, block, hop)
    excerpts = len(DSD100Dataset(read_dataset(data).songs["Train"], audio, MakeMagnitudeSpectrum(), EXCERPT))
    epochs = -(-steps // excerpts)  # in whole epochs
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
    parser = parser_from(__doc__)
    parser.add_argument(
        "--steps", type=int, default=2000, metavar="N", help="steps of each training (default: %(default)s)"
    )
    parser.add_argument("--hours", type=float, default=2.0, help="length of the song in hours (default: %(default)s)")
    undrawn = "draw no pictures, which take most of the time of such short epochs"
    parser.add_argument("--undrawn", action="store_true", help=undrawn)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the counts into this JSON file")
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
