"""Separate the singing voice from a song with the single-frame network.

python separate_feedforward.py song.mp3 voice.wav
python separate_feedforward.py song.flac voice.flac --checkpoint savedModel_feedforward_best.pt
"""

import sys

import separation
from Model import FeedforwardNetwork


def main(argv: list[str] | None = None) -> int:
    return separation.main(FeedforwardNetwork, argv)


if __name__ == "__main__":
    sys.exit(main())
