"""Where a dataset's songs are, by the layout that it comes in."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from process.errors import UserError, printable
from songs.names import (
    ACCOMPANIMENT,
    MIXTURE,
    VOCALS,
    folders,
    inside,
    name_in_folder,
    only_file,
    pair_of,
    part_named,
    plain,
    sound_files,
)
from songs.song import KaraokeClip, Song, StemFile, StemFolder
from sound.names import OTHER_SUFFIXES, SOUND_SUFFIXES, SUFFIXES
from sound.stem_files import SUFFIX as STEM_SUFFIX

SPLITS = ("Train", "Valid", "Test")
DEV = "Dev"  # of DSD100: divided here into Train and Valid
UNDIVIDED = "undivided"  # songs that come without a split

# Huang et al. (2014): two singers for training, the other seventeen for test; their four validation clips come from
# these two songs.
MIR1K_TRAIN_SINGERS = ("abjones", "amy")
MIR1K_VALID_SONGS = ("abjones_5", "amy_9")
MIR1K_FOLDER = "Wavfile"
MIR1K_SPLITS = ("train", "dev", "test")  # where other songs may be, too
MIR1K_NAME = re.compile(r"[a-z]+_\d+_\d+", re.IGNORECASE)  # singer_song_part

FORMATS = ", ".join(suffix[1:].upper() for suffix in SOUND_SUFFIXES)


@dataclasses.dataclass(frozen=True)
class Found:
    """A song found but not yet opened: its name, its split, its kind and the files that the kind's `open` takes."""

    name: str
    split: str
    kind: type[Song]
    files: tuple[Path, ...]
    problem: str = ""  # why it cannot be opened, whatever the files hold

    def open(self) -> Song:
        """Raises UserError if it cannot be opened."""
        if self.problem:
            raise UserError(self.problem)
        return self.kind.open(printable(self.name), *self.files)  # the name appears in tables and reports


Reasons = dict[Path, str]  # sound files that are not used, and folders without any -> why


def _find_course(root: Path, names: Iterable[str] = SPLITS) -> tuple[list[Found], Reasons]:
    """Mixtures|Sources/{Train,Valid,Test}/<song>/{mixture,vocals}.*"""
    found: list[Found] = []
    reasons: Reasons = {}
    for split in names:
        mixtures, sources = inside(root, "Mixtures", split), inside(root, "Sources", split)
        for folder in folders(mixtures):
            places = {MIXTURE: folder, VOCALS: inside(sources, folder.name)}
            paths = {part: sound_files(place) for part, place in places.items()}
            try:
                # A missing file is reported when the song is opened.
                files = [only_file(paths[part], part) or place / f"{part}.wav" for part, place in places.items()]
                found.append(Found(folder.name, split, Song, tuple(files)))
            except UserError as error:
                found.append(Found(folder.name, split, Song, (*paths[MIXTURE], *paths[VOCALS]), str(error)))
        for folder in folders(sources):
            if not inside(mixtures, folder.name).is_dir():
                reasons |= dict.fromkeys(sound_files(folder) or [folder], f"no song of this name in {mixtures}")
    return found, reasons


def _find_dsd100(root: Path) -> tuple[list[Found], Reasons]:
    """The course's layout with Dev instead of Train and Valid."""
    return _find_course(root, (*SPLITS, DEV)) if folders(inside(root, "Mixtures", DEV)) else ([], {})


def _find_musdb18(root: Path) -> tuple[list[Found], Reasons]:
    """{train,valid,test}/*.stem.mp4, or each a folder of songs, as in MUSDB18-HQ."""
    found: list[Found] = []
    reasons: Reasons = {}
    train = "Train" if inside(root, "valid").is_dir() else DEV
    for name, split in (("train", train), ("valid", "Valid"), ("test", "Test")):
        here, left = _find_folder(inside(root, name), split)
        found, reasons = found + here, reasons | left
    return found, reasons


def _find_mir1k(root: Path) -> tuple[list[Found], Reasons]:
    """Two-channel clips in Wavfile/, or named as there in {train,dev,test}/, divided by singer and song."""
    found: list[Found] = []
    reasons: Reasons = {}
    for folder in (MIR1K_FOLDER, *MIR1K_SPLITS):
        for path in sound_files(inside(root, folder)):
            if folder != MIR1K_FOLDER and not MIR1K_NAME.fullmatch(path.stem):
                reasons[path] = "not named like a clip of MIR-1K, singer_song_part"
                continue
            singer, song = (plain("_".join(path.stem.split("_")[:count])) for count in (1, 2))
            dev = "Valid" if song in MIR1K_VALID_SONGS else "Train"
            found.append(Found(path.stem, dev if singer in MIR1K_TRAIN_SINGERS else "Test", KaraokeClip, (path,)))
    return found, reasons


def _find_folder(root: Path, split: str = UNDIVIDED) -> tuple[list[Found], Reasons]:
    """<song>/{mixture,vocals}.*, or <song>/vocals.* and other stems, or name_mix.* and name_vocals.*, or *.stem.mp4.

    If there are none, `root` may be such a <song>.
    """
    found: list[Found] = []
    reasons: Reasons = {}
    pairs: dict[str, list[Path]] = {}  # by the song's name
    for path in sound_files(root, SUFFIXES):
        name, _ = pair_of(path)
        if path.name.lower().endswith(STEM_SUFFIX):
            found.append(Found(path.name[: -len(STEM_SUFFIX)], split, StemFile, (path,)))
        elif path.suffix.lower() not in SOUND_SUFFIXES:
            reasons[path] = f"expected {FORMATS}"
        elif name:
            pairs.setdefault(plain(name), []).append(path)
        else:
            reasons[path] = "named like neither a mixture nor a voice"
    for name, paths in pairs.items():
        try:
            mixture, vocals = (only_file(paths, part, lambda path: pair_of(path)[1]) for part in (MIXTURE, VOCALS))
        except UserError as error:
            found.append(Found(name, split, Song, tuple(paths), str(error)))
            continue
        if mixture and vocals:
            found.append(Found(pair_of(mixture)[0], split, Song, (mixture, vocals)))
        else:
            missing = "voice" if mixture else "mixture"
            reasons |= dict.fromkeys(paths, f"no {missing} of the same name beside it")
    for folder in folders(root):
        here, left = _find_in_folder(folder, split)
        found, reasons = found + here, reasons | left
    if not found:  # it may be a song's own folder
        here, _ = _find_in_folder(root, split)
        found = [dataclasses.replace(song, name=root.resolve().name) for song in here if not song.problem]
    return found, reasons


def _find_in_folder(folder: Path, split: str) -> tuple[list[Found], Reasons]:
    """The song whose files are in a folder: a mixture and a voice, else a voice and other stems; none if neither."""
    paths = sound_files(folder)
    try:
        mixture, vocals = only_file(paths, MIXTURE), only_file(paths, VOCALS)
        if vocals and mixture:
            return [Found(folder.name, split, Song, (mixture, vocals))], {}
        if vocals and (stems := _stems(paths, vocals)):
            return [Found(folder.name, split, StemFolder, (vocals, *stems))], {}
    except UserError as error:
        return [Found(folder.name, split, Song, tuple(paths), str(error))], {}
    reason = "no mixture and no other stems beside it" if vocals else "no voice beside it, such as vocals.wav"
    return [], dict.fromkeys(paths, reason)


def _stems(paths: Sequence[Path], vocals: Path) -> list[Path]:
    """The files that accompany the voice of a song without a mixture.

    Raises UserError where their sum may not be the accompaniment: for a file that is not known by its name, a second
    voice, a format that cannot be read, or an accompaniment and its stems side by side.
    """
    stems: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: SOUND_SUFFIXES.index(path.suffix.lower())):
        if plain(path.stem) != plain(vocals.stem):
            stems.setdefault(plain(path.stem), path)  # one format of each
    parts = {path: part_named(name_in_folder(path)) for path in sorted(stems.values())}
    for path, part in parts.items():
        if part is None:
            raise UserError(f"{path}: expected the name of a mixture, a voice or an instrument, found '{path.stem}'")
        if part == VOCALS:
            raise UserError(f"{path}: expected one file of the vocals, found '{vocals.name}', too")
    whole = [path for path, part in parts.items() if part == ACCOMPANIMENT]
    if whole and len(parts) > 1:
        other = next(path for path in parts if path != whole[0])
        raise UserError(f"{whole[0]}: expected an accompaniment or its stems, found '{other.name}', too")
    unread = sound_files(vocals.parent, OTHER_SUFFIXES)
    if unread:
        raise UserError(f"{unread[0]}: expected {FORMATS}, found a stem or mixture in another format")
    return list(parts)


LAYOUTS: dict[str, Callable[[Path], tuple[list[Found], Reasons]]] = {
    "DSD100": _find_dsd100,
    "course": _find_course,
    "MUSDB18": _find_musdb18,
    "MIR-1K": _find_mir1k,
    "folder": _find_folder,
}  # tried in this order
PLACES = {
    "DSD100": "Mixtures/ and Sources/, each with Dev/ and Test/",
    "course": "Mixtures/ and Sources/, each with Train/, Valid/ and Test/",
    "MUSDB18": "train/, valid/ and test/",
    "MIR-1K": "Wavfile/, train/, dev/ and test/",
    "folder": "the folder itself and the folders in it",
}
