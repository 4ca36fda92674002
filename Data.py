"""Songs on disk -> excerpts -> transforms -> batches. A song is never loaded whole: an excerpt is read by seeking.

    songs = find_songs("DSD100")                                             # {"Train": [Song, ...], ...}
    transform = Compose([RandomShift(30), Rescale(0.8, 1.2), MakeMagnitudeSpectrum()])
    dataset = DSD100Dataset(songs["Train"], AudioConfig(), transform, excerpt_seconds=8)
    loader = DataLoader(dataset, batch_sampler=Batches(dataset, 8), collate_fn=collate_fn)

Every excerpt draws its random numbers from a generator made of (seed, epoch, excerpt), so that an epoch is the same
for any number of workers.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from songs import Song
from util import AudioConfig, stft

# ---------------------------------------------------------------------------------------------- excerpts


@dataclasses.dataclass
class Excerpt:
    """What to read: a plan that the transforms before MakeMagnitudeSpectrum change, so that only the result is read.

    Frames [first, last) of the song, shifted by `shift` seconds and looped at its end if shifted, played at `speed`;
    its accompaniment is replaced by that of `backing`, if one is set.
    """

    song: Song
    first: int
    last: int
    audio: AudioConfig
    songs: Sequence[Song]  # of the same split
    rng: np.random.Generator
    shift: float = 0.0
    speed: float = 1.0
    gain: float = 1.0
    backing: Song | None = None
    backing_shift: float = 0.0
    backing_gain: float = 1.0

    def read(self) -> np.ndarray:
        """Mixture and vocals (2, samples) at the network's rate, with the context that the outer frames need."""
        rate = self.audio.sample_rate
        start = self.first * self.audio.hop - self.audio.block // 2
        samples = (self.last - 1 - self.first) * self.audio.hop + self.audio.block
        shift = round(self.shift * rate)
        # Played faster, a file's rate is higher; rounded, so that the resampler finds a short common period.
        song_rate = self.song.rate if self.speed == 1.0 else 100 * round(self.song.rate * self.speed / 100)
        song = dataclasses.replace(self.song, rate=song_rate)
        read = song.read_at if (shift, self.speed) == (0, 1.0) else song.read_looped
        mixture, vocals = read(rate, start + shift, samples)
        if self.backing is not None:
            backing_start = start + round(self.backing_shift * rate)
            other_mixture, other_vocals = self.backing.read_looped(rate, backing_start, samples)
            mixture = vocals + self.backing_gain * (other_mixture - other_vocals)
        return self.gain * np.stack([mixture, vocals])


class DSD100Dataset(Dataset):
    """A split's songs cut into consecutive excerpts, frame by frame. Item (epoch, index) is transform(excerpt `index`).

    whole_songs: random numbers are drawn once for a song instead of once for an excerpt, so that the excerpts of a
    song stay consecutive pieces of one mixture, for training and validating with the state carried over.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        audio: AudioConfig,
        transform: Callable,
        excerpt_seconds: float,
        seed: int = 0,
        whole_songs: bool = False,
    ):
        self.songs, self.audio, self.transform = list(songs), audio, transform
        self.seed, self.whole_songs = seed, whole_songs
        length = max(1, round(excerpt_seconds * audio.sample_rate / audio.hop))  # in frames
        self.excerpts = []  # (song's index, first frame, last frame + 1); only a song's last one may be shorter
        for index, song in enumerate(self.songs):
            frames = audio.frames(song.length(audio.sample_rate))
            firsts = range(0, frames, length)
            self.excerpts += [(index, first, min(first + length, frames)) for first in firsts]

    def __len__(self) -> int:
        return len(self.excerpts)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        epoch, index = key
        song_index, first, last = self.excerpts[index]
        rng = np.random.default_rng([self.seed, epoch, song_index if self.whole_songs else index])
        return self.transform(Excerpt(self.songs[song_index], first, last, self.audio, self.songs, rng))


# ---------------------------------------------------------------------------------------------- transforms


class RandomShift:
    """Shift the song circularly by up to `seconds`: the excerpt is read from elsewhere in the song."""

    def __init__(self, seconds: float = 30.0):
        self.seconds = seconds

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        return dataclasses.replace(excerpt, shift=excerpt.rng.uniform(0, self.seconds))


class RandomSpeed:
    """Play the song faster or slower by a random factor, as a tape would: pitch, formants and tempo change together.

    So a few singers become many. The factor is drawn evenly in octaves. The excerpt keeps its number of frames.
    """

    def __init__(self, low: float = 0.7, high: float = 1.4):
        self.low, self.high = low, high

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        octaves = excerpt.rng.uniform(math.log2(self.low), math.log2(self.high))
        return dataclasses.replace(excerpt, speed=2**octaves)


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
        others = [song for song in excerpt.songs if song is not excerpt.song]
        if not others:
            return excerpt
        backing = others[excerpt.rng.integers(len(others))]
        shift = excerpt.rng.uniform(0, backing.samples / backing.rate)
        gain = 10 ** (excerpt.rng.uniform(-self.decibels, self.decibels) / 20)
        return dataclasses.replace(excerpt, backing=backing, backing_shift=shift, backing_gain=gain)


class MakeMagnitudeSpectrum:
    """Read the excerpt and take its STFT. Returns a sample: mixture and vocals (frames, bins), linear magnitude."""

    def __call__(self, excerpt: Excerpt) -> dict:
        waveforms = torch.from_numpy(excerpt.read().astype(np.float32, copy=False))  # (2, samples)
        mixture, vocals = stft(waveforms, excerpt.audio, pad=False).abs()  # each (frames, bins)
        return {
            "mixture": mixture,
            "vocals": vocals,
            "name": excerpt.song.name,
            "starts": excerpt.first == 0,
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
        for batch in self._batches():
            yield [(self.epoch, index) for index in batch]

    def __len__(self) -> int:
        return len(self._batches())

    def _batches(self) -> list[list[int]]:
        return self._rows() if self.dataset.whole_songs else self._excerpts()

    def _order(self, count: int) -> list[int]:
        if not self.shuffle:
            return list(range(count))
        return np.random.default_rng([self.dataset.seed, self.epoch]).permutation(count).tolist()

    def _excerpts(self) -> list[list[int]]:
        order = self._order(len(self.dataset))
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def _rows(self) -> list[list[int]]:
        excerpts = [[] for _ in self.dataset.songs]
        for index, (song, _, _) in enumerate(self.dataset.excerpts):
            excerpts[song].append(index)
        rows = [[] for _ in range(min(self.batch_size, len(excerpts)))]
        for song in self._order(len(excerpts)):
            min(rows, key=len).extend(excerpts[song])  # the shortest row so far takes the next song
        rows.sort(key=len, reverse=True)  # so that the rows that end are always the last ones
        return [[row[step] for row in rows if step < len(row)] for step in range(len(rows[0]))]


def collate_fn(samples: list[dict]) -> dict:
    """Pad samples to a batch: mixture and vocals (batch, frames, bins), lengths (batch,) in frames, names, starts."""
    return {
        "mixture": torch.nn.utils.rnn.pad_sequence([sample["mixture"] for sample in samples], batch_first=True),
        "vocals": torch.nn.utils.rnn.pad_sequence([sample["vocals"] for sample in samples], batch_first=True),
        "lengths": torch.tensor([len(sample["mixture"]) for sample in samples]),
        "names": [sample["name"] for sample in samples],
        "starts": torch.tensor([sample["starts"] for sample in samples]),
    }
