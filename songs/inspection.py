"""Looking at a dataset before using it: songs, minutes, rates, levels of voice and accompaniment, what is wrong."""

import dataclasses
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from process.errors import UserError
from songs.layouts import Dataset
from songs.song import Song

SILENT = -60.0  # dB below full scale: softer than the noise that an empty track holds
# Least share of the vocals that the mixture must hold (`Levels.share`). In 597 clips of DSD100 and MIR-1K it is 0.92 to
# 1.05; under another clip's mixture, or 0.1 s late, it is below 0.46.
WITHIN = 0.5


@dataclasses.dataclass
class Levels:
    """Energies of a song's mixture, vocals and accompaniment (their difference), added up piece by piece."""

    samples: int = 0
    vocals: float = 0.0
    accompaniment: float = 0.0
    shared: float = 0.0  # inner product of mixture and vocals

    def add(self, piece: np.ndarray) -> None:
        """Take the next piece (2, samples) of mixture and vocals."""
        mixture, vocals = piece
        self.samples += len(vocals)
        self.vocals += float(vocals @ vocals)
        self.accompaniment += float((mixture - vocals) @ (mixture - vocals))
        self.shared += float(mixture @ vocals)

    def loudness(self, energy: float) -> float:
        """Level of the mean power in dB relative to full scale (a constant 1)."""
        return decibels(energy / max(1, self.samples))

    @property
    def voice(self) -> float:
        """Level of the voice against the accompaniment in dB."""
        return decibels(self.vocals / max(self.accompaniment, 1e-30))

    @property
    def share(self) -> float:
        """How much of the voice the mixture holds: 1 if it is in there as it is, about 0 if it is not.

        It is <mixture, vocals> / <vocals, vocals>, the correlation relative to what the voice's level makes of it.
        """
        return self.shared / max(self.vocals, 1e-30)


def decibels(power: float) -> float:
    return 10 * math.log10(max(power, 1e-30))


def find_problems(song: Song, levels: Levels) -> list[str]:
    """What a careful listener would ask about, a line each."""
    if levels.loudness(levels.vocals) < SILENT:
        return [f"{song.name}: the vocals are silent"]
    if levels.loudness(levels.accompaniment) < SILENT:
        return [f"{song.name}: the mixture is the vocals, nothing else"]
    if levels.share < WITHIN:
        return [
            f"{song.name}: the vocals are not part of the mixture: {levels.share:.2f} of them found in it, expected "
            f"{WITHIN:g} or more; another song's, another mix's or shifted"
        ]
    return []


def measure(song: Song) -> Levels | UserError:
    """Read a song once; an error instead of its levels if that fails."""
    levels = Levels()
    try:
        for piece in song.pieces(song.rate):
            levels.add(piece)
    except UserError as error:
        return error
    return levels


def in_parallel(work: Callable, songs: Sequence[Song], title: str) -> Iterator:
    """work(song) of all songs in their order, in threads (reading and resampling leave Python), with progress."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from tqdm(pool.map(work, songs), title, len(songs), file=sys.stderr, disable=None, unit="song")


def overview(splits: dict[str, list[Song]], levels: dict[Path, Levels]) -> str:
    """A table of the splits; levels: by a song's mixture, as far as known."""
    rows = [("", "songs", "artists", "minutes", "rate, Hz", "channels", "voice against accompaniment, dB")]
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
    """Read all songs and print what is there and what is wrong. Raises UserError if some songs cannot be used."""
    songs = [song for split in dataset.songs.values() for song in split]
    levels, errors, problems = {}, list(dataset.errors), []
    for song, result in zip(songs, in_parallel(measure, songs, "reading"), strict=True):
        if isinstance(result, UserError):
            errors.append(result)
        else:
            levels[song.mixture] = result
            problems += find_problems(song, result)
    print(f"{name}: layout {dataset.layout}\n\n{overview(dataset.songs, levels)}\n")
    print_problems(dataset.unpaired, problems, errors)
    if errors:
        raise UserError(f"{name}: {len(errors)} of {len(songs) + len(dataset.errors)} songs cannot be used")


def print_problems(unpaired: Sequence[Path], problems: Sequence[str], errors: Sequence[UserError]) -> None:
    """A line for each: files that belong to no song, songs to look at, songs that cannot be used."""
    lines = [f"left out: {path}" for path in unpaired]
    lines += [f"warning: {problem}" for problem in problems]
    lines += [f"cannot be used: {error}" for error in errors]
    print("\n".join(lines) if lines else "no problems found")
