r"""Measure where the networks err, and what phase and block size cost: figures for the report's discussion.

    python report/measures/discussion.py MIR-1K --include-test --hold-out bug ariel \
      --output results/discussion/held_out_singers
    python report/measures/discussion.py SONGS --output results/discussion/songs

Writes measures.json. All songs are mono, at the networks' sample rate, with every voice at the same level.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np
import torch
from tqdm import tqdm

from process.commandline import parser_from, typed
from process.errors import command, make_folder, whole_file
from report.measures.facts import chosen_songs
from report.measures.leakage import (
    FRAME,
    IDEAL,
    REST,
    VOICED,
    Groups,
    Mask,
    decibels,
    drums_apart,
    energy,
    ideal_ratio_mask,
    let_through,
    plain,
    read_sources,
    reverberation,
    sdr,
    with_true_phase,
)
from report.measures.measured_networks import NETWORKS, add_network_arguments, load_networks
from scoring.report import code_version
from scoring.summary import bootstrap
from separation.separate import find_checkpoint, separate
from songs.dataset import add_dataset_arguments
from songs.song import Song
from sound.resampling import resample
from util import AudioConfig, load_network

BLOCKS = (512, 1024, 2048, 4096, 8192)  # samples
OVERLAPS = (2, 4)  # block / hop: that of the course, and of the pretrained networks
ROOMS = (0.3, 1.0)  # seconds of reverberation
RATIOS = (-10, 0, 10)  # dB, voice to accompaniment
SECOND_VOICE = -6.0  # dB, relative to the first voice
PROTOCOL = (
    f"Mono, at the networks' sample rate, every voice at the same RMS. Frames of {1000 * FRAME:g} ms; rest: the voice "
    f"is more than {-REST:g} dB below its loud frames; voiced: autocorrelation above {VOICED}. SDR is the plain "
    "signal-to-noise ratio, pooled over songs; intervals: 95 %, songs drawn with replacement. Lost voice: what the "
    "mask removes from the voice. Leak: what it lets through of the accompaniment."
)


# ---------------------------------------------------------------------------------------------- measurements


def where(songs: list[Song], masks: dict[str, Mask], audio: AudioConfig) -> dict:
    """Measure SDR, lost voice and leak by kind of frame, by band and by voice-to-accompaniment ratio."""
    groups = {name: Groups() for name in masks}
    for song in tqdm(songs, "frames and bands", disable=None):
        sources = read_sources(song, audio.sample_rate)
        for name, mask in masks.items():
            groups[name].add(sources, let_through(mask, sources, audio), audio.sample_rate)
    first = next(iter(groups))
    return {name: own.summary(None if name == first else groups[first]) for name, own in groups.items()}


def kinds(songs: list[Song], masks: dict[str, Mask], audio: AudioConfig) -> dict:
    """Measure what masks let through of tones, drums, a second voice and a room, and the SDR at other voice levels."""
    rate = audio.sample_rate
    found: dict[str, dict[str, dict[str, list]]] = {name: {} for name in masks}
    for index, song in enumerate(tqdm(songs, "kinds of sound", disable=None)):
        voice, accompaniment = read_sources(song, rate)
        tones, drums = drums_apart(accompaniment, rate)
        second = np.resize(read_sources(songs[(index + len(songs) // 2) % len(songs)], rate)[0], len(voice))
        louder = np.float32(np.sqrt(2)) * accompaniment  # by as much as the room amplifies the voice
        trials = {  # name -> sources, and how many of them are the voice
            "kinds": ({"voice": voice, "tones": tones, "drums": drums}, 1),
            "two voices": ({"first": voice, "second": second * 10 ** (SECOND_VOICE / 20), "others": accompaniment}, 1),
        }
        for seconds in ROOMS:
            tail = reverberation(voice, rate, seconds)
            trials[f"room of {seconds} s"] = ({"direct": voice, "tail": tail, "others": louder}, 2)
        for ratio in RATIOS:
            trials[f"voice at {ratio} dB"] = ({"voice": voice, "others": at_ratio(voice, accompaniment, ratio)}, 1)
        for name, mask in masks.items():
            for trial, (signals, voices) in trials.items():
                sources = np.stack(list(signals.values())).astype(np.float32)
                through = let_through(mask, sources, audio)
                own = found[name].setdefault(trial, {})
                for what, before, after in zip(signals, sources, through, strict=True):
                    own.setdefault(f"{what} through", []).append([energy(after), energy(before)])
                own.setdefault("SDR", []).append(sdr(sources[:voices].sum(axis=0), through.sum(axis=0)))
    return {
        name: {trial: {what: _mean(values) for what, values in own.items()} for trial, own in trials.items()}
        for name, trials in found.items()
    }


def at_ratio(voice: np.ndarray, accompaniment: np.ndarray, ratio: float) -> np.ndarray:
    """Scale the accompaniment so that the voice is `ratio` dB above it."""
    return accompaniment * np.sqrt(energy(voice) / max(energy(accompaniment), 1e-20)) * 10 ** (-ratio / 20)


def _mean(values: list) -> dict:
    """The mean of SDRs, or the pooled ratio in dB of energies [through, before], with its interval over songs."""
    table = np.array(values)
    if table.ndim == 1:
        return {"mean": table.mean(), "interval": bootstrap(table[None])[0].tolist()}
    draws = np.random.default_rng(0).integers(0, len(table), (2000, len(table)))
    ratios = 10 * np.log10(table[draws].sum(axis=1)[:, 0] / np.maximum(table[draws].sum(axis=1)[:, 1], 1e-20))
    return {"mean": decibels(*table.sum(axis=0)), "interval": np.percentile(ratios, [2.5, 97.5]).tolist()}


def blocks(songs: list[Song], rate: int) -> list[dict]:
    """Measure the SDR, mean over songs, of ideal masks with other blocks and hops."""
    rows = []
    for block in tqdm(BLOCKS, "blocks", disable=None):
        for audio in (AudioConfig(rate, block, block // overlap) for overlap in OVERLAPS):
            scores: dict[str, list[float]] = {name: [] for name in IDEAL}
            for song in songs:
                sources = read_sources(song, rate)
                for name, own in scores.items():
                    own.append(sdr(sources[0], let_through(IDEAL[name], sources, audio).sum(axis=0)))
            for name, own in scores.items():
                rows.append({"block": block, "hop": audio.hop, "mask": name, "SDR": _mean(own)})
    return rows


def phase(songs: list[Song], masks: dict[str, Mask], audio: AudioConfig) -> dict:
    """Measure the SDR, mean over songs, of each mask with the mixture's phase and with the true voice's."""
    scores: dict[str, dict[str, list[float]]] = {name: {"mixture's phase": [], "true phase": []} for name in masks}
    for song in tqdm(songs, "phase", disable=None):
        sources = read_sources(song, audio.sample_rate)
        for name, mask in masks.items():
            estimate = let_through(mask, sources, audio).sum(axis=0)
            scores[name]["mixture's phase"].append(sdr(sources[0], estimate))
            scores[name]["true phase"].append(sdr(sources[0], with_true_phase(mask, sources, audio)))
    return {name: {which: _mean(values) for which, values in own.items()} for name, own in scores.items()}


def above_band(songs: list[Song], files: dict[str, Path], audio: AudioConfig) -> list[dict]:
    """Measure, song by song and at the song's rate, what the part above the network's band is worth.

    The SDR of a true voice without that part; for each network the SDR of its estimate without and with that part, and
    how much of that part of the accompaniment passes, in dB.
    """
    networks = {name: load_network(file, NETWORKS[name])[0] for name, file in files.items()}
    rows = []
    for song in songs:
        mixture, voice = song.read()
        accompaniment = mixture - voice
        loud = energy(accompaniment - within_band(accompaniment, song.rate, audio))
        row: dict[str, Any] = {"song": song.name, "SDR without it": sdr(voice, within_band(voice, song.rate, audio))}
        for name, network in networks.items():
            estimate = separate(network, mixture[None], song.rate, audio)[0]
            leak = separate(network, accompaniment[None], song.rate, audio)[0]
            row[name] = {
                "SDR without it": sdr(voice, within_band(estimate, song.rate, audio)),
                "SDR": sdr(voice, estimate),
                "accompaniment through": decibels(energy(leak - within_band(leak, song.rate, audio)), loud),
            }
        rows.append(row)
    return rows


def within_band(sound: np.ndarray, rate: int, audio: AudioConfig) -> np.ndarray:
    """Sound (samples,) after resampling to the network's rate and back."""
    there_and_back = resample(resample(sound[None], rate, audio.sample_rate), audio.sample_rate, rate)[0, : len(sound)]
    return np.pad(there_and_back, (0, len(sound) - len(there_and_back)))


# ---------------------------------------------------------------------------------------------- command line


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    add_dataset_arguments(parser)
    add_network_arguments(parser)
    output = "write measures.json into this folder (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("discussion"), metavar="FOLDER", help=output)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    songs = chosen_songs(options)[:: options.every]
    files = {name: getattr(options, name) or find_checkpoint(name) for name in NETWORKS}
    masks, audio, facts = load_networks(files)
    all_masks = masks | {"ideal ratio mask": ideal_ratio_mask}
    report = {
        "data": Path(options.dataset).name,
        "songs": len(songs),
        "minutes": sum(song.seconds for song in songs) / 60,
        "protocol": PROTOCOL,
        "networks": facts,
        "where": where(songs, all_masks, audio),
        "kinds of sound": kinds(songs, masks, audio),
        "phase": phase(songs, all_masks, audio),
        "blocks": blocks(songs, audio.sample_rate),
        "above the network's band": above_band(songs, files, audio) if songs[0].rate > audio.sample_rate else [],
        "command": typed("report/measures/discussion.py", argv),
        "commit": code_version(),
    }
    make_folder(options.output)
    with whole_file(options.output / "measures.json") as temporary:
        temporary.write_text(json.dumps(plain(report), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
