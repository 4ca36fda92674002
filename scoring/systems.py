"""What is judged: networks, the estimates of other programs, the mixture itself, and masks made from the true sources.

A system has a `name`, a `description`, and estimates both sources of a recording:

    estimate(recording) -> (estimates (2, samples): voice and accompaniment, note)

The note says what had to be done to the estimates, '' if nothing; UserError says that there is no estimate. Systems are
small: they go to other processes, and networks are loaded there.
"""

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from Model import FeedforwardNetwork
from Model_RNN import RecurrentNetwork
from process.errors import UserError
from separation.separate import describe, separate
from songs.layouts import sound_file
from songs.song import Song
from sound.resampling import resample
from util import AudioConfig, load_checkpoint, load_network, stft, wavread

NETWORKS = {network_class.name: network_class for network_class in (FeedforwardNetwork, RecurrentNetwork)}
ACCOMPANIMENT_NAMES = ("accompaniment", "no_vocals", "instrumental")  # Spleeter's, Demucs's, and by hand
LENGTH_TOLERANCE = 0.1  # seconds an estimate may be longer or shorter: coders and resamplers pad and cut

Estimates = tuple[np.ndarray, str]


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """A song and its sound, read once for all systems: mixture and vocals (samples,)."""

    song: Song
    mixture: np.ndarray
    vocals: np.ndarray

    @property
    def sources(self) -> np.ndarray:
        """Voice and accompaniment, (2, samples)."""
        return np.stack([self.vocals, self.mixture - self.vocals])

    def with_accompaniment(self, voice: np.ndarray) -> np.ndarray:
        """An estimate of the voice and what it leaves of the mixture, (2, samples)."""
        return np.stack([voice, self.mixture - voice])


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The mixture as the estimate of both sources: what separation must be better than."""

    name: ClassVar[str] = "mixture"
    description: ClassVar[str] = "the mixture as the estimate of both sources"

    def estimate(self, recording: Recording) -> Estimates:
        return np.stack([recording.mixture, recording.mixture]), ""


# ---------------------------------------------------------------------------------------------- networks


@functools.lru_cache
def load_any_network(path: Path) -> tuple[torch.nn.Module, AudioConfig, dict]:
    """Rebuild the network of a checkpoint, of whichever kind. Returns what `util.load_network` does."""
    name = load_checkpoint(path)["name"]
    if name not in NETWORKS:
        raise UserError(f"{path}: expected a checkpoint of {' or '.join(NETWORKS)}, found one of {name}")
    return load_network(path, NETWORKS[name])


@dataclasses.dataclass(frozen=True)
class Network:
    """A network by its checkpoint; the accompaniment is what its voice leaves of the mixture."""

    name: str
    path: Path
    bidirectional: bool = False
    keys: int = 1

    @property
    def description(self) -> str:
        backwards = ", hearing songs backwards, too" if self.bidirectional else ""
        in_keys = f", hearing songs in {self.keys} keys" if self.keys > 1 else ""
        return describe(self.path, load_any_network(self.path)[2]) + backwards + in_keys

    @property
    def audio(self) -> AudioConfig:
        return load_any_network(self.path)[1]

    def estimate(self, recording: Recording) -> Estimates:
        network, audio, _ = load_any_network(self.path)
        rate = recording.song.rate
        [voice] = separate(network, recording.mixture[None], rate, audio, self.bidirectional, self.keys)
        return recording.with_accompaniment(voice), ""


# ---------------------------------------------------------------------------------------------- other programs


@dataclasses.dataclass(frozen=True)
class Folder:
    """Estimates that another program wrote: <folder>/<song>.wav (the voice) or <folder>/<song>/vocals.wav.

    Any sound format; beside vocals.wav there may be accompaniment.wav, no_vocals.wav or instrumental.wav, else the
    accompaniment is what the voice leaves of the mixture. Channels are mixed down, the rate is made the song's.
    """

    name: str
    folder: Path

    @property
    def description(self) -> str:
        return f"estimates in {self.folder}"

    def paths(self, song: Song) -> tuple[Path | None, Path | None]:
        """The files of voice and accompaniment; None for one that is not there."""
        inside = self.folder / song.name
        voice = sound_file(self.folder, song.name) or sound_file(inside, "vocals")
        return voice, next(filter(None, (sound_file(inside, name) for name in ACCOMPANIMENT_NAMES)), None)

    def estimate(self, recording: Recording) -> Estimates:
        song = recording.song
        voice_path, accompaniment_path = self.paths(song)
        if voice_path is None:
            raise UserError(f"{self.folder}: expected an estimate '{song.name}.wav', found none")
        voice, note = self._read(voice_path, song)
        if accompaniment_path is None:
            return recording.with_accompaniment(voice), note
        accompaniment, other_note = self._read(accompaniment_path, song)
        return np.stack([voice, accompaniment]), note or other_note

    def _read(self, path: Path, song: Song) -> tuple[np.ndarray, str]:
        waveform, rate = wavread(path)
        estimate, notes = waveform.mean(axis=0), []
        if rate != song.rate:
            estimate = resample(estimate, rate, song.rate)
            notes.append(f"resampled from {rate} Hz")
        excess = len(estimate) - song.samples
        if abs(excess) > LENGTH_TOLERANCE * song.rate:
            raise UserError(f"{path}: expected {song.samples} samples like the song, found {len(estimate)}")
        if excess:
            notes.append(f"{abs(excess)} samples too {'long' if excess > 0 else 'short'}")
            estimate = np.pad(estimate[: song.samples], (0, max(0, -excess)))
        return estimate, ", ".join(notes)


# ---------------------------------------------------------------------------------------------- masks from the truth

SMALLEST = 1e-12  # magnitude that nothing is divided by

# From the magnitudes of voice, accompaniment and mixture. The last one is not limited to 1: what is left of the error
# is that of the mixture's phase.
IDEAL_MASKS = {
    "ideal ratio mask": lambda voice, accompaniment, mixture: voice / (voice + accompaniment + SMALLEST),
    "ideal binary mask": lambda voice, accompaniment, mixture: (voice > accompaniment).to(voice.dtype),
    "true magnitude": lambda voice, accompaniment, mixture: voice / mixture.clamp(min=SMALLEST),
}


@functools.lru_cache(maxsize=1)  # the masks of one recording are made one after another
def _magnitudes(recording: Recording, audio: AudioConfig) -> torch.Tensor:
    """Of voice, accompaniment and mixture: (3, frames, bins)."""
    signals = np.concatenate([recording.sources, recording.mixture[None]])
    return stft(torch.from_numpy(resample(signals, recording.song.rate, audio.sample_rate)), audio).abs()


class _Oracle(torch.nn.Module):
    """Called like a network, answers with a mask made before; its state counts the frames it has seen."""

    def __init__(self, mask: torch.Tensor):
        super().__init__()
        self.mask = mask  # (frames, bins)

    def forward(self, magnitude: torch.Tensor, state: int | None = None) -> tuple[torch.Tensor, int]:
        start = state or 0
        end = start + magnitude.shape[1]
        # Resampling may end a sample, and so a frame, later here than where the mask was made.
        frames = torch.arange(start, end).clamp(max=len(self.mask) - 1)
        return self.mask[None, frames], end


@dataclasses.dataclass(frozen=True)
class IdealMask:
    """A mask that knows the true sources, applied as a network's: the bound of masking with the mixture's phase."""

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
