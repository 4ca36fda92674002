"""Two processes that train together on the CPU; torchrun starts them where it matters how they end."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import AUDIO_OPTIONS, QUICK, ROOT, SCRIPTS, Forked, alive, children, hidden, wait_for

from Data import Batches, DSD100Dataset, MakeMagnitudeSpectrum, collate_fn
from songs.dataset import find_songs
from util import AudioConfig


@pytest.fixture
def start():
    """Start torchrun in a process group of its own, as a terminal does; whatever happens, nothing of it is left."""
    processes = []

    def start(name: str, *argv) -> subprocess.Popen:
        processes.append(torchrun(name, *argv))
        return processes[-1]

    yield start
    for process in processes:
        for each in (*children(process.pid), process.pid) if process.poll() is None else ():
            os.kill(each, signal.SIGKILL)


def torchrun(name: str, *argv) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    pipes: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "start_new_session": True,
    }
    arguments = [*command, str(ROOT / f"train_{name}.py"), *map(str, argv)]
    return subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes)


def both_ranks(name: str, *argv) -> str:
    """Both processes in forks, told their ranks as torchrun does. Returns what they have printed."""
    with socket.create_server(("localhost", 0)) as server:
        port = str(server.getsockname()[1])  # free, and soon so again
    common = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    main = SCRIPTS[name][0].main
    both = [Forked(main, *argv, **common, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]
    printed, said = map("".join, zip(*(process.communicate() for process in both), strict=True))
    assert [process.returncode for process in both] == [0, 0], said
    return printed


def rows(folder: Path, name: str, table: str = "loss") -> list[dict[str, float]]:
    with (folder / f"savedModel_{name}_{table}.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"savedModel_{name}_last.pt", weights_only=True)["weights"]


@pytest.mark.parametrize(
    ("name", "more"),
    [("feedforward", []), ("RNN", ["--sequences", "songs", "--workers", "1"])],
    ids=["excerpts", "songs-workers"],
)
def test_two_ranks_learn_what_one_learns(dataset, tmp_path, name, more):
    """The last batch of excerpts, and the last of songs, have one row: nothing for the second rank."""
    script, init = SCRIPTS[name]
    options = [str(dataset), *QUICK, *AUDIO_OPTIONS, *init, *more, "--batch-size", "14" if not more else "3"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert script.main([*options, "--output", str(one)]) == 0
    printed = both_ranks(name, *options, "--output", two)
    assert printed.count("epoch 1/2") == printed.count("best checkpoint") == 1
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    for alone, together in zip(rows(one, name), rows(two, name), strict=True):
        for loss in ("train_loss", "valid_loss", "smoothed_loss"):
            assert together[loss] == pytest.approx(alone[loss], rel=1e-4)
    for alone, together in zip(rows(one, name, "batches"), rows(two, name, "batches"), strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
    alone, together = weights(one, name), weights(two, name)
    assert all(torch.allclose(alone[key], together[key], atol=1e-3) for key in alone)


def test_two_ranks_see_different_excerpts_and_together_all(dataset):
    songs, audio = find_songs(dataset)["Train"], AudioConfig(8000, 256, 128)
    for whole_songs in (False, True):
        data = DSD100Dataset(songs, audio, MakeMagnitudeSpectrum(), 0.5, whole_songs=whole_songs)
        batches, first, second = (Batches(data, 3) for _ in range(3))
        first.share, second.share = slice(0, None, 2), slice(1, None, 2)
        for both, one, other in zip(batches, first, second, strict=True):
            assert sorted(one + other) == sorted(both) and not set(one) & set(other)
            assert np.abs(len(one) - len(other)) <= 1
    assert collate_fn([]) == {}


def test_ctrl_c_ends_both_ranks_soon_and_a_resumed_run_equals_an_uninterrupted_one(start, dataset, tmp_path):
    options = [dataset, *QUICK, *AUDIO_OPTIONS, "--dropout", "0.3", "--epochs", "4", "--output"]
    both_ranks("feedforward", *options, tmp_path / "straight")
    stopped = tmp_path / "stopped"
    process = start("feedforward", *options, stopped)
    wait_for((stopped / "savedModel_feedforward_last.pt").exists, 600)
    both = children(process.pid)
    assert len(both) == 2
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    wait_for(lambda: not any(map(alive, both)), 60)
    assert time.monotonic() - started < 25  # mostly Python's exit, on a busy machine; after 30 torchrun kills them
    _, said = process.communicate()
    assert process.returncode != 0 and "interrupted" in said.splitlines() and not hidden(stopped)
    assert torch.load(stopped / "savedModel_feedforward_last.pt", weights_only=True)["epoch"] < 4
    both_ranks("feedforward", *options, stopped, "--resume")
    assert len(rows(stopped, "feedforward")) == 4
    one, other = (weights(tmp_path / folder, "feedforward") for folder in ("straight", "stopped"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_lost_rank_ends_the_other(start, dataset, tmp_path):
    process = start("feedforward", dataset, *QUICK, *AUDIO_OPTIONS, "--epochs", "9999", "--output", tmp_path)
    wait_for((tmp_path / "savedModel_feedforward_last.pt").exists, 600)
    first, second = children(process.pid)
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: not alive(first), 60)
    _, said = process.communicate()
    assert process.returncode != 0 and not hidden(tmp_path)
    assert "rank 0 of 2: another process of this run has ended" in said or "interrupted" in said
