"""The recurrent network: the single-frame encoder and decoder, and between them an LSTM that remembers."""

import dataclasses

import torch
from torch import nn

from Model import Compression, FeedforwardConfig, FeedforwardNetwork, make_decoder, make_encoder, make_mixers
from networks.encoders import layers

State = tuple[torch.Tensor, torch.Tensor]  # the LSTM's (h, c), each (1, batch, memory), or (1, batch, bands x memory)


@dataclasses.dataclass(frozen=True)
class RNNConfig(FeedforwardConfig):
    """The single-frame sizes, and: LSTM code -> memory, then fusion code + memory -> fusion -> code.

    With a code in bands, all bands go through the same LSTM, each with a memory of its own.
    """

    memory: int = 200
    fusion: int = 800


class Fusion(nn.Module):
    """What a band remembers is added to its code, and the bands are mixed again."""

    def __init__(self, config: RNNConfig):
        super().__init__()
        self.join = nn.Linear(config.features + config.memory, config.features)
        self.mix = nn.Sequential(*make_mixers(config))

    def forward(self, code_and_memory: torch.Tensor) -> torch.Tensor:
        code = code_and_memory[..., : self.join.out_features]
        return self.mix(code + self.join(code_and_memory))


class RecurrentNetwork(nn.Module):
    """mask = decoder(fuse(code, LSTM(code))): the frame itself beside what the LSTM makes of the frames up to it."""

    name = "RNN"
    remembers = True
    Config = RNNConfig

    def __init__(self, config: RNNConfig):
        super().__init__()
        self.config = config
        self.compression = Compression(config.bins)
        self.encoder = make_encoder(config)
        in_bands = config.encoder != "dense"
        self.lstm = nn.LSTM(config.features if in_bands else config.code, config.memory, batch_first=True)
        for parameter in self.lstm.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
        if in_bands:
            self.fuse = Fusion(config)
        else:
            sizes = config.code + config.memory, config.fusion, config.code
            self.fuse = nn.Sequential(*layers(*sizes, dropout=config.dropout))
        self.decoder = make_decoder(config)

    def start_from(self, network: FeedforwardNetwork) -> None:
        """Take over the input statistics, the encoder and the decoder of a trained single-frame network."""
        for part in ("compression", "encoder", "decoder"):
            getattr(self, part).load_state_dict(getattr(network, part).state_dict())

    def forward(self, magnitude: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """magnitude: (batch, frames, bins), linear; state: from the call for the frames before, None at first.

        Returns mask (batch, frames, bins) in [0, 1], and the state after the last frame.
        """
        code = self.encoder(self.compression(magnitude))  # (batch, frames, code) or (batch, frames, bands, features)
        memory, state = self.remember(code, state)  # the same, with `memory` last
        fused = self.fuse(torch.cat([code, memory], dim=-1))  # the code's shape
        return self.decoder(fused), state

    def remember(self, code: torch.Tensor, state: State | None) -> tuple[torch.Tensor, State]:
        """The LSTM over frames. A code in bands is a row a band; the state (1, batch, ...) holds bands side by side."""
        if code.ndim == 3:
            return self.lstm(code, state)
        batch, _, bands, _ = code.shape
        rows = code.transpose(1, 2).flatten(0, 1)  # (batch x bands, frames, features)
        if state is not None:
            state = tuple(part.reshape(1, batch * bands, -1) for part in state)
        memory, state = self.lstm(rows, state)
        memory = memory.unflatten(0, (batch, bands)).transpose(1, 2)  # (batch, frames, bands, memory)
        return memory, tuple(part.reshape(1, batch, -1) for part in state)
