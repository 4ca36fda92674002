"""Separate the singing voice from a song with the recurrent network.

python separate_RNN.py song.mp3
python separate_RNN.py song.mp3 voice.wav
python separate_RNN.py album/ more.flac --output stems --stems both --bidirectional
python separate_RNN.py song.mp3 - --stems accompaniment | ffplay -nodisp -autoexit -
"""

import sys

import process.start  # noqa: F401  (first, while nothing has been imported)

from Model_RNN import RecurrentNetwork
from separation import command


def main(argv: list[str] | None = None) -> int:
    return command.main(RecurrentNetwork, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
