"""From sound to sound: resample, STFT, mask, inverse STFT, resample back. Files and evaluation both use it."""

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch

from errors import UserError, command
from util import (
    AudioConfig,
    choose_device,
    istft,
    load_network,
    output_format,
    resample,
    sound_info,
    stft,
    wavread,
    wavwrite,
)

PIECE = 1024  # frames that go through the network at once, so that its layers' outputs stay small for any length


def separate(network: torch.nn.Module, waveform: np.ndarray, rate: int, audio: AudioConfig) -> np.ndarray:
    """Estimate the singing voice in waveform (channels, samples), float32, at any rate in Hz.

    Each channel is separated by itself: its magnitude times the network's mask, with the mixture's phase.
    Returns the voice, same shape, same rate. What lies above the network's band (half its rate) is not in it.
    network: anything with forward(magnitude, state) -> (mask, state), in eval mode.
    """
    samples = waveform.shape[-1]
    at_network_rate = resample(waveform, rate, audio.sample_rate)
    if at_network_rate.shape[-1] == 0:  # a few samples of a high rate are less than one of a low rate
        return np.zeros_like(waveform)
    device = next(network.parameters(), torch.empty(0)).device
    spectrum = stft(torch.from_numpy(at_network_rate).to(device), audio)  # (channels, frames, bins)
    state = None
    with torch.inference_mode():
        for piece in spectrum.split(PIECE, dim=1):
            mask, state = network(piece.abs(), state)
            piece *= mask
    voice = resample(istft(spectrum, audio, at_network_rate.shape[-1]).cpu().numpy(), audio.sample_rate, rate)
    exact = np.zeros_like(waveform)  # resampling there and back may be a sample longer or shorter
    exact[:, : voice.shape[-1]] = voice[:, :samples]
    return exact


def find_checkpoint(name: str) -> Path:
    """The best checkpoint of the network called `name`: in the current folder, else the one beside the code."""
    file = f"savedModel_{name}_best.pt"
    places = (Path(file), Path(__file__).parent / "pretrained" / file)
    for path in places:
        if path.is_file():
            return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    raise UserError(f"{file}: expected in the current folder or in '{places[1].parent}', found in neither")


def describe(path: Path, checkpoint: dict) -> str:
    return f"{path}: {checkpoint['name']} network, trained on {checkpoint.get('trained_on', 'unknown data')}"


def separate_file(network: torch.nn.Module, audio: AudioConfig, source: Path, target: Path) -> None:
    """Write the voice in `source` to `target`: same rate, channels, length, and sample type where the format has it."""
    file_format, subtype = output_format(target), sound_info(source).subtype
    if target.exists() and target.samefile(source):
        raise UserError(f"{target}: expected another file than the input, found the same")
    waveform, rate = wavread(source)
    exact = subtype.startswith(("PCM", "FLOAT", "DOUBLE"))  # not, for instance, MP3 inside WAV
    if not (exact and soundfile.check_format(file_format, subtype)):
        subtype = None
    wavwrite(target, separate(network, waveform, rate, audio), rate, subtype)


@command
def main(network_class: type, argv: list[str] | None = None) -> None:
    """Separate a file from the command line with a network of this class."""
    parser = argparse.ArgumentParser(description=f"Separate the singing voice with the {network_class.name} network.")
    parser.add_argument("input", type=Path, help="song: WAV, FLAC, OGG, MP3 at any rate, any number of channels")
    parser.add_argument("output", type=Path, help="the voice: the name's extension chooses the format")
    parser.add_argument("--checkpoint", type=Path, help="default: the best one in the current folder, else pretrained")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (%(default)s)")
    options = parser.parse_args(argv)
    device = choose_device(options.device)
    path = options.checkpoint or find_checkpoint(network_class.name)
    network, audio, checkpoint = load_network(path, network_class)
    print(f"{describe(path, checkpoint)} ({audio}, on {device})", file=sys.stderr)
    separate_file(network.to(device), audio, options.input, options.output)
