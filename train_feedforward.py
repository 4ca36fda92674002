"""Train the single-frame network.

    python train_feedforward.py DATASET
    python train_feedforward.py MIR-1K --sample-rate 16000 --block 2048 --hop 512

Writes savedModel_feedforward_best.pt, savedModel_feedforward_last.pt, loss curves and a picture of spectrograms.
"""

import sys

import threads  # noqa: F401  (before torch)
import training_command
from Model import FeedforwardNetwork


def main(argv: list[str] | None = None) -> int:
    return training_command.main(FeedforwardNetwork, argv, shuffle_frames=True)


if __name__ == "__main__":
    sys.exit(main())
