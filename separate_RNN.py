"""Separate the singing voice from a song with the recurrent network.

python separate_RNN.py song.mp3 voice.wav
python separate_RNN.py song.flac voice.flac --checkpoint savedModel_RNN_best.pt
"""

import sys

import separation
from Model_RNN import RecurrentNetwork


def main(argv: list[str] | None = None) -> int:
    return separation.main(RecurrentNetwork, argv)


if __name__ == "__main__":
    sys.exit(main())
