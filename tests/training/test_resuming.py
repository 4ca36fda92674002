"""Going on with a run: whose options hold, and which runs cannot go on."""

import csv
import shutil

import pytest
import torch
from helpers import AUDIO_OPTIONS, QUICK, RATE, fails, interrupted, make_song

import train_feedforward
import train_RNN
from training import command, loop
from util import wavwrite

ODD = ["--seed", "3", "--lr", "2e-3", "--remix", "0.6", "--gain", "-3", "2", "--transpose", "1", "--effects", "0.3"]
ODD += ["--equalizer", "3", "1", "--dropout", "0.2", "--target", "projection", "--hold-out", "coral", "--epochs", "3"]
LAST = "savedModel_feedforward_last.pt"


@pytest.fixture
def run(trained, tmp_path):
    """A folder with both networks after two epochs, to be changed."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def goes_on_with(monkeypatch, dataset, run):
    """The options with which a script, given some more, would go on with the run."""

    def options(*more: str, script=train_feedforward):
        seen = []
        monkeypatch.setattr(command, "train", lambda *arguments: seen.append(arguments[5]))
        assert script.main([str(dataset), "--output", str(run), "--resume", *more]) == 0
        return seen[0]

    return options


def test_resume_alone_takes_every_option_from_the_checkpoint(dataset, tmp_path, monkeypatch):
    for folder in ("voices", "music"):
        (tmp_path / folder).mkdir()
        wavwrite(tmp_path / folder / "sound.wav", make_song(folder, 0.6)[1], RATE)
    folders = ["--voices", str(tmp_path / "voices"), "--accompaniments", str(tmp_path / "music")]
    typed = [str(dataset), *QUICK, *AUDIO_OPTIONS, *ODD, *folders, "--output"]
    assert train_feedforward.main([*typed, str(tmp_path / "straight")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_epoch", interrupted(loop.run_epoch, 3))  # in the second epoch: two calls in each
        assert train_feedforward.main([*typed, str(tmp_path / "stopped")]) == 130
    assert train_feedforward.main([str(dataset), "--output", str(tmp_path / "stopped"), "--resume"]) == 0
    one, other = (torch.load(tmp_path / name / LAST, weights_only=True) for name in ("straight", "stopped"))
    assert one["epoch"] == other["epoch"] == 3 and one["options"] == other["options"]
    assert all(torch.equal(one["weights"][name], other["weights"][name]) for name in one["weights"])
    assert one["loss_curve"] == other["loss_curve"]
    assert other["command"] == one["command"].replace("straight", "stopped")


@pytest.mark.parametrize(
    ("script", "typed", "was"),
    [
        (train_feedforward, "--seed 4", "with --seed 0"),
        (train_feedforward, "--gain -3 3", "with --gain -6.0 6.0"),
        (train_feedforward, "--bfloat16", "without --bfloat16"),
        (train_feedforward, "--hold-out coral", "without --hold-out"),
        (train_feedforward, "--block 512", "with --block 256"),
        (train_feedforward, "--encoder conv", "with --encoder dense"),
        (train_RNN, "--hidden-size 96", "with --hidden-size 200"),
        (train_RNN, "--init scratch", "without --init"),
        (train_RNN, "--remix 0.5", "with --remix 0.0"),
    ],
)
def test_a_contradiction_names_the_option(dataset, run, capsys, script, typed, was):
    line = fails(capsys, script.main, dataset, "--output", run, "--resume", *typed.split())
    flag = typed.split()[0]
    assert f"_last.pt: the run was started {was}, cannot continue with {flag}" in line
    assert line.endswith(f"; leave {flag} out")


def test_what_does_not_contradict_may_be_typed(goes_on_with):
    options = goes_on_with(
        "--block", "256", "--seed", "0", "--remix", "0", "--encoder", "dense", "--equalizer", "0", "0"
    )
    assert (options.seed, options.excerpt, options.epochs) == (0, 0.5, 2) and options.command.count("train_") == 1
    options = goes_on_with("--epochs", "9", "--patience", "4", "--cache", "7", "--workers", "1")
    assert (options.epochs, options.patience, options.cache, options.workers) == (9, 4, 7, 1)
    assert options.command.count("train_") == 2 and options.command.endswith("--workers 1")
    assert goes_on_with("--hidden-size", "200", "--sample-rate", str(RATE), script=train_RNN).hidden_size == 200


def test_a_run_from_before_there_was_an_option_had_its_default(dataset, run, capsys, goes_on_with):
    checkpoint = torch.load(run / LAST, weights_only=True)
    del checkpoint["options"]["weighting"]
    torch.save(checkpoint, run / LAST)
    assert goes_on_with("--weighting", "0").weighting == 0
    line = fails(capsys, train_feedforward.main, dataset, "--output", run, "--resume", "--weighting", "1")
    assert "the run was started with --weighting 0.0, cannot continue with --weighting 1.0" in line


def test_resume_where_nothing_is_begins_a_run(dataset, tmp_path, capsys):
    argv = [str(dataset), *QUICK, *AUDIO_OPTIONS, "--output", str(tmp_path / "new"), "--resume", "--epochs", "1"]
    assert train_feedforward.main(argv) == 0
    assert "new: no run of the feedforward network to resume: a new one begins" in capsys.readouterr().out
    assert train_feedforward.main(argv) == 0
    assert "a new one begins" not in capsys.readouterr().out


def test_a_network_with_frozen_weights_goes_on(dataset, tmp_path, monkeypatch):
    made = command.make_network

    def frozen(*arguments):
        network, audio = made(*arguments)
        next(network.parameters()).requires_grad_(False)
        return network, audio

    monkeypatch.setattr(command, "make_network", frozen)
    argv = [str(dataset), *QUICK, *AUDIO_OPTIONS, "--output", str(tmp_path), "--epochs", "1"]
    assert train_feedforward.main(argv) == 0
    assert train_feedforward.main([*argv, "--epochs", "2", "--resume"]) == 0


def test_a_best_checkpoint_that_is_gone_is_told(dataset, run, capsys):
    checkpoint = torch.load(run / LAST, weights_only=True)
    checkpoint["history"][0]["valid_loss"] = 0.0  # the first epoch's was the best
    torch.save(checkpoint, run / LAST)
    (run / "savedModel_feedforward_best.pt").unlink()
    assert train_feedforward.main([str(dataset), "--output", str(run), "--resume"]) == 0
    assert "best checkpoint: none, since that of an earlier epoch is gone: " in capsys.readouterr().out


def test_what_cannot_be_resumed(dataset, run, capsys):
    last, best = run / LAST, run / "savedModel_feedforward_best.pt"
    argv = [train_feedforward.main, dataset, "--output", run, "--resume"]
    checkpoint = torch.load(last, weights_only=True)
    torch.save(checkpoint | {"format": 1, "config": checkpoint["config"] | {"adapts": True}}, last)
    assert f"{LAST}: the run's songs were brought in tune, which is no longer done" in fails(capsys, *argv)
    last.unlink()
    line = fails(capsys, *argv)
    assert f"{LAST}: expected a checkpoint to resume from, found only savedModel_feedforward_best.pt" in line
    shutil.copy(best, last)  # as those in pretrained/ are
    assert f"{LAST}: expected a checkpoint to resume from, found one with weights only" in fails(capsys, *argv)
    shutil.copy(run / "savedModel_RNN_last.pt", last)
    assert "expected a checkpoint of the feedforward network, found one of the RNN network" in fails(capsys, *argv)


def test_a_checkpoint_of_an_earlier_version_goes_on(goes_on_with, run, capsys):
    """It kept neither how long the run was to be nor its folders, and had other names for two options."""
    path = run / "savedModel_RNN_last.pt"
    checkpoint = torch.load(path, weights_only=True)
    for name in ("epochs", "patience", "voices", "accompaniments", "mix", "device", "cache", "workers", "threads"):
        del checkpoint["options"][name]
    checkpoint["options"]["memory"] = checkpoint["options"].pop("hidden_size")
    torch.save(checkpoint, path)
    options = goes_on_with("--epochs", "5", script=train_RNN)
    assert (options.epochs, options.patience, options.excerpt, options.hidden_size) == (5, 20, 0.5, 200)
    said = capsys.readouterr().out
    assert "of an earlier version, which did not keep --accompaniments, --mix, --patience, --voices; they" in said


def test_a_checkpoint_of_an_earlier_version_has_no_curve(dataset, run):
    path = run / LAST
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["loss_curve"]
    for row in checkpoint["history"]:
        del row["smoothed_loss"]
    torch.save(checkpoint, path)
    assert train_feedforward.main([str(dataset), "--output", str(run), "--resume", "--epochs", "3"]) == 0
    with (run / "savedModel_feedforward_batches.csv").open() as file:
        assert [row["batch"] for row in csv.DictReader(file)] == ["9", "10", "11", "12"]
    with (run / "savedModel_feedforward_loss.csv").open() as file:
        smoothed = [row["smoothed_loss"] for row in csv.DictReader(file)]
    assert smoothed[:2] == ["", ""] and float(smoothed[2]) > 0
