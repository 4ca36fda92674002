"""The single-frame network: an encoder-decoder that sees one magnitude spectrum and predicts its mask."""

import dataclasses

import torch
from torch import nn

from networks.encoders import (
    CORNER,
    ENCODERS,
    BandJoin,
    BandSplit,
    ConvJoin,
    ConvSplit,
    HarmonicJoin,
    HarmonicSplit,
    Mixer,
    conv_bands,
    layers,
)


@dataclasses.dataclass(frozen=True)
class FeedforwardConfig:
    """Layer sizes and share of dropout.

    With the encoder "dense", bins -> hidden -> code, and the decoder code -> hidden -> bins. With "bands" or "conv",
    bins -> bands x features, then `mixers`, in which bands tell each other what they found through `exchange` units.
    "harmonic" has one band more, for so many `pitches`; it alone must know how wide a bin is, in Hz. corner: share of
    the bins below which bands are about equally wide.

    adapts: in separation, songs are brought in tune and in the colour of those that it has learnt from: see hearing.py.
    """

    bins: int = 2049
    hidden: int = 1000
    code: int = 400
    dropout: float = 0.0
    encoder: str = "dense"
    bands: int = 24
    features: int = 64
    mixers: int = 2
    exchange: int = 256
    pitches: int = 160
    bin_width: float = 7.8125
    corner: float = CORNER
    adapts: bool = True

    def __post_init__(self):
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder {self.encoder!r}, expected one of {', '.join(ENCODERS)}")


class Compression(nn.Module):
    """Turn linear magnitudes into the network's input: level of 1, logarithm, zero mean and unit variance in each bin.

    Each frame is divided by its own level (RMS over bins), so that the mask is the same for a soft recording as for a
    loud one. Magnitudes span five decades and fall by 60 dB from the lowest to the highest bins; a linear layer would
    hear nothing but the bass, hence the logarithm and the statistics of each bin. Those are buffers, measured once on
    the training data by `measure`, and travel with the weights.
    """

    FLOOR = 1e-3  # 60 dB below the frame's level: what lies below counts as silence
    SILENCE = 1e-8  # level under which a frame is not blown up any more, -160 dB

    def __init__(self, bins: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("deviation", torch.ones(bins))

    def forward(self, magnitude: torch.Tensor) -> torch.Tensor:
        return (self.log_spectrum(magnitude) - self.mean) / self.deviation

    def log_spectrum(self, magnitude: torch.Tensor) -> torch.Tensor:
        """Natural logarithm of magnitude (..., bins) relative to its frame's level, above the floor."""
        level = magnitude.square().mean(dim=-1, keepdim=True).sqrt()
        return torch.log(magnitude / (level + self.SILENCE) + self.FLOOR)

    def measure(self, magnitude: torch.Tensor) -> None:
        """Set the statistics from example magnitudes (frames, bins)."""
        spectrum = self.log_spectrum(magnitude)
        self.mean.copy_(spectrum.mean(0))
        # A bin that hardly moves (above a song's bandwidth) must not have its noise blown up.
        self.deviation.copy_(spectrum.std(0).clamp(min=0.1))


def make_encoder(config: FeedforwardConfig) -> nn.Sequential:
    """Compressed magnitude (..., bins) -> code: (..., code) if dense, else (..., bands, features)."""
    if config.encoder == "dense":
        return nn.Sequential(*layers(config.bins, config.hidden, config.code, dropout=config.dropout))
    sizes = config.bins, config.bands, config.features
    if config.encoder == "bands":
        split = BandSplit(*sizes, config.corner)
    elif config.encoder == "harmonic":
        split = HarmonicSplit(*sizes, config.pitches, config.bin_width, config.corner)
    else:
        split = ConvSplit(config.features)
    return nn.Sequential(split, *make_mixers(config))


def make_mixers(config: FeedforwardConfig) -> list[nn.Module]:
    bands = {"bands": config.bands, "conv": conv_bands(config.bins), "harmonic": config.bands + 1}[config.encoder]
    return [Mixer(bands, config.features, config.exchange, config.dropout) for _ in range(config.mixers)]


def make_decoder(config: FeedforwardConfig) -> nn.Sequential:
    """Code -> mask (..., bins)."""
    sizes = config.bins, config.bands, config.features
    if config.encoder == "bands":
        return nn.Sequential(BandJoin(*sizes, config.corner), nn.Sigmoid())
    if config.encoder == "harmonic":
        join = HarmonicJoin(*sizes, config.pitches, config.bin_width, config.corner)
        return nn.Sequential(join, nn.Sigmoid())
    if config.encoder == "conv":
        return nn.Sequential(ConvJoin(config.bins, config.features), nn.Sigmoid())
    output = nn.Linear(config.hidden, config.bins)
    nn.init.xavier_uniform_(output.weight)
    nn.init.zeros_(output.bias)
    return nn.Sequential(*layers(config.code, config.hidden, dropout=config.dropout), output, nn.Sigmoid())


class FeedforwardNetwork(nn.Module):
    """mask = decoder(encoder(compressed magnitude)), every frame by itself."""

    name = "feedforward"
    remembers = False  # whether a frame's mask depends on other frames
    Config = FeedforwardConfig

    def __init__(self, config: FeedforwardConfig):
        super().__init__()
        self.config = config
        self.compression = Compression(config.bins)
        self.encoder = make_encoder(config)
        self.decoder = make_decoder(config)

    def forward(self, magnitude: torch.Tensor, state: None = None) -> tuple[torch.Tensor, None]:
        """magnitude: (batch, frames, bins), linear. Returns mask (batch, frames, bins) in [0, 1], and `state`."""
        code = self.encoder(self.compression(magnitude))  # (batch, frames, code) or (batch, frames, bands, features)
        return self.decoder(code), state
