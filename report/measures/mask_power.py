r"""Measure the SDR of the voice with the network's mask raised to a power: would another mask score better?

    python report/measures/mask_power.py SONGS --output results/mask_power/songs
    python report/measures/mask_power.py MIR-1K --include-test --hold-out bug ariel --every 2 \
      --networks pretrained/eight_singers --output results/mask_power/held_out_singers

Tries powers of the mask m, and the ratio of squares m^2 / (m^2 + (1 - m)^2), as in a Wiener filter. Writes
mask_power.md. The SDR ignores a gain only (BSS_EVAL v2.1), which takes a single projection and is fast.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from Model import FeedforwardNetwork  # noqa: E402
from Model_RNN import RecurrentNetwork  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from separation.separate import separate  # noqa: E402
from songs.layouts import add_dataset_arguments, find_songs  # noqa: E402
from util import load_network  # noqa: E402

VARIANTS: dict[str, Any] = {
    f"m^{power}": (lambda mask, power=power: mask**power) for power in (0.5, 0.7, 1.0, 1.3, 1.6, 2.0)
}
VARIANTS["squares"] = lambda mask: mask.square() / (mask.square() + (1 - mask).square())


class Changed(torch.nn.Module):
    """A network whose mask is changed by a function."""

    def __init__(self, network: torch.nn.Module, change):
        super().__init__()
        self.network, self.change = network, change
        self.compression = network.compression  # so that it hears songs like the network

    def forward(self, magnitude: torch.Tensor, state=None):
        mask, state = self.network(magnitude, state)
        return self.change(mask), state


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """BSS_EVAL v2.1: energy of the estimate's projection on the reference over that of the rest, in dB."""
    reference, estimate = reference.astype(np.float64), estimate.astype(np.float64)
    target = reference * (reference @ estimate) / (reference @ reference)
    return 10 * np.log10(np.sum(target**2) / np.sum((estimate - target) ** 2))


def main() -> None:
    parser = parser_from(__doc__)
    add_dataset_arguments(parser)
    parser.add_argument("--every", type=int, metavar="N", default=1, help="use every Nth song only (default: all)")
    networks = "measure the best checkpoints of this folder (default: the pretrained ones)"
    parser.add_argument("--networks", type=Path, default=ROOT / "pretrained", metavar="FOLDER", help=networks)
    output = "write mask_power.md into this folder (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("mask_power"), metavar="FOLDER", help=output)
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = find_songs(options.dataset, options.hold_out, options.include_test)
    songs = splits["Valid" if options.hold_out else "Test"][:: options.every]
    lines = ["Command: `python report/measures/mask_power.py " + " ".join(sys.argv[1:]) + "`", ""]
    lines += [
        f"Mean SDR of the voice in dB (BSS_EVAL v2.1, which ignores a gain), {len(songs)} songs",
        "",
    ]
    lines += ["| | " + " | ".join(VARIANTS) + " |", "|---|" + "---:|" * len(VARIANTS)]
    for network_class in (FeedforwardNetwork, RecurrentNetwork):
        path = options.networks / f"savedModel_{network_class.name}_best.pt"
        network, audio, _ = load_network(path, network_class)
        scores: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for song in songs:
            mixture, vocals = song.read()
            for name, change in VARIANTS.items():
                estimate = separate(Changed(network, change), mixture[None], song.rate, audio)[0]
                scores[name].append(sdr(vocals, estimate))
        lines.append(
            f"| {network_class.name} | " + " | ".join(f"{np.mean(scores[name]):.2f}" for name in VARIANTS) + " |"
        )
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "mask_power.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
