"""The encoder "bands": a layer for each band of neighbouring bins, narrow at the bottom and wide at the top."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from networks.layers import layers
from networks.mixing import Banded

PADDED = 1.25  # times as many weights, at most, to make one product of several
CORNER = 0.0875  # share of the bins below which bands are about equally wide: 700 Hz of 8 kHz, as on the mel scale


def band_edges(bins: int, bands: int, corner: float = CORNER) -> list[int]:
    """The first bin of each band, then `bins`. Bands get wider towards the top, as on the mel scale."""
    top = math.log1p(1 / corner)
    edges = [round(bins * corner * math.expm1(top * band / bands)) for band in range(bands + 1)]
    for band in range(1, bands):
        edges[band] = max(edges[band], edges[band - 1] + 1)
    return edges


Product = tuple[int, int, torch.Tensor, torch.Tensor]  # first bin, bin after the last, weight, bias


def side_by_side(products: list[Product]) -> Product:
    """One product that gives what several of overlapping bins give, one after the other."""
    first, last = min(first for first, *_ in products), max(last for _, last, *_ in products)
    pad = nn.functional.pad
    weights = [pad(weight, (own_first - first, last - own_last)) for own_first, own_last, weight, _ in products]
    return first, last, torch.cat(weights), torch.cat([bias for *_, bias in products])


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
        self.products: list[Product] = []  # what is multiplied with what, if packed

    def pack(self) -> None:
        """Make one product of two neighbouring bands: zeros where one of them sees no bins cost less than a call."""
        parts: list[Any] = [(*bins, band.weight, band.bias) for band, bins in zip(self.bands, self.ranges, strict=True)]
        self.products = [side_by_side(parts[band : band + 2]) for band in range(0, len(parts), 2)]

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """(..., bins) -> (..., bands, features)"""
        if self.products:
            rows = spectrum.flatten(0, -2)
            parts = [nn.functional.linear(rows[:, a:b], weight, bias) for a, b, weight, bias in self.products]
            return self.norm(torch.cat(parts, dim=-1).view(*spectrum.shape[:-1], len(self.bands), -1))
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
        self.hidden: tuple[torch.Tensor, torch.Tensor] | None = None  # of all bands, if packed: weights and biases
        # Of bands of about one width: which, and their widths.
        self.outputs: list[tuple[slice, list[int], torch.Tensor, torch.Tensor]] = []

    def pack(self) -> None:
        """Make one product of all bands' hidden layers, and one of the outputs of each few bands of about one width."""
        bands: Any = self.bands
        first, last = ([band[place] for band in bands] for place in (0, -1))
        self.hidden = stacked([layer.weight for layer in first]), stacked([layer.bias[:, None] for layer in first])
        for own in alike([layer.out_features for layer in last], PADDED):
            weights, biases = zip(*((layer.weight, layer.bias[:, None]) for layer in last[own]), strict=True)
            self.outputs.append((own, [len(weight) for weight in weights], stacked(weights), stacked(biases)))

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """(..., bands, features) -> (..., bins)"""
        if self.hidden:
            weight, bias = self.hidden
            rows = self.norm(code).flatten(0, -3).transpose(0, 1)  # (bands, rows, features)
            hidden = nn.functional.leaky_relu_(torch.baddbmm(bias, rows, weight), 0.01)
            bins = [
                values[:, :width]
                for own, widths, weight, bias in self.outputs
                for width, values in zip(widths, torch.baddbmm(bias, hidden[own], weight), strict=True)
            ]
            return torch.cat(bins, dim=-1).view(*code.shape[:-2], -1)
        parts = zip(self.bands, self.norm(code).unbind(dim=-2), strict=True)
        return torch.cat([band(features) for band, features in parts], dim=-1)


def stacked(weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """Transposed weights (inputs, outputs) of layers with as many inputs, filled up with zeros to as many outputs."""
    return torch.nn.utils.rnn.pad_sequence(list(weights), batch_first=True).transpose(1, 2).contiguous()


def alike(widths: list[int], most: float) -> list[slice]:
    """Runs of neighbours whose widths, filled up to the largest, add up to at most `most` times as much."""
    runs, start = [], 0
    for end in range(1, len(widths) + 1):
        if end == len(widths) or (end + 1 - start) * max(widths[start : end + 1]) > most * sum(widths[start : end + 1]):
            runs.append(slice(start, end))
            start = end
    return runs


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
