"""Measure what networks lose on songs that are not in tune with A = 440 Hz.

    python report/measures/tuning.py SONGS --output results/tuning/musdb.json
    python report/measures/tuning.py SONGS --checkpoint before=before.pt --output results/tuning/musdb_before.json

Plays every song faster or slower by some cents, like a tape, and separates it. Writes the mean SDR of the voice
(BSS_EVAL v3) by network and cents.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np
import torch

from process.commandline import named_path, parser_from
from process.errors import command
from report.measures.facts import chosen_songs, write_facts
from scoring.bss_eval import voice_sdr
from separation.separate import KINDS, PRETRAINED, separate
from songs.dataset import add_dataset_arguments
from songs.song import Song
from sound.resampling import resample
from util import AudioConfig, load_network

CENTS = (-50, -25, -10, 0, 10, 25, 50)


def score(song: Song, cents: float, network: torch.nn.Module, audio: AudioConfig) -> float:
    """SDR of the voice in a song that is played so many cents higher."""
    mixture, vocals = resample(song.read(), song.rate, round(song.rate * 2 ** (-cents / 1200)))
    [voice] = separate(network, mixture[None], song.rate, audio)
    return voice_sdr(mixture, vocals, voice)


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__ or "")
    add_dataset_arguments(parser)
    checkpoint = "measure these networks (default: the pretrained ones)"
    parser.add_argument("--checkpoint", nargs="+", action="extend", metavar="[NAME=]FILE", help=checkpoint)
    output = "write the figures into this JSON file (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("tuning.json"), metavar="FILE", help=output)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    songs = chosen_songs(options)
    pretrained = [f"{kind.name}={PRETRAINED}/savedModel_{kind.name}_best.pt" for kind in KINDS]
    means: dict[str, dict[int, float]] = {}
    for text in options.checkpoint or pretrained:
        name, path = named_path(text)
        network, audio, _ = load_network(path, *KINDS)
        for cents in CENTS:
            mean = np.nanmean([score(song, cents, network, audio) for song in songs])
            means.setdefault(name or path.stem, {})[cents] = round(float(mean), 3)
            print(f"{name or path.stem}, {cents:+} cents: {mean:.3f}", flush=True)
    write_facts(options.output, Path(__file__).name, **{"songs": len(songs), "mean SDR v3": means})


if __name__ == "__main__":
    sys.exit(main())
