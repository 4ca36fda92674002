"""The single-frame network: an encoder-decoder that sees one magnitude spectrum and predicts its mask.

    magnitude     (batch, frames, 2049), linear
    compression   logarithm, zero mean and unit variance in each bin      networks/compression.py
    encoder       2049 -> 1000 -> 400, leaky ReLU                         networks/dense.py
    decoder       400 -> 1000 -> 2049, leaky ReLU inside, sigmoid at the end
    mask          (batch, frames, 2049), in [0, 1]

These are the course's layers. Others in their place are found by name in networks/encoders.py.
"""

import dataclasses

import torch
from torch import nn

from networks.bands import CORNER
from networks.compression import Compression
from networks.encoders import ENCODERS, encoder_of


@dataclasses.dataclass(frozen=True)
class FeedforwardConfig:
    """Layer sizes and dropout probability. ValueError for an unknown encoder."""

    bins: int = 2049
    # the encoder "dense": bins -> hidden -> code -> hidden -> bins
    hidden: int = 1000
    code: int = 400
    dropout: float = 0.0
    encoder: str = "dense"
    # "bands" and "conv": bins -> bands x features, then `mixers` with `exchange` hidden units each
    bands: int = 24  # of "bands"; the other has its own
    features: int = 64
    mixers: int = 2
    exchange: int = 256
    # "bands" alone: the share of the bins below which bands are about equally wide
    corner: float = CORNER
    # what separation raises the mask to, below 8 kHz: more than 1 where the network is less sure than it should be
    power: float = 1.0

    def __post_init__(self):
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder {self.encoder!r}, expected one of {', '.join(ENCODERS)}")


class FeedforwardNetwork(nn.Module):
    """mask = decoder(encoder(compressed magnitude)), every frame by itself."""

    name = "feedforward"
    remembers = False  # whether a frame's mask depends on frames before
    foresees = False  # whether it depends on later ones
    Config = FeedforwardConfig

    def __init__(self, config: FeedforwardConfig):
        super().__init__()
        self.config = config
        self.compression = Compression(config.bins)
        layers = encoder_of(config)
        self.encoder = layers.make_encoder()  # 2049 -> 1000 -> 400
        self.decoder = layers.make_decoder()  # 400 -> 1000 -> 2049

    def forward(self, magnitude: torch.Tensor, state: None = None) -> tuple[torch.Tensor, None]:
        """magnitude: (batch, frames, bins), linear. Returns mask (batch, frames, bins) in [0, 1], and `state`."""
        code = self.encoder(self.compression(magnitude))  # (batch, frames, code) or (batch, frames, bands, features)
        return self.decoder(code), state
