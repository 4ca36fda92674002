"""The recurrent network: the single-frame encoder and decoder, and between them an LSTM that remembers.

    encoder       2049 -> 1000 -> 400, as in Model.py
    LSTM          400 -> 200, over the frames
    fusion        code and LSTM output side by side, 400 + 200 = 600 -> 800 -> 400, leaky ReLU
    decoder       400 -> 1000 -> 2049, as in Model.py

These are the course's layers. With another encoder, whose code consists of bands, the same LSTM runs over each band;
and LSTM and fusion may follow each other more than once.

For files, of which the future is known, there is a second kind, whose LSTM also runs backwards, from the last frame to
the first (Schuster and Paliwal 1997).
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from Model import FeedforwardConfig, FeedforwardNetwork
from networks.compression import Compression
from networks.encoders import encoder_of
from networks.layers import LSTM

# The LSTMs' (h, c), each (layers, batch, memory) or, of all bands side by side, (layers, batch, bands x memory)
State = tuple[torch.Tensor, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class RNNConfig(FeedforwardConfig):
    """The single-frame sizes, the LSTM's hidden size, for the encoder "dense" the fusion's, and how many LSTMs."""

    memory: int = 200
    fusion: int = 800
    layers: int = 1


class RecurrentNetwork(nn.Module):
    """mask = decoder(fuse(code, LSTM(code))): the frame itself beside what the LSTM makes of the frames up to it."""

    name = "RNN"
    remembers = True
    foresees = False
    directions = 1  # of each LSTM
    Config = RNNConfig

    def __init__(self, config: RNNConfig):
        super().__init__()
        self.config = config
        self.compression = Compression(config.bins)
        layers = encoder_of(config)
        self.encoder = layers.make_encoder()  # 2049 -> 1000 -> 400
        self.lstm = self._make_lstm(layers)  # 400 -> 200
        self.fuse = self._make_fusion(layers)  # 600 -> 800 -> 400
        self.deeper = nn.ModuleList(self._make_deeper(layers) for _ in range(config.layers - 1))
        self.decoder = layers.make_decoder()  # 400 -> 1000 -> 2049

    def _make_lstm(self, layers: Any) -> LSTM:
        both = self.directions == 2
        lstm = LSTM(layers.code_shape[-1], self.config.memory, bidirectional=both)  # frames first, as it works inside
        for parameter in lstm.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
        return lstm

    def _make_fusion(self, layers: Any) -> nn.Module:
        return layers.make_fusion(self.directions * self.config.memory, self.config.fusion)

    def _make_deeper(self, layers: Any) -> nn.ModuleDict:
        """One more LSTM and fusion. Where the fusion is residual, the code passes through unchanged at first."""
        fuse: Any = self._make_fusion(layers)
        for part in fuse.modules():
            if hasattr(part, "silence"):
                part.silence()
        return nn.ModuleDict({"lstm": self._make_lstm(layers), "fuse": fuse})

    def start_from(self, network: FeedforwardNetwork) -> None:
        """Take over the input statistics, the encoder and the decoder of a trained single-frame network."""
        for part in ("compression", "encoder", "decoder"):
            getattr(self, part).load_state_dict(getattr(network, part).state_dict())

    def forward(self, magnitude: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """magnitude: (batch, frames, bins), linear; state: from the call for the frames before, None at first.

        Returns mask (batch, frames, bins) in [0, 1], and the state after the last frame.
        """
        code = self.encoder(self.compression(magnitude))  # (batch, frames, code) or (batch, frames, bands, features)
        states = []
        for index, (lstm, fuse) in enumerate(self._layers()):
            before = None if state is None else (state[0][index], state[1][index])
            memory, after = remember(lstm, code, before)  # as the code, with `memory` last
            code = fuse(code, memory)
            states.append(after)
        h, c = map(torch.stack, zip(*states, strict=True))
        return self.decoder(code), (h, c)

    def _layers(self) -> Iterator[tuple[LSTM, nn.Module]]:
        yield self.lstm, self.fuse
        layer: Any
        for layer in self.deeper:
            yield layer["lstm"], layer["fuse"]


class BidirectionalNetwork(RecurrentNetwork):
    """The recurrent network, but the LSTMs know all frames, those to come as well as those before.

    Frames are what it is called with: it carries no state from call to call.
    """

    name = "RNN_bidirectional"
    foresees = True
    directions = 2

    def start_from(self, network: RecurrentNetwork) -> None:  # type: ignore[override]
        """Take over all of a trained recurrent network. Its LSTMs begin alike in both directions, and the fusions, for
        which memory is now twice as wide, with the mean of both."""
        weights, memory = network.state_dict(), self.config.memory
        for name, own in self.state_dict().items():
            value = weights.get(name.removesuffix("_reverse"), own)  # further LSTMs keep what they begin with
            if own.shape != value.shape:
                code = value.shape[1] - memory
                value = torch.cat([value[:, :code], value[:, code:] / 2, value[:, code:] / 2], dim=1)
            own.copy_(value)

    def forward(self, magnitude: torch.Tensor, state: None = None) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        """magnitude: (batch, frames, bins), linear. Returns mask (batch, frames, bins) in [0, 1], and None."""
        mask, _ = super().forward(magnitude)
        return mask, None


def both_ways(network: Any) -> Any:
    """A network that hears both directions, made of a recurrent one as training would begin with it.

    One that does so anyway, or that has no memory, is returned as it is.
    """
    if network.foresees or not network.remembers:
        return network
    with next(network.parameters()).device:
        twin = BidirectionalNetwork(network.config)
    twin.start_from(network)
    return twin.train(network.training)


def remember(lstm: LSTM, code: torch.Tensor, state: State | None) -> tuple[torch.Tensor, State]:
    """Run an LSTM over the frames, for each band by itself; a dense code counts as one band.

    Returns what it remembers, in the code's shape but for `memory` last (of both directions, twice as many), and the
    state: h and c, each (batch, memory) or, of all bands side by side, (batch, bands x memory). That of both directions
    is of no use.
    """
    batch, frames, *_, features = code.shape
    rows = code.transpose(0, 1).reshape(frames, -1, features)  # (frames, batch x bands, features)
    if state is not None:
        h, c = (part.reshape(1, rows.shape[1], -1) for part in state)
        state = h, c
    memory, (h, c) = lstm(rows, state)
    memory = memory.unflatten(1, (batch, -1)).transpose(0, 1)  # (batch, frames, bands, memory)
    return memory.reshape(*code.shape[:-1], -1), (h.reshape(batch, -1), c.reshape(batch, -1))
