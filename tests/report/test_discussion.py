"""What the report's discussion measures: parts of an estimate, kinds of frames, excerpts; and both commands."""

import json

import numpy as np
import pytest
import torch
from helpers import RATE, fails, make_song
from PIL import Image

from Model import FeedforwardConfig, FeedforwardNetwork
from Model_RNN import RecurrentNetwork
from networks.encoders import ENCODERS
from report.measures import cases, discussion, leakage, measured_networks
from separation.separate import separate
from songs.dataset import find_songs
from util import AudioConfig, load_network, save_checkpoint, wavwrite


@pytest.fixture
def network(trained):
    found, audio, _ = load_network(trained / "savedModel_feedforward_best.pt", FeedforwardNetwork)
    return found, audio


def tone(frequency: float, seconds: float = 2.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.1 * sum(np.sin(2 * np.pi * k * frequency * time) / k for k in range(1, 6))).astype(np.float32)


def test_what_is_let_through_adds_up_to_the_estimate(network):
    network, audio = network
    mixture, voice = make_song("some", 2.0)
    parts = np.stack([voice, 0.3 * (mixture - voice), 0.7 * (mixture - voice)])
    through = leakage.let_through(leakage.mask_of(network, audio), parts, audio)
    assert through.shape == parts.shape
    expected = separate(network, mixture[None], audio.sample_rate, audio)[0]
    np.testing.assert_allclose(through.sum(axis=0), expected, atol=1e-5)
    np.testing.assert_allclose(through[2], through[1] * 7 / 3, atol=1e-5)


def test_no_mask_between_0_and_1_is_better_than_the_best():
    mixture, voice = make_song("other", 2.0)
    sources = np.stack([voice, mixture - voice])
    audio = AudioConfig(RATE, 512, 128)
    scores = {
        name: leakage.sdr(voice, leakage.let_through(mask, sources, audio).sum(axis=0))
        for name, mask in leakage.IDEAL.items()
    }
    best = scores.pop("best mask between 0 and 1")
    assert best > max(scores.values())
    with_phase = leakage.with_true_phase(leakage.IDEAL["true magnitude, mixture's phase"], sources, audio)
    assert leakage.sdr(voice, with_phase) > 60  # both right: the voice itself


def test_voiced_unvoiced_rest():
    noise = 0.02 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    sound = np.concatenate([tone(200, 1.0), noise, np.zeros(RATE, np.float32)])
    active = leakage.voice_activity(sound, RATE)
    third = len(active["rest"]) // 3
    for place, name in enumerate(("voiced", "unvoiced", "rest")):
        inside = active[name][place * third + 5 : (place + 1) * third - 5]
        assert inside.mean() > 0.9, name
    assert (sum(own.astype(int) for own in active.values()) == 1).all()


def test_groups_measure_lost_voice_and_leak():
    voice, accompaniment = tone(200), tone(1111)
    sources = np.stack([voice, accompaniment])
    groups = leakage.Groups()
    groups.add(sources, np.stack([0.9 * voice, 0.01 * accompaniment]), RATE)
    found = groups.summary()["all frames"]
    assert found["voice to lost voice"] == pytest.approx(20, abs=0.01)
    assert found["leak to accompaniment"] == pytest.approx(-40, abs=0.01)
    assert found["mixture"] == pytest.approx(0, abs=0.2)
    other = leakage.Groups()
    other.add(sources, np.stack([0.8 * voice, 0.01 * accompaniment]), RATE)
    more = groups.summary(other)["voiced"]
    assert more["SDR more"] == pytest.approx(6, abs=0.1)
    assert more["interval of SDR more"] == pytest.approx([more["SDR more"]] * 2)
    bands = groups.summary()
    assert bands["1000 to 2000 Hz"]["mixture"] < -5 < 5 < bands["0 to 250 Hz"]["mixture"]


def test_drums_and_tones():
    clicks = np.zeros(2 * RATE, np.float32)
    clicks[:: RATE // 3] = 0.5
    for place, sound in enumerate((tone(440), clicks)):
        parts = leakage.drums_apart(sound, RATE)
        np.testing.assert_allclose(parts.sum(axis=0), sound, atol=1e-5)
        assert leakage.energy(parts[place]) > 0.9 * leakage.energy(sound)


def test_reverberation_is_a_tail_as_loud_as_the_voice():
    voice = np.zeros(RATE, np.float32)
    voice[: RATE // 10] = tone(300, 0.1)
    tail = leakage.reverberation(voice, RATE, 0.3)
    assert leakage.energy(tail) == pytest.approx(leakage.energy(voice), rel=1e-3)
    early, late = tail[RATE // 10 : RATE // 5], tail[RATE // 5 : RATE * 3 // 10]
    assert leakage.decibels(leakage.energy(early), leakage.energy(late)) == pytest.approx(20, abs=4)
    np.testing.assert_array_equal(tail, leakage.reverberation(voice, RATE, 0.3))


def test_no_song_is_chosen_twice_while_there_are_others():
    table = {(0, 0): {"a": 3, "b": 3}, (0, 1): {"a": 1, "b": 9}, (1, 0): {"a": 2, "b": 1}}
    assert cases.choose(table, ["a", "b"]) == {"a": (0, 0), "b": (1, 0)}
    assert cases.choose(table, ["b"]) == {"b": (0, 1)}
    assert cases.choose({(0, 0): {"a": 1, "b": 1}}, ["a", "b"]) == {"a": (0, 0), "b": (0, 0)}


def commands(dataset, trained, folder) -> list[str]:
    networks = [f"--{name.lower()}={trained / f'savedModel_{name}_best.pt'}" for name in ("feedforward", "RNN")]
    return [str(dataset), *networks, "--output", str(folder)]


def test_discussion_command(dataset, trained, tmp_path):
    assert discussion.main(commands(dataset, trained, tmp_path)) == 0
    found = json.loads((tmp_path / "measures.json").read_text())
    assert found["songs"] == 2 and found["networks"]["RNN"]["parts"]["lstm"][0]["kind"] == "LSTM"
    sizes = [layer["shape"] for layer in found["networks"]["feedforward"]["parts"]["encoder"]]
    assert sizes == [[1000], [400]] and found["networks"]["feedforward"]["audio"]["block"] == 256
    where = found["where"]
    assert where["ideal ratio mask"]["voiced"]["SDR"] > where["RNN"]["voiced"]["SDR"]
    loud, soft = (found["kinds of sound"]["RNN"][f"voice at {ratio} dB"]["SDR"]["mean"] for ratio in (10, -10))
    assert loud > soft + 5
    phase = found["phase"]["ideal ratio mask"]
    assert phase["true phase"]["mean"] > phase["mixture's phase"]["mean"]
    assert {(row["block"], row["hop"]) for row in found["blocks"]} >= {(512, 256), (512, 128), (8192, 2048)}
    assert not found["above the network's band"]


@pytest.mark.parametrize(("share", "through"), [(1.0, 0.0), (0.5, -12.04)])
def test_what_lies_above_the_networks_band(tmp_path, share, through):
    """A song at twice the network's rate, its noise above the band too; a network whose mask is the same everywhere."""
    audio, rate = AudioConfig(RATE, 256, 128), 2 * RATE
    network = FeedforwardNetwork(FeedforwardConfig(bins=audio.bins))
    last = network.decoder[-2]
    last.weight.data.zero_()
    last.bias.data.fill_(np.log(share / (1.0000001 - share)))
    save_checkpoint(tmp_path / "same.pt", network, audio)
    mixture, voice = make_song("high", 4.0, rate)
    song = tmp_path / "songs" / "test" / "high"
    song.mkdir(parents=True)
    wavwrite(song / "mixture.wav", mixture, rate, "FLOAT")
    wavwrite(song / "vocals.wav", voice, rate, "FLOAT")
    songs = find_songs(tmp_path / "songs")["Test"]
    [row] = discussion.above_band(songs, {"feedforward": tmp_path / "same.pt"}, audio)
    assert row["SDR without it"] > 30
    found = row["feedforward"]
    assert found["accompaniment through"] == pytest.approx(through, abs=0.1)
    accompaniment = leakage.energy(mixture - voice)
    if share == 1:
        assert found["SDR"] == pytest.approx(leakage.decibels(leakage.energy(voice), accompaniment), abs=0.01)
    assert found["SDR"] < found["SDR without it"]  # the noise there is none of the voice's


def test_the_record_names_pretrained_networks_as_they_are_in_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    facts = measured_networks.load_networks(dict.fromkeys(measured_networks.NETWORKS))[2]
    files = ["pretrained/savedModel_feedforward_best.pt", "pretrained/savedModel_RNN_best.pt"]
    assert [own["file"] for own in facts.values()] == files


@pytest.mark.parametrize("encoder", ENCODERS)
def test_record_of_the_networks(encoder, tmp_path):
    audio, paths = AudioConfig(RATE, 256, 128), {}
    for kind in (FeedforwardNetwork, RecurrentNetwork):
        sizes = {"memory": 20} if kind is RecurrentNetwork else {}
        network = kind(kind.Config(bins=audio.bins, encoder=encoder, bands=6, features=8, mixers=1, **sizes))
        paths[kind.name] = tmp_path / f"{kind.name}.pt"
        save_checkpoint(paths[kind.name], network, audio)
    facts = measured_networks.load_networks(paths)[2]
    for own in facts.values():
        layers = [layer for part in own["parts"].values() for layer in part]
        assert sum(layer["weights"] for layer in layers) == own["weights"]
        assert layers[-1]["shape"] == [audio.bins]
    course = facts["feedforward"]["weights of the course's layers for these bins"]
    assert (facts["feedforward"]["weights"] == course) == (encoder == "dense")
    parts = {part: [layer["kind"] for layer in layers] for part, layers in facts["RNN"]["parts"].items()}
    if encoder == "bands":
        assert parts["encoder"] == ["BandSplit", "Mixer"] and parts["decoder"] == ["BandJoin"]
        assert parts["fuse"] == ["Linear", "Mixer"]
        shapes = [facts["RNN"]["parts"][part][0]["shape"] for part in ("encoder", "lstm", "fuse")]
        assert shapes == [[6, 8], [6, 20], [6, 8]]
        widths = facts["RNN"]["widths of bands in Hz"]
        assert len(widths) == 6 and widths[0] < widths[-1] and sum(widths) == audio.bins * RATE / 256
    else:
        assert facts["RNN"]["widths of bands in Hz"] == []


def test_cases_command(dataset, trained, tmp_path, monkeypatch, capsys):
    line = fails(capsys, cases.main, *commands(dataset, trained, tmp_path))
    assert line == f"error: {dataset}: expected songs with 4 s of singing, found none"
    monkeypatch.setattr(cases, "SECONDS", 1.5)
    assert cases.main([*commands(dataset, trained, tmp_path), "--cases", "worst", "two"]) == 0
    found = json.loads((tmp_path / "cases.json").read_text())["cases"]
    assert list(found) == ["worst", "two"] and found["worst"]["song"] != found["two"]["song"]
    assert set(found["two"]["systems"]["RNN"]["through"]) == {"voice", "accompaniment", "second voice"}
    picture = np.array(Image.open(tmp_path / "case_worst.png"))
    third = (picture.shape[1] - 2 * cases.GAP) // 3
    assert picture.dtype == np.uint8 and picture[:, :third].min() == 0  # the loudest point of the mixture is black
    assert (picture[:, third : third + cases.GAP] == 255).all()


def test_networks_must_hear_alike(dataset, trained, tmp_path, capsys):
    other = tmp_path / "other.pt"
    checkpoint = torch.load(trained / "savedModel_RNN_best.pt", weights_only=True)
    checkpoint["audio"]["hop"] = 64
    torch.save(checkpoint, other)
    options = [*commands(dataset, trained, tmp_path)[:2], f"--rnn={other}", "--output", str(tmp_path)]
    assert "expected networks of the same sample rate, block and hop" in fails(capsys, discussion.main, *options)
    options = [str(dataset), "--hold-out", "nobody"]
    assert "nobody" in fails(capsys, cases.main, *options)


@pytest.mark.parametrize("every", ["0", "-1", "x"])
def test_songs_are_counted_by_one_or_more(dataset, tmp_path, capsys, every):
    with pytest.raises(SystemExit) as ended:
        discussion.main([str(dataset), "--every", every, "--output", str(tmp_path)])
    assert ended.value.code == 2 and f"expected 1 or more, found '{every}'" in capsys.readouterr().err
