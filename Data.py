"""Show a dataset's songs, minutes, levels and problems; in Python, turn its songs into batches.

    python Data.py DSD100
    python Data.py MIR-1K --hold-out abjones_5 amy_9

In Python, from songs to batches:

    songs = find_songs("DSD100")                                             # {"Train": [Song, ...], ...}
    transform = Compose([RandomShift(30), Rescale(0.8, 1.2), MakeMagnitudeSpectrum()])
    dataset = DSD100Dataset(songs["Train"], AudioConfig(), transform, excerpt_seconds=8)
    loader = DataLoader(dataset, batch_sampler=Batches(dataset, 8), collate_fn=collate_fn)

An excerpt is read by seeking, or from memory. It draws its random numbers from a generator seeded with (seed, epoch,
excerpt), so that an epoch is the same for any number of workers.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np
import torch
from scipy.signal import fftconvolve
from torch.utils.data import Dataset

from networks.hearing import transposing_block
from process.commandline import parser_from
from process.errors import command
from songs.dataset import add_dataset_arguments, read_dataset
from songs.effects import at_speed, equalizer_curves, saturate
from songs.inspection import inspect
from songs.song import Song
from util import AudioConfig, stft

# ---------------------------------------------------------------------------------------------- excerpts


@dataclasses.dataclass
class Excerpt:
    """A plan of what to read, which transforms change until MakeMagnitudeSpectrum carries it out.

    Frames [first, last) of the song, shifted circularly by `shift` seconds and played at `speed`; with the
    accompaniment of `backing`, if it is set, instead of its own.
    """

    song: Song
    first: int
    last: int
    audio: AudioConfig
    songs: Sequence[Song]  # whose accompaniments may replace its own
    rng: np.random.Generator
    shift: float = 0.0
    speed: float = 1.0
    semitones: int = 0  # by which the accompaniment is transposed
    gain: float = 1.0
    backing: Song | None = None
    backing_shift: float = 0.0
    backing_gain: float = 1.0
    drive: float | None = None  # of the voice's saturation, in dB: see `saturate`
    room: np.ndarray | None = None  # impulse response of the voice's reverberation
    equalizer: np.ndarray | None = None  # gains in dB of voice and accompaniment in each octave band: (2, len(OCTAVES))

    def spectra(self) -> torch.Tensor:
        """The STFT of mixture and vocals, complex (2, frames, bins)."""
        transposed = in_key(self.audio, self.semitones)
        audio = at_speed(transposed if self.backing is None else self.audio, self.speed)
        mixture, vocals = self._read(self.song, self.shift, audio)
        if self.backing is None:
            accompaniment = self._stft(mixture - vocals, audio)
        else:
            mixture, other_vocals = self._read(self.backing, self.backing_shift, transposed)
            accompaniment = self.backing_gain * self._stft(mixture - other_vocals, transposed)
        if self.drive is not None:
            vocals = saturate(vocals, self.drive)
        if self.room is not None:
            vocals = vocals + fftconvolve(vocals, self.room)[: len(vocals)]
        sources = torch.stack([self._stft(vocals, audio), accompaniment])  # (2, frames, bins)
        if self.equalizer is not None:
            sources *= equalizer_curves(self.equalizer, self.audio)[:, None]
        voice, accompaniment = sources.mul_(self.gain)
        return torch.stack([accompaniment.add_(voice), voice])

    def _read(self, song: Song, shift: float, audio: AudioConfig) -> np.ndarray:
        """A song's mixture and vocals (2, samples), with the context that the first and last frames need."""
        start = self.first * audio.hop - audio.block // 2 + round(shift * audio.sample_rate)
        samples = (self.last - 1 - self.first) * audio.hop + audio.block
        moved = shift != 0 or self.speed != 1
        return (song.read_looped if moved else song.read_at)(audio.sample_rate, start, samples)

    def _stft(self, waveform: np.ndarray, audio: AudioConfig) -> torch.Tensor:
        """The STFT of waveform (..., samples), complex (..., frames, bins), with the network's number of bins."""
        spectrum = stft(torch.from_numpy(waveform.astype(np.float32, copy=False)), audio, pad=False)
        missing = self.audio.bins - audio.bins  # > 0: a slower song does not fill the upper bins; < 0: bins to cut
        return torch.nn.functional.pad(spectrum, (0, missing))


def in_key(audio: AudioConfig, semitones: int) -> AudioConfig:
    """The block and hop that show a song so many semitones higher, like a tape at another speed."""
    block = transposing_block(audio.block, semitones)
    return dataclasses.replace(audio, block=block, hop=audio.hop * block // audio.block)


class DSD100Dataset(Dataset):
    """Songs cut into consecutive excerpts without gaps. Item (epoch, index) is transform(excerpt `index`).

    whole_songs: draw random numbers once per song, not once per excerpt, so that the excerpts of a song remain
    consecutive pieces of one mixture, for training and validation that carry the state over.
    accompaniments: the songs that Remix takes accompaniments from (default: the same songs).
    """

    def __init__(
        self,
        songs: Sequence[Song],
        audio: AudioConfig,
        transform: Callable,
        excerpt_seconds: float,
        seed: int = 0,
        whole_songs: bool = False,
        accompaniments: Sequence[Song] | None = None,
    ):
        self.songs, self.audio, self.transform = list(songs), audio, transform
        self.accompaniments = self.songs if accompaniments is None else list(accompaniments)
        self.seed, self.whole_songs = seed, whole_songs
        length = max(1, round(excerpt_seconds * audio.sample_rate / audio.hop))  # in frames
        self.excerpts = []  # (index of the song, first frame, last frame + 1); the last one of a song may be shorter
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
        return self.transform(Excerpt(self.songs[song_index], first, last, self.audio, self.accompaniments, rng))


# ---------------------------------------------------------------------------------------------- transforms
# Those of the course. What else varies songs in training: training/variation.py.


class RandomShift:
    """Shift the song circularly by up to `seconds`, so that the excerpt comes from elsewhere in it."""

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


def project(vocals: torch.Tensor, mixture: torch.Tensor) -> torch.Tensor:
    """What of a voice V lies in the direction of the mixture M, between 0 and |M|: Re(V conj(M)) / |M|.

    It is the best that a mask can make with the mixture's phase (Erdogan et al. 2015, the phase-sensitive target,
    truncated). vocals, mixture: complex (..., bins).
    """
    magnitude = mixture.abs()
    along = (vocals * mixture.conj()).real / magnitude.clamp(min=1e-12)
    return along.clamp(min=0).minimum(magnitude)


class MakeMagnitudeSpectrum:
    """Read the excerpt and take its STFT. Returns a sample: mixture and vocals (frames, bins), linear magnitude.

    projected: instead of the voice's magnitude, return its projection on the mixture, see `project`.
    """

    def __init__(self, projected: bool = False):
        self.projected = projected

    def __call__(self, excerpt: Excerpt) -> dict:
        mixture, vocals = excerpt.spectra()  # each (frames, bins), complex
        return {
            "mixture": mixture.abs(),
            "vocals": project(vocals, mixture) if self.projected else vocals.abs(),
            "name": excerpt.song.name,
            "starts": excerpt.first == 0,
            "rng": excerpt.rng,
        }


class ShuffleFrameOrder:
    """Shuffle a sample's frames, mixture and vocals alike: only for networks without memory."""

    def __call__(self, sample: dict) -> dict:
        order = torch.from_numpy(sample["rng"].permutation(len(sample["mixture"])))
        return {**sample, "mixture": sample["mixture"][order], "vocals": sample["vocals"][order]}


# ---------------------------------------------------------------------------------------------- batches


class Batches:
    """A batch sampler: the excerpts of each batch of epoch `epoch`, as lists of (epoch, index).

    Every excerpt comes once, in random order if `shuffle`. If the dataset has `whole_songs`, row b of successive
    batches goes through one song after another, so that a state can be carried from batch to batch; rows that run out
    of songs end, and the others keep their order. Only the slice `share` of each batch is returned: all of it, or what
    one of several processes trains on, which may be nothing.
    """

    def __init__(self, dataset: DSD100Dataset, batch_size: int, shuffle: bool = True):
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.epoch, self.share = 0, slice(None)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self._batches():
            yield [(self.epoch, index) for index in batch[self.share]]

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
        excerpts: list[list[int]] = [[] for _ in self.dataset.songs]
        for index, (song, _, _) in enumerate(self.dataset.excerpts):
            excerpts[song].append(index)
        rows: list[list[int]] = [[] for _ in range(min(self.batch_size, len(excerpts)))]
        for song in self._order(len(excerpts)):
            min(rows, key=len).extend(excerpts[song])  # the row that is shortest so far takes the next song
        rows.sort(key=len, reverse=True)  # so that it is always the last rows that end
        return [[row[step] for row in rows if step < len(row)] for step in range(len(rows[0]))]


def collate_fn(samples: list[dict]) -> dict:
    """Pad samples to a batch: mixture and vocals (batch, frames, bins), lengths (batch,) in frames, names, starts.

    No samples make an empty dictionary.
    """
    if not samples:
        return {}
    return {
        "mixture": torch.nn.utils.rnn.pad_sequence([sample["mixture"] for sample in samples], batch_first=True),
        "vocals": torch.nn.utils.rnn.pad_sequence([sample["vocals"] for sample in samples], batch_first=True),
        "lengths": torch.tensor([len(sample["mixture"]) for sample in samples]),
        "names": [sample["name"] for sample in samples],
        "starts": torch.tensor([sample["starts"] for sample in samples]),
    }


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    add_dataset_arguments(parser)
    options = parser.parse_args(argv)
    inspect(options.dataset, read_dataset(options.dataset, options.hold_out, options.include_test))


if __name__ == "__main__":
    sys.exit(main())
