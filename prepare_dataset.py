"""Write a dataset as the course has it, Mixtures|Sources/{Train,Valid,Test}/<song>/{mixture,vocals}.wav, mono, 32 kHz.

    python prepare_dataset.py DSD100 dataset
    python prepare_dataset.py MUSDB18 dataset --songs 30 --format flac

Reads what the training scripts read (see layouts.py); they are faster on files of one channel and the right rate, many
times so if they were .stem.mp4. A dataset's own Test stays Test; Valid is drawn by artist from what it trains on;
a folder of songs without any split is divided into all three. Stopped and started again, it goes on where it was.
dataset.json records the settings, and of every song that is done where it is from, its level and checksums.
"""

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np

from process.errors import UserError, command, safe_name, whole_file
from process.locking import LOCK, only_writer
from songs.inspection import Levels, decibels, find_problems, in_parallel, overview, print_problems
from songs.layouts import LAYOUTS, SPLIT_SEED, read_dataset
from songs.song import Song
from sound.files import create_sound, sound_info
from util import AudioConfig

MANIFEST = "dataset.json"
FORMATS = ("wav", "flac")
SUBTYPE, SAMPLE_BYTES = "PCM_16", 2
PARTS = {"mixture": "Mixtures", "vocals": "Sources"}  # stem -> folder
ROOM = 10 * 2**20  # bytes on the disk beside what is written


@dataclasses.dataclass(frozen=True)
class Job:
    """A song, its two files' names in the target, and the samples [first, last) at `rate` that go there."""

    song: Song
    split: str
    rate: int
    first: int
    last: int
    files: dict[str, str]  # by stem

    @property
    def key(self) -> str:
        """Its name in the manifest."""
        return f"{self.split}/{self.song.name}"


def plan(splits: dict[str, list[Song]], options: argparse.Namespace) -> list[Job]:
    """What to write of which songs: all of them, or an excerpt from their middle."""
    jobs = []
    for split, songs in splits.items():
        for song in songs:
            length = song.length(options.rate)
            samples = min(length, round(options.excerpt * options.rate)) if options.excerpt else length
            first = (length - samples) // 2
            files = {stem: f"{folder}/{split}/{song.name}/{stem}.{options.format}" for stem, folder in PARTS.items()}
            jobs.append(Job(song, split, options.rate, first, first + samples, files))
    return jobs


def choose(splits: dict[str, list[Song]], count: int | None, seed: int) -> dict[str, list[Song]]:
    """So many songs, drawn from all splits in proportion, at least one of each."""
    total = sum(map(len, splits.values()))
    if count is None or count >= total:
        return splits
    shares = {split: max(1, round(count * len(songs) / total)) for split, songs in splits.items() if songs}
    largest = max(shares, key=shares.get)
    shares[largest] = max(1, shares[largest] + count - sum(shares.values()))  # what rounding took or gave
    generator = random.Random(seed)
    return {split: generator.sample(splits[split], share) for split, share in shares.items()}


# ---------------------------------------------------------------------------------------------- one song


def write_song(job: Job, source: Path, target: Path) -> dict | UserError:
    """Write a song's two files. Returns its record for the manifest, or what went wrong."""
    try:
        if job.song.name != safe_name(job.song.name):
            raise UserError(
                f"{job.song.mixture}: expected a song's name, found '{job.song.name}', a device's on Windows"
            )
        paths = {stem: target / file for stem, file in job.files.items()}
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        gain, peak, levels = 1.0, *_write(job, paths, 1.0)
        if peak > 1:  # sums of stems, and resampled sound, may be louder than full scale: softer then, both alike
            gain = 0.999 / peak
            _write(job, paths, gain)
        return {
            "mixture": job.song.mixture.relative_to(source).as_posix(),
            "vocals": job.song.vocals.relative_to(source).as_posix(),
            "gain_dB": round(decibels(gain**2), 2),
            "levels": dataclasses.asdict(levels),
            "sha256": {job.files[stem]: checksum(path) for stem, path in paths.items()},
        }
    except UserError as error:
        for file in job.files.values():
            with contextlib.suppress(OSError):  # a folder that is empty would be a song without files
                (target / file).parent.rmdir()
        return error


def _write(job: Job, paths: dict[str, Path], gain: float) -> tuple[float, Levels]:
    """Write both files times `gain`. Returns the largest peak, relative to full scale, and the levels before."""
    levels = Levels()
    with (
        create_sound(paths["mixture"], job.rate, 1, SUBTYPE) as mixture,
        create_sound(paths["vocals"], job.rate, 1, SUBTYPE) as vocals,
    ):
        for piece in job.song.pieces(job.rate, job.first, job.last):
            levels.add(piece)
            mixture.write(np.float32(gain) * piece[:1])
            vocals.write(np.float32(gain) * piece[1:])
    return max(mixture.peak, vocals.peak), levels


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------- all songs


def read_manifest(target: Path, settings: dict) -> dict[str, dict]:
    """The songs that an earlier run with the same settings has done. Raises UserError if something else is there."""
    path = target / MANIFEST
    if not path.exists():
        if target.exists() and not (target.is_dir() and {file.name for file in target.iterdir()} <= {LOCK}):
            raise UserError(
                f"{target}: expected a new or empty folder or a dataset to go on with, found something else"
            )
        return {}
    try:
        manifest = json.loads(path.read_text())
        before, songs = dict(manifest["settings"]), dict(manifest["songs"])
        for record in songs.values():
            for number in (record["gain_dB"], *dataclasses.astuple(Levels(**record["levels"]))):
                float(number)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: expected what an earlier run has written, found something else") from error
    for name, value in settings.items():
        if before.get(name) != value:
            raise UserError(f"{path}: written with {name} = {before.get(name)}, cannot go on with {value}")
    return songs


def write_manifest(target: Path, settings: dict, songs: dict[str, dict]) -> None:
    with whole_file(target / MANIFEST) as temporary:
        temporary.write_text(json.dumps({"settings": settings, "songs": dict(sorted(songs.items()))}, indent=1) + "\n")


def is_done(job: Job, target: Path, done: dict[str, dict]) -> bool:
    """Whether a song is in the manifest and its files are still there, of the right rate and length."""
    try:
        infos = [sound_info(target / file) for file in job.files.values()] if job.key in done else []
    except UserError:
        return False
    return bool(infos) and all((info.rate, info.samples) == (job.rate, job.last - job.first) for info in infos)


def check_space(jobs: list[Job], target: Path) -> None:
    needed = sum(len(PARTS) * SAMPLE_BYTES * (job.last - job.first) for job in jobs) + ROOM
    free = shutil.disk_usage(target).free
    if free < needed:
        raise UserError(f"{target}: expected {needed / 1e9:.2f} GB of free disk, found {free / 1e9:.2f} GB")


def write_songs(jobs: list[Job], source: Path, target: Path, settings: dict) -> list[UserError]:
    """Write the songs that an earlier run has not, keeping the manifest up to date. Returns what went wrong."""
    read_manifest(target, settings)
    with only_writer(target):
        return _write_songs(jobs, source, target, settings)


def _write_songs(jobs: list[Job], source: Path, target: Path, settings: dict) -> list[UserError]:
    songs = read_manifest(target, settings)
    for path in target.rglob(".*.part.*"):
        path.unlink()  # of a run that was killed
    done = {job.key: songs[job.key] for job in jobs if is_done(job, target, songs)}
    left = [job for job in jobs if job.key not in done]
    if done:
        print(f"{len(done)} songs are there already")
    check_space(left, target)
    write_manifest(target, settings, done)
    errors = []
    records = in_parallel(functools.partial(write_song, source=source, target=target), left, "writing")
    for job, record in zip(left, records, strict=True):
        if isinstance(record, UserError):
            errors.append(record)
        else:
            done[job.key] = record
            write_manifest(target, settings, done)
    return errors


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a dataset in the course's layout, mono, 16 bits.")
    parser.add_argument("source", help="DSD100, MUSDB18, MUSDB18-HQ, MIR-1K or a folder of songs")
    parser.add_argument("target", type=Path, help="folder to write: new, empty, or of a run that was stopped")
    parser.add_argument("--layout", choices=LAYOUTS, help="what the source is (default: recognised)")
    rate = AudioConfig().sample_rate
    parser.add_argument("--rate", type=int, metavar="HZ", default=rate, help="of the written files (%(default)s)")
    parser.add_argument("--songs", type=int, metavar="N", help="only so many, drawn from all splits in proportion")
    parser.add_argument("--excerpt", type=float, metavar="SECONDS", help="only so much from the middle of each song")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=SPLIT_SEED, help="of drawing and dividing songs (%(default)s)")
    options = parser.parse_args(argv)
    for name, least, most in (("rate", 1000, 768000), ("songs", 3, 10**6), ("excerpt", 0.1, 36000)):
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            parser.error(f"--{name} must be from {least} to {most}, found {value}")
    return options


@command
def main(argv: list[str] | None = None) -> None:
    options = parse_options(argv)
    dataset = read_dataset(options.source, layout=options.layout, seed=options.seed, divide_all=True)
    print(f"{options.source}: layout {dataset.layout}\n\n{overview(dataset.songs, {})}\n")
    print_problems(dataset.unpaired, [], dataset.errors)

    jobs = plan(choose(dataset.songs, options.songs, options.seed), options)
    settings = {"source": Path(options.source).resolve().name, "layout": dataset.layout}
    settings |= {name: getattr(options, name) for name in ("rate", "songs", "excerpt", "format", "seed")}
    errors = [*dataset.errors, *write_songs(jobs, Path(options.source), options.target, settings)]

    report(options.target, read_manifest(options.target, settings), errors)
    if errors:
        raise UserError(f"{options.source}: {len(errors)} songs cannot be used")


def report(target: Path, records: dict[str, dict], errors: list[UserError]) -> None:
    """Print what the target holds now, and what is wrong with it."""
    if not records:
        print_problems([], [], errors)
        return
    splits = read_dataset(target, layout="course").songs
    levels, problems, unknown = {}, [], []
    for split, songs in splits.items():
        for song in songs:
            record = records.get(f"{split}/{song.name}")
            if record is None:
                unknown.append(song.mixture)
                continue
            levels[song.mixture] = Levels(**record["levels"])
            problems += find_problems(song, levels[song.mixture])
    softer = [-record["gain_dB"] for record in records.values() if record["gain_dB"]]
    if softer:
        problems.append(
            f"{len(softer)} songs would have clipped: written up to {max(softer)} dB softer, see {MANIFEST}"
        )
    print(f"\n{target}:\n\n{overview(splits, levels)}\n")
    print_problems(unknown, problems, errors)


if __name__ == "__main__":
    sys.exit(main())
