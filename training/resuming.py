"""Going on with a run that was stopped: its last checkpoint, and whether options and songs are still its own."""

import argparse
import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from process.errors import UserError
from songs.song import Song
from training.files import STATE, Run
from training.loop import Loader
from training.mixes import Mixes
from training.options import FOLDERS, HOW_LONG, MAY_CHANGE, flag, kept, worded
from util import AudioConfig, load_checkpoint


def resumed_checkpoint(run: Run, options: argparse.Namespace) -> dict | None:
    """The checkpoint to continue from, None for a new run. Raises UserError if one run would harm another."""
    existing = next((path for path in (run.last, run.best) if path.exists()), None)
    if not options.resume:
        if existing and not options.overwrite:
            raise UserError(f"{existing}: a run is already there; expected --resume, --overwrite or another --output")
        return None
    if existing is None:
        print(f"{run.folder}: no run of the {run.name} network to resume: a new one begins")
        return None
    if existing != run.last:
        raise UserError(f"{run.last}: expected a checkpoint to resume from, found only {existing.name}")
    checkpoint = load_checkpoint(run.last, run.name)
    if not {"options", "history", "trained_on", "command", *STATE} <= checkpoint.keys():
        raise UserError(f"{run.last}: expected a checkpoint to resume from, found one with weights only")
    if checkpoint.get("in_tune"):
        raise UserError(f"{run.last}: the run's songs were brought in tune, which is no longer done: begin a new run")
    return checkpoint


def take_over(
    options: argparse.Namespace, checkpoint: dict, network: torch.nn.Module, audio: AudioConfig, run: Run
) -> None:
    """Give `options` the values that the run was started with, but for what was typed now and may change.

    Raises UserError for what was typed and may not.
    """
    config: Any = network.config
    before = checkpoint["options"]
    sizes = {**vars(config), **vars(audio), "hidden_size": getattr(config, "memory", None)}  # whatever was typed
    true = options.defaults | before  # options that the run's version did not have
    true |= {name: sizes[name] for name in sizes.keys() & vars(options).keys()}
    changed = [name for name in kept(options) if name in options.given and true.get(name) != getattr(options, name)]
    for name in changed:
        if name not in MAY_CHANGE:
            was, now = worded(name, true.get(name)), worded(name, getattr(options, name))
            raise UserError(f"{run.last}: the run was started {was}, cannot continue {now}; leave {flag(name)} out")
    untold = sorted((HOW_LONG | FOLDERS) - before.keys() - options.given)
    if untold:
        told = ", ".join(map(flag, untold))
        print(f"{run.last}: of an earlier version, which did not keep {told}; they have their defaults unless typed")
    vars(options).update({name: before[name] for name in before.keys() & kept(options).keys() - options.given})
    options.command = "; ".join([checkpoint["command"], *([options.command] if changed else [])])


def fingerprints(valid: Sequence[Song], loader: Loader | Mixes) -> dict[str, str]:
    """What a run learns from, wherever it lies: a checksum of each kind of songs, their lengths and their shares."""
    data: dict[str, object] = {"validation songs": _facts(valid)}
    if isinstance(loader, Mixes):
        groups = [(group.share, [song.name for song in group.songs]) for group in loader.desk.groups]
        data["mix"] = [groups, loader.bank.fingerprint]
    else:
        data |= {"training songs": _facts(loader.dataset.songs), "music": _facts(loader.dataset.accompaniments)}
    return {what: hashlib.sha256(repr(facts).encode()).hexdigest() for what, facts in data.items()}


def _facts(songs: Sequence[Song]) -> list[tuple[str, int, int]]:
    return [(song.name, song.samples, song.rate) for song in songs]


def check_data(run: Run, checkpoint: dict, data: dict[str, str], options: argparse.Namespace) -> None:
    """Raise UserError if a run would go on with other songs; checkpoints of earlier versions do not tell theirs."""
    before = checkpoint["options"].get("data", data)
    for what in [*before, *data]:
        if before.get(what) != data.get(what):
            raise UserError(
                f"{run.last}: expected the {what} that the run was started with, found others: names, lengths or "
                f"shares differ in {options.dataset} or in the folders that options name"
            )
