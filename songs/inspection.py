"""A look at a dataset before it is used: songs, minutes, sample rates, levels of voice and accompaniment, problems."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from process.cores import cores
from process.errors import UserError, printable
from songs.dataset import Dataset
from songs.layouts import Reasons
from songs.song import Song

SILENT = -60.0  # dB relative to full scale: below the noise of an empty track
# The share of the vocals that the mixture must contain (`Levels.share`). In 597 clips of DSD100 and MIR-1K it is 0.92
# to 1.05; with vocals that are another clip's or 0.1 s late, it is below 0.46; with vocals at twice or half the level
# that they have in the mixture, it is a half or two. By chance, loud music contains more of a soft voice, or less.
LEAST_SHARE = 0.5
USUAL_SHARE = 0.7, 1.4
CHANCE = 0.02  # of the accompaniment's amplitude relative to the voice's

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass
class Levels:
    """Energies of a song's vocals and accompaniment (mixture minus vocals), summed up piece by piece."""

    samples: int = 0
    vocals: float = 0.0
    accompaniment: float = 0.0
    shared: float = 0.0  # inner product of mixture and vocals

    def add(self, piece: np.ndarray) -> None:
        """Add the next piece (2, samples) of mixture and vocals."""
        mixture, vocals = piece
        self.samples += len(vocals)
        self.vocals += float(vocals @ vocals)
        self.accompaniment += float((mixture - vocals) @ (mixture - vocals))
        self.shared += float(mixture @ vocals)

    def loudness(self, energy: float) -> float:
        """Mean power in dB relative to full scale (a constant 1)."""
        return decibels(energy / max(1, self.samples))

    @property
    def voice(self) -> float:
        """Level of the voice relative to the accompaniment, in dB."""
        return decibels(self.vocals / max(self.accompaniment, 1e-30))

    @property
    def share(self) -> float:
        """How much of the vocals the mixture contains, <mixture, vocals> / <vocals, vocals>.

        It is about 1 if the mixture contains these vocals, about 0 if not.
        """
        return self.shared / max(self.vocals, 1e-30)


def decibels(power: float) -> float:
    return 10 * math.log10(max(power, 1e-30))


def is_silent(song: Song) -> bool:
    """Whether a song's vocals are silent throughout. Reads no further than to the first 20 s that are not."""
    return all(decibels(float(np.square(vocals).mean())) < SILENT for _, vocals in song.pieces(song.rate))


def find_problems(song: Song, levels: Levels) -> list[str]:
    """What a careful listener would question, one line each."""
    if levels.loudness(levels.vocals) < SILENT:
        return [f"{song.name}: the vocals are silent"]
    if levels.loudness(levels.accompaniment) < SILENT:
        return [f"{song.name}: the mixture holds nothing but the vocals"]
    if levels.share < LEAST_SHARE:
        return [
            f"{song.name}: the vocals are not part of the mixture: expected a share of at least {LEAST_SHARE:g}, found "
            f"{levels.share:.2f}; are they another song's, another mix's, shifted or louder than in the mixture?"
        ]
    low, high = USUAL_SHARE
    chance = CHANCE * 10 ** (-levels.voice / 20)
    if not low - chance <= levels.share <= high + chance:
        return [
            f"{song.name}: the vocals have another level than in the mixture: expected a share of about 1, found "
            f"{levels.share:.2f}; are they {'softer, or in it twice' if levels.share > 1 else 'louder'}?"
        ]
    return []


def measure(song: Song) -> Levels | UserError:
    """Read a song once. Returns its levels, or the error if it cannot be read."""
    levels = Levels()
    try:
        for piece in song.pieces(song.rate):
            levels.add(piece)
    except UserError as error:
        return error
    return levels


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item], title: str) -> Iterator[Result]:
    """work(item) for each song's item, in order, with a progress bar.

    It works in threads, which run at the same time while they read and resample.
    """
    with ThreadPoolExecutor(cores()) as pool:
        yield from tqdm(pool.map(work, items), title, len(items), file=sys.stderr, disable=None, unit="song")


def overview(splits: dict[str, list[Song]], levels: dict[Path, Levels]) -> str:
    """A table of the splits. levels: those known, by the path of a song's mixture."""
    rows = [("", "songs", "artists", "minutes", "rate, Hz", "channels", "voice to accompaniment, dB")]
    for split, songs in splits.items():
        known = [levels[song.mixture] for song in songs if song.mixture in levels]
        voices = [round(one.voice, 1) + 0.0 for one in known if one.loudness(one.vocals) >= SILENT]  # no -0.0
        rows.append(
            (
                split,
                str(len(songs)),
                str(len({song.artist for song in songs})),
                f"{sum(song.seconds for song in songs) / 60:.1f}",
                ", ".join(str(rate) for rate in sorted({song.rate for song in songs})),
                ", ".join(str(channels) for channels in sorted({song.channels for song in songs})),
                f"{np.mean(voices) + 0.0:.1f} ({min(voices)} to {max(voices)})" if voices else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def inspect(name: str, dataset: Dataset) -> None:
    """Read all songs and print an overview and all problems. Raises UserError if some songs cannot be used."""
    songs = [song for split in dataset.songs.values() for song in split]
    levels, errors, problems = {}, list(dataset.errors), []
    for song, result in zip(songs, in_parallel(measure, songs, "reading"), strict=True):
        if isinstance(result, UserError):
            errors.append(result)
        else:
            levels[song.mixture] = result
            problems += find_problems(song, result)
    splits_of: dict[str, list[str]] = {}  # by song's name
    for split, own in dataset.songs.items():
        for twin in {song.name for song in own}:
            splits_of.setdefault(twin, []).append(split)
    for twin, splits in sorted(splits_of.items()):
        if len(splits) > 1:
            problems.append(f"{twin}: expected a song in one split, found one of this name in {' and '.join(splits)}")
    print(f"{printable(name)}: layout {dataset.layout}\n\n{overview(dataset.songs, levels)}\n")
    print_problems(dataset.unused, problems, errors)
    if errors:
        raise UserError(f"{name}: {len(errors)} of {len(songs) + len(dataset.errors)} songs cannot be used")


def print_problems(unused: Reasons, problems: Sequence[str], errors: Sequence[UserError]) -> None:
    """Print a line for each file that belongs to no song, each suspicious song, each song that cannot be used."""
    lines = [f"left out: {path}: {reason}" for path, reason in unused.items()]
    lines += [f"warning: {problem}" for problem in problems]
    lines += [f"cannot be used: {error}" for error in errors]
    print("\n".join(map(printable, lines)) if lines else "no problems found")
