r"""What is lost on songs that are off the scale of A = 440 Hz, and what hearing them in tune brings back.

    python benchmarks/tuning.py SONGS --output results/tuning/songs.json
    python benchmarks/tuning.py MIR-1K --include-test --hold-out bug ariel --every 2 \
      --networks pretrained/eight_singers --output results/tuning/held_out_singers.json

Plays every song faster or slower by some cents, as a tape would, and separates it as it is, and as tuning.py hears it.
Writes the mean SDR of the voice, BSS_EVAL v3, by network and cents.
"""

import argparse
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import separation  # noqa: E402
from bss_eval import bss_eval_sources  # noqa: E402
from errors import whole_file  # noqa: E402
from evaluation_report import code_version  # noqa: E402
from layouts import add_dataset_arguments, find_songs  # noqa: E402
from Model import FeedforwardNetwork  # noqa: E402
from Model_RNN import RecurrentNetwork  # noqa: E402
from tuning import Tuning  # noqa: E402
from util import load_network, resample  # noqa: E402

CENTS = (-50, -25, -10, 0, 10, 25, 50)


class AsItIs(Tuning):
    """The usual block for every frame."""

    def follow(self, magnitude: torch.Tensor) -> np.ndarray:
        return np.full(magnitude.shape[:2], self.audio.block)


def score(song: np.ndarray, rate: int, network: torch.nn.Module, audio) -> float:
    mixture, vocals = song
    [estimate] = separation.separate(network, mixture[None], rate, audio)
    scores = bss_eval_sources(np.stack([vocals, mixture - vocals]), np.stack([estimate, mixture - estimate]))
    return float(scores.sdr[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the SDR of songs that are off the scale of A = 440 Hz.")
    add_dataset_arguments(parser)
    parser.add_argument("--every", type=int, default=1, help="only every so manieth song (%(default)s)")
    parser.add_argument("--networks", type=Path, default=ROOT / "pretrained", metavar="FOLDER", help="(pretrained)")
    parser.add_argument("--output", type=Path, default=Path("tuning.json"), metavar="FILE", help="(%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = find_songs(options.dataset, options.hold_out, options.include_test)
    songs = splits["Valid" if options.hold_out else "Test"][:: options.every]
    means = {}
    for network_class in (FeedforwardNetwork, RecurrentNetwork):
        path = options.networks / f"savedModel_{network_class.name}_best.pt"
        network, audio, _ = load_network(path, network_class)
        for cents in CENTS:
            scores = {"as it is": [], "in tune": []}
            for song in songs:
                played = resample(song.read(), round(song.rate * 2 ** (cents / 1200)), song.rate)
                scores["in tune"].append(score(played, song.rate, network, audio))
                with mock.patch.object(separation, "Tuning", AsItIs):
                    scores["as it is"].append(score(played, song.rate, network, audio))
            for way, values in scores.items():
                means.setdefault(network_class.name, {}).setdefault(way, {})[cents] = round(float(np.mean(values)), 3)
            print(
                network_class.name, f"{cents:+} cents:", {way: means[network_class.name][way][cents] for way in scores}
            )
    facts = {"command": "python benchmarks/tuning.py " + " ".join(sys.argv[1:]), "commit": code_version()}
    facts |= {"songs": len(songs), "mean SDR v3": means}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(options.output) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
