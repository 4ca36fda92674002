"""Train the recurrent network, which starts from the weights of the best single-frame network in the output folder.

    python train_RNN.py DATASET
    python train_RNN.py DATASET --init scratch --sequences songs
    python train_RNN.py DATASET --bidirectional

Writes savedModel_RNN_best.pt, savedModel_RNN_last.pt, loss curves and a picture of spectrograms; with --bidirectional,
which starts from the best recurrent network instead, savedModel_RNN_bidirectional_best.pt and so on.
"""

import sys

import process.start  # noqa: F401  (first, while nothing has been imported)

import training.threads  # noqa: F401  (before torch)
from Model import FeedforwardNetwork
from Model_RNN import BidirectionalNetwork, RecurrentNetwork
from training import command


def main(argv: list[str] | None = None) -> int:
    return command.main(RecurrentNetwork, __doc__, argv, FeedforwardNetwork, bidirectional_class=BidirectionalNetwork)


if __name__ == "__main__":
    sys.exit(main())
