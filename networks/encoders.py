"""Encoders and decoders of both networks: from a spectrum to a code of it, and from a code to a mask.

    dense     fully connected layers over all bins: code (..., code)                        the course's
    bands     a layer of its own for each band of neighbouring bins: code (..., bands, features)
    conv      convolutions along frequency, the same for all bins: code (..., bands, features)
    harmonic  bands, and one more that hears and makes harmonics of a pitch: code (..., bands + 1, features)

All but the first look at parts of the spectrum, and mix what they found: `Mixer`. They have a third of the weights or
fewer, and what they learn of some singers mostly holds better for others; they take up to three times as long.
"""

import itertools
import math

import torch
from torch import nn

ENCODERS = ("dense", "bands", "conv", "harmonic")
CORNER = 0.0875  # share of the bins below which bands are about equally wide: 700 Hz of 8 kHz, as on the mel scale
KERNELS = ((16, 8), (8, 4))  # of the convolutions: length and stride in bins, then in the first one's outputs
LOWEST, HIGHEST = 70.0, 1100.0  # Hz, of the pitches of singing voices
HARMONICS = 12
FALL = 0.84  # of the weight from one harmonic to the next


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


def band_edges(bins: int, bands: int, corner: float = CORNER) -> list[int]:
    """First bin of each band, and `bins`: narrow bands below, as wide as they are high above (like the mel scale)."""
    top = math.log1p(1 / corner)
    edges = [round(bins * corner * math.expm1(top * band / bands)) for band in range(bands + 1)]
    for band in range(1, bands):
        edges[band] = max(edges[band], edges[band - 1] + 1)
    return edges


class BandSplit(nn.Module):
    """Each band's bins, and half as many on either side, -> features (Luo and Yu 2023, band-split RNN)."""

    def __init__(self, bins: int, bands: int, features: int, corner: float = CORNER):
        super().__init__()
        edges = band_edges(bins, bands, corner)
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

    def __init__(self, bins: int, bands: int, features: int, corner: float = CORNER):
        super().__init__()
        self.norm = nn.LayerNorm(features)
        widths = [b - a for a, b in itertools.pairwise(band_edges(bins, bands, corner))]
        self.bands = nn.ModuleList(
            nn.Sequential(*layers(features, 2 * features), nn.Linear(2 * features, width)) for width in widths
        )

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """(..., bands, features) -> (..., bins)"""
        parts = zip(self.bands, self.norm(code).unbind(dim=-2), strict=True)
        return torch.cat([band(features) for band, features in parts], dim=-1)


# ---------------------------------------------------------------------------------------------- harmonics


def harmonic_combs(bins: int, bin_width: float, pitches: int) -> torch.Tensor:
    """(pitches, bins): a comb for each pitch, with teeth at its harmonics and gaps as deep halfway between them.

    Its product with a logarithmic spectrum is the sum of what lies at the harmonics, less what lies between them:
    subharmonic summation (Hermes 1988). Pitches are a constant ratio apart; bin_width is in Hz.
    """
    pitch = LOWEST / bin_width * (HIGHEST / LOWEST) ** torch.linspace(0, 1, pitches)[:, None]  # in bins
    combs = torch.zeros(pitches, bins)
    for harmonic in range(1, HARMONICS + 1):
        for place, sign in ((harmonic, 1), (harmonic - 0.5, -1)):
            distance = torch.arange(bins) - place * pitch
            combs += sign * FALL ** (harmonic - 1) * (1 - distance.abs()).clamp(min=0)
    return combs


class HarmonicSplit(BandSplit):
    """The bands' features, and after them those of one more band, which sees how strong each pitch is.

    What is a melody's in one key is so in another, and what is one singer's pitch another may sing; bands must learn
    every note by itself.
    """

    def __init__(self, bins: int, bands: int, features: int, pitches: int, bin_width: float, corner: float = CORNER):
        super().__init__(bins, bands, features, corner)
        combs = harmonic_combs(bins, bin_width, pitches)
        self.register_buffer("combs", combs / combs.norm(dim=1, keepdim=True).clamp(min=1))
        self.pitch = nn.Sequential(nn.Linear(pitches, features), nn.LayerNorm(features))

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """(..., bins) -> (..., bands + 1, features)"""
        pitch = self.pitch(spectrum @ self.combs.T)
        return torch.cat([super().forward(spectrum), pitch[..., None, :]], dim=-2)


class HarmonicJoin(BandJoin):
    """Each band's features -> the values of its bins; to these the last one's features add combs."""

    def __init__(self, bins: int, bands: int, features: int, pitches: int, bin_width: float, corner: float = CORNER):
        super().__init__(bins, bands, features, corner)
        self.register_buffer("combs", harmonic_combs(bins, bin_width, pitches))
        heights = nn.Linear(2 * features, pitches)
        nn.init.zeros_(heights.weight)
        nn.init.zeros_(heights.bias)
        self.pitch = nn.Sequential(nn.LayerNorm(features), *layers(features, 2 * features), heights)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """(..., bands + 1, features) -> (..., bins)"""
        return super().forward(code[..., :-1, :]) + self.pitch(code[..., -1, :]) @ self.combs


def grow(network: nn.Module, first: nn.Module) -> None:
    """Give a network the weights of one of its size, or of one with a band less, whose mask is then its own, too.

    The band more is the last one everywhere; until it is trained, it tells the others nothing.
    """
    weights = first.state_dict()
    for name, own in network.state_dict().items():
        if name in weights:
            own.zero_()[tuple(map(slice, weights[name].shape))] = weights[name]


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
