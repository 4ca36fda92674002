"""The mask's power: chosen on songs held out, kept in the checkpoint, heard in separation."""

import choose_power
from helpers import fails

from Model_RNN import RecurrentNetwork
from songs.layouts import find_songs
from util import load_checkpoint, load_network, save_checkpoint


def test_the_best_power_is_kept_with_everything_else(trained, dataset, tmp_path, monkeypatch, capsys):
    network, audio, facts = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    path = tmp_path / "savedModel_RNN_best.pt"
    kept = {name: facts[name] for name in choose_power.FACTS}
    save_checkpoint(path, network, audio, **kept)
    monkeypatch.setattr(choose_power, "mean_sdr", lambda network, audio, songs: -abs(network.config.power - 1.5))
    assert choose_power.main([str(path), str(dataset)]) == 0
    assert "power 1.4: -0.100 dB" in capsys.readouterr().out
    after = load_checkpoint(path)
    assert after["config"] == facts["config"] | {"power": 1.4}
    assert {name: after[name] for name in kept} == kept


def test_the_power_is_chosen_by_sdr(trained, dataset):
    network, audio, _ = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    songs = find_songs(dataset)["Valid"]
    assert -20 < choose_power.mean_sdr(network, audio, songs) < 20


def test_songs_to_choose_by_are_needed(trained, tmp_path, dataset, capsys):
    (tmp_path / "none").mkdir()
    error = fails(capsys, choose_power.main, trained / "savedModel_RNN_best.pt", tmp_path / "none")
    assert "none" in error
