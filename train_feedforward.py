"""Train the single-frame network.

    python train_feedforward.py DATASET
    python train_feedforward.py MIR-1K --sample-rate 16000 --block 2048 --hop 512

Writes savedModel_feedforward_best.pt, savedModel_feedforward_last.pt, loss curves and a picture of spectrograms.
"""

import sys

import process.start  # noqa: F401  (first, while nothing has been imported)

import training.threads  # noqa: F401  (before torch)
from Model import FeedforwardNetwork
from training import command


def main(argv: list[str] | None = None) -> int:
    return command.main(FeedforwardNetwork, __doc__, argv, shuffle_frames=True)


if __name__ == "__main__":
    sys.exit(main())
