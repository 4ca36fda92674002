"""A song and its voice, however they are stored, read piece by piece at any sample rate.

Where many pieces of few songs are needed, songs are kept in memory: see `keep`.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from process.errors import UserError
from songs.names import sound_file
from sound.files import sound_info
from sound.resampling import resample
from sound.stem_files import read_stem_file, stem_file_header
from util import wavread

FULL_SCALE = 1 << 15  # of 16-bit samples
BAND = ("drums", "bass", "other")  # stems of the accompaniment in DSD100 and MUSDB18
MIR1K_LEVEL = 0.1  # RMS of either source after scaling (-20 dB): the protocol's unit energy up to a common factor


@dataclasses.dataclass(frozen=True)
class Song:
    """A recording and its voice: two sound files of the same sample rate (Hz) and length (samples), mixed down to mono.

    The classes below are stored in other ways; each has its own `open`, which reads headers only, and `read`.
    """

    name: str
    mixture: Path
    vocals: Path
    rate: int
    samples: int
    channels: int

    @classmethod
    def open(cls, name: str, *files: Path) -> "Song":
        """The song in these files: mixture and vocals. Raises UserError if they are not whole or do not match."""
        mixture, vocals = files
        song = cls(name, mixture, vocals, *_common_header(mixture, vocals))
        _common_header(vocals, *song._beside())
        return song

    @property
    def artist(self) -> str:
        """The artist of a name like 'Artist - Title' or, as in DSD100, '001 - Artist - Title'; else the whole name."""
        return re.sub(r"^\d+ - ", "", self.name).split(" - ")[0]

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    @property
    def files(self) -> tuple[Path, ...]:
        """All sound files that its stems are in."""
        return tuple(dict.fromkeys((self.mixture, self.vocals, *self._beside())))

    def _beside(self) -> list[Path]:
        """Its drums, bass and other, if they lie beside its vocals, as in DSD100 and MUSDB18-HQ; none unless all do."""
        paths = [sound_file(self.vocals.parent, stem) for stem in BAND]
        found = [path for path in paths if path and path.suffix.lower() == self.vocals.suffix.lower()]
        return found if len(found) == len(BAND) else []

    def read(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Samples [start, start + samples) at the song's own rate: mixture and vocals, (2, samples)."""
        samples = self.samples - start if samples is None else samples
        mixture, _ = wavread(self.mixture, start, samples)
        vocals, _ = wavread(self.vocals, start, samples)
        return np.stack([mixture.mean(axis=0), vocals.mean(axis=0)])

    def stems(self) -> dict[str, np.ndarray]:
        """The whole song as its parts, each (channels, samples): "vocals", and one or more that accompany them."""
        mixture, _ = wavread(self.mixture)
        vocals, _ = wavread(self.vocals)
        if others := self._beside():
            return {"vocals": vocals, **{path.stem.lower(): wavread(path)[0] for path in others}}
        if len(mixture) != len(vocals):  # a mono voice in a stereo mixture
            mixture, vocals = (part.mean(axis=0, keepdims=True) for part in (mixture, vocals))
        return {"vocals": vocals, "accompaniment": mixture - vocals}

    def length(self, rate: int) -> int:
        """The song's length in samples at another sample rate."""
        return math.ceil(self.samples * rate / self.rate)

    def read_at(self, rate: int, start: int, samples: int) -> np.ndarray:
        """Samples [start, start + samples) at another sample rate, zero outside the song: (2, samples).

        The result is the same as if the whole song were resampled: what is resampled starts where sample times of both
        rates coincide and has enough context for the resampler's filter.
        """
        divisor = math.gcd(rate, self.rate)
        up, down = rate // divisor, self.rate // divisor  # every `down` samples of the file are `up` of the result
        context = 0 if rate == self.rate else math.ceil(2000 / down)
        first, last = start // up - context, -(-(start + samples) // up) + context  # in steps common to both rates
        begin, end = max(0, first * down), min(self.samples, last * down)
        piece = np.zeros((2, (last - first) * down), np.float32)
        if begin < end:
            piece[:, begin - first * down : end - first * down] = self.read(begin, end - begin)
        offset = start - first * up
        piece = resample(piece, self.rate, rate)[:, offset : offset + samples]
        piece[:, : max(0, -start)] = 0  # the resampler's ringing around a song that begins or ends abruptly
        piece[:, max(0, self.length(rate) - start) :] = 0
        return piece

    def pieces(self, rate: int, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        """Samples [first, last) at another sample rate (default: the whole song), in pieces (2, samples) of 20 s."""
        last = self.length(rate) if last is None else last
        for start in range(first, last, 20 * rate):
            yield self.read_at(rate, start, min(20 * rate, last - start))

    def read_looped(self, rate: int, start: int, samples: int) -> np.ndarray:
        """Like `read_at`, from the song repeated endlessly."""
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
    """Gains (2, 1) that give accompaniment (left) and voice (right) of a clip the same energy."""
    clip, _ = wavread(path)
    levels = np.sqrt(np.mean(np.square(clip, dtype=np.float64), axis=1, keepdims=True))
    if not levels.all():
        raise UserError(f"{path}: expected accompaniment left and voice right, found a silent channel")
    return (MIR1K_LEVEL / levels).astype(np.float32)


class OneFile(Song):
    """A song whose mixture and vocals are in one file."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.mixture,)

    def stems(self) -> dict[str, np.ndarray]:
        mixture, vocals = self.read()
        return {"vocals": vocals[None], "accompaniment": (mixture - vocals)[None]}


class KaraokeClip(OneFile):
    """A MIR-1K clip: one file, accompaniment left and voice right, mixed at 0 dB (equal energy)."""

    @classmethod
    def open(cls, name: str, *files: Path) -> Song:
        (clip,) = files
        rate, samples, channels = _common_header(clip)
        if channels != 2:
            raise UserError(f"{clip}: expected 2 channels (accompaniment, voice), found {channels}")
        return cls(name, clip, clip, rate, samples, channels)

    @property
    def artist(self) -> str:
        return self.name.split("_")[0]

    def read(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        clip, _ = wavread(self.mixture, start, samples)
        accompaniment, vocals = clip * _karaoke_gains(self.mixture)
        return np.stack([accompaniment + vocals, vocals])


@dataclasses.dataclass(frozen=True)
class StemFolder(Song):
    """A song that comes as stems, one file each: the mixture is their sum, `mixture` their folder."""

    others: tuple[Path, ...]  # stems of the accompaniment

    @classmethod
    def open(cls, name: str, *files: Path) -> Song:
        vocals, *others = files
        return cls(name, vocals.parent, vocals, *_common_header(*files), tuple(others))

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.vocals, *self.others)

    def read(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        vocals, accompaniment = wavread(self.vocals, start, samples)[0].mean(axis=0), 0
        for path in self.others:
            accompaniment = accompaniment + wavread(path, start, samples)[0].mean(axis=0)
        return np.stack([vocals + accompaniment, vocals])

    def stems(self) -> dict[str, np.ndarray]:
        others = {path.stem.lower(): wavread(path)[0] for path in self.others}
        return {"vocals": wavread(self.vocals)[0], **others}  # whatever the voice's file is called


class StemFile(OneFile):
    """A song of MUSDB18: one .stem.mp4 file, whose sound tracks are the mixture and its stems."""

    @classmethod
    def open(cls, name: str, *files: Path) -> Song:
        (path,) = files
        return cls(name, path, path, *stem_file_header(path))

    def read(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        samples = self.samples - start if samples is None else samples
        return read_stem_file(self.mixture, start, samples, self.rate, self.channels)


class Voice(Song):
    """A voice without accompaniment: one sound file with any number of channels."""

    @classmethod
    def open(cls, name: str, *files: Path) -> Song:
        (path,) = files
        return cls(name, path, path, *_common_header(path))

    def read(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        voice = wavread(self.vocals, start, samples)[0].mean(axis=0)
        return np.stack([voice, voice])

    def stems(self) -> dict[str, np.ndarray]:
        return {"vocals": wavread(self.vocals)[0]}


class Accompaniment(Voice):
    """Music without a voice: one sound file with any number of channels."""

    def read(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        music = wavread(self.mixture, start, samples)[0].mean(axis=0)
        return np.stack([music, np.zeros_like(music)])

    def stems(self) -> dict[str, np.ndarray]:
        return {"accompaniment": wavread(self.mixture)[0]}


@dataclasses.dataclass(frozen=True)
class KeptSong(Song):
    """A song decoded once and kept in memory, which reads the same samples as the original."""

    sound: np.ndarray = dataclasses.field(compare=False, repr=False)  # (2, samples), int16 if exact, else float32

    @classmethod
    def of(cls, song: Song) -> "KeptSong":
        sound = song.read()
        integers = (sound * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        facts = {field.name: getattr(song, field.name) for field in dataclasses.fields(Song)}
        return cls(**facts, sound=integers if np.array_equal(_scaled(integers), sound) else sound)

    def read(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        return _scaled(self.sound[:, start : None if samples is None else start + samples])


def _scaled(sound: np.ndarray) -> np.ndarray:
    return sound * np.float32(1 / FULL_SCALE) if sound.dtype == np.int16 else sound


def keep(songs: Iterable[Song], megabytes: float) -> Iterator[Song]:
    """The same songs, the first ones decoded and kept in memory, as many as fit.

    A song that takes more than a tenth of that memory is not kept, since decoding briefly takes several times as much.
    """
    left = megabytes * 1e6
    longest = left / 10
    for song in songs:
        if 8 * song.samples <= min(left, longest):
            song = KeptSong.of(song)
            left -= song.sound.nbytes
        yield song


def _common_header(first: Path, *others: Path) -> tuple[int, int, int]:
    """Sample rate, samples and largest number of channels of a song's files, which must agree in rate and length."""
    expected = sound_info(first)
    assert expected.samples is not None  # the length of a file is known
    channels = expected.channels
    for path in others:
        info = sound_info(path)
        if info.rate != expected.rate:
            raise UserError(f"{path}: expected {expected.rate} Hz like {first.name}, found {info.rate} Hz")
        if info.samples != expected.samples:
            raise UserError(f"{path}: expected {expected.samples} samples like {first.name}, found {info.samples}")
        channels = max(channels, info.channels)
    return expected.rate, expected.samples, channels
