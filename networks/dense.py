"""The course's encoder: fully connected layers over all bins of a frame."""

import dataclasses

import torch
from torch import nn

from networks.layers import layers


class Fusion(nn.Sequential):
    """Layers over code and memory side by side."""

    def forward(self, code: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(torch.cat([code, memory], dim=-1))


@dataclasses.dataclass(frozen=True)
class Dense:
    """Encoder bins -> hidden -> code, decoder code -> hidden -> bins; in the course 2049, 1000 and 400 units."""

    bins: int
    hidden: int
    code: int
    dropout: float

    @property
    def code_shape(self) -> tuple[int, ...]:
        return (self.code,)

    def make_encoder(self) -> nn.Sequential:
        """Compressed magnitude (..., bins) -> code (..., code)."""
        return nn.Sequential(*layers(self.bins, self.hidden, self.code, dropout=self.dropout))

    def make_decoder(self) -> nn.Sequential:
        """Code (..., code) -> mask (..., bins)."""
        output = nn.Linear(self.hidden, self.bins)
        nn.init.xavier_uniform_(output.weight)
        nn.init.zeros_(output.bias)
        return nn.Sequential(*layers(self.code, self.hidden, dropout=self.dropout), output, nn.Sigmoid())

    def make_fusion(self, memory: int, hidden: int) -> Fusion:
        """Code (..., code) and memory (..., memory) -> hidden -> code (..., code); 600 -> 800 -> 400."""
        return Fusion(*layers(self.code + memory, hidden, self.code, dropout=self.dropout))
