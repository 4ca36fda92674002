r"""Measure what one mask for both channels of a song costs, compared with a mask of its own for each channel.

    python report/measures/stereo.py SONGS --output results/stereo/songs.json

Writes the SDR of the voice over both channels: its energy over that of the error, in dB. Songs in mono are left out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np
import torch

from process.commandline import parser_from
from process.errors import UserError, command
from report.measures.facts import best_of, chosen_songs, write_facts
from report.measures.leakage import sdr
from separation.separate import separate
from songs.dataset import add_dataset_arguments


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    add_dataset_arguments(parser)
    output = "write the figures into this JSON file (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("stereo.json"), metavar="FILE", help=output)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    networks = best_of()
    found: dict[str, dict[str, list[float]]] = {name: {"one mask": [], "a mask each": []} for name in networks}
    names = []
    for song in chosen_songs(options):
        stems = song.stems()
        mixture, vocals = np.sum(list(stems.values()), axis=0), stems["vocals"]
        if len(mixture) != 2:
            continue
        names.append(song.name)
        for name, (network, audio) in networks.items():
            one = separate(network, mixture, song.rate, audio)
            each = np.concatenate([separate(network, channel[None], song.rate, audio) for channel in mixture])
            for way, estimate in (("one mask", one), ("a mask each", each)):
                found[name][way].append(round(sdr(vocals, estimate), 3))
        print(song.name, flush=True)
    if not names:
        raise UserError(f"{options.dataset}: expected songs in stereo to measure, found none")
    means = {name: {way: round(np.mean(own), 3) for way, own in ways.items()} for name, ways in found.items()}
    write_facts(options.output, Path(__file__).name, **{"mean SDR": means, "songs": names, "SDR": found})


if __name__ == "__main__":
    sys.exit(main())
