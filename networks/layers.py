"""Fully connected layers, the building block of every encoder, decoder and fusion, and the LSTM between them."""

import itertools

import torch
from torch import nn


def layers(*sizes: int, dropout: float = 0.0) -> list[nn.Module]:
    """Linear layers of these sizes, each followed by leaky ReLU and dropout; Xavier initialisation.

    The initialisation is that of Glorot and Bengio 2010, eq. 16, with the gain of the leaky ReLU.
    """
    modules: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        nn.init.xavier_uniform_(linear.weight, gain=nn.init.calculate_gain("leaky_relu", 0.01))
        nn.init.zeros_(linear.bias)
        modules += [linear, nn.LeakyReLU(0.01, inplace=True), nn.Dropout(dropout)]
    return modules


class LSTM(nn.LSTM):
    """nn.LSTM, but on CUDA in float32 even where autocast asks for bfloat16.

    cuDNN would get float16 instead (torch's `_cudnn_rnn_cast_reflatten`), in which small gradients vanish.
    """

    def forward(self, values, state=None):
        if not values.is_cuda:
            return super().forward(values, state)
        with torch.autocast("cuda", enabled=False):
            return super().forward(values.float(), state)


def plus(total: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """total + linear(values). The product adds to what is there, which saves writing and reading it once more."""
    flat = (total + bias).flatten(0, -2).addmm_(values.flatten(0, -2), weight.T)
    return flat.view(total.shape)
