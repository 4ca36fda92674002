"""Training through the scripts' own main: what a run writes, resuming, and that every option arrives."""

import copy
import csv
import dataclasses
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from helpers import AUDIO_OPTIONS, QUICK, RATE, fails, interrupted, write_no_picture, write_song, write_stems

import train_feedforward
import train_RNN
from benchmarks.speed.training import Products16
from Data import DSD100Dataset, MakeMagnitudeSpectrum
from Model import FeedforwardConfig, FeedforwardNetwork
from Model_RNN import RecurrentNetwork, both_ways
from songs.dataset import find_songs
from training import command, files, loop
from training.loop import carry_state, learning_rate
from training.options import parse_options
from util import AudioConfig, load_network, save_checkpoint, wavwrite

ENDINGS = {"best.pt", "last.pt", "loss.csv", "batches.csv", "loss.png", "spectrograms.png"}


def weights_of(folder, name: str, which: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / f"savedModel_{name}_{which}.pt", weights_only=True)["weights"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["feedforward", "RNN"])
def test_a_run_writes_checkpoints_and_curves(trained, dataset, name):
    files = {path.name for path in trained.iterdir()}
    assert {f"savedModel_{name}_{ending}" for ending in ENDINGS} <= files
    assert not [file for file in files if ".part" in file]

    with (trained / f"savedModel_{name}_loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    with (trained / f"savedModel_{name}_batches.csv").open() as file:
        batches = list(csv.DictReader(file))
    assert [(row["batch"], row["epochs"]) for row in batches] == [(str(n), f"{n / 4:g}") for n in range(1, 9)]
    for row, last in zip(rows, (batches[3], batches[7]), strict=True):
        assert float(last["smoothed_loss"]) == pytest.approx(float(row["smoothed_loss"]), rel=1e-5)
    assert float(rows[0]["smoothed_loss"]) == pytest.approx(float(rows[0]["train_loss"]), rel=0.1)
    for ending in ("loss.png", "spectrograms.png"):
        assert (trained / f"savedModel_{name}_{ending}").read_bytes().startswith(b"\x89PNG")

    best = torch.load(trained / f"savedModel_{name}_best.pt", weights_only=True)
    assert (best["format"], best["name"], best["audio"]["sample_rate"]) == (2, name, RATE)
    assert best["best_valid_loss"] == min(float(row["valid_loss"]) for row in rows)
    assert len(best["history"]) == best["epoch"]
    assert str(dataset) in best["command"] and best["command"].startswith(f"train_{name}.py ")
    assert best["trained_on"] == "tiny songs: 3 songs, 0 minutes, in excerpts"
    songs = find_songs(dataset)["Train"]
    assert best["songs"] == [(song.name, song.samples / RATE) for song in songs] and len(songs) == 3
    assert "torch" in best["versions"] and "optimizer" not in best


def test_recurrent_network_starts_from_the_best_single_frame_network(trained, dataset, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(command, "train", lambda network, *rest: started.append(network))
    for network in ("feedforward", "RNN"):
        shutil.copy(trained / f"savedModel_{network}_best.pt", tmp_path)
    (tmp_path / "savedModel_RNN_best.pt").unlink()
    assert train_RNN.main([str(dataset), "--output", str(tmp_path), *QUICK]) == 0
    assert train_RNN.main([str(dataset), "--output", str(tmp_path), *QUICK, *AUDIO_OPTIONS, "--init", "scratch"]) == 0
    best = weights_of(trained, "feedforward", "best")
    for network, is_copy in zip(started, (True, False), strict=True):
        assert torch.equal(network.encoder[0].weight, best["encoder.0.weight"]) == is_copy
        assert torch.equal(network.decoder[0].weight, best["decoder.0.weight"]) == is_copy


@pytest.mark.parametrize(
    ("script", "name", "more"),
    [
        (train_feedforward, "feedforward", [*AUDIO_OPTIONS, "--dropout", "0.2"]),
        (train_RNN, "RNN", [*AUDIO_OPTIONS, "--init", "scratch", "--dropout", "0.2"]),
        (
            train_RNN,
            "RNN",
            [*AUDIO_OPTIONS, "--init", "scratch", "--sequences", "songs", "--workers", "2", "--dropout", "0.2"],
        ),
        (train_RNN, "RNN_bidirectional", [*AUDIO_OPTIONS, "--bidirectional", "--init", "scratch"]),
    ],
    ids=["feedforward", "RNN", "RNN-songs-workers", "bidirectional"],
)
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(dataset, tmp_path, monkeypatch, script, name, more):
    options = [str(dataset), *QUICK, *more, "--epochs", "4"]
    assert script.main([*options, "--output", str(tmp_path / "straight")]) == 0

    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_epoch", interrupted(loop.run_epoch, 5))  # in the third epoch: two calls in each
        assert script.main([*options, "--output", str(tmp_path / "stopped")]) == 130
    assert script.main([*options, "--output", str(tmp_path / "stopped"), "--resume"]) == 0

    for which in ("best", "last"):
        straight, stopped = (weights_of(tmp_path / folder, name, which) for folder in ("straight", "stopped"))
        assert same(straight, stopped)
    loss = [row["valid_loss"] for row in csv.DictReader((tmp_path / "stopped" / f"savedModel_{name}_loss.csv").open())]
    assert len(loss) == 4
    straight, stopped = (tmp_path / folder / f"savedModel_{name}_batches.csv" for folder in ("straight", "stopped"))
    assert straight.read_text() == stopped.read_text()


def test_curves_are_drawn_anew_within_an_epoch_but_not_too_often(dataset, tmp_path, monkeypatch):
    argv = [str(dataset), *QUICK, *AUDIO_OPTIONS, "--output"]
    for seconds, expected in ((0, [(0, 1), (0, 2), (0, 3), (0, 4), (1, 4), (1, 5)]), (1000, [(1, 4), (2, 8)])):
        drawn = []

        def note(path, history, title, points, drawn=drawn):
            drawn.append((len(history), len(points)))
            write_no_picture(path)

        monkeypatch.setattr(files, "plot_losses", note)
        monkeypatch.setattr(loop, "REDRAWN", seconds)
        assert train_feedforward.main([*argv, str(tmp_path / str(seconds))]) == 0
        assert drawn[: len(expected)] == expected


def test_same_seed_same_weights_other_seed_other_weights(dataset, tmp_path):
    for folder, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        options = [str(dataset), *QUICK, *AUDIO_OPTIONS, "--epochs", "1", "--seed", seed]
        assert train_feedforward.main([*options, "--output", str(tmp_path / folder)]) == 0
    one, two, three = (weights_of(tmp_path / folder, "feedforward") for folder in ("one", "two", "three"))
    assert same(one, two)
    assert not same(one, three)


def test_every_seed_that_the_command_line_takes_is_one(dataset, tmp_path, monkeypatch):
    argv = [str(dataset), *QUICK, *AUDIO_OPTIONS, "--output", str(tmp_path), "--seed", str(2**63 - 1)]
    assert intercepted(monkeypatch, argv)["options"].seed == 2**63 - 1


def test_early_stopping(dataset, tmp_path, capsys):
    options = [str(dataset), "--output", str(tmp_path), *QUICK, *AUDIO_OPTIONS, "--epochs", "50"]
    assert train_feedforward.main([*options, "--patience", "2", "--learning-rate", "3"]) == 0
    assert "stopped early: validation loss has not improved in 2 epochs" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "savedModel_feedforward_loss.csv").open()))
    losses = [float(row["valid_loss"]) for row in rows]
    assert len(rows) < 50
    assert losses.index(min(losses)) == len(rows) - 3  # the best one and the two after it


def test_best_is_the_epoch_of_least_validation_loss(dataset, tmp_path, monkeypatch):
    losses = iter([0, 5.0, 0, 3.0, 0, 4.0])  # training and validation in turn
    epochs = []

    def run_epoch(network, loader, *arguments, **rest):
        epochs.append(loader.batch_sampler.epoch)
        return next(losses)

    monkeypatch.setattr(loop, "run_epoch", run_epoch)
    options = [str(dataset), "--output", str(tmp_path), *QUICK, *AUDIO_OPTIONS, "--epochs", "3"]
    assert train_feedforward.main(options) == 0
    best = torch.load(tmp_path / "savedModel_feedforward_best.pt", weights_only=True)
    assert (best["epoch"], best["best_valid_loss"]) == (2, 3.0)
    assert epochs == [1, 0, 2, 0, 3, 0]  # training excerpts are drawn anew in every epoch, validation's never change


def test_input_statistics_are_those_of_the_real_frames(dataset):
    """Excerpts of unequal length are padded in a batch; the padding is not measured."""
    songs, audio = find_songs(dataset)["Train"], AudioConfig(RATE, 256, 128)
    whole = DSD100Dataset(songs, audio, MakeMagnitudeSpectrum(), excerpt_seconds=100)
    options = parse_options(FeedforwardNetwork, "", [str(dataset), "--batch-size", "3"], None)
    network = FeedforwardNetwork(FeedforwardConfig(bins=audio.bins))
    loop.measure_input(network, loop.make_loader(whole, options, shuffle=True))
    expected = FeedforwardNetwork(FeedforwardConfig(bins=audio.bins))
    expected.compression.measure(torch.cat([whole[0, index]["mixture"] for index in range(3)]))
    assert torch.allclose(network.compression.mean, expected.compression.mean, atol=1e-5)
    assert torch.allclose(network.compression.deviation, expected.compression.deviation, atol=1e-5)


def test_gradients_are_clipped(dataset, tmp_path, monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def spy(parameters, limit):
        parameters = list(parameters)
        clip(parameters, limit)
        norms.append(torch.cat([parameter.grad.flatten() for parameter in parameters]).norm().item())

    monkeypatch.setattr(loop, "CLIP_NORM", 1e-3)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
    argv = [str(dataset), "--output", str(tmp_path), *QUICK, *AUDIO_OPTIONS, "--epochs", "1"]
    assert train_feedforward.main(argv) == 0
    assert len(norms) == 4 and norms == pytest.approx([1e-3] * 4, rel=1e-3)


def test_progress_shows_the_smoothed_loss_and_frames_per_second(dataset, monkeypatch):
    shown = []

    class Bar(loop.tqdm):
        def set_postfix_str(self, text, refresh=True):
            shown.append((text, self.total))

    monkeypatch.setattr(loop, "tqdm", Bar)
    pieces = DSD100Dataset(find_songs(dataset)["Train"], AudioConfig(RATE, 256, 128), MakeMagnitudeSpectrum(), 0.5)
    options = parse_options(FeedforwardNetwork, "", [str(dataset), "--batch-size", "4"], None)
    network = FeedforwardNetwork(FeedforwardConfig(bins=129))
    loop.run_epoch(network, loop.make_loader(pieces, options, shuffle=True), torch.device("cpu"), "test")
    assert len(shown) == 4
    for text, total in shown:
        assert re.fullmatch(r"loss [\d.e-]+, \d+ frames/s", text) and total == 4


def test_the_kept_weights_follow_those_of_the_steps():
    average, network = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(average.weight)
    torch.nn.init.ones_(network.weight)
    for step, left in ((1, 0.1), (11, 0.1 * 0.55), (10**6, 0.1 * 0.55 * 0.999)):
        loop.follow(average, network, step)
        assert 1 - average.weight.item() == pytest.approx(left, rel=1e-4) and network.weight.item() == 1


def test_the_kept_weights_come_with_the_buffers_of_the_last_step():
    average, network = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    network(torch.randn(9, 2) + 5)
    loop.follow(average, network, 1000)
    for own, new in zip(average.buffers(), network.buffers(), strict=True):
        assert torch.equal(own, new)


def test_the_kept_weights_are_to_the_bit_those_that_each_tensor_by_itself_would_give():
    networks = average, network = [FeedforwardNetwork(FeedforwardConfig(bins=129, encoder="bands")) for _ in range(2)]
    expected = copy.deepcopy(average)
    for step in (1, 5, 2000):
        loop.follow(*networks, step)
        for own, new in zip(expected.parameters(), network.parameters(), strict=True):
            own.data.lerp_(new.data, max(1 / loop.AVERAGED_STEPS, 9 / (step + 9)))
    assert same(average.state_dict(), expected.state_dict())


def test_what_is_judged_and_saved_is_the_average(dataset, tmp_path, monkeypatch):
    steps, follow = [], loop.follow

    def note(average, network, step):
        follow(average, network, step)
        steps.append((step, *(copy.deepcopy(each.state_dict()) for each in (average, network))))

    monkeypatch.setattr(loop, "follow", note)
    argv = [str(dataset), "--output", str(tmp_path), *QUICK, *AUDIO_OPTIONS, "--epochs", "2"]
    assert train_feedforward.main(argv) == 0
    assert [step for step, *_ in steps] == list(range(1, len(steps) + 1)) and len(steps) >= 2
    last = torch.load(tmp_path / "savedModel_feedforward_last.pt", weights_only=True)
    _, average, network = steps[-1]
    assert all(torch.equal(last["weights"][key], average[key]) for key in average)
    assert all(torch.equal(last["weights_of_last_step"][key], network[key]) for key in network)
    assert not all(torch.equal(average[key], network[key]) for key in network)
    network, audio, _ = load_network(tmp_path / "savedModel_feedforward_last.pt", FeedforwardNetwork)
    valid = DSD100Dataset(find_songs(dataset)["Valid"], audio, MakeMagnitudeSpectrum(), 0.3, whole_songs=True)
    options = parse_options(FeedforwardNetwork, "", [str(dataset)], None)
    loss = loop.run_epoch(network, loop.make_loader(valid, options, False), torch.device("cpu"), "")
    assert last["history"][-1]["valid_loss"] == pytest.approx(loss, rel=1e-4)


def test_learning_rate_falls_by_half_a_cosine():
    rates = [learning_rate(0.1, epoch, 10) for epoch in range(1, 11)]
    assert rates[0] == 0.1 and rates[5] == pytest.approx(0.05)
    assert rates == sorted(rates, reverse=True) and 0 < rates[-1] < 0.003


def test_carried_state_is_detached_cut_to_the_rows_left_and_zero_where_a_song_starts():
    state = tuple(torch.ones(1, 3, 4, requires_grad=True) * 2 for _ in range(2))
    carried = carry_state(state, torch.tensor([False, True]))
    for part in carried:
        assert part.shape == (1, 2, 4) and not part.requires_grad
        assert (part[:, 0] == 2).all() and (part[:, 1] == 0).all()
    assert carry_state(None, torch.tensor([True])) is None


def test_whole_songs_are_validated_with_the_state_carried(trained, dataset):
    """The validation loss of a song cut into excerpts equals that of the song in one piece."""
    network, audio, _ = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    songs = find_songs(dataset)["Test"]
    losses = []
    for seconds in (0.3, 100):
        pieces = DSD100Dataset(songs, audio, MakeMagnitudeSpectrum(), seconds, whole_songs=True)
        options = parse_options(RecurrentNetwork, "", [str(dataset), "--batch-size", "2"], FeedforwardNetwork)
        loader = loop.make_loader(pieces, options, shuffle=False)
        losses.append(loop.run_epoch(network, loader, torch.device("cpu"), "test"))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# ---------------------------------------------------------------------------------------------- what there is


def test_a_folder_without_splits_needs_include_test(tmp_path, capsys, monkeypatch):
    for name in ("Ann - One", "Ben - Two"):
        write_stems(tmp_path / "mine" / name, name, "mixture", "vocals")
    argv = [str(tmp_path / "mine"), *QUICK, *AUDIO_OPTIONS, "--output", str(tmp_path)]
    line = fails(capsys, train_feedforward.main, *argv)
    assert line.endswith("mine: expected songs to train on, found 2 in Test alone; --include-test trains on them")
    line = fails(capsys, train_feedforward.main, *argv, "--hold-out", "Ann")
    assert line.endswith("or artist 'Ann' to hold out, found it in Test alone; --include-test adds Test to training")
    line = fails(capsys, train_feedforward.main, *argv, "--hold-out", "Ann", "Ben", "--include-test")
    assert line.endswith("mine: expected songs to train on, found none that is not held out")
    seen = intercepted(monkeypatch, [*argv, "--include-test"])
    assert [len(seen[loader].dataset.songs) for loader in ("loader", "valid")] == [1, 1]
    assert not capsys.readouterr().err


@pytest.mark.parametrize("folder", ["mine", "mine/song"])
def test_one_song_is_enough_and_validates_on_itself(tmp_path, capsys, folder):
    write_stems(tmp_path / "mine" / "song", "song", "mixture", "vocals")
    argv = [str(tmp_path / folder), *QUICK, *AUDIO_OPTIONS, "--include-test", "--output", str(tmp_path / "out")]
    assert train_feedforward.main(argv) == 0
    said = capsys.readouterr().err
    assert "warning: " in said and "there is one song only, so it validates on itself" in said
    assert (tmp_path / "out" / "savedModel_feedforward_best.pt").exists()


@pytest.mark.parametrize("sung", [(), ("b",), ("b", "v")])
def test_silent_vocals_throughout_are_told_before_the_first_epoch(tmp_path, capsys, monkeypatch, sung):
    for split, name in (("Train", "a"), ("Train", "b"), ("Valid", "v")):
        write_song(tmp_path, split, name, 0.3)
        if name not in sung:
            wavwrite(
                tmp_path / "Sources" / split / name / "vocals.wav", 1e-4 * np.ones(round(0.3 * RATE)), RATE, "FLOAT"
            )
    intercepted(monkeypatch, [str(tmp_path), *QUICK, *AUDIO_OPTIONS, "--output", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert ("warning: " in said and "all vocals to train on are silent" in said) == ("b" not in sung)
    assert ("warning: " in said and "all vocals to validate on are silent" in said) == ("v" not in sung)


# ---------------------------------------------------------------------------------------------- options arrive


def intercepted(monkeypatch, argv: list[str], script=train_feedforward):
    """What `loop.train` is called with."""
    seen: dict[str, object] = {}

    def train(network, audio, train_loader, valid_loader, device, options, run, resumed):
        seen.update(network=network, audio=audio, loader=train_loader, options=options, run=run, valid=valid_loader)

    monkeypatch.setattr(command, "train", train)
    assert script.main(argv) == 0
    return seen


def transform(seen: dict, kind: str):
    steps = seen["loader"].dataset.transform.transforms
    return next((step for step in steps if type(step).__name__ == kind), None)


def test_plain_training_is_the_courses(dataset, tmp_path, monkeypatch):
    argv = [str(dataset), *AUDIO_OPTIONS, "--output", str(tmp_path), "--plain", "--excerpt", "0.5", "--epochs"]
    with monkeypatch.context() as patch:
        seen = intercepted(patch, [*argv, "3"])
    kinds = [type(step).__name__ for step in seen["loader"].dataset.transform.transforms]
    assert kinds == ["RandomShift", "Rescale", "MakeMagnitudeSpectrum", "ShuffleFrameOrder"]

    assert train_feedforward.main([*argv, "3"]) == 0
    last, best = (
        torch.load(tmp_path / f"savedModel_feedforward_{which}.pt", weights_only=True) for which in ("last", "best")
    )
    assert [row["learning_rate"] for row in last["history"]] == [1e-4] * 3
    assert all(torch.equal(last["weights"][key], last["weights_of_last_step"][key]) for key in last["weights"])
    assert last["optimizer"]["param_groups"][0]["weight_decay"] == 0
    assert best["plain"] and best["trained_on"].endswith("in excerpts, with the course's settings (--plain)")
    resume = [str(dataset), "--output", str(tmp_path), "--resume", "--epochs", "4"]
    assert train_feedforward.main(resume) == 0
    assert train_feedforward.main([*argv, "4", "--output", str(tmp_path / "straight")]) == 0
    assert same(weights_of(tmp_path, "feedforward"), weights_of(tmp_path / "straight", "feedforward"))


def test_a_plain_network_starts_from_a_plain_one(dataset, trained, tmp_path, capsys, monkeypatch):
    argv = [str(dataset), *QUICK, "--plain", "--output", str(tmp_path)]
    line = fails(capsys, train_RNN.main, *argv, "--init", trained / "savedModel_feedforward_best.pt")
    assert (
        "savedModel_feedforward_best.pt: expected a network that was trained with --plain, too, found one without"
        in line
    )
    assert train_feedforward.main([*argv, *AUDIO_OPTIONS, "--epochs", "1"]) == 0
    network = intercepted(monkeypatch, argv, train_RNN)["network"]
    first = weights_of(tmp_path, "feedforward", "best")
    assert torch.equal(network.encoder[0].weight, first["encoder.0.weight"])


def test_options_arrive(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = [str(dataset), "--device", "cpu", *AUDIO_OPTIONS]

    seen = intercepted(monkeypatch, base)
    assert seen["run"].best.name == "savedModel_feedforward_best.pt" and seen["run"].folder.samefile(tmp_path)
    assert (seen["audio"].sample_rate, seen["audio"].block, seen["audio"].hop) == (RATE, 256, 128)
    assert transform(seen, "ShuffleFrameOrder") and not seen["loader"].dataset.whole_songs
    assert seen["valid"].dataset.whole_songs
    assert not transform(seen, "MakeMagnitudeSpectrum").projected and not seen["valid"].dataset.transform.projected

    seen = intercepted(monkeypatch, [*base, "--init", "scratch"], train_RNN)
    assert not transform(seen, "ShuffleFrameOrder")

    more = ["--excerpt", "0.7", "--sequences", "songs", "--remix", "0.3", "--workers", "1", "--batch-size", "3"]
    seen = intercepted(monkeypatch, [*base, *more, "--speed", "0.9", "1.3", "--dropout", "0.4", "--threads", "2"])
    data = seen["loader"].dataset
    assert data.excerpts[0] == (0, 0, round(0.7 * RATE / 128)) and data.whole_songs
    assert transform(seen, "Remix").probability == 0.3
    speed = transform(seen, "RandomSpeed")
    assert (speed.low, speed.high) == (0.9, 1.3)
    assert seen["loader"].num_workers == 1 and seen["loader"].batch_sampler.batch_size == 3
    assert seen["network"].config.dropout == 0.4
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)

    seen = intercepted(monkeypatch, [*base, "--target", "projection", "--equalizer", "3"])
    assert transform(seen, "RandomEqualizer").deviations.tolist() == [[3], [3]]
    assert transform(seen, "MakeMagnitudeSpectrum").projected and seen["valid"].dataset.transform.projected

    seen = intercepted(monkeypatch, [*base, "--gain", "-4", "8", "--effects", "0.3", "--equalizer", "3", "0"])
    assert transform(seen, "RandomEqualizer").deviations.tolist() == [[3], [0]]
    assert (transform(seen, "Remix").softest, transform(seen, "Remix").loudest) == (-4, 8)
    assert transform(seen, "RandomEffects").probability == 0.3
    assert transform(seen, "RandomTranspose").most == 0

    seen = intercepted(monkeypatch, [*base, "--transpose", "2"])
    assert transform(seen, "RandomTranspose").most == 2

    seen = intercepted(monkeypatch, [*base, "--hold-out", "coral", "--include-test", "--seed", "9"])
    assert [song.name for song in seen["valid"].dataset.songs] == ["coral"]
    assert "ember" in [song.name for song in seen["loader"].dataset.songs]
    assert seen["loader"].dataset.seed == 9


def test_encoder_and_memory_arrive(dataset, tmp_path, monkeypatch):
    base = [str(dataset), "--device", "cpu", "--output", str(tmp_path), *AUDIO_OPTIONS]
    for script, more in ((train_feedforward, []), (train_RNN, ["--init", "scratch"])):
        assert intercepted(monkeypatch, [*base, *more], script)["network"].config.encoder == "dense"
        seen = intercepted(monkeypatch, [*base, *more, "--encoder", "conv"], script)
        assert seen["network"].config.encoder == "conv"
    seen = intercepted(monkeypatch, [*base, *more, "--encoder", "bands", "--hidden-size", "17"], train_RNN)
    assert (seen["network"].config.encoder, seen["network"].lstm.hidden_size) == ("bands", 17)


def test_the_encoder_is_that_of_the_network_it_starts_from(dataset, tmp_path, monkeypatch):
    argv = [str(dataset), *QUICK, "--output", str(tmp_path)]
    assert train_feedforward.main([*argv, *AUDIO_OPTIONS, "--encoder", "bands", "--epochs", "1"]) == 0
    network = intercepted(monkeypatch, argv, train_RNN)["network"]
    assert network.config.encoder == "bands"
    first = weights_of(tmp_path, "feedforward", "best")
    assert all(torch.equal(first[key], network.state_dict()[key]) for key in first)


@pytest.mark.parametrize("script", [train_feedforward, train_RNN])
def test_goes_on_with_a_network_of_its_kind_and_other_songs(trained, dataset, tmp_path, monkeypatch, script):
    name = script.__name__.removeprefix("train_")
    first = trained / f"savedModel_{name}_best.pt"
    argv = [str(dataset), *QUICK, "--output", str(tmp_path), "--init", str(first), "--hold-out", "coral"]
    network = intercepted(monkeypatch, [*argv, "--dropout", "0.2"], script)["network"]
    assert network.config.dropout == 0.2
    weights = weights_of(trained, name, "best")
    assert all(torch.equal(weights[key], network.state_dict()[key]) for key in weights)
    monkeypatch.undo()
    assert script.main(argv) == 0
    last = torch.load(tmp_path / f"savedModel_{name}_last.pt", weights_only=True)
    expected = "tiny songs: 3 songs, 0 minutes, in excerpts; before that, tiny songs: 3 songs, 0 minutes, in excerpts"
    assert last["trained_on"] == expected
    both = {song.name for hold_out in (None, ["coral"]) for song in find_songs(dataset, hold_out)["Train"]}
    assert [song for song, _ in last["songs"]] == sorted(both) and len(both) == 4
    assert script.main([*argv, "--resume", "--epochs", "3"]) == 0
    assert torch.load(tmp_path / f"savedModel_{name}_last.pt", weights_only=True)["trained_on"] == expected


def test_the_bidirectional_network_starts_from_the_best_recurrent_one(trained, dataset, tmp_path, capsys, monkeypatch):
    argv = [str(dataset), *QUICK, "--output", str(tmp_path), "--bidirectional"]
    line = fails(capsys, train_RNN.main, *argv)
    assert "savedModel_RNN_best.pt: expected a checkpoint to start from, found none; run train_RNN.py first" in line
    shutil.copy(trained / "savedModel_RNN_best.pt", tmp_path)
    network = intercepted(monkeypatch, argv, train_RNN)["network"]
    recurrent, audio, _ = load_network(tmp_path / "savedModel_RNN_best.pt", RecurrentNetwork)
    magnitude = torch.rand(1, 9, audio.bins)
    assert torch.equal(network.eval()(magnitude)[0], both_ways(recurrent)(magnitude)[0])
    monkeypatch.undo()
    assert train_RNN.main(argv) == 0
    best = torch.load(tmp_path / "savedModel_RNN_bidirectional_best.pt", weights_only=True)
    assert best["name"] == "RNN_bidirectional" and best["trained_on"].count("; before that, ") == 1
    assert best["command"].startswith("train_RNN.py ") and "--bidirectional" in best["command"]
    other = [*argv, "--overwrite", "--init", str(tmp_path / "savedModel_RNN_bidirectional_best.pt")]
    network = intercepted(monkeypatch, other, train_RNN)["network"]
    assert all(torch.equal(best["weights"][name], value) for name, value in network.state_dict().items())
    line = fails(capsys, train_RNN.main, *argv, "--init", trained / "savedModel_feedforward_best.pt", "--overwrite")
    assert "of the RNN_bidirectional or RNN network, found one of the feedforward network" in line


def test_a_network_keeps_its_hidden_size(trained, dataset, tmp_path, capsys, monkeypatch):
    first = trained / "savedModel_RNN_best.pt"
    size = torch.load(first, weights_only=True)["config"]["memory"]
    argv = [str(dataset), *QUICK, "--output", str(tmp_path), "--init", str(first), "--hidden-size"]
    line = fails(capsys, train_RNN.main, *argv, str(size + 1))
    assert line.endswith(f"savedModel_RNN_best.pt: expected a hidden size of {size + 1}, found {size}")
    assert intercepted(monkeypatch, [*argv, str(size)], train_RNN)["network"].config.memory == size


def test_voices_are_trained_on_and_accompaniments_are_drawn_from(dataset, tmp_path, monkeypatch):
    for folder in ("voices", "music"):
        (tmp_path / folder).mkdir()
        wavwrite(tmp_path / folder / "sound.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    argv = [str(dataset), "--device", "cpu", "--output", str(tmp_path), *AUDIO_OPTIONS]
    argv += ["--voices", str(tmp_path / "voices"), "--accompaniments", str(tmp_path / "music")]
    data = intercepted(monkeypatch, argv)["loader"].dataset
    assert [song.name for song in data.songs] == ["amber", "basil", "coral", "sound"]
    assert [song.name for song in data.accompaniments] == ["amber", "basil", "coral", "sound"]
    assert data.songs[3].read().std() > 0.05 and not data.accompaniments[3].read()[1].any()


def test_learning_options_arrive(dataset, tmp_path, monkeypatch):
    kept = {}

    class Optimizer(torch.optim.AdamW):
        def __init__(self, parameters, **settings):
            kept.update(settings)
            super().__init__(parameters, **settings)

    def run_epoch(
        network, loader, device, title, optimizer=None, reverse=False, weighting=0.0, bfloat16=False, note=None
    ):
        kept.update({"reverse": reverse, "weighting": weighting, "title": title})
        if optimizer is not None:
            kept.update({"lr": optimizer.param_groups[0]["lr"], "bfloat16": bfloat16})
        return 1.0

    monkeypatch.setattr(torch.optim, "AdamW", Optimizer)
    monkeypatch.setattr(loop, "run_epoch", run_epoch)
    options = ["--learning-rate", "0.02", "--weight-decay", "0.3", "--divergence", "reverse", "--epochs", "1"]
    options += ["--weighting", "0.5"]
    argv = [str(dataset), "--output", str(tmp_path), *AUDIO_OPTIONS, *options, "--bfloat16", "--device", "cpu"]
    assert train_feedforward.main(argv) == 0
    assert (kept["lr"], kept["weight_decay"], kept["reverse"], kept["bfloat16"]) == (0.02, 0.3, True, True)
    assert kept["weighting"] == 0.5  # of training and of validation
    assert kept["title"] == "epoch 1/1, validation"


@pytest.mark.parametrize("bias", [False, True])
def test_16_bit_products_of_the_benchmark_are_rounded_once(bias):
    layer, given = torch.nn.Linear(300, 40, bias=bias), torch.randn(50, 300)
    with Products16(), torch.autocast("cpu", torch.bfloat16):
        found = layer(given)
        found.float().sum().backward()
    short = given.bfloat16().float() @ layer.weight.bfloat16().float().T
    exact = short + layer.bias.bfloat16().float() if bias else short
    assert found.dtype == torch.bfloat16
    assert ((found.float() - exact).abs() <= exact.abs() * 2**-8 + 1e-6).all()
    assert not torch.allclose(found.float(), layer(given), atol=1e-4)
    expected = given.bfloat16().float().sum(0)
    assert torch.allclose(layer.weight.grad, expected.expand(40, -1), rtol=2**-7, atol=1e-5)


def test_bfloat16_learns_about_the_same(dataset, tmp_path):
    losses = []
    for folder, more in (("exact", []), ("short", ["--bfloat16"])):
        argv = [str(dataset), "--output", str(tmp_path / folder), *QUICK, *AUDIO_OPTIONS, *more]
        assert train_feedforward.main(argv) == 0
        best = torch.load(tmp_path / folder / "savedModel_feedforward_best.pt", weights_only=True)
        losses.append(best["best_valid_loss"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.03)


def test_overwrite_replaces_a_run(dataset, tmp_path):
    argv = [str(dataset), "--output", str(tmp_path), *QUICK, *AUDIO_OPTIONS, "--epochs", "1"]
    assert train_feedforward.main(argv) == 0
    first = weights_of(tmp_path, "feedforward")
    assert train_feedforward.main(["no such songs", *argv[1:], "--overwrite"]) == 1
    assert same(first, weights_of(tmp_path, "feedforward"))  # nothing is thrown away for a run that cannot start
    assert train_feedforward.main([*argv, "--seed", "5", "--overwrite"]) == 0
    assert not same(first, weights_of(tmp_path, "feedforward"))


def test_overwrite_keeps_what_it_starts_from_until_there_is_another(trained, dataset, tmp_path, monkeypatch):
    for which in ("best", "last"):
        shutil.copy(trained / f"savedModel_feedforward_{which}.pt", tmp_path)
    best = tmp_path / "savedModel_feedforward_best.pt"
    argv = [str(dataset), "--output", str(tmp_path), *QUICK, "--epochs", "1", "--init", str(best), "--overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_epoch", interrupted(loop.run_epoch, 1))
        assert train_feedforward.main(argv) == 130
    assert best.read_bytes() == (trained / best.name).read_bytes()
    assert not (tmp_path / "savedModel_feedforward_last.pt").exists()  # --resume would go on with the old run
    assert train_feedforward.main(argv) == 0
    assert torch.load(best, weights_only=True)["trained_on"].count("; before that, ") == 1


def test_a_network_that_no_checkpoint_gives_back_is_told_before_the_first_epoch(dataset, tmp_path, capsys, monkeypatch):
    class Own(FeedforwardNetwork):
        def __init__(self, config):
            super().__init__(config)
            self.keep = (torch.arange(config.bins) > 4).float()

        def forward(self, magnitude, state=None):
            mask, state = super().forward(magnitude, state)
            return mask * self.keep, state

    monkeypatch.setattr(train_feedforward, "FeedforwardNetwork", Own)
    line = fails(capsys, train_feedforward.main, dataset, "--output", tmp_path, *QUICK, *AUDIO_OPTIONS)
    assert line.startswith(
        "error: feedforward network: expected one that can be rebuilt from its checkpoint, found: Tensor on de"
    )
    assert line.endswith("; its tensors must be parameters or buffers (register_buffer)")
    assert not list(tmp_path.glob("*.pt"))


def test_the_check_that_a_network_loads_draws_no_random_numbers():
    network, before = FeedforwardNetwork(FeedforwardConfig(bins=129)), torch.get_rng_state()
    command.check_loads(network, AudioConfig(RATE, 256, 128))
    assert torch.equal(torch.get_rng_state(), before)


def test_command_in_the_checkpoint_is_the_one_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_RNN.py", "songs", "--epochs", "3"])
    options = parse_options(RecurrentNetwork, "", None, FeedforwardNetwork)
    assert options.command == "train_RNN.py songs --epochs 3" and options.epochs == 3


def test_a_new_network_has_no_power_chosen_for_another(trained, dataset, tmp_path):
    network, audio, checkpoint = load_network(trained / "savedModel_feedforward_best.pt", FeedforwardNetwork)
    network.config = dataclasses.replace(network.config, power=1.4)
    save_checkpoint(tmp_path / "first.pt", network, audio, **{name: checkpoint[name] for name in files.FACTS})
    assert train_RNN.main([str(dataset), "--init", str(tmp_path / "first.pt"), "--output", str(tmp_path), *QUICK]) == 0
    made, _, _ = load_network(tmp_path / "savedModel_RNN_best.pt", RecurrentNetwork)
    assert made.config.power == 1.0


def test_both_directions_carry_no_state(dataset, capsys):
    with pytest.raises(SystemExit):
        train_RNN.main([str(dataset), "--bidirectional", "--sequences", "songs"])
    assert "--bidirectional has no state" in capsys.readouterr().err


def test_bands_need_an_encoder_by_band(dataset, tmp_path, capsys):
    line = fails(capsys, train_feedforward.main, dataset, "--bands", "8", "--output", tmp_path, *AUDIO_OPTIONS)
    assert line == "error: --bands needs --encoder bands"


@pytest.mark.parametrize(("block", "bands"), [("16", []), ("256", ["--bands", "130"])])
def test_no_band_is_without_bins(dataset, tmp_path, capsys, block, bands):
    options = [
        *QUICK,
        "--epochs",
        "1",
        "--encoder",
        "bands",
        "--sample-rate",
        str(RATE),
        "--block",
        block,
        "--hop",
        "8",
    ]
    line = fails(capsys, train_feedforward.main, dataset, *options, *bands, "--output", tmp_path)
    most, found = int(block) // 2 + 1, bands[-1] if bands else 24
    expected = f"expected at most {most}, as many as a block of {block} samples has bins, found {found}"
    assert line == f"error: --bands: {expected}"


def test_a_mistake_in_a_transform_is_shown_and_not_taken_for_a_lost_process(dataset):
    options, cpu = parse_options(FeedforwardNetwork, "", [str(dataset)], None), torch.device("cpu")
    mistake = RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback ...")
    with pytest.raises(RuntimeError, match="Caught"), command.lost_workers(options, cpu):
        raise mistake
