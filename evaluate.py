"""Judge both networks on a dataset's Test songs with BSS_EVAL SDR, beside the mixture and the ideal ratio mask.

    python evaluate.py DATASET
    python evaluate.py MIR-1K --feedforward savedModel_feedforward_best.pt --rnn savedModel_RNN_best.pt --output results

Writes evaluation.csv (a row per song and system), evaluation.json (the summary) and evaluation.md (the table).
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from bss_eval import bss_eval_gain, bss_eval_sources
from errors import UserError, command, make_folder, whole_file
from layouts import SPLITS, add_dataset_arguments, find_songs
from Model import FeedforwardNetwork
from Model_RNN import RecurrentNetwork
from separation import describe, find_checkpoint, separate
from songs import KaraokeClip, Song
from util import AudioConfig, load_network, resample, stft

MIXTURE, ORACLE = "mixture", "ideal ratio mask"
SDR_PROTOCOL = (
    "SDR of BSS_EVAL v3 (512-tap filters), mono, voice as the single source, whole songs at their own rate; the ideal "
    "ratio mask has the first network's rate, block and hop"
)
MIR1K_PROTOCOL = (
    "MIR-1K: sources of equal energy (0 dB), NSDR = SDR(estimate) - SDR(mixture), means weighted by length, "
    "v2.1 allows a gain, v3 a 512-tap filter"
)


class IdealRatioMask(torch.nn.Module):
    """The mask |V| / (|V| + |A|) from the true sources, called like a network; its state counts the frames it has seen.

    What the networks could reach if they knew the sources: the bound of masking with the mixture's phase.
    """

    def __init__(self, mixture: np.ndarray, vocals: np.ndarray, rate: int, audio: AudioConfig):
        super().__init__()
        sources = resample(np.stack([vocals, mixture - vocals]), rate, audio.sample_rate)  # (2, samples)
        voice, accompaniment = stft(torch.from_numpy(sources), audio).abs()  # each (frames, bins)
        self.mask = voice / (voice + accompaniment + 1e-12)

    def forward(self, magnitude: torch.Tensor, state: int | None = None) -> tuple[torch.Tensor, int]:
        start = state or 0
        end = start + magnitude.shape[1]
        return self.mask[None, start:end], end


def judge_song(song: Song, networks: dict[str, tuple[torch.nn.Module, AudioConfig]]) -> list[dict]:
    """Score every system on a song. Returns a row (name of column -> value) per system."""
    mixture, vocals = song.read()  # each (samples,)
    oracle_audio = next(iter(networks.values()))[1]
    oracle = (IdealRatioMask(mixture, vocals, song.rate, oracle_audio), oracle_audio)
    rows = []
    for system, separator in {MIXTURE: None, **networks, ORACLE: oracle}.items():
        estimate = mixture
        if separator is not None:
            network, audio = separator
            estimate = separate(network, mixture[None], song.rate, audio)[0]
        row = {"song": song.name, "seconds": round(song.samples / song.rate, 3), "system": system}
        if isinstance(song, KaraokeClip):
            references = np.stack([vocals, mixture - vocals])
            row["SDR"], row["SIR"], row["SAR"] = bss_eval_sources(references, estimate)
            row["SDR v2.1"], row["SIR v2.1"], row["SAR v2.1"] = bss_eval_gain(references, estimate)
        else:
            row["SDR"], _, _ = bss_eval_sources(vocals[None], estimate)
        rows.append(row)
    return rows


# ---------------------------------------------------------------------------------------------- songs in parallel

_networks: dict[str, tuple[torch.nn.Module, AudioConfig]] = {}  # of this worker process


def _start_worker(paths: dict[str, Path]) -> None:
    torch.set_num_threads(1)  # the processes share the cores
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    for network_class in (FeedforwardNetwork, RecurrentNetwork):
        if network_class.name in paths:
            network, audio, _ = load_network(paths[network_class.name], network_class)
            _networks[network_class.name] = (network, audio)


def _judge(song: Song) -> list[dict]:
    return judge_song(song, _networks)


def judge_songs(songs: list[Song], paths: dict[str, Path], workers: int) -> Iterator[list[dict]]:
    """Score songs in parallel processes, in the order given."""
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (paths,)) as pool:
        yield from tqdm(pool.map(_judge, songs), "evaluating", len(songs), file=sys.stderr, disable=None, unit="song")


# ---------------------------------------------------------------------------------------------- summary


def summarise(rows: list[dict], systems: list[str]) -> dict[str, dict[str, float]]:
    """Mean and median SDR over songs, and MIR-1K's figures where the rows have them. Returns {system: {name: dB}}."""
    by_system = {system: [row for row in rows if row["system"] == system] for system in systems}
    summary = {}
    for system, own in by_system.items():
        sdr = [row["SDR"] for row in own]
        figures = {"mean SDR": np.mean(sdr), "median SDR": np.median(sdr)}
        if "SDR v2.1" in own[0]:
            seconds = [row["seconds"] for row in own]
            for version in (" v2.1", ""):
                for figure in ("SDR", "SIR", "SAR"):
                    values = np.array([row[figure + version] for row in own])
                    if figure == "SDR":
                        values = values - np.array([row["SDR" + version] for row in by_system[MIXTURE]])
                    name = {"SDR": "GNSDR", "SIR": "GSIR", "SAR": "GSAR"}[figure]
                    figures[name + (version or " v3")] = np.average(values, weights=seconds)
        summary[system] = {name: round(float(value), 3) for name, value in figures.items()}
    return summary


def table(summary: dict[str, dict[str, float]]) -> str:
    """The summary as a Markdown table, all figures in dB."""
    columns = list(next(iter(summary.values())))
    lines = ["| system | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for system, figures in summary.items():
        lines.append(f"| {system} | " + " | ".join(f"{figures[column]:.2f}" for column in columns) + " |")
    return "\n".join(lines)


def code_version() -> str | None:
    """The commit of the code, where it lies in a git checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_results(folder: Path, rows: list[dict], report: dict, text: str) -> None:
    with whole_file(folder / "evaluation.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {name: f"{value:.4f}" if isinstance(value, float) else value for name, value in row.items()}
            )
    with whole_file(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")
    with whole_file(folder / "evaluation.md") as temporary:
        temporary.write_text(text + "\n")


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Judge both networks with BSS_EVAL SDR.")
    add_dataset_arguments(parser)
    default = "default: the best one in the current folder, else pretrained"
    parser.add_argument("--feedforward", type=Path, metavar="CHECKPOINT", help=default)
    parser.add_argument("--rnn", type=Path, metavar="CHECKPOINT", dest="RNN", help=default)
    parser.add_argument("--split", choices=SPLITS, default="Test", help="which songs (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", default=Path("evaluation"), help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (%(default)s)")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    options = parse_options(argv)
    songs = find_songs(options.dataset, options.hold_out, options.include_test)[options.split]
    if not songs:
        raise UserError(f"{options.dataset}: expected songs in {options.split}, found none")
    paths, checkpoints = {}, {}
    for network_class in (FeedforwardNetwork, RecurrentNetwork):
        name = network_class.name
        paths[name] = getattr(options, name) or find_checkpoint(name)
        _, _, checkpoint = load_network(paths[name], network_class)
        checkpoints[name] = describe(paths[name], checkpoint)
        print(checkpoints[name], file=sys.stderr)

    make_folder(options.output)
    rows = [row for rows in judge_songs(songs, paths, max(1, min(options.workers, len(songs)))) for row in rows]
    silent = {
        row["song"] for row in rows if np.isnan(row["SDR"])
    }  # left out for all systems, that they stay comparable
    scored = [row for row in rows if row["song"] not in silent]
    if not scored:
        raise UserError(f"{options.dataset}: expected voices to judge, found silence in all {len(songs)} songs")
    summary = summarise(scored, [MIXTURE, *paths, ORACLE])
    minutes = sum(song.samples / song.rate for song in songs) / 60
    data = f"{Path(options.dataset).resolve().name}, {options.split}: {len(songs)} songs, {minutes:.1f} minutes"
    data += f", {len(silent)} not scored for a silent voice or estimate" if silent else ""
    protocol = SDR_PROTOCOL + (f"; {MIR1K_PROTOCOL}" if isinstance(songs[0], KaraokeClip) else "")
    report = {
        "data": data,
        "songs": len(songs),
        "songs not scored": sorted(silent),
        "protocol": protocol,
        "checkpoints": checkpoints,
        "command": " ".join(["evaluate.py", *(sys.argv[1:] if argv is None else argv)]),
        "commit": code_version(),
        "systems": summary,
    }
    text = f"{data}\n{protocol}\n\n{table(summary)}"
    write_results(options.output, rows, report, text)
    print(f"\n{text}\n\nper song: {options.output / 'evaluation.csv'}, summary: {options.output / 'evaluation.json'}")


if __name__ == "__main__":
    sys.exit(main())
