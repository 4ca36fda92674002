"""The systems to evaluate: networks, estimates of other programs, the mixture itself, and masks of the true sources.

A system has a `name`, a `description`, and a method that estimates both sources of a recording:

    estimate(recording) -> (estimates (2, samples): voice and accompaniment, note)

The note tells how the estimates were adjusted, '' if they were not; UserError means that there is no estimate. Systems
are small, since they are sent to other processes. Networks are loaded there.
"""

import collections
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from Model_RNN import both_ways
from process.devices import choose_device, device_errors
from process.errors import UserError, printable
from scoring.estimates import Estimate, displacement, find_estimates, read_estimate
from separation.separate import KINDS, describe, headline, separate
from songs.names import plain
from songs.song import Song
from sound.resampling import resample
from util import AudioConfig, load_network, stft

DISPLACED = "the voice is "  # begins the part of a note that tells lag and gain
LENGTH_TOLERANCE = 0.1  # seconds that an estimate may be too long or short: coders and resamplers pad and cut

Estimates = tuple[np.ndarray, str]


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """A song with its mixture and vocals (samples,), read once for all systems."""

    song: Song
    mixture: np.ndarray
    vocals: np.ndarray

    @property
    def sources(self) -> np.ndarray:
        """Voice and accompaniment, (2, samples)."""
        return np.stack([self.vocals, self.mixture - self.vocals])

    def with_accompaniment(self, voice: np.ndarray) -> np.ndarray:
        """An estimate of the voice, and the rest of the mixture, (2, samples)."""
        return np.stack([voice, self.mixture - voice])


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The mixture as the estimate of both sources: the baseline that separation must beat."""

    name: ClassVar[str] = "mixture"
    description: ClassVar[str] = "the mixture as the estimate of both sources"

    def estimate(self, recording: Recording) -> Estimates:
        return np.stack([recording.mixture, recording.mixture]), ""


# ---------------------------------------------------------------------------------------------- networks


@functools.lru_cache
def load_once(path: Path) -> tuple[Any, AudioConfig, dict]:
    """A network of any kind, its AudioConfig and its checkpoint, read once in each process."""
    return load_network(path, *KINDS)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, given by its checkpoint. The accompaniment is the mixture minus its voice."""

    name: str
    path: Path
    bidirectional: bool = False
    keys: int = 1
    device: str = "cpu"

    @property
    def description(self) -> str:
        return describe(self.path, load_once(self.path)[2]) + self._way

    @property
    def headline(self) -> str:
        """The description without the history of the training."""
        network, audio, _ = load_once(self.path)
        return headline(self.path, network, audio, torch.device(self.device)) + self._way

    @property
    def _way(self) -> str:
        made_so = self.bidirectional and not load_once(self.path)[0].foresees
        return (", bidirectional" if made_so else "") + (f", mean of {self.keys} keys" if self.keys > 1 else "")

    @property
    def audio(self) -> AudioConfig:
        return load_once(self.path)[1]

    def learnt(self, songs: Sequence[Song]) -> list[str]:
        """The names of those of these songs that it was trained on, as far as its checkpoint tells: an earlier version
        kept no names. A song of another length is another song."""
        seconds = collections.defaultdict(list)
        for name, length in load_once(self.path)[2].get("songs", []):
            seconds[plain(name)].append(length)
        return [
            song.name
            for song in songs
            if any(abs(song.seconds - length) < LENGTH_TOLERANCE for length in seconds[plain(song.name)])
        ]

    def estimate(self, recording: Recording) -> Estimates:
        rate = recording.song.rate
        with device_errors(torch.device(self.device)):
            network, audio, _ = load_once(self.path)
            network.to(choose_device(self.device))
            network = both_ways(network) if self.bidirectional else network
            [voice] = separate(network, recording.mixture[None], rate, audio, self.keys)
        return recording.with_accompaniment(voice), ""


# ---------------------------------------------------------------------------------------------- other programs


@dataclasses.dataclass(frozen=True)
class Folder:
    """Estimates that another program wrote, found by `find_estimates`.

    The accompaniment is the mixture minus the voice if there is no file of it. Estimates are mixed down to mono and
    resampled to the song's rate. Lag and gain of the voice are noted where they matter, but not taken back.
    """

    name: str
    folder: Path
    found: dict[str, Estimate]  # by song

    @classmethod
    def of(cls, name: str, folder: Path, songs: Sequence[Song]) -> "Folder":
        """The estimates of these songs in a folder. Raises UserError if there are none."""
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of estimates")
        found = find_estimates(folder, songs)
        if not found:
            names = f"('{songs[0].name}.wav' or '{songs[0].name}/vocals.wav')"
            raise UserError(f"{folder}: expected estimates named like the songs {names}, found none")
        return cls(name, folder, found)

    @property
    def description(self) -> str:
        return f"estimates in {self.folder}"

    @property
    def headline(self) -> str:
        return self.description

    def matches(self, songs: Sequence[Song]) -> str:
        """A line for each song: the files of its estimates."""
        files = {song.name: filter(None, self.found.get(song.name, ())) for song in songs}
        lists = {name: ", ".join(str(path.relative_to(self.folder)) for path in paths) for name, paths in files.items()}
        return "\n".join(printable(f"  {name}: {paths or 'none'}") for name, paths in lists.items())

    def estimate(self, recording: Recording) -> Estimates:
        song = recording.song
        if song.name not in self.found:
            raise UserError(f"{self.folder}: expected an estimate '{song.name}.wav', found none")
        voice_path, accompaniment_path = self.found[song.name]
        voice, note = self._read(voice_path, song)
        displaced = displacement(recording.vocals, voice, song.rate)
        if accompaniment_path is None:
            estimates, other_note = recording.with_accompaniment(voice), ""
        else:
            accompaniment, other_note = self._read(accompaniment_path, song)
            estimates = np.stack([voice, accompaniment])
        return estimates, ", ".join(filter(None, [note or other_note, displaced and DISPLACED + displaced]))

    def _read(self, path: Path, song: Song) -> tuple[np.ndarray, str]:
        waveform, rate = read_estimate(path)
        estimate, notes = waveform.mean(axis=0), []
        if rate != song.rate:
            estimate = resample(estimate, rate, song.rate)
            notes.append(f"resampled from {rate} Hz")
        excess = len(estimate) - song.samples
        if abs(excess) > LENGTH_TOLERANCE * song.rate:
            raise UserError(f"{path}: expected {song.samples} samples, as many as the song, found {len(estimate)}")
        if excess:
            notes.append(f"{abs(excess)} samples too {'long' if excess > 0 else 'short'}")
            estimate = np.pad(estimate[: song.samples], (0, max(0, -excess)))
        return estimate, ", ".join(notes)


# ---------------------------------------------------------------------------------------------- ideal masks

SMALLEST = 1e-12  # least magnitude to divide by

# Functions of the magnitudes of voice, accompaniment and mixture. The last mask may exceed 1: its only error is the
# mixture's phase.
IDEAL_MASKS = {
    "ideal ratio mask": lambda voice, accompaniment, mixture: voice / (voice + accompaniment + SMALLEST),
    "ideal binary mask": lambda voice, accompaniment, mixture: (voice > accompaniment).to(voice.dtype),
    "true magnitude": lambda voice, accompaniment, mixture: voice / mixture.clamp(min=SMALLEST),
}


@functools.lru_cache(maxsize=1)  # the masks of one recording are made one after another
def _magnitudes(recording: Recording, audio: AudioConfig) -> torch.Tensor:
    """The magnitudes of voice, accompaniment and mixture: (3, frames, bins)."""
    signals = np.concatenate([recording.sources, recording.mixture[None]])
    return stft(torch.from_numpy(resample(signals, recording.song.rate, audio.sample_rate)), audio).abs()


class _Oracle(torch.nn.Module):
    """Stands in for a network, but returns a given mask. Its state is the number of frames so far."""

    def __init__(self, mask: torch.Tensor):
        super().__init__()
        self.mask = mask  # (frames, bins)

    def forward(self, magnitude: torch.Tensor, state: int | None = None) -> tuple[torch.Tensor, int]:
        start = state or 0
        end = start + magnitude.shape[1]
        # Resampling may yield one sample, and so one frame, more here than where the mask was made.
        frames = torch.arange(start, end).clamp(max=len(self.mask) - 1)
        return self.mask[None, frames], end


@dataclasses.dataclass(frozen=True)
class IdealMask:
    """A mask made from the true sources, applied like a network's: the bound of masking with the mixture's phase."""

    name: str  # one of IDEAL_MASKS
    audio: AudioConfig

    @property
    def description(self) -> str:
        phase = " of the voice, with the mixture's phase" if self.name == "true magnitude" else ""
        return f"{self.name}{phase}: {self.audio}"

    def estimate(self, recording: Recording) -> Estimates:
        mask = IDEAL_MASKS[self.name](*_magnitudes(recording, self.audio))  # (frames, bins)
        voice = separate(_Oracle(mask), recording.mixture[None], recording.song.rate, self.audio)[0]
        return recording.with_accompaniment(voice), ""


System = Mixture | Network | Folder | IdealMask
