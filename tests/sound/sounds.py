"""What the tests of sound files share."""

import subprocess
from pathlib import Path

import numpy as np
from helpers import ROOT

import separate_feedforward

SAMPLES = 20000
NOISE = 0.1 * np.random.default_rng(0).standard_normal((2, SAMPLES)).astype(np.float32)


def convert(source: Path, target: Path, *options: str) -> None:
    line = ["ffmpeg", "-v", "error", "-y", "-i", str(source), *options, f"file:{target}"]
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL)


def separate(source: Path, target: Path, *options: str, status: int = 0) -> None:
    """With the pretrained network."""
    argv = [str(source), str(target), "--quiet", *options]
    checkpoint = str(ROOT / "pretrained/savedModel_feedforward_best.pt")
    assert separate_feedforward.main([*argv, "--checkpoint", checkpoint]) == status
