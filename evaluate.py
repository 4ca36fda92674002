"""Evaluate networks, or the estimates of any other program, with BSS_EVAL on a dataset's Test songs.

    python evaluate.py DATASET
    python evaluate.py DATASET --checkpoint savedModel_RNN_best.pt --estimates spleeter=FOLDER --page listen

Writes evaluation.csv (a row per song, source and system), evaluation.json (the summary), evaluation.md (the tables) and
pictures. The mixture and three ideal masks, made from the true sources, are evaluated alongside.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import sys
import time
from pathlib import Path

import process.start  # noqa: F401  (first, while nothing has been imported)

from Model import FeedforwardNetwork
from Model_RNN import BidirectionalNetwork, RecurrentNetwork
from networks.hearing import KEYS
from process.commandline import named_path, parser_from, renamed, typed
from process.cores import cores
from process.devices import choose_device
from process.errors import UserError, command
from process.locking import only_writer
from scoring.listening_page import write_page
from scoring.report import (
    code_version,
    draw_pictures,
    homework_line,
    learnt_remark,
    make_report,
    report_text,
    terminal_text,
    write_results,
)
from scoring.scores import COLUMNS, judge_songs
from scoring.summary import title
from scoring.systems import IDEAL_MASKS, Folder, IdealMask, Mixture, Network, System, load_once
from separation.separate import find_checkpoint
from songs.dataset import SPLITS, add_dataset_arguments, find_songs
from songs.song import Song
from util import AudioConfig

# ---------------------------------------------------------------------------------------------- systems


def make_systems(options: argparse.Namespace, songs: list[Song]) -> list[System]:
    """The mixture, the systems that the command line asks for, and the ideal masks."""
    device = str(choose_device(options.device))
    networks = []
    for name in (FeedforwardNetwork.name, RecurrentNetwork.name):
        path = getattr(options, name)
        if path and (found := load_once(path)[2]["name"]) != name:
            raise UserError(f"{path}: expected a network of the kind {name}, found {found}; --checkpoint takes any")
        if path or options.checkpoint is None:
            networks.append(Network(name, path or find_checkpoint(name), device=device))
    for text in options.checkpoint or []:
        name, path = named_path(text)
        networks.append(Network(name or load_once(path)[2]["name"].replace("_", " "), path, device=device))
    if options.bidirectional:
        recurrent = [network for network in networks if load_once(network.path)[0].remembers]
        if not recurrent:
            raise UserError("--bidirectional: expected a recurrent network, found none")
        causal = [network for network in recurrent if not load_once(network.path)[0].foresees]
        networks += [in_both_directions(network, options) for network in causal]
    if options.keys > 1:
        more = [(f"{network.name} {options.keys} keys", network) for network in networks]
        networks += [dataclasses.replace(network, name=name, keys=options.keys) for name, network in more]
    folders = []
    for text in options.estimates:
        name, path = named_path(text)
        folder = Folder.of(name or path.resolve().name, path, songs)
        folders.append(folder)
    if folders and not any(all(song.name in folder.found for folder in folders) for song in songs):
        names = " and ".join(str(folder.folder) for folder in folders)
        raise UserError(f"{names}: expected estimates of at least one song in common, found none")
    audio = networks[0].audio if networks else AudioConfig()
    systems: list[System] = [Mixture(), *networks, *folders, *(IdealMask(name, audio) for name in IDEAL_MASKS)]
    for name, count in collections.Counter(title(system.name) for system in systems).items():  # as people see them
        if count > 1:
            raise UserError(f"expected systems with different names, found {count} called '{name}': write NAME=PATH")
    return systems


def in_both_directions(network: Network, options: argparse.Namespace) -> Network:
    """What --bidirectional evaluates beside a recurrent network: that network in both directions or, if its checkpoint
    was not named, the best one for that."""
    named = options.RNN or options.checkpoint is not None
    path = network.path if named else find_checkpoint(BidirectionalNetwork.name, RecurrentNetwork.name)
    return dataclasses.replace(network, name=f"{network.name} bidirectional", path=path, bidirectional=True)


# ---------------------------------------------------------------------------------------------- command line


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_from(__doc__)
    add_dataset_arguments(parser)
    add = parser.add_argument
    default = "(default: the best one in the current folder, else the pretrained one)"
    add("--feedforward", type=Path, metavar="CHECKPOINT", help=f"evaluate this single-frame network {default}")
    add("--rnn", type=Path, metavar="CHECKPOINT", dest="RNN", help=f"evaluate this recurrent network {default}")
    checkpoint = "evaluate these networks, or none, instead of the two"
    add("--checkpoint", nargs="*", action="extend", metavar="[NAME=]FILE", help=checkpoint)
    bidirectional = "evaluate the bidirectional network, too; recurrent networks that --rnn or --checkpoint names are "
    bidirectional += "run in both directions instead"
    add("--bidirectional", action="store_true", help=bidirectional)
    keys = "evaluate networks a second time, with test-time augmentation in this many keys (default: %(default)s, none)"
    add("--tta", type=int, choices=KEYS, default=1, dest="keys", help=keys)
    renamed(parser, "--keys", "--tta")
    estimates = "evaluate estimates of the voice, in files named like the songs, in these folders"
    add("--estimates", nargs="+", action="extend", default=[], metavar="[NAME=]FOLDER", help=estimates)
    split = "evaluate on these songs (default: %(default)s; with --include-test, there are none in Test)"
    add("--split", choices=SPLITS, default="Test", help=split)
    output = "write tables, figures and pictures into this folder (default: %(default)s)"
    add("--output", type=Path, metavar="FOLDER", default=Path("evaluation"), help=output)
    add("--framewise", action="store_true", help="add the scores of BSS_EVAL v4, in frames of 1 s, as museval does")
    add("--check-with-mir-eval", action="store_true", help="compare SDR, SIR and SAR v3 sources with mir_eval's (slow)")
    page = "write a page for the browser into this folder, to compare all systems by ear"
    add("--page", type=Path, metavar="FOLDER", help=page)
    workers = "evaluate this many songs at a time, each in a process of its own (default here: %(default)s)"
    add("--workers", type=int, default=cores(), help=workers)
    device = "run the networks on cpu, cuda, mps, or the best available; scores are computed on the CPU "
    device += "(default: %(default)s)"
    add("--device", default="cpu", help=device)
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    options = parse_options(argv)
    with contextlib.ExitStack() as stack:
        folders = [folder for folder in (options.output, options.page) if folder]
        for folder in {os.path.realpath(folder): folder for folder in folders}.values():
            stack.enter_context(only_writer(folder))
        evaluate(options, typed("evaluate.py", argv))


def evaluate(options: argparse.Namespace, command_line: str) -> None:
    """Evaluate all systems and write the results, and with them the command line."""
    splits = find_songs(options.dataset, options.hold_out, options.include_test)
    songs = splits[options.split]
    if not songs:
        others = " and ".join(f"{len(own)} in {split}" for split, own in splits.items() if own)
        raise UserError(f"{options.dataset}: expected songs in {options.split}, found none, but {others} (--split)")
    systems = make_systems(options, songs)
    for system in systems:
        if isinstance(system, Network | Folder):
            print(f"{title(system.name)}: {system.headline}", file=sys.stderr)
        if isinstance(system, Folder):
            print(system.matches(songs), file=sys.stderr)
        if isinstance(system, Network) and (learnt := system.learnt(songs)):
            print(f"warning: {learnt_remark(title(system.name), learnt, len(songs))}", file=sys.stderr)

    started = time.perf_counter()
    workers = max(1, min(options.workers, len(songs)))
    wanted = {"framewise": options.framewise, "check": options.check_with_mir_eval, "page": options.page}
    results = judge_songs(songs, systems, workers, **wanted)
    rows = [row for own, _ in results for row in own]
    clock: collections.Counter[str] = sum((collections.Counter(clock) for _, clock in results), collections.Counter())
    report = {
        **make_report(options, songs, systems, rows),
        "seconds": {"altogether": time.perf_counter() - started, "processes": workers, **clock},
        "command": command_line,
        "commit": code_version(),
    }
    write_results(options.output, rows, report, report_text(report))
    pictures = draw_pictures(options.output, rows, songs, systems, report["data"].partition(":")[0])
    files = {"all tables": "evaluation.md", "per song": "evaluation.csv", "summary": "evaluation.json"}
    print(f"\n{terminal_text(report)}\n")
    print(", ".join(f"{what}: {options.output / name}" for what, name in files.items()))
    print("pictures: " + ", ".join(str(path) for path in pictures))
    if options.page:
        names, columns = [title(system.name) for system in systems], [name for name in rows[0] if name in COLUMNS]
        page = write_page(options.page, report["data"], report["protocol"], rows, names, columns)
        print(f"to listen: open {page} in a browser")
    print(homework_line(report))


if __name__ == "__main__":
    sys.exit(main())
