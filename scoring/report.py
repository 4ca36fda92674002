"""What an evaluation says: on the terminal, and in files: the summary as JSON, tables as Markdown, all scores as CSV,
pictures.
"""

import argparse
import collections
import csv
import dataclasses
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from pictures import plots
from process.checksums import checksum
from process.errors import UserError, named_together, whole_file
from scoring import scores, summary
from scoring.listening_page import excerpt
from scoring.scores import SOURCES
from scoring.systems import DISPLACED, IDEAL_MASKS, Mixture, Network, Recording, System
from songs.song import KaraokeClip, Song
from util import AudioConfig, stft

MAIN = "SDR v3 sources"
PROTOCOL = (
    "BSS_EVAL in dB, mono, two sources (voice; accompaniment = mixture - voice), whole songs at their own sample rate. "
    "v3 sources ignores distortion by filters of 512 taps; v3 images counts it as error (its SDR is the plain "
    "signal-to-noise ratio, its SIR and SAR are those of v3 sources); v2.1 ignores a gain only (its SDR is SI-SDR)."
)
FRAMEWISE_PROTOCOL = " v4, as in museval: images, in frames of 1 s with the whole song's filters; median of frames."
MIR1K_PROTOCOL = (
    "Sources mixed at equal energy (0 dB); means weighted by the clips' lengths; NSDR = SDR(estimate) - SDR(mixture)."
)
INTERVAL_PROTOCOL = "Intervals: 95 %, bootstrap over songs, taken as independent of each other."
NOTES = "the column 'note' of evaluation.csv"
HEADINGS = {"vocals": "Voice", "accompaniment": "Accompaniment"}


def make_report(options: argparse.Namespace, songs: list[Song], systems: list[System], rows: list[dict]) -> dict:
    """The summary of all rows, for evaluation.json and for `report_text`."""
    names = [system.name for system in systems]
    scored = {source: summary.values_of(rows, source, MAIN, names)[0].shape[1] for source in SOURCES}
    if not scored["vocals"]:
        reason = next(row["note"] for row in rows if row["source"] == "vocals" and np.isnan(row[MAIN]))
        raise UserError(f"{options.dataset}: expected a song that every system has a score for, found none: {reason}")
    minutes = sum(song.seconds for song in songs) / 60
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
        "adjusted estimates": len(
            {
                (row["song"], row["system"])
                for row in rows
                if row["note"].partition(DISPLACED)[0] and not np.isnan(row[MAIN])
            }
        ),
        "displaced estimates": [
            {"song": row["song"], "system": row["system"], "found": DISPLACED + row["note"].partition(DISPLACED)[2]}
            for row in rows
            if row["source"] == "vocals" and DISPLACED in row["note"]
        ],
        "protocol": PROTOCOL + (FRAMEWISE_PROTOCOL if options.framewise else ""),
        "systems": {system.name: system.description for system in systems},
        "trained on": {system.name: system.learnt(songs) for system in systems if isinstance(system, Network)},
        "checkpoints": {system.name: checksum(system.path) for system in systems if isinstance(system, Network)},
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
    """Where each score of v3 `sources` differs most from mir_eval's. Returns {score: {difference, song, ...}}."""
    found = {}
    for column in scores.MIR_EVAL_COLUMNS:
        own = column.replace("mir_eval", "v3 sources")
        compared = [row for row in rows if np.isfinite(row[own]) and np.isfinite(row[column])]
        if compared:
            worst = max(compared, key=lambda row: abs(row[own] - row[column]))
            place = {name: worst[name] for name in ("song", "source", "system")}
            found[own] = {"difference": abs(worst[own] - worst[column]), "rows compared": len(compared), **place}
    return found


def terminal_text(report: dict) -> str:
    """The voice's SDR of every system, what was not scored, and, if asked for, how far mir_eval's scores are."""
    parts = [f"{report['data']}\nSDR of the voice in dB, BSS_EVAL v3"]
    parts += [summary.short_table(report["scores"]["vocals"], MAIN), " ".join(_remarks(report))]
    return "\n\n".join(filter(None, [*parts, "\n".join(_mir_eval_lines(report))]))


def homework_line(report: dict) -> str:
    """The figures that the homework asks for, in one line."""

    def listed(names: list[str]) -> str:
        return ", ".join(f"{summary.title(name)} {summary.decibels(figures[name][MAIN]['mean'])}" for name in names)

    figures, songs = report["scores"]["vocals"], report["songs scored"]["vocals"]
    bounds, own = listed([Mixture.name, *list(IDEAL_MASKS)[:1]]), listed(judged(report["systems"]))
    means = f"{own} dB ({bounds})" if own else f"{bounds} dB"
    return f"mean SDR of the voice, BSS_EVAL v3, {songs} {'song' if songs == 1 else 'songs'}: {means}"


def judged(names: Iterable[str]) -> list[str]:
    """The systems that are neither the mixture nor an ideal mask."""
    return [name for name in names if name not in (Mixture.name, *IDEAL_MASKS)]


def report_text(report: dict) -> str:
    """The report as Markdown."""
    counts = " ".join([_scored(report), *_remarks(report)])
    parts = [f"# {report['data']}", report["protocol"] + " " + INTERVAL_PROTOCOL, counts]
    own = judged(report["systems"])
    for source, scored in report["scores"].items():
        parts += [f"## {HEADINGS[source]}", summary.score_table(scored, MAIN)]
        pairs = [pair for pair in report["differences"][source] if pair["system"] in own and pair["minus"] in own]
        if source == "vocals" and pairs:
            parts += ["Differences, song by song:", summary.difference_table(pairs, MAIN)]
    if "MIR-1K" in report:
        parts += ["## Voice, figures of MIR-1K", report["MIR-1K protocol"], summary.mir1k_table(report["MIR-1K"])]
    return "\n\n".join([*parts, *_mir_eval_lines(report)])


def _mir_eval_lines(report: dict) -> list[str]:
    lines = []
    for column, worst in report.get("largest difference from mir_eval", {}).items():
        place = f"{worst['song']}, {worst['source']}, {summary.title(worst['system'])}"
        lines.append(f"{column}: at most {worst['difference']:.1e} dB from mir_eval's ({place})")
    return lines


def _scored(report: dict) -> str:
    """Which songs the figures describe."""
    scored = ", ".join(f"{source} of {number} songs" for source, number in report["songs scored"].items())
    return f"Scored: {scored}. Only songs with a score from every system count, so all figures describe the same songs."


def learnt_remark(system: str, learnt: Sequence[str], songs: int) -> str:
    """What is to be thought of the scores of a system that was trained on some of the songs."""
    which = "on these songs" if len(learnt) == songs else f"on {len(learnt)} of these songs, such as {learnt[0]}"
    return f"{system} was trained {which}, so its scores do not show how good it is on others."


def _remarks(report: dict) -> list[str]:
    """Why songs are missing, and what was odd about estimates: a sentence for each kind."""
    left_out = collections.defaultdict(list)  # (song, source, reason) -> systems
    for row in report["not scored"]:
        left_out[row["song"], row["source"], row["reason"]].append(row["system"])
    kinds: collections.Counter[tuple[str, str]] = collections.Counter()
    for (_, source, reason), systems in left_out.items():
        everywhere = len(systems) == len(report["systems"])
        if ": " in reason:  # an error's text, about one file
            reason = "song unreadable" if everywhere else "estimate missing, unreadable or of the wrong length"
        kinds[source, reason if everywhere else f"{reason} ({', '.join(map(summary.title, systems))})"] += 1
    remarks = [f"Not scored: {source} of {count}, {reason}." for (source, reason), count in sorted(kinds.items())]
    for system, learnt in report["trained on"].items():
        if learnt:
            remarks.append(learnt_remark(summary.title(system), learnt, report["songs"]))
    if report["adjusted estimates"]:
        remarks.append(f"{report['adjusted estimates']} estimates had another sample rate or length: see {NOTES}.")
    displaced: dict[str, list[dict]] = collections.defaultdict(list)
    for estimate in report["displaced estimates"]:
        displaced[estimate["system"]].append(estimate)
    for system, own in displaced.items():
        example = f"{own[0]['found']} ({own[0]['song']})"
        remarks.append(f"{system}, {len(own)} songs: {example}, which counts as an error: see {NOTES}.")
    return remarks


def code_version() -> str | None:
    """The commit of the code, None outside of a git checkout, or inside one of something else."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        described = [*git, "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(described, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_results(folder: Path, rows: list[dict], report: dict, text: str) -> None:
    """Write all tables, or none beside those of an earlier evaluation."""
    summary_text = json.dumps(_plain(report), indent=2, ensure_ascii=False) + "\n"
    with named_together() as waiting:
        with (
            whole_file(folder / "evaluation.csv", waiting) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            for row in rows:
                writer.writerow(
                    {name: f"{value:.4f}" if isinstance(value, float) else value for name, value in row.items()}
                )
        for name, content in (("evaluation.json", summary_text), ("evaluation.md", text + "\n")):
            with whole_file(folder / name, waiting) as temporary:
                temporary.write_text(content, encoding="utf-8")


def _plain(value):
    """For JSON, which has neither nan (here null) nor infinity (here "inf"). Figures get 6 digits."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if np.isnan(value) else str(value) if np.isinf(value) else float(f"{value:.6g}")
    return value


# ---------------------------------------------------------------------------------------------- pictures

BOXES, BY_LEVEL = "sdr_boxes.png", "sdr_by_level.png"
SPECTROGRAMS = {place: f"spectrograms_{place}.png" for place in ("worst", "median", "best")}
PICTURES = (BOXES, BY_LEVEL, *SPECTROGRAMS.values())
ALL_THE_SAME = 0.1  # dB: no picture for levels closer than this, as in MIR-1K
SPECTROGRAM = AudioConfig(block=2048, hop=512, window="hann")  # at the song's rate


def draw_pictures(folder: Path, rows: list[dict], songs: list[Song], systems: list[System], data: str) -> list[Path]:
    """Draw the voice's SDR as boxes and against the voice's level, and spectrograms of three songs. Returns the files.

    The songs are the best, the median and the worst of the last system that is neither mixture nor ideal mask (if any),
    each where its voice is loudest.
    """
    for name in PICTURES:  # of an earlier evaluation
        (folder / name).unlink(missing_ok=True)
    names = [system.name for system in systems]
    voices = [row for row in rows if row["source"] == "vocals"]
    by_song = {song.name: [row for row in voices if row["song"] == song.name] for song in songs}
    scored = {name: own for name, own in by_song.items() if not np.isnan([row[MAIN] for row in own]).any()}
    table = dict(zip(names, np.array([[row[MAIN] for row in own] for own in scored.values()]).T, strict=True))
    levels = np.array([own[0]["voice to accompaniment"] for own in scored.values()])
    label, title = f"{MAIN} of the voice in dB", f"{data}: {len(scored)} songs"

    paths = [folder / BOXES]
    shown = {summary.title(name): own for name, own in table.items()}
    plots.plot_boxes(paths[0], shown, label, title)
    if np.nanmax(levels, initial=-np.inf) - np.nanmin(levels, initial=np.inf) > ALL_THE_SAME:
        paths.append(folder / BY_LEVEL)
        plots.plot_by_level(paths[-1], levels, shown, label, title)
    if own := judged(names):
        system, order = systems[names.index(own[-1])], np.argsort(table[own[-1]], kind="stable")
        places = {"worst": order[0], "median": order[len(order) // 2], "best": order[-1]}
        for place, index in places.items():
            paths.append(folder / SPECTROGRAMS[place])
            song = next(song for song in songs if song.name == list(scored)[index])
            title = f"{song.name}, {place} of {summary.title(system.name)}: {MAIN} {table[system.name][index]:.2f} dB"
            _draw_spectrograms(paths[-1], song, system, title)
    return paths


def _draw_spectrograms(path: Path, song: Song, system: System, title: str) -> None:
    recording = Recording(song, *song.read())
    piece = excerpt(recording.vocals, song.rate)
    mixture, voice, estimate = (
        recording.mixture[piece],
        recording.vocals[piece],
        system.estimate(recording)[0][0, piece],
    )
    signals = {"mixture": mixture, "voice": voice, "estimate": estimate, "error: estimate - voice": estimate - voice}
    audio = dataclasses.replace(SPECTROGRAM, sample_rate=song.rate)
    spectrograms = {name: stft(torch.from_numpy(signal), audio).abs().numpy() for name, signal in signals.items()}
    plots.plot_spectrograms(path, spectrograms, audio, title)
