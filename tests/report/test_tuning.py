"""What networks lose on songs that are out of tune."""

import json

import numpy as np
import pytest
from helpers import write_stems

from Model import FeedforwardConfig, FeedforwardNetwork
from report.measures import tuning
from util import AudioConfig, save_checkpoint


class Note:
    """A song whose voice is a note of 440 Hz."""

    rate = 32000

    def read(self):
        note = 0.1 * np.sin(2 * np.pi * 440 * np.arange(self.rate * 2) / self.rate).astype(np.float32)
        noise = 0.01 * np.random.default_rng(0).standard_normal(len(note)).astype(np.float32)
        return np.stack([2 * note + noise, note])


@pytest.mark.parametrize("cents", [-50, 0, 25])
def test_a_song_is_played_so_many_cents_higher(monkeypatch, cents):
    heard = []

    def separate(network, waveform, rate, audio):
        heard.append(waveform[0])
        return 0.5 * waveform

    monkeypatch.setattr(tuning, "separate", separate)
    assert tuning.score(Note(), cents, None, None) > 20
    spectrum = np.abs(np.fft.rfft(heard[0] * np.hanning(len(heard[0])), 32 * len(heard[0])))
    found = spectrum.argmax() * Note.rate / (32 * len(heard[0]))
    assert 1200 * np.log2(found / 440) == pytest.approx(cents, abs=1)


def test_tuning_command(tmp_path, monkeypatch):
    network = FeedforwardNetwork(FeedforwardConfig(bins=129, hidden=8, code=4))
    save_checkpoint(tmp_path / "one.pt", network, AudioConfig(8000, 256, 64), name=network.name)
    write_stems(tmp_path / "songs" / "one", "one", "vocals", "other")
    output = tmp_path / "found.json"
    songs = str(tmp_path / "songs")
    monkeypatch.setattr("sys.argv", ["tuning.py", "my songs"])
    assert tuning.main([songs, "--checkpoint", f"mine={tmp_path / 'one.pt'}", "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["command"] == "python report/measures/tuning.py 'my songs'"
    assert found["songs"] == 1 and list(found["mean SDR v3"]["mine"]) == list(map(str, tuning.CENTS))
