"""The singing voice of a waveform in one call, all kinds of networks, and the default checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from Model import FeedforwardNetwork
from Model_RNN import BidirectionalNetwork, RecurrentNetwork
from process.errors import UserError
from separation.separator import Separator
from util import AudioConfig

OUT_OF_TUNE = "its training songs were brought in tune, which is no longer done"  # of a network of an earlier version
PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
KINDS = (FeedforwardNetwork, RecurrentNetwork, BidirectionalNetwork)


def separate(
    network: torch.nn.Module, waveform: np.ndarray, rate: int, audio: AudioConfig, keys: int = 1
) -> np.ndarray:
    """Separate the singing voice from waveform (channels, samples), float32, at any rate in Hz.

    Returns a waveform of the same shape and rate. keys: see Separator.
    """
    _, voice = Separator(network, audio, rate, len(waveform), keys).push(waveform, last=True)
    return voice


def find_checkpoint(*names: str) -> Path:
    """The best checkpoint of a network called one of `names`, in the current folder or else pretrained. In a folder, an
    earlier name comes first."""
    files = [f"savedModel_{name}_best.pt" for name in names]
    for path in (folder / file for folder in (Path(), PRETRAINED) for file in files):
        if path.is_file():
            return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    raise UserError(f"{files[0]}: expected in the current folder or in '{PRETRAINED}', found in neither")


def headline(path: Path, network: Any, audio: AudioConfig, device: torch.device) -> str:
    """A network in a few words: kind, checkpoint, sample rate, device."""
    where = "pretrained" if is_pretrained(path) else str(path)
    kind = "bidirectional" if network.foresees else "recurrent" if network.remembers else "single-frame"
    return f"{kind} network ({where}), {audio.sample_rate / 1000:g} kHz, {device}"


def is_pretrained(path: Path) -> bool:
    return path.resolve().parent == PRETRAINED


def place_of(path: Path) -> Path:
    """A checkpoint's path, of a pretrained one as it is in the project, wherever that lies."""
    return Path(PRETRAINED.name, path.name) if is_pretrained(path) else path


def describe(path: Path, checkpoint: dict) -> str:
    """A checkpoint, and what it has learnt from."""
    where = place_of(path)
    tuned = f"; {OUT_OF_TUNE}" if checkpoint.get("in_tune") else ""
    return f"{where}: {checkpoint['name']} network, trained on {checkpoint.get('trained_on', 'unknown data')}{tuned}"
