"""A network made ready for separation alone: the same mask, from fewer and larger matrix products."""

import copy
from itertools import chain
from typing import Any

import torch
from torch import nn


@torch.no_grad()
def packed(network: Any) -> Any:
    """A copy of a network, whose parts that can have packed their weights. It shares all others with the network.

    Not to be trained: it keeps the packed weights whatever becomes of the network's. A network without such parts is
    returned as it is.
    """
    if not isinstance(network, nn.Module) or not any(hasattr(part, "pack") for part in network.modules()):
        return network
    network = copy.deepcopy(network, {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())})
    for part in network.modules():
        if hasattr(part, "pack"):
            part.pack()
    return network
