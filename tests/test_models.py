"""The contract of all networks, their sizes, and that they learn."""

import dataclasses
import itertools

import pytest
import torch

from Model import FeedforwardConfig, FeedforwardNetwork
from Model_RNN import BidirectionalNetwork, RecurrentNetwork, RNNConfig, both_ways, remember
from networks.bands import band_edges
from networks.conv import conv_bands
from networks.encoders import ENCODERS, encoder_of
from training.loss import kl_divergence

NETWORKS = [FeedforwardNetwork(FeedforwardConfig(bins=33)), RecurrentNetwork(RNNConfig(bins=33))]
for encoder in ("bands", "conv"):
    NETWORKS.append(FeedforwardNetwork(FeedforwardConfig(bins=33, encoder=encoder, bands=5, features=8)))
    NETWORKS.append(RecurrentNetwork(RNNConfig(bins=33, encoder=encoder, bands=5, features=8, memory=6)))
for encoder in ("dense", "bands"):
    NETWORKS.append(RecurrentNetwork(RNNConfig(bins=33, encoder=encoder, bands=5, features=8, memory=6, layers=2)))
both = pytest.mark.parametrize(
    "network",
    [network.eval() for network in NETWORKS],
    ids=lambda network: f"{network.name} {network.config.encoder} {getattr(network.config, 'layers', '')}",
)


def sizes(module: torch.nn.Module) -> list[tuple[int, int]]:
    return [(part.in_features, part.out_features) for part in module.modules() if isinstance(part, torch.nn.Linear)]


def test_layers_of_the_course():
    network = FeedforwardNetwork(FeedforwardConfig())
    assert sizes(network.encoder) == [(2049, 1000), (1000, 400)]
    assert sizes(network.decoder) == [(400, 1000), (1000, 2049)]
    network = RecurrentNetwork(RNNConfig())
    assert (network.lstm.input_size, network.lstm.hidden_size) == (400, 200)
    assert sizes(network.fuse) == [(600, 800), (800, 400)]


@both
def test_mask_has_the_shape_of_the_magnitude_and_lies_in_0_1(network):
    for scale in (0.0, 1e-6, 1.0, 1e6):
        mask, _ = network(scale * torch.rand(2, 7, 33))
        assert mask.shape == (2, 7, 33)
        assert ((mask >= 0) & (mask <= 1)).all()


@both
def test_pieces_with_the_state_carried_equal_the_whole(network):
    magnitude = torch.rand(2, 20, 33)
    whole, _ = network(magnitude)
    state, pieces = None, []
    for piece in magnitude.split((1, 7, 12), dim=1):
        mask, state = network(piece, state)
        pieces.append(mask)
    assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-6)


@both
def test_a_row_alone_equals_the_row_in_a_batch(network):
    magnitude = torch.rand(3, 10, 33)
    together, _ = network(magnitude)
    alone, _ = network(magnitude[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-6)


def test_memory_is_what_tells_them_apart():
    """Only the recurrent mask of a frame depends on the frames before it, neither on those after it."""
    magnitude = torch.rand(1, 10, 33)
    earlier, later = magnitude.clone(), magnitude.clone()
    earlier[:, 2], later[:, 8] = torch.rand(2, 33)
    for network in NETWORKS:
        remembers = network.name == "RNN"
        mask, _ = network(magnitude)
        assert torch.equal(network(earlier)[0][:, 5], mask[:, 5]) != remembers
        assert torch.equal(network(later)[0][:, :8], mask[:, :8])


@both
def test_the_state_of_the_contract(network):
    _, state = network(torch.rand(2, 3, 33))
    if network.name == "feedforward":
        assert state is None
    else:
        bands = {"dense": 1, "bands": 5, "conv": conv_bands(33)}[network.config.encoder]
        shape = (network.config.layers, 2, bands * network.config.memory)
        assert [part.shape for part in state] == [shape, shape]


RECURRENT = [network for network in NETWORKS if network.remembers]
recurrent = pytest.mark.parametrize(
    "network", RECURRENT, ids=lambda network: f"{network.config.encoder} {network.config.layers}"
)


@recurrent
def test_in_both_directions_every_frame_depends_on_every_other(network):
    magnitude = torch.rand(2, 9, 33, dtype=torch.float64)  # in which the least dependence shows
    twin = BidirectionalNetwork(network.config).double().eval()
    mask, state = twin(magnitude)
    assert mask.shape == magnitude.shape and state is None and ((mask >= 0) & (mask <= 1)).all()
    for frame in (0, 4, 8):
        other = magnitude.clone()
        other[:, frame] = torch.rand(2, 33)
        assert (twin(other)[0] != mask).any(dim=-1).all()
    assert torch.allclose(twin(magnitude[1:])[0], mask[1:])


@recurrent
def test_a_recurrent_network_made_bidirectional(network):
    """Its LSTMs run both ways with the same weights, and what follows them gets the mean of what both remember."""
    magnitude = torch.rand(2, 9, 33)
    twin = both_ways(network)
    assert isinstance(twin, BidirectionalNetwork) and not twin.training and both_ways(twin) is twin
    code = network.encoder(network.compression(magnitude))
    for lstm, fuse in network._layers():
        forwards, _ = remember(lstm, code, None)
        backwards, _ = remember(lstm, code.flip(1), None)
        code = fuse(code, (forwards + backwards.flip(1)) / 2)
    assert torch.allclose(twin(magnitude)[0], network.decoder(code), atol=1e-5)
    assert torch.allclose(twin(magnitude.flip(1))[0].flip(1), twin(magnitude)[0], atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("bins", [33, 1025])
@pytest.mark.parametrize("mixers", [0, 1])
def test_the_parts_of_every_encoder_fit_its_code(encoder, bins, mixers):
    config = RNNConfig(bins=bins, encoder=encoder, bands=5, features=8, mixers=mixers)
    layers = encoder_of(config)
    assert type(layers).__name__.lower() == encoder
    spectrum = torch.rand(2, 3, bins)
    code = layers.make_encoder()(spectrum)
    assert code.shape == (2, 3, *layers.code_shape)
    mask = layers.make_decoder()(code)
    assert mask.shape == spectrum.shape and ((mask > 0) & (mask < 1)).all()
    memory = torch.rand(*code.shape[:-1], 6)
    assert layers.make_fusion(6, 12)(code, memory).shape == code.shape
    assert RecurrentNetwork(config)(spectrum)[0].shape == spectrum.shape


@pytest.mark.parametrize("encoder", ENCODERS)
def test_recurrent_network_starts_from_the_single_frame_one(encoder):
    first = FeedforwardNetwork(FeedforwardConfig(bins=33, encoder=encoder, bands=5))
    second = RecurrentNetwork(RNNConfig(bins=33, encoder=encoder, bands=5))
    first.compression.measure(torch.rand(50, 33))
    second.start_from(first)
    magnitude = torch.rand(1, 4, 33)
    code = first.encoder(first.compression(magnitude))
    assert torch.equal(second.encoder(second.compression(magnitude)), code)
    assert torch.equal(second.decoder(code), first.decoder(code))


def test_further_layers_change_nothing_until_they_are_trained():
    config = RNNConfig(bins=33, encoder="bands", bands=5, features=8, memory=6)
    first = RecurrentNetwork(config)
    second = RecurrentNetwork(dataclasses.replace(config, layers=3))
    second.load_state_dict(first.state_dict(), strict=False)
    magnitude = torch.rand(2, 6, 33)
    torch.testing.assert_close(second(magnitude)[0], first(magnitude)[0])
    second(magnitude)[0].sum().backward()
    assert all((layer["fuse"].join.weight.grad != 0).any() for layer in second.deeper)


@pytest.mark.parametrize("bins", [9, 33, 129, 1025, 2049])
def test_bands_cover_all_bins_once_and_grow(bins):
    edges = band_edges(bins, 8)
    widths = [b - a for a, b in itertools.pairwise(edges)]
    assert edges[0] == 0 and edges[-1] == bins and min(widths) >= 1
    assert bins < 100 or (sorted(widths) == widths and widths[-1] > 5 * widths[0])


@pytest.mark.parametrize("encoder", ["bands", "conv"])
def test_every_bin_is_seen_and_every_band_hears_of_the_others(encoder):
    split, mixer = FeedforwardNetwork(FeedforwardConfig(bins=129, encoder=encoder, bands=8, mixers=1)).encoder
    spectrum = torch.rand(1, 129, requires_grad=True)
    code = split(spectrum)
    weights = torch.rand_like(code)  # the sum of normalised features by itself is always 0
    (slopes,) = torch.autograd.grad((code * weights).sum(), spectrum)
    assert (slopes != 0).all()
    code = code.detach().requires_grad_()
    (slopes,) = torch.autograd.grad((mixer(code) * weights)[:, -1].sum(), code)
    assert (slopes.abs().amax(-1) > 0).all()


def test_no_bin_of_a_mask_is_left_alone():
    for encoder in ENCODERS:
        network = FeedforwardNetwork(FeedforwardConfig(bins=1025, encoder=encoder))
        code = network.encoder(torch.rand(20, 1025))
        assert (network.decoder(code).std(0) > 1e-5).all(), encoder


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="encoder 'fourier', expected one of dense, bands, conv"):
        FeedforwardConfig(encoder="fourier")


def test_compression_has_zero_mean_and_unit_deviation_on_its_examples():
    network = FeedforwardNetwork(FeedforwardConfig(bins=33))
    magnitude = torch.rand(500, 33) ** 4 * torch.logspace(0, -6, 33)
    network.compression.measure(magnitude)
    level = network.compression(magnitude)
    assert level.mean(0).abs().max() < 1e-4
    assert level[:, :10].std(0).sub(1).abs().max() < 1e-4
    assert level[:, -1].std() < 1  # a bin near the floor is not blown up


@both
def test_mask_does_not_depend_on_the_level(network):
    magnitude = torch.rand(1, 10, 33)
    mask, _ = network(magnitude)
    for gain in (1e-3, 0.1, 10):
        assert torch.allclose(network(gain * magnitude)[0], mask, atol=1e-4)
    silent, _ = network(torch.zeros(1, 3, 33))
    assert torch.isfinite(silent).all()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("network_class", [FeedforwardNetwork, RecurrentNetwork])
def test_overfits_two_clips(network_class, encoder):
    torch.manual_seed(0)
    network = network_class(network_class.Config(bins=33, encoder=encoder, bands=8))
    mixture = torch.rand(2, 20, 33)
    voice = mixture * (torch.rand(2, 20, 33) > 0.5)
    network.compression.measure(mixture.flatten(0, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(150):
        mask, _ = network(mixture)
        losses.append(kl_divergence(voice, mask * mixture).mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 10
