r"""Choose excerpts that are easy or hard to separate, draw their spectrograms, and measure what happens in them.

    python report/measures/cases.py MIR-1K --include-test --hold-out bug ariel \
      --output results/discussion/held_out_singers
    python report/measures/cases.py SONGS --output results/discussion/songs

Each case is the excerpt in which the effect it is named after is strongest in the true sources. Only `best` and `worst`
are chosen by the recurrent network's score. Writes cases.json, and a picture for each case: mixture, true voice and
estimate side by side. Black is loud, white is 60 dB below the loudest point of the mixture.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from process.commandline import parser_from, typed
from process.errors import UserError, command, make_folder, whole_file
from report.measures.discussion import SECOND_VOICE
from report.measures.facts import chosen_songs
from report.measures.leakage import (
    STEP,
    Groups,
    Mask,
    decibels,
    drums_apart,
    energy,
    ideal_ratio_mask,
    let_through,
    periodicity,
    plain,
    power,
    read_sources,
    sdr,
    voice_activity,
)
from report.measures.measured_networks import NETWORKS, add_network_arguments, load_networks
from scoring.report import code_version
from songs.dataset import add_dataset_arguments
from songs.song import Song
from util import AudioConfig

SECONDS, GRID = 4.0, 0.5  # seconds: length of an excerpt, and distance between the excerpts compared
FLOOR, SHADES, GAP = -60.0, 32, 6  # of a picture: dB of white, shades of grey, pixels between its panels
FALL = 5  # frames (80 ms) over which the fall of the voice's level is measured
JUDGE = "RNN"  # its best and worst excerpts are shown

# How each case is chosen, as quoted in the report.
CASES = {
    "best": "highest SDR of the recurrent network",
    "worst": "lowest SDR of the recurrent network",
    "rests": "most of the accompaniment's energy where the voice rests",
    "consonants": "most of the voice's energy in unvoiced frames",
    "harmonics": "accompaniment most like a single voice: highest autocorrelation at lags of sung pitches",
    "drums": "most of the accompaniment's energy in strokes",
    "reverberation": "voice whose level falls slowest",
    "loud": "lowest voice-to-accompaniment ratio",
    "two": f"a second singer at {SECOND_VOICE:g} dB added to the accompaniment; both sing",
}


def sources_of(case: str, songs: list[Song], index: int, rate: int) -> np.ndarray:
    """Voice and accompaniment of the song with that index, (2, samples). For `two` also a second singer's voice."""
    sources = read_sources(songs[index], rate)
    if case != "two":
        return sources
    second = np.resize(read_sources(songs[(index + len(songs) // 2) % len(songs)], rate)[0], sources.shape[1])
    return np.concatenate([sources, second[None] * np.float32(10 ** (SECOND_VOICE / 20))])


# ---------------------------------------------------------------------------------------------- choosing


def strengths(songs: list[Song], index: int, judge: Mask, audio: AudioConfig) -> dict[int, dict[str, float]]:
    """How strong each case is in the excerpts of a song: {start, in steps of GRID: {case: strength}}.

    Excerpts in which the voice mostly rests are left out.
    """
    rate = audio.sample_rate
    all_sources = sources_of("two", songs, index, rate)
    sources, second = all_sources[:2], all_sources[2]
    error = let_through(judge, sources, audio).sum(axis=0) - sources[0]
    signals = np.stack([*sources, error, drums_apart(sources[1], rate)[1], second])
    levels = power(signals, rate).sum(axis=-1)  # (5, frames)
    active, pitch = voice_activity(sources[0], rate), periodicity(sources[1], rate)
    decline = 10 * np.log10((levels[0, :-FALL] + 1e-12) / (levels[0, FALL:] + 1e-12))
    found, length = {}, round(SECONDS / STEP)
    for start in range(1 + int(np.floor(((levels.shape[1] - 1) * STEP - SECONDS) / GRID))):
        frames = slice(round(start * GRID / STEP), round(start * GRID / STEP) + length)
        voice, accompaniment, wrong, drums, other = levels[:, frames]
        rest, unvoiced, voiced = (active[name][frames] for name in ("rest", "unvoiced", "voiced"))
        falling = decline[frames][voiced[: len(decline[frames])]]
        if rest.mean() > 0.5 or len(falling) < 50:
            continue
        separation = decibels(voice.sum(), wrong.sum())
        found[start] = {
            "best": separation,
            "worst": -separation,
            "rests": accompaniment[rest].sum() / accompaniment.sum() if rest.mean() > 0.25 else -np.inf,
            "consonants": voice[unvoiced].sum() / voice.sum(),
            "harmonics": np.average(pitch[frames], weights=accompaniment),
            "drums": drums.sum() / accompaniment.sum(),
            "reverberation": -np.percentile(falling, 95),
            "loud": decibels(accompaniment.sum(), voice.sum()),
            "two": min(voice.sum(), other.sum()),
        }
    return found


def choose(table: dict[tuple[int, int], dict[str, float]], cases: list[str]) -> dict[str, tuple[int, int]]:
    """Case -> (index of the song, start) where it is strongest. Each song serves once, if there are enough."""
    chosen: dict[str, tuple[int, int]] = {}
    for case in cases:
        used = {index for index, _ in chosen.values()}
        free = [place for place in table if place[0] not in used] or list(table)
        chosen[case] = max(free, key=lambda place: table[place][case])
    return chosen


# ---------------------------------------------------------------------------------------------- one case


def describe(
    case: str, songs: list[Song], index: int, start: float, masks: dict[str, Mask], audio: AudioConfig
) -> tuple[dict, list[np.ndarray]]:
    """An excerpt's measurements for cases.json, and mixture, voice and estimate (samples,) for its picture."""
    rate = audio.sample_rate
    sources = sources_of(case, songs, index, rate)
    piece = slice(round(start * rate), round((start + SECONDS) * rate))
    voice, others = sources[0], sources[1:].sum(axis=0)
    cut = np.stack([voice, others])[:, piece]
    drums = drums_apart(others, rate)[1]
    parts = {"voice": voice, "tones": others - drums, "drums": drums}  # their sum is the mixture
    if case == "two":
        parts = {"voice": voice, "accompaniment": sources[1], "second voice": sources[2]}
    facts: dict[str, Any] = {
        "song": songs[index].name,
        "start": start,
        "seconds": cut.shape[1] / rate,
        "chosen by": CASES[case],
        "mixture": decibels(energy(cut[0]), energy(cut[1])),
        "share of drums": energy(drums[piece]) / energy(cut[1]),
        "periodicity of the accompaniment": float(
            np.average(periodicity(cut[1], rate), weights=power(cut[1], rate).sum(axis=-1))
        ),
        "systems": {},
    }
    pictures = [cut.sum(axis=0), cut[0]]
    for name, mask in masks.items():
        every = np.stack(list(parts.values()))
        through = let_through(mask, every, audio)[:, piece]  # of each part
        groups = Groups()
        groups.add(cut, np.stack([through[0], through[1:].sum(axis=0)]), rate)
        facts["systems"][name] = {
            "SDR": sdr(cut[0], through.sum(axis=0)),
            "through": {
                part: decibels(energy(after), energy(before))
                for part, before, after in zip(parts, every[:, piece], through, strict=True)
            },
            "where": {
                group: {name: value for name, value in own.items() if "interval" not in name}
                for group, own in groups.summary().items()
                if not group.startswith("ratio")
            },
        }
        if name == JUDGE:
            pictures.append(through.sum(axis=0))
    return facts, pictures


def draw(path: Path, signals: list[np.ndarray], rate: int) -> None:
    """Draw spectrograms side by side, 0 Hz to rate / 2: black is the loudest point of the first, white FLOOR below."""
    spectra = [power(signal, rate)[:, 1:].T[::-1] for signal in signals]  # (bins, frames), high ones on top
    loudest = spectra[0].max()
    panels = []
    for spectrum in spectra:
        pairs = spectrum.reshape(len(spectrum) // 2, 2, -1).max(axis=1)  # half the height is enough in print
        levels = 10 * np.log10(np.maximum(pairs / loudest, 10 ** (FLOOR / 10)))
        shade = np.clip(np.round(levels / FLOOR * (SHADES - 1)), 0, SHADES - 1) * (255 / (SHADES - 1))
        panels += [shade, np.full((len(shade), GAP), 255.0)]
    with whole_file(path) as temporary:
        Image.fromarray(np.concatenate(panels[:-1], axis=1).astype(np.uint8)).save(temporary, "png", optimize=True)


# ---------------------------------------------------------------------------------------------- command line


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    add_dataset_arguments(parser)
    add_network_arguments(parser)
    cases = f"choose excerpts for these cases: {', '.join(CASES)} (default: all)"
    parser.add_argument("--cases", nargs="+", action="extend", choices=CASES, metavar="CASE", help=cases)
    output = "write cases.json and pictures into this folder (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("discussion"), metavar="FOLDER", help=output)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    songs = chosen_songs(options)[:: options.every]
    masks, audio, _ = load_networks({name: getattr(options, name) for name in NETWORKS})
    masks["ideal ratio mask"] = ideal_ratio_mask
    table = {}
    for index in tqdm(range(len(songs)), "choosing", disable=None):
        for start, own in strengths(songs, index, masks[JUDGE], audio).items():
            table[index, start] = own
    if not table:
        raise UserError(f"{options.dataset}: expected songs with {SECONDS:g} s of singing, found none")
    make_folder(options.output)
    report: dict[str, Any] = {
        "data": Path(options.dataset).name,
        "songs": len(songs),
        "excerpts": len(table),
        "command": typed("report/measures/cases.py", argv),
        "commit": code_version(),
        "cases": {},
    }
    for case, (index, start) in choose(table, options.cases or list(CASES)).items():
        facts, pictures = describe(case, songs, index, start * GRID, masks, audio)
        report["cases"][case] = facts | {"picture": f"case_{case}.png", "top of the picture, Hz": audio.sample_rate / 2}
        draw(options.output / f"case_{case}.png", pictures, audio.sample_rate)
    with whole_file(options.output / "cases.json") as temporary:
        temporary.write_text(json.dumps(plain(report), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
