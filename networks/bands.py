"""The encoder "bands": a layer for each band of neighbouring bins, narrow at the bottom and wide at the top."""

import dataclasses
import itertools
import math

import torch
from torch import nn

from networks.layers import layers
from networks.mixing import Banded

CORNER = 0.0875  # share of the bins below which bands are about equally wide: 700 Hz of 8 kHz, as on the mel scale


def band_edges(bins: int, bands: int, corner: float = CORNER) -> list[int]:
    """The first bin of each band, then `bins`. Bands get wider towards the top, as on the mel scale."""
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


@dataclasses.dataclass(frozen=True)
class Bands(Banded):
    """Code (bands, features)."""

    bands: int
    corner: float

    @property
    def code_shape(self) -> tuple[int, ...]:
        return self.bands, self.features

    def make_split(self) -> BandSplit:
        return BandSplit(self.bins, self.bands, self.features, self.corner)

    def make_join(self) -> BandJoin:
        return BandJoin(self.bins, self.bands, self.features, self.corner)
