"""How bright an estimated voice is."""

import json

import numpy as np
import pytest
from helpers import fails, write_stems

from Model import FeedforwardConfig, FeedforwardNetwork
from report.measures import brightness
from util import AudioConfig


def test_levels_of_octaves():
    time = np.arange(44100) / 44100
    voice = sum(gain * np.sin(2 * np.pi * hertz * time) for hertz, gain in ((300, 1.0), (3000, 0.5), (12000, 0.25)))
    louder, softer = brightness.levels(voice, 44100), brightness.levels(0.5 * voice, 44100)
    sounding = [0, 3, 5]  # octaves
    np.testing.assert_allclose((louder - softer)[sounding], 20 * np.log10(2), atol=0.01)
    np.testing.assert_allclose(np.diff(louder[sounding]), -20 * np.log10(2), atol=0.01)
    assert louder[[1, 2, 4]].max() < louder[sounding].min() - 60


def test_brightness_command(tmp_path, monkeypatch, capsys):
    """A network that gives half of everything gives a voice some 6 dB too soft, less so where music joins in."""
    network = FeedforwardNetwork(FeedforwardConfig(bins=513, hidden=8, code=4))
    for parameter in network.parameters():
        parameter.data.zero_()
    monkeypatch.setattr(brightness, "best_of", lambda: {"feedforward": (network, AudioConfig(32000, 1024, 256))})
    for name in ("one", "two"):
        write_stems(tmp_path / "songs" / name, name, "vocals", "other", seconds=2.0, rate=44100)
    assert brightness.main([str(tmp_path / "songs"), "--output", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["songs"] == ["one", "two"]
    [octaves] = found["median and quartiles of the level re the true voice, dB"].values()
    median, first, third = octaves["250 to 500 Hz"]
    assert first <= median <= third and median == pytest.approx(-6, abs=3)
    write_stems(tmp_path / "low" / "one", "one", "vocals", "other", rate=16000)
    assert "expected songs at 32000 Hz or more" in fails(capsys, brightness.main, tmp_path / "low")
