"""The singing voice of a waveform in one call, and the default separator and checkpoint."""

from pathlib import Path

import numpy as np
import torch

from process.errors import UserError
from separation.bidirectional import Bidirectional
from separation.separator import Separator
from util import AudioConfig

OUT_OF_TUNE = "its songs were brought in tune, which is no longer done"  # of a network of an earlier version
PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


def make_separator(
    network: torch.nn.Module, audio: AudioConfig, rate: int, channels: int, bidirectional: bool = False, keys: int = 1
) -> Separator | Bidirectional:
    """A separator for one stream of sound at `rate` Hz: see the two classes."""
    kind = Bidirectional if bidirectional else Separator
    return kind(network, audio, rate, channels, keys)


def separate(
    network: torch.nn.Module,
    waveform: np.ndarray,
    rate: int,
    audio: AudioConfig,
    bidirectional: bool = False,
    keys: int = 1,
) -> np.ndarray:
    """Separate the singing voice from waveform (channels, samples), float32, at any rate in Hz.

    Returns a waveform of the same shape and rate. bidirectional and keys: see Bidirectional and Separator.
    """
    separator = make_separator(network, audio, rate, len(waveform), bidirectional, keys)
    _, voice = separator.push(waveform, last=True)
    return voice


def find_checkpoint(name: str) -> Path:
    """The best checkpoint of the network called `name`: the one in the current folder, else the pretrained one."""
    file = f"savedModel_{name}_best.pt"
    places = (Path(file), PRETRAINED / file)
    for path in places:
        if path.is_file():
            return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    raise UserError(f"{file}: expected in the current folder or in '{places[1].parent}', found in neither")


def headline(path: Path, remembers: bool, audio: AudioConfig, device: torch.device) -> str:
    """The network in a few words: kind, checkpoint, sample rate, device."""
    where = "pretrained" if path.resolve().parent == PRETRAINED else str(path)
    kind = "recurrent" if remembers else "single-frame"
    return f"{kind} network ({where}), {audio.sample_rate / 1000:g} kHz, {device}"


def describe(path: Path, checkpoint: dict) -> str:
    tuned = f"; {OUT_OF_TUNE}" if checkpoint.get("in_tune") else ""
    return f"{path}: {checkpoint['name']} network, trained on {checkpoint.get('trained_on', 'unknown data')}{tuned}"
