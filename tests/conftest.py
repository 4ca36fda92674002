"""A tiny dataset in the course's layout, and networks trained on it once for all tests."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import train_feedforward
import train_RNN
from util import wavwrite

# The shell's background jobs ignore Ctrl-C, and so would the scripts that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # on a busy machine, two are many times slower for networks as small as these

RATE = 8000
AUDIO_OPTIONS = ["--sample-rate", str(RATE), "--block", "256", "--hop", "128"]
QUICK = ["--epochs", "2", "--excerpt", "0.5", "--batch-size", "4", "--threads", "1", "--device", "cpu"]
QUICK += ["--remix", "0", "--speed", "1", "1", "--equalizer", "0"]
SPLITS = {"Train": ("amber", "basil", "coral"), "Valid": ("dune",), "Test": ("ember", "fern")}


def make_song(name: str, seconds: float, rate: int = RATE) -> tuple[np.ndarray, np.ndarray]:
    """(mixture, vocals): a gliding harmonic voice with rests over noise and a chord, different for every name."""
    rng = np.random.default_rng(list(name.encode()))
    time = np.arange(round(seconds * rate)) / rate
    phase = np.cumsum(rng.uniform(180, 320) * 2 ** (0.3 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * time))) / rate
    voice = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 6)) * (np.sin(2 * np.pi * 1.5 * time) > -0.5)
    chord = sum(np.sin(2 * np.pi * note * time) for note in rng.uniform(100, 900, 3))
    mixture = 0.1 * voice + 0.05 * chord + 0.02 * rng.standard_normal(len(time))
    return mixture.astype(np.float32), (0.1 * voice).astype(np.float32)


def write_song(root: Path, split: str, name: str, seconds: float = 2.0, rate: int = RATE) -> None:
    mixture, vocals = make_song(name, seconds, rate)
    for part, file, waveform in (("Mixtures", "mixture.wav", mixture), ("Sources", "vocals.wav", vocals)):
        folder = root / part / split / name
        folder.mkdir(parents=True)
        wavwrite(folder / file, waveform, rate, "FLOAT")


def write_dataset(root: Path) -> Path:
    for split, names in SPLITS.items():
        for index, name in enumerate(names):
            write_song(root, split, name, seconds=2.0 + 0.3 * index)
    return root


def seconds_to_end(process: subprocess.Popen) -> float:
    """Wait for a process. Returns how long it still ran or waited, without the time when a busy machine had no
    processor for it."""

    def without_processor() -> float:
        return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9

    started, before = time.monotonic(), without_processor()
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        assert time.monotonic() < started + 300
        time.sleep(0.005)
    return time.monotonic() - started - (without_processor() - before)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny songs")


@pytest.fixture(scope="session")
def trained(dataset, tmp_path_factory) -> Path:
    """A folder with both networks' checkpoints after two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    common = [str(dataset), "--output", str(folder), *QUICK]
    assert train_feedforward.main([*common, *AUDIO_OPTIONS]) == 0
    assert train_RNN.main(common) == 0
    return folder


@pytest.fixture
def museval(tmp_path, monkeypatch):
    """The module, which at its import asks for ffmpeg although its metrics never start it: a stand-in will do."""
    for program in ("ffmpeg", "ffprobe"):
        if shutil.which(program) is None:
            (tmp_path / program).touch(0o755)
            monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return pytest.importorskip("museval")
