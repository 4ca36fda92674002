"""Shared by the fault campaigns: options of a tiny training, its process that can be killed, and its comparison."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["OMP_NUM_THREADS"] = "1"

import torch  # noqa: E402
from helpers import AUDIO_OPTIONS, QUICK, forked, seconds_to_end, write_dataset, write_no_picture  # noqa: E402

import train_feedforward  # noqa: E402
import train_RNN  # noqa: E402
from training import files  # noqa: E402

__all__ = ["AUDIO_OPTIONS", "forked", "seconds_to_end", "write_dataset"]
SCRIPTS = {"feedforward": train_feedforward, "RNN": train_RNN}


def training_options(data: Path, network: str, workers: int, epochs: int) -> list[str]:
    """Options of a run with small excerpts, all random transforms, dropout, and epochs of some tenths of a second."""
    options = [str(data), *QUICK, *AUDIO_OPTIONS, "--dropout", "0.2", "--remix", "0.8", "--speed", "0.7", "1.4"]
    options += ["--epochs", str(epochs), "--patience", str(epochs), "--workers", str(workers)]
    return options + (["--init", "scratch"] if network == "RNN" else [])


def ended(process: int) -> int:
    """Wait for a process. Returns its exit status, or -signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def train(script, options: list[str], folder: Path) -> Callable[[], int]:
    """A call that begins the run in a folder, or resumes it. Its pictures are empty files: drawing them would take most
    of the time of such short epochs."""
    resume = ["--resume"] if list(folder.glob("*_last.pt")) else []

    def run() -> int:
        vars(files).update(plot_losses=write_no_picture, plot_spectrograms=write_no_picture)
        return script.main([*options, "--output", str(folder), *resume])

    return run


def same_run(folder: Path, straight: Path) -> bool:
    """Whether losses, and weights, optimiser and random state of all checkpoints, are the same bit for bit."""
    checkpoints = list(straight.glob("*.pt"))
    assert checkpoints, f"{straight}: expected checkpoints, found none"
    for path in checkpoints:
        one, other = (torch.load(place / path.name, weights_only=True) for place in (folder, straight))
        for checkpoint in (one, other):
            for name in ("command", "options"):
                checkpoint.pop(name, None)
            for row in checkpoint["history"]:
                row.pop("seconds")
        if not _same(one, other):
            return False
    for path in straight.glob("*_loss.csv"):
        curves = [(place / path.name).read_text().splitlines() for place in (folder, straight)]
        if not _same(*([line.rsplit(",", 1)[0] for line in lines] for lines in curves)):  # without the seconds
            return False
    batches = [path.name for path in straight.glob("*_batches.csv")]
    return all((folder / name).read_bytes() == (straight / name).read_bytes() for name in batches)


def _same(one, other) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
