"""Names of sound files and folders: one look-up for all of them, and the part of a song that a name stands for.

Names are compared without regard to case and to how Unicode composes an accented letter, as people and file systems do.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from process.errors import UserError
from sound.names import SOUND_SUFFIXES

MIXTURE, VOCALS, ACCOMPANIMENT, STEM = "mixture", "vocals", "accompaniment", "stem"  # parts of a song
WORDS = {
    MIXTURE: {"mixture", "mix", "mixdown", "master", "original"},
    VOCALS: {"vocals", "vocal", "voice", "voices", "vox", "singing", "acapella", "acappella", "cappella"},
    ACCOMPANIMENT: {"accompaniment", "instrumental", "instrumentals", "inst", "karaoke", "music"},
}
NO_VOICE = {"no vocals", "no vocal", "no voice", "novocals", "without vocals", "backing track", "minus one"}
BESIDE = "a full final stereo mono lead main backing background dry wet raw stem track"  # with the words above
INSTRUMENTS = """
    drums drum percussion perc kick snare toms hats cymbals overheads bass guitar guitars gtr piano keys keyboard
    keyboards synth synths synthesizer organ strings violin viola cello harp brass trumpet trombone horn horns sax
    saxophone winds wind woodwinds flute clarinet accordion harmonica banjo mandolin ukulele bells pad pads loop loops
    fx effects other others rest
"""
NEGATIONS = {"no", "without", "minus"}  # 'no drums' is all but the drums
ENDINGS = "|".join(sorted(WORDS[MIXTURE] | WORDS[VOCALS], key=len, reverse=True))
PAIR = re.compile(rf"(?P<name>.+?)[ ._-]+[(\[]?(?P<part>{ENDINGS})[)\]]?", re.IGNORECASE)  # a file's name


def plain(name: str) -> str:
    """A name as it is compared with others."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def part_named(name: str) -> str | None:
    """The part of a song that a name stands for, None if it is not known: 'Lead Vox 2' is the vocals."""
    words = re.sub(r"[\W\d_]+", " ", plain(name)).split()
    found = {part for part, own in WORDS.items() if own.intersection(words)}
    if " ".join(words) in NO_VOICE:
        return ACCOMPANIMENT
    if len(found) == 1:
        (part,) = found
        return part if WORDS[part].union(BESIDE.split()).issuperset(words) else None
    instrument = set(INSTRUMENTS.split()).intersection(words) and not NEGATIONS.intersection(words)
    return STEM if instrument and not found else None


def name_in_folder(path: Path) -> str:
    """What the name of a file in a song's folder says of its part: all of it, or what follows the song's name."""
    folder, name = plain(path.parent.name), plain(path.stem)
    rest = name.removeprefix(folder).strip(" ._-()[]")
    return rest if part_named(name) is None and rest else name


def pair_of(path: Path) -> tuple[str, str]:
    """Of a file named 'Song_mix' or 'Song (Vocals)': 'Song', and what its name says of its part; '' for others."""
    pair = PAIR.fullmatch(path.stem)
    return (pair["name"], plain(pair["part"])) if pair else ("", "")


def only_file(paths: Iterable[Path], part: str, saying: Callable[[Path], str] = name_in_folder) -> Path | None:
    """Among files of one song, the one of this part, None if there is none. saying: what a name says of the part.

    A file with the part's own name comes before others; of two formats, the first of SOUND_SUFFIXES is taken. Raises
    UserError if two names remain.
    """
    found = {path: saying(path) for path in paths if part_named(saying(path)) == part}
    found = {path: name for path, name in found.items() if name == part} or found
    if len(set(found.values())) > 1:
        names = " and ".join(f"'{path.name}'" for path in found)
        raise UserError(f"{min(found).parent}: expected one file of the {part}, found {names}")
    return min(found, key=_preference, default=None)


def _preference(path: Path) -> int:
    return SOUND_SUFFIXES.index(path.suffix.lower())


# ---------------------------------------------------------------------------------------------- in folders


def inside(folder: Path, *names: str) -> Path:
    """folder/name/..., as the names are spelt there; as they are given if there are no such entries."""
    for name in names:
        exact = folder / name
        found = [] if exact.exists() else [path for path in sorted(folder.glob("*")) if plain(path.name) == plain(name)]
        folder = found[0] if found else exact
    return folder


def sound_files(folder: Path, suffixes: Sequence[str] = SOUND_SUFFIXES) -> list[Path]:
    """Sound files in `folder`, sorted, without hidden ones; none if there is no such folder."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in suffixes)
    return [path for path in paths if not path.name.startswith(".") and not path.is_dir()]  # as an album in '2010.FLAC'


def folders(parent: Path) -> list[Path]:
    """Folders in `parent`, sorted, without hidden ones; none if there is no such folder."""
    return sorted(path for path in parent.glob("*") if path.is_dir() and not path.name.startswith("."))


def sound_file(folder: Path, stem: str) -> Path | None:
    """The sound file named `stem` in `folder`, in any format; None if there is none."""
    found = [path for path in sound_files(folder) if plain(path.stem) == plain(stem) and path.is_file()]
    return min(found, key=lambda path: (path.stem != stem, _preference(path)), default=None)
