"""Measure how loud the estimated voice is in each octave, compared with the true one.

    python report/measures/brightness.py SONGS --output results/brightness/musdb.json

Writes, for each network and octave, median and quartiles over the songs of the estimate's level re the true voice's, in
dB. A dull voice is too soft in the highest octaves.
"""

import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np
import torch

from process.commandline import parser_from
from process.errors import UserError, command
from report.measures.facts import best_of, chosen_songs, write_facts
from separation.separate import separate
from songs.dataset import add_dataset_arguments

EDGES = (250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz, of the octaves


def levels(voice: np.ndarray, rate: int) -> np.ndarray:
    """Energy in each octave (len(EDGES) - 1,), in dB, of a voice (samples,)."""
    power = np.square(np.abs(np.fft.rfft(voice.astype(np.float64))))
    bins = [round(edge * len(voice) / rate) for edge in EDGES]
    return 10 * np.log10([power[first:last].sum() + 1e-12 for first, last in itertools.pairwise(bins)])


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__ or "")
    add_dataset_arguments(parser)
    output = "write the figures into this JSON file (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("brightness.json"), metavar="FILE", help=output)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    songs = [song for song in chosen_songs(options) if song.rate >= 2 * EDGES[-1]]
    if not songs:
        raise UserError(f"{options.dataset}: expected songs at {2 * EDGES[-1]} Hz or more to measure, found none")
    octaves = [f"{low} to {high} Hz" for low, high in itertools.pairwise(EDGES)]
    found: dict[str, dict[str, list[float]]] = {}
    for name, (network, audio) in best_of().items():
        differences = []
        for song in songs:
            mixture, vocals = song.read()
            [voice] = separate(network, mixture[None], song.rate, audio)
            differences.append(levels(voice, song.rate) - levels(vocals, song.rate))
        quartiles = np.percentile(differences, [50, 25, 75], axis=0).T  # (octaves, 3)
        found[name] = {octave: np.round(own, 2).tolist() for octave, own in zip(octaves, quartiles, strict=True)}
        print(f"{name}: {found[name]}", flush=True)
    write_facts(
        options.output,
        Path(__file__).name,
        **{"songs": [song.name for song in songs], "median and quartiles of the level re the true voice, dB": found},
    )


if __name__ == "__main__":
    sys.exit(main())
