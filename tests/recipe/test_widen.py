"""A network for 16 kHz widened to 32 kHz: below 8 kHz it is the one that it was."""

import pytest
import torch
import widen
from helpers import fails

from Model import FeedforwardConfig, FeedforwardNetwork
from Model_RNN import RecurrentNetwork, RNNConfig
from util import AudioConfig, load_network, save_checkpoint

NARROW = AudioConfig(16000, 2048, 512)
KINDS = [(FeedforwardNetwork, FeedforwardConfig), (RecurrentNetwork, RNNConfig)]


@pytest.mark.parametrize(("network_class", "config_class"), KINDS, ids=["feedforward", "RNN"])
def test_below_8_khz_the_mask_stays(network_class, config_class, tmp_path):
    torch.manual_seed(0)
    old = network_class(config_class(bins=1025, encoder="bands", features=16, mixers=1, exchange=32))
    magnitude = torch.rand(1, 20, 2049) ** 4
    magnitude[..., 1025:] = 0
    old.compression.measure(magnitude[0, :, :1025])
    for parameter in old.parameters():  # masks far from one half
        parameter.data *= 1.5
    save_checkpoint(tmp_path / "old.pt", old, NARROW, trained_on="sand: 3 songs")
    assert widen.main([str(tmp_path / "old.pt"), str(tmp_path / "new.pt")]) == 0
    new, audio, told = load_network(tmp_path / "new.pt", network_class)
    assert audio == AudioConfig(32000, 4096, 1024) and told["trained_on"] == "sand: 3 songs"
    assert new.config.bands == 30 and not new.config.adapts

    with torch.no_grad():
        before, after = old.eval()(magnitude[..., :1025])[0], new.eval()(magnitude)[0][..., :1025]
        other, _ = network_class(old.config).eval()(magnitude[..., :1025])
    distance = (after - before).abs().mean()
    assert distance < 0.3 * (before - other).abs().mean(), distance


def test_another_encoder_is_refused(tmp_path, capsys):
    save_checkpoint(tmp_path / "old.pt", FeedforwardNetwork(FeedforwardConfig(bins=1025)), NARROW)
    said = fails(capsys, widen.main, tmp_path / "old.pt", tmp_path / "new.pt")
    assert "old.pt: expected the encoder bands with 24 of them, found ('dense', 24)" in said
    assert not (tmp_path / "new.pt").exists()
