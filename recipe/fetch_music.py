"""Fetch music without a voice from games in Debian, to train with `--accompaniments music`.

    python recipe/fetch_music.py music
    python recipe/fetch_music.py music --only asc-music torcs-data

Needs apt-get and dpkg (Debian, Ubuntu; run `apt-get update` first). Writes music/<package>/<name>.flac: pieces of 45 s
to 15 minutes, mono, 16 kHz, at -20 dB. Packages that exist already are skipped. The stems of a song are summed. Only
folders of music are used, no sound effects. The licences, in SOURCES, are the packages' own; this repository contains
none of their sound.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
from packages import Source, at_level, fetch_all, write_flac  # noqa: E402

from process.errors import UserError, command  # noqa: E402
from sound.files import sound_info  # noqa: E402
from sound.resampling import resample  # noqa: E402
from util import wavread  # noqa: E402

RATE = 16000  # Hz, the pretrained networks' sample rate
SHORTEST, LONGEST = 45, 900  # s; jingles and whole albums in one file are left out
SILENT = 1e-4  # root mean square relative to full scale
STEMS = ("song", "guitar", "rhythm")  # file names of a song's stems, whose folder has the song's name

# Pieces in which the recurrent network heard much voice are left out, whether it was right or not.
SOURCES = (
    Source("asc-music", "GPL-2+", "strategy", r"/music/"),
    Source("btanks-data", "GPL-2 with an exception", "tank battles", r"/tunes/"),
    Source("extremetuxracer-data", "GPL-2+", "ski racing", r"/music/"),
    Source("flare-game", "CC-BY-SA-3.0+", "role playing", r"/music/(?!wind_)"),
    Source("freedroidrpg-data", "GPL-2+", "role playing", r"/music/"),
    Source("freeorion-data", "CC-BY-SA-3.0", "strategy in space", r"/artificial_intelligence"),
    Source("fretsonfire-songs-muldjord", "CC-BY-SA-3.0", "guitar playing; stems of a metal band", r"/songs/"),
    Source("fretsonfire-songs-sectoid", "MIT", "guitar playing; stems", r"/songs/"),
    Source("hyperrogue-music", "CC-BY-SA-3.0", "maze", r"/hr"),
    Source("lincity-ng-data", "GPL-2+", "city building", r"/music/(?!.*City Blues)"),
    Source("lugaru-data", "CC-BY-SA-3.0", "fighting", r"/Music"),
    Source("megaglest-data", "CC-BY-SA-3.0", "strategy", r"/music/(?!asak|aminos|music_indian)"),
    Source("singularity-music", "CC-BY-SA-3.0", "simulation", r"/music/"),
    Source("supertux-data", "GPL-2+", "jump and run", r"/music/(?!.*chipdisko)"),
    Source("supertuxkart-data", "CC-BY-SA-3.0 or 4.0, GPL", "kart racing", r"/music/|/tracks/(?!intro|black_forest)"),
    Source("torcs-data", "GPL-2+", "car racing", r"/music/"),
    Source("warzone2100-music", "CC-BY-SA-3.0+ or GPL-2+", "strategy", r"/music/"),
)


def pieces(paths: list[Path]) -> dict[str, list[Path]]:
    """The files to sum, by the name of the piece: a folder's stems, or a single file."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        name = path.parent.name if path.stem in STEMS else f"{path.parent.name}-{path.stem}"
        found.setdefault(name, []).append(path)
    return found


def mix(paths: list[Path]) -> np.ndarray:
    """The sum (samples,) of files at RATE, each mixed down to mono, as long as the longest."""
    stems = []
    for path in paths:
        waveform, rate = wavread(path)
        stems.append(resample(waveform.mean(axis=0), rate, RATE))
    longest = max(map(len, stems))
    return np.sum([np.pad(stem, (0, longest - len(stem))) for stem in stems], axis=0)


def is_piece(path: Path) -> bool:
    """Whether a sound has the length of a piece of music."""
    return SHORTEST <= sound_info(path).seconds <= LONGEST


def collect(found: list[tuple[Path, re.Match]], folder: Path) -> str:
    """Write the pieces that these files form into a folder, and report unreadable ones. Returns what was written."""
    minutes = []
    for name, files in pieces([path for path, _ in found]).items():
        try:
            if not all(map(is_piece, files)):
                continue
            waveform = mix(files)
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if np.sqrt(np.mean(waveform**2)) >= SILENT:
            write_flac(folder / f"{name}.flac", at_level(waveform), RATE)
            minutes.append(len(waveform) / RATE / 60)
    return f"{len(minutes)} pieces, {sum(minutes):.1f} minutes"


@command
def main(argv: list[str] | None = None) -> None:
    fetch_all(argv, __doc__, SOURCES, collect)


if __name__ == "__main__":
    sys.exit(main())
