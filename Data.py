"""Songs on disk -> excerpts -> transforms -> batches. A song is never loaded whole: an excerpt is read by seeking.

    songs = find_songs("DSD100")                                             # {"Train": [Song, ...], ...}
    transform = Compose([RandomShift(30), Rescale(0.8, 1.2), MakeMagnitudeSpectrum(AudioConfig())])
    dataset = DSD100Dataset(songs["Train"], transform, excerpt_seconds=8)
    loader = DataLoader(dataset, batch_sampler=Batches(dataset, 8), collate_fn=collate_fn)

Every excerpt draws its random numbers from a generator made of (seed, epoch, excerpt), so that an epoch is the same
for any number of workers.
"""

import argparse
import dataclasses
import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from util import AudioConfig, SoundInfo, UserError, resample, sound_info, stft, wavread

SPLITS = ("Train", "Valid", "Test")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
VALID_SHARE = 0.2  # of DSD100's Dev songs

# Huang et al. (2014): two singers train, the other seventeen test; their four validation clips are of these two songs.
MIR1K_TRAIN_SINGERS = ("abjones", "amy")
MIR1K_VALID_SONGS = ("abjones_5", "amy_9")
MIR1K_LEVEL = 0.1  # RMS of either source after scaling, -20 dB; the protocol's unit energy up to a common factor

# ---------------------------------------------------------------------------------------------- songs


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
        return resample(piece, self.rate, rate)[:, offset : offset + samples]

    def read_looped(self, rate: int, start: int, samples: int) -> np.ndarray:
        """Like `read_at`, of the song repeated without end."""
        length = self.length(rate)
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


def find_songs(
    root: str | Path, hold_out: Sequence[str] = (), include_test: bool = False, seed: int = 0
) -> dict[str, list[Song]]:
    """Find a dataset's songs. Returns {"Train": [...], "Valid": [...], "Test": [...]}, each sorted by name.

    Layouts: the course's `Mixtures|Sources/{Train,Valid,Test}/<song>/{mixture,vocals}.wav`; DSD100 as published, with
    `Dev` split into Train and Valid by song and `seed`; MIR-1K's two-channel clips in `Wavfile/` or `train|dev|test/`,
    split by singer and song; a plain folder of `<song>/{mixture,vocals}.*`, all Test. Any format libsndfile reads.

    hold_out: names of songs, or of singers with names like `singer_...`: these, and only these, become Valid.
    include_test: Test songs join Train, for a final model that is judged on other data.
    Raises UserError for missing folders or files and for songs whose parts differ in rate or length.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such dataset folder")
    if (root / "Mixtures").is_dir():
        splits = _find_dsd100(root, seed)
    elif any((root / folder).is_dir() for folder in ("Wavfile", "train", "dev", "test")):
        splits = _find_mir1k(root)
    else:
        songs = [_song(folder, folder) for folder in _folders(root) if _sound_file(folder, "vocals")]
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
    for folder in ("Wavfile", "train", "dev", "test"):
        for path in sorted((root / folder).glob("*")):
            if path.suffix.lower() not in SOUND_SUFFIXES:
                continue
            info = sound_info(path)
            if info.channels != 2:
                raise UserError(f"{path}: expected 2 channels (accompaniment, voice), found {info.channels}")
            song = KaraokeClip(path.stem, path, path, info.rate, info.samples)
            if not _belongs(song, MIR1K_TRAIN_SINGERS):
                splits["Test"].append(song)
            else:
                splits["Valid" if _belongs(song, MIR1K_VALID_SONGS) else "Train"].append(song)
    return splits


def _folders(parent: Path) -> list[Path]:
    """Folders in `parent`, sorted, hidden ones left out; none if there is no `parent`."""
    return sorted(path for path in parent.glob("*") if path.is_dir() and not path.name.startswith("."))


def _sound_file(folder: Path, stem: str) -> Path | None:
    return next((folder / (stem + suffix) for suffix in SOUND_SUFFIXES if (folder / (stem + suffix)).is_file()), None)


def _song(mixture_folder: Path, vocals_folder: Path) -> Song:
    """The song of these folders, its two files checked against each other."""
    paths, infos = [], []
    for folder, stem in ((mixture_folder, "mixture"), (vocals_folder, "vocals")):
        path = _sound_file(folder, stem)
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


# ---------------------------------------------------------------------------------------------- excerpts


@dataclasses.dataclass
class Excerpt:
    """What to read: a plan that the transforms before MakeMagnitudeSpectrum change, so that only the result is read.

    Times in seconds. The song is read from start + shift on, looped at its end if shifted; its accompaniment is
    replaced by that of `backing`, if one is set.
    """

    song: Song
    start: float
    end: float
    songs: Sequence[Song]  # of the same split
    rng: np.random.Generator
    shift: float = 0.0
    gain: float = 1.0
    backing: Song | None = None
    backing_shift: float = 0.0
    backing_gain: float = 1.0

    def read(self, audio: AudioConfig) -> np.ndarray:
        """Mixture and vocals (2, samples) at the network's rate, with the context that the outer frames need."""
        first = round(self.start * audio.sample_rate / audio.hop)
        song_frames = audio.frames(self.song.length(audio.sample_rate))
        last = round(min(self.end * audio.sample_rate / audio.hop, song_frames))
        start = first * audio.hop - audio.block // 2
        samples = (last - 1 - first) * audio.hop + audio.block
        shift = round(self.shift * audio.sample_rate)
        read = self.song.read_looped if shift else self.song.read_at
        mixture, vocals = read(audio.sample_rate, start + shift, samples)
        if self.backing is not None:
            backing_start = start + round(self.backing_shift * audio.sample_rate)
            other_mixture, other_vocals = self.backing.read_looped(audio.sample_rate, backing_start, samples)
            mixture = vocals + self.backing_gain * (other_mixture - other_vocals)
        return self.gain * np.stack([mixture, vocals])


class DSD100Dataset(Dataset):
    """A split's songs cut into consecutive excerpts. Item (epoch, index) is transform(excerpt `index`).

    whole_songs: random numbers are drawn once for a song instead of once for an excerpt, so that the excerpts of a
    song stay consecutive pieces of one mixture, for training and validating with the state carried over.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        transform: Callable,
        excerpt_seconds: float,
        seed: int = 0,
        whole_songs: bool = False,
    ):
        self.songs, self.transform, self.seed, self.whole_songs = list(songs), transform, seed, whole_songs
        self.excerpts = []  # (song's index, start, end)
        for index, song in enumerate(self.songs):
            count = max(1, math.ceil(song.samples / song.rate / excerpt_seconds - 1e-9))
            times = [part * excerpt_seconds for part in range(count)]
            times.append(math.inf)  # the song's last frame, centred on or after its last sample, is always in
            self.excerpts += [(index, start, end) for start, end in itertools.pairwise(times)]

    def __len__(self) -> int:
        return len(self.excerpts)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        epoch, index = key
        song_index, start, end = self.excerpts[index]
        rng = np.random.default_rng([self.seed, epoch, song_index if self.whole_songs else index])
        return self.transform(Excerpt(self.songs[song_index], start, end, self.songs, rng))


# ---------------------------------------------------------------------------------------------- transforms


class RandomShift:
    """Shift the song circularly by up to `seconds`: the excerpt is read from elsewhere in the song."""

    def __init__(self, seconds: float = 30.0):
        self.seconds = seconds

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        return dataclasses.replace(excerpt, shift=excerpt.rng.uniform(0, self.seconds))


class Rescale:
    """Multiply mixture and vocals by a random factor."""

    def __init__(self, low: float = 0.8, high: float = 1.2):
        self.low, self.high = low, high

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        return dataclasses.replace(excerpt, gain=excerpt.rng.uniform(self.low, self.high))


class Remix:
    """With `probability`, put the accompaniment of another song of the split under these vocals.

    It starts anywhere in that song and is up to `decibels` louder or softer than it was.
    """

    def __init__(self, probability: float = 0.5, decibels: float = 6.0):
        self.probability, self.decibels = probability, decibels

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        if excerpt.rng.random() >= self.probability:
            return excerpt
        backing = excerpt.songs[excerpt.rng.integers(len(excerpt.songs))]
        shift = excerpt.rng.uniform(0, backing.samples / backing.rate)
        gain = 10 ** (excerpt.rng.uniform(-self.decibels, self.decibels) / 20)
        return dataclasses.replace(excerpt, backing=backing, backing_shift=shift, backing_gain=gain)


class MakeMagnitudeSpectrum:
    """Read the excerpt and take its STFT. Returns a sample: mixture and vocals (frames, bins), linear magnitude."""

    def __init__(self, audio: AudioConfig):
        self.audio = audio

    def __call__(self, excerpt: Excerpt) -> dict:
        waveforms = torch.from_numpy(excerpt.read(self.audio).astype(np.float32, copy=False))  # (2, samples)
        mixture, vocals = stft(waveforms, self.audio, pad=False).abs()  # each (frames, bins)
        return {
            "mixture": mixture,
            "vocals": vocals,
            "name": excerpt.song.name,
            "starts": excerpt.start == 0,
            "rng": excerpt.rng,
        }


class ShuffleFrameOrder:
    """Put a sample's frames in random order, the same for mixture and vocals; for networks without memory only."""

    def __call__(self, sample: dict) -> dict:
        order = torch.from_numpy(sample["rng"].permutation(len(sample["mixture"])))
        return {**sample, "mixture": sample["mixture"][order], "vocals": sample["vocals"][order]}


# ---------------------------------------------------------------------------------------------- batches


class Batches:
    """A batch sampler: which excerpts make each batch of epoch `epoch`, as lists of (epoch, index).

    For a dataset of excerpts, every excerpt once, in random order if `shuffle`. For one of whole songs, row b of
    successive batches goes through one song after the other, so that a state can be carried from batch to batch; a
    row that has run out of songs is left out, and rows keep their order.
    """

    def __init__(self, dataset: DSD100Dataset, batch_size: int, shuffle: bool = True):
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.epoch = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self._rows() if self.dataset.whole_songs else self._excerpts():
            yield [(self.epoch, index) for index in batch]

    def _order(self, count: int) -> list[int]:
        if not self.shuffle:
            return list(range(count))
        return np.random.default_rng([self.dataset.seed, self.epoch]).permutation(count).tolist()

    def _excerpts(self) -> Iterator[list[int]]:
        order = self._order(len(self.dataset))
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def _rows(self) -> Iterator[list[int]]:
        excerpts = [[] for _ in self.dataset.songs]
        for index, (song, _, _) in enumerate(self.dataset.excerpts):
            excerpts[song].append(index)
        rows = [[] for _ in range(min(self.batch_size, len(excerpts)))]
        for song in self._order(len(excerpts)):
            min(rows, key=len).extend(excerpts[song])  # the shortest row so far takes the next song
        rows.sort(key=len, reverse=True)  # so that the rows that end are always the last ones
        for step in range(len(rows[0])):
            yield [row[step] for row in rows if step < len(row)]


def collate_fn(samples: list[dict]) -> dict:
    """Pad samples to a batch: mixture and vocals (batch, frames, bins), lengths (batch,) in frames, names, starts."""
    return {
        "mixture": torch.nn.utils.rnn.pad_sequence([sample["mixture"] for sample in samples], batch_first=True),
        "vocals": torch.nn.utils.rnn.pad_sequence([sample["vocals"] for sample in samples], batch_first=True),
        "lengths": torch.tensor([len(sample["mixture"]) for sample in samples]),
        "names": [sample["name"] for sample in samples],
        "starts": torch.tensor([sample["starts"] for sample in samples]),
    }
