"""What one mask for both channels costs."""

import json

from helpers import fails, write_song, write_stems

from Model import FeedforwardConfig, FeedforwardNetwork
from report.measures import stereo
from util import AudioConfig


def test_stereo_command(tmp_path, monkeypatch, capsys):
    network = FeedforwardNetwork(FeedforwardConfig(bins=129, hidden=8, code=4)).eval()
    monkeypatch.setattr(stereo, "best_of", lambda: {"feedforward": (network, AudioConfig(8000, 256, 64))})
    write_song(tmp_path / "mono", "Test", "one", seconds=0.2)
    output = tmp_path / "found.json"
    assert "expected songs in stereo to measure" in fails(capsys, stereo.main, tmp_path / "mono", "--output", output)
    write_stems(tmp_path / "stereo" / "two", "two", "vocals", "other", seconds=0.2)
    (tmp_path / "stereo" / "two" / "vocals.wav").rename(tmp_path / "stereo" / "two" / "vox.wav")
    assert stereo.main([str(tmp_path / "stereo"), "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["songs"] == ["two"] and set(found["mean SDR"]["feedforward"]) == {"one mask", "a mask each"}
