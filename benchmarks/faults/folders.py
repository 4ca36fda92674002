"""Run Data.py and prepare_dataset.py on damaged datasets: does each run end with a result or with one line?

    python benchmarks/faults/folders.py --folders 2000 --output results/faults/folders.json
    python benchmarks/faults/folders.py --folders 30 --seed 1

Small datasets in every layout, with files and folders lost, renamed (also to invalid text, to other parts of a song,
and in case only), moved, copied, joined, cut off, damaged as in mutations.py, linked to each other, or replaced by
folders, pipes, and links to nowhere or in a circle; and prepared datasets, to be continued, with a damaged
dataset.json. The output of prepare_dataset.py must be readable, and nothing may appear beside its folder. The limits
are those of forked.py. The exit status is 1 if a promise is broken.
"""

import dataclasses
import functools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
import torch  # noqa: E402

import Data  # noqa: E402
import prepare_dataset  # noqa: E402
from benchmarks.faults.forked import LIMITS, Counts, Ended, run_all, write_report  # noqa: E402
from benchmarks.faults.mutations import ANY, damaged, whole_files  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command  # noqa: E402
from songs.dataset import read_dataset  # noqa: E402
from util import wavwrite  # noqa: E402

RATE = 8000
AT_ONCE = 50  # datasets that are damaged, then run
LAYOUTS = {  # files; names other than mixture and vocals are other stems
    "course": [
        f"{folder}/{split}/{song}/{stem}.wav"
        for split, song in (("Train", "a - one"), ("Train", "b - two"), ("Valid", "c - three"), ("Test", "d - four"))
        for folder, stem in (("Mixtures", "mixture"), ("Sources", "vocals"))
    ],
    "DSD100": [
        f"{folder}/{split}/{song}/{stem}.wav"
        for split, song in (("Dev", "001 - a - one"), ("Dev", "002 - b - two"), ("Test", "003 - c - three"))
        for folder, stem in (("Mixtures", "mixture"), ("Sources", "vocals"))
    ],
    "MUSDB18": [
        f"{split}/{song}/{stem}.flac"
        for split, song in (("train", "a - one"), ("train", "b - two"), ("test", "c - three"))
        for stem in ("mixture", "vocals", "drums")
    ],
    "MIR-1K": [f"Wavfile/{name}.wav" for name in ("abjones_1_01", "abjones_5_01", "amy_1_01", "bug_1_01", "leon_2_03")],
    "folder": [f"{song}/{stem}.ogg" for song in ("one", "two", "three") for stem in ("vocals", "bass", "drums")],
    "pairs": [f"{song}_{part}.mp3" for song in ("one", "two", "three") for part in ("mix", "vocals")],
}
NAMES = (
    b"vocals.wav",
    b"mixture.wav",
    b"..wav",
    b"...wav",
    b"a\nb.wav",
    b"\xff\xfe.wav",
    b"con.wav",
    b"-o.wav",
    b"x" * 250,
    "é ü 歌.wav".encode(),
    b"<!--<script>.wav",
    b"%03d.wav",
    b"\x1b[2J.wav",
    b"a.stem.mp4",
    b"a_mix.wav",
    b"MIXTURE.WAV",
    b"Vocals.FLAC",
    b"mix.wav",
    b"one (Vocals).mp3",
    b"no vocals.wav",
    b"drums.ogg",
    b"vocals.m4a",
    "Jo\u0301ga_vocals.wav".encode(),
    b"test",
)


def make_dataset(folder: Path, files: list[str]) -> None:
    for number, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = 2 if name.startswith("Wavfile") else 1
        wavwrite(path, 0.1 * np.random.default_rng(number).standard_normal((channels, RATE // 4)), RATE)


# ---------------------------------------------------------------------------------------------- damage


def harm(rng: np.random.Generator, folder: Path, sounds: dict[str, list[bytes]]) -> None:
    """Do one kind of damage to a dataset."""
    paths = sorted(os.fsencode(path) for path in folder.rglob("*"))
    if not paths:
        return
    path, other = (Path(os.fsdecode(paths[rng.integers(len(paths))])) for _ in range(2))
    name = os.fsdecode(NAMES[rng.integers(len(NAMES))])
    kind = rng.integers(12)
    try:
        if kind <= 1 and path.is_file():
            extension = path.suffix[1:] if path.suffix[1:] in sounds else "wav"
            change = ANY[rng.integers(len(ANY))]
            path.write_bytes(damaged(rng, extension, sounds) if kind else change(rng, path.read_bytes()))
        elif kind == 2:
            path.rename(path.with_name(name))
        elif kind == 3 and path.is_file():
            shutil.copy(path, other if other.is_dir() else other.with_name(name))
        elif kind == 4:
            path.rename(other / path.name if other.is_dir() else other)
        elif kind == 9:
            path.rename(path.with_name(path.name.swapcase()))
        elif kind == 10:
            path.with_name(name).symlink_to(other)  # such as an album in its own folder
        elif kind == 11 and path.is_file() and other.is_file():
            path.write_bytes(path.read_bytes() + other.read_bytes())
        else:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            if kind == 5:
                path.mkdir()
            elif kind == 6:
                path.symlink_to(["nowhere", path.name, "..", "/dev/zero", "/proc/self/mem"][rng.integers(5)])
            elif kind == 7:
                os.mkfifo(path)
    except OSError:
        pass  # such as moving a folder into itself


def harm_manifest(rng: np.random.Generator, path: Path) -> None:
    """Put other bytes, or another value somewhere, into dataset.json."""
    if not path.is_file():
        return
    if rng.random() < 0.5:
        path.write_bytes(ANY[rng.integers(len(ANY))](rng, path.read_bytes()))
        return
    manifest = json.loads(path.read_text())
    at = manifest
    while isinstance(at, dict) and at:
        inside, key = at, list(at)[rng.integers(len(at))]
        at = inside[key]
        if rng.random() < 0.2:
            break
    values: tuple = (None, 0, -1, 1e308, "", "../../x", [], {}, [[]] * 3, {"a": None}, True, float("nan"))
    inside[key] = values[rng.integers(len(values))]
    path.write_text(json.dumps(manifest))


# ---------------------------------------------------------------------------------------------- campaign


def look_at(target: Path) -> str:
    """What is wrong with a prepared dataset, '' if nothing."""
    left = list(target.rglob(".*.part*"))
    if not any(target.glob("Mixtures/*/*")):
        return f"unfinished: {left}" if left else ""
    errors = read_dataset(target, layout="course").errors
    return f"unfinished: {left}" if left else f"unreadable: {errors[0]}" if errors else ""


@dataclasses.dataclass
class Case:
    """A damaged dataset, alone in its folder, and the folder of the prepared one."""

    name: str
    layout: str
    rng: np.random.Generator
    place: Path
    beside: set[Path] = dataclasses.field(default_factory=set)  # what the damage itself has put there through a link

    @property
    def source(self) -> Path:
        return self.place / "source"

    @property
    def target(self) -> Path:
        return self.place / "target"

    def look(self) -> int:
        return Data.main([str(self.source)])

    def prepare(self) -> int:
        return prepare_dataset.main([str(self.source), str(self.target), "--rate", str(RATE)])

    def fault(self, ended: Ended, is_new: bool) -> str:
        beside = set(self.place.iterdir()) - self.beside - {self.source, self.target}
        if ended.fault() or beside:
            return ended.fault() or f"wrote {sorted(path.name for path in beside)}"
        return look_at(self.target) if is_new and (self.target / "Mixtures").exists() else ""


def make_case(number: int, seed: int, whole: Path, sounds: dict[str, list[bytes]], folder: Path) -> Case:
    layout = list(LAYOUTS)[number % len(LAYOUTS)]
    case = Case(f"{seed}-{number}", layout, np.random.default_rng([seed, number]), folder / str(number))
    shutil.copytree(whole / layout, case.source)
    for _ in range(case.rng.integers(1, 6)):
        harm(case.rng, case.source, sounds)
    case.beside.update(case.place.iterdir())
    return case


def run_campaign(count: int, seed: int) -> Iterator[dict]:
    """Yield the counts so far, after every AT_ONCE datasets."""
    rounds = {"Data.py": Case.look, "prepare_dataset.py": Case.prepare, "prepare_dataset.py again": Case.prepare}
    counts = {name: Counts() for name in rounds}
    with tempfile.TemporaryDirectory() as temporary:
        sounds, whole = whole_files(Path(temporary)), Path(temporary) / "whole"
        for layout, files in LAYOUTS.items():
            make_dataset(whole / layout, files)
        for start in range(0, count, AT_ONCE):
            with tempfile.TemporaryDirectory(dir=temporary) as folder:
                numbers = range(start, min(start + AT_ONCE, count))
                cases = [make_case(number, seed, whole, sounds, Path(folder)) for number in numbers]
                for name, work in rounds.items():
                    if name.endswith("again"):
                        for case in cases:
                            harm_manifest(case.rng, case.target / prepare_dataset.MANIFEST)
                    calls = [functools.partial(work, case) for case in cases]
                    for case, ended in zip(cases, run_all(calls, Path(temporary)), strict=True):
                        fault = case.fault(ended, name == "prepare_dataset.py")
                        counts[name].add(case.layout, case.name, ended, fault)
                        if fault:
                            print(f"{name} {case.name} {case.layout}: {fault}", file=sys.stderr, flush=True)
            yield {name: own.report() for name, own in counts.items()}


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument(
        "--folders", type=int, default=2000, metavar="N", help="number of datasets (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the damage (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the counts into this JSON file")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    what = "damaged datasets through Data.py and prepare_dataset.py"
    for report in run_campaign(options.folders, options.seed):
        text = write_report(what, LIMITS | report, options.output, argv)
    print(text)
    faults = sum(own["faults"] for own in report.values())
    if faults:
        raise UserError(f"{faults} runs broke a promise, see above")


if __name__ == "__main__":
    sys.exit(main())
