"""The songs and networks that are measured, and how what was found is written down."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from Model import FeedforwardNetwork
from Model_RNN import RecurrentNetwork
from process.commandline import typed
from process.errors import UserError, whole_file
from scoring.report import code_version
from songs.dataset import find_songs
from songs.song import Song
from util import AudioConfig, load_network

ROOT = Path(__file__).resolve().parents[2]


def chosen_songs(options: argparse.Namespace) -> list[Song]:
    """The songs that are held out, else the test songs. Raises UserError if there are none."""
    splits = find_songs(options.dataset, options.hold_out, options.include_test)
    songs = splits["Valid" if options.hold_out else "Test"]
    if not songs:
        raise UserError(f"{options.dataset}: expected songs to measure, found none")
    return songs


def best_of() -> dict[str, tuple[torch.nn.Module, AudioConfig]]:
    """The pretrained network of each kind, by name."""
    found = {}
    for kind in (FeedforwardNetwork, RecurrentNetwork):
        network, audio, _ = load_network(ROOT / "pretrained" / f"savedModel_{kind.name}_best.pt", kind)
        found[kind.name] = network, audio
    return found


def write_facts(path: Path, script: str, **facts: Any) -> None:
    """Write what a script of report/measures found into a JSON file, with its command line and the commit."""
    command = f"python {typed(f'report/measures/{script}', None)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"command": command, "commit": code_version(), **facts}, indent=2) + "\n")
