"""The mask's power: chosen on songs held out, kept in the checkpoint, heard in separation."""

import shutil

import choose_power
import torch
from helpers import fails

from Model_RNN import RecurrentNetwork
from songs.dataset import find_songs
from util import load_checkpoint, load_network, save_checkpoint


def test_the_best_power_is_kept_with_everything_else(trained, dataset, tmp_path, monkeypatch, capsys):
    network, audio, facts = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    path = tmp_path / "savedModel_RNN_best.pt"
    kept = {name: facts[name] for name in choose_power.FACTS}
    save_checkpoint(path, network, audio, **kept)
    monkeypatch.setattr(choose_power, "mean_sdr", lambda network, audio, songs: -abs(network.config.power - 1.5))
    assert choose_power.main([str(path), str(dataset)]) == 0
    assert "best.pt, power 1.4: -0.100 dB" in capsys.readouterr().out
    after = load_checkpoint(path)
    assert after["config"] == facts["config"] | {"power": 1.4}
    assert {name: after[name] for name in kept} == kept


def test_a_lower_power_that_is_as_good_is_kept(trained, dataset, tmp_path, monkeypatch):
    path = tmp_path / "savedModel_RNN_best.pt"
    shutil.copy(trained / path.name, path)
    for scores, power in (((1, 4.97, 4.985, 5, 4.99, 2), 1.4), ((1, 4.97, 4.979, 5, 4.99, 2), 1.6)):
        found = dict(zip(choose_power.POWERS, scores, strict=True))
        monkeypatch.setattr(choose_power, "mean_sdr", lambda network, *_, found=found: found[network.config.power])
        assert choose_power.main([str(path), str(dataset)]) == 0
        assert load_checkpoint(path)["config"]["power"] == power


def test_another_epochs_weights_are_taken_if_they_do_better(trained, dataset, tmp_path, monkeypatch):
    for which in ("best", "last"):
        network, audio, facts = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
        with torch.no_grad():
            network.compression.mean.fill_(which == "last")
        kept = {name: facts[name] for name in choose_power.FACTS} | {"epoch": 7 if which == "last" else 5}
        save_checkpoint(tmp_path / f"{which}.pt", network, audio, **kept)
    for better, epoch in ((0.0, 5), (1.0, 7)):

        def closeness(network, audio, songs, better=better):
            return -abs(network.compression.mean[0].item() - better) - network.config.power

        monkeypatch.setattr(choose_power, "mean_sdr", closeness)
        arguments = [str(tmp_path / "best.pt"), str(dataset), "--or", str(tmp_path / "last.pt")]
        assert choose_power.main(arguments) == 0
        found = load_checkpoint(tmp_path / "best.pt")
        assert (found["epoch"], found["config"]["power"]) == (epoch, 1.0)
        assert found["weights"]["compression.mean"][0] == better


def test_the_power_is_chosen_by_sdr(trained, dataset):
    network, audio, _ = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    songs = find_songs(dataset)["Valid"]
    assert -20 < choose_power.mean_sdr(network, audio, songs) < 20


def test_nothing_is_chosen_by_silence_and_every_checkpoint_is_read_first(
    trained, tmp_path, dataset, capsys, monkeypatch
):
    best = shutil.copy(trained / "savedModel_RNN_best.pt", tmp_path)
    monkeypatch.setattr(choose_power, "separate", lambda network, mixture, *_: 0 * mixture)
    error = fails(capsys, choose_power.main, best, dataset)
    assert error.endswith("tiny songs: expected voices in Valid, found silence, there or in all estimates")
    monkeypatch.setattr(choose_power, "mean_sdr", None)
    assert "none.pt: no such checkpoint" in fails(capsys, choose_power.main, best, dataset, "--or", "none.pt")


def test_songs_to_choose_by_are_needed(trained, tmp_path, dataset, capsys):
    (tmp_path / "none").mkdir()
    error = fails(capsys, choose_power.main, trained / "savedModel_RNN_best.pt", tmp_path / "none")
    assert "none" in error
