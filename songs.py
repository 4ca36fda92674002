"""Finding the songs of a dataset and reading pieces of them, at any rate, without loading one whole."""

import argparse
import dataclasses
import functools
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from errors import UserError
from sound import SOUND_SUFFIXES, SoundInfo, sound_info
from util import resample, wavread

SPLITS = ("Train", "Valid", "Test")
VALID_SHARE = 0.2  # of DSD100's Dev songs
SPLIT_SEED = 0  # not a training's seed: whatever trains and whatever evaluates must mean the same songs

# Huang et al. (2014): two singers train, the other seventeen test; their four validation clips are of these two songs.
MIR1K_TRAIN_SINGERS = ("abjones", "amy")
MIR1K_VALID_SONGS = ("abjones_5", "amy_9")
MIR1K_FOLDERS = ("Wavfile", "train", "dev", "test")
MIR1K_LEVEL = 0.1  # RMS of either source after scaling, -20 dB; the protocol's unit energy up to a common factor

# ---------------------------------------------------------------------------------------------- a song


@dataclasses.dataclass(frozen=True)
class Song:
    """A recording and its voice: two sound files of the same rate (Hz) and length (samples), mixed down to mono."""

    name: str
    mixture: Path
    vocals: Path
    rate: int
    samples: int

    def read(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Samples [start, start + samples) at the song's own rate. Returns (mixture, vocals), shape (2, samples)."""
        samples = self.samples - start if samples is None else samples
        mixture, _ = wavread(self.mixture, start, samples)
        vocals, _ = wavread(self.vocals, start, samples)
        return np.stack([mixture.mean(axis=0), vocals.mean(axis=0)])

    def length(self, rate: int) -> int:
        """The song's length in samples at another rate."""
        return math.ceil(self.samples * rate / self.rate)

    def read_at(self, rate: int, start: int, samples: int) -> np.ndarray:
        """Samples [start, start + samples) of the song at another rate, zero outside the song. Shape (2, samples).

        The piece is the same as if the whole song had been resampled: it is cut where sample times of both rates
        coincide, with enough context for the resampler's filter.
        """
        divisor = math.gcd(rate, self.rate)
        up, down = rate // divisor, self.rate // divisor  # every `down` samples of the file are `up` of the result
        context = 0 if rate == self.rate else math.ceil(2000 / down)
        first, last = start // up - context, -(-(start + samples) // up) + context  # in steps of both rates
        begin, end = max(0, first * down), min(self.samples, last * down)
        piece = np.zeros((2, (last - first) * down), np.float32)
        if begin < end:
            piece[:, begin - first * down : end - first * down] = self.read(begin, end - begin)
        offset = start - first * up
        piece = resample(piece, self.rate, rate)[:, offset : offset + samples]
        piece[:, : max(0, -start)] = 0  # the resampler's ringing around a song that begins or ends abruptly
        piece[:, max(0, self.length(rate) - start) :] = 0
        return piece

    def read_looped(self, rate: int, start: int, samples: int) -> np.ndarray:
        """Like `read_at`, of the song repeated without end."""
        length = self.length(rate)
        if length < samples:
            return self.read_at(rate, 0, length)[:, np.arange(start, start + samples) % length]
        pieces = []
        while samples > 0:
            start %= length
            taken = min(samples, length - start)
            pieces.append(self.read_at(rate, start, taken))
            start, samples = start + taken, samples - taken
        return np.concatenate(pieces, axis=1)


@functools.lru_cache(maxsize=4096)
def _karaoke_gains(path: Path) -> np.ndarray:
    """Gains (2, 1) that bring accompaniment (left) and voice (right) of a whole clip to the same energy."""
    clip, _ = wavread(path)
    levels = np.sqrt(np.mean(np.square(clip, dtype=np.float64), axis=1, keepdims=True))
    if not levels.all():
        raise UserError(f"{path}: expected accompaniment left and voice right, found a silent channel")
    return (MIR1K_LEVEL / levels).astype(np.float32)


class KaraokeClip(Song):
    """A MIR-1K clip: one file, accompaniment left and voice right, mixed at 0 dB (both of the same energy)."""

    def read(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        clip, _ = wavread(self.mixture, start, samples)
        accompaniment, vocals = clip * _karaoke_gains(self.mixture)
        return np.stack([accompaniment + vocals, vocals])


# ---------------------------------------------------------------------------------------------- a dataset


def find_songs(
    root: str | Path, hold_out: Sequence[str] = (), include_test: bool = False, seed: int = SPLIT_SEED
) -> dict[str, list[Song]]:
    """Find a dataset's songs. Returns {"Train": [...], "Valid": [...], "Test": [...]}, each sorted by name.

    Layouts: the course's `Mixtures|Sources/{Train,Valid,Test}/<song>/{mixture,vocals}.wav`; DSD100 as published, with
    `Dev` split into Train and Valid by song and `seed`; MIR-1K's two-channel clips in `Wavfile/` or `train|dev|test/`,
    split by singer and song; a plain folder of `<song>/{mixture,vocals}.*`, all Test. Any format libsndfile reads.

    hold_out: names of songs, or of singers with names like `singer_...`: these, and only these, become Valid (from
    Test only with include_test).
    include_test: Test songs join Train, for a final model that is judged on other data.
    Raises UserError for missing folders or files and for songs whose parts differ in rate or length.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such dataset folder")
    if (root / "Mixtures").is_dir():
        splits = _find_dsd100(root, seed)
    elif any(_sound_files(root / folder) for folder in MIR1K_FOLDERS):
        splits = _find_mir1k(root)
    else:
        songs = [_song(folder, folder) for folder in _folders(root) if sound_file(folder, "vocals")]
        if not songs:
            raise UserError(
                f"{root}: expected a dataset (Mixtures/ and Sources/, MIR-1K's Wavfile/, or <song>/mixture.wav and "
                "<song>/vocals.wav), found none of these"
            )
        splits = {"Train": [], "Valid": [], "Test": songs}
    if include_test:
        splits = {"Train": splits["Train"] + splits["Test"], "Valid": splits["Valid"], "Test": []}
    if hold_out:
        splits = _hold_out(splits, hold_out, root)
    return {split: sorted(songs, key=lambda song: song.name) for split, songs in splits.items()}


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """The command-line arguments that `find_songs` takes."""
    parser.add_argument("dataset", help="the course's layout, DSD100, MIR-1K or a folder of songs")
    parser.add_argument("--hold-out", nargs="+", default=[], metavar="NAME", help="songs or singers that become Valid")
    parser.add_argument("--include-test", action="store_true", help="Test songs join Train, to be judged on other data")


def _find_dsd100(root: Path, seed: int) -> dict[str, list[Song]]:
    splits = {}
    for split in ("Train", "Valid", "Test", "Dev"):
        folders = _folders(root / "Mixtures" / split)
        splits[split] = [_song(folder, root / "Sources" / split / folder.name) for folder in folders]
    dev = splits.pop("Dev")
    if dev:
        random.Random(seed).shuffle(dev)
        valid = max(1, round(VALID_SHARE * len(dev)))
        splits["Valid"] += dev[:valid]
        splits["Train"] += dev[valid:]
    return splits


def _find_mir1k(root: Path) -> dict[str, list[Song]]:
    splits = {split: [] for split in SPLITS}
    for folder in MIR1K_FOLDERS:
        for path in _sound_files(root / folder):
            info = sound_info(path)
            if info.channels != 2:
                raise UserError(f"{path}: expected 2 channels (accompaniment, voice), found {info.channels}")
            song = KaraokeClip(path.stem, path, path, info.rate, info.samples)
            if not _belongs(song, MIR1K_TRAIN_SINGERS):
                splits["Test"].append(song)
            else:
                splits["Valid" if _belongs(song, MIR1K_VALID_SONGS) else "Train"].append(song)
    return splits


def _sound_files(folder: Path) -> list[Path]:
    """Sound files in `folder`, sorted, hidden ones left out; none if there is no `folder`."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SOUND_SUFFIXES)
    return [path for path in paths if not path.name.startswith(".")]


def _folders(parent: Path) -> list[Path]:
    """Folders in `parent`, sorted, hidden ones left out; none if there is no `parent`."""
    return sorted(path for path in parent.glob("*") if path.is_dir() and not path.name.startswith("."))


def sound_file(folder: Path, stem: str) -> Path | None:
    """The sound file called `stem` in `folder`, whatever its format; None if there is none."""
    return next((folder / (stem + suffix) for suffix in SOUND_SUFFIXES if (folder / (stem + suffix)).is_file()), None)


def _song(mixture_folder: Path, vocals_folder: Path) -> Song:
    """The song of these folders, its two files checked against each other."""
    paths, infos = [], []
    for folder, stem in ((mixture_folder, "mixture"), (vocals_folder, "vocals")):
        path = sound_file(folder, stem)
        if path is None:
            raise UserError(f"{folder}: expected a sound file {stem}.wav, found none")
        paths.append(path)
        infos.append(sound_info(path))
    _check_pair(paths, infos)
    return Song(mixture_folder.name, *paths, infos[0].rate, infos[0].samples)


def _check_pair(paths: list[Path], infos: list[SoundInfo]) -> None:
    mixture, vocals = infos
    if mixture.rate != vocals.rate:
        raise UserError(f"{paths[1]}: expected {mixture.rate} Hz like its mixture, found {vocals.rate} Hz")
    if mixture.samples != vocals.samples:
        raise UserError(f"{paths[1]}: expected {mixture.samples} samples like its mixture, found {vocals.samples}")


def _belongs(song: Song, names: Sequence[str]) -> bool:
    """Whether the song is one of `names` or by one of them: 'amy_9_08' belongs to 'amy_9' and to 'amy'."""
    return any(song.name == name or song.name.startswith((name + "_", name + " - ")) for name in names)


def _hold_out(splits: dict[str, list[Song]], names: Sequence[str], root: Path) -> dict[str, list[Song]]:
    songs = splits["Train"] + splits["Valid"]
    for name in names:
        if not any(_belongs(song, [name]) for song in songs):
            raise UserError(f"{root}: expected a song or singer '{name}' to hold out, found none of that name")
    valid = [song for song in songs if _belongs(song, names)]
    return {"Train": [song for song in songs if song not in valid], "Valid": valid, "Test": splits["Test"]}
