r"""Measure the gain from hearing songs in tune and with their colour taken back, in and out of tune.

    python report/measures/hearing.py SONGS --output results/hearing/songs.json
    python report/measures/hearing.py MIR-1K --include-test --hold-out bug ariel --every 4 \
      --networks FOLDER --output results/hearing/held_out_singers.json

Plays every song faster or slower by some cents, like a tape, and separates it. Writes the mean SDR of the voice
(BSS_EVAL v3) by network, way of hearing and cents.
"""

import json
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from Model import FeedforwardNetwork  # noqa: E402
from Model_RNN import RecurrentNetwork  # noqa: E402
from networks import hearing  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from process.errors import whole_file  # noqa: E402
from scoring.bss_eval import bss_eval_sources  # noqa: E402
from scoring.report import code_version  # noqa: E402
from separation.separate import separate  # noqa: E402
from songs.layouts import add_dataset_arguments, find_songs  # noqa: E402
from sound.resampling import resample  # noqa: E402
from util import AudioConfig, load_network  # noqa: E402

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


def main() -> None:
    parser = parser_from(__doc__)
    add_dataset_arguments(parser)
    parser.add_argument("--every", type=int, metavar="N", default=1, help="use every Nth song only (default: all)")
    networks = "measure the best checkpoints of this folder (default: the pretrained ones)"
    parser.add_argument("--networks", type=Path, default=ROOT / "pretrained", metavar="FOLDER", help=networks)
    output = "write the figures into this JSON file (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("hearing.json"), metavar="FILE", help=output)
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = find_songs(options.dataset, options.hold_out, options.include_test)
    songs = splits["Valid" if options.hold_out else "Test"][:: options.every]
    means: dict[str, dict[str, dict[int, float]]] = {}
    for network_class in (FeedforwardNetwork, RecurrentNetwork):
        path = options.networks / f"savedModel_{network_class.name}_best.pt"
        network, audio, _ = load_network(path, network_class)
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
                    means.setdefault(network_class.name, {}).setdefault(way, {})[cents] = mean
                    print(f"{network_class.name}, {way}, {cents:+} cents: {mean}", flush=True)
    facts = {
        "command": "python report/measures/hearing.py " + " ".join(sys.argv[1:]),
        "commit": code_version(),
        "songs": len(songs),
        "mean SDR v3": means,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(options.output) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
