"""A tiny dataset in the course's layout, and networks trained on it once for all tests."""

import os
import shutil
import signal
from multiprocessing import get_context
from pathlib import Path

# Before NumPy and torch are loaded, for this process and all that it starts. Songs and networks as small as these need
# one thread: on a busy machine, two are many times slower. Nor do they need a GPU, which a forked process cannot use.
os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

import numpy as np
import pytest
from helpers import AUDIO_OPTIONS, QUICK, write_dataset, write_no_picture

import train_feedforward
import train_RNN
from networks import hearing
from scoring import scores
from training import files

# The shell's background jobs ignore Ctrl-C, and so would the scripts that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Training in this process writes its pictures, but does not draw them: it takes nearly all the time of such short
    epochs. Those of `trained` are drawn."""
    for name in ("plot_losses", "plot_spectrograms"):
        monkeypatch.setattr(files, name, write_no_picture)


@pytest.fixture
def forked_judges(monkeypatch):
    """The processes in which evaluation judges songs are forks, which begin at once, instead of loading everything."""
    monkeypatch.setattr(scores, "get_context", lambda _: get_context("fork"))


@pytest.fixture
def down_to_0_hz(monkeypatch):
    """No frequency is too low for a voice, so that a mask of ones gives the mixture back."""
    monkeypatch.setattr(hearing, "LOWEST_SUNG", -np.inf)


@pytest.fixture
def museval(tmp_path, monkeypatch):
    """The module, which at its import asks for ffmpeg although its metrics never start it: a stand-in will do."""
    for program in ("ffmpeg", "ffprobe"):
        if shutil.which(program) is None:
            (tmp_path / program).touch(0o755)
            monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return pytest.importorskip("museval")
