"""Encoders and decoders of both networks: from a spectrum to a code of it, and from a code to a mask.

    dense   fully connected layers over all bins: code (..., code)                        the course's
    bands   a layer of its own for each band of neighbouring bins: code (..., bands, features)
    conv    convolutions along frequency, the same for all bins: code (..., bands, features)

The last two look at parts of the spectrum, and mix what they found: `Mixer`. They have a third of the weights or
fewer, and what they learn of one singer holds better for another; they take up to twice the time.
"""

import itertools
import math

import torch
from torch import nn

ENCODERS = ("dense", "bands", "conv")
CORNER = 0.0875  # share of the bins below which bands are about equally wide: 700 Hz of 8 kHz, as on the mel scale
KERNELS = ((16, 8), (8, 4))  # of the convolutions: length and stride in bins, then in the first one's outputs


def layers(*sizes: int, dropout: float = 0.0) -> list[nn.Module]:
    """Linear layers of these sizes, each followed by leaky ReLU; Xavier initialisation (Glorot and Bengio 2010)."""
    modules = []
    for inputs, outputs in itertools.pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        nn.init.xavier_uniform_(linear.weight, gain=nn.init.calculate_gain("leaky_relu", 0.01))
        nn.init.zeros_(linear.bias)
        modules += [linear, nn.LeakyReLU(0.01), nn.Dropout(dropout)]
    return modules


# ---------------------------------------------------------------------------------------------- bands


def band_edges(bins: int, bands: int) -> list[int]:
    """First bin of each band, and `bins`: narrow bands below, as wide as they are high above (like the mel scale)."""
    top = math.log1p(1 / CORNER)
    edges = [round(bins * CORNER * math.expm1(top * band / bands)) for band in range(bands + 1)]
    for band in range(1, bands):
        edges[band] = max(edges[band], edges[band - 1] + 1)
    return edges


class BandSplit(nn.Module):
    """Each band's bins, and half as many on either side, -> features (Luo and Yu 2023, band-split RNN)."""

    def __init__(self, bins: int, bands: int, features: int):
        super().__init__()
        edges = band_edges(bins, bands)
        self.ranges = [
            (max(0, a - (b - a) // 2 - 1), min(bins, b + (b - a) // 2 + 1)) for a, b in itertools.pairwise(edges)
        ]
        self.bands = nn.ModuleList(nn.Linear(last - first, features) for first, last in self.ranges)
        self.norm = nn.LayerNorm(features)

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """(..., bins) -> (..., bands, features)"""
        parts = [band(spectrum[..., a:b]) for band, (a, b) in zip(self.bands, self.ranges, strict=True)]
        return self.norm(torch.stack(parts, dim=-2))


class BandJoin(nn.Module):
    """Each band's features -> the values of its bins."""

    def __init__(self, bins: int, bands: int, features: int):
        super().__init__()
        self.norm = nn.LayerNorm(features)
        widths = [b - a for a, b in itertools.pairwise(band_edges(bins, bands))]
        self.bands = nn.ModuleList(
            nn.Sequential(*layers(features, 2 * features), nn.Linear(2 * features, width)) for width in widths
        )

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """(..., bands, features) -> (..., bins)"""
        parts = zip(self.bands, self.norm(code).unbind(dim=-2), strict=True)
        return torch.cat([band(features) for band, features in parts], dim=-1)


# ---------------------------------------------------------------------------------------------- convolutions


def conv_bands(bins: int) -> int:
    """How many bands the convolutions make of so many bins."""
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
    """The same back: two transposed convolutions."""

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
        values = nn.functional.leaky_relu(values[..., KERNELS[1][0] // 2 :], 0.01)  # without what the padding saw
        values = self.second(values)[:, 0, KERNELS[0][0] // 2 :]
        return values[:, : self.bins].unflatten(0, code.shape[:-2])


# ---------------------------------------------------------------------------------------------- mixing


class Mixer(nn.Module):
    """Lets bands learn of each other: one layer over all bands, one within each, both added to what was there.

    After the MLP-Mixer (Tolstikhin et al. 2021). `squeezed` features of a band are what the others are told.
    """

    def __init__(self, bands: int, features: int, hidden: int, dropout: float = 0.0, squeezed: int = 16):
        super().__init__()
        self.tell = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, squeezed))
        self.across = nn.Sequential(*layers(bands * squeezed, hidden), nn.Linear(hidden, bands * squeezed))
        self.hear = nn.Linear(squeezed, features)
        self.within = nn.Sequential(
            nn.LayerNorm(features), *layers(features, 2 * features), nn.Linear(2 * features, features)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """(..., bands, features) -> the same shape"""
        told = self.tell(code)
        heard = self.across(told.flatten(-2)).view(told.shape)
        code = code + self.dropout(self.hear(heard))
        return code + self.dropout(self.within(code))
