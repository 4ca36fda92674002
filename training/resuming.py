"""Going on with a run that was stopped: its last checkpoint, and whether options and songs are still its own."""

import argparse
import hashlib
from collections.abc import Sequence

from process.errors import UserError
from songs.song import Song
from training.files import STATE, Run
from training.loop import Loader
from training.mixes import Mixes
from training.options import lasting
from util import load_checkpoint


def resumed_checkpoint(run: Run, options: argparse.Namespace) -> dict | None:
    """The checkpoint to continue from, None for a new run. Raises UserError if one run would harm another."""
    if not options.resume:
        existing = next((path for path in (run.last, run.best) if path.exists()), None)
        if existing and not options.overwrite:
            raise UserError(f"{existing}: a run is already there; expected --resume, --overwrite or another --output")
        return None
    checkpoint = load_checkpoint(run.last, run.name)
    if not {"options", "history", *STATE} <= checkpoint.keys():
        raise UserError(f"{run.last}: expected a checkpoint to resume from, found one with weights only")
    for name, value in lasting(options).items():
        if name != "data" and checkpoint["options"].get(name) != value:
            found = checkpoint["options"].get(name)
            raise UserError(f"{run.last}: the run was started with {name} = {found}, cannot continue with {value}")
    return checkpoint


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
                f"{run.last}: the run was started with other {what} than {options.dataset} and the options give now: "
                "expected the same names and lengths"
            )
