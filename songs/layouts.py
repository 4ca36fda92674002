"""The songs of a dataset in its original layout, and which of them are for training, validation and test."""

import argparse
import dataclasses
import itertools
import random
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from process.errors import UserError, printable
from songs.song import KaraokeClip, Song, StemFile, StemFolder, Voice
from sound.files import SOUND_SUFFIXES
from sound.stem_files import SUFFIX
from sound.streams import FFMPEG_SUFFIXES

SPLITS = ("Train", "Valid", "Test")
DEV = "Dev"  # of DSD100: divided here into Train and Valid
UNDIVIDED = "undivided"  # songs that come without a split
SHARE = 0.2  # of the songs to divide that becomes Valid, or Test
SPLIT_SEED = 0  # not the seed of a training: training and evaluation must agree on the songs

# Huang et al. (2014): two singers for training, the other seventeen for test; their four validation clips come from
# these two songs.
MIR1K_TRAIN_SINGERS = ("abjones", "amy")
MIR1K_VALID_SONGS = ("abjones_5", "amy_9")
MIR1K_FOLDERS = ("Wavfile", "train", "dev", "test")

PAIR = re.compile(r"(?P<name>.+?)[ ._-]+(?P<part>mix|mixture|vocals)", re.IGNORECASE)  # a file's name


@dataclasses.dataclass(frozen=True)
class Found:
    """A song found but not yet opened: its name, its split, its kind and the files that the kind's `open` takes."""

    name: str
    split: str
    kind: type[Song]
    files: tuple[Path, ...]


@dataclasses.dataclass
class Dataset:
    """What `read_dataset` found in a folder."""

    layout: str
    songs: dict[str, list[Song]]  # by split, sorted by name
    errors: list[UserError]  # songs that cannot be opened
    unpaired: list[Path]  # sound files and folders that belong to no song


# ---------------------------------------------------------------------------------------------- from folder to songs


def find_songs(
    root: str | Path, hold_out: Sequence[str] = (), include_test: bool = False, seed: int = SPLIT_SEED
) -> dict[str, list[Song]]:
    """The songs that `read_dataset` finds: {"Train": [...], "Valid": [...], "Test": [...]}.

    Raises UserError for missing folders or files and for songs whose parts differ in sample rate or length.
    """
    dataset = read_dataset(root, hold_out, include_test, seed=seed)
    for error in dataset.errors:
        raise error
    return dataset.songs


def read_dataset(
    root: str | Path,
    hold_out: Sequence[str] = (),
    include_test: bool = False,
    layout: str | None = None,
    seed: int = SPLIT_SEED,
    divide_all: bool = False,
) -> Dataset:
    """Recognise a dataset's layout, unless `layout` names one of LAYOUTS, open its songs and divide them into splits.

    Songs that come without a validation split are divided by artist and `seed` into Train and Valid. Songs that come
    without any split become Test; with include_test, Train and Valid; with divide_all, all three.

    hold_out: names of the songs or artists that become Valid, alone (those of Test only with include_test).
    include_test: Test songs join Train, for a final model that is evaluated on other data.
    Raises UserError if the folder is missing or has no known layout. Songs that cannot be opened are in `errors`.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such dataset folder")
    name, found, unpaired = _recognise(root, layout)
    splits: dict[str, list[Song]] = {split: [] for split in (*SPLITS, DEV, UNDIVIDED)}
    errors: list[UserError] = []
    with ThreadPoolExecutor() as pool:  # to read a thousand headers or start ffprobe a hundred times
        for place, song in zip(found, pool.map(_open, found), strict=True):
            if isinstance(song, Song):
                splits[place.split].append(song)
            else:
                errors.append(song)
    _divide(splits, seed, divide_all, include_test)
    if include_test:
        splits = _include_test(splits, keep_artists=name != "MIR-1K")
    if hold_out:
        splits = _hold_out(splits, hold_out, root)
    for split, songs in splits.items():
        songs.sort(key=lambda song: song.name)
        for one, other in itertools.pairwise(songs):
            if one.name == other.name:
                text = f"expected one song named '{one.name}' in {split}, found another: {one.mixture}"
                errors.append(UserError(f"{other.mixture}: {text}"))
    return Dataset(name, splits, errors, unpaired)


def _recognise(root: Path, layout: str | None) -> tuple[str, list[Found], list[Path]]:
    for name in [layout] if layout else LAYOUTS:
        found, unpaired = LAYOUTS[name](root)
        if found:
            return name, found, unpaired
    expected = f"the layout {layout}" if layout else "a dataset"
    what = f"{len(unpaired)} files that form no song, such as '{unpaired[0].name}'" if unpaired else "none of these"
    raise UserError(
        f"{root}: expected {expected} (Mixtures/ and Sources/, MUSDB18's train/ and test/, MIR-1K's Wavfile/, "
        f"or folders with mixture.* and vocals.*), found {what}"
    )


def _open(found: Found) -> Song | UserError:
    try:
        return found.kind.open(printable(found.name), *found.files)  # the name appears in tables and reports
    except UserError as error:
        return error


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command-line arguments of `find_songs`."""
    parser.add_argument("dataset", help="folder of songs: in the course's layout, DSD100, MUSDB18, MIR-1K or any other")
    text = "validate with these songs or artists only (default: the dataset's own Valid, else a fifth by artist)"
    parser.add_argument("--hold-out", nargs="+", default=[], metavar="NAME", help=text)
    text = "train on the Test songs, too, for a network that is evaluated on other data"
    parser.add_argument("--include-test", action="store_true", help=text)


# ---------------------------------------------------------------------------------------------- who trains, who tests


def divide_by_artist(songs: Sequence[Song], seed: int) -> tuple[list[Song], list[Song]]:
    """Draw a SHARE of the songs by artist, none if there is one artist only. Returns (the others, those)."""
    by_artist: dict[str, list[Song]] = {}
    for song in songs:
        by_artist.setdefault(song.artist, []).append(song)
    artists = sorted(by_artist)
    random.Random(seed).shuffle(artists)
    wanted = max(1, round(SHARE * len(songs)))
    drawn: list[Song] = []
    for artist in artists:
        if len(drawn) + len(by_artist[artist]) <= wanted:
            drawn += by_artist[artist]
    if not drawn and len(artists) > 1:
        drawn = min((by_artist[artist] for artist in artists), key=len)
    if len(drawn) == len(songs):
        drawn = []
    return [song for song in songs if song not in drawn], drawn


def _divide(splits: dict[str, list[Song]], seed: int, divide_all: bool, include_test: bool) -> None:
    """Divide the songs of Dev, and those without a split, into Train, Valid and Test, in place."""
    undivided, dev = splits.pop(UNDIVIDED), splits.pop(DEV)
    if divide_all:
        undivided, test = divide_by_artist(undivided, seed)
        splits["Test"] += test
    if divide_all or include_test:
        dev += undivided
    else:
        splits["Test"] += undivided
    train, valid = divide_by_artist(dev, seed)
    splits["Train"] += train
    splits["Valid"] += valid


def _include_test(splits: dict[str, list[Song]], keep_artists: bool) -> dict[str, list[Song]]:
    """Move Test songs to Train, but with `keep_artists` those by an artist of Valid to Valid."""
    artists = {song.artist for song in splits["Valid"]} if keep_artists else set()
    valid = [song for song in splits["Test"] if song.artist in artists]
    train = [song for song in splits["Test"] if song.artist not in artists]
    return {"Train": splits["Train"] + train, "Valid": splits["Valid"] + valid, "Test": []}


def belongs(song: Song, names: Sequence[str]) -> bool:
    """Whether `names` has the song or its artist: 'amy_9_08' belongs to 'amy_9' and to 'amy'."""
    return song.artist in names or any(song.name == name or song.name.startswith(name + "_") for name in names)


def _hold_out(splits: dict[str, list[Song]], names: Sequence[str], root: str | Path) -> dict[str, list[Song]]:
    songs = splits["Train"] + splits["Valid"]
    for name in names:
        if not any(belongs(song, [name]) for song in songs):
            raise UserError(f"{root}: expected a song or artist '{name}' to hold out, found none")
    valid = [song for song in songs if belongs(song, names)]
    return {"Train": [song for song in songs if song not in valid], "Valid": valid, "Test": splits["Test"]}


# ---------------------------------------------------------------------------------------------- layouts


def _find_course(root: Path, names: Iterable[str] = SPLITS) -> tuple[list[Found], list[Path]]:
    """Mixtures|Sources/{Train,Valid,Test}/<song>/{mixture,vocals}.*"""
    found: list[Found] = []
    unpaired: list[Path] = []
    for split in names:
        mixtures, sources = root / "Mixtures" / split, root / "Sources" / split
        for folder in _folders(mixtures):
            parts = {"mixture": folder, "vocals": sources / folder.name}
            # A missing file is reported when the song is opened.
            files = (sound_file(place, stem) or place / f"{stem}.wav" for stem, place in parts.items())
            found.append(Found(folder.name, split, Song, tuple(files)))
        unpaired += [folder for folder in _folders(sources) if not (mixtures / folder.name).is_dir()]
    return found, unpaired


def _find_dsd100(root: Path) -> tuple[list[Found], list[Path]]:
    """The course's layout with Dev instead of Train and Valid."""
    return _find_course(root, (*SPLITS, DEV)) if _folders(root / "Mixtures" / DEV) else ([], [])


def _find_musdb18(root: Path) -> tuple[list[Found], list[Path]]:
    """{train,valid,test}/*.stem.mp4, or each a folder of songs, as in MUSDB18-HQ."""
    found: list[Found] = []
    unpaired: list[Path] = []
    train = "Train" if (root / "valid").is_dir() else DEV
    for name, split in (("train", train), ("valid", "Valid"), ("test", "Test")):
        here, left = _find_folder(root / name, split)
        found, unpaired = found + here, unpaired + left
    return found, unpaired


def _find_mir1k(root: Path) -> tuple[list[Found], list[Path]]:
    """Two-channel clips in Wavfile/ or {train,dev,test}/, divided by singer and song."""
    found = []
    for folder in MIR1K_FOLDERS:
        for path in _sound_files(root / folder):
            singer, song = path.stem.split("_")[0], "_".join(path.stem.split("_")[:2])
            dev = "Valid" if song in MIR1K_VALID_SONGS else "Train"
            found.append(Found(path.stem, dev if singer in MIR1K_TRAIN_SINGERS else "Test", KaraokeClip, (path,)))
    return found, []


def _find_folder(root: Path, split: str = UNDIVIDED) -> tuple[list[Found], list[Path]]:
    """<song>/{mixture,vocals}.*, or <song>/vocals.* and other stems, or name_mix.* and name_vocals.*, or *.stem.mp4."""
    found: list[Found] = []
    unpaired: list[Path] = []
    pairs: dict[str, dict[str, Path]] = {}  # by the song's name, then by part
    for path in _sound_files(root, (*SOUND_SUFFIXES, *FFMPEG_SUFFIXES)):
        pair = PAIR.fullmatch(path.stem)
        if path.name.endswith(SUFFIX):
            found.append(Found(path.name.removesuffix(SUFFIX), split, StemFile, (path,)))
        elif pair and path.suffix.lower() in SOUND_SUFFIXES:
            part = "vocals" if pair["part"].lower() == "vocals" else "mixture"
            pairs.setdefault(pair["name"], {})[part] = path
        else:
            unpaired.append(path)
    for name, parts in pairs.items():
        if len(parts) == 2:
            found.append(Found(name, split, Song, (parts["mixture"], parts["vocals"])))
        else:
            unpaired += parts.values()
    for folder in _folders(root):
        stems = {path.stem.lower(): path for path in _sound_files(folder)}
        mixture, vocals = stems.pop("mixture", None), stems.pop("vocals", None)
        if vocals and mixture:
            found.append(Found(folder.name, split, Song, (mixture, vocals)))
        elif vocals and stems:
            found.append(Found(folder.name, split, StemFolder, (vocals, *stems.values())))
        else:
            unpaired += [path for path in (mixture, vocals, *stems.values()) if path]
    return found, unpaired


LAYOUTS: dict[str, Callable[[Path], tuple[list[Found], list[Path]]]] = {
    "DSD100": _find_dsd100,
    "course": _find_course,
    "MUSDB18": _find_musdb18,
    "MIR-1K": _find_mir1k,
    "folder": _find_folder,
}  # tried in this order


def _sound_files(folder: Path, suffixes: Sequence[str] = SOUND_SUFFIXES) -> list[Path]:
    """Sound files in `folder`, sorted, without hidden ones; none if there is no such folder."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in suffixes)
    return [path for path in paths if not path.name.startswith(".")]


def _folders(parent: Path) -> list[Path]:
    """Folders in `parent`, sorted, without hidden ones; none if there is no such folder."""
    return sorted(path for path in parent.glob("*") if path.is_dir() and not path.name.startswith("."))


def find_sounds(root: str | Path, kind: type[Voice]) -> list[Song]:
    """All sound files below a folder, sorted, as songs of this kind. Raises UserError if there are none."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    paths = [path for folder in folders for path in _sound_files(folder)]
    if not paths:
        raise UserError(f"{root}: expected sound files ({', '.join(SOUND_SUFFIXES)}), found none")
    return [kind.open(str(path.relative_to(root).with_suffix("")), path) for path in paths]


def sound_file(folder: Path, stem: str) -> Path | None:
    """The sound file named `stem` in `folder`, in any format; None if there is none."""
    paths = (folder / (stem + suffix) for suffix in SOUND_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)
