"""Run the separation scripts on damaged sound files: does each run end with a result or with one line?

    python benchmarks/faults/sound.py --files 20000 --output results/faults/sound.json
    python benchmarks/faults/sound.py --files 100 --lines 0 --keep broken

WAV, FLAC, OGG, MP3, AIFF, CAF (and M4A, if ffmpeg is installed) with flipped bits, cut off, with wrong headers and huge
lengths, joined, with tags of all kinds, or under another format's name, see mutations.py; some of them with --partial,
and most as if ffmpeg were not installed (but M4A), which takes a fifth of the time.
Each goes through main() of separate_feedforward.py or separate_RNN.py in a forked process with the limits of forked.py,
and some also through the command line. A result must be whole, finite and as long as the other stem. Of about every
fifth file, the right answer is known: whole ones, with tags or joined, must give stems as long as they are, and those
that are only cut off, none. The exit status is 1 if a promise is broken.
"""

import dataclasses
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402

import separate_feedforward  # noqa: E402
import separate_RNN  # noqa: E402
from benchmarks.faults.forked import LIMITS, PATIENCE, Counts, Ended, reading, run_all, write_report  # noqa: E402
from benchmarks.faults.mutations import damaged, whole_files, with_known_answer  # noqa: E402
from Model import FeedforwardNetwork  # noqa: E402
from Model_RNN import RecurrentNetwork  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command, make_folder  # noqa: E402
from util import AudioConfig, save_checkpoint  # noqa: E402

SCRIPTS: dict[type[Any], ModuleType] = {FeedforwardNetwork: separate_feedforward, RecurrentNetwork: separate_RNN}
OUTPUTS = ("wav", "wav", "wav", "flac", "ogg", "mp3")
WRONG_NAMES = ("mp3", "wav", "flac", "m4a", "raw", "gsm", "txt", "x")
AT_ONCE = 100  # files that are written, then separated
START_UP = 10.0  # additional processor seconds for loading Python and torch


def make_networks(folder: Path) -> dict[type, Path]:
    """Checkpoints of small networks with random weights."""
    audio, paths = AudioConfig(8000, 256, 128), {}
    for network_class in SCRIPTS:
        torch.manual_seed(0)
        network = network_class(network_class.Config(bins=audio.bins, hidden=16, code=8))
        paths[network_class] = folder / f"{network_class.name}.pt"
        save_checkpoint(paths[network_class], network, audio)
    return paths


def look_at(stems: Path, samples: int | None) -> str:
    """What is wrong with a result, '' if nothing. samples: how many it must have, if known."""
    files = sorted(stems.iterdir())
    if len(files) != 2:
        return f"exit status 0 with {len(files)} files: {[file.name for file in files]}"
    lengths = set()
    for file in files:
        waveform, _ = soundfile.read(file, always_2d=True)
        if not np.isfinite(waveform).all():
            return f"{file.name} is not finite"
        lengths.add(waveform.shape)
    if len(lengths) > 1 or not len(waveform):
        return f"stems of {lengths} samples and channels"
    return "" if samples in (None, len(waveform)) else f"expected {samples} samples, found {len(waveform)}"


@dataclasses.dataclass
class Separation:
    """A damaged file on its way through a script. samples: how many it holds, if known; 0 if it must be refused."""

    name: str
    kind: str
    song: Path
    stems: Path
    script: ModuleType
    argv: list[str]
    samples: int | None = None
    programs: str = os.environ["PATH"]  # where those are that it may start

    def run(self) -> int:
        os.environ["PATH"] = self.programs
        return self.script.main(self.argv)

    def fault(self, ended: Ended) -> str:
        fault, left = ended.fault(), [file.name for file in self.stems.iterdir()]
        if fault:
            return fault
        if ended.status == 0:
            return look_at(self.stems, self.samples)
        return f"exit status 1 left {left}" if left else f"refused: {ended.err}" if self.samples else ""

    def through_line(self) -> Ended:
        """Through the command line, instead of the fork."""
        line = [sys.executable, str(self.script.__file__), *self.argv]
        before = os.times()
        with (self.song if self.argv[0] == "-" else Path(os.devnull)).open("rb") as data:
            try:
                run = subprocess.run(
                    line,
                    stdin=data,
                    capture_output=True,
                    text=True,
                    timeout=20 * PATIENCE,  # a busy machine takes long to load torch
                    env={**os.environ, "PATH": self.programs},
                )
            except subprocess.TimeoutExpired:
                run = subprocess.CompletedProcess(line, -signal.SIGKILL, "", "")
        spent = sum(os.times()[2:4]) - sum(before[2:4]) - START_UP
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # of all runs so far
        return Ended(run.returncode, run.stdout, run.stderr, spent, peak)


def prepare(number: int, seed: int, files: dict[str, list[bytes]], networks: dict[type, Path], folder: Path):
    """Write a damaged file and choose a random way to separate it."""
    rng, extension = np.random.default_rng([seed, number]), list(files)[number % len(files)]
    misnamed, known, partial = (rng.random() < share for share in (0.15, 0.2, 0.2))  # misnamed as downloaders do
    suffix = WRONG_NAMES[rng.integers(len(WRONG_NAMES))] if misnamed else extension
    song, stems = folder / f"{number}.{suffix}", folder / f"stems {number}"
    data, what, samples = damaged(rng, extension, files), "damaged", None
    if known:
        data, what, samples = with_known_answer(rng, extension, files)
        samples = None if partial and not samples else samples
    song.write_bytes(data)
    stems.mkdir()
    network_class = list(SCRIPTS)[rng.integers(2)]
    piped = extension == "wav" and not known and rng.random() < 0.2
    argv = ["-" if piped else str(song), "--output", f"{stems}/{{stem}}.{OUTPUTS[rng.integers(len(OUTPUTS))]}"]
    argv += ["--partial"] if partial else []
    argv += ["--stems", "both", "--quiet", "--device", "cpu", "--checkpoint", str(networks[network_class])]
    kind = ", ".join((extension, what, *(["misnamed"] if misnamed else [])))
    programs = os.environ["PATH"] if extension == "m4a" or rng.random() < 0.25 else ""
    return Separation(song.name, kind, song, stems, SCRIPTS[network_class], argv, samples, programs)


def run_campaign(
    count: int, seed: int, lines: int, keep: Path | None = None, processes: int = 1, hours: float = math.inf
) -> Iterator[dict]:
    """Yield the counts so far, after every 1000 files, and at the end."""
    end = time.monotonic() + 3600 * hours
    counts, whole, every = Counts(), Counts(), max(1, count // max(1, lines))

    def add(own: Counts, separation: Separation, ended: Ended) -> None:
        fault = separation.fault(ended)
        own.add(separation.kind, separation.name, ended, fault)
        if fault:
            print(f"{separation.name}: {fault}", file=sys.stderr, flush=True)
            if keep:
                shutil.copy(separation.song, make_folder(keep) / separation.name)

    with tempfile.TemporaryDirectory() as temporary:
        networks, files = make_networks(Path(temporary)), whole_files(Path(temporary))
        for start in range(0, count, AT_ONCE):
            with tempfile.TemporaryDirectory(dir=temporary) as folder:
                numbers = range(start, min(start + AT_ONCE, count))
                chosen = [prepare(number, seed, files, networks, Path(folder)) for number in numbers]
                calls = [reading(one.song, one.run) if one.argv[0] == "-" else one.run for one in chosen]
                for number, one, ended in zip(numbers, chosen, run_all(calls, Path(folder), processes), strict=True):
                    add(counts, one, ended)
                    if lines and number % every == (number // every) % every:  # of all formats in turn
                        for file in one.stems.iterdir():
                            file.unlink()
                        add(whole, one, one.through_line())
            is_last = numbers.stop == count or time.monotonic() > end
            if numbers.stop % 1000 == 0 or is_last:
                yield {"forked": counts.report(), "through the command line": whole.report()}
            if is_last:
                return


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("--files", type=int, default=20000, metavar="N", help="number of files (default: %(default)s)")
    parser.add_argument(
        "--lines",
        type=int,
        default=40,
        metavar="N",
        help="run N of them through the command line, too (default: %(default)s)",
    )
    parser.add_argument(
        "--hours", type=float, default=math.inf, metavar="N", help="end after these, with the files so far"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the damage (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="at once (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy files that break a promise into this folder")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the counts into this JSON file")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    what = "damaged sound files through separate_feedforward.py and separate_RNN.py"
    run = run_campaign(options.files, options.seed, options.lines, options.keep, options.processes, options.hours)
    for report in run:
        text = write_report(what, LIMITS | report, options.output, argv)
    print(text)
    faults = report["forked"]["faults"] + report["through the command line"]["faults"]
    if faults:
        raise UserError(f"{faults} runs broke a promise, see above")


if __name__ == "__main__":
    sys.exit(main())
