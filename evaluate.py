"""Judge networks, or the estimates of any other program, on a dataset's Test songs with BSS_EVAL.

    python evaluate.py DATASET
    python evaluate.py DATASET --checkpoint savedModel_RNN_best.pt --estimates spleeter=FOLDER --page listen

Writes evaluation.csv (a row per song, source and system), evaluation.json (the summary), evaluation.md (the tables) and
pictures; beside the systems stand the mixture and three masks that know the true sources.
"""

import argparse
import collections
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import scores
import summary
from errors import UserError, command, make_folder, whole_file
from scores import SOURCES, judge_songs
from separation import find_checkpoint
from songs import SPLITS, KaraokeClip, Song, add_dataset_arguments, find_songs
from systems import IDEAL_MASKS, NETWORKS, Folder, IdealMask, Mixture, Network, System, load_any_network
from util import AudioConfig

MAIN = "SDR v3 sources"
PROTOCOL = (
    "BSS_EVAL in dB, mono, two sources (voice; accompaniment = mixture - voice), whole songs at their own rate. "
    "v3 sources: filters of 512 taps are forgiven; v3 images: they are errors (SDR is the plain signal-to-noise ratio; "
    "SIR and SAR as in v3 sources); v2.1: a gain is forgiven (SDR is SI-SDR)."
)
FRAMEWISE_PROTOCOL = " v4 as in museval: images in frames of 1 s with the whole song's filters, median of frames."
MIR1K_PROTOCOL = (
    "Sources of equal energy (0 dB), means weighted by the clips' lengths, NSDR = SDR(estimate) - SDR(mixture)."
)
INTERVAL_PROTOCOL = "Intervals: 95 %, bootstrap over songs, as if they had nothing to do with each other."
HEADINGS = {"vocals": "Voice", "accompaniment": "Accompaniment"}


# ---------------------------------------------------------------------------------------------- what is judged


def make_systems(options: argparse.Namespace, songs: list[Song]) -> list[System]:
    """The systems that the command line asks for, between the mixture and the ideal masks."""
    networks = []
    for name in NETWORKS:
        path = getattr(options, name)
        if path or options.checkpoint is None:
            networks.append(Network(name, path or find_checkpoint(name)))
    for text in options.checkpoint or []:
        name, path = _named(text)
        networks.append(Network(name or load_any_network(path)[2]["name"], path))
    folders = []
    for text in options.estimates:
        name, path = _named(text)
        folder = Folder(name or path.resolve().name, path)
        if not path.is_dir():
            raise UserError(f"{path}: no such folder of estimates")
        if not any(folder.paths(song)[0] for song in songs):
            raise UserError(f"{path}: expected estimates named like the songs ('{songs[0].name}.wav'), found none")
        folders.append(folder)
    audio = networks[0].audio if networks else AudioConfig()
    systems = [Mixture(), *networks, *folders, *(IdealMask(name, audio) for name in IDEAL_MASKS)]
    for name, count in collections.Counter(system.name for system in systems).items():
        if count > 1:
            raise UserError(f"expected systems of different names, found {count} called '{name}': write NAME=PATH")
    return systems


def _named(text: str) -> tuple[str, Path]:
    """'NAME=PATH' or 'PATH' -> (name or '', path)."""
    name, separator, path = text.partition("=")
    return (name, Path(path)) if separator and not Path(text).exists() else ("", Path(text))


# ---------------------------------------------------------------------------------------------- what came out


def make_report(options: argparse.Namespace, songs: list[Song], systems: list[System], rows: list[dict]) -> dict:
    """The summary of all rows, for evaluation.json and for `report_text`."""
    names = [system.name for system in systems]
    scored = {source: summary.values_of(rows, source, MAIN, names)[0].shape[1] for source in SOURCES}
    if not scored["vocals"]:
        reason = next(row["note"] for row in rows if np.isnan(row[MAIN]))
        raise UserError(f"{options.dataset}: expected voices to judge, no song has a score for every system: {reason}")
    minutes = sum(song.samples / song.rate for song in songs) / 60
    columns = [name for name in rows[0] if name in scores.COLUMNS]
    report = {
        "data": f"{Path(options.dataset).resolve().name}, {options.split}: {len(songs)} songs, {minutes:.1f} minutes",
        "songs": len(songs),
        "songs scored": scored,
        "not scored": [
            {"song": row["song"], "source": row["source"], "system": row["system"], "reason": row["note"]}
            for row in rows
            if np.isnan(row[MAIN])
        ],
        "adjusted estimates": sum(bool(row["note"]) and not np.isnan(row[MAIN]) for row in rows),
        "protocol": PROTOCOL + (FRAMEWISE_PROTOCOL if options.framewise else ""),
        "systems": {system.name: system.description for system in systems},
        "scores": {source: summary.summarise(rows, names, columns, source) for source in SOURCES if scored[source]},
        "differences": {source: summary.differences(rows, names, MAIN, source) for source in SOURCES},
    }
    if isinstance(songs[0], KaraokeClip):
        report["MIR-1K protocol"] = MIR1K_PROTOCOL
        report["MIR-1K"] = summary.mir1k_figures(rows, names, Mixture.name)
    if options.check_with_mir_eval:
        report["largest difference from mir_eval"] = mir_eval_check(rows)
    return report


def mir_eval_check(rows: list[dict]) -> dict[str, dict]:
    """Where each score of v3 `sources` is farthest from mir_eval's. Returns {score: {dB, song, source, system}}."""
    found = {}
    for column in scores.MIR_EVAL_COLUMNS:
        own = column.replace("mir_eval", "v3 sources")
        compared = [row for row in rows if np.isfinite(row[own]) and np.isfinite(row[column])]
        if compared:
            worst = max(compared, key=lambda row: abs(row[own] - row[column]))
            place = {name: worst[name] for name in ("song", "source", "system")}
            found[own] = {"difference": abs(worst[own] - worst[column]), "rows compared": len(compared), **place}
    return found


def report_text(report: dict) -> str:
    """The report as Markdown."""
    parts = [f"# {report['data']}", report["protocol"] + " " + INTERVAL_PROTOCOL, _counts(report)]
    for source, own in report["scores"].items():
        parts += [f"## {HEADINGS[source]}", summary.score_table(own, MAIN)]
        pairs = report["differences"][source]
        if source == "vocals" and pairs:
            bounds = {Mixture.name, *IDEAL_MASKS}
            judged = [pair for pair in pairs if not {pair["system"], pair["minus"]} <= bounds]
            parts += ["Differences, song by song:", summary.difference_table(judged or pairs, MAIN)]
    if "MIR-1K" in report:
        parts += ["## Voice, figures of MIR-1K", report["MIR-1K protocol"], summary.mir1k_table(report["MIR-1K"])]
    for own, worst in report.get("largest difference from mir_eval", {}).items():
        place = f"{worst['song']}, {worst['source']}, {worst['system']}"
        parts.append(f"{own}: at most {worst['difference']:.1e} dB from mir_eval's ({place})")
    return "\n\n".join(parts)


def _counts(report: dict) -> str:
    """Which songs the figures are about, and why others are not among them."""
    scored = ", ".join(f"{source} of {number} songs" for source, number in report["songs scored"].items())
    text = f"Scored: {scored}; only songs where every system has a score, so that all figures are about the same ones."
    left_out = collections.defaultdict(list)  # (song, source, reason) -> systems
    for row in report["not scored"]:
        left_out[row["song"], row["source"], row["reason"]].append(row["system"])
    kinds = collections.Counter()
    for (_, source, reason), systems in left_out.items():
        everywhere = len(systems) == len(report["systems"])
        if ": " in reason:  # an error's text, about one file
            reason = "song unreadable" if everywhere else "estimate missing, unreadable or of another length"
        kinds[source, reason if everywhere else f"{reason} ({', '.join(systems)})"] += 1
    text += "".join(f" Not scored: {source} of {count}, {reason}." for (source, reason), count in sorted(kinds.items()))
    if report["adjusted estimates"]:
        text += f" {report['adjusted estimates']} estimates had another rate or length: see their note."
    return text


def code_version() -> str | None:
    """The commit of the code, where it lies in a git checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_results(folder: Path, rows: list[dict], report: dict, text: str) -> None:
    with whole_file(folder / "evaluation.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {name: f"{value:.4f}" if isinstance(value, float) else value for name, value in row.items()}
            )
    with whole_file(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(_plain(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with whole_file(folder / "evaluation.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(value):
    """For JSON, which has neither nan (null here) nor infinity ("inf"); 6 digits of figures."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if np.isnan(value) else str(value) if np.isinf(value) else float(f"{value:.6g}")
    return value


# ---------------------------------------------------------------------------------------------- command line


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Judge networks and the estimates of other programs with BSS_EVAL.")
    add_dataset_arguments(parser)
    default = "default: the best one in the current folder, else pretrained"
    parser.add_argument("--feedforward", type=Path, metavar="CHECKPOINT", help=default)
    parser.add_argument("--rnn", type=Path, metavar="CHECKPOINT", dest="RNN", help=default)
    parser.add_argument(
        "--checkpoint", nargs="*", metavar="[NAME=]FILE", help="judge these networks (or none) instead of the two"
    )
    parser.add_argument(
        "--estimates", nargs="+", default=[], metavar="[NAME=]FOLDER", help="judge voices in files named like the songs"
    )
    parser.add_argument("--split", choices=SPLITS, default="Test", help="which songs (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", default=Path("evaluation"), help="(%(default)s)")
    parser.add_argument("--framewise", action="store_true", help="also v4: scores in frames of 1 s, like museval's")
    parser.add_argument("--check-with-mir-eval", action="store_true", help="compare with mir_eval's scores (slow)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (%(default)s)")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    options = parse_options(argv)
    songs = find_songs(options.dataset, options.hold_out, options.include_test)[options.split]
    if not songs:
        raise UserError(f"{options.dataset}: expected songs in {options.split}, found none")
    systems = make_systems(options, songs)
    for system in systems:
        if isinstance(system, Network | Folder):
            print(f"{system.name}: {system.description}", file=sys.stderr)
    make_folder(options.output)

    started = time.perf_counter()
    workers = max(1, min(options.workers, len(songs)))
    results = judge_songs(songs, systems, workers, framewise=options.framewise, check=options.check_with_mir_eval)
    rows = [row for own, _ in results for row in own]
    clock = sum((collections.Counter(clock) for _, clock in results), collections.Counter())
    report = {
        **make_report(options, songs, systems, rows),
        "seconds": {"altogether": time.perf_counter() - started, "processes": workers, **clock},
        "command": " ".join(["evaluate.py", *(sys.argv[1:] if argv is None else argv)]),
        "commit": code_version(),
    }
    text = report_text(report)
    write_results(options.output, rows, report, text)
    print(f"\n{text}\n\nper song: {options.output / 'evaluation.csv'}, summary: {options.output / 'evaluation.json'}")


if __name__ == "__main__":
    sys.exit(main())
