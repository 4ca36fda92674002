"""A network packed for separation gives the same mask, and leaves the one that it was made from alone."""

import itertools

import pytest
import torch
from torch import nn

from Model import FeedforwardConfig, FeedforwardNetwork
from Model_RNN import RecurrentNetwork, RNNConfig
from networks.bands import BandJoin, BandSplit, alike, band_edges
from networks.encoders import ENCODERS
from networks.packing import packed
from separation.separator import Separator
from util import AudioConfig

SIZES = [(9, 1), (33, 5), (129, 8), (1025, 24), (2049, 30)]


def make_network(bins: int, bands: int, encoder: str = "bands", kind=RecurrentNetwork) -> nn.Module:
    """All weights are random, so that a weight in a wrong place is seen."""
    torch.manual_seed(0)
    sizes = {"bins": bins, "encoder": encoder, "bands": bands, "features": 8, "exchange": 12}
    network = kind(kind.Config(**sizes, **({"memory": 6} if kind is RecurrentNetwork else {})))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize(("bins", "bands"), SIZES)
@pytest.mark.parametrize("kind", [FeedforwardNetwork, RecurrentNetwork])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_same_mask(encoder, kind, bins, bands):
    if (bins, encoder) == (9, "conv"):
        pytest.skip("too few bins for it")
    network = make_network(bins, bands, encoder, kind)
    magnitude = torch.rand(2, 7, bins) ** 4
    expected, state = network(magnitude)
    mask, own_state = packed(network)(magnitude)
    assert expected.std() > 0.02
    assert torch.allclose(mask, expected, atol=1e-6)
    again, _ = packed(network)(magnitude[:, :1], own_state)
    assert torch.allclose(again, network(magnitude[:, :1], state)[0], atol=1e-6)


def test_training_and_separation_agree():
    """In training mode, with gradients, layers are computed in other ways, and dropout is 0 here."""
    network = make_network(129, 8)
    magnitude = torch.rand(2, 7, 129)
    expected = network.train()(magnitude)[0]
    assert torch.allclose(network.eval()(magnitude)[0], expected, atol=1e-6)
    with torch.inference_mode():
        assert torch.allclose(packed(network)(magnitude)[0], expected, atol=1e-6)


def test_gradients_are_the_same_in_both_modes():
    network = make_network(129, 8)
    magnitude, slopes = torch.rand(2, 7, 129), []
    for mode in (True, False):
        network.train(mode).zero_grad()
        (network(magnitude)[0] * torch.linspace(0, 1, 129)).sum().backward()
        slopes.append([parameter.grad.clone() for parameter in network.parameters()])
    for one, other in zip(*slopes, strict=True):
        assert one.abs().max() > 0 and torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def test_a_packed_network_is_a_copy_that_shares_what_it_can():
    network = make_network(129, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ready = packed(network)
    assert all(first is second for first, second in zip(network.parameters(), ready.parameters(), strict=True))
    assert list(ready.state_dict()) == list(before)
    assert not network.encoder[0].products and not network.decoder[0].outputs
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_it_is_packed_anew_for_every_stream():
    """Weights that change between two songs count."""
    audio, network = AudioConfig(8000, 256, 64), make_network(129, 8)
    magnitude = torch.rand(1, 7, 129)
    first = Separator(network, audio, 8000, 1).network(magnitude)[0]
    for parameter in network.parameters():
        parameter.data *= 1.5
    second = Separator(network, audio, 8000, 1).network(magnitude)[0]
    assert not torch.allclose(first, second, atol=1e-2)
    assert torch.allclose(second, network(magnitude)[0], atol=1e-6)


def test_what_has_nothing_to_pack_is_left_as_it_is():
    dense = FeedforwardNetwork(FeedforwardConfig(bins=33))
    assert packed(dense) is dense
    network = RecurrentNetwork(RNNConfig(bins=33, encoder="bands", bands=5))
    assert packed(network) is not network


@pytest.mark.parametrize(("bins", "bands"), SIZES)
def test_products_are_few(bins, bands):
    split, join = BandSplit(bins, bands, 8), BandJoin(bins, bands, 8)
    split.pack(), join.pack()
    assert len(split.products) == (bands + 1) // 2 and len(join.outputs) <= 1 + min(bands // 2, 5)


@pytest.mark.parametrize("most", [1.0, 1.25, 2.0, 100.0])
@pytest.mark.parametrize(("bins", "bands"), SIZES)
def test_neighbours_of_about_one_width(bins, bands, most):
    widths = [b - a for a, b in itertools.pairwise(band_edges(bins, bands))]
    runs = alike(widths, most)
    assert [width for run in runs for width in widths[run]] == widths
    for run in runs:
        own = widths[run]
        assert own and len(own) * max(own) <= most * sum(own)
    assert most < 100 or len(runs) == 1
