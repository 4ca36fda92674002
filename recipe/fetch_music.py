"""Fetch music without a voice, which games in Debian play: to train with `--accompaniments music`.

    python recipe/fetch_music.py music                        # everything, one package after the other
    python recipe/fetch_music.py music --only asc-music       # some packages

Needs apt-get and dpkg (Debian, Ubuntu; `apt-get update` first). Writes music/<package>/<name>.flac: pieces of 45 s to
15 minutes, mono, 16 kHz, at -20 dB. A package that is there is left as it is. Songs that come in stems are summed up.
Only folders of music are taken, no sound effects. The licences, in SOURCES, are the packages'; nothing of it is in this
repository.
"""

import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from packages import Source, at_level, fetch_all, write_flac  # noqa: E402

from process.errors import UserError, command  # noqa: E402
from sound.files import sound_info  # noqa: E402
from sound.resampling import resample  # noqa: E402
from util import wavread  # noqa: E402

RATE = 16000  # Hz: the pretrained networks'
SHORTEST, LONGEST = 45, 900  # s: jingles, and albums in one file, are left out
SILENT = 1e-4  # root mean square of full scale
STEMS = ("song", "guitar", "rhythm")  # files that make up the song that their folder is named after

# Left out are pieces in which the recurrent network heard much voice, or whether it was right or not.
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
    """Files to be summed up, by the name of the piece: the stems of a folder, or one file."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        name = path.parent.name if path.stem in STEMS else f"{path.parent.name}-{path.stem}"
        found.setdefault(name, []).append(path)
    return found


def mix(paths: list[Path]) -> np.ndarray:
    """The sum (samples,) of files, each mixed down to mono at RATE, as long as the longest."""
    stems = []
    for path in paths:
        waveform, rate = wavread(path)
        stems.append(resample(waveform.mean(axis=0), rate, RATE))
    longest = max(map(len, stems))
    return sum(np.pad(stem, (0, longest - len(stem))) for stem in stems)


def is_piece(path: Path) -> bool:
    """Whether a sound is as long as a piece of music."""
    info = sound_info(path)
    return SHORTEST <= info.samples / info.rate <= LONGEST


def collect(found: list[tuple[Path, re.Match]], folder: Path) -> str:
    """Write the pieces that these files make into a folder; returns how many. Those that cannot be read are told."""
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
    fetch_all(argv, "Fetch music without a voice from Debian's games.", SOURCES, collect)


if __name__ == "__main__":
    sys.exit(main())
