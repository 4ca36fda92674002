"""Convert a dataset to the course's layout: mono, 32 kHz, 16 bits.

    python prepare_dataset.py DSD100 dataset
    python prepare_dataset.py MUSDB18 dataset --songs 30 --format flac

Writes {Mixtures,Sources}/{Train,Valid,Test}/<song>/{mixture,vocals}.wav. The source is anything that the training
scripts read (see songs/layouts.py); they are faster on mono files of the right sample rate, and many times faster than
on .stem.mp4 files. A dataset's own Test songs stay Test, and Valid is drawn by artist from the others; a folder of
songs without splits is divided into all three. If the script is stopped, the same command goes on where it was, and
later takes over files that have changed; songs that are gone or come to another split need a new folder.
dataset.json records the settings and, for each finished song, its origin, levels and checksums.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import random
import shutil
import sys
from pathlib import Path

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np

from process.checksums import checksum
from process.commandline import parser_from
from process.errors import UserError, command, safe_name, whole_file
from process.locking import only_writer, visible
from songs.dataset import SPLIT_SEED, read_dataset
from songs.inspection import Levels, decibels, find_problems, in_parallel, overview, print_problems
from songs.layouts import LAYOUTS
from songs.names import folders, plain
from songs.song import Song
from sound.files import sound_info
from sound.writing import create_sound
from util import AudioConfig

MANIFEST = "dataset.json"
FORMATS = ("wav", "flac")
SUBTYPE, SAMPLE_BYTES = "PCM_16", 2
PARTS = {"mixture": "Mixtures", "vocals": "Sources"}  # stem -> folder
RESERVE = 10 * 2**20  # bytes that stay free on the disk


@dataclasses.dataclass(frozen=True)
class Job:
    """A song, the samples [first, last) at `rate` to write, and the names of the two files in the target folder."""

    song: Song
    split: str
    rate: int
    first: int
    last: int
    files: dict[str, str]  # by stem

    @property
    def key(self) -> str:
        """The song's name in the manifest."""
        return f"{self.split}/{self.song.name}"

    @property
    def sources(self) -> dict[str, list[int]]:
        """Size in bytes, and time of the last change in nanoseconds, of the files that the song is read from."""
        facts = {path.name: path.stat() for path in self.song.files}
        return {name: [fact.st_size, fact.st_mtime_ns] for name, fact in facts.items()}


def plan(splits: dict[str, list[Song]], options: argparse.Namespace) -> list[Job]:
    """What to write of each song: all of it or, with --excerpt, its middle."""
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
    """Draw `count` songs from all splits in proportion, at least one of each."""
    total = sum(map(len, splits.values()))
    if count is None or count >= total:
        return splits
    shares = {split: max(1, round(count * len(songs) / total)) for split, songs in splits.items() if songs}
    largest = max(shares, key=lambda split: shares[split])
    shares[largest] = max(1, shares[largest] + count - sum(shares.values()))  # make up for the rounding
    generator = random.Random(seed)
    return {split: generator.sample(splits[split], share) for split, share in shares.items()}


# ---------------------------------------------------------------------------------------------- one song


def write_song(job: Job, source: Path, target: Path) -> dict | UserError:
    """Write a song's two files. Returns its record for the manifest, or the error."""
    try:
        if job.song.name != safe_name(job.song.name):
            raise UserError(
                f"{job.song.mixture}: expected a song's name, found '{job.song.name}', which names a device on Windows"
            )
        paths, sources = {stem: target / file for stem, file in job.files.items()}, job.sources
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        gain, peak, levels = 1.0, *_write(job, paths, 1.0)
        if peak > 1:  # sums of stems and resampled sound may exceed full scale: lower both by the same gain
            gain = 0.999 / peak
            _write(job, paths, gain)
        return {
            "mixture": job.song.mixture.relative_to(source).as_posix(),
            "vocals": job.song.vocals.relative_to(source).as_posix(),
            "read": sources,
            "gain_dB": round(decibels(gain**2), 2),
            "levels": dataclasses.asdict(levels),
            "sha256": {job.files[stem]: checksum(path) for stem, path in paths.items()},
        }
    except UserError as error:
        for file in job.files.values():
            with contextlib.suppress(OSError):  # an empty folder would look like a song without files
                (target / file).parent.rmdir()
        return error


def _write(job: Job, paths: dict[str, Path], gain: float) -> tuple[float, Levels]:
    """Write both files times `gain`. Returns the peak, relative to full scale, and the levels before the gain."""
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


# ---------------------------------------------------------------------------------------------- all songs


def read_manifest(target: Path, settings: dict) -> dict[str, dict]:
    """The songs that an earlier run with the same settings finished. Raises UserError if `target` is anything else."""
    path = target / MANIFEST
    if not path.exists():
        there = visible(target) if target.is_dir() else set()
        if there or (target.exists() and not target.is_dir()):
            found = f"'{min(there)}' in it" if there else "a file"
            raise UserError(f"{target}: expected a new or empty folder, or a dataset to go on with, found {found}")
        return {}
    try:
        manifest = json.loads(path.read_text())
        before, songs = dict(manifest["settings"]), dict(manifest["songs"])
        for record in songs.values():
            for number in (record["gain_dB"], *dataclasses.astuple(Levels(**record["levels"]))):
                float(number)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: expected what an earlier run wrote, found something else") from error
    for name, value in settings.items():
        if before.get(name) != value:
            raise UserError(
                f"{path}: written with {name} = {before.get(name)}, cannot go on with {value}: name a new folder"
            )
    return songs


def write_manifest(target: Path, settings: dict, songs: dict[str, dict]) -> None:
    with whole_file(target / MANIFEST) as temporary:
        temporary.write_text(json.dumps({"settings": settings, "songs": dict(sorted(songs.items()))}, indent=1) + "\n")


def check_songs(jobs: list[Job], target: Path, songs: dict[str, dict]) -> None:
    """Raise UserError if `target` has songs that this call would not write: they may lie in two splits."""
    there = [path for part in PARTS.values() for split in folders(target / part) for path in folders(split)]
    keys = {plain(job.key) for job in jobs}
    for name in [*songs, *(f"{path.parent.name}/{path.name}" for path in there)]:
        if plain(name) not in keys:
            raise UserError(
                f"{target}: expected nothing but the source's songs, in their splits, found '{name}', which is gone or "
                "comes to another split now: name a new folder"
            )


def is_done(job: Job, target: Path, done: dict[str, dict]) -> bool:
    """Whether a song is in the manifest, read from files as they are now, and what was written is still there, with the
    right sample rate and length. Records of earlier versions do not tell what they were read from."""
    try:
        if job.key in done and done[job.key].get("read", job.sources) != job.sources:
            return False
        infos = [sound_info(target / file) for file in job.files.values()] if job.key in done else []
    except UserError:
        return False
    return bool(infos) and all((info.rate, info.samples) == (job.rate, job.last - job.first) for info in infos)


def check_space(jobs: list[Job], target: Path) -> None:
    needed = sum(len(PARTS) * SAMPLE_BYTES * (job.last - job.first) for job in jobs) + RESERVE
    free = shutil.disk_usage(target).free
    if free < needed:
        raise UserError(f"{target}: expected {needed / 1e9:.2f} GB of free disk space, found {free / 1e9:.2f} GB")


def write_songs(jobs: list[Job], source: Path, target: Path, settings: dict) -> list[UserError]:
    """Write the songs that no earlier run finished, and keep the manifest up to date. Returns the errors."""
    check_songs(jobs, target, read_manifest(target, settings))  # before anything is written there
    with only_writer(target):
        songs = read_manifest(target, settings)
        for path in target.rglob(".*.part.*"):
            path.unlink()  # left by a run that was killed
        done = {job.key: songs[job.key] for job in jobs if is_done(job, target, songs)}
        left = [job for job in jobs if job.key not in done]
        if done:
            print(f"songs already done: {len(done)}")
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
    parser = parser_from(__doc__)
    parser.add_argument("source", help="dataset to read: DSD100, MUSDB18, MUSDB18-HQ, MIR-1K or a folder of songs")
    parser.add_argument("target", type=Path, help="folder to write: new, empty, or that of an earlier run")
    parser.add_argument("--layout", choices=LAYOUTS, help="layout of the source (default: recognised)")
    text = "sample rate of the files, in Hz (default: %(default)s)"
    parser.add_argument("--rate", type=int, metavar="HZ", default=AudioConfig().sample_rate, help=text)
    text = "write N songs, drawn from all splits in proportion (default: all)"
    parser.add_argument("--songs", type=int, metavar="N", help=text)
    text = "write this many seconds from the middle of each song (default: all)"
    parser.add_argument("--excerpt", type=float, metavar="SECONDS", help=text)
    text = "format of the files (default: %(default)s)"
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help=text)
    text = "seed for drawing and dividing songs (default: %(default)s)"
    parser.add_argument("--seed", type=int, default=SPLIT_SEED, help=text)
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
    print_problems(dataset.unused, [], dataset.errors)

    jobs = plan(choose(dataset.songs, options.songs, options.seed), options)
    settings = {"source": Path(options.source).resolve().name, "layout": dataset.layout}
    settings |= {name: getattr(options, name) for name in ("rate", "songs", "excerpt", "format", "seed")}
    errors = [*dataset.errors, *write_songs(jobs, Path(options.source), options.target, settings)]

    report(options.target, read_manifest(options.target, settings), errors)
    if errors:
        raise UserError(f"{options.source}: {len(errors)} songs cannot be used")


def report(target: Path, records: dict[str, dict], errors: list[UserError]) -> None:
    """Print what the target holds now, and all problems."""
    if not records:
        print_problems({}, [], errors)
        return
    splits = read_dataset(target, layout="course").songs
    levels, problems, unknown = {}, [], {}
    for split, songs in splits.items():
        for song in songs:
            record = records.get(f"{split}/{song.name}")
            if record is None:
                unknown[song.mixture] = f"not in {MANIFEST}"
                continue
            levels[song.mixture] = Levels(**record["levels"])
            problems += find_problems(song, levels[song.mixture])
    lowered = [-record["gain_dB"] for record in records.values() if record["gain_dB"]]
    if lowered:
        problems.append(
            f"songs that would have clipped: {len(lowered)}, lowered by up to {max(lowered)} dB, see {MANIFEST}"
        )
    print(f"\n{target}:\n\n{overview(splits, levels)}\n")
    print_problems(unknown, problems, errors)


if __name__ == "__main__":
    sys.exit(main())
