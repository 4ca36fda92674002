"""The encoder "harmonic": the bands of bands.py, and one more that hears and makes the harmonics of a pitch."""

import dataclasses

import torch
from torch import nn

from networks.bands import CORNER, BandJoin, BandSplit
from networks.layers import layers
from networks.mixing import Banded

LOWEST, HIGHEST = 70.0, 1100.0  # Hz, pitches of singing voices
HARMONICS = 12
FALL = 0.84  # ratio of a harmonic's weight to that of the one below


def harmonic_combs(bins: int, bin_width: float, pitches: int) -> torch.Tensor:
    """(pitches, bins): a comb for each pitch, with teeth at its harmonics and equally deep gaps halfway between them.

    The product with a logarithmic spectrum is the sum of what lies at the harmonics minus what lies between them:
    subharmonic summation (Hermes 1988). Pitches are spaced by a constant ratio; bin_width is in Hz.
    """
    pitch = LOWEST / bin_width * (HIGHEST / LOWEST) ** torch.linspace(0, 1, pitches)[:, None]  # in bins
    combs = torch.zeros(pitches, bins)
    for harmonic in range(1, HARMONICS + 1):
        for place, sign in ((harmonic, 1), (harmonic - 0.5, -1)):
            distance = torch.arange(bins) - place * pitch
            combs += sign * FALL ** (harmonic - 1) * (1 - distance.abs()).clamp(min=0)
    return combs


class HarmonicSplit(BandSplit):
    """The bands' features, then those of one more band, which sees how strong each pitch is.

    A melody in one key is a melody in every other, and any singer may sing another's pitch. The bands alone must learn
    every note separately.
    """

    combs: torch.Tensor

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
    """Each band's features -> the values of its bins, plus the combs that the last band's features weight."""

    combs: torch.Tensor

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


@dataclasses.dataclass(frozen=True)
class Harmonic(Banded):
    """Code (bands + 1, features). The combs depend on bin_width, the width of a bin in Hz."""

    bands: int
    pitches: int
    bin_width: float
    corner: float

    @property
    def code_shape(self) -> tuple[int, ...]:
        return self.bands + 1, self.features

    def make_split(self) -> HarmonicSplit:
        return HarmonicSplit(self.bins, self.bands, self.features, self.pitches, self.bin_width, self.corner)

    def make_join(self) -> HarmonicJoin:
        return HarmonicJoin(self.bins, self.bands, self.features, self.pitches, self.bin_width, self.corner)
