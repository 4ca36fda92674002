"""The encoder "conv": convolutions along frequency, with the same weights at all bins."""

import dataclasses

import torch
from torch import nn

from networks.mixing import Banded

KERNELS = ((16, 8), (8, 4))  # length and stride: of the first in bins, of the second in outputs of the first


def conv_bands(bins: int) -> int:
    """How many bands the convolutions make of this many bins."""
    for length, stride in KERNELS:
        bins = (bins + 2 * (length // 2) - length) // stride + 1
    return bins


class ConvSplit(nn.Module):
    """Two strided convolutions along frequency: one band of features for every 32 bins."""

    def __init__(self, features: int):
        super().__init__()
        (long, wide), (short, narrow) = KERNELS
        self.first = nn.Conv1d(1, features // 2, long, wide, padding=long // 2)
        self.second = nn.Conv1d(features // 2, features, short, narrow, padding=short // 2)
        self.norm = nn.LayerNorm(features)

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """(..., bins) -> (..., bands, features)"""
        values = self.second(nn.functional.leaky_relu(self.first(spectrum.flatten(0, -2)[:, None]), 0.01))
        return self.norm(values.transpose(1, 2)).unflatten(0, spectrum.shape[:-1])


class ConvJoin(nn.Module):
    """The way back: two transposed convolutions."""

    def __init__(self, bins: int, features: int):
        super().__init__()
        (long, wide), (short, narrow) = KERNELS
        self.bins = bins
        self.norm = nn.LayerNorm(features)
        self.first = nn.ConvTranspose1d(features, features // 2, short, narrow)
        self.second = nn.ConvTranspose1d(features // 2, 1, long, wide)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """(..., bands, features) -> (..., bins)"""
        values = self.first(self.norm(code).flatten(0, -3).transpose(1, 2))
        values = nn.functional.leaky_relu(values[..., KERNELS[1][0] // 2 :], 0.01)  # without what comes from padding
        values = self.second(values)[:, 0, KERNELS[0][0] // 2 :]
        return values[:, : self.bins].unflatten(0, code.shape[:-2])


@dataclasses.dataclass(frozen=True)
class Conv(Banded):
    """Code (bands, features), with as many bands as the strides leave of the bins."""

    @property
    def code_shape(self) -> tuple[int, ...]:
        return conv_bands(self.bins), self.features

    def make_split(self) -> ConvSplit:
        return ConvSplit(self.features)

    def make_join(self) -> ConvJoin:
        return ConvJoin(self.bins, self.features)
