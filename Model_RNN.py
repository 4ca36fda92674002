"""The recurrent network: the single-frame encoder and decoder, and between them an LSTM that remembers."""

import dataclasses

import torch
from torch import nn

from Model import Compression, FeedforwardConfig, FeedforwardNetwork, layers, make_decoder, make_encoder

State = tuple[torch.Tensor, torch.Tensor]  # the LSTM's (h, c), each (1, batch, memory)


@dataclasses.dataclass(frozen=True)
class RNNConfig(FeedforwardConfig):
    """The single-frame sizes, and: LSTM code -> memory, then fusion code + memory -> fusion -> code."""

    memory: int = 200
    fusion: int = 800


class RecurrentNetwork(nn.Module):
    """mask = decoder(fuse(code, LSTM(code))): the frame itself beside what the LSTM makes of the frames up to it."""

    name = "RNN"
    Config = RNNConfig

    def __init__(self, config: RNNConfig):
        super().__init__()
        self.config = config
        self.compression = Compression(config.bins)
        self.encoder = make_encoder(config)
        self.lstm = nn.LSTM(config.code, config.memory, batch_first=True)
        for parameter in self.lstm.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
        self.fuse = nn.Sequential(
            *layers(config.code + config.memory, config.fusion, config.code, dropout=config.dropout)
        )
        self.decoder = make_decoder(config)

    def start_from(self, network: FeedforwardNetwork) -> None:
        """Take over the input statistics, the encoder and the decoder of a trained single-frame network."""
        for part in ("compression", "encoder", "decoder"):
            getattr(self, part).load_state_dict(getattr(network, part).state_dict())

    def forward(self, magnitude: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """magnitude: (batch, frames, bins), linear; state: from the call for the frames before, None at first.

        Returns mask (batch, frames, bins) in [0, 1], and the state after the last frame.
        """
        code = self.encoder(self.compression(magnitude))  # (batch, frames, code)
        memory, state = self.lstm(code, state)  # (batch, frames, memory)
        fused = self.fuse(torch.cat([code, memory], dim=-1))  # (batch, frames, code)
        return self.decoder(fused), state
