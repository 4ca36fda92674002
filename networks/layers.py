"""Fully connected layers, the building block of every encoder, decoder and fusion."""

import itertools

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
        modules += [linear, nn.LeakyReLU(0.01), nn.Dropout(dropout)]
    return modules
