"""Codes in bands: how bands exchange what they found, and what all encoders with such codes have in common."""

import abc
import dataclasses
from typing import Any

import torch
from torch import nn

from networks.layers import layers, plus


class Mixer(nn.Module):
    """Lets bands learn from each other: one layer across all bands, one within each, both residual.

    After the MLP-Mixer (Tolstikhin et al. 2021). Bands exchange only `squeezed` features each, through `hidden` units.
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
        told = self.tell(code)  # (..., bands, squeezed)
        heard = self.across(told.flatten(-2)).view(told.shape)
        code = self._add(code, heard, self.hear)
        *hidden, last = self.within
        values = code
        for layer in hidden:
            values = layer(values)
        return self._add(code, values, last)

    def silence(self) -> None:
        """Add nothing, until trained."""
        layer: Any
        for layer in (self.hear, self.within[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _add(self, code: torch.Tensor, values: torch.Tensor, layer: Any) -> torch.Tensor:
        if self.training:
            return code + self.dropout(layer(values))
        return plus(code, values, layer.weight, layer.bias)


class Fusion(nn.Module):
    """Adds to each band's code what the band remembers, then mixes the bands again."""

    def __init__(self, join: nn.Linear, mix: nn.Sequential):
        super().__init__()
        self.join = join
        self.mix = mix

    def silence(self) -> None:
        """Add nothing, until trained."""
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)

    def forward(self, code: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """(..., bands, features), (..., bands, memory) -> (..., bands, features)"""
        if self.training:
            return self.mix(code + self.join(torch.cat([code, memory], dim=-1)))
        of_code, of_memory = self.join.weight.split([code.shape[-1], memory.shape[-1]], dim=1)
        joined = plus(code, code, of_code, self.join.bias)
        joined.flatten(0, -2).addmm_(memory.flatten(0, -2), of_memory.T)
        return self.mix(joined)


@dataclasses.dataclass(frozen=True)
class Banded(abc.ABC):
    """An encoder whose code is (bands, features): split the spectrum and mix the bands; the decoder joins them."""

    bins: int
    features: int
    mixers: int
    exchange: int
    dropout: float

    @property
    @abc.abstractmethod
    def code_shape(self) -> tuple[int, ...]:
        """(bands, features)"""

    @abc.abstractmethod
    def make_split(self) -> nn.Module:
        """Compressed magnitude (..., bins) -> (..., bands, features)."""

    @abc.abstractmethod
    def make_join(self) -> nn.Module:
        """(..., bands, features) -> logits of the mask (..., bins)."""

    def make_encoder(self) -> nn.Sequential:
        """Compressed magnitude (..., bins) -> code (..., bands, features)."""
        return nn.Sequential(self.make_split(), *self._mixers())

    def make_decoder(self) -> nn.Sequential:
        """Code (..., bands, features) -> mask (..., bins)."""
        return nn.Sequential(self.make_join(), nn.Sigmoid())

    def make_fusion(self, memory: int, hidden: int) -> Fusion:
        """Code (..., bands, features) and memory (..., bands, memory) -> code; `hidden` is not used."""
        join = nn.Linear(self.features + memory, self.features)
        return Fusion(join, nn.Sequential(*self._mixers()))

    def _mixers(self) -> list[nn.Module]:
        bands, features = self.code_shape
        return [Mixer(bands, features, self.exchange, self.dropout) for _ in range(self.mixers)]
