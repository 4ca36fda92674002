"""The recurrent network: the single-frame encoder and decoder, and between them an LSTM that remembers.

    encoder       2049 -> 1000 -> 400, as in Model.py
    LSTM          400 -> 200, over the frames
    fusion        code and LSTM output side by side, 400 + 200 = 600 -> 800 -> 400, leaky ReLU
    decoder       400 -> 1000 -> 2049, as in Model.py

These are the course's layers. With another encoder, whose code consists of bands, the same LSTM runs over each band.
"""

import dataclasses

import torch
from torch import nn

from Model import FeedforwardConfig, FeedforwardNetwork
from networks.compression import Compression
from networks.encoders import encoder_of
from networks.layers import LSTM

State = tuple[torch.Tensor, torch.Tensor]  # the LSTM's (h, c), each (1, batch, memory) or (1, batch, bands x memory)


@dataclasses.dataclass(frozen=True)
class RNNConfig(FeedforwardConfig):
    """The single-frame sizes, the LSTM's hidden size and, for the encoder "dense", the fusion's."""

    memory: int = 200
    fusion: int = 800


class RecurrentNetwork(nn.Module):
    """mask = decoder(fuse(code, LSTM(code))): the frame itself beside what the LSTM makes of the frames up to it."""

    name = "RNN"
    remembers = True
    Config = RNNConfig

    def __init__(self, config: RNNConfig):
        super().__init__()
        self.config = config
        self.compression = Compression(config.bins)
        layers = encoder_of(config)
        self.encoder = layers.make_encoder()  # 2049 -> 1000 -> 400
        self.lstm = LSTM(layers.code_shape[-1], config.memory)  # 400 -> 200; frames first, as it works inside
        for parameter in self.lstm.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
        self.fuse = layers.make_fusion(config.memory, config.fusion)  # 600 -> 800 -> 400
        self.decoder = layers.make_decoder()  # 400 -> 1000 -> 2049

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
        fused = self.fuse(code, memory)  # the code's shape
        return self.decoder(fused), state

    def remember(self, code: torch.Tensor, state: State | None) -> tuple[torch.Tensor, State]:
        """Run the LSTM over the frames, for each band by itself; a dense code counts as one band.

        Returns what it remembers, in the code's shape but for `memory` last, and the state, which holds bands side by
        side.
        """
        batch, frames, *_, features = code.shape
        rows = code.transpose(0, 1).reshape(frames, -1, features)  # (frames, batch x bands, features)
        if state is not None:
            h, c = (part.reshape(1, rows.shape[1], -1) for part in state)
            state = h, c
        memory, (h, c) = self.lstm(rows, state)
        memory = memory.unflatten(1, (batch, -1)).transpose(0, 1)  # (batch, frames, bands, memory)
        return memory.reshape(*code.shape[:-1], -1), (h.reshape(1, batch, -1), c.reshape(1, batch, -1))
