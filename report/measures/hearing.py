r"""Measure the gain from hearing songs in tune and with their colour taken back, in and out of tune.

    python report/measures/hearing.py SONGS --output results/hearing/songs.json
    python report/measures/hearing.py MIR-1K --include-test --hold-out bug ariel --every 4 \
      --networks FOLDER --output results/hearing/held_out_singers.json

Plays every song faster or slower by some cents, like a tape, and separates it. Writes the mean SDR of the voice
(BSS_EVAL v3) by network, way of hearing and cents.
"""

import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np
import torch

from networks import hearing
from process.commandline import parser_from
from process.errors import command
from report.measures.facts import ROOT, best_of, chosen_songs, write_facts
from scoring.bss_eval import bss_eval_sources
from separation.separate import separate
from songs.layouts import add_dataset_arguments
from sound.resampling import resample
from util import AudioConfig

CENTS = (-50, -25, -10, 0, 10, 25, 50)
WAYS = {"as it is": (False, 0.0), "in tune": (True, 0.0), "in tune, colour taken back": (True, hearing.TAKEN_BACK)}


class AsItIs(hearing.Tuning):
    """Leaves the tuning as it is: the usual block for every frame."""

    def follow(self, magnitude: torch.Tensor) -> np.ndarray:
        return np.full(magnitude.shape[:2], self.audio.block)


def score(song: np.ndarray, rate: int, network: torch.nn.Module, audio: AudioConfig) -> float:
    mixture, vocals = song
    [estimate] = separate(network, mixture[None], rate, audio)
    scores = bss_eval_sources(np.stack([vocals, mixture - vocals]), np.stack([estimate, mixture - estimate]))
    return float(scores.sdr[0])


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    add_dataset_arguments(parser)
    parser.add_argument("--every", type=int, metavar="N", default=1, help="use every Nth song only (default: all)")
    networks = "measure the best checkpoints of this folder (default: the pretrained ones)"
    parser.add_argument("--networks", type=Path, default=ROOT / "pretrained", metavar="FOLDER", help=networks)
    output = "write the figures into this JSON file (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("hearing.json"), metavar="FILE", help=output)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    songs = chosen_songs(options)[:: options.every]
    means: dict[str, dict[str, dict[int, float]]] = {}
    for name, (network, audio) in best_of(options.networks).items():
        for way, (in_tune, taken_back) in WAYS.items():
            kind = hearing.Tuning if in_tune else AsItIs
            with mock.patch.multiple(hearing, Tuning=kind, TAKEN_BACK=taken_back):
                for cents in CENTS:
                    played = (
                        resample(song.read(), round(song.rate * 2 ** (cents / 1200)), song.rate) for song in songs
                    )
                    scores = [
                        score(sound, song.rate, network, audio) for sound, song in zip(played, songs, strict=True)
                    ]
                    mean = round(float(np.mean(scores)), 3)
                    means.setdefault(name, {}).setdefault(way, {})[cents] = mean
                    print(f"{name}, {way}, {cents:+} cents: {mean}", flush=True)
    write_facts(options.output, Path(__file__).name, **{"songs": len(songs), "mean SDR v3": means})


if __name__ == "__main__":
    sys.exit(main())
