"""Separate the singing voice from a song with the single-frame network.

python separate_feedforward.py song.mp3
python separate_feedforward.py song.mp3 voice.wav
python separate_feedforward.py album/ more.flac --output stems --stems both
python separate_feedforward.py song.mp3 - --stems accompaniment | ffplay -nodisp -autoexit -
"""

import sys

import process.start  # noqa: F401  (first, while nothing has been imported)

from Model import FeedforwardNetwork
from separation import command


def main(argv: list[str] | None = None) -> int:
    return command.main(FeedforwardNetwork, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
