r"""Measure what one mask for both channels of a song costs, compared with a mask of its own for each channel.

    python report/measures/stereo.py SONGS --output results/stereo/songs.json

Writes the SDR of the voice over both channels: its energy over that of the error, in dB. Songs in mono are left out.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from Model import FeedforwardNetwork  # noqa: E402
from Model_RNN import RecurrentNetwork  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from process.errors import whole_file  # noqa: E402
from report.measures.leakage import sdr  # noqa: E402
from scoring.report import code_version  # noqa: E402
from separation.separate import separate  # noqa: E402
from songs.layouts import add_dataset_arguments, find_songs  # noqa: E402
from util import load_network  # noqa: E402


def main() -> None:
    parser = parser_from(__doc__)
    add_dataset_arguments(parser)
    output = "write the figures into this JSON file (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("stereo.json"), metavar="FILE", help=output)
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = find_songs(options.dataset, options.hold_out, options.include_test)
    networks = {
        kind.name: load_network(ROOT / f"pretrained/savedModel_{kind.name}_best.pt", kind)
        for kind in (FeedforwardNetwork, RecurrentNetwork)
    }
    found: dict[str, dict[str, list[float]]] = {name: {"one mask": [], "a mask each": []} for name in networks}
    names = []
    for song in splits["Valid" if options.hold_out else "Test"]:
        stems = song.stems()
        mixture, vocals = np.sum(list(stems.values()), axis=0), stems["vocals"]
        if len(mixture) != 2:
            continue
        names.append(song.name)
        for name, (network, audio, _) in networks.items():
            one = separate(network, mixture, song.rate, audio)
            each = np.concatenate([separate(network, channel[None], song.rate, audio) for channel in mixture])
            for way, estimate in (("one mask", one), ("a mask each", each)):
                found[name][way].append(round(sdr(vocals, estimate), 3))
        print(song.name, flush=True)
    means = {name: {way: round(np.mean(own), 3) for way, own in ways.items()} for name, ways in found.items()}
    facts = {
        "command": "python report/measures/stereo.py " + " ".join(sys.argv[1:]),
        "commit": code_version(),
        "mean SDR": means,
        "songs": names,
        "SDR": found,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(options.output) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
