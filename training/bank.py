"""Songs decoded once into one array of 16-bit samples, and where in it each of their parts is.

Excerpts are then drawn from memory, on whatever device it is. The array is a file in the folder of the run, so that
the next run on the same sounds, and a resumed one, begins at once.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from scipy.signal import welch
from tqdm import tqdm

from process.checksums import checksum
from process.cores import cores
from process.errors import whole_file
from songs.song import Song
from training.parallel import hidden

FULL_SCALE = 32767
EMPTY = -90.0  # dB below a sound's strongest frequency: a band in which nothing is louder was never recorded
ROUNDING = 1e-8  # of a sound's power: less in the middle is what rounding leaves
SOUNDING = 1e-3  # of the power of the loudest tenth of a second: what is softer is a rest
AHEAD = 64  # songs that are decoded before the first of them is written


@dataclasses.dataclass(frozen=True)
class Track:
    """A part of a song in the bank: its channels, one after the other."""

    start: int  # in the bank
    samples: int  # of a channel
    channels: int
    rate: int  # Hz
    scale: float  # of a sample: the peak, divided by FULL_SCALE
    level: float  # RMS where it sounds, mean of the channels; 0 of silence
    bandwidth: float  # Hz, above which it is empty


@dataclasses.dataclass(frozen=True)
class Parts:
    """A song's tracks in the bank: vocals, of a voice, and what accompanies it, of music; of a song both."""

    name: str
    vocals: Track | None
    accompaniment: dict[str, Track]  # by stem


@dataclasses.dataclass(frozen=True)
class Bank:
    samples: torch.Tensor  # int16
    songs: list[Parts]
    fingerprint: str  # of the sound files

    def to(self, device: torch.device) -> "Bank":
        return dataclasses.replace(self, samples=self.samples.to(device))


def open_bank(folder: Path, songs: Sequence[Song]) -> Bank:
    """The songs' bank: the one in a folder if it is whole and of these very files, else a new one, left there."""
    samples, index = folder / "bank.i16", folder / "bank.json"
    fingerprint = fingerprint_of(songs)
    kinds = [type(song).__name__ for song in songs]  # the same file may be a voice or music
    wanted = {"fingerprint": fingerprint, "kinds": kinds}
    if (entries := _left(samples, index, wanted)) is None:
        index.unlink(missing_ok=True)
        with whole_file(samples) as temporary, temporary.open("wb") as file:
            entries = list(_decode(songs, file))
        with whole_file(index) as temporary:
            parts = [dataclasses.asdict(entry) for entry in entries]
            temporary.write_text(json.dumps({**wanted, "songs": parts}))
    array = np.memmap(samples, np.int16, "c")  # copied on write, so that torch takes it; nobody writes
    return Bank(torch.from_numpy(array), entries, fingerprint)


def _left(samples: Path, index: Path, wanted: dict) -> list[Parts] | None:
    """The songs of the bank that a run has left; None if there is none, or it is of others or cut short."""
    try:
        facts = json.loads(index.read_text())
        entries = [_parts(entry) for entry in facts.pop("songs")]
        size = samples.stat().st_size
    except (OSError, ValueError, TypeError, KeyError):
        return None
    tracks = [track for song in entries for track in (song.vocals, *song.accompaniment.values()) if track]
    whole = size == 2 * sum(track.samples * track.channels for track in tracks)
    return entries if whole and facts == wanted else None


def fingerprint_of(songs: Sequence[Song]) -> str:
    """SHA-256 of the songs' names and the bytes of their files."""
    together = hashlib.sha256()
    for song in songs:
        together.update(song.name.encode())
        for path in song.files:
            together.update(bytes.fromhex(checksum(path)))
    return together.hexdigest()


def measure(waveform: np.ndarray, rate: int) -> tuple[float, float]:
    """Level (RMS where it sounds) and bandwidth in Hz of waveform (channels, samples).

    What nothing is heard of in the middle, a constant or a channel and its opposite, has a level but no bandwidth.
    """
    blocks = waveform[:, : waveform.shape[1] // (rate // 10) * (rate // 10)].reshape(len(waveform), -1, rate // 10)
    power = np.square(blocks, dtype=np.float64).mean(axis=(0, 2))  # of each tenth of a second
    if not power.size or power.max() == 0:
        return 0.0, 0.0
    frequencies, density = welch(waveform.mean(axis=0), rate, nperseg=min(2048, waveform.shape[1]))
    level = float(np.sqrt(power[power > power.max() * SOUNDING].mean()))
    if density.max() * rate < power.max() * ROUNDING:
        return level, 0.0
    return level, float(frequencies[density > density.max() * 10 ** (EMPTY / 10)].max())


def _decode(songs: Sequence[Song], file) -> Iterator[Parts]:
    """Write the songs' sound into the file, one after the other; yield where it is."""
    start = 0
    with ThreadPoolExecutor(cores()) as pool:
        bar = tqdm(total=len(songs), desc="decoding", leave=False, disable=hidden(), unit="song")
        for first in range(0, len(songs), AHEAD):
            some = songs[first : first + AHEAD]
            for song, stems in zip(some, pool.map(_integers, some), strict=True):
                tracks = {}
                for name, (integers, facts) in stems.items():
                    file.write(np.ascontiguousarray(integers))  # numpy itself does not say why it cannot be written
                    tracks[name] = Track(start, integers.shape[1], len(integers), song.rate, *facts)
                    start += integers.size
                bar.update()
                yield Parts(song.name, tracks.pop("vocals", None), tracks)


def _integers(song: Song) -> dict[str, tuple[np.ndarray, tuple[float, float, float]]]:
    """Of each stem its 16-bit samples (channels, samples), and scale, level and bandwidth."""
    stems = {}
    for name, waveform in song.stems().items():
        if len(waveform) > 2:
            waveform = waveform.mean(axis=0, keepdims=True)
        scale = float(np.abs(waveform).max()) / FULL_SCALE
        integers = np.rint(waveform / (scale or 1)).astype(np.int16)
        stems[name] = integers, (scale, *measure(waveform, song.rate))
    return stems


def _parts(entry: dict) -> Parts:
    vocals = Track(**entry["vocals"]) if entry["vocals"] else None
    return Parts(entry["name"], vocals, {name: Track(**track) for name, track in entry["accompaniment"].items()})
