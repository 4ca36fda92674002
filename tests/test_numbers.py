"""Sound of odd numbers: NaN, infinities, denormals, square waves, DC, one sample, none, silence, beyond full scale."""

import csv
import json

import numpy as np
import pytest
import soundfile
from helpers import AUDIO_OPTIONS, QUICK, RATE, fails, make_song, write_dataset

import Data
import evaluate
import separate_feedforward
import separate_RNN
import train_feedforward
import train_RNN
from sound.samples import LOUDEST
from util import load_checkpoint, wavread

TIME = np.arange(RATE) / RATE
SOUND = make_song("sound", 1.0)[0]
ODD = {
    "silence": np.zeros(RATE),
    "one sample": np.ones(1) / 2,
    "two samples": np.ones(2) / 2,
    "one sample of silence": np.zeros(1),
    "DC": np.full(RATE, 0.5),
    "full DC": np.ones(RATE),
    "full square wave": np.sign(np.sin(2 * np.pi * 440 * TIME) + 1e-9),
    "alternating": np.resize([1.0, -1.0], RATE),
    "one click": np.eye(1, RATE, RATE // 2)[0],
    "denormals": 1e-40 * SOUND,
    "smallest": np.resize([5e-324, -1e-310, 1e-45], RATE),
    "beyond full scale": 10 * SOUND,
    "as if integers": 2.0**31 * SOUND,
    "near the loudest": LOUDEST / 4 * np.sign(SOUND),
    "from soft to loud": SOUND * 10 ** (np.linspace(-400, 240, RATE) / 20),
}
WRONG = {
    "NaN": (np.array([0, np.nan]), "expected finite samples, found NaN or infinity"),
    "infinity": (np.array([0, np.inf]), "expected finite samples, found NaN or infinity"),
    "minus infinity": (np.array([0, -np.inf]), "expected finite samples, found NaN or infinity"),
    "both": (np.array([np.nan, np.inf]), "expected finite samples, found NaN or infinity"),
    "too loud": (np.array([0, -2 * LOUDEST]), "expected samples up to 1e+12 of full scale, found 2e+12"),
    "more than float32 holds": (np.array([1e300]), "expected samples up to 1e+12 of full scale, found 1e+300"),
    "none": (np.zeros(0), "expected sound, found a file with no samples"),
}


def write(path, samples: np.ndarray) -> None:
    soundfile.write(path, samples, RATE, "DOUBLE")


@pytest.mark.parametrize("main", [separate_feedforward.main, separate_RNN.main])
@pytest.mark.parametrize("name", ODD)
def test_separation_of_odd_numbers_is_finite(trained, tmp_path, monkeypatch, name, main):
    monkeypatch.chdir(trained)
    song = tmp_path / "song.wav"
    write(song, ODD[name])
    for options in ([], ["--format", "flac"]):
        assert main([str(song), "--stems", "both", "--output", str(tmp_path / "out"), *options]) == 0
    for file in (tmp_path / "out").iterdir():
        samples, _ = soundfile.read(file)
        assert samples.shape == ODD[name].shape and np.isfinite(samples).all()
    voice, rest = (wavread(tmp_path / "out" / f"song_{stem}.wav")[0][0] for stem in ("vocals", "accompaniment"))
    assert np.abs(voice + rest - ODD[name]).max() <= 1e-6 * np.abs(ODD[name]).max() + 1e-30
    if name.endswith("silence"):
        assert not voice.any()


@pytest.mark.parametrize("name", WRONG)
def test_separation_of_what_is_no_sound_is_refused(trained, tmp_path, capsys, name):
    samples, message = WRONG[name]
    write(tmp_path / "song.wav", samples)
    checkpoint = trained / "savedModel_RNN_best.pt"
    argv = [tmp_path / "song.wav", tmp_path / "voice.wav", "--checkpoint", checkpoint]
    assert f"song.wav: {message}" in fails(capsys, separate_RNN.main, *argv)
    assert not (tmp_path / "voice.wav").exists()


PARTS = ("voice", "rest", "all")


def odd_dataset(root, chosen: dict[str, np.ndarray]):
    """A dataset whose songs are odd: in turn the voice, the accompaniment and both."""
    write_dataset(root)
    for split in ("Train", "Valid", "Test"):
        for name, samples in chosen.items():
            usual = np.resize(make_song(name, 0.2)[1], samples.shape)
            pairs = (samples + usual, samples), (samples + usual, usual), (samples, samples)
            for part, (mixture, vocals) in zip(PARTS, pairs, strict=True):
                for folder, stem, waveform in (("Mixtures", "mixture", mixture), ("Sources", "vocals", vocals)):
                    path = root / folder / split / f"{name} {part}" / f"{stem}.wav"
                    path.parent.mkdir(parents=True)
                    write(path, waveform)
    return root


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return odd_dataset(tmp_path_factory.mktemp("odd"), {name: samples[:2000] for name, samples in ODD.items()})


@pytest.mark.parametrize("options", [[], ["--target", "projection", "--remix", "1", "--divergence", "reverse"]])
def test_training_on_odd_numbers(odd, tmp_path, options):
    argv = [str(odd), "--output", str(tmp_path), *QUICK]
    assert train_feedforward.main([*argv, *AUDIO_OPTIONS, *options]) == 0
    assert train_RNN.main([*argv, "--sequences", "songs", *options]) == 0
    for name in ("feedforward", "RNN"):
        checkpoint = load_checkpoint(tmp_path / f"savedModel_{name}_best.pt")
        assert all(tensor.isfinite().all() for tensor in checkpoint["weights"].values())
        assert all(np.isfinite([row["train_loss"], row["valid_loss"]]).all() for row in checkpoint["history"])


def test_training_on_silence_alone(tmp_path):
    data = odd_dataset(tmp_path / "data", {})
    for path in data.rglob("*.wav"):
        write(path, np.zeros(4000))
    assert train_feedforward.main([str(data), "--output", str(tmp_path / "run"), *QUICK, *AUDIO_OPTIONS]) == 0
    weights = load_checkpoint(tmp_path / "run" / "savedModel_feedforward_best.pt")["weights"]
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_evaluation_of_odd_numbers(odd, trained, forked_judges, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    argv = [str(odd), "--output", str(tmp_path / "out"), "--page", str(tmp_path / "page"), "--workers", "2"]
    assert evaluate.main([*argv, "--framewise"]) == 0
    json.loads((tmp_path / "out" / "evaluation.json").read_text(), parse_constant=pytest.fail)
    with (tmp_path / "out" / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["song"] for row in rows} == {f"{name} {part}" for name in ODD for part in PARTS} | {"ember", "fern"}
    for row in rows:  # what has no score says why
        assert row["SDR v3 sources"] != "nan" or row["note"], row
    assert (tmp_path / "page" / "index.html").exists()
    assert Data.main([str(odd)]) == 0


@pytest.mark.parametrize("name", ["NaN", "too loud", "none"])
def test_datasets_with_what_is_no_sound(trained, forked_judges, tmp_path, capsys, monkeypatch, name):
    samples, message = WRONG[name]
    write_dataset(tmp_path / "data")
    for stem in ("Mixtures/Test/ember/mixture.wav", "Sources/Test/ember/vocals.wav"):
        write(tmp_path / "data" / stem, np.resize(samples, 4000 if samples.size else 0))
    assert "1 of 6 songs cannot be used" in fails(capsys, Data.main, tmp_path / "data")
    monkeypatch.chdir(trained)
    argv = [str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    if name == "none":
        assert message in fails(capsys, evaluate.main, *argv)
    elif name == "too loud":  # of songs that cannot be read whole, evaluation tells and judges the others
        assert evaluate.main(argv) == 0
        assert message in (tmp_path / "out" / "evaluation.csv").read_text()
